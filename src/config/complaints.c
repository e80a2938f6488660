#include "complaints.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for a path, a key and a value as quote() bounds them, and for the sentence around them. */
enum { LINE_BYTES = 4096 };

/* Formats into the line's own buffer, so that one complaint is bounded too. */
void complaints_add(struct complaints *complaints, const char *format, ...)
{
    if (complaints->count++ >= COMPLAINTS_MAX)
        return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (complaints->text.len)
        bytes_put(&complaints->text, "\n", 1);
    bytes_put(&complaints->text, line, strlen(line));
}

/* Closes with the number of those that were not kept. */
char *complaints_take(struct complaints *complaints)
{
    if (!complaints->count)
        return NULL;
    char *lines = xmemdup0(bytes_at(&complaints->text), complaints->text.len);
    if (complaints->count > COMPLAINTS_MAX) {
        char *kept = lines;
        lines = xasprintf("%s\nand %u more", kept, complaints->count - COMPLAINTS_MAX);
        free(kept);
    }
    bytes_clear(&complaints->text);
    complaints->count = 0;
    return lines;
}
