/* Events: what happens to consoles, on its way from the workers to the control socket's list.
 *
 * Any thread tells; the sink's take function runs in its loop, after some milliseconds in which others may
 * join: in a storm the loop is not woken for each. Nobody waits: when EVENTS_QUEUED_MAX events are on their
 * way, further ones are counted and not told. */
#ifndef VSPC_EVENT_H
#define VSPC_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "vspc/loop.h"
#include "vspc/text.h"

enum { EVENTS_QUEUED_MAX = 8192, EVENT_NAME_MAX = 255, EVENT_WHO = 128, EVENT_DETAIL = 128 };

enum event_type {
    EVENT_VM_UP,
    EVENT_VM_DOWN,
    EVENT_VM_RENAMED,
    EVENT_MIGRATION_BEGUN,
    EVENT_MIGRATION_DONE,
    EVENT_MIGRATION_FAILED,
    EVENT_USER_IN,
    EVENT_USER_OUT,
    EVENT_ACCESS,
    EVENT_CONSOLE_ENDED,
    EVENT_LOST, /* count of them, in count */
    EVENT_TYPES
};

struct event {
    struct event *prev, *next; /* whoever holds it may keep it in a list */
    enum event_type type;
    struct timespec time; /* CLOCK_REALTIME */
    bool has_uuid;
    uint8_t uuid[UUID_SIZE];
    char label[LABEL_MAX + 1];
    uint16_t port;
    uint8_t name_len;
    char name[EVENT_NAME_MAX]; /* any bytes */
    char who[EVENT_WHO];       /* printable */
    char detail[EVENT_DETAIL]; /* printable */
    uint64_t count;
};

/* All zero: nobody wants to know, and event_tell costs nothing. */
struct event_sink {
    struct loop *loop;
    void (*take)(struct event_sink *sink, struct event *event); /* in loop; the event is then its own */
    void *arg;                                                  /* take's */
    _Atomic(struct event *) news;                               /* on their way, the newest first */
    struct loop_timer gather;                                   /* until they are taken */
    atomic_uint queued;
    atomic_uint lost;
};

/* "vm-up" and so on. */
const char *event_type_name(enum event_type type);

/* Whether it is worth making one. Any thread. */
static inline bool event_wanted(const struct event_sink *sink)
{
    return sink->loop;
}
/* Any thread: tells, or counts as lost; the event, from xcalloc or xmalloc, passes to the sink. Fills in
 * time. What was lost is told by an event of its own in front of the next one that is not. */
void event_tell(struct event_sink *sink, struct event *event);
/* The sink's loop: takes now what is on its way. */
void event_sink_take(struct event_sink *sink);
/* Any thread: n events happened that nobody is told of. */
void event_lose(struct event_sink *sink, unsigned n);

#endif
