/* events: what has happened to consoles, and what happens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_conn.h"
#include "display.h"

static const struct command_option options[] = {
    {'f', "follow", NULL, "goes on with new ones as they happen"},
    {'j', "json", NULL, "prints one JSON object a line"},
    {0},
};

static void print_event(const json_t *event)
{
    char when[DISPLAY_SHORT];
    char *type = shown_field(event, "type"), *name = shown_field(event, "name");
    char *label = shown_field(event, "label"), *who = shown_field(event, "who");
    char *detail = shown_field(event, "detail");
    printf("%s  %-16s", time_long(field_text(event, "time"), when), type);
    if (strcmp(type, "lost") == 0)
        printf("  %lld events", (long long)field_number(event, "count"));
    if (*name || *label)
        printf("  %s%s%s", name, *label ? "." : "", label);
    if (field_number(event, "port"))
        printf("  port %lld", (long long)field_number(event, "port"));
    if (*who)
        printf("  %s", who);
    if (*detail)
        printf("  %s", detail);
    putchar('\n');
    free(type);
    free(name);
    free(label);
    free(who);
    free(detail);
}

static int run(const struct call *call)
{
    struct ctl_conn conn;
    bool follow = call_option(call, "follow");
    json_t *request = ctl_request("events", NULL);
    json_object_set_new(request, "follow", json_boolean(follow));
    ctl_open(&conn, call->socket);
    json_decref(ctl_ask(&conn, request));
    for (;;) {
        json_t *line = ctl_need(&conn, follow ? -1 : CTL_PATIENCE_MS);
        const json_t *event = json_object_get(line, "event");
        bool is_end = json_is_true(json_object_get(line, "end"));
        if (event && call_option(call, "json"))
            print_json(event);
        else if (event)
            print_event(event);
        json_decref(line);
        /* Whoever reads a pipe wants an event when it happens. */
        if (follow)
            flush_output();
        if (is_end)
            break;
    }
    ctl_close(&conn);
    return CTL_OK;
}

const struct command events_command = {
    .name = "events",
    .arguments = "",
    .summary = "prints what has happened to consoles",
    .description = "Prints the last 1,000 events: VMs that came, went, were renamed or migrated,\n"
                   "users that came and went, changes of access, consoles that ended.\n",
    .options = options,
    .run = run,
};
