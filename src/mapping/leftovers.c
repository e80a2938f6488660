#include "mapping/leftovers.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "vspc/mem.h"

enum { COUNT_MAX = 65536, BYTES_MAX = 64 * 1024 * 1024 };

struct item {
    UT_hash_handle hh; /* by field; a second UUID of a field makes an item that is listed only */
    bool hashed;
    struct leftover is;
    struct item *prev, *next;
};

struct leftovers {
    struct item *by_field;
    struct item *list;
    struct item *taken; /* what leftovers_take gave out last */
    size_t count, bytes;
};

struct leftovers *leftovers_new(void)
{
    return xcalloc(1, sizeof(struct leftovers));
}

static void item_free(struct item *item)
{
    if (!item)
        return;
    free((void *)item->is.field);
    free((void *)item->is.endpoint);
    free((void *)item->is.uuid_key);
    free(item);
}

void leftovers_clear(struct leftovers *leftovers)
{
    while (leftovers_take(leftovers))
        ;
    leftovers->bytes = 0;
}

void leftovers_free(struct leftovers *leftovers)
{
    leftovers_clear(leftovers);
    free(leftovers);
}

size_t leftovers_count(const struct leftovers *leftovers)
{
    return leftovers->count;
}

bool leftovers_full(const struct leftovers *leftovers)
{
    return leftovers->count >= COUNT_MAX || leftovers->bytes >= BYTES_MAX;
}

static struct item *item_add(struct leftovers *leftovers, const char *field, size_t field_len,
                             const char *endpoint, size_t endpoint_len)
{
    struct item *item = xcalloc(1, sizeof *item);
    item->is.field = xmemdup0(field, field_len);
    item->is.field_len = field_len;
    item->is.endpoint = xmemdup0(endpoint, endpoint_len);
    item->is.endpoint_len = endpoint_len;
    DL_APPEND(leftovers->list, item);
    leftovers->count++;
    leftovers->bytes += sizeof *item + field_len + endpoint_len;
    return item;
}

static struct item *item_find(struct leftovers *leftovers, const char *field, size_t field_len)
{
    struct item *item;
    HASH_FIND(hh, leftovers->by_field, field, field_len, item);
    return item;
}

void leftovers_add(struct leftovers *leftovers, const char *field, size_t field_len, const char *endpoint,
                   size_t endpoint_len)
{
    if (leftovers_full(leftovers) || item_find(leftovers, field, field_len))
        return;
    struct item *item = item_add(leftovers, field, field_len, endpoint, endpoint_len);
    item->hashed = true;
    HASH_ADD_KEYPTR(hh, leftovers->by_field, item->is.field, item->is.field_len, item);
}

void leftovers_add_uuid(struct leftovers *leftovers, const char *uuid_key, size_t uuid_key_len,
                        const char *field, size_t field_len)
{
    struct item *item = item_find(leftovers, field, field_len);
    if (!item || leftovers_full(leftovers))
        return;
    if (item->is.uuid_key)
        item = item_add(leftovers, field, field_len, item->is.endpoint, item->is.endpoint_len);
    item->is.uuid_key = xmemdup0(uuid_key, uuid_key_len);
    item->is.uuid_key_len = uuid_key_len;
    leftovers->bytes += uuid_key_len;
}

const struct leftover *leftovers_take(struct leftovers *leftovers)
{
    item_free(leftovers->taken);
    leftovers->taken = leftovers->list;
    if (!leftovers->taken) {
        leftovers->bytes = 0;
        return NULL;
    }
    DL_DELETE(leftovers->list, leftovers->taken);
    if (leftovers->taken->hashed) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): uthash's links are not seen through */
        HASH_DEL(leftovers->by_field, leftovers->taken);
    }
    leftovers->count--;
    return &leftovers->taken->is;
}
