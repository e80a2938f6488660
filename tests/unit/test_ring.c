#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "console/ring.h"

/* Copies positions from..to out. */
static void copy(const struct ring *ring, uint64_t from, uint64_t to, uint8_t *out)
{
    struct iovec piece[2];
    int n = ring_read(ring, from, to, piece);
    for (int i = 0; i < n; i++) {
        memcpy(out, piece[i].iov_base, piece[i].iov_len);
        out += piece[i].iov_len;
    }
}

Test(ring, empty_owns_no_memory_and_reads_nothing)
{
    struct ring ring = {0};
    struct iovec piece[2];
    cr_assert_eq(ring_read(&ring, 0, 0, piece), 0);
    ring_append(&ring, NULL, 0, 100);
    cr_assert_null(ring.data);
}

Test(ring, keeping_nothing_still_counts_positions)
{
    struct ring ring = {0};
    ring_append(&ring, (const uint8_t *)"abc", 3, 0);
    cr_assert_eq(ring.end, 3);
    cr_assert_eq(ring.start, 3);
    cr_assert_null(ring.data);
}

Test(ring, takes_memory_only_as_output_comes)
{
    struct ring ring = {0};
    ring_append(&ring, (const uint8_t *)"abc", 3, 16384);
    cr_assert_leq(ring.cap, 512);
    ring_clear(&ring);
}

/* Any sequence of appends of any size must leave at least the newest `keep` bytes, byte for byte. */
Test(ring, keeps_the_newest_bytes_through_random_appends)
{
    static uint8_t all[1 << 20], got[1 << 20];
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct ring ring = {0};
        size_t total = 0;
        srand(seed);
        while (total < 60000) {
            size_t len = (size_t)rand() % (rand() % 4 ? 300 : 9000);
            size_t keep = (size_t)rand() % 8192;
            for (size_t i = 0; i < len; i++)
                all[total + i] = (uint8_t)rand();
            uint64_t had = ring.end - ring.start;
            ring_append(&ring, all + total, len, keep);
            total += len;
            cr_assert_eq(ring.end, total);
            size_t kept = (size_t)(ring.end - ring.start);
            size_t must = had + len < keep ? (size_t)had + len : keep;
            cr_assert_geq(kept, must, "seed %u: kept %zu of %zu", seed, kept, must);
            copy(&ring, ring.start, ring.end, got);
            cr_assert(memcmp(got, all + ring.start, kept) == 0, "seed %u at %zu", seed, total);
            if (rand() % 8 == 0) {
                size_t shrink = (size_t)rand() % 4096;
                size_t before = (size_t)(ring.end - ring.start);
                ring_shrink(&ring, shrink);
                cr_assert_geq(ring.end - ring.start, before < shrink ? before : shrink);
                copy(&ring, ring.start, ring.end, got);
                cr_assert(memcmp(got, all + ring.start, (size_t)(ring.end - ring.start)) == 0, "seed %u",
                          seed);
            }
        }
        ring_clear(&ring);
    }
}
