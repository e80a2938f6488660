/* VM connection: one TCP connection from an ESXi host for one virtual serial port.
 *
 * Belongs to the worker it was dealt to until it is identified, then to its console's worker for good.
 *
 *      vm_conn_new --> HANDSHAKE --(identified, console here)--> ATTACHED --> CLOSED
 *                       |     \--(console elsewhere)--> MOVING --(arrived)--> ATTACHED or CLOSED
 *                       |--(WONT-PROXY)--> REFUSED --(1 s)--> CLOSED
 *                       \--(timeout, error, hang-up)--> CLOSED
 */
#ifndef VSPC_VM_CONN_H
#define VSPC_VM_CONN_H

#include "console.h"
#include "vspc/telnet.h"
#include "vspc/vmext.h"

enum vm_state { VM_HANDSHAKE, VM_MOVING, VM_ATTACHED, VM_REFUSED, VM_CLOSED };

struct vm_conn {
    struct console_owner *owner;
    struct console *console;     /* in ATTACHED */
    struct vm_conn *prev, *next; /* in owner->handshaking, in HANDSHAKE and REFUSED */
    struct loop_io io;
    struct loop_timer timer; /* the next of: settled, deadline, end of REFUSED */
    uint64_t number;
    uint64_t since_ms;  /* when it came; handshake_timeout counts from here */
    uint64_t settle_ms; /* VMEXT_SETTLE_MS after the name came; 0: it has not */
    struct sock_addr peer;
    struct telnet_stream *telnet;
    struct vmext ext;
    struct directory_entry *entry; /* in MOVING: pinned */
    struct bytes out;              /* replies on their way to the VM */
    struct bytes early;            /* serial data from before identification */
    struct bytes unread;           /* in MOVING: read, but not parsed */
    uint32_t early_dropped;
    enum vm_state state;
    uint8_t descriptors; /* of admission that it holds */
    uint8_t first[2];    /* its first bytes, to know a TLS client by */
    uint8_t first_len;
    bool renamed;        /* recorded by the parser: another name came */
    const char *error;   /* recorded by the parser: what broke the protocol */
    const char *refusal; /* recorded by the parser: what to change in the VM */
};

/* Takes fd over and greets the VM. */
void vm_conn_new(struct console_owner *owner, int fd, const struct sock_addr *peer, uint64_t number);

/* Closes and frees; the console must know already. */
void vm_conn_close(struct vm_conn *conn);

/* Sends replies and the console's input, in one call, and waits for room when not all could go. */
void vm_conn_flush(struct vm_conn *conn);

/* Applies the owner's new configuration. */
void vm_conn_reload(struct vm_conn *conn);

/* Reads what the kernel has (at most 32 MiB) and delivers it to the console. Result: whether the connection
 * is still open. The caller closes it. */
bool vm_conn_drain(struct vm_conn *conn);

#endif
