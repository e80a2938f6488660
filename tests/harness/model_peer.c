#include "model_peer.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IAC = 255, BRK = 243 };

/* Small, so that a VM that does not read soon has the concentrator waiting. */
enum { SEGMENT = 536, RECEIVE_BUFFER = 4096 };

/* Sends at once: many small writes follow each other here. */
static void hurry(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void model_append(struct bytes *to, const struct bytes *from)
{
    if (from->len)
        bytes_put(to, bytes_at(from), from->len);
}

void model_put_input(struct bytes *out, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++) {
        bytes_put(out, at + i, 1);
        if (at[i] == IAC)
            bytes_put(out, at + i, 1);
    }
}

struct model_conn *model_conn_new(const struct daemon *d, const struct vm_client_options *opt)
{
    static unsigned number;
    struct sock_addr addr = daemon_vm_addr(d), own = {.len = sizeof own.in6};
    int segment = SEGMENT, buffer = RECEIVE_BUFFER;
    struct model_conn *conn = xcalloc(1, sizeof *conn);
    vm_client_init(&conn->vm, opt);
    snprintf(conn->name, sizeof conn->name, "%.*s", (int)opt->name_len, (const char *)opt->name);
    conn->number = ++number;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (conn->fd < 0 || connect(conn->fd, &addr.sa, addr.len) < 0)
        env_fail("a VM cannot connect to vspcd: %s", strerror(errno));
    hurry(conn->fd);
    if (getsockname(conn->fd, &own.sa, &own.len) == 0)
        conn->port = ntohs(own.in.sin_port);
    vm_client_connected(&conn->vm);
    return conn;
}

void model_conn_free(struct model_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    vm_client_free(&conn->vm);
    bytes_clear(&conn->got);
    bytes_clear(&conn->want);
    bytes_clear(&conn->control);
    bytes_clear(&conn->want_control);
    bytes_clear(&conn->owed);
    bytes_clear(&conn->early);
    free(conn);
}

void model_conn_hang_up(struct model_conn *conn, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    model_conn_pump(conn);
    conn->must_close = true;
    if (conn->fd < 0)
        return;
    if (!reset) {
        shutdown(conn->fd, SHUT_WR);
        return;
    }
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(conn->fd);
    conn->fd = -1;
}

void model_conn_want(struct model_conn *conn, uint8_t message)
{
    bytes_put(&conn->want_control, &message, 1);
}

void model_conn_want_unknown(struct model_conn *conn, uint8_t code)
{
    bytes_put(&conn->want_control, (uint8_t[]){MODEL_UNKNOWN, code}, 2);
}

static void on_event(struct vm_client *vm, const struct vm_event *event, void *arg)
{
    struct model_conn *conn = arg;
    (void)vm;
    switch (event->type) {
    case VM_EVENT_DATA:
        model_put_input(&conn->got, event->data, event->len);
        break;
    case VM_EVENT_BREAK:
        bytes_put(&conn->got, (uint8_t[]){IAC, BRK}, 2);
        break;
    case VM_EVENT_GOAHEAD:
        bytes_put(&conn->control, (uint8_t[]){MODEL_GOAHEAD}, 1);
        break;
    case VM_EVENT_NOTNOW:
        bytes_put(&conn->control, (uint8_t[]){MODEL_NOTNOW}, 1);
        break;
    case VM_EVENT_PEER_OK:
        bytes_put(&conn->control, (uint8_t[]){MODEL_PEER_OK}, 1);
        break;
    case VM_EVENT_WILL_PROXY:
        bytes_put(&conn->control, (uint8_t[]){MODEL_PROXY}, 1);
        break;
    case VM_EVENT_UNKNOWN:
        bytes_put(&conn->control, (uint8_t[]){MODEL_UNKNOWN, event->len ? event->data[0] : 0}, 2);
        break;
    case VM_EVENT_PROTOCOL_ERROR:
        env_fail("vspcd broke the protocol towards %s on port %d: %.*s", conn->name, conn->port,
                 (int)event->len, (const char *)event->data);
    default:
        break;
    }
}

/* Takes off both what is the same. */
static void compare(const char *who, int port, const char *what, struct bytes *got, struct bytes *want)
{
    size_t n = got->len < want->len ? got->len : want->len, same = 0;
    while (same < n && bytes_at(got)[same] == bytes_at(want)[same])
        same++;
    if (same < got->len) {
        size_t from = same > 16 ? same - 16 : 0, left = got->len - from, wanted = want->len - from;
        env_fail("%s on port %d received other %s than it should: after %zu bytes of it %s instead of %s",
                 who, port, what, from, quote(bytes_at(got) + from, left > 64 ? 64 : left).s,
                 wanted ? quote(bytes_at(want) + from, wanted > 64 ? 64 : wanted).s : "nothing");
    }
    bytes_drop(got, n);
    bytes_drop(want, n);
}

/* Sends what is queued, as far as it goes. */
static void push(struct model_conn *conn)
{
    struct bytes *out = &conn->vm.out;
    while (out->len) {
        ssize_t n = send(conn->fd, bytes_at(out), out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            return;
        vm_client_sent(&conn->vm, (size_t)n);
    }
}

void model_conn_pump(struct model_conn *conn)
{
    uint8_t buffer[16384];
    while (conn->fd >= 0) {
        push(conn);
        if (conn->deaf)
            break;
        ssize_t n = recv(conn->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            close(conn->fd);
            conn->fd = -1;
        } else {
            vm_client_input(&conn->vm, buffer, (size_t)n, on_event, conn);
        }
    }
    if (conn->unmatched)
        return;
    compare(conn->name, conn->port, "input", &conn->got, &conn->want);
    compare(conn->name, conn->port, "messages", &conn->control, &conn->want_control);
    if (conn->fd < 0 && !conn->must_close && conn->role != MODEL_DOOMED)
        env_fail("%s on port %d was disconnected", conn->name, conn->port);
}

const char *model_conn_lacks(const struct model_conn *conn)
{
    if (conn->deaf)
        return NULL;
    if (conn->want.len)
        return "input";
    if (conn->want_control.len && !conn->forgiven)
        return "messages";
    if (conn->fd >= 0 && conn->must_close)
        return "its end";
    return conn->vm.out.len && conn->fd >= 0 ? "a reader" : NULL;
}

struct model_user *model_user_new(uint16_t port)
{
    struct model_user *user = xcalloc(1, sizeof *user);
    user->user = user_connect(port, USER_TELNET);
    hurry(user->user->fd);
    return user;
}

void model_user_free(struct model_user *user)
{
    user_close(user->user);
    bytes_clear(&user->want);
    free(user);
}

void model_user_pump(struct model_user *user)
{
    user_pump(user->user);
    compare("a user", 0, "output", &user->user->in, &user->want);
    if (user->user->closed_by_peer && !user->must_close)
        env_fail("a user was disconnected");
}

const char *model_user_lacks(const struct model_user *user)
{
    if (user->want.len)
        return "output";
    return user->must_close && !user->user->closed_by_peer ? "its end" : NULL;
}
