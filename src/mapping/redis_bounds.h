/* Redis bounds: what a reply may take of our memory, whatever its sender says of its length.
 *
 * Lives beside a connection's hiredis reader, in the same thread, and at least as long. hiredis bounds
 * nothing by itself: whoever reads also counts the bytes of a reply that is still not complete, and gives up
 * beyond REDIS_REPLY_MAX_BYTES. */
#ifndef VSPC_REDIS_BOUNDS_H
#define VSPC_REDIS_BOUNDS_H

#include <hiredis/hiredis.h>

enum { REDIS_REPLY_MAX_BYTES = 8 * 1024 * 1024 }; /* one that is longer is none of ours */

#if HIREDIS_MAJOR >= 1
typedef size_t redis_array_size;
#else
typedef int redis_array_size;
#endif
typedef void *redis_create_array_fn(const redisReadTask *task, redis_array_size elements);

struct redis_bounds {
    redisReplyObjectFunctions functions; /* hiredis's, with a bound on arrays */
    redis_create_array_fn *create_array; /* hiredis's own */
};

/* Puts the bounds on a reader that has read nothing yet; uses its privdata. */
void redis_bounds_set(struct redis_bounds *bounds, redisReader *reader);

#endif
