/* The questions that go to all workers: which consoles are there, and which does a person mean. */
#include "vspc/console_query.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "console_order.h"

enum { LIST_SPARE = 256 }; /* rows for consoles that come while the question is on its way */

/* Letter: an answer has arrived. */
static void on_answer(void *arg)
{
    struct console_query *query = arg;
    query->done(query);
}

void console_query_answer(struct console_query *query)
{
    loop_post(query->reply_to, on_answer, query);
}

bool console_is_shown(const struct console *console)
{
    return console->state == CONSOLE_CONNECTED || console->state == CONSOLE_LINGERING;
}

static const char *state_name(const struct console *console)
{
    if (console->migration)
        return "migrating";
    return console->state == CONSOLE_CONNECTED ? "connected" : "disconnected";
}

void console_fill_row(const struct console *console, struct console_row *row)
{
    row->name_len = console->name_len;
    memcpy(row->name, console->name, console->name_len);
    row->has_uuid = console_uuid(console, row->uuid);
    memcpy(row->label, console_label(console), (size_t)console->label_len + 1);
    row->state = state_name(console);
    row->port = console->port;
    row->users = console->user_count;
    row->since = console->since;
    row->bytes_from_vm = console->bytes_from_vm;
    row->bytes_to_vm = console->bytes_to_vm;
}

/* Letter. One walk into memory that is there: thousands of consoles are not to keep bytes waiting. */
static void on_list(void *arg)
{
    struct console_list *list = arg;
    struct console *console;
    DL_FOREACH(list->owner->consoles, console)
    {
        if (!console_is_shown(console))
            continue;
        if (list->len == list->cap) {
            list->cap += LIST_SPARE;
            list->rows = xrealloc(list->rows, list->cap * sizeof *list->rows);
        }
        console_fill_row(console, &list->rows[list->len++]);
    }
    console_query_answer(&list->query);
}

void console_list_ask(struct console_owner *owner, const struct console_query *query)
{
    struct console_list *list = xcalloc(1, sizeof *list);
    list->query = *query;
    list->owner = owner;
    /* Memory that was never touched costs more than filling it in; that is for the caller's thread. */
    list->cap = figure_read(&owner->figures, FIGURE_CONSOLES) + LIST_SPARE;
    list->rows = xmalloc(list->cap * sizeof *list->rows);
    memset(list->rows, 0, list->cap * sizeof *list->rows);
    loop_post(owner->loop, on_list, list);
}

void console_list_free(struct console_list *list)
{
    free(list->rows);
    free(list);
}

/* The text, if it is a UUID or the beginning of one. */
struct wanted_uuid {
    size_t digits; /* 0: it is none */
    char text[2 * UUID_SIZE];
    const char *label; /* behind its dot, or NULL */
    size_t label_len;
};

/* A UUID is as good in any case, with or without dashes, spaces and braces. */
static struct wanted_uuid parse_uuid(const char *text, size_t len)
{
    struct wanted_uuid wanted = {0};
    const char *dot = memchr(text, '.', len);
    size_t end = dot ? (size_t)(dot - text) : len;
    for (size_t i = 0; i < end; i++) {
        if (text[i] && strchr("- {}", text[i]))
            continue;
        if (hex_digit((unsigned char)text[i]) < 0 || wanted.digits == sizeof wanted.text)
            return (struct wanted_uuid){0};
        wanted.text[wanted.digits++] = (char)tolower((unsigned char)text[i]);
    }
    /* A label is behind a whole one. */
    if (dot && wanted.digits < sizeof wanted.text)
        return (struct wanted_uuid){0};
    if (dot) {
        wanted.label = dot + 1;
        wanted.label_len = len - end - 1;
    }
    return wanted;
}

/* How text compares with `label`, where all before it was equal to the whole of a name or UUID. has_dot: text
 * has one behind that, and a label or its beginning, or nothing. beginning: what it is when more could
 * follow.
 */
static enum console_rank match_label(const struct console *console, bool has_dot, const char *text,
                                     size_t len, enum console_rank beginning)
{
    size_t label_len = console->label_len;
    if (!has_dot)
        return label_len ? beginning : MATCH_WHOLE;
    if (!label_len || len > label_len || memcmp(text, console_label(console), len) != 0)
        return MATCH_NONE;
    return len == label_len ? MATCH_WHOLE : beginning;
}

static enum console_rank match_name(const struct console *console, const char *text, size_t len)
{
    size_t name_len = console->name_len;
    if (memcmp(text, console->name, len < name_len ? len : name_len) != 0)
        return MATCH_NONE;
    if (len < name_len)
        return MATCH_NAME_BEGINNING;
    if (len == name_len)
        return match_label(console, false, NULL, 0, MATCH_NAME_BEGINNING);
    if (text[name_len] != '.')
        return MATCH_NONE;
    return match_label(console, true, text + name_len + 1, len - name_len - 1, MATCH_NAME_BEGINNING);
}

static enum console_rank match_uuid(const struct console *console, const struct wanted_uuid *wanted)
{
    const char *identity = console->entry->identity;
    if (!wanted->digits || memcmp(identity, "uuid:", 5) != 0 ||
        memcmp(identity + 5, wanted->text, wanted->digits) != 0)
        return MATCH_NONE;
    if (wanted->digits < sizeof wanted->text)
        return MATCH_UUID_BEGINNING;
    return match_label(console, wanted->label != NULL, wanted->label, wanted->label_len,
                       MATCH_UUID_BEGINNING);
}

/* Another console that the person may mean. */
static void add_match(struct console_find *find, const struct console *console)
{
    if (find->count++ >= QUERY_MATCHES)
        return;
    struct console_match *match = &find->matches[find->len++];
    match->entry = console->entry;
    directory_pin(console->owner->shared->directory, match->entry);
    console_fill_row(console, &match->row);
}

/* Collects what matches that well. */
static void collect(struct console_find *find, enum console_rank rank)
{
    struct wanted_uuid wanted = parse_uuid(find->text, find->text_len);
    struct console *console;
    DL_FOREACH(find->owner->consoles, console)
    {
        if (console_is_shown(console) &&
            (match_name(console, find->text, find->text_len) == rank || match_uuid(console, &wanted) == rank))
            add_match(find, console);
    }
}

/* Letter. */
static void on_find(void *arg)
{
    struct console_find *find = arg;
    find->rank = find->text_len ? MATCH_WHOLE : MATCH_NONE;
    while (find->rank != MATCH_NONE) {
        collect(find, find->rank);
        if (find->count)
            break;
        find->rank--;
    }
    console_query_answer(&find->query);
}

void console_find_ask(struct console_owner *owner, const char *text, size_t len,
                      const struct console_query *query)
{
    struct console_find *find = xcalloc(1, sizeof *find);
    find->query = *query;
    find->owner = owner;
    if (len <= sizeof find->text) {
        find->text_len = len;
        memcpy(find->text, text, len);
    }
    loop_post(owner->loop, on_find, find);
}

void console_find_free(struct console_find *find)
{
    for (unsigned i = 0; i < find->len; i++)
        if (find->matches[i].entry)
            console_unpin(find->matches[i].entry);
    free(find);
}

/* Letter: the entry has been brought back. */
static void on_unpin(void *arg)
{
    struct directory_entry *entry = arg;
    struct console_owner *owner = entry->owner;
    directory_unpin(owner->shared->directory, entry);
    if (!entry->console)
        directory_release(owner->shared->directory, entry);
}

void console_unpin(struct directory_entry *entry)
{
    struct console_owner *owner = entry->owner;
    loop_post(owner->loop, on_unpin, entry);
}
