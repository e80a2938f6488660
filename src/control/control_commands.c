#include "control/control_commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/control_json.h"
#include "control/control_parts.h"
#include "control/stats.h"
#include "vspc/console_json.h"

enum { NOTICE_MAX = 1000 }; /* bytes of a line to users */

static void run_list(struct control_request *request)
{
    control_list_request(request->control, request);
}

static void run_send(struct control_request *request)
{
    const json_t *body = request->body;
    if (!json_object_get(body, "text") && !control_request_flag(request, "enter") &&
        !control_request_flag(request, "break"))
        control_request_fail(request, "usage", NULL, "\"send\" needs \"text\", \"enter\" or \"break\"");
    else
        control_console_run(request);
}

static void run_broadcast(struct control_request *request)
{
    size_t len;
    control_request_text(request, "text", &len);
    if (len > NOTICE_MAX)
        control_request_fail(request, "usage", NULL, "\"text\" should have at most %d bytes", NOTICE_MAX);
    else
        control_console_run(request);
}

static void run_kick(struct control_request *request)
{
    if (json_integer_value(json_object_get(request->body, "user")) < 0)
        control_request_fail(request, "usage", NULL, "\"user\" should be a number of \"users\"");
    else
        control_console_run(request);
}

static void run_attach(struct control_request *request)
{
    enum console_access access;
    size_t len = 0;
    const char *name = control_request_text(request, "access", NULL);
    control_request_text(request, "as", &len);
    if (name && !console_access_parse(name, &access))
        control_request_fail(
            request, "usage", NULL,
            "\"access\" should be rw, ro, exclusive, exclusive-write or fallback, not \"%s\"", name);
    else if (len > QUERY_WHO_MAX)
        control_request_fail(request, "usage", NULL, "\"as\" should have at most %d bytes", QUERY_WHO_MAX);
    else
        control_console_run(request);
}

static void run_events(struct control_request *request)
{
    const json_t *recent = json_object_get(request->body, "recent");
    struct control_source *events = event_list_read(request->control->events, !json_is_false(recent),
                                                    control_request_flag(request, "follow"));
    char *line = control_request_line(request, NULL);
    control_request_answer(request, line, events);
    free(line);
}

static void run_stats(struct control_request *request)
{
    const char *format = control_request_text(request, "format", NULL);
    if (!format || strcmp(format, "json") == 0) {
        control_request_succeed(request, json_pack("{s:o}", "stats", stats_json(request->control)));
    } else if (strcmp(format, "prometheus") == 0) {
        char *text = stats_prometheus(request->control);
        control_request_succeed(request, json_pack("{s:s}", "text", text));
        free(text);
    } else {
        control_request_fail(request, "usage", NULL, "\"format\" should be json or prometheus, not \"%s\"",
                             format);
    }
}

static void run_reload(struct control_request *request)
{
    const struct control_server *server = request->control->server;
    char *error = NULL;
    char **restart = NULL;
    if (!server->reload(server->arg, &error, &restart)) {
        control_request_fail(request, "failed", NULL, "%s", error);
        free(error);
        return;
    }
    json_t *keys = json_array();
    for (size_t i = 0; restart && restart[i]; i++) {
        json_array_append_new(keys, json_string(restart[i]));
        free(restart[i]);
    }
    free(restart);
    control_request_succeed(request, json_pack("{s:o}", "restart", keys));
}

static void on_reopened(void *arg)
{
    struct control_request *request = arg;
    if (!request->is_answered)
        control_request_succeed(request, NULL);
    control_request_arrived(request);
}

static void on_disk_timeout(struct loop_timer *timer)
{
    struct control_request *request = container_of(timer, struct control_request, timeout);
    control_request_fail(request, "failed", NULL,
                         "the disk does not answer, the logs are reopened when it does");
}

static void run_reopen(struct control_request *request)
{
    const struct control_server *server = request->control->server;
    request->pending = 1;
    loop_timer_arm(server->loop, &request->timeout, CONTROL_ANSWER_MS, on_disk_timeout);
    server->reopen(server->arg, on_reopened, request);
}

static void run_drain(struct control_request *request)
{
    const struct control_server *server = request->control->server;
    server->drain(server->arg, !control_request_flag(request, "off"));
    control_request_succeed(request, NULL);
}

static void run_version(struct control_request *request)
{
    const struct control_server *server = request->control->server;
    const char *node_id = server->config(server->arg)->server.node_id;
    control_request_succeed(request,
                            json_pack("{s:s, s:i, s:o, s:o, s:b}", "version", VSPC_VERSION, "pid",
                                      (int)getpid(), "node_id", console_json_text(node_id, strlen(node_id)),
                                      "started", console_json_time(request->control->started), "draining",
                                      server->is_draining(server->arg)));
}

/* What may be asked, in the order of vspc-control(7). */
static const struct control_command commands[] = {
    {"list", run_list, {NULL}, 0, 0, false},
    {"show", control_console_run, {"console"}, 1, ORDER_SHOW, false},
    {"users", control_console_run, {"console"}, 1, ORDER_USERS, false},
    {"send", run_send, {"console", "text", "enter", "break", "force"}, 1, ORDER_SEND, true},
    {"broadcast", run_broadcast, {"console", "text"}, 2, ORDER_NOTICE, true},
    {"kick", run_kick, {"console", "user"}, 2, ORDER_KICK, true},
    {"disconnect", control_console_run, {"console"}, 1, ORDER_DISCONNECT, true},
    {"attach", run_attach, {"console", "access", "force", "as"}, 1, ORDER_ATTACH, true},
    {"events", run_events, {"recent", "follow"}, 0, 0, false},
    {"stats", run_stats, {"format"}, 0, 0, false},
    {"reload", run_reload, {NULL}, 0, 0, true},
    {"reopen", run_reopen, {NULL}, 0, 0, true},
    {"drain", run_drain, {"off"}, 0, 0, true},
    {"version", run_version, {NULL}, 0, 0, false},
};

/* The type of each field, which is the same in all commands. */
static const struct {
    const char *name;
    enum { FIELD_TEXT, FIELD_BYTES, FIELD_FLAG, FIELD_NUMBER } type;
} fields[] = {
    {"console", FIELD_TEXT}, {"text", FIELD_BYTES},  {"access", FIELD_TEXT}, {"as", FIELD_TEXT},
    {"format", FIELD_TEXT},  {"enter", FIELD_FLAG},  {"break", FIELD_FLAG},  {"force", FIELD_FLAG},
    {"recent", FIELD_FLAG},  {"follow", FIELD_FLAG}, {"off", FIELD_FLAG},    {"user", FIELD_NUMBER},
};

const struct control_command *control_command_find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* What the field's value should be instead, or NULL when it is right. */
static const char *expected(const char *name, const json_t *value)
{
    size_t i = 0;
    while (strcmp(fields[i].name, name) != 0)
        i++;
    switch (fields[i].type) {
    case FIELD_TEXT:
        return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value)
                   ? NULL
                   : "a text without NUL";
    case FIELD_BYTES:
        return json_is_string(value) ? NULL : "a text";
    case FIELD_FLAG:
        return json_is_boolean(value) ? NULL : "true or false";
    default:
        return json_is_integer(value) ? NULL : "a whole number";
    }
}

static bool knows(const struct control_command *command, const char *field)
{
    static const char *const always[] = {"v", "command", "id"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (strcmp(field, always[i]) == 0)
            return true;
    for (size_t i = 0; i < COMMAND_FIELDS && command->fields[i]; i++)
        if (strcmp(field, command->fields[i]) == 0)
            return true;
    return false;
}

char *control_command_check(const struct control_command *command, const json_t *body)
{
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)body, field, value)
    {
        if (!knows(command, field))
            return xasprintf("\"%s\" knows no \"%s\"", command->name, field);
    }
    for (size_t i = 0; i < COMMAND_FIELDS && command->fields[i]; i++) {
        value = json_object_get(body, command->fields[i]);
        if (!value && i < command->required)
            return xasprintf("\"%s\" needs \"%s\"", command->name, command->fields[i]);
        const char *right = value ? expected(command->fields[i], value) : NULL;
        if (right)
            return xasprintf("\"%s\" should be %s", command->fields[i], right);
    }
    return NULL;
}
