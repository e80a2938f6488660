#include "vm_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vspc/loop.h"

/* A peer that never stops sending does not keep a caller from looking at its deadline. */
enum { READS_A_PUMP = 64 };

void vm_link_init(struct vm_link *link, const struct vm_client_options *opt)
{
    memset(link, 0, sizeof *link);
    link->fd = -1;
    vm_client_init(&link->vm, opt);
}

void vm_link_free(struct vm_link *link)
{
    vm_link_close(link, false);
    vm_client_free(&link->vm);
    bytes_clear(&link->received);
}

void vm_link_close(struct vm_link *link, bool abort)
{
    if (link->fd < 0)
        return;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (abort)
        setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(link->fd);
    link->fd = -1;
}

/* The connection has ended by itself. */
static int lost(struct vm_link *link, int error)
{
    link->error = error;
    vm_link_close(link, false);
    return -ECONNRESET;
}

/* Time left until a moment of clock_ms, for poll. */
static int left_until(uint64_t deadline)
{
    uint64_t now = clock_ms();
    return now >= deadline ? 0 : (int)(deadline - now);
}

void vm_link_adopt(struct vm_link *link, int fd)
{
    vm_link_close(link, false);
    link->error = 0;
    link->breaks = 0;
    link->fd = fd;
    vm_client_connected(&link->vm);
}

int vm_link_connect(struct vm_link *link, const struct sock_addr *addr, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    vm_link_close(link, false);
    int fd = sock_connect(addr);
    if (fd < 0)
        return fd;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int n;
    do
        n = poll(&ready, 1, left_until(deadline));
    while (n < 0 && errno == EINTR);
    int err = n > 0 ? sock_error(fd) : -ETIMEDOUT;
    if (err) {
        close(fd);
        return err;
    }
    vm_link_adopt(link, fd);
    return 0;
}

static void on_event(struct vm_client *vm, const struct vm_event *event, void *arg)
{
    (void)vm;
    struct vm_link *link = arg;
    if (event->type == VM_EVENT_DATA)
        bytes_put(&link->received, event->data, event->len);
    else if (event->type == VM_EVENT_BREAK)
        link->breaks++;
}

/* Sends what is queued, as far as the socket takes it. Result: 0 or a negative errno. */
static int push(struct vm_link *link)
{
    struct bytes *out = &link->vm.out;
    while (out->len) {
        ssize_t n = send(link->fd, bytes_at(out), out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        vm_client_sent(&link->vm, (size_t)n);
    }
    return 0;
}

static bool may_read(const struct vm_link *link)
{
    return link->receive_max == 0 || link->received.len <= link->receive_max;
}

int vm_link_pump(struct vm_link *link)
{
    uint8_t buffer[16384];
    if (link->fd < 0)
        return -ECONNRESET;
    /* A send that fails may leave bytes to read that came before the end. */
    int send_error = push(link);
    for (int reads = 0; reads < READS_A_PUMP && may_read(link); reads++) {
        ssize_t n = recv(link->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n == 0)
            return lost(link, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0)
            return lost(link, -errno);
        vm_client_input(&link->vm, buffer, (size_t)n, on_event, link);
        if (!send_error)
            send_error = push(link);
    }
    return send_error ? lost(link, send_error) : 0;
}

short vm_link_events(const struct vm_link *link)
{
    return (short)((may_read(link) ? POLLIN : 0) | (link->vm.out.len ? POLLOUT : 0));
}

int vm_link_step(struct vm_link *link, unsigned timeout_ms)
{
    if (link->fd < 0)
        return -ECONNRESET;
    struct pollfd ready = {.fd = link->fd, .events = vm_link_events(link)};
    int n = poll(&ready, 1, (int)timeout_ms);
    if (n == 0)
        return -ETIMEDOUT;
    return vm_link_pump(link);
}

/* Pumps until done(link, arg). Result: 0, -ETIMEDOUT, or -ECONNRESET when the connection ended first. */
static int pump_until(struct vm_link *link, bool (*done)(struct vm_link *, size_t), size_t arg,
                      unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    int err = vm_link_pump(link);
    while (!done(link, arg)) {
        if (err == -ECONNRESET)
            return err;
        int left = left_until(deadline);
        if (left == 0)
            return -ETIMEDOUT;
        err = vm_link_step(link, (unsigned)left);
    }
    return 0;
}

static bool has_seen(struct vm_link *link, size_t event)
{
    return vm_client_has_seen(&link->vm, (enum vm_event_type)event);
}

static bool is_identified(struct vm_link *link, size_t unused)
{
    (void)unused;
    return vm_client_is_identified(&link->vm) && link->vm.out.len == 0;
}

static bool is_closed(struct vm_link *link, size_t unused)
{
    (void)unused;
    return link->fd < 0;
}

static bool is_flushed(struct vm_link *link, size_t unused)
{
    (void)unused;
    return link->vm.out.len == 0;
}

static bool has_received(struct vm_link *link, size_t len)
{
    return link->received.len >= len;
}

int vm_link_wait(struct vm_link *link, enum vm_event_type event, unsigned timeout_ms)
{
    return pump_until(link, has_seen, event, timeout_ms);
}

int vm_link_identify(struct vm_link *link, unsigned timeout_ms)
{
    return pump_until(link, is_identified, 0, timeout_ms);
}

int vm_link_wait_closed(struct vm_link *link, unsigned timeout_ms)
{
    return pump_until(link, is_closed, 0, timeout_ms);
}

int vm_link_flush(struct vm_link *link, unsigned timeout_ms)
{
    return pump_until(link, is_flushed, 0, timeout_ms);
}

int vm_link_send(struct vm_link *link, const void *data, size_t len, unsigned timeout_ms)
{
    if (link->fd < 0)
        return -ECONNRESET;
    vm_client_send(&link->vm, data, len);
    return vm_link_flush(link, timeout_ms);
}

int vm_link_read(struct vm_link *link, void *out, size_t len, unsigned timeout_ms)
{
    int err = pump_until(link, has_received, len, timeout_ms);
    if (err || len == 0)
        return err;
    memcpy(out, bytes_at(&link->received), len);
    bytes_drop(&link->received, len);
    return 0;
}
