/* list: all consoles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consoles.h"
#include "display.h"
#include "table.h"

static const struct command_option options[] = {
    {'r', "regex", NULL, "PATTERNs are extended regular expressions"},
    {'j', "json", NULL, "prints one JSON array"},
    {'0', "null", NULL, "prints names alone, each with a NUL behind it"},
    {'H', "no-header", NULL, "prints no titles above the columns"},
    {0},
};

static const struct table_column columns[] = {
    {"NAME", false, 10, 0}, {"UUID", false, 8, 4},  {"STATE", false, 5, 0},  {"PORT", true, 0, 0},
    {"USERS", true, 0, 0},  {"SINCE", false, 0, 1}, {"FROM-VM", true, 0, 2}, {"TO-VM", true, 0, 3},
};

/* One object a line, so that the array is also good for grep. */
static void list_json(const json_t *consoles)
{
    size_t i;
    json_t *console;
    putchar('[');
    json_array_foreach(consoles, i, console)
    {
        fputs(i ? ",\n" : "\n", stdout);
        put_json(console);
    }
    puts(i ? "\n]" : "]");
}

/* Names as they are; one that holds a NUL itself cannot be typed anyway, and its console has another. */
static void list_names(const json_t *consoles)
{
    size_t i, len;
    json_t *console;
    json_array_foreach(consoles, i, console)
    {
        char *name = console_name(console, &len);
        if (len == 0 || strlen(name) < len)
            fputs(field_text(console, "uuid"), stdout);
        else
            fwrite(name, 1, len, stdout);
        putchar(0);
        free(name);
    }
}

/* For people: sizes and times are short. For scripts: they are whole. */
static void put_row(struct table *table, const json_t *console, bool is_short)
{
    char text[DISPLAY_SHORT];
    table_put(table, console_shown_name(console));
    table_put(table, shown_field(console, "uuid"));
    table_put(table, shown_field(console, "state"));
    table_put(table, xasprintf("%lld", (long long)field_number(console, "port")));
    table_put(table, xasprintf("%lld", (long long)field_number(console, "users")));
    const char *since = field_text(console, "since");
    table_put(table, is_short ? xstrdup(time_short(since, text)) : shown(since, strlen(since)));
    for (int i = 0; i < 2; i++) {
        json_int_t bytes = field_number(console, i ? "bytes_to_vm" : "bytes_from_vm");
        table_put(table,
                  is_short ? xstrdup(size_short((double)bytes, text)) : xasprintf("%lld", (long long)bytes));
    }
}

static int run(const struct call *call)
{
    struct ctl_conn conn;
    ctl_open(&conn, call->socket);
    json_t *consoles = consoles_matching(&conn, call, 0, call->count, call_option(call, "regex"));
    ctl_close(&conn);
    if (call_option(call, "json")) {
        list_json(consoles);
    } else if (call_option(call, "null")) {
        list_names(consoles);
    } else {
        size_t i;
        json_t *console;
        unsigned width = display_columns();
        struct table *table = table_new(columns, sizeof columns / sizeof *columns);
        json_array_foreach(consoles, i, console) put_row(table, console, width);
        table_print(table, stdout, width, !call_option(call, "no-header"));
        if (call->count && !json_array_size(consoles))
            complain(call_option(call, "regex") ? "no console matches"
                                                : "no console matches; 'web*' means all that begin with web");
    }
    json_decref(consoles);
    return CTL_OK;
}

const struct command list_command = {
    .name = "list",
    .arguments = "[PATTERN...]",
    .summary = "lists consoles",
    .description = "Lists consoles, sorted by name: those whose name, name.label or UUID one of the\n"
                   "PATTERNs matches (* ? [a-z]: quote them), or all. To a terminal, columns are cut\n"
                   "to its width, and sizes and times are short.\n",
    .options = options,
    .most = COMMAND_ANY,
    .run = run,
};
