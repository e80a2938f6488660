#include "control/control_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "control/control_commands.h"
#include "control/control_json.h"
#include "control/control_parts.h"
#include "vspc/console_json.h"

static void free_finds(struct control_request *request)
{
    for (unsigned i = 0; request->finds && request->finds[i]; i++)
        console_find_free(request->finds[i]);
    free(request->finds);
}

/* Frees the request when nobody needs it any more. */
static void settle(struct control_request *request)
{
    if (!request->is_answered || request->pending)
        return;
    if (request->control) {
        loop_timer_disarm(request->control->server->loop, &request->timeout);
        DL_DELETE(request->control->requests, request);
    }
    free_finds(request);
    json_decref(request->body);
    free(request);
}

void control_request_arrived(struct control_request *request)
{
    request->pending--;
    settle(request);
}

void control_request_forsake(struct control_request *request)
{
    request->client = NULL;
    request->control->forsaken++;
}

void control_request_abandon(struct control_request *request)
{
    loop_timer_disarm(request->control->server->loop, &request->timeout);
    DL_DELETE(request->control->requests, request);
    request->control = NULL;
    if (request->client)
        request->client->request = NULL;
    request->client = NULL;
    request->is_answered = true;
    settle(request);
}

const char *control_request_text(const struct control_request *request, const char *member, size_t *len)
{
    const json_t *text = json_object_get(request->body, member);
    if (len)
        *len = json_string_length(text);
    return json_string_value(text);
}

bool control_request_flag(const struct control_request *request, const char *member)
{
    return json_is_true(json_object_get(request->body, member));
}

/* Whoever changes something is in the log. */
static void log_command(const struct control_request *request, const char *result)
{
    size_t len = 0;
    const char *console = request->command ? control_request_text(request, "console", &len) : NULL;
    if (!request->command || !request->command->changes)
        return;
    const char *name = request->row.name_len ? request->row.name : console;
    if (request->row.name_len)
        len = request->row.name_len;
    log_info("Control command command=%s%s%s%s uid=%d pid=%d result=%s", request->command->name,
             name ? " vm=" : "", name ? quote(name, len).s : "",
             control_request_flag(request, "off") ? " off=true" : "", (int)request->peer.uid,
             (int)request->peer.pid, result);
}

/* The one line that ends an answer: v, id, ok, and the members. */
static char *make_line(const struct control_request *request, bool ok, json_t *members)
{
    json_t *line = json_pack("{s:i}", "v", 1);
    json_t *id = json_object_get(request->body, "id");
    if (id)
        json_object_set(line, "id", id);
    json_object_set_new(line, "ok", json_boolean(ok));
    if (members)
        json_object_update(line, members);
    json_decref(members);
    char *text = json_dumps(line, JSON_COMPACT);
    char *with_newline = xasprintf("%s\n", text);
    free(text);
    json_decref(line);
    return with_newline;
}

char *control_request_line(struct control_request *request, json_t *members)
{
    return make_line(request, true, members);
}

/* Gives the client what it is due, if it is still there. */
static void deliver(struct control_request *request, const char *text, struct control_source *source,
                    const char *result)
{
    struct control_client *client = request->client;
    if (request->is_answered)
        return;
    log_command(request, result);
    loop_timer_disarm(request->control->server->loop, &request->timeout);
    request->is_answered = true;
    request->client = NULL;
    request->control->forsaken -= !client;
    /* Answers on their way may be late, and need not wait for it. */
    json_decref(request->body);
    request->body = NULL;
    if (client) {
        control_client_answer(client, text, strlen(text), source);
        control_client_serve(client);
    } else if (source) {
        source->free(source);
    }
    settle(request);
}

void control_request_answer(struct control_request *request, const char *text, struct control_source *source)
{
    deliver(request, text, source, "ok");
}

void control_request_succeed(struct control_request *request, json_t *members)
{
    char *line = make_line(request, true, members);
    deliver(request, line, NULL, "ok");
    free(line);
}

void control_request_fail(struct control_request *request, const char *error, json_t *members,
                          const char *format, ...)
{
    va_list args;
    char *message = NULL;
    va_start(args, format);
    int len = vasprintf(&message, format, args);
    va_end(args);
    json_t *all = json_pack("{s:s, s:o}", "error", error, "message",
                            console_json_text(message, len < 0 ? 0 : (size_t)len));
    if (members)
        json_object_update(all, members);
    json_decref(members);
    char *line = make_line(request, false, all);
    deliver(request, line, NULL, error);
    free(line);
    free(message);
}

static struct control_request *request_new(struct control_client *client)
{
    struct control_request *request = xcalloc(1, sizeof *request);
    request->control = client->control;
    request->client = client;
    request->peer = client->peer;
    client->request = request;
    DL_APPEND(client->control->requests, request);
    return request;
}

void control_request_too_long(struct control_client *client)
{
    control_client_end(client);
    control_request_fail(request_new(client), "usage", NULL, "the line is longer than %d bytes",
                         CLIENT_LINE_MAX);
}

/* Parses the line. Result: whether it can be a request; otherwise it has been answered. */
static bool parse(struct control_request *request, const char *line, size_t len)
{
    json_error_t error;
    json_t *body = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_object(body)) {
        json_decref(body);
        control_request_fail(request, "usage", NULL, "the line should be one JSON object: %s",
                             body ? "it is something else" : error.text);
        return false;
    }
    request->body = body;
    const json_t *version = json_object_get(body, "v");
    if (!json_is_integer(version)) {
        control_request_fail(request, "usage", NULL, "\"v\" should be the version of the protocol, 1");
        return false;
    }
    if (json_integer_value(version) == 1)
        return true;
    control_request_fail(request, "version", NULL, "this vspcd speaks version 1 of the protocol");
    return false;
}

void control_request_begin(struct control_client *client, const char *line, size_t len)
{
    struct control_request *request = request_new(client);
    if (!parse(request, line, len))
        return;
    const char *name = control_request_text(request, "command", NULL);
    const struct control_command *command = name ? control_command_find(name) : NULL;
    if (!command) {
        control_request_fail(request, "usage", NULL,
                             name ? "there is no command \"%s\"" : "\"command\" should be a text", name);
        return;
    }
    char *wrong = control_command_check(command, request->body);
    if (wrong) {
        control_request_fail(request, "usage", NULL, "%s", wrong);
        free(wrong);
        return;
    }
    request->command = command;
    command->run(request);
}
