/* Session: an attached console (vspc-control(7), "ATTACHED CONNECTIONS"), between standard input, the control
 * connection and standard output.
 *
 * Bytes wait in two bounded queues; while one is full, where it is filled from is not read, so that nothing
 * is lost and nothing waits for a reader that does not read. */
#ifndef VSPC_CTL_SESSION_H
#define VSPC_CTL_SESSION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl_conn.h"
#include "vspc/telnet.h"

enum { SESSION_NO_ESCAPE = -1, SESSION_OPTION = 200, SESSION_ACCESS = 16 };

struct session {
    /* The caller's. */
    const char *socket; /* path, for a second connection */
    const char *access; /* what was asked for, as the protocol calls it */
    int escape;         /* the key that commands begin with, or SESSION_NO_ESCAPE */
    bool reads_keys;    /* standard input is typed into the console */
    unsigned wait_ms;   /* after its end: how long there must have been silence */
    /* Its own. */
    int fd;
    int screen;              /* descriptor that output goes to */
    bool screen_is_terminal; /* so notices are shown in the output, else on standard error */
    struct telnet_stream *telnet;
    struct bytes to_server, to_screen;
    char now[SESSION_ACCESS]; /* the access that the server says we have */
    bool writes;
    json_t *console;        /* as the server told; NULL: not yet */
    bool is_change_awaited; /* the user asked for another access */
    bool is_escaped;        /* the escape key was the last */
    bool server_closed, keys_ended, left;
    uint64_t active_ms; /* when a byte last went either way */
};

/* Runs it on the connection whose attach has just succeeded. Result: true when the user left, or standard
 * input ended; false when vspcd closed the connection, or broke the protocol. */
bool session_run(struct session *session, struct ctl_conn *conn);

/* Takes what was typed: what is not meant for vspcctl goes to the console (session_keys.c). */
void session_keys(struct session *session, const uint8_t *keys, size_t len);

/* Shows a line of vspcctl's own, or a notice; text is safe to show. */
void session_tell(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same in parts: lines as they are, and what stands behind the last of them. */
void session_put_line(struct session *session, const char *text);
void session_end_lines(struct session *session);
/* Sends an object, which it frees. */
void session_send(struct session *session, json_t *object);
/* "read-write" and so on, of what it has now. */
const char *session_access_text(const struct session *session);

/* "^]" and so on. */
const char *escape_text(int escape, char out[8]);

#endif
