/* vMotion's destinations: which may have the console, and which are told that they may not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"
#include "probe.h"
#include "vm_output.h"
#include "wire.h"

TestSuite(vmotion_peer, .timeout = 240);

static struct daemon *start(struct redis **r)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "3");
    if (r) {
        *r = redis_start();
        daemon_use_redis(d, *r);
    }
    daemon_start(d);
    return d;
}

/* All that has been sent on both has been read and acted upon, as far as order tells. */
static void settle(struct vm_link *vm)
{
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    wire_wait_read(vm->fd);
}

enum { BAD_COOKIES = 24 };

/* Destinations with every kind of bad cookie, while `good` is the live one. Result: how many. */
static size_t forge_bad(struct daemon *d, const uint8_t *good, size_t len, struct user *peers[BAD_COOKIES])
{
    uint8_t bad[VM_SEQUENCE_MAX + VM_SECRET_MAX] = {0};
    size_t n = 0;
    /* One byte of the sequence or the secret is wrong. */
    for (size_t i = 0; i < len; i++) {
        memcpy(bad, good, len);
        bad[i] ^= 1;
        peers[n++] = move_forge(d, bad, len);
    }
    /* Too short, too long, and of no length that any cookie has. */
    memcpy(bad, good, len);
    const size_t lens[] = {0, 4, len - 1, len + 1, VM_SEQUENCE_MAX + 8, VM_SEQUENCE_MAX + 9, 264};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        peers[n++] = move_forge(d, bad, lens[i]);
    peers[n++] = move_forge(d, good + 4, 8);
    return n;
}

/* Each goes on as if nothing had been said, as another VM; all must be refused, with the same bytes. from:
 * when the first was made. */
static void expect_all_refused(struct user *peers[], size_t n, uint64_t from)
{
    struct bytes first = {0};
    uint64_t last = clock_ms();
    for (size_t i = 0; i < n; i++) {
        struct bytes script = {0};
        wire_put_handshake(&script, "intruder", (unsigned)i);
        user_send_raw(peers[i], bytes_at(&script), script.len);
        bytes_clear(&script);
    }
    for (size_t i = 0; i < n; i++) {
        struct bytes all = {0};
        move_expect_refusal(peers[i], &all);
        cr_assert_geq(clock_ms() - (i + 1 < n ? from : last), 990, "it had a second to read the answer");
        if (i == 0)
            bytes_put(&first, bytes_at(&all), all.len);
        cr_assert(all.len == first.len && memcmp(bytes_at(&all), bytes_at(&first), all.len) == 0, "peer %zu",
                  i);
        bytes_clear(&all);
    }
    bytes_clear(&first);
}

Test(vmotion_peer, every_bad_cookie_is_refused_with_the_same_bytes_and_never_identified)
{
    struct daemon *d = start(NULL);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = probe_port(d, "vm1");
    uint8_t good[VM_SEQUENCE_MAX + VM_SECRET_MAX], replayed[3][sizeof good];
    /* Of a migration that was completed, one that was aborted, and one that was replaced. */
    move_begin(vm, "done", 4);
    move_payload(vm, replayed[0]);
    struct vm_link *there = move_join(d, &opt, vm);
    move_complete(there);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    vm_stop(vm);
    move_begin(there, "stay", 4);
    move_payload(there, replayed[1]);
    vm_client_abort(&there->vm);
    move_begin(there, "back", 4);
    move_payload(there, replayed[2]);
    move_begin(there, "live", 4);
    size_t len = move_payload(there, good);

    struct user *peers[3 + BAD_COOKIES];
    uint64_t from = clock_ms();
    for (int i = 0; i < 3; i++)
        peers[i] = move_forge(d, replayed[i], len);
    size_t n = 3 + forge_bad(d, good, len, peers + 3);
    expect_all_refused(peers, n, from);
    cr_assert_eq(daemon_count_log(d, "intruder"), 0);
    /* The live one is still alive. */
    vm = move_join(d, &opt, there);
    move_complete(vm);
    vm_stop(there);
    probe_console(port, vm);
    vm_stop(vm);
    daemon_stop(d);
}

Test(vmotion_peer, the_last_to_bring_the_cookie_is_the_destination)
{
    struct daemon *d = start(NULL);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    struct user *user = user_connect(probe_port(d, "vm1"), USER_TELNET);
    move_begin(vm, "abcd", 4);
    struct vm_link *first = move_join(d, &opt, vm), *second = move_join(d, &opt, vm);
    cr_assert_eq(vm_link_wait_closed(first, SOON), 0);
    /* Its loss changes nothing, however it is lost, and another may come. */
    vm_link_close(second, false);
    struct vm_link *third = move_join_late(d, &opt, vm);
    vm_link_close(third, true);
    struct vm_link *fourth = move_join(d, &opt, vm);
    vm_print_text(fourth, "early, ");
    settle(fourth);
    user_type(user, "typed");
    move_complete(fourth);
    vm_print_text(fourth, "and then");
    user_expect_text(user, "early, and then", SOON);
    vm_expect_text(fourth, "typed", SOON);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    user_close(user);
    vm_stop(first);
    vm_stop(second);
    vm_stop(third);
    vm_stop(vm);
    vm_stop(fourth);
    daemon_stop(d);
}

static void wait_ignored(struct daemon *d, unsigned times)
{
    WAIT_FOR(daemon_count_log(d, "VMOTION-COMPLETE ignored") == times, SOON,
             "not logged: the %u. COMPLETE that has no effect", times);
}

Test(vmotion_peer, complete_and_abort_from_the_wrong_side_or_time_have_no_effect)
{
    struct daemon *d = start(NULL);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = probe_port(d, "vm1");
    struct user *user = user_connect(port, USER_TELNET);
    move_begin(vm, "abcd", 4);
    unsigned ignored = 0;
    /* Before PEER-OK: by one that knows the sequence and has not brought the secret. */
    struct vm_client_options offers = opt;
    offers.offers = true;
    struct vm_link *early = move_connect(d, &offers, vm);
    early->vm.proxy_sent = true;
    cr_assert_eq(vm_link_wait(early, VM_EVENT_ASKED_NAME, SOON), 0);
    move_complete(early);
    ignored++;
    wait_ignored(d, ignored);
    /* From the source. */
    vm_client_send_sub(&vm->vm, VM_VMOTION_COMPLETE, "abcd", 4);
    settle(vm);
    ignored++;
    wait_ignored(d, ignored);
    /* With another sequence, from the destination. */
    struct vm_link *there = move_join(d, &opt, vm);
    static const char *const wrong[] = {"abce", "abc", "abcde", "", "x"};
    for (size_t i = 0; i < 5; i++) {
        vm_client_send_sub(&there->vm, VM_VMOTION_COMPLETE, wrong[i], strlen(wrong[i]));
        settle(there);
        ignored++;
        wait_ignored(d, ignored);
    }
    /* ABORT, from the destination. */
    vm_client_send_sub(&there->vm, VM_VMOTION_ABORT, NULL, 0);
    settle(there);
    daemon_wait_log(d, "VMOTION-ABORT ignored", SOON);
    /* The migration is still pending: nothing that is typed is sent to the source. */
    user_type(user, "kept");
    user_send_raw(user, "\xff\xf6", 2);
    user_expect_text(user, "\r\n[vspc: vm1, VM connected, 1 users]\r\n", SOON);
    vm_link_pump(vm);
    cr_assert_eq(vm->received.len, 0);
    cr_assert_eq(daemon_count_log(d, "VM migrated"), 0);
    move_complete(there);
    vm_expect_text(there, "kept", SOON);
    /* Once more changes nothing either. */
    move_complete(there);
    settle(there);
    wait_ignored(d, ignored + 1);
    vm_link_close(early, true);
    vm_stop(early);
    vm_stop(vm);
    probe_console(port, there);
    user_close(user);
    vm_stop(there);
    daemon_stop(d);
}

Test(vmotion_peer, peer_ok_ends_handshake_timeout)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "2");
    daemon_set(d, "vm.handshake_timeout", "1s");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = probe_port(d, "vm1");
    move_begin(vm, "abcd", 4);
    struct vm_link *there = move_join(d, &opt, vm), *late = move_join_late(d, &opt, vm);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    /* One that came after it, and never says who it is, has been closed meanwhile; twice. */
    for (int i = 0; i < 2; i++) {
        struct user *silent = user_connect(d->vm_port, USER_RAW);
        user_wait_closed(silent, SOON);
        user_close(silent);
    }
    cr_assert_eq(vm_link_pump(late), 0, "the destination is closed");
    move_complete(late);
    vm_stop(there);
    vm_stop(vm);
    probe_console(port, late);
    vm_stop(late);
    daemon_stop(d);
}

Test(vmotion_peer, a_destination_that_tells_another_vms_name_and_uuid_has_its_own_console)
{
    struct redis *r;
    struct daemon *d = start(&r);
    struct vm_client_options opt = vm_options("vm1"), other_opt = vm_options("vm2");
    struct vm_link *vm = vm_start(d, &opt), *other = vm_start(d, &other_opt);
    uint16_t port = redis_wait_port(r, "VM:Port", "vm1", SOON);
    uint16_t other_port = redis_wait_port(r, "VM:Port", "vm2", SOON);
    for (int late = 0; late < 2; late++) {
        move_begin(vm, "abcd", 4);
        struct vm_link *there = (late ? move_join_late : move_join)(d, &other_opt, vm);
        cr_assert_eq(vm_link_wait(there, VM_EVENT_ASKED_NAME, SOON), 0);
        settle(there);
        move_complete(there);
        cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
        vm_stop(vm);
        probe_wait_line(d, "VM migrated", "name_there=\"vm2\"", SOON);
        cr_assert_geq(probe_count_lines(d, "VM migrated", "uuid_there="), 1);
        probe_console(port, there);
        probe_console(other_port, other);
        vm = there;
    }
    /* It is called what it says now, and of the two of that name it has been connected for longer. */
    char *plain = xasprintf("%u", port);
    redis_wait_hget(r, "VM:Port", "vm1", NULL, SOON);
    redis_wait_hget(r, "VM:Port", "vm2", plain, SOON);
    redis_wait_hlen(r, "VM:Port", 2, SOON);
    redis_wait_hlen(r, "VM:UUID", 2, SOON);
    free(plain);
    vm_stop(other);
    vm_stop(vm);
    daemon_stop(d);
}

Test(vmotion_peer, a_vm_takes_the_name_that_it_has_at_its_new_host)
{
    struct redis *r;
    struct daemon *d = start(&r);
    struct vm_client_options opt = vm_options("vm1"), renamed = opt;
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = redis_wait_port(r, "VM:Port", "vm1", SOON);
    struct user *user = user_connect(port, USER_TELNET);
    renamed.name = "web";
    move_begin(vm, "abcd", 4);
    struct vm_link *there = move_join(d, &renamed, vm);
    cr_assert_eq(vm_link_wait(there, VM_EVENT_ASKED_NAME, SOON), 0);
    settle(there);
    redisContext *watch = redis_watch(r);
    user_send_raw(user, "\xff\xf6", 2);
    user_expect_text(user, "\r\n[vspc: vm1, VM connected, 1 users]\r\n", SOON);
    cr_assert_eq(redis_count_writes(r, watch, "VM:"), 0, "it is not the VM's name yet");
    move_complete(there);
    cr_assert_eq(redis_wait_port(r, "VM:Port", "web", SOON), port);
    redis_wait_hget(r, "VM:Port", "vm1", NULL, SOON);
    redis_wait_hlen(r, "VM:UUID", 1, SOON);
    vm_stop(vm);
    /* And one that tells none keeps the one that it had. */
    struct vm_migration migration;
    move_begin(there, "efgh", 4);
    migration = *there->vm.migration;
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    struct user *nameless = move_forge(d, payload, move_payload(there, payload));
    user_wait_text(nameless,
                   "\xff\xfa\xe8\x2d"
                   "efgh\xff\xf0",
                   SOON);
    struct bytes script = {0};
    wire_put_sub(&script, VM_VMOTION_COMPLETE, migration.sequence, migration.sequence_len);
    bytes_put(&script, "nameless", 8);
    user_send_raw(nameless, bytes_at(&script), script.len);
    bytes_clear(&script);
    user_expect_text(user, "nameless", SOON);
    user_send_raw(user, "\xff\xf6", 2);
    user_expect_text(user, "\r\n[vspc: web, VM connected, 1 users]\r\n", SOON);
    vm_stop(there);
    user_close(nameless);
    user_close(user);
    daemon_stop(d);
}

Test(vmotion_peer, a_vm_known_by_its_name_stays_so_whatever_uuid_its_new_host_tells)
{
    struct redis *r;
    struct daemon *d = start(&r);
    struct vm_client_options opt = vm_options("vm1"), there_opt = vm_options("web");
    opt.uuid_answer = VM_UUID_UNKNOWN;
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = redis_wait_port(r, "VM:Port", "vm1", SOON);
    move_begin(vm, "abcd", 4);
    struct vm_link *there = move_join_late(d, &there_opt, vm);
    move_complete(there);
    cr_assert_eq(redis_wait_port(r, "VM:Port", "web", SOON), port);
    cr_assert_eq(redis_number(r, "HLEN VM:UUID"), 0, "the UUID is not the console's");
    vm_stop(vm);
    vm_stop(there);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    daemon_stop(d);
}

/* Several serial ports of one VM go at once. */
static void move_ports(const char *const sequences[4])
{
    struct redis *r;
    struct daemon *d = start(&r);
    static const char *const labels[] = {NULL, "port=a", "port=b", "port=c"};
    static const char *const names[] = {"vm1", "vm1.a", "vm1.b", "vm1.c"};
    struct vm_client_options opt[4];
    struct vm_link *vms[4], *there[4];
    uint16_t ports[4];
    for (int i = 0; i < 4; i++) {
        opt[i] = vm_options("vm1");
        opt[i].query = labels[i];
        vms[i] = vm_start(d, &opt[i]);
        ports[i] = redis_wait_port(r, "VM:Port", names[i], SOON);
    }
    redisContext *watch = redis_watch(r);
    for (int i = 0; i < 4; i++)
        move_begin(vms[i], sequences[i], 4);
    for (int i = 3; i >= 0; i--)
        there[i] = (i % 2 ? move_join_late : move_join)(d, &opt[i], vms[i]);
    for (int i = 0; i < 4; i++) {
        move_complete(there[i]);
        cr_assert_eq(vm_link_wait_closed(vms[i], SOON), 0);
        vm_stop(vms[i]);
    }
    for (int i = 0; i < 4; i++)
        probe_console(ports[i], there[i]);
    cr_assert_eq(redis_count_writes(r, watch, "VM:"), 0, "a mapping changed");
    /* Under whatever name, each still has its label. */
    for (int i = 0; i < 4; i++) {
        vm_client_rename(&there[i]->vm, "vmX", 3);
        cr_assert_eq(vm_link_flush(there[i], SOON), 0);
        char *field = xasprintf("vmX%s", names[i] + 3);
        cr_assert_eq(redis_wait_port(r, "VM:Port", field, SOON), ports[i]);
        free(field);
    }
    redis_wait_hlen(r, "VM:UUID", 4, SOON);
    for (int i = 0; i < 4; i++)
        vm_stop(there[i]);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    daemon_stop(d);
}

Test(vmotion_peer, the_ports_of_one_vm_migrate_at_once_each_with_its_label)
{
    move_ports((const char *const[]){"abc0", "abc1", "abc2", "abc3"});
}

Test(vmotion_peer, one_sequence_for_all_ports_does_not_mix_them_up)
{
    move_ports((const char *const[]){"same", "same", "same", "same"});
}

Test(vmotion_peer, a_pending_migration_does_not_give_way_when_ports_are_short)
{
    struct daemon *d = daemon_new(VSPCD, 2);
    daemon_set(d, "server.workers", "2");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt), *gone = vm_start_named(d, "vm2");
    uint16_t port = probe_port(d, "vm1");
    struct user *watcher = user_connect(probe_port(d, "vm2"), USER_TELNET);
    move_begin(vm, "abcd", 4);
    vm_link_close(vm, false);
    vm_stop(gone);
    user_expect_text(watcher, "\r\n[vspc: VM disconnected]\r\n", SOON);
    /* vm2 has gone later and has a user, but it has gone. */
    struct vm_link *third = vm_start_named(d, "vm3");
    user_wait_closed(watcher, SOON);
    probe_console(probe_port(d, "vm3"), third);
    struct vm_client_options fourth_opt = vm_options("vm4");
    struct vm_link *fourth = vm_connect(d, &fourth_opt);
    cr_assert_eq(vm_link_wait_closed(fourth, SOON), 0);
    struct vm_link *there = move_join(d, &opt, vm);
    move_complete(there);
    probe_console(port, there);
    user_close(watcher);
    vm_stop(fourth);
    vm_stop(third);
    vm_stop(vm);
    vm_stop(there);
    daemon_stop(d);
}
