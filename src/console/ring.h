/* Ring: a console's newest output, at once scrollback and every user's output queue.
 *
 * Positions count bytes from the console's first one on and never wrap. Belongs to one console. */
#ifndef VSPC_RING_H
#define VSPC_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* All zero is an empty ring that owns no memory. */
struct ring {
    uint8_t *data;
    size_t cap;     /* a power of two, or 0 */
    uint64_t start; /* position of the oldest byte kept */
    uint64_t end;   /* position behind the newest */
};

/* Appends len bytes, and keeps at least the newest `keep` bytes of what there is then (all when there are
 * fewer), for which the ring grows. Older bytes go when their room is needed. */
void ring_append(struct ring *ring, const uint8_t *data, size_t len, size_t keep);

/* The bytes from position `from` to position `to` (start <= from <= to <= end), in up to two pieces.
 * Result: how many pieces. */
int ring_read(const struct ring *ring, uint64_t from, uint64_t to, struct iovec piece[2]);

/* Gives memory back that is not needed to keep the newest `keep` bytes. */
void ring_shrink(struct ring *ring, size_t keep);

void ring_clear(struct ring *ring);

#endif
