/* Memory: allocation that cannot fail, and a growable byte queue.
 *
 * xmalloc and its kin abort when there is no memory; every size that comes from outside is bounded before it
 * gets here. A struct bytes belongs to whoever holds it and is not safe to share between threads. */
#ifndef VSPC_MEM_H
#define VSPC_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
/* A copy of len bytes with a NUL behind them. */
char *xmemdup0(const void *data, size_t len);
/* printf into fresh memory; the caller frees. */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes in at the tail, out at the head. All zero is an empty queue that owns no memory. */
struct bytes {
    uint8_t *data;
    size_t head; /* where the first unread byte stands in data */
    size_t len;  /* unread bytes */
    size_t cap;
};

/* Appends len bytes. */
void bytes_put(struct bytes *b, const void *data, size_t len);
/* The first unread byte; b->len of them are contiguous. NULL when the queue owns no memory. */
static inline uint8_t *bytes_at(const struct bytes *b)
{
    return b->data ? b->data + b->head : NULL;
}
/* Forgets the first n unread bytes (n <= b->len). An emptied queue gives back more than a small buffer. */
void bytes_drop(struct bytes *b, size_t n);
/* Frees the memory; the queue is empty and usable again. */
void bytes_clear(struct bytes *b);

#endif
