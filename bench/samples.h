/* Samples: times in nanoseconds that something took, and what is said of them in the end: percentiles.
 *
 * Every sample is kept, so a percentile is one that was measured. All zero is empty. One thread. */
#ifndef VSPC_SAMPLES_H
#define VSPC_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    uint64_t *ns; /* owned */
    size_t len, cap;
};

void samples_add(struct samples *s, uint64_t ns);
/* The time that `percent` of the samples did not exceed, in nanoseconds; 100 is the longest. 0 when there is
 * none. Sorts the samples. */
uint64_t samples_percentile(struct samples *s, double percent);
/* Prints a row of a table: name, number, median, 90th, 99th and 99.9th percentile, longest, in ms. */
void samples_print_row(struct samples *s, const char *name);
/* Frees the memory; empty and usable again. */
void samples_clear(struct samples *s);

#endif
