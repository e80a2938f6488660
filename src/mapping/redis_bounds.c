#include "mapping/redis_bounds.h"

enum { ELEMENTS_MAX = 1024 * 1024 }; /* of an array */

/* hiredis believes what a reply says of its length, and would take the memory for it at once. */
static void *create_bounded_array(const redisReadTask *task, redis_array_size elements)
{
    const struct redis_bounds *bounds = task->privdata;
    return elements > ELEMENTS_MAX ? NULL : bounds->create_array(task, elements);
}

void redis_bounds_set(struct redis_bounds *bounds, redisReader *reader)
{
    bounds->functions = *reader->fn;
    bounds->create_array = reader->fn->createArray;
    bounds->functions.createArray = create_bounded_array;
    reader->fn = &bounds->functions;
    reader->privdata = bounds;
}
