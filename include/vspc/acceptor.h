/* Acceptor: a thread that accepts VM connections, admits them, numbers them, and deals them round-robin to
 * the workers. */
#ifndef VSPC_ACCEPTOR_H
#define VSPC_ACCEPTOR_H

#include "vspc/worker.h"

struct acceptor;

/* Listens on every address of [vm] listen and starts the thread. Result: the acceptor, or NULL after having
 * logged which address failed and why. */
struct acceptor *acceptor_start(struct config *config, struct console_shared *shared, struct worker **workers,
                                unsigned worker_count);
/* Any thread: goes on with another configuration, of which it takes a reference. */
void acceptor_reload(struct acceptor *acceptor, struct config *config);
/* Ends the thread, closes the listeners and frees. */
void acceptor_stop(struct acceptor *acceptor);

#endif
