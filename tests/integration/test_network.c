/* Who may connect, over which addresses, and how long a console and its users stay. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(network, .timeout = 240);

/* A VM that comes over another address than 127.0.0.1. */
static struct vm_link *start_vm_at(const char *name, const char *host, uint16_t port)
{
    struct sock_addr addr;
    struct vm_client_options opt = vm_options(name);
    struct vm_link *vm = xmalloc(sizeof *vm);
    cr_assert_eq(sock_addr_parse(host, port, &addr), 0);
    vm_link_init(vm, &opt);
    int err = vm_link_connect(vm, &addr, SOON);
    cr_assert_eq(err, 0, "%s: %s", host, strerror(-err));
    cr_assert_eq(vm_link_identify(vm, SOON), 0);
    return vm;
}

/* Someone at a console over IPv6, who need not be told apart: `telnet = never`. */
static struct user *user_at(const char *host, uint16_t port)
{
    struct sock_addr addr;
    cr_assert_eq(sock_addr_parse(host, port, &addr), 0);
    struct user *user = xcalloc(1, sizeof *user);
    user->fd = sock_connect(&addr);
    struct pollfd ready = {.fd = user->fd, .events = POLLOUT};
    cr_assert_eq(poll(&ready, 1, SOON), 1);
    cr_assert_eq(sock_error(user->fd), 0);
    return user;
}

/* Whether this machine has IPv6 at all. */
static bool has_ipv6(void)
{
    struct sock_addr addr;
    sock_addr_parse("::1", 0, &addr);
    int fd = sock_listen(&addr, false, 1);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void check_at(struct vm_link *vm, const char *host, uint16_t port)
{
    struct user *user = user_at(host, port);
    user_type(user, "in");
    vm_expect_text(vm, "in", SOON);
    vm_print_text(vm, "out");
    user_expect_text(user, "out", SOON);
    user_close(user);
}

Test(network, vms_and_users_come_over_ipv6)
{
    if (!has_ipv6())
        cr_skip_test("there is no IPv6");
    struct daemon *d = daemon_new(VSPCD, 8);
    uint16_t second = env_ports(1);
    daemon_set(d, "user.telnet", "never");
    daemon_set(d, "user.scrollback", "0");
    daemon_set(d, "vm.listen", "[::1]:%u", d->vm_port);
    daemon_set(d, "user.listen", "::1");
    daemon_start(d);
    struct vm_link *vm = start_vm_at("six", "::1", d->vm_port);
    check_at(vm, "::1", probe_port(d, "six"));
    probe_wait_line(d, "VM connected", "peer=[::1]:", SOON);
    cr_assert_null(user_try_connect(probe_port(d, "six"), USER_RAW), "served over IPv4 too");
    vm_stop(vm);
    daemon_stop(d);

    /* `[::]` alone is IPv4 as well. */
    daemon_set(d, "vm.listen", "[::]:%u", d->vm_port);
    daemon_set(d, "user.listen", "::");
    daemon_start(d);
    vm = start_vm_at("both", "127.0.0.1", d->vm_port);
    check_at(vm, "127.0.0.1", probe_port(d, "both"));
    check_at(vm, "::1", probe_port(d, "both"));
    probe_wait_line(d, "VM connected", "peer=127.0.0.1:", SOON);
    struct vm_link *other = start_vm_at("other", "::1", d->vm_port);
    vm_stop(vm);
    vm_stop(other);
    daemon_stop(d);

    /* Two listeners. */
    daemon_set(d, "vm.listen", "127.0.0.1:%u,[::1]:%u", d->vm_port, second);
    daemon_set(d, "user.listen", "127.0.0.1");
    daemon_start(d);
    vm = start_vm_at("one", "127.0.0.1", d->vm_port);
    other = start_vm_at("two", "::1", second);
    check_at(vm, "127.0.0.1", probe_port(d, "one"));
    check_at(other, "127.0.0.1", probe_port(d, "two"));
    vm_stop(vm);
    vm_stop(other);
    daemon_stop(d);
}

Test(network, only_allowed_networks_are_served)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.allow", "10.0.0.0/8");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct user *user = user_connect(probe_port(d, "vm1"), USER_RAW);
    user_wait_closed(user, SOON);
    cr_assert_eq(user->in.len, 0, "nothing is said to whom nothing is allowed");
    daemon_wait_log(d, "User refused, not in [user] allow", SOON);
    user_close(user);
    daemon_set(d, "user.allow", "10.0.0.0/8,127.0.0.0/8");
    daemon_set(d, "vm.allow", "192.168.0.0/16,::1");
    daemon_stop(d);
    vm_stop(vm);
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    vm = vm_connect(d, &opt);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    daemon_wait_log(d, "VM refused, not in [vm] allow", SOON);
    vm_stop(vm);
    daemon_stop(d);
    daemon_set(d, "vm.allow", "127.0.0.1");
    daemon_start(d);
    vm = vm_start_named(d, "vm1");
    probe_console(probe_port(d, "vm1"), vm);
    vm_stop(vm);
    daemon_stop(d);
}

Test(network, a_console_lingers_for_its_users_whichever_worker_the_vm_comes_back_to)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "3");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    struct user *telnet = user_connect(port, USER_TELNET), *raw = user_connect(port, USER_RAW);
    user_expect(raw, wire_greeting, WIRE_USER_GREETING, SOON);
    for (int i = 0; i < 7; i++) {
        vm_print_text(vm, "one");
        user_expect_text(telnet, "one", SOON);
        user_expect_text(raw, "one", SOON);
        vm_stop(vm);
        user_expect_text(telnet, "\r\n[vspc: VM disconnected]\r\n", SOON);
        struct user *late = user_connect(port, USER_TELNET);
        user_wait_text(late, "\r\n[vspc: VM disconnected]\r\n", SOON);
        user_close(late);
        vm = vm_start_named(d, "vm1");
        user_expect_text(telnet, "\r\n[vspc: VM connected]\r\n", SOON);
        user_type(raw, "two");
        vm_expect_text(vm, "two", SOON);
    }
    WAIT_FOR(daemon_count_log(d, "VM connected vm=\"vm1\"") == 8, SOON, "it is not logged each time");
    cr_assert_eq(probe_port(d, "vm1"), port);
    vm_stop(vm);
    user_close(telnet);
    user_close(raw);
    daemon_stop(d);
}

/* Whether nobody listens there any more. */
static bool is_closed(uint16_t port)
{
    struct user *user = user_try_connect(port, USER_RAW);
    user_close(user);
    return !user;
}

Test(network, linger_over_ends_the_console_and_no_linger_ends_it_at_once)
{
    static const char *const lingers[] = {"0", "300ms"};
    for (int i = 0; i < 2; i++) {
        struct daemon *d = daemon_new(VSPCD, 8);
        daemon_set(d, "user.linger", "%s", lingers[i]);
        daemon_start(d);
        struct vm_link *vm = vm_start_named(d, "vm1");
        uint16_t port = probe_port(d, "vm1");
        struct user *telnet = user_connect(port, USER_TELNET), *raw = user_connect(port, USER_RAW);
        user_expect(raw, wire_greeting, WIRE_USER_GREETING, SOON);
        vm_print_text(vm, "bye");
        user_expect_text(raw, "bye", SOON);
        uint64_t begin = clock_ms();
        vm_stop(vm);
        user_expect_text(telnet, "bye\r\n[vspc: VM disconnected]\r\n", SOON);
        user_wait_closed(telnet, SOON);
        user_wait_closed(raw, SOON);
        cr_assert_eq(raw->in.len, 0);
        cr_assert(i == 0 || clock_ms() - begin >= 290, "ended after %u ms", (unsigned)(clock_ms() - begin));
        WAIT_FOR(is_closed(port), SOON, "the port is still open");
        user_close(telnet);
        user_close(raw);
        /* It comes back as if it were new. */
        daemon_mark_log(d);
        vm = vm_start_named(d, "vm1");
        probe_console(probe_port(d, "vm1"), vm);
        vm_stop(vm);
        daemon_stop(d);
    }
}

Test(network, a_user_who_types_nothing_is_disconnected_after_idle_timeout)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.idle_timeout", "1500ms");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    struct user *busy = user_connect(port, USER_TELNET), *idle = user_connect(port, USER_TELNET),
                *raw = user_connect(port, USER_RAW);
    uint64_t begin = clock_ms();
    while (user_pump(idle) || user_pump(raw)) {
        cr_assert_lt(clock_ms() - begin, SOON);
        user_type(busy, "x");
        vm_expect_text(vm, "x", SOON);
        vm_print_text(vm, "output does not count");
        env_nap();
    }
    cr_assert_geq(clock_ms() - begin, 1400);
    cr_assert(user_pump(busy));
    daemon_wait_log(d, "User disconnected: idle_timeout", SOON);
    user_close(busy);
    user_close(idle);
    user_close(raw);
    vm_stop(vm);
    daemon_stop(d);
}
