/* Redis script: the one Lua script with which fields come and go, and the building of a call of it.
 *
 * A call carries many steps and executes as a whole, the node's record included, so that nobody ever sees a
 * field between two holders. Owned by the Redis writer's thread. */
#ifndef VSPC_REDIS_SCRIPT_H
#define VSPC_REDIS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapping/mapping_state.h"
#include "mapping/redis_conn.h"
#include "mapping/redis_settings.h"
#include "vspc/mem.h"

/* Steps in one call: large enough that a call costs little for each, small enough that Redis is not kept from
 * other clients for long. */
enum { REDIS_CALL_STEPS = 256 };

extern const char redis_script_text[];

/* A call being built; all zero is an empty one. */
struct redis_call {
    struct bytes keys, args; /* as they go over the wire */
    unsigned key_count, arg_count, steps;
};

/* A mapping_step_fn's work: adds one step. The entry's endpoint is this node's. */
void redis_call_add(struct redis_call *call, const struct redis_settings *settings, enum mapping_step step,
                    const char *field, size_t field_len, const struct mapping_entry *entry);
/* Adds the removal of a field that the record of this node shows.
 *   endpoint   as the record has it
 *   uuid_key   the key in the UUID map that leads to the field; NULL: none is known */
void redis_call_add_stale(struct redis_call *call, const struct redis_settings *settings, const char *field,
                          size_t field_len, const char *endpoint, size_t endpoint_len, const char *uuid_key,
                          size_t uuid_key_len);
/* Queues the call on the connection and empties it for the next. sha: of the loaded script. */
void redis_call_send(struct redis_call *call, const struct redis_settings *settings, const char *sha,
                     struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag);
void redis_call_clear(struct redis_call *call);

/* What the script answers. */
struct redis_result {
    bool had_record;      /* this node's record was there when the call came */
    unsigned foreign;     /* fields not filled, since another node has them */
    unsigned wrong_types; /* a bit for each redis_map whose key is no hash; the other maps were served */
};

/* Result: false when the reply is not one of the script's. */
bool redis_result_parse(const redisReply *reply, struct redis_result *out);

#endif
