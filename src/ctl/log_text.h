/* Log text: what a console printed, on standard output: as it is, or to a terminal with all that would steer
 * it shown escaped, but newlines and tabs. */
#ifndef VSPC_CTL_LOG_TEXT_H
#define VSPC_CTL_LOG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

enum { LOG_TEXT_HELD = 4 };

struct log_text {
    bool is_terminal;
    char held[LOG_TEXT_HELD]; /* the beginning of a character, or a CR, whose other bytes have not come yet */
    size_t held_len;
};

void log_text_init(struct log_text *text);
void log_text_write(struct log_text *text, const char *data, size_t len);
/* What is held back, as nothing follows it; and makes all of it be seen. */
void log_text_flush(struct log_text *text);

/* Where the last lines of data begin, so many of them; an unfinished one at the end is one. */
size_t log_text_last(const char *data, size_t len, unsigned lines);

#endif
