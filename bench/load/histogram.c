#include "histogram.h"

enum { SUB = 1 << HISTOGRAM_SUB_BITS };

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* A load and a store: with one writer there is nothing that a locked addition would protect. */
static void set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

/* Where a time is counted. Below 2 * SUB each nanosecond has a slot; each doubling from there has SUB. */
static unsigned slot_of(uint64_t ns)
{
    if (ns < 2 * SUB)
        return (unsigned)ns;
    if (ns >> HISTOGRAM_TOP_BITS)
        return HISTOGRAM_SLOTS - 1;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
    return shift * SUB + (unsigned)(ns >> shift);
}

/* The longest time that a slot counts. */
static uint64_t slot_end(unsigned slot)
{
    if (slot == HISTOGRAM_SLOTS - 1)
        return UINT64_MAX;
    unsigned shift = slot < 2 * SUB ? 0 : slot / SUB - 1;
    return ((uint64_t)(slot - shift * SUB + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    /* The maximum first and the count last, so that a reader is unlikely to see a time without them. */
    if (ns > get(&h->max_ns))
        set(&h->max_ns, ns);
    _Atomic uint64_t *slot = &h->slots[slot_of(ns)];
    set(slot, get(slot) + 1);
    set(&h->count, get(&h->count) + 1);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    /* Not from->count, which may differ from the slots while somebody writes them. */
    uint64_t added = 0;
    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
        uint64_t n = get(&from->slots[i]);
        if (n == 0)
            continue;
        set(&to->slots[i], get(&to->slots[i]) + n);
        added += n;
    }
    set(&to->count, get(&to->count) + added);
    if (get(&from->max_ns) > get(&to->max_ns))
        set(&to->max_ns, get(&from->max_ns));
}

void histogram_subtract(struct histogram *to, const struct histogram *from)
{
    uint64_t left = 0, end = 0;
    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
        uint64_t n = get(&to->slots[i]) - get(&from->slots[i]);
        set(&to->slots[i], n);
        left += n;
        if (n)
            end = slot_end(i);
    }
    set(&to->count, left);
    if (end < get(&to->max_ns))
        set(&to->max_ns, end);
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    uint64_t count = get(&h->count), max = get(&h->max_ns), below = 0;
    double exact = (double)count * percent / 100;
    uint64_t rank = exact < (double)count ? (uint64_t)exact : count;
    if ((double)rank < exact && rank < count)
        rank++;
    if (rank == 0)
        rank = 1;
    for (unsigned i = 0; i < HISTOGRAM_SLOTS && count; i++) {
        below += get(&h->slots[i]);
        if (below >= rank)
            return slot_end(i) < max ? slot_end(i) : max;
    }
    return count ? max : 0;
}
