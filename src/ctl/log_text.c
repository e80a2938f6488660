#include "log_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "display.h"
#include "vspc/mem.h"

void log_text_init(struct log_text *text)
{
    *text = (struct log_text){.is_terminal = isatty(STDOUT_FILENO)};
}

/* Whether data, shorter than a character can be, may be the beginning of one, or of CR LF. */
static bool is_partial(const char *data, size_t len)
{
    unsigned char first = (unsigned char)data[0];
    if (first == '\r')
        return len == 1;
    size_t whole = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    return len < whole;
}

/* Prints one character. Result: how many bytes of data it was. */
static size_t print_one(const char *data, size_t len)
{
    char one[SHOWN_ONE];
    if (*data == '\n' || *data == '\t') {
        putchar(*data);
        return 1;
    }
    if (*data == '\r' && len > 1 && data[1] == '\n')
        return 1;
    size_t used = shown_one(data, len, one);
    fputs(one, stdout);
    return used;
}

void log_text_write(struct log_text *text, const char *data, size_t len)
{
    if (!text->is_terminal) {
        fwrite(data, 1, len, stdout);
        return;
    }
    char *all = xmalloc(text->held_len + len + 1);
    memcpy(all, text->held, text->held_len);
    memcpy(all + text->held_len, data, len);
    len += text->held_len;
    size_t at = 0;
    while (at < len && (len - at >= LOG_TEXT_HELD || !is_partial(all + at, len - at)))
        at += print_one(all + at, len - at);
    text->held_len = len - at;
    memcpy(text->held, all + at, text->held_len);
    free(all);
}

void log_text_flush(struct log_text *text)
{
    for (size_t at = 0; at < text->held_len;)
        at += print_one(text->held + at, text->held_len - at);
    text->held_len = 0;
    flush_output();
}

size_t log_text_last(const char *data, size_t len, unsigned lines)
{
    size_t at = len && data[len - 1] == '\n' ? len - 1 : len;
    if (lines == 0)
        return len;
    while (at > 0) {
        const char *newline = memrchr(data, '\n', at);
        if (!newline)
            return 0;
        at = (size_t)(newline - data);
        if (--lines == 0)
            return at + 1;
    }
    return 0;
}
