/* Leftovers: fields that this node's record in Redis shows and that should not be there any more.
 *
 * Filled while the record and the UUID map are scanned, emptied by the removals. Owned by the Redis writer's
 * thread; bounded, since what Redis says is not trusted: a full one is worked off and the scan made again. */
#ifndef VSPC_LEFTOVERS_H
#define VSPC_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>

struct leftovers;

/* All members are owned by the leftover; bytes of any value. */
struct leftover {
    const char *field, *endpoint, *uuid_key; /* uuid_key: NULL when none leads to the field */
    size_t field_len, endpoint_len, uuid_key_len;
};

struct leftovers *leftovers_new(void);
void leftovers_free(struct leftovers *leftovers);
void leftovers_clear(struct leftovers *leftovers);

size_t leftovers_count(const struct leftovers *leftovers);
bool leftovers_full(const struct leftovers *leftovers);

/* A field that is listed already, or does not fit any more, is not added. */
void leftovers_add(struct leftovers *leftovers, const char *field, size_t field_len, const char *endpoint,
                   size_t endpoint_len);
/* The UUID map has this key for this field: it is to go with the field, if that is listed. */
void leftovers_add_uuid(struct leftovers *leftovers, const char *uuid_key, size_t uuid_key_len,
                        const char *field, size_t field_len);
/* Takes one out; valid until the next call. Result: NULL when there is none. */
const struct leftover *leftovers_take(struct leftovers *leftovers);

#endif
