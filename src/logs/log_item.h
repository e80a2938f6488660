/* Log item: what a VM printed in a short while, on its way from a worker to the disk thread. It belongs to
 * the worker until it is posted, and then to the disk thread. */
#ifndef VSPC_LOG_ITEM_H
#define VSPC_LOG_ITEM_H

#include "vspc/mem.h"

/* From byte `at` on, what is in the item was printed then. */
struct log_mark {
    size_t at;
    uint64_t ms; /* since 1970 */
};

struct log_item {
    struct log_item *prev, *next;
    size_t cost;        /* what it takes of the queue */
    uint64_t lost;      /* bytes that found no room in the queue, in front of data */
    struct bytes data;  /* as the VM printed it */
    struct bytes marks; /* struct log_mark, in order; none when nobody wants to know */
    char name[];        /* of the file */
};

static inline size_t log_item_marks(const struct log_item *item)
{
    return item->marks.len / sizeof(struct log_mark);
}
static inline const struct log_mark *log_item_mark(const struct log_item *item, size_t i)
{
    return (const struct log_mark *)(const void *)bytes_at(&item->marks) + i;
}

void log_item_free(struct log_item *item);

#endif
