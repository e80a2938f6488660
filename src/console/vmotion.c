#include "vmotion.h"

struct transition {
    enum vmotion_state next;
    unsigned actions;
};

static const struct transition table[VMOTION_STATES][VMOTION_EVENTS] =
    {
        [VMOTION_NONE] =
            {
                [VMOTION_BEGIN] = {VMOTION_FROZEN, VMOTION_GOAHEAD},
                [VMOTION_COMPLETE] = {VMOTION_NONE, VMOTION_IGNORED},
                [VMOTION_DRAINED] = {VMOTION_NONE, 0},
                [VMOTION_ABORT] = {VMOTION_NONE, VMOTION_IGNORED},
                [VMOTION_SOURCE_SPOKE] = {VMOTION_NONE, 0},
                [VMOTION_SOURCE_LOST] = {VMOTION_NONE, VMOTION_DISCONNECT},
                [VMOTION_TAKEN_OVER] = {VMOTION_NONE, 0},
                [VMOTION_TIME] = {VMOTION_NONE, 0},
            },
        [VMOTION_FROZEN] =
            {
                [VMOTION_BEGIN] = {VMOTION_FROZEN, VMOTION_END | VMOTION_GOAHEAD},
                [VMOTION_COMPLETE] = {VMOTION_DRAINING, VMOTION_DRAIN},
                [VMOTION_DRAINED] = {VMOTION_FROZEN, 0},
                [VMOTION_ABORT] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_SOURCE_SPOKE] = {VMOTION_RESUMED, 0},
                [VMOTION_SOURCE_LOST] = {VMOTION_ORPHANED, 0},
                [VMOTION_TAKEN_OVER] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_TIME] = {VMOTION_NONE, VMOTION_END},
            },
        [VMOTION_RESUMED] =
            {
                [VMOTION_BEGIN] = {VMOTION_FROZEN, VMOTION_END | VMOTION_GOAHEAD},
                [VMOTION_COMPLETE] = {VMOTION_DRAINING, VMOTION_DRAIN},
                [VMOTION_DRAINED] = {VMOTION_RESUMED, 0},
                [VMOTION_ABORT] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_SOURCE_SPOKE] = {VMOTION_RESUMED, 0},
                [VMOTION_SOURCE_LOST] = {VMOTION_ORPHANED, 0},
                [VMOTION_TAKEN_OVER] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_TIME] = {VMOTION_NONE, VMOTION_END},
            },
        [VMOTION_ORPHANED] =
            {
                /* There is no source that could send anything. */
                [VMOTION_BEGIN] = {VMOTION_ORPHANED, VMOTION_IGNORED},
                [VMOTION_COMPLETE] = {VMOTION_DRAINING, VMOTION_DRAIN},
                [VMOTION_DRAINED] = {VMOTION_ORPHANED, 0},
                [VMOTION_ABORT] = {VMOTION_ORPHANED, VMOTION_IGNORED},
                [VMOTION_SOURCE_SPOKE] = {VMOTION_ORPHANED, 0},
                [VMOTION_SOURCE_LOST] = {VMOTION_ORPHANED, 0},
                [VMOTION_TAKEN_OVER] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_TIME] = {VMOTION_NONE, VMOTION_END | VMOTION_DISCONNECT},
            },
        [VMOTION_DRAINING] =
            {
                /* Whatever the source had to say about it, the VM runs at the destination. */
                [VMOTION_BEGIN] = {VMOTION_DRAINING, VMOTION_IGNORED},
                [VMOTION_COMPLETE] = {VMOTION_DRAINING, VMOTION_IGNORED},
                [VMOTION_DRAINED] = {VMOTION_NONE, VMOTION_SWITCH},
                [VMOTION_ABORT] = {VMOTION_DRAINING, VMOTION_IGNORED},
                [VMOTION_SOURCE_SPOKE] = {VMOTION_DRAINING, 0},
                [VMOTION_SOURCE_LOST] = {VMOTION_DRAINING, 0},
                [VMOTION_TAKEN_OVER] = {VMOTION_NONE, VMOTION_END},
                [VMOTION_TIME] = {VMOTION_DRAINING, 0},
            },
};

unsigned vmotion_happened(struct vmotion *m, enum vmotion_event event, uint64_t now_ms)
{
    const struct transition *t = &table[m->state][event];
    if (t->actions & VMOTION_GOAHEAD)
        m->begun_ms = now_ms;
    if (t->next == VMOTION_ORPHANED && m->state != VMOTION_ORPHANED)
        m->orphaned_ms = now_ms;
    m->state = t->next;
    return t->actions;
}

bool vmotion_keeps_input(const struct vmotion *m)
{
    return m->state == VMOTION_FROZEN || m->state == VMOTION_ORPHANED || m->state == VMOTION_DRAINING;
}

uint64_t vmotion_due(const struct vmotion *m, uint64_t timeout_ms)
{
    uint64_t due = m->begun_ms + timeout_ms;
    if (m->state == VMOTION_ORPHANED && m->orphaned_ms + VMOTION_ORPHAN_MS < due)
        return m->orphaned_ms + VMOTION_ORPHAN_MS;
    return due;
}
