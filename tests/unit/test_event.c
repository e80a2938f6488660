#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/event.h"
#include "vspc/figures.h"
#include "vspc/mem.h"

static struct loop *loop;
static struct event_sink sink;
static unsigned taken;
static uint64_t lost;
static enum event_type last;

static void take(struct event_sink *from, struct event *event)
{
    cr_assert_eq(from, &sink);
    cr_assert_gt(event->time.tv_sec, 0);
    taken++;
    last = event->type;
    lost += event->type == EVENT_LOST ? event->count : 0;
    free(event);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

/* Has the sink take what is on its way: at once, or as it does by itself. */
static void deliver(void)
{
    loop_post(loop, stop, loop);
    loop_run(loop);
    event_sink_take(&sink);
}

static void take_and_stop(struct event_sink *from, struct event *event)
{
    take(from, event);
    loop_stop(loop);
}

static void tell(enum event_type type)
{
    struct event *event = xcalloc(1, sizeof *event);
    event->type = type;
    event_tell(&sink, event);
}

static void begin(void)
{
    loop = loop_new();
    sink = (struct event_sink){.loop = loop, .take = take};
}

static void end(void)
{
    loop_free(loop);
}

TestSuite(event, .init = begin, .fini = end);

Test(event, too_many_at_once_are_counted_and_told_in_front_of_the_next)
{
    for (int i = 0; i < EVENTS_QUEUED_MAX + 10; i++)
        tell(EVENT_VM_UP);
    deliver();
    cr_assert_eq(taken, EVENTS_QUEUED_MAX);
    event_lose(&sink, 5);
    tell(EVENT_VM_DOWN);
    deliver();
    cr_assert_eq(lost, 15);
    cr_assert_eq(last, EVENT_VM_DOWN);
    cr_assert_eq(taken, EVENTS_QUEUED_MAX + 2);
    cr_assert_eq(atomic_load(&sink.queued), 0);
}

Test(event, events_are_taken_together_and_in_their_order)
{
    sink.take = take_and_stop;
    tell(EVENT_VM_UP);
    tell(EVENT_USER_IN);
    tell(EVENT_VM_DOWN);
    loop_run(loop);
    cr_assert_eq(taken, 3);
    cr_assert_eq(last, EVENT_VM_DOWN);
    tell(EVENT_USER_OUT);
    loop_run(loop);
    cr_assert_eq(taken, 4);
    cr_assert_eq(last, EVENT_USER_OUT);
}

Test(event, without_a_sink_nothing_is_kept)
{
    sink.loop = NULL;
    cr_assert_not(event_wanted(&sink));
    event_lose(&sink, 1);
    tell(EVENT_VM_UP);
    cr_assert_eq(atomic_load(&sink.lost), 0);
}

Test(event, every_type_has_a_name_of_its_own)
{
    for (int i = 0; i < EVENT_TYPES; i++)
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(event_type_name((enum event_type)i), event_type_name((enum event_type)j));
}

/* Figures of one family stand together, the first explains it, and what tells them apart is their label. */
Test(figures, names_follow_prometheus_conventions)
{
    for (int i = 0; i < FIGURES; i++) {
        const struct figure_name *name = &figure_names[i];
        cr_assert(name->metric, "figure %d has no name", i);
        bool is_total =
            strlen(name->metric) > 6 && strcmp(name->metric + strlen(name->metric) - 6, "_total") == 0;
        cr_expect_eq(strncmp(name->metric, "vspc_", 5), 0, "%s", name->metric);
        cr_expect_eq(is_total, !name->is_level, "%s", name->metric);
        bool goes_on = i > 0 && strcmp(figure_names[i - 1].metric, name->metric) == 0;
        cr_expect_eq(name->help == NULL, goes_on, "%s", name->metric);
        for (int j = 0; j < i; j++) {
            bool same = strcmp(figure_names[j].metric, name->metric) == 0;
            cr_expect(!same || (goes_on && strcmp(figure_names[j].label, name->label) != 0), "%s",
                      name->metric);
        }
    }
}
