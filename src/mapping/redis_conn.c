#include "mapping/redis_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "mapping/redis_bounds.h"
#include "mapping/resolver.h"
#include "vspc/mem.h"
#include "vspc/sock.h"

enum {
    ADDRESSES_MAX = 16,
    RESOLVER_LOOK_MS = 20,
    RESOLVER_SLOW_MS = 3000,
    READS_A_TURN = 8, /* of hiredis's 16 KiB */
};

/* RESOLVING -> CONNECTING (each address in turn) -> OPEN -> FAILED; each may go to FAILED, and any to CLOSED.
 */
enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_OPEN, CONN_FAILED, CONN_CLOSED };

struct pending {
    redis_reply_fn *fn;
    uint64_t tag;
    uint64_t sent_ms;
};

struct redis_conn {
    struct loop *loop;
    const struct redis_conn_events *events;
    void *owner;
    enum conn_state state;
    struct resolver *resolver;
    size_t incomplete; /* bytes since the last complete reply */
    uint64_t asked_ms;
    bool told_slow;
    struct sock_addr addresses[ADDRESSES_MAX];
    size_t address_count, address_next;
    struct loop_io io;       /* of the socket, from CONNECTING on */
    struct loop_timer timer; /* the state's own timeout; FAILED: reports it */
    redisContext *context;   /* from OPEN on; owns the socket then */
    struct pending pending[REDIS_PIPELINE_MAX];
    unsigned pending_at, pending_len;
    struct redis_bounds bounds;
    char error[256];
};

static void try_next_address(struct redis_conn *conn);

static void report_failure(struct loop_timer *timer)
{
    struct redis_conn *conn = container_of(timer, struct redis_conn, timer);
    conn->events->lost(conn->owner, conn->error);
}

/* Gives the socket back, with or without hiredis around it. */
static void drop_socket(struct redis_conn *conn)
{
    bool has_socket = conn->io.fn != NULL;
    loop_io_del(conn->loop, &conn->io);
    if (conn->context)
        redisFree(conn->context);
    else if (has_socket)
        close(conn->io.fd);
    conn->context = NULL;
}

/* The connection cannot go on; its owner hears of it on the next turn. */
static void fail(struct redis_conn *conn, const char *error)
{
    if (conn->state >= CONN_FAILED)
        return;
    snprintf(conn->error, sizeof conn->error, "%s", error);
    drop_socket(conn);
    conn->state = CONN_FAILED;
    loop_timer_arm(conn->loop, &conn->timer, 0, report_failure);
}

void redis_conn_close(struct redis_conn *conn)
{
    if (!conn)
        return;
    drop_socket(conn);
    loop_timer_disarm(conn->loop, &conn->timer);
    resolver_drop(conn->resolver);
    conn->state = CONN_CLOSED;
    loop_free_later(conn->loop, conn);
}

/* Hands each complete reply to whoever waits for it. */
static void deliver_replies(struct redis_conn *conn)
{
    for (;;) {
        void *reply = NULL;
        if (redisGetReplyFromReader(conn->context, &reply) != REDIS_OK) {
            fail(conn, conn->context->errstr);
            return;
        }
        if (!reply)
            return;
        if (conn->pending_len == 0) {
            freeReplyObject(reply);
            fail(conn, "Redis sent a reply that nobody had asked for");
            return;
        }
        struct pending pending = conn->pending[conn->pending_at];
        conn->pending_at = (conn->pending_at + 1) % REDIS_PIPELINE_MAX;
        conn->pending_len--;
        conn->incomplete = 0;
        pending.fn(conn->owner, reply, pending.tag);
        freeReplyObject(reply);
        if (conn->state != CONN_OPEN)
            return;
    }
}

static void read_replies(struct redis_conn *conn)
{
    for (int i = 0; i < READS_A_TURN && conn->state == CONN_OPEN; i++) {
        size_t before = conn->context->reader->len;
        int result = redisBufferRead(conn->context);
        bool grew = conn->context->reader->len != before;
        /* What came before an end of file counts: Redis gives its reason and then hangs up. */
        if (result != REDIS_OK) {
            fail(conn, conn->context->errstr);
            return;
        }
        if (!grew)
            return;
        /* Not the reader's length: it forgets what it has parsed of a reply that has no end. */
        conn->incomplete += conn->context->reader->len - before;
        if (conn->incomplete > REDIS_REPLY_MAX_BYTES) {
            fail(conn, "Redis sent a reply too long to be right");
            return;
        }
        deliver_replies(conn);
    }
}

void redis_conn_push(struct redis_conn *conn)
{
    int done = 1;
    if (conn->state != CONN_OPEN)
        return;
    if (redisBufferWrite(conn->context, &done) != REDIS_OK)
        fail(conn, conn->context->errstr);
    else
        loop_io_set(conn->loop, &conn->io, done ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void on_socket(struct loop_io *io, uint32_t events)
{
    struct redis_conn *conn = container_of(io, struct redis_conn, io);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_replies(conn);
    if (conn->state == CONN_OPEN && (events & EPOLLOUT))
        redis_conn_push(conn);
}

/* Looks whether the oldest command has waited too long. It is armed for the oldest of some moment ago, so
 * that a busy connection does not move it with each reply. */
static void on_reply_timer(struct loop_timer *timer)
{
    struct redis_conn *conn = container_of(timer, struct redis_conn, timer);
    uint64_t now = clock_ms();
    if (conn->pending_len && conn->pending[conn->pending_at].sent_ms + REDIS_REPLY_TIMEOUT_MS <= now)
        read_replies(conn); /* it may be our process that was stopped, with the reply waiting */
    if (conn->state != CONN_OPEN || conn->pending_len == 0)
        return;
    uint64_t due = conn->pending[conn->pending_at].sent_ms + REDIS_REPLY_TIMEOUT_MS;
    if (due <= now)
        fail(conn, "no answer within 3 s");
    else
        loop_timer_arm(conn->loop, &conn->timer, due - now, on_reply_timer);
}

unsigned redis_conn_waiting(const struct redis_conn *conn)
{
    return conn->pending_len;
}

void redis_conn_expect(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag)
{
    if (conn->state != CONN_OPEN)
        return;
    if (conn->pending_len == REDIS_PIPELINE_MAX) {
        fail(conn, "too many commands wait for a reply");
        return;
    }
    unsigned slot = (conn->pending_at + conn->pending_len++) % REDIS_PIPELINE_MAX;
    conn->pending[slot] = (struct pending){fn, tag, clock_ms()};
    if (conn->timer.slot == 0)
        loop_timer_arm(conn->loop, &conn->timer, REDIS_REPLY_TIMEOUT_MS, on_reply_timer);
}

void redis_conn_raw(struct redis_conn *conn, const void *data, size_t len)
{
    if (conn->state == CONN_OPEN && redisAppendFormattedCommand(conn->context, data, len) != REDIS_OK)
        fail(conn, "no memory for a command");
}

void redis_conn_command(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag, int argc,
                        const char *const *argv, const size_t *argvlen)
{
    if (conn->state == CONN_OPEN &&
        redisAppendCommandArgv(conn->context, argc, (const char **)argv, argvlen) != REDIS_OK)
        fail(conn, "no memory for a command");
    redis_conn_expect(conn, fn, tag);
}

void redis_conn_words(struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag, int argc,
                      const char *const *words)
{
    size_t lens[8];
    for (int i = 0; i < argc; i++)
        lens[i] = strlen(words[i]);
    redis_conn_command(conn, fn, tag, argc, words, lens);
}

/* The socket is connected: hiredis takes it over. */
static void become_open(struct redis_conn *conn)
{
    loop_timer_disarm(conn->loop, &conn->timer);
    conn->context = redisConnectFd(conn->io.fd);
    if (!conn->context || conn->context->err) {
        if (conn->context)
            redisFreeKeepFd(conn->context);
        conn->context = NULL;
        fail(conn, "no memory for a connection");
        return;
    }
    conn->context->flags &= ~REDIS_BLOCK;
    redis_bounds_set(&conn->bounds, conn->context->reader);
    conn->state = CONN_OPEN;
    loop_io_del(conn->loop, &conn->io);
    int err = loop_io_add(conn->loop, &conn->io, conn->io.fd, EPOLLIN, on_socket);
    if (err) {
        fail(conn, strerror(-err));
        return;
    }
    conn->events->open(conn->owner);
}

static void on_connected(struct loop_io *io, uint32_t events)
{
    struct redis_conn *conn = container_of(io, struct redis_conn, io);
    (void)events;
    int err = sock_error(io->fd);
    if (err == 0) {
        become_open(conn);
        return;
    }
    snprintf(conn->error, sizeof conn->error, "%s", strerror(-err));
    drop_socket(conn);
    try_next_address(conn);
}

static void on_connect_timeout(struct loop_timer *timer)
{
    struct redis_conn *conn = container_of(timer, struct redis_conn, timer);
    snprintf(conn->error, sizeof conn->error, "no connection within 1 s");
    drop_socket(conn);
    try_next_address(conn);
}

/* Waits for a socket that is on its way, or goes on to the next address. */
static bool await_socket(struct redis_conn *conn, int fd)
{
    int err = fd < 0 ? fd : loop_io_add(conn->loop, &conn->io, fd, EPOLLOUT, on_connected);
    if (err == 0) {
        loop_timer_arm(conn->loop, &conn->timer, REDIS_CONNECT_TIMEOUT_MS, on_connect_timeout);
        return true;
    }
    if (fd >= 0)
        close(fd);
    snprintf(conn->error, sizeof conn->error, "%s", strerror(-err));
    return false;
}

static void try_next_address(struct redis_conn *conn)
{
    while (conn->address_next < conn->address_count)
        if (await_socket(conn, sock_connect(&conn->addresses[conn->address_next++])))
            return;
    char error[sizeof conn->error];
    memcpy(error, conn->error, sizeof error);
    fail(conn, error);
}

/* Result: a descriptor, connected or on its way, or a negative errno. */
static int connect_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 && errno != EINPROGRESS) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static void look_for_answer(struct loop_timer *timer)
{
    struct redis_conn *conn = container_of(timer, struct redis_conn, timer);
    const char *why;
    int count = resolver_answer(conn->resolver, conn->addresses, ADDRESSES_MAX, &why);
    if (count == -EAGAIN) {
        loop_timer_arm(conn->loop, &conn->timer, RESOLVER_LOOK_MS, look_for_answer);
        if (!conn->told_slow && clock_ms() - conn->asked_ms >= RESOLVER_SLOW_MS) {
            conn->told_slow = true;
            conn->events->slow(conn->owner, "its name is still being resolved");
        }
        return;
    }
    if (count < 0) {
        snprintf(conn->error, sizeof conn->error, "cannot resolve its name: %s", why);
    } else {
        conn->address_count = (size_t)count;
    }
    resolver_drop(conn->resolver);
    conn->resolver = NULL;
    conn->state = CONN_CONNECTING;
    try_next_address(conn);
}

/* Finds the addresses of a host that needs no DNS. Result: false when it does. */
static bool find_local_addresses(struct redis_conn *conn, const char *host, uint16_t port)
{
    if (strcmp(host, "localhost") == 0) {
        sock_addr_parse("127.0.0.1", port, &conn->addresses[0]);
        sock_addr_parse("::1", port, &conn->addresses[1]);
        conn->address_count = 2;
    } else if (sock_addr_parse(host, port, &conn->addresses[0]) == 0) {
        conn->address_count = 1;
    }
    return conn->address_count > 0;
}

struct redis_conn *redis_conn_open(struct loop *loop, const struct redis_settings *settings,
                                   const struct redis_conn_events *events, void *owner)
{
    const struct config *config = settings->config;
    struct redis_conn *conn = xcalloc(1, sizeof *conn);
    conn->loop = loop;
    conn->events = events;
    conn->owner = owner;
    conn->state = CONN_CONNECTING;
    if (config->redis.unix_socket[0]) {
        if (!await_socket(conn, connect_unix(config->redis.unix_socket)))
            try_next_address(conn);
    } else if (find_local_addresses(conn, config->redis.host, config->redis.port)) {
        try_next_address(conn);
    } else {
        conn->state = CONN_RESOLVING;
        conn->asked_ms = clock_ms();
        conn->resolver = resolver_ask(config->redis.host, config->redis.port);
        if (conn->resolver)
            loop_timer_arm(loop, &conn->timer, RESOLVER_LOOK_MS, look_for_answer);
        else
            fail(conn, strerror(errno));
    }
    return conn;
}
