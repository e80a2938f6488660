/* The migration's state machine: every event in every state, and when its time is up. */
#include <criterion/criterion.h>
#include <string.h>

#include "console/vmotion.h"

/* protocol.md, vMotion: what each event does in each state. */
static const struct {
    enum vmotion_state in;
    enum vmotion_event event;
    enum vmotion_state out;
    unsigned actions;
} expected[] = {
    {VMOTION_NONE, VMOTION_BEGIN, VMOTION_FROZEN, VMOTION_GOAHEAD},
    {VMOTION_NONE, VMOTION_COMPLETE, VMOTION_NONE, VMOTION_IGNORED},
    {VMOTION_NONE, VMOTION_DRAINED, VMOTION_NONE, 0},
    {VMOTION_NONE, VMOTION_ABORT, VMOTION_NONE, VMOTION_IGNORED},
    {VMOTION_NONE, VMOTION_SOURCE_SPOKE, VMOTION_NONE, 0},
    {VMOTION_NONE, VMOTION_SOURCE_LOST, VMOTION_NONE, VMOTION_DISCONNECT},
    {VMOTION_NONE, VMOTION_TAKEN_OVER, VMOTION_NONE, 0},
    {VMOTION_NONE, VMOTION_TIME, VMOTION_NONE, 0},

    {VMOTION_FROZEN, VMOTION_BEGIN, VMOTION_FROZEN, VMOTION_END | VMOTION_GOAHEAD},
    {VMOTION_FROZEN, VMOTION_COMPLETE, VMOTION_DRAINING, VMOTION_DRAIN},
    {VMOTION_FROZEN, VMOTION_DRAINED, VMOTION_FROZEN, 0},
    {VMOTION_FROZEN, VMOTION_ABORT, VMOTION_NONE, VMOTION_END},
    {VMOTION_FROZEN, VMOTION_SOURCE_SPOKE, VMOTION_RESUMED, 0},
    {VMOTION_FROZEN, VMOTION_SOURCE_LOST, VMOTION_ORPHANED, 0},
    {VMOTION_FROZEN, VMOTION_TAKEN_OVER, VMOTION_NONE, VMOTION_END},
    {VMOTION_FROZEN, VMOTION_TIME, VMOTION_NONE, VMOTION_END},

    {VMOTION_RESUMED, VMOTION_BEGIN, VMOTION_FROZEN, VMOTION_END | VMOTION_GOAHEAD},
    {VMOTION_RESUMED, VMOTION_COMPLETE, VMOTION_DRAINING, VMOTION_DRAIN},
    {VMOTION_RESUMED, VMOTION_DRAINED, VMOTION_RESUMED, 0},
    {VMOTION_RESUMED, VMOTION_ABORT, VMOTION_NONE, VMOTION_END},
    {VMOTION_RESUMED, VMOTION_SOURCE_SPOKE, VMOTION_RESUMED, 0},
    {VMOTION_RESUMED, VMOTION_SOURCE_LOST, VMOTION_ORPHANED, 0},
    {VMOTION_RESUMED, VMOTION_TAKEN_OVER, VMOTION_NONE, VMOTION_END},
    {VMOTION_RESUMED, VMOTION_TIME, VMOTION_NONE, VMOTION_END},

    {VMOTION_ORPHANED, VMOTION_BEGIN, VMOTION_ORPHANED, VMOTION_IGNORED},
    {VMOTION_ORPHANED, VMOTION_COMPLETE, VMOTION_DRAINING, VMOTION_DRAIN},
    {VMOTION_ORPHANED, VMOTION_DRAINED, VMOTION_ORPHANED, 0},
    {VMOTION_ORPHANED, VMOTION_ABORT, VMOTION_ORPHANED, VMOTION_IGNORED},
    {VMOTION_ORPHANED, VMOTION_SOURCE_SPOKE, VMOTION_ORPHANED, 0},
    {VMOTION_ORPHANED, VMOTION_SOURCE_LOST, VMOTION_ORPHANED, 0},
    {VMOTION_ORPHANED, VMOTION_TAKEN_OVER, VMOTION_NONE, VMOTION_END},
    {VMOTION_ORPHANED, VMOTION_TIME, VMOTION_NONE, VMOTION_END | VMOTION_DISCONNECT},

    {VMOTION_DRAINING, VMOTION_BEGIN, VMOTION_DRAINING, VMOTION_IGNORED},
    {VMOTION_DRAINING, VMOTION_COMPLETE, VMOTION_DRAINING, VMOTION_IGNORED},
    {VMOTION_DRAINING, VMOTION_DRAINED, VMOTION_NONE, VMOTION_SWITCH},
    {VMOTION_DRAINING, VMOTION_ABORT, VMOTION_DRAINING, VMOTION_IGNORED},
    {VMOTION_DRAINING, VMOTION_SOURCE_SPOKE, VMOTION_DRAINING, 0},
    {VMOTION_DRAINING, VMOTION_SOURCE_LOST, VMOTION_DRAINING, 0},
    {VMOTION_DRAINING, VMOTION_TAKEN_OVER, VMOTION_NONE, VMOTION_END},
    {VMOTION_DRAINING, VMOTION_TIME, VMOTION_DRAINING, 0},
};
enum { EXPECTED = sizeof expected / sizeof *expected };

Test(vmotion, every_event_in_every_state_does_what_is_written)
{
    bool seen[VMOTION_STATES][VMOTION_EVENTS] = {{false}};
    for (int i = 0; i < EXPECTED; i++) {
        struct vmotion m = {.state = expected[i].in};
        unsigned actions = vmotion_happened(&m, expected[i].event, 1000);
        cr_expect_eq(m.state, expected[i].out, "state %d, event %d", expected[i].in, expected[i].event);
        cr_expect_eq(actions, expected[i].actions, "state %d, event %d: %u", expected[i].in,
                     expected[i].event, actions);
        seen[expected[i].in][expected[i].event] = true;
    }
    for (int state = 0; state < VMOTION_STATES; state++)
        for (int event = 0; event < VMOTION_EVENTS; event++)
            cr_expect(seen[state][event], "state %d, event %d", state, event);
}

Test(vmotion, input_is_kept_from_begin_until_the_vm_is_known_to_run)
{
    static const bool keeps[VMOTION_STATES] = {
        [VMOTION_FROZEN] = true, [VMOTION_ORPHANED] = true, [VMOTION_DRAINING] = true};
    for (int state = 0; state < VMOTION_STATES; state++) {
        struct vmotion m = {.state = (enum vmotion_state)state};
        cr_expect_eq(vmotion_keeps_input(&m), keeps[state], "state %d", state);
    }
}

Test(vmotion, a_migration_is_abandoned_vmotion_timeout_after_its_last_begin)
{
    struct vmotion m = {0};
    vmotion_happened(&m, VMOTION_BEGIN, 1000);
    cr_assert_eq(vmotion_due(&m, 300000), 301000);
    vmotion_happened(&m, VMOTION_SOURCE_SPOKE, 2000);
    cr_assert_eq(vmotion_due(&m, 300000), 301000);
    vmotion_happened(&m, VMOTION_BEGIN, 3000);
    cr_assert_eq(vmotion_due(&m, 300000), 303000);
    cr_assert_eq(vmotion_due(&m, 1), 3001);
}

Test(vmotion, a_vm_without_source_is_lost_after_30_s_or_vmotion_timeout_whichever_is_first)
{
    struct vmotion m = {0};
    vmotion_happened(&m, VMOTION_BEGIN, 1000);
    vmotion_happened(&m, VMOTION_SOURCE_LOST, 5000);
    cr_assert_eq(vmotion_due(&m, 300000), 35000);
    cr_assert_eq(vmotion_due(&m, 34000), 35000);
    cr_assert_eq(vmotion_due(&m, 33999), 34999);
    cr_assert_eq(vmotion_due(&m, 2000), 3000, "a timeout that was shortened meanwhile is over already");
    /* What is no loss does not make it longer. */
    vmotion_happened(&m, VMOTION_SOURCE_LOST, 20000);
    vmotion_happened(&m, VMOTION_BEGIN, 20000);
    cr_assert_eq(vmotion_due(&m, 300000), 35000);
}

Test(vmotion, what_is_not_a_begin_leaves_the_cookie_as_it_is)
{
    struct vmext_cookie cookie = {.sequence_len = 2, .sequence = {0, 255}, .secret = {1, 2, 3}};
    for (int state = 0; state < VMOTION_STATES; state++) {
        for (int event = 0; event < VMOTION_EVENTS; event++) {
            struct vmotion m = {.state = (enum vmotion_state)state, .cookie = cookie};
            vmotion_happened(&m, (enum vmotion_event)event, 1);
            cr_expect(vmext_cookie_equal(&m.cookie, &cookie));
        }
    }
}
