/* Mapping: what Redis says about this node's VMs, kept right by the Redis writer thread.
 *
 * Workers post updates; the writer keeps the desired state (what should be in Redis for this node) and makes
 * Redis agree with it, however often Redis goes away. No caller ever waits for Redis. */
#ifndef VSPC_MAPPING_H
#define VSPC_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/config.h"
#include "vspc/text.h"

/* What a worker knows of one console's VM. Pointers are copied from, not kept. */
struct mapping_vm {
    const char *identity; /* `uuid:...` or `name:...`, any bytes */
    size_t identity_len;
    uint64_t number;  /* grows with each VM connection that gets its console; an update with a lower one than
                         the identity's last is ignored */
    const char *name; /* as the VM sent it, any bytes, may be empty when has_uuid */
    size_t name_len;
    bool has_uuid;
    uint8_t uuid[UUID_SIZE];
    const char *label; /* "" or up to LABEL_MAX of [A-Za-z0-9_-] */
    uint16_t port;     /* user port */
};

struct redis_writer;

/* Starts the thread; takes its own reference to config. Result: the writer, or NULL with errno set. */
struct redis_writer *redis_writer_start(struct config *config);

/* Any thread: the VM is connected, under this name and port. Also says that a connected VM has changed its
 * name. */
void mapping_publish(struct redis_writer *writer, const struct mapping_vm *vm);
/* Any thread: the identity's VM is no longer connected. */
void mapping_remove(struct redis_writer *writer, const char *identity, size_t identity_len, uint64_t number);

struct mapping_figures {
    uint64_t queue_length;  /* changes that Redis has not been sent yet */
    uint64_t oldest_age_ms; /* of the oldest of them; 0 without one */
    bool is_enabled;
    bool is_up;          /* Redis is connected, and has all VMs of this node */
    uint64_t reconnects; /* times that it came back after it had been away */
};
/* Any thread. All zero where Redis is not enabled. */
struct mapping_figures mapping_figures(struct redis_writer *writer);

/* Any thread: goes on with another configuration (of [redis]); takes its own reference. */
void redis_writer_reload(struct redis_writer *writer, struct config *config);

/* Removes this node's entries from Redis, which waits for Redis at most timeout_ms, ends the thread and frees
 * the writer. Updates posted before are applied; nobody may post any more. While Redis is away, one more
 * attempt is made at once, and no other. Result: 0, or -ETIMEDOUT when Redis did not take it all; what is
 * left there then is removed at the next start. */
int redis_writer_stop(struct redis_writer *writer, unsigned timeout_ms);

#endif
