/* show, port, users: one console. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_conn.h"
#include "display.h"
#include "table.h"

static const struct command_option no_options[] = {{0}};
static const struct command_option json_options[] = {{'j', "json", NULL, "prints one JSON value"}, {0}};

/* A line of show, unless the value is empty. Frees it. */
static void print_field(const char *name, char *value)
{
    if (*value)
        printf("%-12s %s\n", name, value);
    free(value);
}

/* Bytes, exactly and as people say them. */
static char *size_text(const json_t *object, const char *key)
{
    char text[DISPLAY_SHORT];
    json_int_t bytes = field_number(object, key);
    size_short((double)bytes, text);
    return bytes < 1000 ? xasprintf("%lld bytes", (long long)bytes)
                        : xasprintf("%lld bytes (%s)", (long long)bytes, text);
}

static int show(const struct call *call)
{
    char since[DISPLAY_SHORT];
    json_t *answer = ctl_ask_once(call->socket, ctl_request("show", call->args[0]));
    const json_t *console = json_object_get(answer, "console");
    if (call_option(call, "json")) {
        print_json(console);
        json_decref(answer);
        return CTL_OK;
    }
    static const char *const plain[][2] = {
        {"name", "name"}, {"label", "label"}, {"uuid", "uuid"}, {"identity", "identity"}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        print_field(plain[i][0], shown_field(console, plain[i][1]));
    char *state = shown_field(console, "state");
    print_field("state", xasprintf("%s since %s", state, time_long(field_text(console, "since"), since)));
    free(state);
    print_field("port", xasprintf("%lld", (long long)field_number(console, "port")));
    print_field("endpoint", shown_field(console, "endpoint"));
    print_field("host", shown_field(console, "peer"));
    print_field("users", xasprintf("%lld", (long long)field_number(console, "users")));
    print_field("exclusive", shown_field(console, "holder"));
    print_field("from VM", size_text(console, "bytes_from_vm"));
    print_field("to VM", size_text(console, "bytes_to_vm"));
    print_field("scrollback", size_text(console, "scrollback"));
    print_field("log", shown_field(console, "log"));
    print_field("worker", xasprintf("%lld", (long long)field_number(console, "worker")));
    json_decref(answer);
    return CTL_OK;
}

static int port(const struct call *call)
{
    json_t *answer = ctl_ask_once(call->socket, ctl_request("show", call->args[0]));
    printf("%lld\n", (long long)field_number(json_object_get(answer, "console"), "port"));
    json_decref(answer);
    return CTL_OK;
}

/* What a user may do, and does. */
static char *access_text(const json_t *user)
{
    char *access = shown_field(user, "access");
    bool is_held_back = !json_is_true(json_object_get(user, "writes")) && strcmp(access, "ro") != 0;
    char *text = xasprintf("%s%s", access, is_held_back ? " (held)" : "");
    free(access);
    return text;
}

static int users(const struct call *call)
{
    static const struct table_column columns[] = {
        {"ID", true, 0, 0},     {"WHO", false, 12, 0},   {"KIND", false, 0, 1},     {"ACCESS", false, 0, 0},
        {"SINCE", false, 0, 2}, {"TO-USER", true, 0, 5}, {"FROM-USER", true, 0, 4}, {"BEHIND", true, 0, 3}};
    static const char *const sizes[] = {"bytes_to_user", "bytes_from_user", "behind"};
    char text[DISPLAY_SHORT];
    json_t *answer = ctl_ask_once(call->socket, ctl_request("users", call->args[0])), *user;
    const json_t *all = json_object_get(answer, "users");
    unsigned width = display_columns();
    size_t i;
    if (call_option(call, "json")) {
        print_json(all);
        json_decref(answer);
        return CTL_OK;
    }
    struct table *table = table_new(columns, sizeof columns / sizeof *columns);
    json_array_foreach(all, i, user)
    {
        table_put(table, xasprintf("%lld", (long long)field_number(user, "id")));
        table_put(table, shown_field(user, "who"));
        table_put(table, shown_field(user, "kind"));
        table_put(table, access_text(user));
        table_put(table,
                  width ? xstrdup(time_short(field_text(user, "since"), text)) : shown_field(user, "since"));
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            json_int_t bytes = field_number(user, sizes[j]);
            table_put(table,
                      width ? xstrdup(size_short((double)bytes, text)) : xasprintf("%lld", (long long)bytes));
        }
    }
    table_print(table, stdout, width, true);
    json_decref(answer);
    return CTL_OK;
}

#define NAME_IS "NAME is a VM's name, or its UUID in any usual form, or the beginning of either.\n"

const struct command show_command = {
    .name = "show",
    .arguments = "NAME",
    .summary = "tells all about a console",
    .description = "Tells all about a console: its state, where its users connect, where its host\n"
                   "connects from, its log.\n" NAME_IS,
    .options = json_options,
    .least = 1,
    .most = 1,
    .run = show,
};

const struct command port_command = {
    .name = "port",
    .arguments = "NAME",
    .summary = "prints the TCP port of a console's users",
    .description = "Prints the TCP port of a console's users, the number alone:\n"
                   "telnet localhost $(vspcctl port web-1)\n" NAME_IS,
    .options = no_options,
    .least = 1,
    .most = 1,
    .run = port,
};

const struct command users_command = {
    .name = "users",
    .arguments = "NAME",
    .summary = "lists the users of a console",
    .description = "Lists the users of a console: who they are, whether they may type, and how far\n"
                   "behind they are. \"(held)\" stands at those who may not, as somebody else has\n"
                   "exclusive access. ID is what 'vspcctl kick' wants.\n" NAME_IS,
    .options = json_options,
    .least = 1,
    .most = 1,
    .run = users,
};
