/* VM connection: one TCP connection from an ESXi host for one virtual serial port.
 *
 * Belongs to the worker it was dealt to until it is identified, then to its console's worker for good.
 *
 *      vm_conn_new --> HANDSHAKE --(identified, console here)--> ATTACHED
 *                       |   |  \--(a migration's cookie, console here)--> DESTINATION --(COMPLETE)-->
 * ATTACHED |   \--(console elsewhere)--> MOVING --(arrived)--> ATTACHED or DESTINATION
 *                       \--(WONT-PROXY, unknown cookie)--> REFUSED --(1 s)--> CLOSED
 *      any --(timeout, error, hang-up, replaced, its console or migration ends)--> CLOSED
 */
#ifndef VSPC_VM_CONN_H
#define VSPC_VM_CONN_H

#include "console.h"
#include "vspc/telnet.h"
#include "vspc/vmext.h"

enum vm_state { VM_HANDSHAKE, VM_MOVING, VM_DESTINATION, VM_ATTACHED, VM_REFUSED, VM_CLOSED };

/* What became of a connection that was given input. */
enum vm_outcome {
    VM_GOES_ON,
    VM_ENDED,  /* hang-up, error, or protocol error: conn->error tells */
    VM_GONE,   /* to another worker, or closed: not ours to touch any more */
    VM_NOTHING /* there was no input */
};

/* What a connection needs until it is ATTACHED. */
struct vm_handshake {
    struct vm_conn *conn;
    struct vm_handshake *prev, *next; /* in owner->handshaking, in HANDSHAKE and REFUSED */
    struct loop_timer timer;          /* the next of: settled, deadline, end of REFUSED */
    uint64_t since_ms;                /* when it came; handshake_timeout counts from here */
    uint64_t settle_ms;               /* VMEXT_SETTLE_MS after the name came; 0: it has not */
    struct directory_entry *entry;    /* in MOVING: pinned */
    struct bytes unread;              /* in MOVING: read, but not parsed */
    struct bytes early;               /* serial data */
    uint32_t early_dropped;
    enum figure failure; /* what it fails for; 0: a hang-up, or that it broke the protocol */
    uint8_t first[2];    /* its first bytes, to know a TLS client by */
    uint8_t first_len;
};

struct vm_conn {
    struct console_owner *owner;
    struct console *console;        /* in ATTACHED and DESTINATION */
    struct vm_handshake *handshake; /* NULL in ATTACHED: a VM at rest is small */
    struct loop_io io;
    uint64_t number;
    struct sock_addr peer;
    struct telnet_stream *telnet;
    struct vmext ext;
    struct bytes out; /* replies on their way to the VM */
    size_t out_open;  /* in a migration that keeps input: how much of out may still go */
    enum vm_state state;
    uint8_t descriptors; /* of admission that it holds */
    bool renamed;        /* recorded by the parser: another name came */
    const char *error;   /* recorded by the parser: what broke the protocol */
    const char *refusal; /* recorded by the parser: what to change in the VM */
};

/* Takes fd over and greets the VM. */
void vm_conn_new(struct console_owner *owner, int fd, const struct sock_addr *peer, uint64_t number);

/* It is a console's VM connection from now on. */
void vm_conn_become_attached(struct vm_conn *conn);
/* The connection is over: by hang-up, or by conn->error. Closes it; may end the console. */
void vm_conn_hang_up(struct vm_conn *conn);

/* Closes and frees; the console must know already. */
void vm_conn_close(struct vm_conn *conn);

/* A line in the log about it, if the rate allows. */
void vm_conn_log(const struct vm_conn *conn, struct log_rate *rate, enum log_level level, const char *what);

/* The same, with a line in the log if it broke the protocol. */
void vm_conn_end(struct vm_conn *conn);

/* Sends replies and the console's input, in one call, and waits for room when not all could go. */
void vm_conn_flush(struct vm_conn *conn);

/* Applies the owner's new configuration. */
void vm_conn_reload(struct vm_conn *conn);

/* Registers its socket with its owner's loop. Result: 0 or a negative errno. */
int vm_conn_watch(struct vm_conn *conn);
/* One read, and all that follows from it. */
enum vm_outcome vm_conn_read(struct vm_conn *conn, uint8_t *buffer);
/* Parses and acts on bytes from the VM, one message at a time. */
enum vm_outcome vm_conn_take(struct vm_conn *conn, const uint8_t *data, size_t len);
/* It is ATTACHED now, and its handshake is over: its early data is output, and there will be room for len
 * bytes more. */
void vm_conn_deliver_early(struct vm_conn *conn, size_t len);
/* Before the close of a VM that may be in the middle of a word: one read, and the answers to it. */
void vm_conn_read_last(struct vm_conn *conn);
/* What is left to do after a connection was given input or time. */
void vm_conn_finish(struct vm_conn *conn, enum vm_outcome outcome);

/* Reads what the kernel has (at most 32 MiB) and delivers it to the console. Result: whether the connection
 * is still open. The caller closes it. */
bool vm_conn_drain(struct vm_conn *conn);

/* vm_handshake.c: begins the handshake of a connection that has just come. */
void vm_handshake_begin(struct vm_conn *conn);
/* vm_handshake.c: puts it into its owner's list, and takes it out. */
void vm_handshake_list(struct vm_conn *conn);
void vm_handshake_unlist(struct vm_conn *conn);
/* vm_handshake.c: frees what only the handshake needed, if it is still there. */
void vm_handshake_end(struct vm_conn *conn);
/* vm_handshake.c: arms the timer of a connection in HANDSHAKE, for whatever comes first. */
void vm_handshake_arm(struct vm_conn *conn);
/* vm_handshake.c: after each message of a connection in HANDSHAKE: is it known who it is? rest: what was read
 * behind the message, which is taken when it is. */
enum vm_outcome vm_handshake_after_message(struct vm_conn *conn, const uint8_t *rest, size_t len);
/* vm_handshake.c: does what conn->ext.request says about a migration. rest: what was read behind it, for
 * where it may go; it is not taken here. */
enum vm_outcome vm_handshake_take_request(struct vm_conn *conn, const uint8_t *rest, size_t len);
/* vm_handshake.c: it asked for what it may not have (conn->refusal): it has its answer, gets a second to read
 * it, and is closed. */
void vm_handshake_refuse(struct vm_conn *conn);

#endif
