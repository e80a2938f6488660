#include "control/event_list.h"

#include <stdlib.h>
#include <string.h>

#include "control/control_json.h"

/* Readers are told before so many events that they do not know overwrite what they have yet to read. */
enum { NEWS_AT_MOST = EVENTS_KEPT / 4 };

/* One of the last events, and as the line that is sent, once somebody has asked for it. */
struct kept {
    struct event *event;
    char *line;
    size_t len;
};

struct event_list {
    struct event_sink *sink;
    struct loop *loop;
    struct loop_timer timer;
    void (*news)(void *arg);
    void *arg;
    uint64_t next; /* number of the next event; those from next - EVENTS_KEPT on are kept */
    uint64_t told; /* news was called when next was this */
    uint64_t lost;
    struct kept kept[EVENTS_KEPT]; /* number n at n % EVENTS_KEPT */
};

static void tell_news(struct event_list *list)
{
    list->told = list->next;
    list->news(list->arg);
}

/* At the end of the turn that brought events: they often come together. */
static void on_timer(struct loop_timer *timer)
{
    tell_news(container_of(timer, struct event_list, timer));
}

static void take(struct event_sink *sink, struct event *event)
{
    struct event_list *list = sink->arg;
    if (event->type == EVENT_LOST)
        list->lost += event->count;
    if (list->next - list->told >= NEWS_AT_MOST)
        tell_news(list);
    struct kept *kept = &list->kept[list->next++ % EVENTS_KEPT];
    free(kept->event);
    free(kept->line);
    *kept = (struct kept){.event = event};
    if (!list->timer.slot)
        loop_timer_arm(list->loop, &list->timer, 0, on_timer);
}

static void drop(struct event_sink *sink, struct event *event)
{
    (void)sink;
    free(event);
}

struct event_list *event_list_new(struct event_sink *sink, struct loop *loop, void (*news)(void *arg),
                                  void *arg)
{
    struct event_list *list = xcalloc(1, sizeof *list);
    list->sink = sink;
    list->loop = loop;
    list->news = news;
    list->arg = arg;
    sink->take = take;
    sink->arg = list;
    sink->loop = loop;
    return list;
}

void event_list_free(struct event_list *list)
{
    list->sink->take = drop;
    loop_timer_disarm(list->loop, &list->sink->gather);
    event_sink_take(list->sink);
    loop_timer_disarm(list->loop, &list->timer);
    for (size_t i = 0; i < EVENTS_KEPT; i++) {
        free(list->kept[i].event);
        free(list->kept[i].line);
    }
    free(list);
}

uint64_t event_list_lost(const struct event_list *list)
{
    return list->lost + atomic_load_explicit(&list->sink->lost, memory_order_relaxed);
}

static uint64_t first(const struct event_list *list)
{
    return list->next < EVENTS_KEPT ? 0 : list->next - EVENTS_KEPT;
}

/* `{"event":{...}}` and a newline. */
static void put_line(struct bytes *out, const struct event *event)
{
    char text[CONTROL_EVENT_MAX];
    bytes_put(out, "{\"event\":", 9);
    bytes_put(out, text, control_event_write(event, text));
    bytes_put(out, "}\n", 2);
}

/* The same for one that is kept; made once for all readers. */
static void put_kept(struct bytes *out, struct kept *kept)
{
    if (kept->event) {
        struct bytes line = {0};
        put_line(&line, kept->event);
        kept->len = line.len;
        kept->line = xmemdup0(bytes_at(&line), line.len);
        bytes_clear(&line);
        free(kept->event);
        kept->event = NULL;
    }
    bytes_put(out, kept->line, kept->len);
}

struct reader {
    struct control_source source;
    struct event_list *list;
    uint64_t at;  /* number of the event that comes next */
    uint64_t end; /* and of the first that does not; UINT64_MAX: follows */
};

static enum source_state reader_next(struct control_source *source, struct bytes *out)
{
    struct reader *reader = container_of(source, struct reader, source);
    struct event_list *list = reader->list;
    if (reader->at < first(list)) {
        struct event lost = {.type = EVENT_LOST, .count = first(list) - reader->at};
        clock_gettime(CLOCK_REALTIME, &lost.time);
        put_line(out, &lost);
        reader->at = first(list);
    }
    uint64_t end = reader->end < list->next ? reader->end : list->next;
    while (reader->at < end && out->len < CLIENT_PIECE)
        put_kept(out, &list->kept[reader->at++ % EVENTS_KEPT]);
    if (reader->at < reader->end)
        return reader->at < list->next ? SOURCE_MORE : SOURCE_LATER;
    bytes_put(out, "{\"end\":true}\n", 13);
    return SOURCE_END;
}

static void reader_free(struct control_source *source)
{
    free(container_of(source, struct reader, source));
}

struct control_source *event_list_read(struct event_list *list, bool recent, bool follow)
{
    struct reader *reader = xcalloc(1, sizeof *reader);
    event_sink_take(list->sink);
    reader->source = (struct control_source){.next = reader_next, .free = reader_free};
    reader->list = list;
    reader->at = recent ? first(list) : list->next;
    reader->end = follow ? UINT64_MAX : list->next;
    return &reader->source;
}
