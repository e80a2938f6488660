/* Control user: what is different about a user who came by the control socket (vspc-control(7), ATTACHED
 * CONNECTIONS): notices and its access go to it, and requests come from it, as IAC SB 200 JSON IAC SE.
 *
 * Belongs to its user_conn, and so to the console's worker. */
#ifndef VSPC_USER_CONTROL_H
#define VSPC_USER_CONTROL_H

#include "user_conn.h"
#include "vspc/console_query.h"

struct attached {
    struct control_peer peer;
    char *request;    /* recorded by the parser, to be taken before more is parsed: JSON; NULL: none */
    bool owes_access; /* its access has changed, and it is to be told as soon as it reads */
    uint64_t changes_since_ms; /* the second in which it has asked for so many changes of its access */
    unsigned changes;
};

/* Makes the connection that an order of type ATTACH brings a user of the console: order->fd is -1 then.
 * Result: as of order->result. */
int user_control_attach(struct console *console, struct console_order *order);
/* Frees what only such a user has; takes NULL. */
void user_control_free(struct attached *attached);

/* The parser has found IAC SB option data IAC SE. */
void user_control_record(struct attached *attached, uint8_t option, const uint8_t *data, size_t len);
/* Does what user->attached->request asks for. */
void user_control_take(struct user_conn *user);

/* Appends a notice of that text, which is printable. */
void user_control_put_notice(struct bytes *out, const char *text, size_t len);
/* Its access, or who is in its way, has changed; flush tells it. */
void user_control_tell_access(struct user_conn *user);
/* Appends its access, if that is owed; user->attached is set. */
void user_control_put_access(const struct user_conn *user, struct bytes *out);

#endif
