/* Contest: one VM that comes twice at once, or comes back just as its console ends.
 *
 * Fails the test when there are two consoles, none, or the wrong one. */
#ifndef VSPC_TEST_CONTEST_H
#define VSPC_TEST_CONTEST_H

#include "probe.h"

/* Two connections of one VM are there before either has said who it is; the one that came first may speak
 * first, last, or meanwhile. The later one must have the console. Each round has a VM of its own, and leaves
 * nothing when linger is 0. */
void contest_race(struct daemon *d, struct redis *r, int round);

/* A VM leaves and comes back after a random time of up to max_us microseconds, again and again, sometimes
 * with a user attached. linger must be about as long. Afterwards it is served and found, no descriptor is
 * lost, and it has left. */
void contest_linger(struct daemon *d, struct redis *r, int times, long max_us);

#endif
