/* Redis watch: when each VM's user port is seen in Redis, by asking for those that are expected, again and
 * again.
 *
 * A thread of its own. VMs' threads say whom to expect; anybody may ask for ports. A time is that of the
 * answer: up to REDIS_WATCH_MS, and what the question took, later than the truth. An entry that a dead server
 * left behind counts as seen. */
#ifndef VSPC_BENCH_REDIS_WATCH_H
#define VSPC_BENCH_REDIS_WATCH_H

#include "options.h"
#include "tally.h"

enum { REDIS_WATCH_MS = 2 };

struct redis_watch;

/* Connects. Result: a watch, or NULL with `why` set. REDISCLI_AUTH in the environment is the password, as for
 * redis-cli. */
struct redis_watch *redis_watch_start(const struct bench_options *options, char why[160]);
/* Ends the thread and frees. */
void redis_watch_stop(struct redis_watch *watch);

/* VM `number`, whose connection was due at due_ns and has been identified just now, is to be mapped; also if
 * it was before. `again`: it is a return, timed as that. */
void redis_watch_expect(struct redis_watch *watch, uint32_t number, uint64_t due_ns, uint64_t identified_ns,
                        bool again);

/* How many of those that were expected have been seen. */
uint64_t redis_watch_mapped(const struct redis_watch *watch);
/* When the last was, of clock_ns; 0: none. */
uint64_t redis_watch_last_ns(const struct redis_watch *watch);
/* A VM's user port, as last seen; 0: not seen. */
uint16_t redis_watch_port(const struct redis_watch *watch, uint32_t number);
/* What it has counted and timed. */
const struct tally *redis_watch_tally(const struct redis_watch *watch);

#endif
