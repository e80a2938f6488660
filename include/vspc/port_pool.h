/* Port pool: the user ports, which of them are free, and which VM had which. Shared by all threads; every
 * call is one short critical section.
 *
 * It holds the truth; the port book (port_book.h) is its copy on disk, and asks it for what has changed.
 *
 *      FREE --(take)--> TAKEN --(put)--> FREE          a FREE or TAKEN port may be reserved for one identity;
 *                        \--(put_held)--> HELD         a HELD one never is
 *                                         HELD --(PORT_POOL_HELD_MS)--> FREE
 *
 * An identity has at most one port reserved. A reservation ends when the port is free and its VM was last
 * seen longer ago than the retention.
 */
#ifndef VSPC_PORT_POOL_H
#define VSPC_PORT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum {
    PORT_POOL_HELD_MS = 60000, /* a port that something else holds is tried again after this */
    PORT_IDENTITY_MAX = 512,   /* bytes; more than any VM's has */
    PORT_NAME_MAX = 320,       /* likewise, with a label */
};

/* What stands before a name in the identity of a port that is reserved for whoever comes under that name. */
#define PORT_SAVED_PREFIX "saved:"

struct port_pool;

/* A port and whose it was: what the port book keeps of it. */
struct port_record {
    uint16_t port;
    bool connected;   /* its VM is connected now */
    time_t last_seen; /* when its VM was last connected, seconds of CLOCK_REALTIME */
    char *identity;   /* any bytes; NULL: the port is reserved for nobody */
    size_t identity_len;
    char *name; /* of the VM, with its label as in Redis; any bytes */
    size_t name_len;
};

/* count ports from first on, all free and reserved for nobody; without retention. */
struct port_pool *port_pool_new(uint16_t first, unsigned count);
/* No other thread may use it any more. */
void port_pool_free(struct port_pool *pool);

/* How long a free port stays reserved after its VM was last seen, in seconds; 0: not at all. Applies to the
 * reservations that there are, too. */
void port_pool_set_retention(struct port_pool *pool, uint64_t seconds);

/* A port for that identity, reserved for it from now on: its own if that is free; else the one saved under
 * that name (port_pool_save); else the unreserved one that has been free for longest; else the one whose VM
 * was seen longest ago, which loses it. now_ms: CLOCK_MONOTONIC; now: CLOCK_REALTIME. Result: the port, or
 * -EAGAIN when none is free. */
int port_pool_take(struct port_pool *pool, const char *identity, size_t identity_len, const char *name,
                   size_t name_len, uint64_t now_ms, time_t now);
/* The taken port's VM is connected, under that name. */
void port_pool_connected(struct port_pool *pool, uint16_t port, const char *name, size_t name_len,
                         time_t now);
/* The taken port's VM has gone. */
void port_pool_disconnected(struct port_pool *pool, uint16_t port, time_t now);
/* The port is free again. */
void port_pool_put(struct port_pool *pool, uint16_t port);
/* The port was taken, but something else on this machine listens on it: it is not given out for
 * PORT_POOL_HELD_MS, and reserved for nobody. */
void port_pool_put_held(struct port_pool *pool, uint16_t port, uint64_t now_ms);

/* Ports that port_pool_take could give now, those held by others left out. */
unsigned port_pool_available(struct port_pool *pool);

/* Reserves a port as a record from disk says, whose VM is taken to be away. A time in the future counts as
 * now. Result: false, and nothing changes, when the port is out of range, taken, held or reserved, when the
 * identity has one, when identity or name are too long or the identity is empty, and without retention. */
bool port_pool_restore(struct port_pool *pool, const struct port_record *record, time_t now);
/* Reserves a port for the first VM that comes under that name and has no port of its own yet; a name with a
 * label is `name.label`. Looks through all reservations. Result: 0, or -EINVAL without retention or for a
 * name that is empty or longer than PORT_NAME_MAX; -ERANGE, no such port; -EEXIST, a port is reserved under
 * that name; -EADDRINUSE, the port is not free and unreserved. */
int port_pool_save(struct port_pool *pool, const char *name, size_t name_len, uint16_t port, time_t now);

/* Takes one port off the list of those that have changed. Result: false when there is none; true, and *record
 * has fresh memory, which port_record_clear frees. */
bool port_pool_next_change(struct port_pool *pool, struct port_record *record);
void port_record_clear(struct port_record *record);
/* Every port counts as changed: what the book has is not known. */
void port_pool_change_all(struct port_pool *pool);
/* All connected VMs were seen now, unless there is no retention; reservations that are over end. */
void port_pool_touch(struct port_pool *pool, time_t now);
/* Calls fn(arg), with no lock held, whenever the first port of a new list has changed, from the thread that
 * changed it; at once when there is one. NULL: no more. */
void port_pool_on_change(struct port_pool *pool, void (*fn)(void *arg), void *arg);

/* What the pool was made with. */
struct port_terms {
    uint16_t first, last;
    uint64_t retention; /* seconds */
};
struct port_terms port_pool_terms(struct port_pool *pool);

#endif
