/* Histogram: how often something took how long, in the manner of HDR histograms: counters for ranges of times
 * that are narrower than 1/128 of what they stand for, from a nanosecond to hours, in a fixed 40 KiB.
 *
 * One thread writes; any other may read meanwhile, and sees each counter at some moment of its own. All zero
 * is empty. */
#ifndef VSPC_HISTOGRAM_H
#define VSPC_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,  /* 2^7 ranges for each doubling */
    HISTOGRAM_TOP_BITS = 44, /* what is longer than 2^44 ns (4.8 hours) has one range */
    HISTOGRAM_SLOTS = (HISTOGRAM_TOP_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
    _Atomic uint64_t slots[HISTOGRAM_SLOTS];
    _Atomic uint64_t count, max_ns; /* max_ns is exact */
};

/* Counts one time. */
void histogram_add(struct histogram *h, uint64_t ns);
/* Adds what `from` has counted; the caller is the writer of `to`. */
void histogram_merge(struct histogram *to, const struct histogram *from);
/* Takes away what `from`, an earlier state of `to`, had counted; max_ns becomes that of the ranges left. */
void histogram_subtract(struct histogram *to, const struct histogram *from);
/* The time that `percent` of the counted did not exceed, in nanoseconds: the upper end of its range, and at
 * most max_ns. 0 when nothing was counted. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif
