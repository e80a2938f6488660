/* What happens when user ports or descriptors run out, and who then gives way. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

TestSuite(limits, .timeout = 240);

/* With ADMISSION_RESERVE off, 20 descriptors are for connections: 10 VMs. */
#define FEW_DESCRIPTORS "ulimit -n 84"

/* Connects a VM that must be refused. */
static void expect_refused(struct daemon *d, const char *name)
{
    struct vm_client_options opt = vm_options(name);
    struct vm_link *vm = vm_connect(d, &opt);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0, "%s is not refused", name);
    vm_stop(vm);
}

/* Connects a VM as soon as it is not refused any more. */
static struct vm_link *wait_served(struct daemon *d, const char *name)
{
    struct vm_client_options opt = vm_options(name);
    char *line = xasprintf("VM connected vm=\"%s\"", name);
    for (uint64_t from = clock_ms(); clock_ms() - from < SOON; env_nap()) {
        struct vm_link *vm = vm_connect(d, &opt);
        vm_link_identify(vm, SOON);
        /* Told that it is welcome, it may still be closed for want of a port. */
        while (vm->fd >= 0 && !daemon_count_log(d, line))
            vm_link_step(vm, 5);
        if (vm->fd >= 0) {
            free(line);
            return vm;
        }
        vm_stop(vm);
    }
    env_fail("VM %s is not served again", name);
}

/* The VM leaves, and that has been noticed. */
static void leave(struct daemon *d, struct vm_link *vm, const char *name)
{
    char *line = xasprintf("VM disconnected vm=\"%s\"", name);
    unsigned before = daemon_count_log(d, line);
    vm_stop(vm);
    WAIT_FOR(daemon_count_log(d, line) > before, SOON, "not logged: %s", line);
    free(line);
}

static void expect_gave_way(struct daemon *d, const char *name)
{
    char *line = xasprintf("short vm=\"%s\"", name);
    probe_wait_line(d, "Console ended before its time", line, SOON);
    free(line);
}

Test(limits, without_a_free_user_port_the_next_vm_is_refused_and_the_others_go_on)
{
    struct daemon *d = daemon_new(VSPCD, 3);
    daemon_set(d, "user.linger", "0");
    daemon_start(d);
    struct vm_link *a = vm_start_named(d, "a"), *b = vm_start_named(d, "b"), *c = vm_start_named(d, "c");
    uint16_t port = probe_port(d, "a");
    expect_refused(d, "d");
    probe_wait_line(d, "warning: VM refused, no user port is free: raise [user] max_ports vm=\"d\"",
                    "peer=127.0.0.1:", SOON);
    probe_console(port, a);
    /* One that has a console already needs no other port. */
    leave(d, b, "b");
    b = wait_served(d, "b");
    expect_refused(d, "d");
    leave(d, c, "c");
    struct vm_link *served = wait_served(d, "d");
    probe_console(probe_port(d, "d"), served);
    probe_console(port, a);
    vm_stop(a);
    vm_stop(b);
    vm_stop(served);
    daemon_stop(d);
}

Test(limits, refusals_are_logged_at_most_once_a_second)
{
    enum { TIMES = 200 };
    struct daemon *d = daemon_new(VSPCD, 1);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "holder");
    uint64_t from = clock_ms();
    for (int i = 0; i < TIMES; i++)
        expect_refused(d, "visitor");
    unsigned seconds = (unsigned)((clock_ms() - from) / 1000) + 1;
    cr_assert_leq(daemon_count_log(d, "VM refused"), seconds);
    vm_stop(vm);
    daemon_stop(d);
}

Test(limits, lingering_consoles_give_their_ports_up_longest_without_users_first)
{
    struct daemon *d = daemon_new(VSPCD, 4);
    daemon_set(d, "user.linger", "1h");
    daemon_start(d);
    /* In the order in which they leave; and the order in which they are to give way. */
    static const char *const names[] = {"a", "b", "c", "e"}, *const order[] = {"c", "e", "a", "b"};
    struct vm_link *vms[4];
    for (int i = 0; i < 4; i++)
        vms[i] = vm_start_named(d, names[i]);
    struct user *of_a = user_connect(probe_port(d, "a"), USER_TELNET);
    struct user *of_b = user_connect(probe_port(d, "b"), USER_TELNET);
    probe_delay(vms[0], of_a);
    probe_delay(vms[1], of_b);
    for (int i = 0; i < 4; i++)
        leave(d, vms[i], names[i]);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "new-%d", i);
        vms[i] = wait_served(d, name);
        expect_gave_way(d, order[i]);
        cr_assert_eq(daemon_count_log(d, "Console ended before its time"), (unsigned)i + 1);
        cr_assert(i >= 2 || (user_pump(of_a) && user_pump(of_b)), "a user's console gave way first");
    }
    user_wait_closed(of_a, SOON);
    user_wait_closed(of_b, SOON);
    expect_refused(d, "new-5");
    for (int i = 0; i < 4; i++)
        vm_stop(vms[i]);
    user_close(of_a);
    user_close(of_b);
    daemon_stop(d);
}

Test(limits, user_ports_that_something_else_holds_are_passed_over)
{
    struct daemon *d = daemon_new(VSPCD, 4);
    int held[2];
    for (int i = 0; i < 2; i++) {
        struct sock_addr addr = env_local((uint16_t)(d->first_user_port + i));
        held[i] = sock_listen(&addr, false, 1);
        cr_assert_geq(held[i], 0);
    }
    daemon_start(d);
    struct vm_link *a = vm_start_named(d, "a"), *b = vm_start_named(d, "b");
    cr_assert_eq(probe_port(d, "a"), d->first_user_port + 2);
    cr_assert_eq(probe_port(d, "b"), d->first_user_port + 3);
    probe_console(probe_port(d, "a"), a);
    daemon_wait_log(d, "held by something else", SOON);
    expect_refused(d, "c");
    daemon_wait_log(d, "VM refused, no user port is free", SOON);
    for (int i = 0; i < 2; i++)
        close(held[i]);
    vm_stop(a);
    vm_stop(b);
    daemon_stop(d);
}

Test(limits, without_descriptors_vms_and_users_are_refused_and_the_others_go_on)
{
    struct daemon *d = daemon_new(VSPCD, 32);
    struct vm_link *vms[10];
    char name[16];
    daemon_set(d, "user.linger", "0");
    probe_run_before(d, FEW_DESCRIPTORS);
    daemon_start(d);
    probe_wait_line(d, "Ready", "max_vms=10 limited_by=descriptors", SOON);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "vm-%d", i);
        vms[i] = vm_start_named(d, name);
    }
    uint16_t port = probe_port(d, "vm-0");
    struct user *one = user_connect(port, USER_TELNET), *two = user_connect(port, USER_TELNET);
    probe_delay(vms[0], one);
    probe_delay(vms[0], two);
    uint64_t from = clock_ms();
    for (int i = 0; i < 50; i++) {
        struct user *refused = user_connect(port, USER_RAW);
        user_wait_closed(refused, SOON);
        cr_assert_eq(refused->in.len, 0);
        user_close(refused);
        expect_refused(d, "vm-9");
    }
    unsigned seconds = (unsigned)((clock_ms() - from) / 1000) + 1;
    daemon_wait_log(d, "User refused, no file descriptor is left: raise the limit", SOON);
    daemon_wait_log(d, "VM refused, no file descriptor is left: raise the limit", SOON);
    cr_assert_leq(daemon_count_log(d, "User refused"), seconds);
    cr_assert_leq(daemon_count_log(d, "VM refused"), seconds);
    probe_delay(vms[0], one);

    /* What they gave back is enough for one more VM. */
    user_close(one);
    user_close(two);
    vms[9] = wait_served(d, "vm-9");
    expect_refused(d, "vm-10");
    leave(d, vms[0], "vm-0");
    probe_console(probe_port(d, "vm-9"), vms[9]);
    for (int i = 1; i < 10; i++)
        vm_stop(vms[i]);
    daemon_stop(d);
}

Test(limits, lingering_consoles_give_their_descriptors_up_when_a_vm_needs_them_and_not_before)
{
    struct daemon *d = daemon_new(VSPCD, 32);
    struct vm_link *vms[10];
    char name[16];
    daemon_set(d, "user.linger", "1h");
    probe_run_before(d, FEW_DESCRIPTORS);
    daemon_start(d);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "vm-%d", i);
        vms[i] = vm_start_named(d, name);
    }
    /* 17 of 20 are taken, then 19. */
    leave(d, vms[0], "vm-0");
    vms[0] = wait_served(d, "vm-9");
    probe_console(probe_port(d, "vm-9"), vms[0]);
    user_close(user_connect(probe_port(d, "vm-0"), USER_RAW));
    cr_assert_eq(daemon_count_log(d, "before its time"), 0, "a console gave way to nobody");

    vms[9] = wait_served(d, "vm-10");
    expect_gave_way(d, "vm-0");
    expect_refused(d, "vm-11");
    for (int i = 0; i < 10; i++)
        vm_stop(vms[i]);
    daemon_stop(d);
}

/* A peer that is not allowed in is not worth anybody's console. */
Test(limits, nobody_gives_way_for_a_peer_outside_allow)
{
    struct daemon *d = daemon_new(VSPCD, 32);
    struct sock_addr from, to;
    struct user *users[19];
    char byte;
    daemon_set(d, "user.linger", "1h");
    daemon_set(d, "vm.allow", "127.0.0.1");
    probe_run_before(d, FEW_DESCRIPTORS);
    daemon_start(d);
    leave(d, vm_start_named(d, "vm-0"), "vm-0");
    for (int i = 0; i < 19; i++)
        users[i] = user_connect(probe_port(d, "vm-0"), USER_TELNET);

    to = daemon_vm_addr(d);
    sock_addr_parse("127.0.0.2", 0, &from);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, &from.sa, from.len), 0);
    cr_assert_eq(connect(fd, &to.sa, to.len), 0);
    cr_assert_leq(recv(fd, &byte, 1, 0), 0, "it is let in");
    close(fd);
    daemon_wait_log(d, "not in [vm] allow", SOON);
    cr_assert_eq(daemon_count_log(d, "before its time"), 0);

    vm_stop(wait_served(d, "vm-1"));
    expect_gave_way(d, "vm-0");
    for (int i = 0; i < 19; i++)
        user_close(users[i]);
    daemon_stop(d);
}

Test(limits, users_who_come_and_go_without_end_do_not_fill_the_log)
{
    enum { USERS = 2000, LINES_A_SECOND = 200 };
    struct daemon *d = daemon_new(VSPCD, 4);
    daemon_set(d, "server.workers", "1");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm-0");
    uint16_t port = probe_port(d, "vm-0");
    uint64_t from = clock_ms();
    for (int i = 0; i < USERS; i++)
        user_close(user_try_connect(port, USER_RAW));
    probe_console(port, vm);
    unsigned seconds = (unsigned)((clock_ms() - from) / 1000) + 2;
    cr_assert_leq(daemon_count_log(d, "User "), seconds * LINES_A_SECOND);
    vm_stop(vm);
    daemon_stop(d);
}

Test(limits, vspcd_uses_the_hard_limit_of_descriptors)
{
    struct daemon *d = daemon_new(VSPCD, 4);
    probe_run_before(d, "ulimit -Sn 100; ulimit -Hn 300");
    daemon_start(d);
    probe_wait_line(d, "Ready", "descriptors=300", SOON);
    daemon_stop(d);
}
