/* Who does not read: users who fall behind, and a VM that takes no input. Nobody else notices. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(slow, .timeout = 240);

enum { KIB = 1024, MIB = 1024 * 1024, CHUNK = 32 * KIB };

/* Output whose byte at any position is known: a pattern of a length that is no power of two, so that it is
 * shifted wherever bytes are missing. */
enum { PATTERN = 65521 };
static uint8_t pattern[PATTERN + CHUNK];

static void make_pattern(void)
{
    wire_fill(pattern, PATTERN, 99);
    memcpy(pattern + PATTERN, pattern, CHUNK);
}

/* Fails unless these bytes are those of the pattern from that position on. */
static void check_pattern(const uint8_t *data, size_t len, size_t at)
{
    while (len) {
        size_t n = len < CHUNK ? len : CHUNK;
        if (memcmp(data, pattern + at % PATTERN, n) != 0)
            env_fail("wrong bytes near position %zu", at);
        data += n;
        at += n;
        len -= n;
    }
}

/* A user whose socket takes a bounded amount, so that the concentrator must keep what it does not read. */
static struct user *connect_narrow(uint16_t port, enum user_kind kind)
{
    int size = 128 * KIB;
    struct user *user = user_connect(port, kind);
    setsockopt(user->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return user;
}

/* Waits until it is decided what the user is: it is shown output only then. */
static void settle(struct vm_link *vm, struct user *user)
{
    vm_print_text(vm, "!");
    user_wait_text(user, "!", SOON);
}

/* What a user has seen of the pattern. */
struct watch {
    struct user *user;
    size_t at; /* position of the next byte */
};

/* Reads what there is and checks it. */
static void follow(struct watch *w)
{
    user_pump(w->user);
    if (w->user->in.len)
        check_pattern(bytes_at(&w->user->in), w->user->in.len, w->at);
    w->at += w->user->in.len;
    bytes_clear(&w->user->in);
}

/* The VM prints the pattern up to a position, while the watchers follow. */
static void print_pattern(struct vm_link *vm, size_t *printed, size_t until, struct watch *watches, size_t n)
{
    while (*printed < until) {
        size_t len = until - *printed < CHUNK ? until - *printed : CHUNK;
        vm_print(vm, pattern + *printed % PATTERN, len);
        *printed += len;
        for (size_t i = 0; i < n; i++) {
            /* Not further behind than is fair to ask of somebody who reads. */
            WAIT_FOR((follow(&watches[i]), watches[i].at + 2 * CHUNK >= *printed), SOON,
                     "a user who reads got only %zu of %zu bytes", watches[i].at, *printed);
        }
    }
    for (size_t i = 0; i < n; i++)
        WAIT_FOR((follow(&watches[i]), watches[i].at == *printed), SOON, "a user got only %zu of %zu bytes",
                 watches[i].at, *printed);
}

/* Reads all that a telnet user has been kept, up to a position: pattern and notices of skipped bytes. Result:
 * how many were skipped. */
static size_t read_with_gaps(struct user *user, size_t at, size_t until)
{
    static const char mark[] = "\r\n[vspc: ", end[] = " bytes skipped]\r\n";
    size_t skipped = 0;
    uint64_t deadline = clock_ms() + SOON;
    while (at < until) {
        user_pump(user);
        struct bytes *in = &user->in;
        const uint8_t *line = in->len ? memmem(bytes_at(in), in->len, mark, strlen(mark)) : NULL;
        size_t n = line ? (size_t)(line - bytes_at(in)) : in->len > 64 ? in->len - 64 : 0;
        if (!line && at + in->len == until)
            n = in->len;
        check_pattern(bytes_at(in), n, at);
        at += n;
        bytes_drop(in, n);
        const uint8_t *stop = line && in->len ? memmem(bytes_at(in), in->len, end, strlen(end)) : NULL;
        if (stop) {
            size_t gap = strtoul((const char *)bytes_at(in) + strlen(mark), NULL, 10);
            cr_assert_gt(gap, 0);
            at += gap;
            skipped += gap;
            bytes_drop(in, (size_t)(stop - bytes_at(in)) + strlen(end));
        }
        if (clock_ms() >= deadline)
            env_fail("a slow user came to position %zu of %zu", at, until);
    }
    cr_assert_eq(at, until);
    return skipped;
}

Test(slow, a_telnet_user_is_told_how_many_bytes_were_skipped_and_others_miss_nothing)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    struct user *slow = connect_narrow(port, USER_TELNET), *raw = user_connect(port, USER_RAW);
    settle(vm, slow);
    user_wait_text(raw, "!", SOON);
    struct watch watches[2] = {{.user = user_connect(port, USER_TELNET)}, {.user = raw}};
    user_expect_text(watches[0].user, "!", SOON);
    size_t printed = 0, rss = daemon_usage(d).rss_kib;
    print_pattern(vm, &printed, 4 * MIB, watches, 2);
    user_close(raw);
    print_pattern(vm, &printed, 28 * MIB, watches, 0);
    wire_wait_read(vm->fd);
    /* Bounded by backlog, which is 256 KiB, and what sanitizers keep of what was freed. */
    cr_assert_lt(daemon_usage(d).rss_kib, rss + 16 * KIB);
    cr_assert_gt(read_with_gaps(slow, 0, printed), 0);
    /* It has caught up, and misses nothing any more. */
    for (int i = 0; i < 3; i++) {
        print_pattern(vm, &printed, printed + 100000, NULL, 0);
        cr_assert_eq(read_with_gaps(slow, printed - 100000, printed), 0);
    }
    user_close(slow);
    user_close(watches[0].user);
    vm_stop(vm);
    daemon_stop(d);
}

Test(slow, skipping_is_exact_whatever_scrollback_and_backlog_are)
{
    static const char *const sizes[][2] = {
        {"0", "64KiB"}, {"1KiB", "4KiB"}, {"16KiB", "16KiB"}, {"1MiB", "1MiB"}};
    make_pattern();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct daemon *d = daemon_new(VSPCD, 8);
        daemon_set(d, "user.scrollback", "%s", sizes[i][0]);
        daemon_set(d, "user.backlog", "%s", sizes[i][1]);
        daemon_start(d);
        struct vm_link *vm = vm_start_named(d, "vm1");
        struct user *slow = connect_narrow(probe_port(d, "vm1"), USER_TELNET);
        settle(vm, slow);
        size_t printed = 0;
        print_pattern(vm, &printed, 6 * MIB, NULL, 0);
        wire_wait_read(vm->fd);
        cr_assert_gt(read_with_gaps(slow, 0, printed), 0);
        print_pattern(vm, &printed, printed + 1000, NULL, 0);
        cr_assert_eq(read_with_gaps(slow, printed - 1000, printed), 0);
        user_close(slow);
        vm_stop(vm);
        daemon_stop(d);
    }
}

Test(slow, a_raw_user_is_disconnected_and_others_miss_nothing)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    struct user *slow = connect_narrow(port, USER_RAW);
    settle(vm, slow);
    struct watch watch = {.user = user_connect(port, USER_TELNET)};
    user_expect_text(watch.user, "!", SOON);
    size_t printed = 0;
    print_pattern(vm, &printed, 6 * MIB, &watch, 1);
    daemon_wait_log(d, "User disconnected: it does not read", SOON);
    cr_assert_eq(daemon_count_log(d, "User disconnected"), 1);
    /* What it still gets is right, as far as it goes. */
    user_wait_closed(slow, SOON);
    check_pattern(bytes_at(&slow->in), slow->in.len, 0);
    user_close(slow);
    user_close(watch.user);
    vm_stop(vm);
    daemon_stop(d);
}

Test(slow, notices_keep_their_place_for_a_user_that_lags)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.backlog", "32MiB");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct user *user = connect_narrow(probe_port(d, "vm1"), USER_TELNET);
    settle(vm, user);
    size_t printed = 0;
    print_pattern(vm, &printed, 6 * MIB, NULL, 0);
    for (int i = 0; i < 2; i++) {
        wire_wait_read(vm->fd);
        vm_stop(vm);
        WAIT_FOR(daemon_count_log(d, "VM disconnected") == (unsigned)i + 1, SOON, "the VM is not missed");
        vm = vm_start_named(d, "vm1");
        vm_print_text(vm, i ? "second" : "first");
    }
    wire_wait_read(vm->fd);
    /* An answer comes ahead of what has not been sent, and takes no notice along. */
    user_send_raw(user, "\xff\xf6", 2);
    wire_wait_read(user->fd);
    static const char answer[] = "\r\n[vspc: vm1, VM connected, 1 users]\r\n";
    WAIT_FOR((user_pump(user), user->in.len >= printed + strlen(answer)), SOON, "a user got only %zu bytes",
             user->in.len);
    const uint8_t *found = memmem(bytes_at(&user->in), user->in.len, answer, strlen(answer));
    cr_assert_not_null(found, "the answer came too late");
    size_t at = (size_t)(found - bytes_at(&user->in));
    cr_assert_lt(at, printed);
    check_pattern(bytes_at(&user->in), at, 0);
    check_pattern(found + strlen(answer), printed - at, at);
    bytes_drop(&user->in, printed + strlen(answer));
    user_expect_text(user,
                     "\r\n[vspc: VM disconnected]\r\n\r\n[vspc: VM connected]\r\nfirst"
                     "\r\n[vspc: VM disconnected]\r\n\r\n[vspc: VM connected]\r\nsecond",
                     SOON);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}

/* Types the pattern until nobody takes any more. */
static void type_until_full(struct user *user, size_t *typed)
{
    /* Full is when it stays full. */
    for (int full = 0; full < 40;) {
        ssize_t n = send(user->fd, pattern + *typed % PATTERN, CHUNK, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            cr_assert(errno == EAGAIN || errno == EINTR, "%s", strerror(errno));
        full = n < 0 ? full + 1 : 0;
        *typed += n > 0 ? (size_t)n : 0;
        if (n < 0)
            env_nap();
    }
}

Test(slow, a_vm_that_does_not_read_pauses_its_users_and_loses_nothing)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.telnet", "never");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    size_t typed = 0, rss = daemon_usage(d).rss_kib;
    struct user *user = user_connect(port, USER_RAW), *idle = user_connect(port, USER_RAW);
    vm_print_text(vm, "!");
    user_expect_text(user, "!", SOON);
    user_expect_text(idle, "!", SOON);
    unsigned fds = daemon_usage(d).fds;
    type_until_full(user, &typed);
    cr_assert_lt(daemon_usage(d).rss_kib, rss + 16 * KIB);
    /* The hang-up of one who is not read is noticed, and output goes on. */
    user_close(idle);
    probe_wait_fds(d, fds - 1, SOON);
    vm_client_send(&vm->vm, "?", 1);
    cr_assert_gt(send(vm->fd, bytes_at(&vm->vm.out), 1, 0), 0);
    vm_client_sent(&vm->vm, 1);
    user_expect_text(user, "?", SOON);
    size_t got = 0;
    uint8_t *data = xmalloc(CHUNK);
    while (got < typed) {
        size_t len = typed - got < CHUNK ? typed - got : CHUNK;
        cr_assert_eq(vm_link_read(vm, data, len, SOON), 0);
        check_pattern(data, len, got);
        got += len;
    }
    user_type(user, "end");
    vm_expect_text(vm, "end", SOON);
    free(data);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}

/* Reads from the VM until this text has come in the midst of the pattern. */
static void expect_within(struct vm_link *vm, const char *text)
{
    size_t len = strlen(text);
    uint64_t deadline = clock_ms() + SOON;
    for (;;) {
        struct bytes *in = &vm->received;
        vm_link_pump(vm);
        if (in->len && memmem(bytes_at(in), in->len, text, len))
            break;
        bytes_drop(in, in->len > len ? in->len - len : 0);
        if (clock_ms() >= deadline)
            env_fail("%s was lost", text);
    }
    bytes_clear(&vm->received);
}

Test(slow, what_was_typed_before_hanging_up_waits_for_the_vm)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.telnet", "never");
    daemon_start(d);
    for (int reset = 0; reset < 2; reset++) {
        char name[8];
        snprintf(name, sizeof name, "vm%d", reset);
        struct vm_link *vm = vm_start_named(d, name);
        uint16_t port = probe_port(d, name);
        size_t typed = 0;
        struct user *user = user_connect(port, USER_RAW), *brief = user_connect(port, USER_RAW);
        vm_print_text(vm, "!");
        user_expect_text(brief, "!", SOON);
        type_until_full(user, &typed);
        user_type(brief, "<typed by one who is gone>");
        if (reset)
            user_reset(brief);
        else
            user_close(brief);
        expect_within(vm, "<typed by one who is gone>");
        user_close(user);
        vm_stop(vm);
    }
    daemon_stop(d);
}

Test(slow, a_user_who_comes_while_the_vm_does_not_read_is_known_all_the_same)
{
    make_pattern();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    vm_print(vm, "\xff prompt", 8);
    struct user *flood = user_connect(port, USER_RAW);
    user_expect(flood, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect(flood, "\xff prompt", 8, SOON);
    size_t typed = 0;
    type_until_full(flood, &typed);
    struct user *telnet = user_try_connect(port, USER_TELNET);
    cr_assert_not_null(telnet);
    user_type(telnet, "<typed ahead>\r\n");
    wire_wait_read(telnet->fd);
    user_answer_offer(telnet, SOON);
    user_expect(telnet, "\xff prompt", 8, SOON);
    expect_within(vm, "<typed ahead>\r");
    user_close(telnet);
    user_close(flood);
    vm_stop(vm);
    daemon_stop(d);
}
