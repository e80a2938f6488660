/* Redis connection: one attempt to reach Redis, and the commands and replies on it.
 *
 * Owned by the Redis writer's thread and its loop; nothing here blocks. A connection resolves and tries the
 * addresses of Redis, reports `open`, carries pipelined commands, and reports `lost` once when it cannot go
 * on; after that only redis_conn_close is left to call. Both are reported from the loop, never from inside a
 * call of its owner. */
#ifndef VSPC_REDIS_CONN_H
#define VSPC_REDIS_CONN_H

#include <hiredis/hiredis.h>
#include <stddef.h>
#include <stdint.h>

#include "mapping/redis_settings.h"
#include "vspc/loop.h"

enum {
    REDIS_CONNECT_TIMEOUT_MS = 1000, /* an address */
    REDIS_REPLY_TIMEOUT_MS = 3000,   /* of the oldest command without a reply */
    REDIS_PIPELINE_MAX = 32,         /* commands without a reply */
};

struct redis_conn;

struct redis_conn_events {
    void (*open)(void *owner);
    /* error: what is wrong, valid during the call */
    void (*lost)(void *owner, const char *error);
    /* The name of Redis is still being resolved; the connection goes on trying. */
    void (*slow)(void *owner, const char *error);
};

/* The reply to one command; it is freed behind the call, in which the connection may be closed.
 *   tag   what was given with the command */
typedef void redis_reply_fn(void *owner, redisReply *reply, uint64_t tag);

struct redis_conn *redis_conn_open(struct loop *loop, const struct redis_settings *settings,
                                   const struct redis_conn_events *events, void *owner);
/* Closes without a word to the owner. */
void redis_conn_close(struct redis_conn *conn);

/* How many commands are without a reply: the caller keeps it below REDIS_PIPELINE_MAX. */
unsigned redis_conn_waiting(const struct redis_conn *conn);

/* Queues a command; it leaves with redis_conn_push. */
void redis_conn_command(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag, int argc,
                        const char *const *argv, const size_t *argvlen);
/* The same with words that are strings, at most 8. */
void redis_conn_words(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag, int argc,
                      const char *const *words);
/* The same for a command that the caller has formatted itself: any number of redis_conn_raw, then one
 * redis_conn_expect. */
void redis_conn_raw(struct redis_conn *conn, const void *data, size_t len);
void redis_conn_expect(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag);
/* Sends what is queued. */
void redis_conn_push(struct redis_conn *conn);

#endif
