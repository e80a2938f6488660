#include "control/control_list.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "control/control_json.h"
#include "control/control_parts.h"
#include "control/control_request.h"

struct control_list {
    struct control *control; /* NULL: nobody waits for it any more */
    struct control_list *prev, *next;
    unsigned refs;    /* of readers, and one while it is made */
    unsigned pending; /* owners that have yet to answer; until then it is not freed */
    uint64_t born_ms;
    struct loop_timer timeout;
    struct control_request *waiting; /* those who get it */
    size_t count;
    struct bytes rows; /* lines */
};

static void begin_next(struct control *control);

static void list_free(struct control_list *list)
{
    bytes_clear(&list->rows);
    free(list);
}

/* Takes a list out of the count; it lives on while answers are on their way. */
static void list_forget(struct control_list *list)
{
    struct control *control = list->control;
    loop_timer_disarm(control->server->loop, &list->timeout);
    DL_DELETE(control->lists.all, list);
    control->lists.count--;
    list->control = NULL;
    bytes_clear(&list->rows);
    if (list->pending == 0)
        list_free(list);
}

static void list_unref(struct control_list *list)
{
    struct control *control = list->control;
    if (--list->refs > 0)
        return;
    list_forget(list);
    begin_next(control);
}

/* --- What a client is sent of a list. --- */

struct reader {
    struct control_source source;
    struct control_list *list;
    size_t at;
    char *last_line;
};

static enum source_state reader_next(struct control_source *source, struct bytes *out)
{
    struct reader *reader = container_of(source, struct reader, source);
    const struct bytes *rows = &reader->list->rows;
    size_t left = rows->len - reader->at;
    size_t n = left < CLIENT_PIECE ? left : CLIENT_PIECE;
    bytes_put(out, rows->data + reader->at, n);
    reader->at += n;
    if (reader->at < rows->len)
        return SOURCE_MORE;
    bytes_put(out, reader->last_line, strlen(reader->last_line));
    return SOURCE_END;
}

static void reader_free(struct control_source *source)
{
    struct reader *reader = container_of(source, struct reader, source);
    list_unref(reader->list);
    free(reader->last_line);
    free(reader);
}

static void answer(struct control_list *list, struct control_request *request)
{
    struct reader *reader = xcalloc(1, sizeof *reader);
    reader->source = (struct control_source){.next = reader_next, .free = reader_free};
    reader->list = list;
    list->refs++;
    reader->last_line = control_request_line(request, json_pack("{s:I}", "count", (json_int_t)list->count));
    control_request_answer(request, "", &reader->source);
}

/* --- How it is made. --- */

/* Everybody has answered. */
static void list_ready(struct control_list *list)
{
    struct control *control = list->control;
    struct control_request *request, *next;
    loop_timer_disarm(control->server->loop, &list->timeout);
    control->lists.making = NULL;
    LL_FOREACH_SAFE2(list->waiting, request, next, next_waiting)
    {
        answer(list, request);
    }
    list->waiting = NULL;
    list_unref(list);
    begin_next(control);
}

static void on_timeout(struct loop_timer *timer)
{
    struct control_list *list = container_of(timer, struct control_list, timeout);
    struct control *control = list->control;
    struct control_request *request, *waiting = list->waiting;
    /* Those who wait for the next one would only learn the same later. */
    LL_CONCAT2(waiting, control->lists.waiting, next_waiting);
    control->lists.waiting = NULL;
    control->lists.making = NULL;
    list->waiting = NULL;
    list_forget(list);
    while ((request = waiting)) {
        waiting = request->next_waiting;
        control_request_fail(request, "failed", NULL, "a worker of vspcd does not answer");
    }
}

static void on_rows(struct console_query *query)
{
    struct console_list *part = container_of(query, struct console_list, query);
    struct control_list *list = query->arg;
    list->pending--;
    char line[CONTROL_ROW_MAX + 16];
    char *row = stpcpy(line, "{\"console\":");
    for (size_t i = 0; list->control && i < part->len; i++) {
        size_t len = (size_t)(row - line) + control_row_write(&part->rows[i], row);
        line[len++] = '}';
        line[len++] = '\n';
        bytes_put(&list->rows, line, len);
        list->count++;
    }
    console_list_free(part);
    if (list->pending > 0)
        return;
    if (list->control)
        list_ready(list);
    else
        list_free(list);
}

static void list_begin(struct control *control)
{
    const struct control_server *server = control->server;
    struct control_list *list = xcalloc(1, sizeof *list);
    struct console_query query = {.reply_to = server->loop, .done = on_rows, .arg = list};
    list->control = control;
    list->refs = 1;
    list->born_ms = clock_ms();
    list->waiting = control->lists.waiting;
    list->pending = server->owner_count;
    control->lists.waiting = NULL;
    control->lists.making = list;
    control->lists.count++;
    DL_APPEND(control->lists.all, list);
    loop_timer_arm(server->loop, &list->timeout, CONTROL_ANSWER_MS, on_timeout);
    for (unsigned i = 0; i < server->owner_count; i++)
        console_list_ask(server->owners[i], &query);
}

static void on_retry(struct loop_timer *timer)
{
    begin_next(container_of(timer, struct control, lists.retry));
}

/* Whether a client that reads slowly stands in the way of all who wait. */
static bool reads_old_list(const struct control_client *client, uint64_t now_ms)
{
    if (!client->source || client->source->next != reader_next)
        return false;
    return now_ms - container_of(client->source, struct reader, source)->list->born_ms > LIST_OLD_MS;
}

/* Begins the next list if somebody waits for one and there may be another. */
static void begin_next(struct control *control)
{
    struct control_lists *lists = &control->lists;
    if (!lists->waiting || lists->making || lists->retry.slot)
        return;
    if (lists->count < LISTS_MAX) {
        list_begin(control);
        return;
    }
    loop_timer_arm(control->server->loop, &lists->retry, 100, on_retry);
    struct control_client *client, *next;
    DL_FOREACH_SAFE(control->clients, client, next)
    {
        if (reads_old_list(client, clock_ms()))
            control_client_close(client);
    }
}

void control_list_request(struct control *control, struct control_request *request)
{
    unsigned stuck;
    if (loop_probes_stuck(control->probes, &stuck)) {
        control_request_fail(request, "failed", NULL, "worker %u of vspcd does not answer", stuck);
        return;
    }
    LL_PREPEND2(control->lists.waiting, request, next_waiting);
    begin_next(control);
}

void control_lists_end(struct control *control)
{
    struct control_list *list, *next;
    loop_timer_disarm(control->server->loop, &control->lists.retry);
    control->lists.waiting = NULL;
    DL_FOREACH_SAFE(control->lists.all, list, next)
    {
        list_forget(list);
    }
}
