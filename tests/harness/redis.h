/* Redis: a private redis-server, and questions to it.
 *
 * It listens on a free port and on a Unix socket in the test's directory, and keeps nothing on disk, so that
 * one that is started again is empty. Questions go over a connection of the test's own, which is made anew
 * when it breaks. Functions that do not get what they wait for fail the test. */
#ifndef VSPC_TEST_REDIS_H
#define VSPC_TEST_REDIS_H

#include <hiredis/hiredis.h>

#include "daemon.h"

enum { REDIS_ARGUMENTS_MAX = 16 };

struct redis {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char *socket; /* path */
    char *log;
    char *password; /* of --requirepass, or NULL */
    char *arguments[REDIS_ARGUMENTS_MAX];
    redisContext *connection;
};

/* Starts a server. Result: one that accepts connections. Nobody needs to free it. */
struct redis *redis_start(void);
/* The same with further arguments of redis-server, the last NULL: {"--requirepass", "secret", NULL}. */
struct redis *redis_start_with(const char *const arguments[]);
/* Ends it, at once and without saying so to anybody. */
void redis_stop(struct redis *r);
/* Starts it again where it was, empty. */
void redis_restart(struct redis *r);
/* SIGSTOP, and SIGCONT: a server that hangs with its connections open. */
void redis_freeze(struct redis *r);
void redis_thaw(struct redis *r);

/* Makes vspcd use this server from its next start on: host, port and password. */
void daemon_use_redis(struct daemon *d, const struct redis *r);

/* Sends a command, as redisCommand. Result: the reply, an error included; freeReplyObject frees it. */
redisReply *redis_ask(struct redis *r, const char *format, ...);
/* Result: an integer reply: redis_number(r, "HLEN %s", "VM:Port"). */
long long redis_number(struct redis *r, const char *format, ...);

/* A hash's field, which may be any bytes. Result: fresh memory, or NULL when there is none. */
char *redis_hget(struct redis *r, const char *key, const void *field, size_t field_len);
/* Waits until the field has this value, NULL: until it is gone. */
void redis_wait_hget(struct redis *r, const char *key, const char *field, const char *value,
                     unsigned timeout_ms);
void redis_wait_hget_bytes(struct redis *r, const char *key, const void *field, size_t field_len,
                           const char *value, unsigned timeout_ms);
/* Waits until the hash has so many fields. */
void redis_wait_hlen(struct redis *r, const char *key, long long n, unsigned timeout_ms);
/* Waits until the field holds a number, which it returns: a VM's user port. */
uint16_t redis_wait_port(struct redis *r, const char *key, const char *field, unsigned timeout_ms);

/* Watches what is done to the server from now on. Result: what redis_count_writes frees. */
redisContext *redis_watch(struct redis *r);
/* How many commands since redis_watch were no mere questions about keys that begin so: "VM:". Those that a
 * script runs count one by one. */
unsigned redis_count_writes(struct redis *r, redisContext *watch, const char *prefix);

#endif
