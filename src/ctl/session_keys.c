/* The keys of an attached console that are vspcctl's: the escape key, and what follows it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consoles.h"
#include "display.h"
#include "session.h"

const char *escape_text(int escape, char out[8])
{
    if (escape < 0x20 || escape == 0x7f)
        snprintf(out, 8, "^%c", escape ^ 0x40);
    else if (escape < 0x7f)
        snprintf(out, 8, "%c", escape);
    else
        snprintf(out, 8, "\\x%02x", (uint8_t)escape);
    return out;
}

static void help(struct session *s)
{
    static const char *const lines[] = {".  leave",
                                        "b  send a BREAK",
                                        "r  read-only, on and off",
                                        "f  take write access by force",
                                        "w  who is here",
                                        "l  show again what was printed last",
                                        "?  this help"};
    char escape[8], *last;
    escape_text(s->escape, escape);
    char *first = xasprintf("[vspc: behind %s these keys are for vspcctl:", escape);
    session_put_line(s, first);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *line = xasprintf("  %s", lines[i]);
        session_put_line(s, line);
        free(line);
    }
    last = xasprintf("  %s itself, to the console]", escape);
    session_put_line(s, last);
    session_end_lines(s);
    free(first);
    free(last);
}

static void ask_access(struct session *s, const char *access, bool force)
{
    json_t *object = json_object();
    json_object_set_new(object, "access", json_string(access));
    json_object_set_new(object, "force", json_boolean(force));
    session_send(s, object);
    s->is_change_awaited = true;
}

/* What to ask for to be able to type: what was asked for at first, if that was not only to watch. */
static const char *write_access(const struct session *s)
{
    return strcmp(s->access, "ro") == 0 ? "rw" : s->access;
}

/* Asks over a connection of its own, as this one is a console now. */
static void who(struct session *s)
{
    struct ctl_conn conn;
    size_t i;
    json_t *user, *answer = NULL;
    if (s->console && ctl_connect(&conn, s->socket) == 0) {
        char *handle = console_handle(s->console);
        answer = ctl_try(&conn, ctl_request("users", handle));
        free(handle);
        ctl_close(&conn);
    }
    if (!ctl_is_ok(answer))
        session_tell(s, "vspcd does not tell who is here");
    json_array_foreach(ctl_is_ok(answer) ? json_object_get(answer, "users") : NULL, i, user)
    {
        char *name = shown_field(user, "who"), *kind = shown_field(user, "kind");
        char *access = shown_field(user, "access");
        char *line = xasprintf("[vspc: user %lld: %s, %s, %s]", (long long)field_number(user, "id"), name,
                               kind, access);
        session_put_line(s, line);
        free(line);
        free(access);
        free(kind);
        free(name);
    }
    session_end_lines(s);
    json_decref(answer);
}

static void run_key(struct session *s, uint8_t key)
{
    static const uint8_t break_mark[] = {TN_IAC, TN_BREAK};
    json_t *object;
    switch (key) {
    case '.':
        s->left = true;
        break;
    case 'b':
        bytes_put(&s->to_server, break_mark, sizeof break_mark);
        break;
    case 'r':
        ask_access(s, strcmp(s->now, "ro") == 0 ? write_access(s) : "ro", false);
        break;
    case 'f':
        ask_access(s, write_access(s), true);
        break;
    case 'w':
        who(s);
        break;
    case 'l':
        object = json_object();
        json_object_set_new(object, "replay", json_true());
        session_send(s, object);
        break;
    case '?':
        help(s);
        break;
    default:
        session_tell(s, "no such key; ? is for help");
    }
}

void session_keys(struct session *s, const uint8_t *keys, size_t len)
{
    while (len && !s->left) {
        if (s->is_escaped && *keys != s->escape) {
            s->is_escaped = false;
            run_key(s, *keys);
            keys++;
            len--;
            continue;
        }
        /* The escape key again is the key itself, and goes with what follows it. */
        size_t from = s->is_escaped ? 1 : 0;
        const uint8_t *found =
            s->escape == SESSION_NO_ESCAPE || from == len ? NULL : memchr(keys + from, s->escape, len - from);
        size_t run = found ? (size_t)(found - keys) : len;
        telnet_escape(&s->to_server, keys, run);
        s->is_escaped = found;
        run += found ? 1 : 0;
        keys += run;
        len -= run;
    }
}
