/* node-vspc name: what a VM is really called whose name went through node-vspc. Pure function, any thread. */
#ifndef VSPC_NODE_VSPC_NAME_H
#define VSPC_NODE_VSPC_NAME_H

#include <stddef.h>

/* node-vspc took each byte of a name for a character, and wrote those to Redis as UTF-8, so that a name that
 * was UTF-8 is there twice encoded. That is undone where it leads to UTF-8; any other name is as it is there.
 *   out  room for len bytes
 * Result: the length of the name in out. */
size_t node_vspc_name(const char *name, size_t len, char *out);

#endif
