/* Log stamp: the form of a log in which each line begins with the time. Pure but for its clock's cache, which
 * belongs to the caller.
 *
 * A line begins with its first byte, and so does a file. Carriage returns at the beginning of a line are left
 * out, as they would have a terminal write over the time; so an empty line is the time alone. */
#ifndef VSPC_LOG_STAMP_H
#define VSPC_LOG_STAMP_H

#include <stdbool.h>

#include "log_item.h"

/* "2026-11-22T23:45:31.123Z " */
enum { LOG_STAMP_LEN = 25 };

struct log_clock {
    uint64_t second;
    char text[21]; /* "2026-11-22T23:45:31." of that second; all zero: none yet */
};

/* Where the rendering of an item is. */
struct log_cursor {
    size_t at;     /* bytes of the item that are done */
    bool mid_line; /* what comes next is not the first of its line */
};

void log_stamp_format(struct log_clock *clock, uint64_t ms, char out[LOG_STAMP_LEN]);

/* Renders what comes next of the item into at most `room` bytes and moves the cursor; no time is ever cut.
 * The same again with less room stops earlier, and so tells what of the item is in the first bytes of the
 * result. now_ms: for what has no mark. Result: bytes in out. */
size_t log_stamp_render(struct log_clock *clock, struct log_cursor *cursor, const struct log_item *item,
                        uint64_t now_ms, uint8_t *out, size_t room);

#endif
