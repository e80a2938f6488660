/* node-vspc: reads from Redis the ports that this predecessor of vspcd remembered there, one string key a VM:
 * <prefix><VM name> -> port number, in decimal.
 *
 * It is for a command that does nothing else meanwhile: it waits for Redis, each time a few seconds at most,
 * in the thread that calls it. It changes nothing in Redis. Whatever comes from there is bounded. */
#ifndef VSPC_NODE_VSPC_H
#define VSPC_NODE_VSPC_H

#include <stddef.h>
#include <stdint.h>

#include "vspc/config.h"

enum {
    NODE_VSPC_PREFIX_MAX = 1024, /* bytes */
    NODE_VSPC_KEYS_MAX = 500000, /* with the prefix; with more, reading fails */
};

/* What a key holds when it is not a port's number, which is 1 to 65535. */
enum {
    NODE_VSPC_EMPTY = 0,      /* nothing; or the key expired before it was read */
    NODE_VSPC_NO_PORT = -1,   /* a value that is no port's number */
    NODE_VSPC_NO_STRING = -2, /* another type */
};

/* Takes what is read. */
struct node_vspc_sink {
    /* One key. name: the VM's, any bytes, also none, valid during the call; the same may come twice.
     * port: the port, or one of those above. */
    void (*saved)(void *arg, const char *name, size_t name_len, int port);
    /* From time to time, as soon as it is connected: about so many of the keys in Redis are done with. */
    void (*progress)(void *arg, uint64_t keys);
    void *arg;
};

/* Reads all keys with that prefix, 1 to NODE_VSPC_PREFIX_MAX bytes, with the [redis] settings of config; it
 * does not matter whether [redis] is enabled. SIGPIPE must be ignored.
 * Result: NULL, or a sentence that says what went wrong and what to do, which the caller frees; what went to
 * the sink before that is not all there is. */
char *node_vspc_read(struct config *config, const char *prefix, const struct node_vspc_sink *sink);

#endif
