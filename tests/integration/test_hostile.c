/* Connections to the VM port that mean no good: gone after handshake_timeout at the latest, at no cost to
 * anybody else. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(hostile, .timeout = 240);

enum { TN_IAC = 255, EACH = 25, BOMB = 60000 };

/* A VM whose echo must go on, and a user who waits for it. */
struct bystander {
    struct vm_link *vm;
    struct user *user;
    unsigned count;
};

static void check_bystander(struct bystander *b)
{
    char text[32];
    snprintf(text, sizeof text, "still here %u;", b->count++);
    user_type(b->user, text);
    vm_expect_text(b->vm, text, SOON);
    vm_print_text(b->vm, text);
    user_expect_text(b->user, text, SOON);
}

/* What each attacker sends first, again and again while it `floods`. */
struct attack {
    const char *what;
    struct bytes bytes;
    bool floods;
};

enum { ATTACKS = 12 };

/* Deflated zeros, as raw as libtelnet takes them: a stored header and the longest of matches without end. */
static void put_bomb(struct bytes *out)
{
    bytes_put(out, "\x78\xda\xec\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08\x0a", 16);
    for (int i = 0; i < BOMB; i++)
        bytes_put(out, "", 1);
}

static void make_attacks(struct attack attacks[ATTACKS])
{
    uint8_t garbage[4096];
    memset(attacks, 0, ATTACKS * sizeof *attacks);
    struct attack *a = attacks;
    a++->what = "silence";
    a->what = "garbage", a->floods = true;
    wire_fill(garbage, sizeof garbage, 1);
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (uint8_t)(garbage[i] % 240);
    bytes_put(&a++->bytes, garbage, sizeof garbage);
    a->what = "a subnegotiation without end", a->floods = true;
    bytes_put(&a->bytes, "\xff\xfa\xe8\x52", 4);
    for (int i = 0; i < 5; i++)
        bytes_put(&a->bytes, garbage, sizeof garbage);
    a++;
    a->what = "half a handshake";
    wire_put_handshake(&a->bytes, "half", 1);
    a->bytes.len -= 20;
    a++;
    a->what = "a handshake without DO-PROXY";
    bytes_put(&a->bytes, "\xff\xfb\xe8", 3);
    wire_put_sub(&a->bytes, 0, "\0\1", 2);
    wire_put_sub(&a++->bytes, 82, "nobody", 6);
    a->what = "compression";
    bytes_put(&a->bytes, "\xff\xfa\x56\xff\xf0", 5);
    put_bomb(&a++->bytes);
    a->what = "compression, badly ended";
    bytes_put(&a->bytes, "\xff\xfa\x56\xff\xf1", 5);
    put_bomb(&a++->bytes);
    a->what = "options nobody asked for";
    for (int i = 0; i < 256; i++)
        if (i != 255 && i != 232)
            bytes_put(&a->bytes, (uint8_t[]){TN_IAC, (uint8_t)(251 + i % 4), (uint8_t)i}, 3);
    bytes_put(&a->bytes, "\xff\xfa\x18\1\xff\xf0\xff\xfa\x27\1\xff\xf0\xff\xfa\xff\xff\xff\xf0", 18);
    a++;
    a->what = "WILL and DO without reading the answers", a->floods = true;
    for (int i = 0; i < 2000; i++)
        bytes_put(&a->bytes, i % 2 ? "\xff\xfb\x25\xff\xfc\x25" : "\xff\xfd\x26\xff\xfe\x26", 6);
    a++;
    a->what = "unknown codes without reading the answers", a->floods = true;
    bytes_put(&a->bytes, "\xff\xfb\xe8", 3);
    for (int i = 0; i < 1000; i++)
        wire_put_sub(&a->bytes, 200, NULL, 0);
    a++;
    a->what = "TLS";
    bytes_put(&a++->bytes, "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11);
    a->what = "HTTP";
    bytes_put(&a->bytes, "GET / HTTP/1.1\r\nHost: vspc\r\n\r\n", 30);
}

/* Sends as much of the attack as goes without waiting. */
static void attack_once(struct user *user, const struct attack *attack)
{
    if (attack->bytes.len)
        send(user->fd, bytes_at(&attack->bytes), attack->bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Whether the concentrator has closed this one, however much there is to read before the end. */
static bool is_gone(const struct user *user)
{
    struct pollfd ready = {.fd = user->fd, .events = POLLRDHUP};
    return poll(&ready, 1, 0) > 0;
}

/* One wave: every attack EACH times at once, until all are gone. */
static void wave(struct daemon *d, const struct attack attacks[ATTACKS], struct bystander *b)
{
    struct user *users[ATTACKS][EACH];
    for (int i = 0; i < ATTACKS; i++)
        for (int j = 0; j < EACH; j++) {
            users[i][j] = user_connect(d->vm_port, USER_RAW);
            attack_once(users[i][j], &attacks[i]);
        }
    uint64_t begin = clock_ms();
    for (size_t left = 1; left;) {
        left = 0;
        for (int i = 0; i < ATTACKS; i++)
            for (int j = 0; j < EACH; j++) {
                if (!users[i][j])
                    continue;
                if (attacks[i].floods)
                    attack_once(users[i][j], &attacks[i]);
                if (is_gone(users[i][j])) {
                    user_close(users[i][j]);
                    users[i][j] = NULL;
                } else {
                    left++;
                }
                if (clock_ms() - begin > SOON)
                    env_fail("still connected: %s", attacks[i].what);
            }
        check_bystander(b);
        env_nap();
    }
}

Test(hostile, whatever_they_send_they_are_gone_after_handshake_timeout_and_nobody_notices)
{
    struct attack attacks[ATTACKS];
    make_attacks(attacks);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "vm.handshake_timeout", "1s");
    daemon_start(d);
    struct bystander b = {.vm = vm_start_named(d, "vm1")};
    b.user = user_connect(probe_port(d, "vm1"), USER_TELNET);
    unsigned fds = daemon_usage(d).fds;
    wave(d, attacks, &b);
    probe_wait_fds(d, fds, SOON);
    size_t rss = daemon_usage(d).rss_kib;
    wave(d, attacks, &b);
    probe_wait_fds(d, fds, SOON);
    size_t grown = daemon_usage(d).rss_kib;
    /* Sanitizers keep what was freed for a while; 300 connections would be worth far more. */
    cr_assert_lt(grown, rss + 64 * 1024, "%zu KiB became %zu", rss, grown);
    daemon_wait_log(d, "not_logged_before=", SOON);
    cr_assert_lt(daemon_count_log(d, "VM connection closed"), 400, "the log is limited");
    cr_assert_eq(daemon_count_log(d, "VM connected"), 1);
    user_close(b.user);
    vm_stop(b.vm);
    daemon_stop(d);
    for (int i = 0; i < ATTACKS; i++)
        bytes_clear(&attacks[i].bytes);
}

Test(hostile, each_has_its_line_in_the_log)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
        {"\x16\x03\x01\x02", 4,
         "a TLS client on the telnet port, set the serial port's vSPC URI to telnet://"},
        {"\xff\xfa\x56\xff\xf0", 5, "telnet compression was not agreed to"},
        {"\xff\xfa\x56\xff\xf1", 5, "malformed telnet sequence"},
        {"GET / HTTP/1.1\r\n\r\n", 18, "it did not identify itself within handshake_timeout"},
        {"", 0, "it did not identify itself within handshake_timeout"},
    };
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "vm.handshake_timeout", "1s");
    daemon_start(d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        daemon_mark_log(d);
        struct user *user = user_connect(d->vm_port, USER_RAW);
        user_send_raw(user, cases[i].bytes, cases[i].len);
        user_wait_closed(user, SOON);
        daemon_wait_log(d, cases[i].why, SOON);
        user_close(user);
    }
    /* The first byte of a TLS hello alone decides nothing. */
    daemon_mark_log(d);
    struct user *user = user_connect(d->vm_port, USER_RAW);
    wire_send_each(user, "\x16\x03", 2);
    user_wait_closed(user, SOON);
    daemon_wait_log(d, "a TLS client", SOON);
    user_close(user);
    daemon_stop(d);
}

Test(hostile, a_user_who_floods_with_commands_is_disconnected)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_start(d);
    struct bystander b = {.vm = vm_start_named(d, "vm1")};
    uint16_t port = probe_port(d, "vm1");
    b.user = user_connect(port, USER_TELNET);
    struct attack attacks[ATTACKS];
    make_attacks(attacks);
    size_t rss = daemon_usage(d).rss_kib;
    for (int i = 0; i < ATTACKS; i++) {
        /* WILL and DO, compression, a subnegotiation without end; the others say nothing that ends a user. */
        if (i != 2 && i != 5 && i != 6 && i != 8)
            continue;
        struct user *user = user_connect(port, USER_RAW);
        user_send_raw(user, "\xff\xfd\1", 3);
        WAIT_FOR((attack_once(user, &attacks[i]), is_gone(user)), SOON, "a user is still there: %s",
                 attacks[i].what);
        user_close(user);
        check_bystander(&b);
    }
    cr_assert_lt(daemon_usage(d).rss_kib, rss + 32 * 1024);
    daemon_wait_log(d, "User disconnected: it does not read the answers", SOON);
    daemon_wait_log(d, "User disconnected: subnegotiation is too long", SOON);
    daemon_wait_log(d, "User disconnected: telnet compression", SOON);
    user_close(b.user);
    vm_stop(b.vm);
    daemon_stop(d);
    for (int i = 0; i < ATTACKS; i++)
        bytes_clear(&attacks[i].bytes);
}
