/* Streams: what they consist of, and that a check tells exactly what became of one on its way. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/stream.h"
#include "vspc/mem.h"

TestSuite(stream, .timeout = 250);

#define FOREIGN UINT64_MAX

/* What arrived, and where each byte is from; beside it what a check has to say of it. */
struct way {
    struct stream stream;
    uint64_t random, seed;
    uint8_t *bytes;
    uint64_t *from; /* FOREIGN: never sent */
    size_t len, cap;
    uint64_t sent; /* the stream has been sent up to there */
};

static uint64_t pick(struct way *w, uint64_t n)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (w->random >> 33) % n;
}

/* Where the seeds of a test begin: the same each time, or VSPC_SEED, for a search. A failure prints its own.
 */
static uint64_t first_seed(void)
{
    const char *text = getenv("VSPC_SEED");
    return text ? strtoull(text, NULL, 0) : 1;
}

static void way_begin(struct way *w, uint64_t seed, uint64_t from)
{
    *w = (struct way){.stream = {seed, seed & 1}, .random = seed, .seed = seed, .sent = from};
}

static void way_end(struct way *w)
{
    free(w->bytes);
    free(w->from);
}

static void way_reserve(struct way *w, size_t n)
{
    if (w->len + n <= w->cap)
        return;
    w->cap = 2 * w->cap + n;
    w->bytes = xrealloc(w->bytes, w->cap);
    w->from = xrealloc(w->from, w->cap * sizeof *w->from);
}

/* The bytes from an offset on arrive. */
static void arrive(struct way *w, uint64_t from, size_t n)
{
    way_reserve(w, n);
    stream_fill(&w->stream, from, w->bytes + w->len, n);
    for (size_t i = 0; i < n; i++)
        w->from[w->len + i] = from + i;
    w->len += n;
}

static void arrive_right(struct way *w, size_t n)
{
    arrive(w, w->sent, n);
    w->sent += n;
}

/* Bytes arrive that nobody sent; at_from: each other than the one that belongs there. */
static void arrive_foreign(struct way *w, uint64_t at_from, size_t n)
{
    way_reserve(w, n);
    for (size_t i = 0; i < n; i++) {
        uint8_t byte;
        do
            byte = (uint8_t)('0' + pick(w, 64));
        while (byte == stream_byte(&w->stream, at_from + i));
        w->bytes[w->len] = byte;
        w->from[w->len++] = FOREIGN;
    }
}

static size_t any_size(struct way *w)
{
    static const size_t most[] = {1, 1, 3, 20, 100, 3000, 40000};
    return 1 + pick(w, most[pick(w, sizeof most / sizeof *most)]);
}

enum fault { LOSE, DOUBLE, SWAP, CORRUPT, INSERT, FAULTS };

/* Whether two stretches of n bytes, one behind the other, can be told apart at their edges when they are
 * swapped: equal bytes there may be taken for each other, and then there is no saying what happened. */
static bool is_plain_swap(const struct way *w, size_t n)
{
    uint64_t at = w->sent;
    uint8_t first = stream_byte(&w->stream, at), second = stream_byte(&w->stream, at + n);
    uint8_t behind = stream_byte(&w->stream, at + 2 * n), last = stream_byte(&w->stream, at + 2 * n - 1);
    return first != second && behind != first && behind != second &&
           last != stream_byte(&w->stream, at + n - 1) &&
           (at == 0 || last != stream_byte(&w->stream, at - 1));
}

static void go_wrong(struct way *w, enum fault fault, size_t n)
{
    switch (fault) {
    case LOSE:
        w->sent += n;
        break;
    case DOUBLE:
        n = n < w->sent ? n : w->sent;
        arrive(w, w->sent - n, n);
        break;
    case SWAP:
        while (!is_plain_swap(w, n))
            n++;
        arrive(w, w->sent + n, n);
        arrive(w, w->sent, n);
        w->sent += 2 * n;
        break;
    case CORRUPT:
        arrive_foreign(w, w->sent, n);
        w->sent += n;
        break;
    default:
        arrive_foreign(w, w->sent, n);
        break;
    }
}

static bool is_about(uint64_t a, uint64_t b, uint64_t slack)
{
    return a <= b + slack && b <= a + slack;
}

/* What a check must have counted when all has arrived. slack: as many bytes may by chance have been equal to
 * others that they were taken for. */
static void expect_counts(const struct way *w, const struct stream_check *c, uint64_t from, uint64_t skipped,
                          uint64_t slack)
{
    uint64_t arrived = 0, doubled = 0, reordered = 0, furthest = from;
    bool *seen = xcalloc(w->sent - from + 1, 1);
    for (size_t i = 0; i < w->len; i++) {
        uint64_t at = w->from[i];
        if (at == FOREIGN || seen[at - from]) {
            doubled++;
            continue;
        }
        seen[at - from] = true;
        if (at < furthest)
            reordered++;
        else
            arrived++, furthest = at;
    }
    free(seen);
    uint64_t lost = w->sent - from - arrived - reordered - skipped;
    bool right = is_about(c->arrived, arrived, slack) && is_about(c->lost, lost, slack) &&
                 is_about(c->doubled, doubled, slack) && is_about(c->reordered, reordered, slack) &&
                 c->skipped == skipped && c->end == w->sent;
    bool adds_up = c->arrived + c->doubled + c->reordered == w->len &&
                   c->arrived + c->reordered + c->lost + c->skipped == w->sent - from;
    cr_assert(
        right && adds_up,
        "seed %#llx: arrived %llu, lost %llu, doubled %llu, reordered %llu, skipped %llu; it says %llu, "
        "%llu, %llu, %llu, %llu, up to %llu of %llu",
        (unsigned long long)w->seed, (unsigned long long)arrived, (unsigned long long)lost,
        (unsigned long long)doubled, (unsigned long long)reordered, (unsigned long long)skipped,
        (unsigned long long)c->arrived, (unsigned long long)c->lost, (unsigned long long)c->doubled,
        (unsigned long long)c->reordered, (unsigned long long)c->skipped, (unsigned long long)c->end,
        (unsigned long long)w->sent);
}

/* Feeds what has arrived from byte number `at` on, cut at random. */
static void feed(struct way *w, struct stream_check *c, size_t at)
{
    size_t most = (size_t)1 << pick(w, 16);
    while (at < w->len) {
        size_t n = 1 + pick(w, most);
        n = n < w->len - at ? n : w->len - at;
        stream_check_feed(c, w->bytes + at, n);
        at += n;
    }
}

Test(stream, any_part_is_the_same_as_in_the_whole)
{
    static uint8_t whole[4096], part[4096];
    for (unsigned binary = 0; binary < 2; binary++) {
        struct stream s = {.seed = 7, .binary = binary};
        stream_fill(&s, 0, whole, sizeof whole);
        for (size_t from = 0; from < 40; from++) {
            for (size_t len = 0; len < 60; len++) {
                part[len] = 1;
                stream_fill(&s, from, part, len);
                cr_assert(memcmp(part, whole + from, len) == 0, "%zu from %zu", len, from);
                cr_assert_eq(part[len], 1, "wrote behind %zu from %zu", len, from);
                cr_assert_eq(stream_match(&s, from, part, len), len);
                for (size_t wrong = 0; wrong < len; wrong++) {
                    part[wrong] ^= 1;
                    cr_assert_eq(stream_match(&s, from, part, len), wrong, "%zu of %zu from %zu", wrong, len,
                                 from);
                    part[wrong] ^= 1;
                }
            }
        }
    }
}

Test(stream, text_is_of_64_characters_and_binary_has_255_for_the_last)
{
    enum { LEN = 1 << 20 };
    uint8_t *text = xmalloc(LEN), *binary = xmalloc(LEN);
    struct stream s = {.seed = 7};
    unsigned counts[256] = {0};
    stream_fill(&s, 3, text, LEN);
    s.binary = true;
    stream_fill(&s, 3, binary, LEN);
    for (size_t i = 0; i < LEN; i++) {
        cr_assert(text[i] >= '0' && text[i] <= 'o');
        cr_assert_eq(binary[i], text[i] == 'o' ? 255 : text[i]);
        counts[text[i]]++;
    }
    /* Far more than chance allows from an even distribution is 10 % off. */
    for (int c = '0'; c <= 'o'; c++)
        cr_assert(counts[c] > LEN / 64 * 0.9 && counts[c] < LEN / 64 * 1.1, "%c: %u", c, counts[c]);
    free(text);
    free(binary);
}

Test(stream, a_block_tells_where_it_is_from)
{
    uint8_t block[STREAM_BLOCK];
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct stream s = {seed, seed & 1};
        uint64_t offset =
                     (seed * UINT64_C(0x123456789abcdef)) % STREAM_LENGTH_MAX / STREAM_BLOCK * STREAM_BLOCK,
                 found;
        stream_fill(&s, offset, block, sizeof block);
        cr_assert(stream_find(&s, block, &found));
        cr_assert_eq(found, offset);
        block[3] = 'p';
        cr_assert_not(stream_find(&s, block, &found));
        block[3] = s.binary ? 'o' : 255;
        cr_assert_not(stream_find(&s, block, &found));
    }
}

Test(stream, what_is_right_is_right_however_it_is_cut)
{
    for (unsigned i = 0; i < 100; i++) {
        struct way w;
        struct stream_check c;
        way_begin(&w, first_seed() + i, 0);
        uint64_t from = pick(&w, 100000);
        w.sent = from;
        stream_check_init(&c, &w.stream, from);
        arrive_right(&w, 1 + pick(&w, 100000));
        for (size_t at = 0, n; at < w.len; at += n) {
            n = 1 + pick(&w, 1 + pick(&w, 5000));
            n = n < w.len - at ? n : w.len - at;
            cr_assert(stream_check_feed(&c, w.bytes + at, n));
        }
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, from, 0, 0);
        way_end(&w);
    }
}

/* Each fault alone, of every small size, at every alignment, at the start, in the middle and at the end. */
Test(stream, one_fault_is_counted_exactly_wherever_it_is)
{
    uint64_t seed = first_seed();
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        for (size_t before = 0; before < 40; before++) {
            for (size_t n = 1; n < 40; n++) {
                for (size_t behind = 0; behind < 60; behind += 1 + behind / 3) {
                    struct way w;
                    struct stream_check c;
                    way_begin(&w, seed++, 0);
                    stream_check_init(&c, &w.stream, 0);
                    arrive_right(&w, before);
                    go_wrong(&w, fault, n);
                    arrive_right(&w, behind);
                    feed(&w, &c, 0);
                    stream_check_finish(&c, w.sent);
                    expect_counts(&w, &c, 0, 0, 0);
                    way_end(&w);
                }
            }
        }
    }
}

Test(stream, many_faults_are_counted_exactly)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct way w;
        struct stream_check c;
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        for (uint64_t faults = pick(&w, 20); faults; faults--) {
            arrive_right(&w, 2 * STREAM_ENOUGH + pick(&w, 2000));
            go_wrong(&w, (enum fault)pick(&w, FAULTS), any_size(&w));
        }
        arrive_right(&w, pick(&w, 3000));
        feed(&w, &c, 0);
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, 0, 0, 2);
        way_end(&w);
    }
}

/* Blocks as large as buffers are. */
Test(stream, large_blocks_are_counted_exactly)
{
    for (unsigned i = 0; i < 30; i++) {
        struct way w;
        struct stream_check c;
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        for (unsigned faults = 0; faults < 4; faults++) {
            arrive_right(&w, 2 * STREAM_ENOUGH + pick(&w, 1 << 20));
            go_wrong(&w, (enum fault)(i % FAULTS), 1 + pick(&w, 1 << 20));
        }
        arrive_right(&w, pick(&w, 3000));
        feed(&w, &c, 0);
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, 0, 0, 2);
        way_end(&w);
    }
}

/* However close faults are, nothing is counted twice or not at all, and something is wrong. */
Test(stream, crowded_faults_still_add_up)
{
    for (unsigned i = 0; i < 20000; i++) {
        struct way w;
        struct stream_check c;
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        arrive_right(&w, 30);
        for (uint64_t faults = 1 + pick(&w, 30); faults; faults--) {
            arrive_right(&w, pick(&w, 40));
            go_wrong(&w, (enum fault)pick(&w, FAULTS), 1 + pick(&w, 30));
        }
        arrive_right(&w, pick(&w, 100));
        feed(&w, &c, 0);
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, 0, 0, UINT32_MAX);
        cr_assert_gt(c.lost + c.doubled + c.reordered, 0, "seed %#llx", (unsigned long long)w.seed);
        way_end(&w);
    }
}

Test(stream, what_was_skipped_is_exact)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct way w;
        struct stream_check c;
        uint64_t skipped = 0;
        size_t fed = 0;
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        for (unsigned times = 0; times < 5; times++) {
            uint64_t n = 1 + pick(&w, 1 << 20);
            arrive_right(&w, pick(&w, 1000));
            if (i % 2) {
                go_wrong(&w, i % 4 == 1 ? LOSE : INSERT, 1);
                arrive_right(&w, 1 + 2 * STREAM_ENOUGH);
            }
            feed(&w, &c, fed);
            fed = w.len;
            stream_check_skip(&c, n);
            skipped += n;
            w.sent += n;
        }
        arrive_right(&w, pick(&w, 100));
        feed(&w, &c, fed);
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, 0, skipped, 0);
        way_end(&w);
    }
}

Test(stream, a_skip_between_a_fault_and_its_explanation_is_exact)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct way w;
        struct stream_check c;
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        arrive_right(&w, 100);
        go_wrong(&w, i % 2 ? LOSE : CORRUPT, 1);
        arrive_right(&w, 8);
        feed(&w, &c, 0);
        stream_check_skip(&c, 5000);
        w.sent += 5000;
        size_t fed = w.len;
        arrive_right(&w, 100);
        feed(&w, &c, fed);
        stream_check_finish(&c, w.sent);
        expect_counts(&w, &c, 0, 5000, 1);
        way_end(&w);
    }
}

Test(stream, a_skip_beyond_all_bounds_is_bounded)
{
    struct stream s = {.seed = 3};
    struct stream_check c;
    stream_check_init(&c, &s, 100);
    stream_check_skip(&c, UINT64_MAX);
    stream_check_skip(&c, UINT64_MAX);
    cr_assert_eq(c.at, STREAM_LENGTH_MAX);
    cr_assert_eq(c.skipped, STREAM_LENGTH_MAX - 100);
    stream_check_feed(&c, "hello", 5);
    stream_check_finish(&c, 1000);
    cr_assert_eq(c.end, 1000);
}

/* Noise of any length in the place of what was sent, and noise that is like a stream. */
Test(stream, noise_is_counted_about_right)
{
    enum { NOISE = 1 << 20 };
    uint8_t *noise = xmalloc(NOISE);
    for (unsigned i = 0; i < 6; i++) {
        struct way w;
        struct stream_check c;
        struct stream other = {.seed = 99};
        way_begin(&w, first_seed() + i, 0);
        stream_check_init(&c, &w.stream, 0);
        arrive_right(&w, 1000);
        feed(&w, &c, 0);
        stream_fill(&other, 0, noise, NOISE);
        for (size_t j = 0; i % 3 == 1 && j < NOISE; j++)
            noise[j] = (uint8_t)pick(&w, 256);
        if (i % 3 == 2)
            memset(noise, 'a', NOISE);
        for (size_t at = 0; at < NOISE; at += 1024)
            cr_assert_not(stream_check_feed(&c, noise + at, 1024));
        w.sent += NOISE;
        size_t fed = w.len;
        arrive_right(&w, 100000);
        feed(&w, &c, fed);
        stream_check_finish(&c, w.sent);
        cr_assert(is_about(c.arrived, 101000, 50) && is_about(c.lost, NOISE, 50) &&
                      is_about(c.doubled, NOISE, 50),
                  "arrived %llu, lost %llu, doubled %llu", (unsigned long long)c.arrived,
                  (unsigned long long)c.lost, (unsigned long long)c.doubled);
        way_end(&w);
    }
    free(noise);
}
