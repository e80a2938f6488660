/* Acceptor: a thread that accepts VM connections, admits them, numbers them, and deals them round-robin to
 * the workers. */
#ifndef VSPC_ACCEPTOR_H
#define VSPC_ACCEPTOR_H

#include "vspc/worker.h"

struct acceptor;

/* Listens on every address of [vm] listen; what connects waits. Result: the acceptor, or NULL after having
 * logged which address failed and why. */
struct acceptor *acceptor_new(struct config *config, struct console_shared *shared);
/* Starts the thread, which deals to these workers. Result: 0 or a negative errno. */
int acceptor_start(struct acceptor *acceptor, struct worker **workers, unsigned worker_count);
/* To post to, until acceptor_stop. */
struct loop *acceptor_loop(struct acceptor *acceptor);
/* Any thread: goes on with another configuration, of which it takes a reference. */
void acceptor_reload(struct acceptor *acceptor, struct config *config);
/* Any thread: from now on hosts are refused at once, as where nobody listens; or, with false, served again.
 * The addresses stay ours. */
void acceptor_drain(struct acceptor *acceptor, bool on);
/* Ends the thread, if it was started, closes the listeners and frees. */
void acceptor_stop(struct acceptor *acceptor);

#endif
