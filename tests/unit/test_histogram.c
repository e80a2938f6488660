/* Histograms against the sorted samples themselves. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"
#include "vspc/mem.h"

TestSuite(histogram, .timeout = 60);

enum { SAMPLES = 4000, DISTRIBUTIONS = 6, ROUNDS = 40 };

static uint64_t state = 1;

static uint64_t random_bits(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* From 0 to 1, without 0. */
static double random_unit(void)
{
    return ((double)(random_bits() >> 11) + 1) / 9007199254740993.0;
}

/* A time from one of several distributions. */
static uint64_t sample(unsigned distribution)
{
    switch (distribution) {
    case 0:
        return random_bits() % 300;
    case 1:
        return random_bits() % 1000000;
    case 2:
        return (uint64_t)(-log(random_unit()) * 5e6);
    case 3: /* each doubling as likely as any other */
        return random_bits() >> (20 + random_bits() % 44);
    case 4: /* few and far between: a long tail */
        return random_bits() % 100 ? 20000 + random_bits() % 1000 : random_bits() % 4000000000;
    default: /* ends of ranges, and what is beside them */
        return (UINT64_C(1) << random_bits() % 44) + random_bits() % 3 - 1;
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The percentiles of h are those of the sorted samples, and at most 1/128 more. */
static void expect_percentiles(const struct histogram *h, const uint64_t *sorted, size_t n)
{
    static const double percents[] = {0, 0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100};
    cr_assert_eq(h->count, n);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        size_t rank = (size_t)ceil((double)n * percents[i] / 100);
        uint64_t exact = sorted[rank ? rank - 1 : 0], got = histogram_percentile(h, percents[i]);
        cr_assert_geq(got, exact, "%g %%", percents[i]);
        cr_assert_leq((double)(got - exact), (double)exact / 128, "%g %%: %llu for %llu", percents[i],
                      (unsigned long long)got, (unsigned long long)exact);
    }
    cr_assert_eq(histogram_percentile(h, 100), sorted[n - 1]);
}

Test(histogram, percentiles_are_within_1_in_128_and_the_maximum_is_exact)
{
    uint64_t *samples = xcalloc(SAMPLES, sizeof *samples);
    struct histogram *h = xcalloc(1, sizeof *h);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned d = 0; d < DISTRIBUTIONS; d++) {
            size_t n = 1 + random_bits() % SAMPLES;
            memset(h, 0, sizeof *h);
            for (size_t i = 0; i < n; i++) {
                samples[i] = sample(d);
                histogram_add(h, samples[i]);
            }
            qsort(samples, n, sizeof *samples, by_size);
            expect_percentiles(h, samples, n);
            cr_assert_eq(h->max_ns, samples[n - 1]);
        }
    free(h);
    free(samples);
}

Test(histogram, merged_histograms_are_the_histogram_of_all)
{
    uint64_t *samples = xcalloc(SAMPLES, sizeof *samples);
    struct histogram *parts = xcalloc(3, sizeof *parts), *all = xcalloc(1, sizeof *all);
    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = sample((unsigned)(random_bits() % DISTRIBUTIONS));
        histogram_add(&parts[random_bits() % 3], samples[i]);
    }
    for (size_t i = 0; i < 3; i++)
        histogram_merge(all, &parts[i]);
    qsort(samples, SAMPLES, sizeof *samples, by_size);
    expect_percentiles(all, samples, SAMPLES);
    free(all);
    free(parts);
    free(samples);
}

Test(histogram, what_is_left_after_subtraction_is_what_came_since)
{
    uint64_t *samples = xcalloc(SAMPLES, sizeof *samples);
    struct histogram *h = xcalloc(1, sizeof *h), *before = xcalloc(1, sizeof *before);
    for (unsigned d = 0; d < DISTRIBUTIONS; d++) {
        memset(h, 0, sizeof *h);
        for (size_t i = 0; i < SAMPLES; i++)
            histogram_add(h, sample((unsigned)(random_bits() % DISTRIBUTIONS)));
        *before = *h;
        for (size_t i = 0; i < SAMPLES; i++) {
            samples[i] = sample(d);
            histogram_add(h, samples[i]);
        }
        histogram_subtract(h, before);
        qsort(samples, SAMPLES, sizeof *samples, by_size);
        cr_assert_eq(h->count, SAMPLES);
        for (unsigned percent = 0; percent <= 100; percent++) {
            size_t rank = (SAMPLES * percent + 99) / 100;
            uint64_t exact = samples[rank ? rank - 1 : 0], got = histogram_percentile(h, percent);
            cr_assert_geq(got, exact);
            cr_assert_leq((double)(got - exact), (double)exact / 128);
        }
        cr_assert_leq((double)(h->max_ns - samples[SAMPLES - 1]), (double)samples[SAMPLES - 1] / 128);
    }
    free(before);
    free(h);
    free(samples);
}

Test(histogram, an_empty_one_has_no_times)
{
    struct histogram *h = xcalloc(1, sizeof *h), *other = xcalloc(1, sizeof *other);
    cr_expect_eq(histogram_percentile(h, 0), 0);
    cr_expect_eq(histogram_percentile(h, 50), 0);
    cr_expect_eq(histogram_percentile(h, 100), 0);
    histogram_merge(h, other);
    histogram_add(h, 12345);
    histogram_merge(h, other);
    cr_expect_eq(histogram_percentile(h, 50), 12345);
    *other = *h;
    histogram_subtract(h, other);
    cr_expect_eq(h->count, 0);
    cr_expect_eq(h->max_ns, 0);
    cr_expect_eq(histogram_percentile(h, 99), 0);
    free(other);
    free(h);
}

Test(histogram, times_beyond_its_end_count_and_never_look_shorter)
{
    struct histogram *h = xcalloc(1, sizeof *h);
    histogram_add(h, 1000);
    histogram_add(h, (UINT64_C(1) << HISTOGRAM_TOP_BITS) - 1);
    cr_expect_eq(histogram_percentile(h, 100), (UINT64_C(1) << HISTOGRAM_TOP_BITS) - 1);
    histogram_add(h, UINT64_C(1) << HISTOGRAM_TOP_BITS);
    histogram_add(h, UINT64_MAX);
    cr_expect_eq(h->count, 4);
    cr_expect_eq(histogram_percentile(h, 100), UINT64_MAX);
    cr_expect_geq(histogram_percentile(h, 75), UINT64_C(1) << HISTOGRAM_TOP_BITS);
    cr_expect_leq(histogram_percentile(h, 25), 1008);
    free(h);
}

enum { COUNTED = 200000 };

/* A load's thread: counts and times. */
static void *count_up(void *arg)
{
    struct tally *tally = arg;
    for (uint64_t i = 1; i <= COUNTED; i++) {
        tally_time(tally, LATENCY_ECHO, i);
        tally_add(tally, COUNT_ECHOES, 1);
    }
    return NULL;
}

Test(histogram, others_may_look_while_it_is_written)
{
    struct tally *tally = xcalloc(1, sizeof *tally), *seen = xcalloc(1, sizeof *seen);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, count_up, tally), 0);
    uint64_t before = 0;
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        memset(seen, 0, sizeof *seen);
        tally_merge(seen, tally);
        uint64_t n = tally_get(seen, COUNT_ECHOES);
        cr_assert(n >= before && n <= COUNTED);
        cr_assert_leq(histogram_percentile(&seen->latencies[LATENCY_ECHO], 50), COUNTED);
        before = n;
    }
    memset(seen, 0, sizeof *seen);
    tally_merge(seen, tally);
    tally_merge(seen, tally);
    cr_expect_eq(tally_get(seen, COUNT_ECHOES), 2 * COUNTED);
    cr_expect_eq(seen->latencies[LATENCY_ECHO].count, 2 * COUNTED);
    cr_expect_eq(histogram_percentile(&seen->latencies[LATENCY_ECHO], 100), COUNTED);
    cr_expect_eq(seen->latencies[LATENCY_FREEZE].count, 0);
    free(seen);
    free(tally);
}
