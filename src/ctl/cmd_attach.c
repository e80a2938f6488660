/* attach: a console in this terminal. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "session.h"
#include "terminal.h"

enum { DEFAULT_ESCAPE = 0x1d, WAIT_MAX_S = 86400 };

static const struct command_option options[] = {
    {'m', "monitor", NULL, "only watches"},
    {'x', "exclusive", NULL, "nobody else may type, and nobody new attach\nwith vspcctl"},
    {'w', "exclusive-write", NULL, "nobody else may type"},
    {'b', "fallback", NULL, "only watches for as long as somebody else holds\nthe console"},
    {'f', "force", NULL, "takes write access from whoever holds it"},
    {'e', "escape", "CHAR", "the escape key: ^] (default), another, or none"},
    {'W', "wait", "SECONDS",
     "how long output must have been silent, after the\nend of standard input, to leave (1)"},
    {0},
};

/* Which access the options ask for. */
static const char *parse_access(const struct call *call)
{
    static const char *const modes[][2] = {{"monitor", "ro"},
                                           {"exclusive", "exclusive"},
                                           {"exclusive-write", "exclusive-write"},
                                           {"fallback", "fallback"}};
    const char *access = NULL;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (!call_option(call, modes[i][0]))
            continue;
        if (access)
            fail_usage(call, "--monitor, --exclusive, --exclusive-write and --fallback do not go together");
        access = modes[i][1];
    }
    return access ? access : "rw";
}

/* "^]", one character, or "none". */
static int parse_escape(const struct call *call)
{
    const char *text = call_option(call, "escape");
    if (!text)
        return DEFAULT_ESCAPE;
    if (strcmp(text, "none") == 0)
        return SESSION_NO_ESCAPE;
    if (text[0] == '^' && text[1] && !text[2])
        return text[1] == '?' ? 0x7f : text[1] & 0x1f;
    if (!text[0] || text[1])
        fail_usage(call, "--escape wants one character, ^ and a letter, or none");
    return (unsigned char)text[0];
}

/* What other users are told of who this is, beside the uid that the kernel tells. */
static void set_name(json_t *request)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *entry = getpwuid(getuid());
    json_t *name = sudo && *sudo ? json_string(sudo) : entry ? json_string(entry->pw_name) : NULL;
    if (name && json_string_length(name) <= 64)
        json_object_set(request, "as", name);
    json_decref(name);
}

static int run(const struct call *call)
{
    struct ctl_conn conn;
    struct session session = {
        .socket = call->socket,
        .access = parse_access(call),
        .wait_ms = (unsigned)call_number(call, "wait", 0, WAIT_MAX_S, 1) * 1000,
        .escape = parse_escape(call),
    };
    bool is_terminal = isatty(STDIN_FILENO);
    if (!is_terminal)
        session.escape = SESSION_NO_ESCAPE;
    /* Who only watches has nothing to type; the end of a script's input is not the end of watching. */
    session.reads_keys = is_terminal || strcmp(session.access, "ro") != 0;
    json_t *request = ctl_request("attach", call->args[0]);
    json_object_set_new(request, "access", json_string(session.access));
    if (call_option(call, "force"))
        json_object_set_new(request, "force", json_true());
    set_name(request);
    ctl_open(&conn, call->socket);
    json_decref(ctl_ask(&conn, request));
    terminal_raw();
    bool left = session_run(&session, &conn);
    terminal_restore();
    ctl_close(&conn);
    if (!left)
        fail(CTL_FAILED, "vspcd has closed the connection");
    return CTL_OK;
}

const struct command attach_command = {
    .name = "attach",
    .arguments = "NAME",
    .summary = "attaches to a console in this terminal",
    .description = "Attaches to a console: what its VM prints is shown, what you type goes to it.\n"
                   "Keys behind ^]: . leave, b BREAK, r read-only on and off, f take write access,\n"
                   "w who, l replay, ? help, ^] itself. Where standard input is no terminal, all of\n"
                   "it is typed, and vspcctl leaves when output is silent behind its end.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
