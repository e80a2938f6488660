#include "vspc/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An emptied queue keeps a buffer of up to this size, so that a keystroke costs no allocation. */
enum { BYTES_KEEP = 256 };

static void *check(void *ptr)
{
    if (!ptr) {
        fputs("vspc: out of memory\n", stderr);
        abort();
    }
    return ptr;
}

void *xmalloc(size_t size)
{
    return check(malloc(size ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
    return check(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *old, size_t size)
{
    return check(realloc(old, size ? size : 1));
}

char *xstrdup(const char *text)
{
    return check(strdup(text));
}

char *xmemdup0(const void *data, size_t len)
{
    char *copy = xmalloc(len + 1);
    if (len)
        memcpy(copy, data, len);
    copy[len] = 0;
    return copy;
}

char *xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return check(len < 0 ? NULL : text);
}

void bytes_put(struct bytes *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (b->head + b->len + len > b->cap) {
        if (b->len && b->head)
            memmove(b->data, b->data + b->head, b->len);
        b->head = 0;
        if (b->len + len > b->cap) {
            size_t cap = b->cap ? b->cap : 64;
            while (cap < b->len + len)
                cap *= 2;
            b->data = xrealloc(b->data, cap);
            b->cap = cap;
        }
    }
    memcpy(b->data + b->head + b->len, data, len);
    b->len += len;
}

void bytes_drop(struct bytes *b, size_t n)
{
    b->head += n;
    b->len -= n;
    if (b->len)
        return;
    b->head = 0;
    if (b->cap > BYTES_KEEP)
        bytes_clear(b);
}

void bytes_clear(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}
