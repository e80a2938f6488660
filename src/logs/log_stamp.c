#include "log_stamp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void log_stamp_format(struct log_clock *clock, uint64_t ms, char out[LOG_STAMP_LEN])
{
    char rest[8];
    uint64_t second = ms / 1000;
    if (clock->second != second || !clock->text[0]) {
        struct tm tm;
        time_t t = (time_t)second;
        gmtime_r(&t, &tm);
        strftime(clock->text, sizeof clock->text, "%Y-%m-%dT%H:%M:%S.", &tm);
        clock->second = second;
    }
    memcpy(out, clock->text, 20);
    snprintf(rest, sizeof rest, "%03uZ ", (unsigned)(ms % 1000));
    memcpy(out + 20, rest, LOG_STAMP_LEN - 20);
}

/* When byte `at` was printed. *mark: the one in force before. */
static uint64_t time_of(const struct log_item *item, size_t at, size_t *mark, uint64_t now_ms)
{
    size_t marks = log_item_marks(item);
    if (!marks)
        return now_ms;
    while (*mark + 1 < marks && log_item_mark(item, *mark + 1)->at <= at)
        ++*mark;
    return log_item_mark(item, *mark)->ms;
}

size_t log_stamp_render(struct log_clock *clock, struct log_cursor *cursor, const struct log_item *item,
                        uint64_t now_ms, uint8_t *out, size_t room)
{
    const uint8_t *data = bytes_at(&item->data);
    size_t len = item->data.len, n = 0, mark = 0;
    while (cursor->at < len && n < room) {
        if (!cursor->mid_line) {
            if (data[cursor->at] == '\r') {
                cursor->at++;
                continue;
            }
            if (room - n <= LOG_STAMP_LEN)
                break;
            log_stamp_format(clock, time_of(item, cursor->at, &mark, now_ms), (char *)out + n);
            n += LOG_STAMP_LEN;
        }
        const uint8_t *from = data + cursor->at;
        size_t most = len - cursor->at < room - n ? len - cursor->at : room - n;
        const uint8_t *end = memchr(from, '\n', most);
        size_t run = end ? (size_t)(end - from) + 1 : most;
        memcpy(out + n, from, run);
        n += run;
        cursor->at += run;
        cursor->mid_line = !end;
    }
    return n;
}
