#include "vspc/event.h"

#include <stdlib.h>

#include "vspc/mem.h"

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

/* Letter: the event has arrived in the sink's loop. */
static void on_event(void *arg)
{
    struct event *event = arg;
    struct event_sink *sink = event->sink;
    atomic_fetch_sub_explicit(&sink->queued, 1, memory_order_relaxed);
    sink->take(sink, event);
}

static void post(struct event_sink *sink, struct event *event)
{
    event->sink = sink;
    clock_gettime(CLOCK_REALTIME, &event->time);
    loop_post(sink->loop, on_event, event);
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
