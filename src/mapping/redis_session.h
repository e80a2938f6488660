/* Redis session: the life of one connection to Redis, from the log-in to its end.
 *
 * It logs in, reconciles (design.md, Redis), and from then on tells Redis each change of the mapping state.
 * Owned by the Redis writer's thread and its loop. It reports to its owner from the loop only; after `ended`
 * nothing but redis_session_close is left to call. */
#ifndef VSPC_REDIS_SESSION_H
#define VSPC_REDIS_SESSION_H

#include <stdint.h>

#include "mapping/mapping_state.h"
#include "mapping/redis_settings.h"
#include "vspc/loop.h"

struct redis_session;

/* How often the writer looks after Redis of its own accord; milliseconds. */
struct redis_pace {
    uint64_t retry_ms; /* after a refusal */
    /* A look whether our maps are still there, and how long after a connection, or while a key has the wrong
     * type, to reconcile once more. */
    uint64_t look_ms;
    uint64_t check_ms; /* a whole reconciliation */
};

enum redis_session_end {
    REDIS_LOST,    /* cannot be reached, or the connection broke */
    REDIS_REFUSED, /* Redis, or our own password file, says no: an operator is needed as a rule */
};

struct redis_session_events {
    /* What should be in Redis is there, for the first time in this session. */
    void (*ready)(void *owner);
    /* Nothing of this node is in Redis any more, as redis_session_withdraw asked for. */
    void (*withdrawn)(void *owner);
    /* Redis takes long, but the session goes on. */
    void (*slow)(void *owner, const char *error);
    /* error: what is wrong; cure: what to do about it, or NULL; valid during the call. */
    void (*ended)(void *owner, enum redis_session_end end, const char *error, const char *cure);
};

/* settings, state, pace and events stay the caller's and outlive the session. */
struct redis_session *redis_session_open(struct loop *loop, const struct redis_settings *settings,
                                         struct mapping_state *state, const struct redis_pace *pace,
                                         const struct redis_session_events *events, void *owner);
/* Ends without a word to the owner. What was sent and not answered may or may not happen. */
void redis_session_close(struct redis_session *session);

/* The mapping state has changed: tell Redis, at the end of this turn. */
void redis_session_wake(struct redis_session *session);
/* The mapping state has been withdrawn: take everything of this node out of Redis, then report. */
void redis_session_withdraw(struct redis_session *session);
/* The pace has changed. */
void redis_session_repace(struct redis_session *session);

#endif
