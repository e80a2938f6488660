/* Redis server: a private redis-server for tests of the Redis writer, and a fake one that says what it is
 * told.
 *
 * The real one listens on a free port and on a Unix socket in a directory of its own, keeps nothing on disk
 * and dies with the test. Questions go over a connection that is made anew for each. What is not found where
 * it is waited for fails the test. For one test program; the fake has a thread of its own. */
#ifndef VSPC_TEST_REDIS_SERVER_H
#define VSPC_TEST_REDIS_SERVER_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vspc/config.h"
#include "vspc/loop.h"
#include "vspc/mem.h"

enum { SERVER_ARGS = 8, WAIT_MS = 20000 };

struct server {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char dir[48];
    char socket[64];
    const char *args[SERVER_ARGS]; /* further ones, up to NULL */
    const char *password;          /* for our own questions, or NULL */
    unsigned database;
};

static inline void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* A port of 127.0.0.1 below the ephemeral range that nobody listens on. */
static inline uint16_t free_port(void)
{
    unsigned seed = (unsigned)getpid() * 2654435761u ^ (unsigned)clock_ms();
    for (;;) {
        struct sockaddr_in addr = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)(10000 + rand_r(&seed) % 21000))};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int bound = bind(fd, (struct sockaddr *)&addr, sizeof addr);
        close(fd);
        if (bound == 0)
            return ntohs(addr.sin_port);
    }
}

/* Asks with hiredis, over a connection for this question alone. Result: a reply that the caller frees, or
 * NULL when there is no server. */
static inline redisReply *server_try(struct server *s, int argc, const char **argv, const size_t *lens)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", s->port, (struct timeval){.tv_sec = 2});
    redisReply *reply = NULL;
    if (c && !c->err) {
        redisSetTimeout(c, (struct timeval){.tv_sec = 5});
        if (s->password)
            freeReplyObject(redisCommand(c, "AUTH %s", s->password));
        if (s->database)
            freeReplyObject(redisCommand(c, "SELECT %u", s->database));
        reply = redisCommandArgv(c, argc, argv, lens);
    }
    if (c)
        redisFree(c);
    return reply;
}

/* Asks with words; the list ends with NULL. */
static inline redisReply *server_ask(struct server *s, ...)
{
    const char *argv[16];
    int argc = 0;
    va_list words;
    va_start(words, s);
    while (argc < 16 && (argv[argc] = va_arg(words, const char *)))
        argc++;
    va_end(words);
    redisReply *reply = server_try(s, argc, argv, NULL);
    cr_assert(reply, "redis-server does not answer %s", argv[0]);
    return reply;
}
#define ask(s, ...) server_ask((s), __VA_ARGS__, (char *)NULL)

/* Sends a command whose reply does not matter, as long as it is no error. */
#define tell_redis(s, ...)                                                                                   \
    do {                                                                                                     \
        redisReply *told = ask(s, __VA_ARGS__);                                                              \
        cr_assert_neq(told->type, REDIS_REPLY_ERROR, "%s", told->str);                                       \
        freeReplyObject(told);                                                                               \
    } while (0)

#define number_of(s, ...) server_number(ask(s, __VA_ARGS__))
static inline long long server_number(redisReply *reply)
{
    cr_assert_eq(reply->type, REDIS_REPLY_INTEGER, "%s", reply->str ? reply->str : "not a number");
    long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}

static inline void server_run(struct server *s)
{
    char port[8];
    snprintf(port, sizeof port, "%u", s->port);
    s->pid = fork();
    cr_assert_geq(s->pid, 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const char *argv[32] = {"redis-server", "--port",    port,       "--bind",
                                "127.0.0.1",    "--save",    "",         "--appendonly",
                                "no",           "--dir",     s->dir,     "--unixsocket",
                                s->socket,      "--logfile", "/dev/null"};
        for (int i = 0; s->args[i]; i++)
            argv[15 + i] = s->args[i];
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    for (uint64_t end = clock_ms() + WAIT_MS;;) {
        const char *ping[] = {"PING"};
        redisReply *reply = server_try(s, 1, ping, NULL);
        bool up = reply != NULL;
        freeReplyObject(reply);
        if (up)
            return;
        cr_assert_eq(waitpid(s->pid, NULL, WNOHANG), 0, "redis-server does not start");
        cr_assert_lt(clock_ms(), end, "redis-server does not start");
        pause_ms(10);
    }
}

/* Makes a place for a server that is not running yet. */
static inline void server_prepare(struct server *s)
{
    *s = (struct server){.port = free_port()};
    snprintf(s->dir, sizeof s->dir, "/tmp/vspc-redis-XXXXXX");
    cr_assert(mkdtemp(s->dir));
    snprintf(s->socket, sizeof s->socket, "%s/redis.sock", s->dir);
}

static inline void server_start(struct server *s)
{
    server_prepare(s);
    server_run(s);
}

static inline void server_kill(struct server *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static inline int server_remove_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void server_stop(struct server *s)
{
    server_kill(s);
    nftw(s->dir, server_remove_file, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void server_freeze(struct server *s)
{
    int status;
    kill(s->pid, SIGSTOP);
    cr_assert_eq(waitpid(s->pid, &status, WUNTRACED), s->pid);
}

static inline void server_thaw(struct server *s)
{
    kill(s->pid, SIGCONT);
}

/* The value of a field of any bytes; the caller frees. NULL: there is none. */
static inline char *field_value(struct server *s, const char *map, const void *field, size_t len)
{
    const char *argv[] = {"HGET", map, field};
    size_t lens[] = {4, strlen(map), len};
    redisReply *reply = server_try(s, 3, argv, lens);
    cr_assert(reply, "redis-server does not answer");
    char *value = reply->type == REDIS_REPLY_STRING ? xmemdup0(reply->str, reply->len) : NULL;
    freeReplyObject(reply);
    return value;
}

static inline bool field_is(struct server *s, const char *map, const void *field, size_t len,
                            const char *expected)
{
    char *value = field_value(s, map, field, len);
    bool is = expected ? value && strcmp(value, expected) == 0 : !value;
    free(value);
    return is;
}

/* Waits until the condition holds. */
#define wait_for(ms, condition, ...)                                                                         \
    do {                                                                                                     \
        uint64_t wait_end = clock_ms() + (ms);                                                               \
        while (!(condition)) {                                                                               \
            cr_assert_lt(clock_ms(), wait_end, __VA_ARGS__);                                                 \
            pause_ms(5);                                                                                     \
        }                                                                                                    \
    } while (0)

/* expected NULL: until the field is gone. */
static inline void wait_field(struct server *s, const char *map, const char *field, const char *expected)
{
    wait_for(WAIT_MS, field_is(s, map, field, strlen(field), expected), "%s in %s does not become %s", field,
             map, expected ? expected : "absent");
}

/* A fake Redis: accepts connections, and answers each command as an empty Redis would, or with the error that
 * is set. */
struct fake {
    pthread_t thread;
    int listener;
    uint16_t port;
    atomic_bool stop;
    _Atomic(const char *) answer; /* a raw reply to everything, CR LF included, or NULL: as an empty Redis */
    atomic_uint connections;
    atomic_uint calls; /* EVALSHAs answered well */
};

static inline const char *fake_answer(struct fake *fake, const char *command)
{
    const char *answer = atomic_load(&fake->answer);
    if (answer)
        return answer;
    if (strcasestr(command, "EVALSHA")) {
        atomic_fetch_add(&fake->calls, 1);
        return "*2\r\n:1\r\n:0\r\n";
    }
    if (strcasestr(command, "HSCAN"))
        return "*2\r\n$1\r\n0\r\n*0\r\n";
    if (strcasestr(command, "SCRIPT"))
        return "$40\r\n0123456789012345678901234567890123456789\r\n";
    return strcasestr(command, "EXISTS") ? ":3\r\n" : "+OK\r\n";
}

/* The first complete command in the buffer. Result: its length, 0 when there is none; name: its first word.
 */
static inline size_t fake_command(const char *buffer, size_t len, char name[32])
{
    size_t at = 0;
    long words = -1;
    for (long i = -1; i < words || words < 0; i++) {
        const char *eol = memmem(buffer + at, len - at, "\r\n", 2);
        if (!eol)
            return 0;
        long number = strtol(buffer + at + 1, NULL, 10);
        at = (size_t)(eol - buffer) + 2;
        if (words < 0) {
            words = number;
            continue;
        }
        if (len - at < (size_t)number + 2)
            return 0;
        if (i == 0)
            snprintf(name, 32, "%.*s", (int)number, buffer + at);
        at += (size_t)number + 2;
    }
    return at;
}

static inline void fake_serve(struct fake *fake, int fd)
{
    static char buffer[1 << 20];
    size_t len = 0;
    while (!atomic_load(&fake->stop)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = read(fd, buffer + len, sizeof buffer - len);
        if (n <= 0)
            return;
        len += (size_t)n;
        char name[32];
        for (size_t used; (used = fake_command(buffer, len, name));) {
            const char *answer = fake_answer(fake, name);
            if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
                return;
            len -= used;
            memmove(buffer, buffer + used, len);
        }
    }
}

static inline void *fake_run(void *arg)
{
    struct fake *fake = arg;
    while (!atomic_load(&fake->stop)) {
        struct pollfd p = {.fd = fake->listener, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(fake->listener, NULL, NULL);
        if (fd < 0)
            continue;
        atomic_fetch_add(&fake->connections, 1);
        fake_serve(fake, fd);
        close(fd);
    }
    return NULL;
}

static inline void fake_start(struct fake *fake, const char *answer)
{
    fake->port = free_port();
    atomic_store(&fake->stop, false);
    atomic_store(&fake->answer, answer);
    atomic_store(&fake->connections, 0);
    atomic_store(&fake->calls, 0);
    int one = 1;
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(fake->port)};
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fake->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    cr_assert_eq(bind(fake->listener, (struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(listen(fake->listener, 16), 0);
    cr_assert_eq(thread_start(&fake->thread, "fake-redis", fake_run, fake), 0);
}

static inline void fake_stop(struct fake *fake)
{
    atomic_store(&fake->stop, true);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
}

#endif
