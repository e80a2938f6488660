/* Loop probes: how long a letter takes to each worker. Main's.
 *
 * Once a second each worker gets a letter that notes when it was read. It says how long everything takes that
 * comes to this worker, and shows one that is stuck. */
#ifndef VSPC_LOOP_PROBE_H
#define VSPC_LOOP_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "vspc/console_owner.h"

enum { PROBE_STUCK_MS = 5000 }; /* a worker that has not read a letter for this long is not asked anything */

struct loop_probes;

/* Begins. owners must outlive it. */
struct loop_probes *loop_probes_new(struct loop *loop, struct console_owner **owners, unsigned count);
/* When the owners' letters have been run. */
void loop_probes_free(struct loop_probes *probes);

/* Nanoseconds that the last letter took, or one that is not read yet has been on its way; and the most in the
 * last minute. */
uint64_t loop_probes_last(const struct loop_probes *probes, unsigned worker);
uint64_t loop_probes_peak(const struct loop_probes *probes, unsigned worker);
/* Result: whether a worker is stuck, and which. */
bool loop_probes_stuck(const struct loop_probes *probes, unsigned *worker);

#endif
