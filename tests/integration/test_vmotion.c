/* vMotion as users see it: a pause, and nothing else. protocol.md, vMotion: how a migration begins and ends.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "migration.h"
#include "probe.h"

TestSuite(vmotion, .timeout = 240);

static const char vm_away[] = "\r\n[vspc: VM disconnected]\r\n";
static const char vm_back[] = "\r\n[vspc: VM connected]\r\n";

/* A VM with a console, and a telnet user there. */
struct scene {
    struct redis *r;
    struct daemon *d;
    struct vm_client_options opt;
    struct vm_link *vm;
    struct user *user;
    uint16_t port;
};

static struct scene set(const char *vmotion_timeout)
{
    struct scene s = {.r = redis_start(), .d = daemon_new(VSPCD, 8), .opt = vm_options("vm1")};
    daemon_use_redis(s.d, s.r);
    daemon_set(s.d, "server.workers", "3");
    daemon_set(s.d, "vm.vmotion_timeout", "%s", vmotion_timeout);
    daemon_start(s.d);
    s.vm = vm_start(s.d, &s.opt);
    s.port = redis_wait_port(s.r, "VM:Port", "vm1", SOON);
    s.user = user_connect(s.port, USER_TELNET);
    return s;
}

/* The VM is there for a user, on that connection, and nothing but this has been shown or typed. */
static void strike(struct scene *s)
{
    vm_print_text(s->vm, "all is well");
    user_expect_text(s->user, "all is well", SOON);
    user_type(s->user, "indeed");
    vm_expect_text(s->vm, "indeed", SOON);
    cr_assert_eq(redis_wait_port(s->r, "VM:Port", "vm1", SOON), s->port);
    user_close(s->user);
    vm_stop(s->vm);
    daemon_stop(s->d);
}

/* What has been typed has reached vspcd, which has no one to give it to. */
static void type_and_wait(struct user *user, const char *text)
{
    user_type(user, text);
    user_send_raw(user, "\xff\xf6", 2);
    user_expect_text(user, "\r\n[vspc: vm1, VM connected, 1 users]\r\n", SOON);
}

/* The cookie that the source has got leads nowhere any more. */
static void expect_dead_cookie(struct daemon *d, const uint8_t *payload, size_t len)
{
    move_expect_refusal(move_forge(d, payload, len), NULL);
}

Test(vmotion, a_console_follows_its_vm_to_whatever_worker)
{
    struct scene s = set("5min");
    redisContext *watch = redis_watch(s.r);
    for (int i = 0; i < 10; i++) {
        vm_print_text(s.vm, "before");
        user_expect_text(s.user, "before", SOON);
        move_begin(s.vm, "\1\2\3\xff", 4);
        user_type(s.user, "typed");
        struct vm_link *there = move_join(s.d, &s.opt, s.vm);
        move_complete(there);
        vm_print_text(there, "after");
        user_expect_text(s.user, "after", SOON);
        vm_expect_text(there, "typed", SOON);
        cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
        cr_assert_eq(s.vm->received.len, 0);
        vm_stop(s.vm);
        s.vm = there;
    }
    cr_assert_eq(redis_count_writes(s.r, watch, "VM:"), 0, "the mapping flickered");
    vm_stop(s.vm);
    user_expect_text(s.user, vm_away, SOON);
    user_close(s.user);
    daemon_stop(s.d);
}

Test(vmotion, proxy_says_that_it_knows_vmotion)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct user *peer = move_forge(d, "no such cookie", 14);
    user_wait_text(peer, "\xff\xfa\xe8\x01", SOON);
    user_wait_text(peer, "\xff\xf0", SOON);
    user_close(peer);
    struct vm_link *vm = vm_start_named(d, "vm1");
    move_begin(vm, "\1", 1);
    vm_stop(vm);
    daemon_stop(d);
}

Test(vmotion, after_abort_the_source_goes_on_and_the_destination_is_closed)
{
    struct scene s = set("5min");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    for (int with_destination = 0; with_destination < 2; with_destination++) {
        move_begin(s.vm, "abcd", 4);
        struct vm_link *there = with_destination ? move_join(s.d, &s.opt, s.vm) : NULL;
        size_t len = move_payload(s.vm, payload);
        type_and_wait(s.user, "kept");
        vm_link_pump(s.vm);
        cr_assert_eq(s.vm->received.len, 0);
        vm_client_abort(&s.vm->vm);
        vm_expect_text(s.vm, "kept", SOON);
        if (there) {
            cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
            vm_stop(there);
        }
        expect_dead_cookie(s.d, payload, len);
    }
    /* One that comes without a migration has no effect. */
    vm_client_abort(&s.vm->vm);
    cr_assert_eq(vm_link_flush(s.vm, SOON), 0);
    daemon_wait_log(s.d, "VMOTION-ABORT ignored", SOON);
    strike(&s);
}

Test(vmotion, a_source_that_sends_again_goes_on_and_its_cookie_stays_valid)
{
    struct scene s = set("5min");
    move_begin(s.vm, "abcd", 4);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    type_and_wait(s.user, "kept");
    vm_print_text(s.vm, "here again");
    user_expect_text(s.user, "here again", SOON);
    vm_expect_text(s.vm, "kept", SOON);
    user_type(s.user, "and on");
    vm_expect_text(s.vm, "and on", SOON);
    /* The destination may still complete, and so may another that comes only now. */
    struct vm_link *other = move_join(s.d, &s.opt, s.vm);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    vm_print_text(s.vm, "up to here");
    move_complete(other);
    vm_print_text(other, ", and from here");
    user_expect_text(s.user, "up to here, and from here", SOON);
    cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    vm_stop(there);
    vm_stop(s.vm);
    s.vm = other;
    strike(&s);
}

Test(vmotion, a_second_begin_replaces_the_first)
{
    struct scene s = set("5min");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    move_begin(s.vm, "once", 4);
    struct vm_link *first = move_join(s.d, &s.opt, s.vm);
    size_t len = move_payload(s.vm, payload);
    type_and_wait(s.user, "kept");
    /* The sequence may be the same, the secret is not. */
    move_begin(s.vm, "once", 4);
    cr_assert_neq(memcmp(payload + 4, s.vm->vm.migration->secret, 8), 0);
    cr_assert_eq(vm_link_wait_closed(first, SOON), 0);
    expect_dead_cookie(s.d, payload, len);
    struct vm_link *second = move_join(s.d, &s.opt, s.vm);
    move_complete(second);
    vm_expect_text(second, "kept", SOON);
    cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    vm_stop(first);
    vm_stop(s.vm);
    s.vm = second;
    strike(&s);
}

Test(vmotion, a_migration_is_abandoned_after_vmotion_timeout_and_the_source_goes_on)
{
    struct scene s = set("1s");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    uint64_t from = clock_ms();
    move_begin(s.vm, "slow", 4);
    size_t len = move_payload(s.vm, payload);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    type_and_wait(s.user, "kept");
    /* A host that has never heard of the other's fate is not surprised to be spoken to. */
    s.vm->vm.frozen = false;
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    cr_assert_geq(clock_ms() - from, 990);
    vm_expect_text(s.vm, "kept", SOON);
    daemon_wait_log(s.d, "VM migration abandoned", SOON);
    expect_dead_cookie(s.d, payload, len);
    vm_stop(there);
    strike(&s);
}

Test(vmotion, a_source_that_closes_first_is_not_missed)
{
    struct scene s = set("5min");
    redisContext *watch = redis_watch(s.r);
    for (int i = 0; i < 4; i++) {
        /* In order or with a reset, before the destination comes and after. */
        struct vm_link *there = NULL;
        move_begin(s.vm, "abcd", 4);
        if (i & 1)
            there = move_join(s.d, &s.opt, s.vm);
        vm_link_close(s.vm, i & 2);
        type_and_wait(s.user, "kept");
        struct user *late = user_connect(s.port, USER_TELNET);
        user_send_raw(late, "\xff\xf6", 2);
        user_expect_text(late, "\r\n[vspc: vm1, VM connected, 2 users]\r\n", SOON);
        user_reset(late);
        user_send_raw(s.user, "\xff\xf6", 2);
        user_wait_text(s.user, "VM connected, ", SOON);
        user_wait_text(s.user, "\r\n", SOON);
        if (!there)
            there = move_join(s.d, &s.opt, s.vm);
        move_complete(there);
        vm_expect_text(there, "kept", SOON);
        vm_stop(s.vm);
        s.vm = there;
    }
    cr_assert_eq(redis_count_writes(s.r, watch, "VM:"), 0, "the mapping flickered");
    cr_assert_eq(daemon_count_log(s.d, "VM disconnected"), 0);
    strike(&s);
}

Test(vmotion, a_vm_that_arrives_nowhere_is_disconnected_and_what_was_kept_is_dropped)
{
    struct scene s = set("2s");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    uint64_t from = clock_ms();
    move_begin(s.vm, "lost", 4);
    size_t len = move_payload(s.vm, payload);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    vm_stop(s.vm);
    type_and_wait(s.user, "kept in vain");
    cr_assert_eq(redis_wait_port(s.r, "VM:Port", "vm1", SOON), s.port);
    user_expect_text(s.user, vm_away, SOON);
    cr_assert_geq(clock_ms() - from, 1990);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    vm_stop(there);
    redis_wait_hget(s.r, "VM:Port", "vm1", NULL, SOON);
    expect_dead_cookie(s.d, payload, len);
    user_type(s.user, "nobody hears it");
    user_send_raw(s.user, "\xff\xf6", 2);
    user_expect_text(s.user, "\r\n[vspc: vm1, VM disconnected, 1 users]\r\n", SOON);
    s.vm = vm_start(s.d, &s.opt);
    user_expect_text(s.user, vm_back, SOON);
    cr_assert_eq(redis_wait_port(s.r, "VM:Port", "vm1", SOON), s.port);
    strike(&s);
}

/* Before the destination completes, the VM comes as an ordinary connection: its host has started it anew. */
static void reconnect(bool source_open)
{
    struct scene s = set("5min");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    move_begin(s.vm, "abcd", 4);
    size_t len = move_payload(s.vm, payload);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    if (!source_open)
        vm_link_close(s.vm, false);
    type_and_wait(s.user, "kept");
    struct vm_link *again = vm_start(s.d, &s.opt);
    vm_expect_text(again, "kept", SOON);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    if (source_open)
        cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    expect_dead_cookie(s.d, payload, len);
    vm_stop(s.vm);
    vm_stop(there);
    s.vm = again;
    strike(&s);
}

Test(vmotion, an_ordinary_connection_ends_the_migration_and_gets_what_was_kept)
{
    reconnect(true);
}

Test(vmotion, an_ordinary_connection_finds_a_console_whose_source_is_gone)
{
    reconnect(false);
}

Test(vmotion, begin_from_a_connection_that_is_not_current_is_answered_notnow)
{
    struct scene s = set("5min");
    /* From one that is not identified yet. */
    struct vm_client_options silent = s.opt;
    silent.uuid_answer = VM_UUID_SILENT;
    struct vm_link *unknown = vm_connect(s.d, &silent);
    cr_assert_eq(vm_link_wait(unknown, VM_EVENT_WILL_PROXY, SOON), 0);
    vm_client_begin(&unknown->vm, "\0\xff", 2);
    cr_assert_eq(vm_link_wait(unknown, VM_EVENT_NOTNOW, SOON), 0);
    vm_link_close(unknown, true);
    vm_stop(unknown);
    /* From a destination, before it is the one. */
    move_begin(s.vm, "abcd", 4);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    vm_client_begin(&there->vm, "\0\xff", 2);
    cr_assert_eq(vm_link_wait(there, VM_EVENT_NOTNOW, SOON), 0);
    move_complete(there);
    vm_stop(s.vm);
    s.vm = there;
    strike(&s);
}

Test(vmotion, an_ended_migration_leaves_linger_and_notices_as_they_are)
{
    struct scene s = set("5min");
    move_begin(s.vm, "abcd", 4);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    move_complete(there);
    cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    vm_stop(s.vm);
    for (int i = 0; i < 2; i++) {
        vm_stop(there);
        user_expect_text(s.user, vm_away, SOON);
        redis_wait_hlen(s.r, "VM:Port", 0, SOON);
        redis_wait_hlen(s.r, "VM:UUID", 0, SOON);
        there = vm_start(s.d, &s.opt);
        user_expect_text(s.user, vm_back, SOON);
        cr_assert_eq(redis_wait_port(s.r, "VM:Port", "vm1", SOON), s.port);
    }
    s.vm = there;
    strike(&s);
}

Test(vmotion, a_source_that_brings_its_own_cookie_is_lost_and_the_migration_goes_on)
{
    struct scene s = set("5min");
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    move_begin(s.vm, "abcd", 4);
    vm_client_send_sub(&s.vm->vm, VM_VMOTION_PEER, payload, move_payload(s.vm, payload));
    cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    daemon_wait_log(s.d, "VMOTION-PEER from a VM that is identified already", SOON);
    type_and_wait(s.user, "kept");
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    move_complete(there);
    vm_expect_text(there, "kept", SOON);
    vm_stop(s.vm);
    s.vm = there;
    strike(&s);
}

Test(vmotion, a_reload_applies_vmotion_timeout_to_what_is_pending)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_write_config(d, "[vm]\nvmotion_timeout = 1h\n");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    redis_wait_port(r, "VM:Port", "vm1", SOON);
    move_begin(vm, "abcd", 4);
    struct vm_link *there = move_join(d, &opt, vm);
    vm_link_close(vm, false);
    daemon_write_config(d, "[vm]\nvmotion_timeout = 10ms\n");
    probe_reload(d);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    redis_wait_hget(r, "VM:Port", "vm1", NULL, SOON);
    vm_stop(vm);
    vm_stop(there);
    daemon_stop(d);
}

Test(vmotion, a_shutdown_between_two_hosts_closes_the_destination_and_leaves_redis_empty)
{
    for (int orphaned = 0; orphaned < 2; orphaned++) {
        struct scene s = set("5min");
        move_begin(s.vm, "abcd", 4);
        struct vm_link *there = move_join(s.d, &s.opt, s.vm);
        if (orphaned)
            vm_link_close(s.vm, true);
        type_and_wait(s.user, "kept");
        daemon_signal(s.d, SIGTERM);
        user_expect_text(s.user, "\r\n[vspc: shutting down]\r\n", SOON);
        user_wait_closed(s.user, SOON);
        cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
        cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
        cr_assert_eq(s.vm->received.len, 0);
        int status = daemon_wait_exit(s.d, SOON);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
        cr_assert_eq(redis_number(s.r, "DBSIZE"), 0);
        user_close(s.user);
        vm_stop(s.vm);
        vm_stop(there);
    }
}
