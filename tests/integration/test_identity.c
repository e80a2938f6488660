/* Who a VM is: names, UUIDs and labels in Redis, and what happens when one VM comes twice. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contest.h"
#include "probe.h"

TestSuite(identity, .timeout = 240);

#define UUID_A "11111111-1111-1111-1111-111111111111"
#define UUID_B "22222222-2222-2222-2222-222222222222"

/* An ESXi host's VM with this name and 16 times this byte for a UUID. */
static struct vm_client_options with_uuid(const char *name, uint8_t byte)
{
    struct vm_client_options opt = {.name = name, .name_len = strlen(name)};
    memset(opt.uuid, byte, UUID_SIZE);
    return opt;
}

static struct daemon *start_with_redis(struct redis **redis)
{
    *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, *redis);
    daemon_set(d, "server.node_id", "one");
    daemon_start(d);
    return d;
}

/* The field has this VM's port, in both maps, and its UUID leads to the field. */
static void expect_published(struct redis *r, const char *field, const char *uuid, struct vm_link *vm)
{
    redis_wait_hget(r, "VM:UUID", uuid, field, SOON);
    uint16_t port = redis_wait_port(r, "VM:Port", field, SOON);
    char *endpoint = xasprintf("127.0.0.1:%u", port);
    redis_wait_hget(r, "VM:Endpoint", field, endpoint, SOON);
    free(endpoint);
    probe_console(port, vm);
}

Test(identity, of_two_vms_with_one_name_the_longest_connected_has_the_plain_field)
{
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_client_options a = with_uuid("twin", 0x11), b = with_uuid("twin", 0x22);
    struct vm_link *first = vm_start(d, &a);
    expect_published(r, "twin", UUID_A, first);
    struct vm_link *second = vm_start(d, &b);
    expect_published(r, "twin (" UUID_B ")", UUID_B, second);
    expect_published(r, "twin", UUID_A, first);
    probe_wait_line(d, "warning: Another connected VM has this name", "twin (" UUID_B ")", SOON);

    /* The holder leaves, and comes back as the younger one. */
    vm_stop(first);
    expect_published(r, "twin", UUID_B, second);
    redis_wait_hget(r, "VM:UUID", UUID_A, NULL, SOON);
    redis_wait_hget(r, "VM:Port", "twin (" UUID_B ")", NULL, SOON);
    probe_wait_maps(r, "one", 1, 0, SOON);
    first = vm_start(d, &a);
    expect_published(r, "twin (" UUID_A ")", UUID_A, first);

    /* The other one leaves. */
    vm_stop(first);
    redis_wait_hget(r, "VM:Port", "twin (" UUID_A ")", NULL, SOON);
    expect_published(r, "twin", UUID_B, second);
    probe_wait_maps(r, "one", 1, 0, SOON);
    vm_stop(second);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(identity, of_three_vms_with_one_name_the_next_longest_connected_follows)
{
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_link *vms[3];
    static const char *const uuids[] = {UUID_A, UUID_B, "33333333-3333-3333-3333-333333333333"};
    for (int i = 0; i < 3; i++) {
        struct vm_client_options opt = with_uuid("triplet", (uint8_t)(0x11 * (i + 1)));
        vms[i] = vm_start(d, &opt);
        redis_wait_hlen(r, "VM:UUID", i + 1, SOON);
    }
    for (int i = 0; i < 3; i++) {
        expect_published(r, "triplet", uuids[i], vms[i]);
        for (int j = i + 1; j < 3; j++) {
            char *field = xasprintf("triplet (%s)", uuids[j]);
            expect_published(r, field, uuids[j], vms[j]);
            free(field);
        }
        probe_wait_maps(r, "one", (size_t)(3 - i), 0, SOON);
        vm_stop(vms[i]);
    }
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(identity, a_renamed_vm_is_found_under_its_new_name_and_the_old_one_is_free)
{
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_client_options a = with_uuid("old", 0x11), b = with_uuid("old", 0x22);
    struct vm_link *first = vm_start(d, &a);
    expect_published(r, "old", UUID_A, first);
    struct vm_link *second = vm_start(d, &b);
    expect_published(r, "old (" UUID_B ")", UUID_B, second);

    vm_client_rename(&first->vm, "new name", 8);
    vm_link_flush(first, SOON);
    expect_published(r, "new name", UUID_A, first);
    expect_published(r, "old", UUID_B, second);
    daemon_wait_log(d, "VM renamed from=\"old\" vm=\"new name\"", SOON);
    probe_wait_maps(r, "one", 2, 0, SOON);

    /* Onto a name that is taken: the longest connected has it. */
    vm_client_rename(&second->vm, "new name", 8);
    vm_link_flush(second, SOON);
    expect_published(r, "new name (" UUID_B ")", UUID_B, second);
    expect_published(r, "new name", UUID_A, first);
    vm_client_rename(&first->vm, "", 0);
    vm_link_flush(first, SOON);
    expect_published(r, UUID_A, UUID_A, first);
    expect_published(r, "new name", UUID_B, second);
    probe_wait_maps(r, "one", 2, 0, SOON);
    vm_stop(first);
    vm_stop(second);
    daemon_stop(d);
}

Test(identity, labels_make_consoles_of_their_own)
{
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_client_options plain = with_uuid("vm", 0x11), one = plain, two = plain;
    one.query = "port=serial1";
    two.query = "x=y&port=serial-2";
    struct vm_link *a = vm_start(d, &plain), *b = vm_start(d, &one), *c = vm_start(d, &two);
    expect_published(r, "vm", UUID_A, a);
    expect_published(r, "vm.serial1", UUID_A ".serial1", b);
    expect_published(r, "vm.serial-2", UUID_A ".serial-2", c);
    probe_wait_maps(r, "one", 3, 0, SOON);
    vm_stop(b);
    redis_wait_hget(r, "VM:Port", "vm.serial1", NULL, SOON);
    redis_wait_hget(r, "VM:UUID", UUID_A ".serial1", NULL, SOON);
    probe_wait_maps(r, "one", 2, 0, SOON);
    vm_stop(a);
    vm_stop(c);
    daemon_stop(d);
}

Test(identity, names_are_any_bytes_and_an_empty_one_counts_as_the_uuid)
{
    static const char odd[] = "\n\xff\xf0\0'\"\\ $(reboot) \x1b[2J";
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_client_options nameless = with_uuid("", 0x11), strange = with_uuid("", 0x22);
    strange.name = odd;
    strange.name_len = sizeof odd;
    struct vm_link *a = vm_start(d, &nameless), *b = vm_start(d, &strange);
    expect_published(r, UUID_A, UUID_A, a);
    uint16_t port = 0;
    char *value = NULL;
    WAIT_FOR((value = redis_hget(r, "VM:Port", odd, sizeof odd)), SOON, "the odd name is not in Redis");
    port = (uint16_t)atoi(value);
    free(value);
    probe_console(port, b);
    daemon_wait_log(d, "vm=\"\\x0a\\xff\\xf0\\x00'\\\"\\\\ $(reboot) \\x1b[2J\\x00\" uuid=" UUID_B, SOON);
    vm_stop(a);
    vm_stop(b);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(identity, a_vm_that_comes_back_has_the_same_port_and_leaves_nothing_behind)
{
    enum { TIMES = 100 };
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct sock_addr addr = daemon_vm_addr(d);
    struct vm_link *vm = vm_start_named(d, "again");
    uint16_t port = redis_wait_port(r, "VM:Port", "again", SOON);
    unsigned fds = daemon_usage(d).fds;
    for (int i = 0; i < TIMES; i++) {
        vm_link_close(vm, i % 3 == 0);
        cr_assert_eq(vm_link_connect(vm, &addr, SOON), 0);
        cr_assert_eq(vm_link_identify(vm, SOON), 0);
    }
    probe_console(port, vm);
    probe_wait_maps(r, "one", 1, 0, SOON);
    cr_assert_eq(redis_wait_port(r, "VM:Port", "again", SOON), port);
    probe_wait_fds(d, fds, SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(identity, a_vm_that_takes_itself_over_too_often_is_refused_for_ten_seconds)
{
    struct redis *r;
    struct daemon *d = start_with_redis(&r);
    struct vm_link *vm = vm_start_named(d, "copied");
    uint16_t port = redis_wait_port(r, "VM:Port", "copied", SOON);
    unsigned fds = daemon_usage(d).fds;
    for (int i = 0; i < 3; i++) {
        struct vm_link *newcomer = vm_start_named(d, "copied");
        cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
        vm_stop(vm);
        vm = newcomer;
        probe_console(port, vm);
    }
    probe_wait_line(d, "warning: VM taken over from a connection that was still open",
                    "newcomer=127.0.0.1:", SOON);
    struct vm_client_options opt = vm_options("copied");
    struct vm_link *refused = vm_connect(d, &opt);
    uint64_t from = clock_ms();
    cr_assert_eq(vm_link_wait_closed(refused, SOON), 0);
    vm_stop(refused);
    daemon_wait_log(d, "VM refused for 10 s, taken over too often", SOON);
    probe_console(port, vm);

    /* It is served again once the time is over. */
    struct vm_link *served = NULL;
    while (!served) {
        served = vm_connect(d, &opt);
        vm_link_identify(served, SOON);
        /* A refused connection is closed right behind the answers. */
        vm_print_text(vm, "x");
        while (served->fd >= 0 && vm->fd >= 0) {
            vm_link_step(served, 5);
            vm_link_pump(vm);
        }
        if (served->fd < 0) {
            vm_stop(served);
            served = NULL;
            cr_assert_lt(clock_ms() - from, SOON, "refused for too long");
        }
    }
    cr_assert_geq(clock_ms() - from, 9000, "served again after %u ms", (unsigned)(clock_ms() - from));
    vm_stop(vm);
    probe_console(port, served);
    probe_wait_maps(r, "one", 1, 0, SOON);
    probe_wait_fds(d, fds, SOON);
    vm_stop(served);
    daemon_stop(d);
}

Test(identity, of_two_connections_at_once_the_later_has_the_console)
{
    enum { ROUNDS = 300 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "0");
    daemon_start(d);
    unsigned fds = daemon_usage(d).fds;
    for (int i = 0; i < ROUNDS; i++)
        contest_race(d, r, i);
    probe_wait_maps(r, "one", 0, 0, SOON);
    probe_wait_fds(d, fds, SOON);
    daemon_stop(d);
}

Test(identity, an_older_connection_that_speaks_when_the_newer_has_gone_is_served)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "0");
    daemon_start(d);
    struct vm_client_options opt = vm_options("late");
    struct vm_link *older = vm_connect(d, &opt), *newer = vm_start(d, &opt);
    redis_wait_port(r, "VM:Port", "late", SOON);
    vm_stop(newer);
    redis_wait_hget(r, "VM:Port", "late", NULL, SOON);
    cr_assert_eq(vm_link_identify(older, SOON), 0);
    probe_console(redis_wait_port(r, "VM:Port", "late", SOON), older);
    vm_stop(older);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(identity, linger_that_ends_while_the_vm_is_on_its_way_loses_nothing)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "2ms");
    daemon_start(d);
    contest_linger(d, r, 400, 4000);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}
