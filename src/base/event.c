#include "vspc/event.h"

#include <stdlib.h>

#include "vspc/mem.h"

enum { GATHER_MS = 10 };

static const char *const names[EVENT_TYPES] = {
    [EVENT_VM_UP] = "vm-up",
    [EVENT_VM_DOWN] = "vm-down",
    [EVENT_VM_RENAMED] = "vm-renamed",
    [EVENT_MIGRATION_BEGUN] = "migration-begun",
    [EVENT_MIGRATION_DONE] = "migration-done",
    [EVENT_MIGRATION_FAILED] = "migration-failed",
    [EVENT_USER_IN] = "user-in",
    [EVENT_USER_OUT] = "user-out",
    [EVENT_ACCESS] = "access",
    [EVENT_CONSOLE_ENDED] = "console-ended",
    [EVENT_LOST] = "lost",
};

const char *event_type_name(enum event_type type)
{
    return names[type];
}

void event_sink_take(struct event_sink *sink)
{
    struct event *event = atomic_exchange_explicit(&sink->news, NULL, memory_order_acquire);
    struct event *oldest = NULL, *next;
    for (; event; event = next) {
        next = event->next;
        event->next = oldest;
        oldest = event;
    }
    for (; oldest; oldest = next) {
        next = oldest->next;
        atomic_fetch_sub_explicit(&sink->queued, 1, memory_order_relaxed);
        sink->take(sink, oldest);
    }
}

static void on_gathered(struct loop_timer *timer)
{
    event_sink_take(container_of(timer, struct event_sink, gather));
}

/* Letter: there is news, where there was none. */
static void on_news(void *arg)
{
    struct event_sink *sink = arg;
    if (!sink->gather.slot)
        loop_timer_arm(sink->loop, &sink->gather, GATHER_MS, on_gathered);
}

static void post(struct event_sink *sink, struct event *event)
{
    struct event *newest = atomic_load_explicit(&sink->news, memory_order_relaxed);
    clock_gettime(CLOCK_REALTIME, &event->time);
    do
        event->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&sink->news, &newest, event, memory_order_release,
                                                  memory_order_relaxed));
    if (!newest)
        loop_post(sink->loop, on_news, sink);
}

void event_lose(struct event_sink *sink, unsigned n)
{
    if (event_wanted(sink))
        atomic_fetch_add_explicit(&sink->lost, n, memory_order_relaxed);
}

void event_tell(struct event_sink *sink, struct event *event)
{
    if (!event_wanted(sink)) {
        free(event);
        return;
    }
    if (atomic_fetch_add_explicit(&sink->queued, 1, memory_order_relaxed) >= EVENTS_QUEUED_MAX) {
        atomic_fetch_sub_explicit(&sink->queued, 1, memory_order_relaxed);
        event_lose(sink, 1);
        free(event);
        return;
    }
    unsigned lost = atomic_load_explicit(&sink->lost, memory_order_relaxed);
    if (lost)
        lost = atomic_exchange_explicit(&sink->lost, 0, memory_order_relaxed);
    if (lost) {
        struct event *loss = xcalloc(1, sizeof *loss);
        loss->type = EVENT_LOST;
        loss->count = lost;
        atomic_fetch_add_explicit(&sink->queued, 1, memory_order_relaxed);
        post(sink, loss);
    }
    post(sink, event);
}
