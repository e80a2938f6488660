/* Fleet: many simulated VMs on one epoll loop, for tests of numbers.
 *
 * VM i of a fleet is named <prefix><i> in five digits, and has a UUID of its own. Nothing happens by itself:
 * the fleet reads and writes while a test is in fleet_pump or waits. Functions that do not get what they wait
 * for fail the test. */
#ifndef VSPC_TEST_FLEET_H
#define VSPC_TEST_FLEET_H

#include "vm.h"

struct fleet_vm {
    struct vm_client vm;
    int fd;            /* -1: no connection */
    bool wanted;       /* is to be connected */
    bool connecting;   /* fd is on its way */
    bool writes;       /* waits to become writable */
    bool identified;   /* on this connection */
    unsigned lost;     /* connections that ended without fleet_drop, or could not be made */
    uint64_t received; /* bytes of serial data, on all its connections */
};

struct fleet {
    struct sock_addr addr;
    struct fleet_vm *vms;
    size_t n;
    size_t wanted, connecting, identified, lost; /* how many of them; lost: of all connections */
    size_t next;                                 /* where to look for one that is to be connected */
    int epoll_fd;
};

/* Makes n VMs that are not connected. like: what they have in common beside name and UUID, NULL: ESXi hosts'
 * VMs. Result: a fleet, which fleet_free frees. */
struct fleet *fleet_new(const struct daemon *d, size_t n, const char *prefix,
                        const struct vm_client_options *like);
/* Closes all connections. Fails the test when the concentrator has broken the protocol. */
void fleet_free(struct fleet *f);

/* Has `count` VMs from `first` on connected, from the next pump on, a bounded number at a time. */
void fleet_connect(struct fleet *f, size_t first, size_t count);
/* Ends their connections at once, in order or with a reset. */
void fleet_drop(struct fleet *f, size_t first, size_t count, bool reset);
/* Waits until all that are to be connected are identified. A connection that is lost fails the test. */
void fleet_wait_identified(struct fleet *f, unsigned timeout_ms);
/* Waits until the concentrator has ended all their connections. */
void fleet_wait_lost(struct fleet *f, unsigned timeout_ms);

/* Sends serial data from VM i, as far as it goes at once; the rest goes while pumping. */
void fleet_send(struct fleet *f, size_t i, const void *data, size_t len);
/* Reads, writes and connects for one turn, waiting at most timeout_ms for something to do. */
void fleet_pump(struct fleet *f, unsigned timeout_ms);

#endif
