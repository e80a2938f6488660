#include "stream_align.h"

#include <string.h>

/* A fault costs that much more than the bytes that it touches: a right byte by chance in the middle of a
 * wrong stretch does not make two faults of one. */
enum { FAULT_COST = 8 };

/* Stands for all between the halves, and is equal to no byte. */
enum { MIDDLE = 256 };

/* costs[i][j]: the least cost of all from got byte i and sent byte j on, behind right bytes or within a
 * fault. */
struct alignment_work {
    uint16_t sent[ALIGN_SENT_MAX]; /* bytes, or MIDDLE */
    const uint8_t *got;
    size_t got_len, sent_len;
    struct {
        uint16_t behind_right, in_fault;
    } costs[ALIGN_GOT_MAX + 1][ALIGN_SENT_MAX + 1];
};

/* A stretch of bytes that do not match. */
struct fault {
    size_t got, got_end, sent, sent_end;
};

uint64_t stream_align_offset(size_t i, uint64_t from, uint64_t to)
{
    if (to - from <= ALIGN_SENT_MAX || i <= ALIGN_HALF)
        return from + i;
    return to - ALIGN_SENT_MAX + i;
}

static uint16_t least(uint16_t a, uint16_t b)
{
    return a < b ? a : b;
}

static bool is_right(const struct alignment_work *w, size_t i, size_t j)
{
    return i < w->got_len && j < w->sent_len && w->got[i] == w->sent[j];
}

static void find_costs(struct alignment_work *w, bool open)
{
    for (size_t i = w->got_len + 1; i-- > 0;) {
        for (size_t j = w->sent_len + 1; j-- > 0;) {
            bool over = i == w->got_len && (open || j == w->sent_len);
            uint16_t right = is_right(w, i, j) ? w->costs[i + 1][j + 1].behind_right : UINT16_MAX;
            uint16_t fault = over ? 0 : right;
            if (i < w->got_len)
                fault = least(fault, (uint16_t)(w->costs[i + 1][j].in_fault + 1));
            if (j < w->sent_len)
                fault = least(fault, (uint16_t)(w->costs[i][j + 1].in_fault + 1));
            w->costs[i][j].in_fault = fault;
            w->costs[i][j].behind_right = over ? 0 : least(right, (uint16_t)(fault + FAULT_COST));
        }
    }
}

/* Puts what was got in a fault in the places of equal bytes sent, the first that are free, or of those behind
 * all that have come before, if `onward`. Result: how many came behind a byte that was sent later; SIZE_MAX
 * if some were not sent, or sent bytes did not come. */
static size_t count_late(const struct alignment_work *w, const struct fault *f, bool onward)
{
    size_t n = f->got_end - f->got, furthest = 0, late = 0;
    const uint16_t *sent = w->sent + f->sent;
    const uint8_t *got = w->got + f->got;
    bool used[ALIGN_SENT_MAX] = {false};
    if (n != f->sent_end - f->sent)
        return SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t j = onward ? furthest : 0;
        while (j < n && (used[j] || sent[j] != got[i]))
            j++;
        for (j = j < n ? j : 0; j < n && (used[j] || sent[j] != got[i]);)
            j++;
        if (j == n)
            return SIZE_MAX;
        used[j] = true;
        late += j < furthest;
        furthest = j > furthest ? j : furthest;
    }
    return late;
}

/* Whether what was got in a fault is what was sent there, in another order; counts it if so. */
static bool count_permutation(struct alignment_work *w, struct fault f, struct alignment *result)
{
    size_t n = f.got_end - f.got;
    while (f.got < f.got_end && f.sent < f.sent_end && w->got[f.got_end - 1] == w->sent[f.sent_end - 1])
        f.got_end--, f.sent_end--;
    size_t late = count_late(w, &f, false), onward = count_late(w, &f, true);
    late = onward < late ? onward : late;
    if (late == SIZE_MAX)
        return false;
    memset(result->present + f.sent, true, n);
    result->arrived += n - late;
    result->reordered += late;
    return true;
}

static void count_fault(struct alignment_work *w, const struct fault *f, struct alignment *result)
{
    if (!count_permutation(w, *f, result))
        result->doubled += f->got_end - f->got;
}

/* Goes the way of least cost, and counts the faults that it leads through. */
static void follow(struct alignment_work *w, bool open, struct alignment *result)
{
    struct fault fault = {0};
    size_t i = 0, j = 0;
    bool in_fault = true;
    while (i < w->got_len || (!open && j < w->sent_len) || (in_fault && w->costs[i][j].in_fault)) {
        uint16_t cost = in_fault ? w->costs[i][j].in_fault : w->costs[i][j].behind_right;
        if (is_right(w, i, j) && w->costs[i + 1][j + 1].behind_right == cost) {
            if (in_fault)
                count_fault(w, &fault, result);
            in_fault = false;
            result->present[j++] = true;
            result->arrived++;
            i++;
            continue;
        }
        if (!in_fault)
            fault = (struct fault){i, i, j, j}, cost = (uint16_t)(cost - FAULT_COST);
        in_fault = true;
        if (j < w->sent_len && w->costs[i][j + 1].in_fault + 1 == cost)
            j++;
        else
            i++;
        fault.got_end = i, fault.sent_end = j;
    }
    if (in_fault)
        count_fault(w, &fault, result);
    result->sent_len = j;
}

void stream_align(const struct stream *stream, const uint8_t *got, size_t got_len, uint64_t from, uint64_t to,
                  bool open, struct alignment *result)
{
    struct alignment_work w = {.got = got, .got_len = got_len};
    bool whole = to - from <= ALIGN_SENT_MAX;
    memset(result, 0, sizeof *result);
    w.sent_len = whole ? (size_t)(to - from) : ALIGN_SENT_MAX;
    for (size_t i = 0; i < w.sent_len; i++)
        w.sent[i] =
            !whole && i == ALIGN_HALF ? MIDDLE : stream_byte(stream, stream_align_offset(i, from, to));
    result->sent_len = w.sent_len;
    struct fault all = {0, got_len, 0, w.sent_len};
    if (!open && count_permutation(&w, all, result))
        return;
    find_costs(&w, open);
    follow(&w, open, result);
}
