#include "user.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, SE = 240 };
enum { OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3 };
enum { IN_DATA, AFTER_IAC, AFTER_VERB, IN_SUB, IN_SUB_AFTER_IAC };

/* What the concentrator sends to everybody under `telnet = auto`. */
static const uint8_t offers[][3] = {
    {IAC, WILL, OPT_BINARY}, {IAC, WILL, OPT_SGA}, {IAC, WILL, OPT_ECHO},
    {IAC, DO, OPT_BINARY},   {IAC, DO, OPT_SGA},
};
enum { OFFERS = sizeof offers / sizeof *offers };

/* One try to connect. Result: a socket or a negative errno. */
static int try_socket(uint16_t port)
{
    struct sock_addr addr = env_local(port);
    int fd = sock_connect(&addr);
    if (fd < 0)
        return fd;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int err = poll(&ready, 1, SOON) == 1 ? sock_error(fd) : -ETIMEDOUT;
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

struct user *user_try_connect(uint16_t port, enum user_kind kind)
{
    env_dir();
    int fd = try_socket(port);
    if (fd < 0)
        return NULL;
    struct user *user = xcalloc(1, sizeof *user);
    user->kind = kind;
    user->fd = fd;
    return user;
}

struct user *user_connect(uint16_t port, enum user_kind kind)
{
    struct user *user = NULL;
    WAIT_FOR((user = user_try_connect(port, kind)), SOON, "nobody listens on user port %u", port);
    if (kind == USER_TELNET)
        user_answer_offer(user, SOON);
    return user;
}

void user_close(struct user *user)
{
    if (!user)
        return;
    if (user->fd >= 0)
        close(user->fd);
    bytes_clear(&user->in);
    bytes_clear(&user->negotiation);
    free(user);
}

void user_reset(struct user *user)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (user->fd >= 0)
        setsockopt(user->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    user_close(user);
}

/* Answers a negotiation, once for each verb and option. */
static void negotiate(struct user *user, uint8_t verb, uint8_t option)
{
    uint8_t *answered = &user->answered[verb - WILL][option / 8];
    uint8_t bit = (uint8_t)(1u << option % 8);
    bytes_put(&user->negotiation, (uint8_t[]){verb, option}, 2);
    if (*answered & bit)
        return;
    *answered |= bit;
    bool takes = option == OPT_SGA || (option == OPT_BINARY && !user->refuses_binary);
    if (verb == WILL)
        user_send_raw(user, (uint8_t[]){IAC, takes || option == OPT_ECHO ? DO : DONT, option}, 3);
    else if (verb == DO)
        user_send_raw(user, (uint8_t[]){IAC, takes ? WILL : WONT, option}, 3);
}

/* Takes one byte of a telnet stream. */
static void on_telnet(struct user *user, uint8_t c)
{
    switch (user->parser) {
    case IN_DATA:
        if (c == IAC)
            user->parser = AFTER_IAC;
        else
            bytes_put(&user->in, &c, 1);
        return;
    case AFTER_IAC:
        user->parser = IN_DATA;
        if (c == IAC)
            bytes_put(&user->in, &c, 1);
        if (c == SB)
            user->parser = IN_SUB;
        if (c >= WILL && c <= DONT)
            user->parser = AFTER_VERB;
        user->verb = c;
        return;
    case AFTER_VERB:
        user->parser = IN_DATA;
        negotiate(user, user->verb, c);
        return;
    case IN_SUB:
        if (c == IAC)
            user->parser = IN_SUB_AFTER_IAC;
        return;
    default:
        user->parser = c == SE ? IN_DATA : IN_SUB;
    }
}

bool user_pump(struct user *user)
{
    uint8_t buffer[16384];
    for (int i = 0; i < 64 && !user->closed_by_peer; i++) {
        ssize_t n = recv(user->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            user->closed_by_peer = true;
        else if (user->kind == USER_RAW)
            bytes_put(&user->in, buffer, (size_t)n);
        for (ssize_t j = 0; user->kind == USER_TELNET && j < n; j++)
            on_telnet(user, buffer[j]);
    }
    return !user->closed_by_peer;
}

void user_send_raw(struct user *user, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(user->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = user->fd, .events = POLLOUT};
            if (poll(&ready, 1, SOON) == 0)
                env_fail("a user cannot send: nobody reads");
            continue;
        }
        /* A concentrator that closes meanwhile is noticed by whoever reads. */
        if (n < 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

void user_send(struct user *user, const void *data, size_t len)
{
    const uint8_t *at = data;
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        if (user->kind != USER_TELNET || at[i] != IAC)
            continue;
        user_send_raw(user, at + from, i + 1 - from);
        from = i;
    }
    user_send_raw(user, at + from, len - from);
}

void user_type(struct user *user, const char *text)
{
    user_send(user, text, strlen(text));
}

/* Waits for the socket, then reads. */
static void step(struct user *user, uint64_t deadline)
{
    uint64_t now = clock_ms();
    struct pollfd ready = {.fd = user->fd, .events = POLLIN};
    if (!user->closed_by_peer && now < deadline)
        poll(&ready, 1, (int)(deadline - now));
    user_pump(user);
}

/* Writes bytes for a message, at most as many as fit. */
static const char *shown(const void *data, size_t len, char out[512])
{
    const uint8_t *at = data;
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < len && n < 500; i++)
        n += (size_t)snprintf(out + n, 512 - n, at[i] >= ' ' && at[i] < 127 ? "%c" : "\\x%02x", at[i]);
    return out;
}

void user_expect(struct user *user, const void *data, size_t len, unsigned timeout_ms)
{
    char wanted[512], got[512];
    uint64_t deadline = clock_ms() + timeout_ms;
    for (;;) {
        user_pump(user);
        size_t n = user->in.len < len ? user->in.len : len;
        if (n && memcmp(bytes_at(&user->in), data, n) != 0) {
            size_t same = 0;
            while (bytes_at(&user->in)[same] == ((const uint8_t *)data)[same])
                same++;
            env_fail("a user received \"%s\" instead of \"%s\" after %zu bytes",
                     shown(bytes_at(&user->in) + same, user->in.len - same, got),
                     shown((const uint8_t *)data + same, len - same, wanted), same);
        }
        if (n == len)
            break;
        if (user->closed_by_peer || clock_ms() >= deadline)
            env_fail("a %s user%s received only \"%s\" (%zu bytes) instead of \"%s\" (%zu bytes)",
                     user->kind == USER_RAW ? "raw" : "telnet",
                     user->closed_by_peer ? " was disconnected and" : "",
                     shown(bytes_at(&user->in), user->in.len, got), user->in.len, shown(data, len, wanted),
                     len);
        step(user, deadline);
    }
    bytes_drop(&user->in, len);
}

void user_expect_text(struct user *user, const char *text, unsigned timeout_ms)
{
    user_expect(user, text, strlen(text), timeout_ms);
}

void user_expect_offer(struct user *user, unsigned timeout_ms)
{
    char got[512];
    bool came[OFFERS] = {false};
    uint64_t deadline = clock_ms() + timeout_ms;
    for (user_pump(user); user->in.len < sizeof offers; step(user, deadline))
        if (user->closed_by_peer || clock_ms() >= deadline)
            env_fail("a user received only \"%s\" of the offer to speak telnet",
                     shown(bytes_at(&user->in), user->in.len, got));
    for (size_t i = 0; i < OFFERS; i++) {
        size_t j = 0;
        while (j < OFFERS && (came[j] || memcmp(bytes_at(&user->in) + 3 * i, offers[j], 3) != 0))
            j++;
        if (j == OFFERS)
            env_fail("a user received \"%s\", which is not the offer to speak telnet",
                     shown(bytes_at(&user->in), user->in.len, got));
        came[j] = true;
    }
    bytes_drop(&user->in, sizeof offers);
}

void user_wait_text(struct user *user, const char *text, unsigned timeout_ms)
{
    char got[512];
    uint64_t deadline = clock_ms() + timeout_ms;
    size_t len = strlen(text);
    for (;;) {
        user_pump(user);
        const uint8_t *found = user->in.len ? memmem(bytes_at(&user->in), user->in.len, text, len) : NULL;
        if (found) {
            bytes_drop(&user->in, (size_t)(found - bytes_at(&user->in)) + len);
            return;
        }
        if (user->closed_by_peer || clock_ms() >= deadline)
            env_fail("a user%s received \"%s\" without \"%s\"",
                     user->closed_by_peer ? " was disconnected and" : "",
                     shown(bytes_at(&user->in), user->in.len, got), text);
        step(user, deadline);
    }
}

void user_wait_closed(struct user *user, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    while (user_pump(user)) {
        if (clock_ms() >= deadline)
            env_fail("a user is still connected after %u ms", timeout_ms);
        step(user, deadline);
    }
}

void user_answer_offer(struct user *user, unsigned timeout_ms)
{
    for (size_t i = 0; i < OFFERS; i++)
        user_wait_negotiation(user, offers[i][1], offers[i][2], timeout_ms);
}

void user_wait_negotiation(struct user *user, uint8_t verb, uint8_t option, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    for (;;) {
        user_pump(user);
        for (size_t i = 0; i + 1 < user->negotiation.len; i += 2)
            if (bytes_at(&user->negotiation)[i] == verb && bytes_at(&user->negotiation)[i + 1] == option)
                return;
        if (user->closed_by_peer || clock_ms() >= deadline)
            env_fail("a user was not sent verb %u for option %u", verb, option);
        step(user, deadline);
    }
}
