/* Telnet or raw: how a user is told apart, and what that changes. protocol.md, Users. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "terminal.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(user_kinds, .timeout = 240);

/* How long a user has to answer, and a little more. */
enum { DECIDED_MS = 500, SURELY_DECIDED_MS = 600 };

/* Lets the time pass that makes a silent user raw. */
static void wait_undecided(void)
{
    uint64_t until = clock_ms() + SURELY_DECIDED_MS;
    while (clock_ms() < until)
        env_nap();
}

struct setup {
    struct daemon *d;
    struct vm_link *vm;
    uint16_t port;
};

static struct setup start(const char *telnet)
{
    struct setup s = {.d = daemon_new(VSPCD, 8)};
    daemon_set(s.d, "user.telnet", "%s", telnet);
    daemon_start(s.d);
    s.vm = vm_start_named(s.d, "vm1");
    s.port = probe_port(s.d, "vm1");
    return s;
}

static void stop(struct setup *s)
{
    vm_stop(s->vm);
    daemon_stop(s->d);
}

Test(user_kinds, a_silent_user_is_raw)
{
    struct setup s = start("auto");
    vm_print(s.vm, "\xff\r\n", 3);
    wire_wait_read(s.vm->fd);
    struct user *user = user_connect(s.port, USER_RAW);
    user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect(user, "\xff\r\n", 3, SOON);
    user_send_raw(user, "x\xff\xf3\xff\xfb\r\n\r", 8);
    vm_expect(s.vm, "x\xff\xf3\xff\xfb\r\n\r", 8, SOON);
    cr_assert_eq(s.vm->breaks, 0);
    user_close(user);
    stop(&s);
}

Test(user_kinds, a_raw_user_whose_first_byte_is_a_late_255_is_raw)
{
    struct setup s = start("auto");
    vm_print_text(s.vm, "prompt");
    struct user *user = user_connect(s.port, USER_RAW);
    user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect_text(user, "prompt", SOON);
    user_send_raw(user, "\xff", 1);
    vm_expect(s.vm, "\xff", 1, SOON);
    user_send_raw(user, "\xff\xfd\x01", 3);
    vm_expect(s.vm, "\xff\xfd\x01", 3, SOON);
    user_close(user);
    user = user_connect(s.port, USER_RAW);
    user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect_text(user, "prompt", SOON);
    user_send_raw(user, "\xff\x80\x80", 3);
    vm_expect(s.vm, "\xff\x80\x80", 3, SOON);
    user_close(user);
    stop(&s);
}

Test(user_kinds, a_raw_user_may_type_at_once)
{
    struct setup s = start("auto");
    /* Bytes that telnet would understand differently wait until it is decided; nothing is lost or reordered.
     */
    static const struct {
        const char *text;
        size_t len, at_once;
    } cases[] = {
        {"hello", 5, 5},    {"\r\n", 2, 1},
        {"a\r\nb\r", 5, 2}, {"x\r\0y\xff\xff\xf3", 7, 2},
        {"\xffz", 2, 0},    {"\xff\xfa\xff\xfd", 4, 0},
        {"\n", 1, 1},
    };
    struct user *users[sizeof cases / sizeof *cases];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        users[i] = user_connect(s.port, USER_RAW);
        user_send_raw(users[i], cases[i].text, cases[i].len);
        vm_expect(s.vm, cases[i].text, cases[i].at_once, SOON);
        vm_expect(s.vm, cases[i].text + cases[i].at_once, cases[i].len - cases[i].at_once, SOON);
        user_expect(users[i], wire_greeting, WIRE_USER_GREETING, SOON);
    }
    vm_print(s.vm, "\xff", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        user_expect(users[i], "\xff", 1, SOON);
        user_close(users[i]);
    }
    stop(&s);
}

Test(user_kinds, what_a_user_typed_before_hanging_up_reaches_the_vm)
{
    struct setup s = start("auto");
    size_t len = 30000;
    char *text = xmalloc(len);
    memset(text, 'a', len);
    /* A script's user, which is gone before it is decided: in order, and with the greeting unread. */
    for (int i = 0; i < 20; i++) {
        struct user *user = user_connect(s.port, USER_RAW);
        user_send_raw(user, "x\r\n", 3);
        if (i % 2)
            user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
        user_close(user);
        vm_expect_text(s.vm, "x\r\n", SOON);
    }
    /* So much that it is not read before the decision. */
    for (int i = 0; i < 6; i++) {
        struct user *user = user_connect(s.port, USER_RAW);
        user_send_raw(user, "\r\n", 2);
        user_send_raw(user, text, len);
        if (i % 2)
            user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
        user_close(user);
        vm_expect_text(s.vm, "\r\n", SOON);
        vm_expect(s.vm, text, len, SOON);
    }
    free(text);
    stop(&s);
}

Test(user_kinds, much_typed_before_the_decision_arrives_whole)
{
    struct setup s = start("auto");
    size_t len = 100000;
    uint8_t *text = xmalloc(len);
    wire_fill(text, len, 3);
    /* A raw one, whose bytes do not happen to be a negotiation. */
    struct user *raw = user_connect(s.port, USER_RAW);
    char *lines = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        lines[i] = "ab\r\n\xff"
                   "c\r\0"[i % 8];
    user_send_raw(raw, lines, len);
    vm_expect(s.vm, lines, len, SOON);
    free(lines);
    /* A telnet user whose answers stand before, and one whose stand between. */
    struct user *telnet = user_connect(s.port, USER_TELNET);
    user_send(telnet, text, len);
    vm_expect(s.vm, text, len, SOON);
    struct user *ahead = user_try_connect(s.port, USER_TELNET);
    cr_assert_not_null(ahead);
    user_send_raw(ahead, "\r\n", 2);
    for (int i = 0; i < 500; i++)
        user_type(ahead, "12345678");
    user_answer_offer(ahead, SOON);
    user_send(ahead, text, len);
    vm_expect_text(s.vm, "\r", SOON);
    for (int i = 0; i < 500; i++)
        vm_expect_text(s.vm, "12345678", SOON);
    vm_expect(s.vm, text, len, SOON);
    user_close(raw);
    user_close(telnet);
    user_close(ahead);
    free(text);
    stop(&s);
}

Test(user_kinds, a_telnet_user_may_type_ahead_of_its_answers)
{
    struct setup s = start("auto");
    static const char *const typed[] = {"k", "ls\r\n", "\r", "a\r\nb\r\n"};
    static const char *const meant[] = {"k", "ls\r", "\r", "a\rb\r"};
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        struct user *user = user_try_connect(s.port, USER_TELNET);
        cr_assert_not_null(user);
        user->refuses_binary = true;
        user_type(user, typed[i]);
        wire_wait_read(user->fd);
        user_answer_offer(user, SOON);
        vm_expect_text(s.vm, meant[i], SOON);
        vm_print(s.vm, "\xff$", 2);
        user_wait_text(user, "\xff$", SOON);
        user_type(user, "\r\n!");
        vm_expect_text(s.vm, "\r!", SOON);
        user_close(user);
    }
    stop(&s);
}

Test(user_kinds, a_slow_link_becomes_telnet_when_its_first_bytes_are_answers)
{
    struct setup s = start("auto");
    vm_print_text(s.vm, "prompt");
    struct user *whole = user_try_connect(s.port, USER_TELNET), *cut = user_connect(s.port, USER_RAW);
    user_expect(cut, wire_greeting, WIRE_USER_GREETING, SOON);
    /* The output comes once silence has made it raw; only then are the answers sent. */
    user_expect_text(cut, "prompt", SOON);
    user_wait_text(whole, "prompt", SOON);
    vm_print(s.vm, "\xff", 1);
    user_expect(cut, "\xff", 1, SOON);
    wire_send_each(cut, "\xff\xfd\x01", 3);
    user_send_raw(cut, "\xff\xff\xff\xf3", 4);
    vm_expect(s.vm, "\xff", 1, SOON);
    WAIT_FOR(vm_link_pump(s.vm) == 0 && s.vm->breaks == 1, SOON, "no BREAK came");
    vm_print(s.vm, "\xff.", 2);
    user_expect(cut, "\xff\xff.", 3, SOON);
    user_close(whole);
    user_close(cut);
    stop(&s);
}

Test(user_kinds, answers_that_came_in_time_count_however_late_they_are_read)
{
    struct setup s = start("auto");
    struct user *user = user_connect(s.port, USER_RAW);
    user_send_raw(user, "k", 1);
    vm_expect_text(s.vm, "k", SOON);
    user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
    daemon_signal(s.d, SIGSTOP);
    user_send_raw(user, "\xff\xfd\x01", 3);
    wait_undecided();
    daemon_signal(s.d, SIGCONT);
    user_send_raw(user, "\xff\xff", 2);
    vm_expect(s.vm, "\xff", 1, SOON);
    vm_print(s.vm, "\xff", 1);
    user_expect(user, "\xff\xff", 2, SOON);
    user_close(user);
    stop(&s);
}

Test(user_kinds, always_is_telnet_from_the_first_byte)
{
    struct setup s = start("always");
    vm_print(s.vm, "\xff>", 2);
    wire_wait_read(s.vm->fd);
    struct user *user = user_connect(s.port, USER_RAW);
    user_expect(user, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect(user, "\xff\xff>", 3, SOON);
    user_send_raw(user, "\r\n\xff\xff\xff\xf3.", 7);
    vm_expect(s.vm, "\r\xff.", 3, SOON);
    cr_assert_eq(s.vm->breaks, 1);
    user_close(user);
    stop(&s);
}

Test(user_kinds, never_is_raw_from_the_first_byte)
{
    struct setup s = start("never");
    vm_print(s.vm, "\xff>", 2);
    wire_wait_read(s.vm->fd);
    struct user *user = user_connect(s.port, USER_RAW);
    user_expect(user, "\xff>", 2, SOON);
    user_send_raw(user, "\r\n\xff\xfd\x01\xff\xf3.", 8);
    vm_expect(s.vm, "\r\n\xff\xfd\x01\xff\xf3.", 8, SOON);
    cr_assert_eq(s.vm->breaks, 0);
    user_close(user);
    stop(&s);
}

Test(user_kinds, cr_nul_and_cr_lf_mean_cr_unless_the_user_sends_binary)
{
    static const char typed[] = "a\r\nb\r\0c\rd\ne\r\r\n\n\0f\r";
    static const char meant[] = "a\rb\rc\rd\ne\r\r\n\0f\r";
    struct setup s = start("auto");
    struct user *text = user_try_connect(s.port, USER_TELNET), *binary = user_connect(s.port, USER_TELNET);
    cr_assert_not_null(text);
    text->refuses_binary = true;
    user_answer_offer(text, SOON);
    user_send(text, typed, sizeof typed - 1);
    vm_expect(s.vm, meant, sizeof meant - 1, SOON);
    user_send(text, "\n.", 2); /* belongs to the CR before it */
    vm_expect_text(s.vm, ".", SOON);
    wire_send_each(text, typed, sizeof typed - 1);
    user_type(text, "x");
    vm_expect(s.vm, meant, sizeof meant - 1, SOON);
    vm_expect_text(s.vm, "x", SOON);
    user_send(binary, typed, sizeof typed - 1);
    vm_expect(s.vm, typed, sizeof typed - 1, SOON);
    /* It may change its mind. */
    user_send_raw(binary, "\xff\xfc\0", 3);
    user_send(binary, typed, sizeof typed - 1);
    vm_expect(s.vm, meant, sizeof meant - 1, SOON);
    user_close(text);
    user_close(binary);
    stop(&s);
}

Test(user_kinds, the_telnet_program_with_keys_typed_ahead)
{
    struct setup s = start("auto");
    vm_print_text(s.vm, "motd ");
    for (int i = 0; i < 3; i++) {
        /* The keys are in its terminal before it has connected. */
        struct terminal *t = terminal_telnet(s.port);
        terminal_type(t, "ab\r");
        terminal_wait(t, "motd ", SOON);
        vm_expect_text(s.vm, "ab", SOON);
        char end;
        cr_assert_eq(vm_link_read(s.vm, &end, 1, SOON), 0);
        cr_assert(end == '\r' || end == '\n', "typed before the terminal was raw: %d", end);
        vm_print_text(s.vm, "more");
        terminal_wait(t, "more", SOON);
        terminal_type(t, "c\rd");
        vm_expect_text(s.vm, "c\rd", SOON);
        terminal_close(t);
    }
    stop(&s);
}

Test(user_kinds, netcat_is_served_raw)
{
    if (access("/bin/nc", X_OK) < 0 && access("/usr/bin/nc", X_OK) < 0)
        cr_skip_test("there is no nc");
    struct setup s = start("auto");
    char command[128];
    snprintf(command, sizeof command, "printf 'x\\r\\n' | nc -w 1 127.0.0.1 %u >/dev/null", s.port);
    int status;
    pid_t pid = env_spawn((char *[]){"sh", "-c", command, NULL}, -1);
    vm_expect_text(s.vm, "x\r\n", SOON);
    cr_assert(env_wait_exit(pid, &status, SOON));
    struct terminal *t =
        terminal_run((char *[]){"nc", "127.0.0.1", (snprintf(command, 8, "%u", s.port), command), NULL});
    vm_print_text(s.vm, "from the VM");
    terminal_wait(t, "from the VM", SOON);
    terminal_type(t, "typed\n");
    vm_expect_text(s.vm, "typed\n", SOON);
    terminal_close(t);
    stop(&s);
}
