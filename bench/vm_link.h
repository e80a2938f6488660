/* VM link: a vm_client on a TCP connection, for whoever has one thread and waits: tests and vspc-vm.
 *
 * Every waiting function reads and writes the socket meanwhile, keeps the serial data that comes for
 * vm_link_read, and gives up after timeout_ms, which only bounds the wait. A link belongs to one thread. */
#ifndef VSPC_VM_LINK_H
#define VSPC_VM_LINK_H

#include "vm_client.h"
#include "vspc/sock.h"

struct vm_link {
    struct vm_client vm;
    int fd;                /* -1: not connected */
    struct bytes received; /* serial data, not yet read */
    size_t receive_max;    /* the socket is not read while more than this is unread; 0: no bound */
    unsigned breaks;       /* BREAKs since the connection was made */
    int error;             /* why the connection ended: 0 or a negative errno */
};

/* Makes a link that is not connected. See vm_client_init. */
void vm_link_init(struct vm_link *link, const struct vm_client_options *opt);
/* Closes and frees what the link holds; not the struct itself. */
void vm_link_free(struct vm_link *link);

/* Connects (again), as a new connection of the same VM. Result: 0 or a negative errno. */
int vm_link_connect(struct vm_link *link, const struct sock_addr *addr, unsigned timeout_ms);
/* The same with a socket that the caller has connected, non-blocking or not; the link owns it from now on. */
void vm_link_adopt(struct vm_link *link, int fd);
/* Closes; with a reset instead of an orderly end when abort is set. Received data stays readable. */
void vm_link_close(struct vm_link *link, bool abort);

/* Sends what is queued as far as the socket takes it, and reads what is there. Result: 0, or -ECONNRESET
 * when the connection is closed (link->error tells more). Never waits. */
int vm_link_pump(struct vm_link *link);
/* What to poll link->fd for. */
short vm_link_events(const struct vm_link *link);
/* Waits until the socket is ready, then pumps. Result: as vm_link_pump, or -ETIMEDOUT. */
int vm_link_step(struct vm_link *link, unsigned timeout_ms);

/* Waits for an event. Result: 0, -ETIMEDOUT, or -ECONNRESET. */
int vm_link_wait(struct vm_link *link, enum vm_event_type event, unsigned timeout_ms);
/* Waits until the VM is identified as far as it can tell. Result: as vm_link_wait. */
int vm_link_identify(struct vm_link *link, unsigned timeout_ms);
/* Waits until the concentrator has closed the connection. Result: 0 or -ETIMEDOUT. */
int vm_link_wait_closed(struct vm_link *link, unsigned timeout_ms);
/* Waits until all that is queued has gone to the kernel. Result: as vm_link_wait. */
int vm_link_flush(struct vm_link *link, unsigned timeout_ms);

/* Sends serial data, all of it. Result: as vm_link_wait. */
int vm_link_send(struct vm_link *link, const void *data, size_t len, unsigned timeout_ms);
/* Reads exactly len bytes of serial data into out. Result: as vm_link_wait; on failure nothing is taken. */
int vm_link_read(struct vm_link *link, void *out, size_t len, unsigned timeout_ms);

#endif
