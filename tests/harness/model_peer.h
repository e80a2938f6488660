/* Model peer: a VM connection or a user, and what it is still to receive.
 *
 * Whoever knows what must happen appends to `want`; what has come is taken off both sides as far as it
 * agrees. A byte too many or another one than wanted fails the test at once, a byte too few when it is waited
 * for. What a VM receives is written as it is on the wire: 255 doubled, and BREAK as IAC BRK. Test's first
 * thread. */
#ifndef VSPC_TEST_MODEL_PEER_H
#define VSPC_TEST_MODEL_PEER_H

#include "daemon.h"
#include "user.h"
#include "vm_link.h"

/* What a VM connection is to its console; DOOMED: refused, to be closed within a second or so. */
enum model_role { MODEL_STRANGER, MODEL_CURRENT, MODEL_DESTINATION, MODEL_DOOMED, MODEL_CLOSED };

/* Control messages as `want_control` has them, one byte each; UNKNOWN is followed by its code. */
enum { MODEL_GOAHEAD = 'G', MODEL_NOTNOW = 'N', MODEL_PEER_OK = 'P', MODEL_PROXY = 'W', MODEL_UNKNOWN = 'U' };

struct model_conn {
    struct model_conn *prev, *next;
    struct vm_client vm;
    int fd;          /* -1: closed */
    unsigned number; /* in the order of connecting */
    int port;        /* its own, for the history */
    enum model_role role;
    struct bytes got, want;             /* serial data */
    struct bytes control, want_control; /* messages */
    struct bytes owed;                  /* messages that wait until a frozen source goes on */
    struct bytes early;                 /* what it printed before it was CURRENT */
    char name[64];
    bool must_close;
    bool forgiven;  /* need not receive all messages, as it is closed at once */
    bool deaf;      /* does not read */
    bool unmatched; /* `got` is not compared yet */
};

struct model_user {
    struct model_user *prev, *next;
    struct user *user;
    struct bytes want;
    bool must_close;
};

/* Connects a VM that says nothing before it is pumped. */
struct model_conn *model_conn_new(const struct daemon *d, const struct vm_client_options *opt);
void model_conn_free(struct model_conn *conn);
/* Ends the connection: with a reset; or in order, and then it must be closed by the other side. */
void model_conn_hang_up(struct model_conn *conn, bool reset);
/* Sends and receives what goes at once, and compares. */
void model_conn_pump(struct model_conn *conn);
/* What is missing, or NULL. */
const char *model_conn_lacks(const struct model_conn *conn);
/* It is to receive this message. */
void model_conn_want(struct model_conn *conn, uint8_t message);
void model_conn_want_unknown(struct model_conn *conn, uint8_t code);

/* Attaches a telnet user. */
struct model_user *model_user_new(uint16_t port);
/* Closes what is open. */
void model_user_free(struct model_user *user);
void model_user_pump(struct model_user *user);
const char *model_user_lacks(const struct model_user *user);

/* Appends one stream to another. */
void model_append(struct bytes *to, const struct bytes *from);
/* Appends what a user types as the VM receives it. */
void model_put_input(struct bytes *out, const void *data, size_t len);

#endif
