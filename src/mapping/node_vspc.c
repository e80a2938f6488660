#include "vspc/node_vspc.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mapping/node_vspc_name.h"
#include "mapping/redis_bounds.h"
#include "mapping/redis_error.h"
#include "mapping/redis_settings.h"
#include "mapping/resolver.h"
#include "vspc/loop.h"
#include "vspc/mem.h"
#include "vspc/text.h"

enum {
    RESOLVE_TIMEOUT_MS = 5000,
    CONNECT_TIMEOUT_MS = 3000, /* an address */
    REPLY_TIMEOUT_MS = 5000,
    ADDRESSES_MAX = 16,
    SCAN_COUNT = 500,      /* keys that one SCAN goes through: few enough to hold nobody else up */
    SCANS_MAX = 100000000, /* a Redis that takes more has no end */
    PIPELINE_MAX = 256,    /* commands without a reply */
};

/* One reading, from the connection to the last key. */
struct reading {
    struct redis_settings *settings;
    redisContext *context;
    struct redis_bounds bounds;
    const char *prefix;
    size_t prefix_len;
    const struct node_vspc_sink *sink;
    unsigned keys; /* that went to the sink */
    char *error;   /* the first thing that went wrong, NULL: nothing yet */
};

/* Keeps the first error. Result: false, for the caller to return. */
static bool fail(struct reading *reading, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct reading *reading, const char *format, ...)
{
    va_list args;
    char text[2048];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!reading->error)
        reading->error = xstrdup(text);
    return false;
}

static bool fail_connection(struct reading *reading, const char *why)
{
    const char *where = reading->settings->where;
    return fail(reading, "cannot reach Redis at %s: %s", quote(where, strlen(where)).s, why);
}

/* What Redis itself has refused. */
static bool fail_reply(struct reading *reading, const char *command, const redisReply *reply)
{
    size_t len = (size_t)reply->len;
    if (reply->type != REDIS_REPLY_ERROR)
        return fail(reading, "Redis gave a wrong kind of answer to %s; is this a Redis?", command);
    const char *cure = redis_error_cure(reply->str, len);
    if (memmem(reply->str, len, "NOPERM", 6))
        cure = "let the Redis user run AUTH, SELECT, SCAN and GETRANGE, and read the keys with this prefix";
    return fail(reading, "Redis refuses %s: %s; cure: %s", command, quote(reply->str, len).s, cure);
}

static struct timeval timeval_of_ms(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* Takes over a connection attempt. Result: whether it has succeeded. */
static bool adopt(struct reading *reading, redisContext *context)
{
    if (!context)
        return fail_connection(reading, "no memory for a connection");
    if (context->err || redisSetTimeout(context, timeval_of_ms(REPLY_TIMEOUT_MS)) != REDIS_OK) {
        fail_connection(reading, context->errstr);
        redisFree(context);
        return false;
    }
    reading->context = context;
    redis_bounds_set(&reading->bounds, context->reader);
    return true;
}

/* Finds the addresses of Redis, or gives up in time. Result: how many there are. */
static size_t resolve(struct reading *reading, struct sock_addr *out, size_t max)
{
    const struct config *config = reading->settings->config;
    const struct timespec moment = {.tv_nsec = 5000000};
    uint64_t deadline = clock_ms() + RESOLVE_TIMEOUT_MS;
    const char *why = "its name is not resolved in time";
    struct resolver *resolver = resolver_ask(config->redis.host, config->redis.port);
    if (!resolver) {
        fail_connection(reading, strerror(errno));
        return 0;
    }
    int count;
    while ((count = resolver_answer(resolver, out, max, &why)) == -EAGAIN && clock_ms() < deadline)
        nanosleep(&moment, NULL);
    if (count < 0)
        fail_connection(reading, why);
    resolver_drop(resolver);
    return count < 0 ? 0 : (size_t)count;
}

static bool connect_redis(struct reading *reading)
{
    const struct config *config = reading->settings->config;
    const struct timeval timeout = timeval_of_ms(CONNECT_TIMEOUT_MS);
    struct sock_addr addresses[ADDRESSES_MAX];
    char host[SOCK_TEXT];
    if (config->redis.unix_socket[0])
        return adopt(reading, redisConnectUnixWithTimeout(config->redis.unix_socket, timeout));
    size_t count = resolve(reading, addresses, ADDRESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        sock_addr_host(&addresses[i], host);
        if (!adopt(reading, redisConnectWithTimeout(host, config->redis.port, timeout)))
            continue;
        /* What an earlier address had against it does not matter any more. */
        free(reading->error);
        reading->error = NULL;
        return true;
    }
    return false;
}

/* Sends what is queued. */
static bool push(struct reading *reading)
{
    int done = 0;
    while (!done)
        if (redisBufferWrite(reading->context, &done) != REDIS_OK)
            return fail_connection(reading, reading->context->errstr);
    return true;
}

/* Waits for the next reply. Result: the reply, which the caller frees, or NULL. */
static redisReply *await_reply(struct reading *reading)
{
    redisContext *context = reading->context;
    uint64_t deadline = clock_ms() + REPLY_TIMEOUT_MS;
    size_t incomplete = 0;
    for (;;) {
        void *reply = NULL;
        if (redisGetReplyFromReader(context, &reply) != REDIS_OK) {
            fail_connection(reading, context->errstr);
            return NULL;
        }
        if (reply)
            return reply;
        size_t before = context->reader->len;
        int result = redisBufferRead(context);
        bool late = clock_ms() >= deadline;
        if (result != REDIS_OK || late) {
            fail_connection(reading, late ? "no answer in time" : context->errstr);
            return NULL;
        }
        incomplete += context->reader->len - before;
        if (incomplete > REDIS_REPLY_MAX_BYTES) {
            fail_connection(reading, "it sent a reply too long to be right");
            return NULL;
        }
    }
}

static bool append(struct reading *reading, int argc, const char **argv, const size_t *lens)
{
    if (redisAppendCommandArgv(reading->context, argc, argv, lens) != REDIS_OK)
        return fail_connection(reading, "no memory for a command");
    return true;
}

/* One command whose reply says only that it is done. */
static bool run(struct reading *reading, int argc, const char **argv, const size_t *lens)
{
    redisReply *reply = append(reading, argc, argv, lens) && push(reading) ? await_reply(reading) : NULL;
    bool done = reply && (reply->type == REDIS_REPLY_STATUS || fail_reply(reading, argv[0], reply));
    if (reply)
        freeReplyObject(reply);
    return done;
}

static bool log_in(struct reading *reading)
{
    const struct config *config = reading->settings->config;
    const char *username = config->redis.username;
    size_t len;
    char *error = NULL, number[16];
    char *password = redis_settings_password(reading->settings, &len, &error);
    if (!password) {
        fail(reading, "%s", error);
        free(error);
        return false;
    }
    bool done = true;
    /* Redis before version 6 knows only the form without a user. */
    if (username[0])
        done = run(reading, 3, (const char *[]){"AUTH", username, password},
                   (const size_t[]){4, strlen(username), len});
    else if (len)
        done = run(reading, 2, (const char *[]){"AUTH", password}, (const size_t[]){4, len});
    free(password);
    if (!done || !config->redis.database)
        return done;
    size_t digits = (size_t)snprintf(number, sizeof number, "%u", config->redis.database);
    return run(reading, 2, (const char *[]){"SELECT", number}, (const size_t[]){6, digits});
}

/* The pattern of SCAN for all that begins with this text; the caller frees. */
static char *pattern_for(const char *prefix)
{
    char *pattern = xmalloc(2 * strlen(prefix) + 2), *end = pattern;
    for (const char *c = prefix; *c; c++) {
        if (strchr("\\*?[]", *c))
            *end++ = '\\';
        *end++ = *c;
    }
    *end++ = '*';
    *end = 0;
    return pattern;
}

/* A port's number as node-vspc writes it, or NODE_VSPC_NO_PORT. */
static int parse_port(const char *text, size_t len)
{
    int port = 0;
    if (len == 0)
        return NODE_VSPC_EMPTY;
    if (len > 5 || text[0] == '0')
        return NODE_VSPC_NO_PORT;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return NODE_VSPC_NO_PORT;
        port = port * 10 + (text[i] - '0');
    }
    return port <= 65535 ? port : NODE_VSPC_NO_PORT;
}

/* Hands one key with the reply for its value to the sink. */
static bool deliver(struct reading *reading, const redisReply *key, const redisReply *value)
{
    int port;
    if (value->type == REDIS_REPLY_STRING)
        port = parse_port(value->str, (size_t)value->len);
    else if (value->type == REDIS_REPLY_ERROR && redis_error_is_wrong_type(value->str, (size_t)value->len))
        port = NODE_VSPC_NO_STRING;
    else
        return fail_reply(reading, "GETRANGE", value);
    if (reading->keys++ == NODE_VSPC_KEYS_MAX)
        return fail(reading, "more than %d keys in Redis begin with %s; is the prefix right?",
                    NODE_VSPC_KEYS_MAX, quote(reading->prefix, reading->prefix_len).s);
    size_t len = (size_t)key->len - reading->prefix_len;
    char *name = xmalloc(len);
    len = node_vspc_name(key->str + reading->prefix_len, len, name);
    reading->sink->saved(reading->sink->arg, name, len, port);
    free(name);
    return true;
}

/* Asks for the values of n keys. GETRANGE, since a value may have any length, and what is longer than a
 * port's number is none. */
static bool ask_values(struct reading *reading, redisReply **keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *argv[] = {"GETRANGE", keys[i]->str, "0", "7"};
        const size_t lens[] = {8, (size_t)keys[i]->len, 1, 1};
        if (!append(reading, 4, argv, lens))
            return false;
    }
    return push(reading);
}

static bool read_values(struct reading *reading, redisReply **keys, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t batch = n - at < PIPELINE_MAX ? n - at : PIPELINE_MAX;
        if (!ask_values(reading, keys + at, batch))
            return false;
        for (size_t i = 0; i < batch; i++) {
            redisReply *value = await_reply(reading);
            bool good = value && deliver(reading, keys[at + i], value);
            if (value)
                freeReplyObject(value);
            if (!good)
                return false;
        }
        at += batch;
    }
    return true;
}

/* Whether this is what SCAN answers: a cursor, and keys with our prefix. */
static bool is_scan_reply(const struct reading *reading, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len > 20 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    const redisReply *keys = reply->element[1];
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        if (key->type != REDIS_REPLY_STRING || (size_t)key->len < reading->prefix_len ||
            memcmp(key->str, reading->prefix, reading->prefix_len) != 0)
            return false;
    }
    return true;
}

/* One SCAN from the cursor on, with the values of what it finds; puts the next cursor into its place. */
static bool scan_some(struct reading *reading, const char *pattern, char cursor[24])
{
    char count[16];
    size_t digits = (size_t)snprintf(count, sizeof count, "%d", SCAN_COUNT);
    const char *argv[] = {"SCAN", cursor, "MATCH", pattern, "COUNT", count};
    const size_t lens[] = {4, strlen(cursor), 5, strlen(pattern), 5, digits};
    redisReply *reply = append(reading, 6, argv, lens) && push(reading) ? await_reply(reading) : NULL;
    if (!reply)
        return false;
    bool good = is_scan_reply(reading, reply) || fail_reply(reading, "SCAN", reply);
    if (good) {
        snprintf(cursor, 24, "%s", reply->element[0]->str);
        good = read_values(reading, reply->element[1]->element, reply->element[1]->elements);
    }
    freeReplyObject(reply);
    return good;
}

static bool scan_all(struct reading *reading)
{
    char cursor[24] = "0";
    char *pattern = pattern_for(reading->prefix);
    bool good = true;
    for (uint64_t scans = 1; good; scans++) {
        good = scan_some(reading, pattern, cursor);
        if (good)
            reading->sink->progress(reading->sink->arg, scans * SCAN_COUNT);
        if (good && strcmp(cursor, "0") == 0)
            break;
        if (good && scans == SCANS_MAX)
            good = fail(reading, "Redis does not come to the end of its keys");
    }
    free(pattern);
    return good;
}

char *node_vspc_read(struct config *config, const char *prefix, const struct node_vspc_sink *sink)
{
    struct reading reading = {
        .settings = redis_settings_new(config), .prefix = prefix, .prefix_len = strlen(prefix), .sink = sink};
    if (connect_redis(&reading) && log_in(&reading))
        scan_all(&reading);
    if (reading.context)
        redisFree(reading.context);
    redis_settings_free(reading.settings);
    return reading.error;
}
