#include "fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* More at a time would only wait in the listener's backlog. */
enum { CONNECTING_MAX = 128, BATCH = 256 };

struct fleet *fleet_new(const struct daemon *d, size_t n, const char *prefix,
                        const struct vm_client_options *like)
{
    struct fleet *f = xcalloc(1, sizeof *f);
    f->addr = daemon_vm_addr(d);
    f->n = n;
    f->vms = xcalloc(n, sizeof *f->vms);
    f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (f->epoll_fd < 0)
        env_fail("epoll_create1: %s", strerror(errno));
    for (size_t i = 0; i < n; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s%05zu", prefix, i);
        struct vm_client_options named = vm_options(name), opt = like ? *like : named;
        opt.name = name;
        opt.name_len = named.name_len;
        memcpy(opt.uuid, named.uuid, UUID_SIZE);
        vm_client_init(&f->vms[i].vm, &opt);
        f->vms[i].fd = -1;
    }
    return f;
}

/* Forgets a VM's connection, which the caller closes or has closed. */
static void disconnected(struct fleet *f, struct fleet_vm *v)
{
    f->connecting -= v->connecting;
    f->identified -= v->identified;
    v->connecting = v->identified = false;
    v->fd = -1;
}

static void lose(struct fleet *f, struct fleet_vm *v)
{
    close(v->fd);
    disconnected(f, v);
    f->wanted -= v->wanted;
    v->wanted = false;
    v->lost++;
    f->lost++;
}

void fleet_drop(struct fleet *f, size_t first, size_t count, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    for (size_t i = first; i < first + count; i++) {
        struct fleet_vm *v = &f->vms[i];
        f->wanted -= v->wanted;
        v->wanted = false;
        if (v->fd < 0)
            continue;
        if (reset)
            setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(v->fd);
        disconnected(f, v);
    }
}

void fleet_free(struct fleet *f)
{
    fleet_drop(f, 0, f->n, false);
    for (size_t i = 0; i < f->n; i++) {
        struct vm_client *vm = &f->vms[i].vm;
        if (vm->errors)
            env_fail("vspcd broke the protocol to VM %zu of the fleet: %s (%u)", i, vm->error,
                     vm->error_code);
        vm_client_free(vm);
    }
    close(f->epoll_fd);
    free(f->vms);
    free(f);
}

void fleet_connect(struct fleet *f, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        f->wanted += !f->vms[i].wanted;
        f->vms[i].wanted = true;
    }
}

/* Waits for a VM's socket to become readable, and writable when there is something to send. */
static void watch(struct fleet *f, struct fleet_vm *v, int operation)
{
    bool writes = v->connecting || v->vm.out.len;
    struct epoll_event event = {.events = EPOLLIN | (writes ? (uint32_t)EPOLLOUT : 0), .data.ptr = v};
    if (operation == EPOLL_CTL_MOD && v->writes == writes)
        return;
    v->writes = writes;
    if (epoll_ctl(f->epoll_fd, operation, v->fd, &event) < 0)
        env_fail("epoll_ctl: %s", strerror(errno));
}

/* Starts connections, as many as may be on their way. */
static void start_some(struct fleet *f)
{
    for (size_t looked = 0; looked < f->n && f->connecting < CONNECTING_MAX; looked++) {
        struct fleet_vm *v = &f->vms[f->next];
        f->next = (f->next + 1) % f->n;
        if (!v->wanted || v->fd >= 0)
            continue;
        v->fd = sock_connect(&f->addr);
        if (v->fd < 0)
            env_fail("a fleet's VM cannot connect: %s", strerror(-v->fd));
        v->connecting = true;
        f->connecting++;
        watch(f, v, EPOLL_CTL_ADD);
    }
}

/* Sends what a VM has queued, as far as the socket takes it. Result: false when the connection has ended. */
static bool push(struct fleet *f, struct fleet_vm *v)
{
    while (v->vm.out.len) {
        ssize_t n = send(v->fd, bytes_at(&v->vm.out), v->vm.out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        vm_client_sent(&v->vm, (size_t)n);
    }
    watch(f, v, EPOLL_CTL_MOD);
    return true;
}

static void count_data(struct vm_client *vm, const struct vm_event *event, void *arg)
{
    (void)vm;
    struct fleet_vm *v = arg;
    if (event->type == VM_EVENT_DATA)
        v->received += event->len;
}

/* Handles readiness of a VM's socket. Result: false when the connection has ended. */
static bool handle(struct fleet *f, struct fleet_vm *v)
{
    uint8_t buffer[16384];
    if (v->connecting) {
        if (sock_error(v->fd) != 0)
            return false;
        v->connecting = false;
        f->connecting--;
        vm_client_connected(&v->vm);
        return push(f, v);
    }
    ssize_t n = recv(v->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (n > 0)
        vm_client_input(&v->vm, buffer, (size_t)n, count_data, v);
    if (!push(f, v))
        return false;
    if (!v->identified && vm_client_is_identified(&v->vm) && v->vm.out.len == 0) {
        v->identified = true;
        f->identified++;
    }
    return true;
}

void fleet_pump(struct fleet *f, unsigned timeout_ms)
{
    struct epoll_event batch[BATCH];
    start_some(f);
    int n = epoll_wait(f->epoll_fd, batch, BATCH, (int)timeout_ms);
    for (int i = 0; i < n; i++) {
        struct fleet_vm *v = batch[i].data.ptr;
        if (!handle(f, v))
            lose(f, v);
    }
}

/* Pumps until `deadline` at most, in turns short enough to look at a condition. */
static void pump_before(struct fleet *f, uint64_t deadline, const char *what)
{
    uint64_t now = clock_ms();
    if (now >= deadline)
        env_fail("%s: of %zu VMs to be connected %zu are identified and %zu on their way; %zu connections "
                 "were lost",
                 what, f->wanted, f->identified, f->connecting, f->lost);
    fleet_pump(f, deadline - now > 100 ? 100 : (unsigned)(deadline - now));
}

void fleet_wait_identified(struct fleet *f, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    size_t lost = f->lost;
    while (f->identified < f->wanted) {
        pump_before(f, deadline, "a fleet is not identified in time");
        if (f->lost > lost)
            env_fail("vspcd ended the connection of a fleet's VM before it was identified");
    }
}

void fleet_wait_lost(struct fleet *f, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    while (f->wanted)
        pump_before(f, deadline, "a fleet is still connected");
}

void fleet_send(struct fleet *f, size_t i, const void *data, size_t len)
{
    struct fleet_vm *v = &f->vms[i];
    if (v->fd < 0 || v->connecting)
        env_fail("VM %zu of the fleet is not connected", i);
    vm_client_send(&v->vm, data, len);
    if (!push(f, v))
        lose(f, v);
}
