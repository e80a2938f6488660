#include "ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/mem.h"

enum { SMALLEST = 512 };

static size_t round_up(size_t size)
{
    size_t cap = SMALLEST;
    while (cap < size)
        cap *= 2;
    return cap;
}

int ring_read(const struct ring *ring, uint64_t from, uint64_t to, struct iovec piece[2])
{
    assert(ring->start <= from && from <= to && to <= ring->end);
    if (from == to)
        return 0;
    size_t at = (size_t)from & (ring->cap - 1);
    size_t len = (size_t)(to - from);
    size_t first = ring->cap - at < len ? ring->cap - at : len;
    piece[0] = (struct iovec){ring->data + at, first};
    if (first == len)
        return 1;
    piece[1] = (struct iovec){ring->data, len - first};
    return 2;
}

/* Puts bytes behind the end; there is room for them in the ring. */
static void put(struct ring *ring, const uint8_t *data, size_t len)
{
    size_t at = (size_t)ring->end & (ring->cap - 1);
    size_t first = ring->cap - at < len ? ring->cap - at : len;
    memcpy(ring->data + at, data, first);
    memcpy(ring->data, data + first, len - first);
    ring->end += len;
    if (ring->end - ring->start > ring->cap)
        ring->start = ring->end - ring->cap;
}

/* Moves the newest bytes into a buffer of another capacity. */
static void resize(struct ring *ring, size_t cap)
{
    struct ring old = *ring;
    struct iovec piece[2];
    uint64_t from = old.end - old.start > cap ? old.end - cap : old.start;
    ring->data = xmalloc(cap);
    ring->cap = cap;
    ring->start = ring->end = from;
    int pieces = ring_read(&old, from, old.end, piece);
    for (int i = 0; i < pieces; i++)
        put(ring, piece[i].iov_base, piece[i].iov_len);
    free(old.data);
}

void ring_append(struct ring *ring, const uint8_t *data, size_t len, size_t keep)
{
    uint64_t have = ring->end - ring->start + len;
    size_t want = have < keep ? (size_t)have : keep;
    if (want > ring->cap)
        resize(ring, round_up(want));
    if (len > ring->cap) {
        /* Only the newest fit; the others have been, as far as positions go. */
        size_t skip = len - ring->cap;
        data += skip;
        len -= skip;
        ring->end += skip;
        ring->start = ring->end;
    }
    if (len)
        put(ring, data, len);
}

void ring_shrink(struct ring *ring, size_t keep)
{
    if (keep == 0) {
        uint64_t end = ring->end;
        ring_clear(ring);
        ring->start = ring->end = end;
    } else if (ring->cap > round_up(keep)) {
        resize(ring, round_up(keep));
    }
}

void ring_clear(struct ring *ring)
{
    free(ring->data);
    *ring = (struct ring){0};
}
