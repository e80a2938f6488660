/* Port pool: the user ports that are free. Shared by all workers; every call is one short critical section.
 */
#ifndef VSPC_PORT_POOL_H
#define VSPC_PORT_POOL_H

#include <stdint.h>

enum { PORT_POOL_HELD_MS = 60000 }; /* a port that something else holds is tried again after this */

struct port_pool;

/* count ports from first on, all free. */
struct port_pool *port_pool_new(uint16_t first, unsigned count);
void port_pool_free(struct port_pool *pool);

/* Result: the port that has been free for longest, or -EAGAIN when there is none. */
int port_pool_take(struct port_pool *pool, uint64_t now_ms);
/* The port is free again. */
void port_pool_put(struct port_pool *pool, uint16_t port);
/* The port was taken, but something else on this machine listens on it: it is not given out for
 * PORT_POOL_HELD_MS. */
void port_pool_put_held(struct port_pool *pool, uint16_t port, uint64_t now_ms);

/* Ports that port_pool_take could give now, those held by others left out. */
unsigned port_pool_available(struct port_pool *pool);

#endif
