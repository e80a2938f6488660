/* What the users of one console see and type: everybody everything, late comers the scrollback, and the
 * concentrator's own lines only where they belong. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(users, .timeout = 240);

enum { TN_BREAK = 243, TN_AYT = 246, TN_IAC = 255 };

/* A daemon with one VM, "vm1", and where its users arrive. */
struct setup {
    struct daemon *d;
    struct vm_link *vm;
    uint16_t port;
};

static struct setup start(struct daemon *d)
{
    struct setup s = {.d = d};
    daemon_start(d);
    s.vm = vm_start_named(d, "vm1");
    s.port = probe_port(d, "vm1");
    return s;
}

static void stop(struct setup *s)
{
    vm_stop(s->vm);
    daemon_stop(s->d);
}

/* Waits until the concentrator has taken the user for what it is, by a text that comes to it alone. */
static void settle(struct user *user)
{
    user_send_raw(user, (uint8_t[]){TN_IAC, TN_AYT}, 2);
    user_wait_text(user, "[vspc: ", SOON);
    user_wait_text(user, "]\r\n", SOON);
}

Test(users, one_telnet_and_three_raw_users_see_every_byte_and_all_can_type)
{
    struct setup s = start(daemon_new(VSPCD, 8));
    struct user *users[4];
    uint8_t all[1024];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)(i < 512 ? i : i * 7 / 3);
    for (int i = 0; i < 4; i++)
        users[i] = user_connect(s.port, i ? USER_RAW : USER_TELNET);
    for (int i = 1; i < 4; i++)
        user_expect(users[i], wire_greeting, WIRE_USER_GREETING, SOON);
    for (int round = 0; round < 3; round++) {
        vm_print(s.vm, all, sizeof all);
        for (int i = 0; i < 4; i++)
            user_expect(users[i], all, sizeof all, SOON);
    }
    for (int i = 0; i < 4; i++) {
        user_send(users[i], all, sizeof all);
        vm_expect(s.vm, all, sizeof all, SOON);
    }
    /* Who comes later sees what has been. */
    struct user *late_raw = user_connect(s.port, USER_RAW), *late_telnet = user_connect(s.port, USER_TELNET);
    user_expect(late_raw, wire_greeting, WIRE_USER_GREETING, SOON);
    for (int round = 0; round < 3; round++) {
        user_expect(late_raw, all, sizeof all, SOON);
        user_expect(late_telnet, all, sizeof all, SOON);
    }
    vm_print_text(s.vm, "end");
    for (int i = 0; i < 4; i++) {
        user_expect_text(users[i], "end", SOON);
        user_close(users[i]);
    }
    user_expect_text(late_raw, "end", SOON);
    user_expect_text(late_telnet, "end", SOON);
    user_close(late_raw);
    user_close(late_telnet);
    stop(&s);
}

Test(users, a_late_user_gets_exactly_the_newest_bytes_of_scrollback)
{
    static const size_t lens[] = {1, 999, 1000, 1001, 5000, 100000};
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.telnet", "never");
    daemon_set(d, "user.scrollback", "1000B");
    struct setup s = start(d);
    size_t printed = 0;
    uint8_t *text = xmalloc(300000);
    wire_fill(text, 300000, 7);
    struct user *watcher = user_connect(s.port, USER_RAW);
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        vm_print(s.vm, text + printed, lens[i]);
        printed += lens[i];
        user_expect(watcher, text + printed - lens[i], lens[i], SOON);
        size_t kept = printed < 1000 ? printed : 1000;
        struct user *late = user_connect(s.port, USER_RAW);
        user_expect(late, text + printed - kept, kept, SOON);
        /* Nothing more than that, and then what comes. */
        vm_print(s.vm, text + printed, 3);
        user_expect(late, text + printed, 3, SOON);
        user_expect(watcher, text + printed, 3, SOON);
        printed += 3;
        user_close(late);
    }
    user_close(watcher);
    /* With no user there, only the scrollback is kept. */
    daemon_wait_log(d, "User connected", SOON);
    vm_print(s.vm, text + printed, 50000);
    printed += 50000;
    vm_print_text(s.vm, "end");
    wire_wait_read(s.vm->fd);
    struct user *late = user_connect(s.port, USER_RAW);
    user_expect(late, text + printed - 997, 997, SOON);
    user_expect_text(late, "end", SOON);
    user_close(late);
    free(text);
    stop(&s);
}

Test(users, no_scrollback_replays_nothing)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.telnet", "never");
    daemon_set(d, "user.scrollback", "0");
    struct setup s = start(d);
    struct user *early = user_connect(s.port, USER_RAW);
    /* Whoever is not accepted yet when it is printed does not get it. */
    user_type(early, "?");
    vm_expect_text(s.vm, "?", SOON);
    vm_print_text(s.vm, "before");
    user_expect_text(early, "before", SOON);
    struct user *late = user_connect(s.port, USER_RAW);
    user_type(late, "!");
    vm_expect_text(s.vm, "!", SOON);
    vm_print_text(s.vm, "after");
    user_expect_text(late, "after", SOON);
    user_expect_text(early, "after", SOON);
    user_close(early);
    user_close(late);
    stop(&s);
}

Test(users, a_break_reaches_the_vm_in_its_place)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    /* A VM that shows the bytes it is sent as they are. */
    struct user *vm = user_connect(d->vm_port, USER_RAW);
    struct bytes handshake = {0};
    wire_put_handshake(&handshake, "vm1", 1);
    user_send_raw(vm, bytes_at(&handshake), handshake.len);
    uint16_t port = probe_port(d, "vm1");
    user_wait_text(vm, "\xff\xfa\xe8\x47\xff\xf0", SOON);
    struct user *user = user_connect(port, USER_TELNET), *other = user_connect(port, USER_RAW);
    settle(user);
    user_send_raw(user,
                  "ab\xff\xf3"
                  "c\xff\xff\xff\xf3\xff\xf3"
                  "d",
                  12);
    user_expect(vm,
                "ab\xff\xf3"
                "c\xff\xff\xff\xf3\xff\xf3"
                "d",
                12, SOON);
    /* From a raw user it is no BREAK but two bytes. */
    user_expect(other, wire_greeting, WIRE_USER_GREETING, SOON);
    user_type(other, "x");
    user_expect_text(vm, "x", SOON);
    user_send_raw(vm, "shown", 5);
    user_expect_text(other, "shown", SOON);
    user_send_raw(other, "\xff\xf3", 2);
    user_expect(vm, "\xff\xff\xf3", 3, SOON);
    user_close(user);
    user_close(other);
    user_close(vm);
    bytes_clear(&handshake);
    daemon_stop(d);
}

Test(users, are_you_there_is_answered_with_the_vm_and_the_number_of_users)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    struct setup s = start(d);
    struct user *one = user_connect(s.port, USER_TELNET);
    user_send_raw(one, "\xff\xf6", 2);
    user_expect_text(one, "\r\n[vspc: vm1, VM connected, 1 users]\r\n", SOON);
    struct user *two = user_connect(s.port, USER_TELNET);
    settle(two);
    user_send_raw(one, "\xff\xf6", 2);
    user_expect_text(one, "\r\n[vspc: vm1, VM connected, 2 users]\r\n", SOON);
    vm_stop(s.vm);
    user_expect_text(one, "\r\n[vspc: VM disconnected]\r\n", SOON);
    user_send_raw(one, "\xff\xf6", 2);
    user_expect_text(one, "\r\n[vspc: vm1, VM disconnected, 2 users]\r\n", SOON);
    user_close(one);
    user_close(two);

    struct vm_client_options opt = vm_options("evil");
    opt.name = "\x1b[2J\"\r\n\xff\\";
    opt.name_len = 9;
    struct vm_link *vm = vm_start(d, &opt);
    one = user_connect(probe_port(d, "\\x1b[2J\\\"\\x0d\\x0a\\xff\\\\"), USER_TELNET);
    user_send_raw(one, "\xff\xf6", 2);
    user_expect_text(one, "\r\n[vspc: \\x1b[2J\\\"\\x0d\\x0a\\xff\\\\, VM connected, 1 users]\r\n", SOON);
    user_close(one);
    vm_stop(vm);
    daemon_stop(d);
}

Test(users, only_telnet_users_are_told_that_the_vm_comes_and_goes)
{
    struct setup s = start(daemon_new(VSPCD, 8));
    struct user *telnet = user_connect(s.port, USER_TELNET), *raw = user_connect(s.port, USER_RAW);
    user_expect(raw, wire_greeting, WIRE_USER_GREETING, SOON);
    settle(telnet);
    vm_print_text(s.vm, "one");
    vm_stop(s.vm);
    user_expect_text(telnet, "one\r\n[vspc: VM disconnected]\r\n", SOON);
    user_expect_text(raw, "one", SOON);

    /* What is typed meanwhile goes nowhere; who comes meanwhile is told. */
    user_type(telnet, "lost");
    user_type(raw, "lost");
    settle(telnet);
    wire_wait_read(raw->fd);
    struct user *late = user_connect(s.port, USER_TELNET), *late_raw = user_connect(s.port, USER_RAW);
    user_expect_text(late, "one\r\n[vspc: VM disconnected]\r\n", SOON);
    user_expect(late_raw, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect_text(late_raw, "one", SOON);

    s.vm = vm_start_named(s.d, "vm1");
    vm_print_text(s.vm, "two");
    user_expect_text(telnet, "\r\n[vspc: VM connected]\r\ntwo", SOON);
    user_expect_text(late, "\r\n[vspc: VM connected]\r\ntwo", SOON);
    user_expect_text(raw, "two", SOON);
    user_expect_text(late_raw, "two", SOON);
    user_type(raw, "kept");
    vm_expect_text(s.vm, "kept", SOON);

    daemon_signal(s.d, SIGTERM);
    user_expect_text(telnet, "\r\n[vspc: shutting down]\r\n", SOON);
    user_wait_closed(telnet, SOON);
    user_wait_closed(raw, SOON);
    cr_assert_eq(raw->in.len, 0, "a raw user is told nothing");
    user_wait_closed(late, SOON);
    user_wait_closed(late_raw, SOON);
    cr_assert_eq(late_raw->in.len, 0, "a raw user is told nothing");
    cr_assert_eq(daemon_wait_exit(s.d, SOON), 0);
    user_close(telnet);
    user_close(raw);
    user_close(late);
    user_close(late_raw);
    vm_stop(s.vm);
}
