#include "redis.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vspc/mem.h"

static struct redis servers[4];
static unsigned server_count;

static void free_servers(void)
{
    for (unsigned i = 0; i < server_count; i++) {
        struct redis *r = &servers[i];
        if (r->connection)
            redisFree(r->connection);
        for (size_t j = 0; j < REDIS_ARGUMENTS_MAX; j++)
            free(r->arguments[j]);
        free(r->socket);
        free(r->log);
    }
}

static void spawn(struct redis *r)
{
    char port[8];
    snprintf(port, sizeof port, "%u", r->port);
    char *argv[32] = {"redis-server", "--port", port,    "--bind",          "127.0.0.1",    "--save", "",
                      "--appendonly", "no",     "--dir", (char *)env_dir(), "--unixsocket", r->socket};
    size_t n = 0;
    while (argv[n])
        n++;
    for (size_t i = 0; i < REDIS_ARGUMENTS_MAX && r->arguments[i]; i++)
        argv[n++] = r->arguments[i];
    int log = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        env_fail("%s: %s", r->log, strerror(errno));
    r->pid = env_spawn(argv, log);
    close(log);
}

static void disconnect(struct redis *r)
{
    if (r->connection)
        redisFree(r->connection);
    r->connection = NULL;
}

/* Makes a connection, with the password when there is one. Result: whether it works. */
static bool try_connect(struct redis *r)
{
    struct timeval timeout = {.tv_sec = 3};
    r->connection = redisConnectWithTimeout("127.0.0.1", r->port, timeout);
    if (!r->connection || r->connection->err) {
        disconnect(r);
        return false;
    }
    redisSetTimeout(r->connection, timeout);
    redisReply *reply = r->password ? redisCommand(r->connection, "AUTH %s", r->password)
                                    : redisCommand(r->connection, "PING");
    bool works = reply && reply->type == REDIS_REPLY_STATUS;
    if (reply)
        freeReplyObject(reply);
    if (!works)
        disconnect(r);
    return works;
}

static void start(struct redis *r)
{
    spawn(r);
    WAIT_FOR(try_connect(r), SOON, "redis-server does not answer: %s", r->log);
}

struct redis *redis_start(void)
{
    return redis_start_with((const char *[]){NULL});
}

struct redis *redis_start_with(const char *const arguments[])
{
    if (server_count == sizeof servers / sizeof *servers)
        env_fail("too many redis-servers in one test");
    const char *dir = env_dir();
    if (server_count == 0)
        atexit(free_servers);
    unsigned number = ++server_count;
    struct redis *r = &servers[number - 1];
    for (size_t n = 0; arguments[n]; n++) {
        if (n == REDIS_ARGUMENTS_MAX)
            env_fail("more than %d arguments", REDIS_ARGUMENTS_MAX);
        r->arguments[n] = xstrdup(arguments[n]);
        if (n && strcmp(arguments[n - 1], "--requirepass") == 0)
            r->password = r->arguments[n];
    }
    r->port = env_ports(1);
    r->socket = xasprintf("%s/redis%u.sock", dir, number);
    r->log = xasprintf("%s/redis%u.log", dir, number);
    start(r);
    return r;
}

void redis_stop(struct redis *r)
{
    int status;
    disconnect(r);
    if (!r->pid || kill(r->pid, SIGKILL) < 0 || !env_wait_exit(r->pid, &status, SOON))
        env_fail("redis-server is not running");
    r->pid = 0;
}

void redis_restart(struct redis *r)
{
    if (r->pid)
        redis_stop(r);
    start(r);
}

void redis_freeze(struct redis *r)
{
    if (!r->pid || kill(r->pid, SIGSTOP) < 0)
        env_fail("redis-server is not running");
}

void redis_thaw(struct redis *r)
{
    if (!r->pid || kill(r->pid, SIGCONT) < 0)
        env_fail("redis-server is not running");
}

void daemon_use_redis(struct daemon *d, const struct redis *r)
{
    daemon_set(d, "redis.enabled", "yes");
    daemon_set(d, "redis.host", "127.0.0.1");
    daemon_set(d, "redis.port", "%u", r->port);
    daemon_set(d, "redis.password", "%s", r->password ? r->password : "");
}

/* Asks once. Result: NULL when the connection broke, which is then closed. */
static redisReply *ask_once(struct redis *r, const char *format, va_list args)
{
    if (!r->connection && !try_connect(r))
        return NULL;
    va_list copy;
    va_copy(copy, args);
    redisReply *reply = redisvCommand(r->connection, format, copy);
    va_end(copy);
    if (!reply)
        disconnect(r);
    return reply;
}

static redisReply *vask(struct redis *r, const char *format, va_list args)
{
    redisReply *reply;
    WAIT_FOR((reply = ask_once(r, format, args)), SOON, "redis-server does not answer: %s", format);
    return reply;
}

redisReply *redis_ask(struct redis *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = vask(r, format, args);
    va_end(args);
    return reply;
}

long long redis_number(struct redis *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = vask(r, format, args);
    va_end(args);
    if (reply->type != REDIS_REPLY_INTEGER)
        env_fail("%s: no number but %s", format, reply->str ? reply->str : "another type");
    long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}

char *redis_hget(struct redis *r, const char *key, const void *field, size_t field_len)
{
    redisReply *reply = redis_ask(r, "HGET %s %b", key, field, field_len);
    if (reply->type == REDIS_REPLY_ERROR)
        env_fail("HGET %s: %s", key, reply->str);
    char *value = reply->type == REDIS_REPLY_STRING ? xmemdup0(reply->str, (size_t)reply->len) : NULL;
    freeReplyObject(reply);
    return value;
}

void redis_wait_hget_bytes(struct redis *r, const char *key, const void *field, size_t field_len,
                           const char *value, unsigned timeout_ms)
{
    char last[256] = "";
    uint64_t deadline = clock_ms() + timeout_ms;
    for (;;) {
        char *now = redis_hget(r, key, field, field_len);
        bool same = now && value ? strcmp(now, value) == 0 : !now && !value;
        snprintf(last, sizeof last, "%s", now ? now : "(nothing)");
        free(now);
        if (same)
            return;
        if (clock_ms() >= deadline)
            env_fail("HGET %s %.*s is %s, not %s", key, (int)field_len, (const char *)field, last,
                     value ? value : "(nothing)");
        env_nap();
    }
}

void redis_wait_hget(struct redis *r, const char *key, const char *field, const char *value,
                     unsigned timeout_ms)
{
    redis_wait_hget_bytes(r, key, field, strlen(field), value, timeout_ms);
}

void redis_wait_hlen(struct redis *r, const char *key, long long n, unsigned timeout_ms)
{
    WAIT_FOR(redis_number(r, "HLEN %s", key) == n, timeout_ms, "HLEN %s is %lld, not %lld", key,
             redis_number(r, "HLEN %s", key), n);
}

uint16_t redis_wait_port(struct redis *r, const char *key, const char *field, unsigned timeout_ms)
{
    char *value = NULL;
    WAIT_FOR((value = redis_hget(r, key, field, strlen(field))), timeout_ms, "HGET %s %s has no value", key,
             field);
    unsigned long port = strtoul(value, NULL, 10);
    if (port == 0 || port > 65535)
        env_fail("HGET %s %s is %s, no port", key, field, value);
    free(value);
    return (uint16_t)port;
}

redisContext *redis_watch(struct redis *r)
{
    struct timeval timeout = {.tv_sec = SOON / 1000};
    redisContext *watch = redisConnectWithTimeout("127.0.0.1", r->port, timeout);
    if (!watch || watch->err)
        env_fail("cannot watch redis-server");
    redisSetTimeout(watch, timeout);
    redisReply *reply = redisCommand(watch, "MONITOR");
    if (!reply || reply->type != REDIS_REPLY_STATUS)
        env_fail("redis-server does not let itself be watched");
    freeReplyObject(reply);
    return watch;
}

/* Whether a line of MONITOR, `time [0 who] "verb" "key" ...`, is a write to such a key. A script's own line
 * names its keys too, whatever it does to them. */
static bool is_write(const char *line, const char *prefix)
{
    static const char *const harmless[] = {"TYPE",  "EXISTS", "GET",  "HGET",    "HGETALL", "HLEN",
                                           "HSCAN", "HKEYS",  "EVAL", "EVALSHA", "HMGET"};
    char quoted[64];
    const char *verb = strstr(line, "] \"");
    snprintf(quoted, sizeof quoted, "\" \"%s", prefix);
    if (!verb || !strstr(verb, quoted))
        return false;
    verb += 3;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (strncasecmp(verb, harmless[i], strlen(harmless[i])) == 0 && verb[strlen(harmless[i])] == '"')
            return false;
    return true;
}

unsigned redis_count_writes(struct redis *r, redisContext *watch, const char *prefix)
{
    static unsigned ends;
    char end[32];
    unsigned writes = 0;
    snprintf(end, sizeof end, "end-of-watch-%u", ++ends);
    freeReplyObject(redis_ask(r, "PING %s", end));
    for (bool ended = false; !ended;) {
        redisReply *reply;
        if (redisGetReply(watch, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STATUS)
            env_fail("redis-server stopped telling what it is asked");
        ended = strstr(reply->str, end);
        if (is_write(reply->str, prefix))
            writes++;
        freeReplyObject(reply);
    }
    redisFree(watch);
    return writes;
}
