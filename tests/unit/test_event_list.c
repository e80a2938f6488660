/* The list of the last events, and its readers. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "control/event_list.h"
#include "vspc/mem.h"

static struct event_sink sink;
static struct loop *loop;
static struct event_list *list;
static unsigned news;

static void on_news(void *arg)
{
    (void)arg;
    news++;
}

static void begin(void)
{
    loop = loop_new();
    list = event_list_new(&sink, loop, on_news, NULL);
}

static void end(void)
{
    event_list_free(list);
    loop_free(loop);
}

TestSuite(event_list, .init = begin, .fini = end, .timeout = 60);

/* Events with the ports from first on. */
static void take(unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct event *event = xcalloc(1, sizeof *event);
        event->type = EVENT_VM_UP;
        event->port = (uint16_t)(first + i);
        sink.take(&sink, event);
    }
}

/* All that the source has now. */
static char *drain(struct control_source *source, enum source_state *state)
{
    struct bytes all = {0}, piece = {0};
    do {
        *state = source->next(source, &piece);
        bytes_put(&all, bytes_at(&piece), piece.len);
        bytes_drop(&piece, piece.len);
    } while (*state == SOURCE_MORE);
    char *text = xmemdup0(bytes_at(&all), all.len);
    bytes_clear(&all);
    bytes_clear(&piece);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

Test(event_list, the_last_thousand_are_kept)
{
    enum source_state state;
    take(0, 1500);
    struct control_source *source = event_list_read(list, true, false);
    char *text = drain(source, &state);
    cr_assert_eq(state, SOURCE_END);
    cr_assert_eq(count(text, "\"vm-up\""), EVENTS_KEPT);
    cr_assert(!strstr(text, "\"port\":499,") && strstr(text, "\"port\":500,") &&
              strstr(text, "\"port\":1499,"));
    cr_assert(strstr(text, "}}\n{\"end\":true}\n"));
    free(text);
    source->free(source);
}

Test(event_list, a_follower_gets_what_comes_and_is_told_what_it_missed)
{
    enum source_state state;
    take(0, 10);
    struct control_source *source = event_list_read(list, false, true);
    char *text = drain(source, &state);
    cr_assert_eq(state, SOURCE_LATER);
    cr_assert_str_eq(text, "");
    free(text);
    take(10, 1);
    text = drain(source, &state);
    cr_assert_eq(state, SOURCE_LATER);
    cr_assert_eq(count(text, "\n"), 1);
    cr_assert(strstr(text, "\"port\":10,"));
    free(text);
    take(11, EVENTS_KEPT + 7);
    text = drain(source, &state);
    cr_assert_eq(state, SOURCE_LATER);
    cr_assert(strstr(text, "\"type\":\"lost\",\"count\":7}}\n"));
    cr_assert_eq(count(text, "\"vm-up\""), EVENTS_KEPT);
    free(text);
    source->free(source);
}

Test(event_list, followers_are_told_before_a_storm_overtakes_them)
{
    take(0, EVENTS_KEPT);
    cr_assert_geq(news, 3);
}

Test(event_list, events_lost_on_the_way_are_counted_once)
{
    struct event *event = xcalloc(1, sizeof *event);
    event->type = EVENT_LOST;
    event->count = 5;
    sink.take(&sink, event);
    atomic_fetch_add(&sink.lost, 2);
    cr_assert_eq(event_list_lost(list), 7);
}
