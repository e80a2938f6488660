/* Worker: a thread with one loop that owns VM connections, consoles and users (console_owner). */
#ifndef VSPC_WORKER_H
#define VSPC_WORKER_H

#include "vspc/console_owner.h"

struct worker;

/* Starts worker `number`. Result: the worker, or NULL with errno set. */
struct worker *worker_start(unsigned number, struct config *config, struct console_shared *shared);

/* The acceptor: deals VM connections, a list that passes to the worker. */
void worker_deal(struct worker *worker, struct vm_arrival *arrivals);
/* Any thread: one line, constant text, to the users of all its consoles. */
void worker_notice(struct worker *worker, const char *text);
/* What the worker owns, to ask it by letters. */
struct console_owner *worker_owner(struct worker *worker);
/* Main: nanoseconds of processor time that it has used; 0 when it has ended. */
uint64_t worker_cpu_ns(const struct worker *worker);
/* Any thread: goes on with another configuration, of which it takes a reference. */
void worker_reload(struct worker *worker, struct config *config);

/* Main: the worker tells users, closes everything and posts its removals, then posts done(arg) to reply_to.
 * It goes on closing what arrives until worker_join. */
void worker_close(struct worker *worker, struct loop *reply_to, void (*done)(void *arg), void *arg);
/* Main: ends the thread, waiting at most timeout_ms. Result: 0, or -ETIMEDOUT, and it may not be freed. */
int worker_join(struct worker *worker, unsigned timeout_ms);
/* Main, after every worker was joined: runs what is left in the mailbox, then frees. */
void worker_free(struct worker *worker);

#endif
