/* send, broadcast, kick, disconnect: what changes consoles. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consoles.h"
#include "display.h"

static const struct command_option no_options[] = {{0}};
static const struct command_option regex_options[] = {
    {'r', "regex", NULL, "PATTERN is an extended regular expression"}, {0}};
static const struct command_option send_options[] = {
    {'a', "all", NULL, "NAME is a pattern: types into all that it matches"},
    {'r', "regex", NULL, "with --all: NAME is an extended regular expression"},
    {'b', "break", NULL, "sends a BREAK first"},
    {'e', "enter", NULL, "presses Enter (CR) behind TEXT"},
    {'f', "force", NULL, "types although somebody has exclusive access"},
    {0},
};

/* How asking many went. */
struct outcome {
    size_t consoles, done, refused;
    json_int_t users;
};

/* Says what an answer that is not ok says. What is wrong with the request is so for every console, and said
 * once: exits. */
static enum ctl_exit complain_about(const json_t *answer, const char *name)
{
    bool is_usage = strcmp(field_text(answer, "error"), "usage") == 0;
    enum ctl_exit code = ctl_complain(answer, is_usage ? NULL : name);
    if (is_usage)
        exit(CTL_USAGE);
    return code;
}

/* Asks the same of each console: what makes the request for one. Goes on where one cannot; exits when there
 * is none. */
static struct outcome ask_each(struct ctl_conn *conn, const json_t *consoles, const struct call *call,
                               json_t *(*make)(const struct call *call, const char *console))
{
    struct outcome outcome = {.consoles = json_array_size(consoles)};
    json_t *console;
    size_t i;
    if (outcome.consoles == 0) {
        char *pattern = shown(call->args[0], strlen(call->args[0]));
        fail(CTL_NO_CONSOLE, "no console matches '%s'", pattern);
    }
    json_array_foreach(consoles, i, console)
    {
        char *handle = console_handle(console), *name = console_shown_name(console);
        json_t *answer = ctl_try(conn, make(call, handle));
        if (!answer)
            fail(CTL_FAILED, "%s", conn->why);
        if (ctl_is_ok(answer)) {
            outcome.done++;
            outcome.users += field_number(answer, "users");
        } else {
            outcome.refused += complain_about(answer, name) == CTL_REFUSED;
        }
        json_decref(answer);
        free(handle);
        free(name);
    }
    return outcome;
}

/* What to exit with: 0 when all could, else what those could not have in common. */
static int outcome_exit(const struct outcome *outcome)
{
    if (outcome->done == outcome->consoles)
        return CTL_OK;
    return outcome->refused == outcome->consoles - outcome->done ? CTL_REFUSED : CTL_FAILED;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static json_t *send_request(const struct call *call, const char *console)
{
    static const char *const flags[] = {"enter", "break", "force"};
    json_t *request = ctl_request("send", console);
    char *text = call_text(call, 1);
    ctl_set_text(request, "text", text);
    free(text);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (call_option(call, flags[i]))
            json_object_set_new(request, flags[i], json_true());
    return request;
}

static int run_send(const struct call *call)
{
    struct ctl_conn conn;
    if (call->count == 1 && !call_option(call, "break") && !call_option(call, "enter"))
        fail_usage(call, "what is to be typed? Give TEXT, --enter or --break");
    if (call_option(call, "regex") && !call_option(call, "all"))
        fail_usage(call, "--regex goes with --all");
    ctl_open(&conn, call->socket);
    if (!call_option(call, "all")) {
        json_decref(ctl_ask(&conn, send_request(call, call->args[0])));
        ctl_close(&conn);
        return CTL_OK;
    }
    json_t *consoles = consoles_matching(&conn, call, 0, 1, call_option(call, "regex"));
    struct outcome outcome = ask_each(&conn, consoles, call, send_request);
    printf("Typed into %zu of %zu console%s.\n", outcome.done, outcome.consoles, plural(outcome.consoles));
    json_decref(consoles);
    ctl_close(&conn);
    return outcome_exit(&outcome);
}

static json_t *broadcast_request(const struct call *call, const char *console)
{
    json_t *request = ctl_request("broadcast", console);
    char *text = call_text(call, 1);
    ctl_set_text(request, "text", text);
    free(text);
    return request;
}

static int run_broadcast(const struct call *call)
{
    struct ctl_conn conn;
    ctl_open(&conn, call->socket);
    json_t *consoles = consoles_matching(&conn, call, 0, 1, call_option(call, "regex"));
    struct outcome outcome = ask_each(&conn, consoles, call, broadcast_request);
    printf("Shown to %lld user%s of %zu console%s.\n", (long long)outcome.users,
           plural((size_t)outcome.users), outcome.done, plural(outcome.done));
    json_decref(consoles);
    ctl_close(&conn);
    return outcome_exit(&outcome);
}

static int run_kick(const struct call *call)
{
    char *end;
    errno = 0;
    long long user = strtoll(call->args[1], &end, 10);
    if (errno || end == call->args[1] || *end || user < 0)
        fail_usage(call, "ID is a number that 'vspcctl users NAME' shows");
    json_t *request = ctl_request("kick", call->args[0]);
    json_object_set_new(request, "user", json_integer(user));
    json_decref(ctl_ask_once(call->socket, request));
    return CTL_OK;
}

static int run_disconnect(const struct call *call)
{
    json_decref(ctl_ask_once(call->socket, ctl_request("disconnect", call->args[0])));
    return CTL_OK;
}

const struct command send_command = {
    .name = "send",
    .arguments = "NAME [TEXT...]",
    .summary = "types into a console, or into many",
    .description = "Types TEXT into a console, its words with a space between them. Options stand\n"
                   "before TEXT, and -- where it begins with a dash. 'vspcctl send --all --enter\n"
                   "\"web-*\" uptime' types into many, and goes on where one cannot be typed into.\n",
    .options = send_options,
    .least = 1,
    .most = COMMAND_ANY,
    .text_at = 1,
    .run = run_send,
};

const struct command broadcast_command = {
    .name = "broadcast",
    .arguments = "PATTERN TEXT...",
    .summary = "shows a notice to the users of consoles",
    .description = "Shows the line [vspc: TEXT] to the users of all consoles whose name, name.label\n"
                   "or UUID PATTERN matches ('*': all of them). Raw users are never shown any.\n",
    .options = regex_options,
    .least = 2,
    .most = COMMAND_ANY,
    .text_at = 1,
    .run = run_broadcast,
};

const struct command kick_command = {
    .name = "kick",
    .arguments = "NAME ID",
    .summary = "disconnects a user",
    .description = "Disconnects the user of console NAME with this ID, which 'vspcctl users' shows.\n",
    .options = no_options,
    .least = 2,
    .most = 2,
    .run = run_kick,
};

const struct command disconnect_command = {
    .name = "disconnect",
    .arguments = "NAME",
    .summary = "closes a VM's connection; its host connects again",
    .description = "Closes the connection of a console's VM, which its host will make again. Users\n"
                   "stay attached meanwhile.\n",
    .options = no_options,
    .least = 1,
    .most = 1,
    .run = run_disconnect,
};
