#include "stream.h"

#include <string.h>

#include "stream_align.h"

/* Beyond that far away, a stretch that fits is a coincidence. */
#define FAR_AWAY (UINT64_C(1) << 32)

enum {
    SLIDE_MAX = 8, /* right bytes by chance at the edge of a gap */
    FILLER_MIN =
        4, /* fewer bytes that fit into a gap are a coincidence, unless they fill it and it is near */
    NEAR = STREAM_ENOUGH,
};

void stream_check_init(struct stream_check *check, const struct stream *stream, uint64_t from)
{
    memset(check, 0, sizeof *check);
    check->stream = *stream;
    check->at = check->end = check->run_from = from;
}

/* Remembers a gap, and forgets the oldest when there are too many. */
static void gap_keep(struct stream_check *check, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    if (check->gap_count == STREAM_GAPS_MAX)
        memmove(check->gaps, check->gaps + 1, --check->gap_count * sizeof *check->gaps);
    check->gaps[check->gap_count++] = (struct stream_gap){from, to};
}

static void count_lost(struct stream_check *check, uint64_t from, uint64_t to)
{
    check->lost += to - from;
    gap_keep(check, from, to);
}

static bool is_missing(const struct stream_check *check, uint64_t offset)
{
    for (unsigned i = 0; i < check->gap_count; i++)
        if (offset >= check->gaps[i].from && offset < check->gaps[i].to)
            return true;
    return false;
}

/* The first bytes behind a gap may be equal to its own first by chance: they were then taken for those, and
 * the gap begins too late. Moves it to where what now came late begins. */
static void slide_gaps(struct stream_check *check, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < check->gap_count; i++) {
        struct stream_gap *gap = &check->gaps[i];
        uint8_t edge[SLIDE_MAX];
        if (gap->from <= from || gap->from - from > SLIDE_MAX || gap->from > to)
            continue;
        size_t n = (size_t)(gap->from - from);
        stream_fill(&check->stream, from, edge, n);
        if (gap->to - from >= 2 * n && stream_match(&check->stream, gap->to - n, edge, n) == n) {
            gap->from -= n;
            gap->to -= n;
        }
    }
}

/* Bytes that are behind others have come: those of a gap are late, and the rest had come before. */
static void count_late(struct stream_check *check, uint64_t from, uint64_t to)
{
    uint64_t filled = 0;
    slide_gaps(check, from, to);
    for (unsigned i = 0; i < check->gap_count;) {
        struct stream_gap gap = check->gaps[i];
        uint64_t low = gap.from > from ? gap.from : from, high = gap.to < to ? gap.to : to;
        if (low >= high) {
            i++;
            continue;
        }
        filled += high - low;
        memmove(check->gaps + i, check->gaps + i + 1, (--check->gap_count - i) * sizeof gap);
        gap_keep(check, gap.from, low);
        gap_keep(check, high, gap.to);
    }
    check->lost -= filled;
    check->reordered += filled;
    check->doubled += to - from - filled;
}

/* No more will follow in this row. */
static void end_run(struct stream_check *check)
{
    if (check->at < check->end)
        count_late(check, check->run_from, check->at);
    check->run_from = check->at;
}

/* The next n bytes are right. */
static void take_right(struct stream_check *check, uint64_t n)
{
    if (check->at < check->end) {
        uint64_t old = check->end - check->at < n ? check->end - check->at : n;
        check->at += old;
        n -= old;
        if (check->at < check->end)
            return;
        count_late(check, check->run_from, check->at);
        check->run_from = check->at;
    }
    check->at += n;
    check->end += n;
    check->arrived += n;
}

static void drop_pending(struct stream_check *check, size_t n)
{
    check->pending_len -= n;
    memmove(check->pending, check->pending + n, check->pending_len);
    check->searched = check->searched > n ? check->searched - n : 0;
}

/* Whether bytes are what is missing in a gap, or at its beginning or end; counts them if so. */
static bool fill_gap(struct stream_check *check, const uint8_t *data, size_t len)
{
    for (unsigned i = check->gap_count; i-- > 0;) {
        struct stream_gap gap = check->gaps[i];
        bool fills = gap.to - gap.from == len && check->end - gap.to <= NEAR;
        if (gap.to - gap.from < len || (len < FILLER_MIN && !fills))
            continue;
        uint64_t places[] = {gap.from, gap.to - len};
        for (size_t j = 0; j < 2; j++) {
            if (stream_match(&check->stream, places[j], data, len) == len) {
                count_late(check, places[j], places[j] + len);
                return true;
            }
        }
    }
    return false;
}

/* Counts wrong bytes before `to`, behind all that has come. Everything sent up to there is then accounted
 * for, or to where it is simplest that they end, if `open`. */
static void count_wrong(struct stream_check *check, const uint8_t *data, size_t len, uint64_t to, bool open)
{
    struct alignment a;
    uint64_t from = check->end;
    stream_align(&check->stream, data, len, from, to, open, &a);
    if (open)
        to = from + a.sent_len;
    check->arrived += a.arrived;
    check->reordered += a.reordered;
    check->doubled += a.doubled;
    for (size_t i = 0, missing = 0; i <= a.sent_len; i++) {
        if (i < a.sent_len && !a.present[i])
            continue;
        if (missing < i)
            count_lost(check, stream_align_offset(missing, from, to), stream_align_offset(i, from, to));
        missing = i + 1;
    }
    check->end = check->at = check->run_from = to;
}

/* Counts bytes between the last right one and the next, which is from `to`. */
static void count_between(struct stream_check *check, const uint8_t *data, size_t len, uint64_t to)
{
    if (len == 0)
        return;
    bool new = check->at == check->end &&to > check->end;
    if ((!new || len >= FILLER_MIN) && fill_gap(check, data, len))
        return;
    if (new &&len <= ALIGN_GOT_MAX) {
        count_wrong(check, data, len, to, false);
    } else {
        check->doubled += len;
        check->early_len = len <= sizeof check->early ? len : 0;
        memcpy(check->early, data, check->early_len);
    }
}

/* Nothing has come from `end` up to `to`, behind which bytes came: but a few of them may be what came too
 * early, and was taken for bytes that nobody had sent. */
static void leave_gap(struct stream_check *check, uint64_t to)
{
    uint64_t from = check->end;
    size_t n = check->early_len;
    check->end = to;
    if (n >= FILLER_MIN && to - from >= n && stream_match(&check->stream, from, check->early, n) == n) {
        check->doubled -= n;
        check->reordered += n;
        check->early_len = 0;
        from += n;
    }
    count_lost(check, from, to);
}

/* Right bytes at the end of a row may be equal by chance to those before the next one, at `to`, and belong
 * there if that makes less of a fault. Takes them back. Result: how many. */
static size_t take_back(struct stream_check *check, uint64_t to)
{
    size_t n = 0;
    bool late = check->at < check->end;
    while (check->at > check->run_from && to > 0 && n < SLIDE_MAX &&
           (late ? to > check->end : is_missing(check, to - 1)) &&
           stream_byte(&check->stream, check->at - 1) == stream_byte(&check->stream, to - 1)) {
        check->at--;
        to--;
        n++;
        if (!late) {
            check->end--;
            check->arrived--;
        }
    }
    return n;
}

/* The first of wrong bytes may have been taken for right by chance, if the next right one, from `to`, is to
 * have come before. Takes them back. Result: how many. */
static size_t take_back_wrong(struct stream_check *check, uint64_t to)
{
    if (check->at < check->end || to >= check->at || to < check->run_from || check->at - to > SLIDE_MAX)
        return 0;
    size_t n = (size_t)(check->at - to);
    check->arrived -= n;
    check->at = check->end = to;
    return n;
}

/* The bytes that are pending are right from number `wrong` on, and from `to`. */
static void go_on_at(struct stream_check *check, size_t wrong, uint64_t to)
{
    uint8_t between[SLIDE_MAX + sizeof check->pending];
    size_t back = wrong == 0 ? take_back(check, to) : 0;
    size_t back_wrong = wrong ? take_back_wrong(check, to) : 0;
    stream_fill(&check->stream, check->at, between, back_wrong);
    memcpy(between + back_wrong, check->pending, wrong);
    end_run(check);
    count_between(check, between, back_wrong + wrong, to - back);
    if (to - back > check->end)
        leave_gap(check, to - back);
    check->at = check->run_from = to - back;
    take_right(check, back);
    drop_pending(check, wrong);
}

/* How many bytes before number i of those that are pending are right too, if that one is from `offset`. */
static size_t right_before(const struct stream_check *check, size_t i, uint64_t offset)
{
    size_t n = 0;
    while (n < i && n < offset && check->pending[i - n - 1] == stream_byte(&check->stream, offset - n - 1))
        n++;
    return n;
}

/* Finds the first window among the bytes that are pending. last: no more will come to fill one. Result:
 * whether there is one; where it begins, and where it is from. */
static bool find_window(struct stream_check *check, bool last, size_t *begin, uint64_t *from)
{
    size_t need = last ? STREAM_BLOCK : STREAM_WINDOW;
    for (; check->searched + need <= check->pending_len; check->searched++) {
        size_t i = check->searched, len = check->pending_len - i;
        uint64_t offset;
        if (!stream_find(&check->stream, check->pending + i, &offset) || offset > STREAM_LENGTH_MAX ||
            offset > check->at + FAR_AWAY || check->at > offset + FAR_AWAY)
            continue;
        size_t right = stream_match(&check->stream, offset, check->pending + i,
                                    len < STREAM_WINDOW ? len : STREAM_WINDOW);
        size_t before = right_before(check, i, offset);
        if (right + before >= STREAM_WINDOW) {
            *begin = i - before;
            *from = offset - before;
            return true;
        }
    }
    return false;
}

/* Finds out where the bytes that are pending belong, as far as can be said. */
static void work_off(struct stream_check *check, bool last)
{
    size_t begin;
    uint64_t from;
    while (find_window(check, last, &begin, &from)) {
        go_on_at(check, begin, from);
        size_t right = stream_match(&check->stream, check->at, check->pending, check->pending_len);
        take_right(check, right);
        drop_pending(check, right);
        check->searched = 0;
    }
    if (check->pending_len == sizeof check->pending) {
        /* It belongs nowhere, but for the end, where a window may have begun. */
        size_t n = check->pending_len - STREAM_ENOUGH;
        end_run(check);
        check->doubled += n;
        drop_pending(check, n);
    }
}

bool stream_check_feed(struct stream_check *check, const void *data, size_t len)
{
    const uint8_t *from = data;
    uint64_t lost = check->lost, doubled = check->doubled, reordered = check->reordered;
    while (len) {
        if (check->pending_len == 0) {
            size_t right = stream_match(&check->stream, check->at, from, len);
            take_right(check, right);
            from += right;
            len -= right;
        }
        size_t room = sizeof check->pending - check->pending_len, n = len < room ? len : room;
        if (n == 0)
            continue;
        memcpy(check->pending + check->pending_len, from, n);
        check->pending_len += n;
        from += n;
        len -= n;
        work_off(check, false);
    }
    return check->pending_len == 0 && check->at == check->end && check->lost == lost &&
           check->doubled == doubled && check->reordered == reordered;
}

/* Counts what is pending, as what comes next will not tell where it belongs. */
static void settle(struct stream_check *check)
{
    work_off(check, true);
    end_run(check);
    size_t len = check->pending_len, head = len > ALIGN_GOT_MAX ? len - ALIGN_GOT_MAX : 0;
    check->doubled += head;
    drop_pending(check, head);
    len -= head;
    if (len && !fill_gap(check, check->pending, len))
        count_wrong(check, check->pending, len, check->end + len + STREAM_ENOUGH, true);
    drop_pending(check, len);
}

void stream_check_skip(struct stream_check *check, uint64_t n)
{
    if (check->at >= STREAM_LENGTH_MAX)
        return;
    if (n > STREAM_LENGTH_MAX - check->at)
        n = STREAM_LENGTH_MAX - check->at;
    settle(check);
    check->at += n;
    if (check->at > check->end) {
        check->skipped += check->at - check->end;
        check->end = check->at;
    }
    check->run_from = check->at;
}

void stream_check_finish(struct stream_check *check, uint64_t sent)
{
    work_off(check, true);
    if (sent < check->end) {
        /* What was not sent cannot have arrived, though it had the right value. */
        uint64_t never = check->end - sent < check->arrived ? check->end - sent : check->arrived;
        end_run(check);
        check->arrived -= never;
        check->doubled += never;
        check->at = check->end = check->run_from = sent;
    }
    /* As many of the last bytes as can be are the stream's last. */
    size_t len = check->pending_len, right = 0;
    uint64_t begin = check->at < check->end || check->at - check->run_from <= SLIDE_MAX
                         ? check->at < check->end ? check->end : check->run_from
                         : check->end - SLIDE_MAX;
    while (right < len && right < sent - begin &&
           check->pending[len - right - 1] == stream_byte(&check->stream, sent - right - 1))
        right++;
    go_on_at(check, len - right, sent - right);
    take_right(check, right);
    drop_pending(check, right);
}
