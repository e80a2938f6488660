/* vMotion's bytes: whatever a user types and a VM prints around a migration arrives once and in its order. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migration.h"
#include "probe.h"
#include "vm_output.h"
#include "wire.h"

TestSuite(vmotion_order, .timeout = 240);

struct scene {
    struct daemon *d;
    struct vm_client_options opt;
    struct vm_link *vm;
    struct user *user;
};

static struct scene set(enum user_kind kind, unsigned workers)
{
    struct scene s = {.d = daemon_new(VSPCD, 8), .opt = vm_options("vm1")};
    daemon_set(s.d, "server.workers", "%u", workers);
    daemon_set(s.d, "user.backlog", "16MiB");
    daemon_start(s.d);
    s.vm = vm_start(s.d, &s.opt);
    s.user = user_connect(probe_port(s.d, "vm1"), kind);
    vm_print_text(s.vm, "ready");
    user_wait_text(s.user, "ready", SOON);
    return s;
}

static void strike(struct scene *s)
{
    user_close(s->user);
    vm_stop(s->vm);
    daemon_stop(s->d);
}

/* The VM has gone to the destination. */
static void gone_to(struct scene *s, struct vm_link *there)
{
    cr_assert_eq(vm_link_wait_closed(s->vm, SOON), 0);
    vm_stop(s->vm);
    s->vm = there;
}

/* vspcd has taken in what the telnet user has typed. */
static void settle_user(struct user *user)
{
    user_send_raw(user, "\xff\xf6", 2);
    user_expect_text(user, "\r\n[vspc: vm1, VM connected, 1 users]\r\n", SOON);
}

Test(vmotion_order, goahead_is_the_last_that_a_source_hears_until_it_goes_on)
{
    struct scene s = set(USER_TELNET, 2);
    for (int resumes = 0; resumes < 2; resumes++) {
        move_begin(s.vm, "\1\2\3\4", 4);
        unsigned breaks = s.vm->breaks;
        user_type(s.user, "kept");
        user_send_raw(s.user, "\xff\xf3", 2);
        user_type(s.user, "too");
        settle_user(s.user);
        /* The answers to what the source itself asks for wait as well. */
        vm_client_send_sub(&s.vm->vm, 200, "?", 1);
        cr_assert_eq(vm_link_flush(s.vm, SOON), 0);
        wire_wait_read(s.vm->fd);
        settle_user(s.user);
        vm_link_pump(s.vm);
        cr_assert_eq(s.vm->vm.errors, 0, "%s", s.vm->vm.error);
        cr_assert(!vm_client_has_seen(&s.vm->vm, VM_EVENT_UNKNOWN));
        cr_assert_eq(s.vm->received.len, 0);
        if (resumes)
            vm_print_text(s.vm, "I run");
        else
            vm_client_abort(&s.vm->vm);
        vm_expect_text(s.vm, "keptto", SOON);
        vm_expect_text(s.vm, "o", SOON);
        cr_assert_eq(s.vm->breaks, breaks + 1);
        cr_assert_eq(vm_link_wait(s.vm, VM_EVENT_UNKNOWN, SOON), 0);
        if (resumes)
            user_expect_text(s.user, "I run", SOON);
        s.vm->vm.seen &= ~(1u << VM_EVENT_UNKNOWN);
    }
    strike(&s);
}

/* A raw peer that is the destination, for the exact bytes. */
Test(vmotion_order, a_break_typed_while_frozen_keeps_its_place)
{
    struct scene s = set(USER_TELNET, 2);
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    move_begin(s.vm, "seq", 3);
    user_type(s.user, "ab");
    user_send_raw(s.user, "\xff\xf3", 2);
    user_send(s.user, (const uint8_t[]){'c', 255, 'd'}, 3);
    user_send_raw(s.user, "\xff\xf3\xff\xf3", 4);
    settle_user(s.user);
    struct user *there = move_forge(s.d, payload, move_payload(s.vm, payload));
    user_wait_text(there, "seq\xff\xf0", SOON);
    struct bytes script = {0};
    wire_put_sub(&script, VM_VMOTION_COMPLETE, "seq", 3);
    user_send_raw(there, bytes_at(&script), script.len);
    bytes_clear(&script);
    static const uint8_t expected[] = {'a', 'b', IAC, BRK, 'c', IAC, IAC, 'd', IAC, BRK, IAC, BRK};
    user_expect(there, expected, sizeof expected, SOON);
    cr_assert_eq(vm_link_wait_closed(s.vm, SOON), 0);
    cr_assert_eq(s.vm->breaks, 0);
    user_close(there);
    strike(&s);
}

/* Much more than vspcd keeps: it stops reading the user until somebody takes it. */
static void type_much(enum user_kind kind)
{
    enum { MUCH = 100000 };
    struct scene s = set(kind, 2);
    struct stream typed = {.seed = 3};
    uint8_t *data = xmalloc(MUCH);
    stream_next(&typed, data, MUCH);
    move_begin(s.vm, "\1\2\3\4", 4);
    user_send(s.user, data, MUCH);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    move_complete(there);
    WAIT_FOR((stream_take_vm(&typed, there), typed.received == MUCH), SOON, "only %llu bytes came",
             (unsigned long long)typed.received);
    gone_to(&s, there);
    cr_assert_eq(s.vm->received.len, 0);
    vm_print_text(s.vm, "done");
    user_expect_text(s.user, "done", SOON);
    free(data);
    strike(&s);
}

/* Longer than vspcd waits for a VM that does not read. */
Test(vmotion_order, much_typed_by_a_user_who_then_hangs_up_waits_for_the_migration)
{
    enum { MUCH = 60000, LONGER_MS = 2500 };
    struct scene s = set(USER_RAW, 2);
    struct stream typed = {.seed = 4};
    uint8_t *data = xmalloc(MUCH);
    stream_next(&typed, data, MUCH);
    move_begin(s.vm, "\1\2\3\4", 4);
    user_send(s.user, data, MUCH);
    user_close(s.user);
    s.user = NULL;
    uint64_t from = clock_ms();
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    WAIT_FOR(clock_ms() - from > LONGER_MS, SOON, "time does not pass");
    move_complete(there);
    WAIT_FOR((stream_take_vm(&typed, there), typed.received == MUCH), SOON, "only %llu bytes came",
             (unsigned long long)typed.received);
    gone_to(&s, there);
    free(data);
    strike(&s);
}

/* As with nc -N: the user ends its own side and waits for the answer. */
Test(vmotion_order, who_asks_and_ends_its_side_while_frozen_gets_the_answer)
{
    enum { LONGER_MS = 2500 };
    struct scene s = set(USER_RAW, 2);
    move_begin(s.vm, "\1\2\3\4", 4);
    user_type(s.user, "uptime\n");
    cr_assert_eq(shutdown(s.user->fd, SHUT_WR), 0);
    uint64_t from = clock_ms();
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    WAIT_FOR(clock_ms() - from > LONGER_MS, SOON, "time does not pass");
    move_complete(there);
    vm_expect_text(there, "uptime\n", SOON);
    vm_print_text(there, "a week");
    user_expect_text(s.user, "a week", SOON);
    gone_to(&s, there);
    strike(&s);
}

Test(vmotion_order, much_typed_by_a_raw_user_while_frozen_is_not_lost)
{
    type_much(USER_RAW);
}

Test(vmotion_order, much_typed_by_a_telnet_user_while_frozen_is_not_lost)
{
    type_much(USER_TELNET);
}

/* What a VM that reads nothing is sent: pairs of 255s that may be cut, and numbers to know their places by.
 */
static uint8_t typed_byte(size_t i, size_t shift)
{
    return i < shift ? 'x' : i % 64 == 63 ? (uint8_t)(i / 64 % 200) : 255;
}

/* A VM that has its socket full and does not read. Result: how much was typed; all of it is with vspcd, or in
 * its sockets. */
static size_t fill_socket(struct scene *s, size_t shift)
{
    enum { MOST = 32 * 1024 * 1024 };
    uint8_t chunk[4096];
    size_t typed = 0;
    int small = 8192;
    setsockopt(s->user->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    uint64_t quiet = clock_ms();
    while (clock_ms() - quiet < 300 && typed < MOST) {
        for (size_t i = 0; i < sizeof chunk; i++)
            chunk[i] = typed_byte(typed + i, shift);
        ssize_t n = send(s->user->fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            typed += (size_t)n;
            quiet = clock_ms();
        } else {
            env_nap();
        }
    }
    cr_assert_lt(typed, MOST, "it is read without end");
    return typed;
}

/* These bytes are the next of what was typed. */
static void check_typed(struct vm_link *vm, size_t *received, size_t shift)
{
    const uint8_t *data = bytes_at(&vm->received);
    for (size_t i = 0; i < vm->received.len; i++)
        cr_assert_eq(data[i], typed_byte(*received + i, shift), "byte %zu", *received + i);
    *received += vm->received.len;
    bytes_clear(&vm->received);
}

/* The source's socket is full when it says BEGIN; it reads then, and the VM goes on elsewhere. */
static void cut_input(size_t shift)
{
    struct scene s = set(USER_RAW, 2);
    /* A link that reads nothing: only its socket fills. */
    s.vm->receive_max = 1;
    bytes_put(&s.vm->received, "xx", 2);
    size_t typed = fill_socket(&s, shift), received = 0;
    vm_client_begin(&s.vm->vm, "\0\xff\1\xff", 4);
    cr_assert_eq(vm_link_flush(s.vm, SOON), 0);
    wire_wait_read(s.vm->fd);
    bytes_clear(&s.vm->received);
    s.vm->receive_max = 0;
    cr_assert_eq(vm_link_wait(s.vm, VM_EVENT_GOAHEAD, SOON), 0, "%zu bytes of %zu came", s.vm->received.len,
                 typed);
    check_typed(s.vm, &received, shift);
    cr_assert_lt(received, typed);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    move_complete(there);
    WAIT_FOR((vm_link_pump(there), check_typed(there, &received, shift), received == typed), SOON,
             "%zu of %zu bytes came", received, typed);
    gone_to(&s, there);
    cr_assert_eq(s.vm->vm.errors, 0);
    strike(&s);
}

Test(vmotion_order, input_cut_inside_an_escape_is_finished_before_goahead)
{
    for (size_t shift = 0; shift < 2; shift++)
        cut_input(shift);
}

/* The source dies before it has heard the other half of an escape: whoever comes begins with a whole byte. */
Test(vmotion_order, input_cut_inside_an_escape_is_whole_for_the_next_connection)
{
    for (size_t shift = 0; shift < 2; shift++) {
        struct scene s = set(USER_RAW, 2);
        s.vm->receive_max = 1;
        bytes_put(&s.vm->received, "xx", 2);
        size_t typed = fill_socket(&s, shift), received = 0;
        vm_client_begin(&s.vm->vm, "abcd", 4);
        cr_assert_eq(vm_link_flush(s.vm, SOON), 0);
        wire_wait_read(s.vm->fd);
        vm_link_close(s.vm, true);
        struct vm_link *again = vm_start(s.d, &s.opt);
        /* The rest of what was typed, from any byte on; its end tells how much that is. */
        uint8_t last[256];
        for (size_t i = 0; i < sizeof last; i++)
            last[i] = typed_byte(typed - sizeof last + i, shift);
        WAIT_FOR(
            (vm_link_pump(again), again->received.len > sizeof last &&
                                      memcmp(bytes_at(&again->received) + again->received.len - sizeof last,
                                             last, sizeof last) == 0),
            SOON, "the end of what was typed has not come");
        received = typed - again->received.len;
        check_typed(again, &received, shift);
        cr_assert_eq(again->vm.errors, 0, "%s", again->vm.error);
        vm_stop(s.vm);
        s.vm = again;
        strike(&s);
    }
}

/* The source's host had given up, and printed a lot, when the destination says COMPLETE after all. */
static void print_much(enum user_kind kind, bool close_source)
{
    enum { MUCH = 1024 * 1024 };
    struct scene s = set(kind, 1);
    struct stream printed = {.seed = 11};
    uint8_t *data = xmalloc(MUCH);
    move_begin(s.vm, "\1\2\3\4", 4);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    daemon_signal(s.d, SIGSTOP);
    stream_next(&printed, data, MUCH);
    vm_print(s.vm, data, MUCH);
    if (close_source)
        vm_link_close(s.vm, false);
    stream_next(&printed, data, 1000);
    vm_client_complete(&there->vm);
    vm_print(there, data, 1000);
    daemon_signal(s.d, SIGCONT);
    WAIT_FOR((stream_take_user(&printed, s.user), printed.received == printed.sent), SOON, "%llu bytes came",
             (unsigned long long)printed.received);
    gone_to(&s, there);
    free(data);
    strike(&s);
}

Test(vmotion_order, all_that_the_source_printed_comes_before_what_the_destination_does)
{
    print_much(USER_TELNET, false);
}

Test(vmotion_order, all_that_a_source_printed_which_has_closed_comes_first)
{
    print_much(USER_RAW, true);
}

Test(vmotion_order, what_a_destination_prints_before_complete_is_not_lost)
{
    enum { LEN = 200000 };
    struct scene s = set(USER_RAW, 3);
    uint8_t *data = xmalloc(LEN);
    wire_fill(data, LEN, 11);
    move_begin(s.vm, "\1\2\3\4", 4);
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    vm_print(there, data, LEN);
    wire_wait_read(there->fd);
    move_complete(there);
    user_expect(s.user, data, LEN, SOON);
    gone_to(&s, there);

    /* One that prints without end is closed; its VM is where it was. */
    move_begin(s.vm, "\1\2\3\4", 4);
    there = move_join(s.d, &s.opt, s.vm);
    for (int i = 0; i < 2; i++)
        vm_link_send(there, data, LEN, SOON);
    cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
    daemon_wait_log(s.d, "serial data without end", SOON);
    vm_stop(there);
    vm_print_text(s.vm, "I am here");
    user_expect_text(s.user, "I am here", SOON);
    free(data);
    strike(&s);
}

Test(vmotion_order, a_user_who_comes_while_the_vm_is_between_hosts_sees_what_was_printed_and_no_notice)
{
    struct scene s = set(USER_TELNET, 2);
    vm_print_text(s.vm, "<before>");
    user_expect_text(s.user, "<before>", SOON);
    move_begin(s.vm, "abcd", 4);
    vm_link_close(s.vm, false);
    struct user *late = user_connect(probe_port(s.d, "vm1"), USER_TELNET);
    user_expect_text(late, "ready<before>", SOON);
    user_type(late, "hello");
    struct vm_link *there = move_join(s.d, &s.opt, s.vm);
    move_complete(there);
    vm_expect_text(there, "hello", SOON);
    vm_print_text(there, "<after>");
    user_expect_text(late, "<after>", SOON);
    user_expect_text(s.user, "<after>", SOON);
    user_close(late);
    gone_to(&s, there);
    strike(&s);
}

enum { NOISY = 16, NOISE = 32 * 1024 };

/* SIGTERM comes while the worker has its hands full with others, and BEGIN behind so many commands that mean
 * nothing. Result: whether the worker read BEGIN when it knew already, and answered NOTNOW; else it read it
 * before, or never. */
static bool begin_at_the_end(bool pending, int commands)
{
    static const uint8_t nop[] = {IAC, NOP};
    static uint8_t noise[NOISE];
    struct vm_link *noisy[NOISY];
    struct daemon *d = daemon_new(VSPCD, NOISY + 2);
    daemon_set(d, "server.workers", "1");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    memset(noise, 255, sizeof noise);
    for (int i = 0; i < NOISY; i++) {
        char *name = xasprintf("noisy%d", i);
        noisy[i] = vm_start_named(d, name);
        free(name);
    }
    struct user *user = user_connect(probe_port(d, "vm1"), USER_TELNET);
    probe_delay(vm, user);
    if (pending) {
        move_begin(vm, "once", 4);
        user_type(user, "kept");
        settle_user(user);
    }
    daemon_signal(d, SIGSTOP);
    for (int i = 0; i < NOISY; i++)
        vm_print(noisy[i], noise, NOISE);
    for (int i = 0; i < commands; i++)
        vm_client_send_raw(&vm->vm, nop, sizeof nop);
    vm_client_begin(&vm->vm, "again", 5);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    daemon_signal(d, SIGTERM);
    daemon_signal(d, SIGCONT);
    vm->vm.frozen = false;
    bool answered = vm_link_wait(vm, VM_EVENT_NOTNOW, SOON) == 0;
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    cr_assert(!answered || !vm_client_has_seen(&vm->vm, VM_EVENT_GOAHEAD));
    /* In that order, and NOTNOW keeps nothing back. */
    cr_assert(!pending || !answered || vm->received.len == 4);
    for (int i = 0; i < NOISY; i++)
        vm_stop(noisy[i]);
    vm_stop(vm);
    user_close(user);
    int status = daemon_wait_exit(d, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    return answered;
}

/* Which of the two comes first cannot be had for sure, so there are several tries, one way and the other. */
static void try_begin_at_the_end(bool pending)
{
    for (int i = 0; i < 8; i++)
        if (begin_at_the_end(pending, i % 2 ? 0 : NOISE))
            return;
    cr_assert_fail("BEGIN is never answered NOTNOW");
}

Test(vmotion_order, begin_while_shutting_down_is_answered_notnow)
{
    try_begin_at_the_end(false);
}

Test(vmotion_order, a_second_begin_while_shutting_down_is_answered_notnow)
{
    try_begin_at_the_end(true);
}
