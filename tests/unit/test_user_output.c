/* The output of a user through a socket that takes any number of bytes at any time, as a full one does. The
 * part under test is compiled in with sock_send replaced, since a real socket hardly ever stops between two
 * bytes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static ssize_t take_some(int fd, const struct iovec *piece, int pieces);
#define sock_send take_some
#include "console/user_output.c" // NOLINT(bugprone-suspicious-include)
#undef sock_send

static uint8_t got[1 << 20];
static size_t got_len;
static unsigned calls;

/* Takes a random number of the bytes, often one, now and then none. */
static ssize_t take_some(int fd, const struct iovec *piece, int pieces)
{
    (void)fd;
    size_t all = 0;
    for (int i = 0; i < pieces; i++)
        all += piece[i].iov_len;
    size_t left = rand() % 3 ? 1 : (size_t)rand() % (all + 1);
    calls++;
    ssize_t taken = 0;
    for (int i = 0; i < pieces && left; i++) {
        size_t n = piece[i].iov_len < left ? piece[i].iov_len : left;
        memcpy(got + got_len, piece[i].iov_base, n);
        got_len += n;
        left -= n;
        taken += (ssize_t)n;
    }
    return taken;
}

/* What the output calls of the rest of the console; the socket's events are not the matter here. */
void user_conn_set_interest(struct user_conn *user)
{
    (void)user;
}

void user_conn_close_for(struct user_conn *user, const char *why)
{
    (void)why;
    user->state = USER_CLOSED;
}

/* Those who came by the control socket have a test of their own. */
void user_control_put_notice(struct bytes *out, const char *text, size_t len)
{
    (void)out;
    (void)text;
    (void)len;
}

void user_control_put_access(const struct user_conn *user, struct bytes *out)
{
    (void)user;
    (void)out;
}

static struct config config;
static struct console_owner owner;
static struct console console;
static struct user_conn user;

static void begin(void)
{
    memset(&config, 0, sizeof config);
    memset(&console, 0, sizeof console);
    memset(&user, 0, sizeof user);
    config.user.scrollback = 1024;
    config.user.backlog = 4096;
    owner.config = &config;
    console.owner = &owner;
    user.console = &console;
    user.state = USER_TELNET;
    got_len = 0;
}

static void end(void)
{
    user_output_clear(&user);
    ring_clear(&console.ring);
}

TestSuite(user_output, .init = begin, .fini = end);

/* Appends what a user must have received for these bytes. */
static void expect(struct bytes *expected, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes_put(expected, data + i, 1);
        if (data[i] == TN_IAC && user.state == USER_TELNET)
            bytes_put(expected, data + i, 1);
    }
}

static void print(const uint8_t *data, size_t len)
{
    user_output_make_room(&user, len);
    size_t keep = (size_t)(console.ring.end - user.cursor) + len;
    ring_append(&console.ring, data, len, keep > config.user.scrollback ? keep : config.user.scrollback);
}

static void flush_all(void)
{
    for (int i = 0; i < 1000000 && !user_output_is_up_to_date(&user); i++)
        user_output_flush(&user);
    cr_assert(user_output_is_up_to_date(&user));
}

/* Prints random data full of 255s, with notices in between, and flushes at random. */
static void run(unsigned seed, struct bytes *expected)
{
    srand(seed);
    for (int i = 0; i < 300; i++) {
        uint8_t data[64];
        size_t len = (size_t)rand() % sizeof data;
        for (size_t j = 0; j < len; j++)
            data[j] = rand() % 2 ? TN_IAC : (uint8_t)rand();
        print(data, len);
        expect(expected, data, len);
        if (rand() % 20 == 0 && user.state == USER_TELNET) {
            user_output_notice(&user, "VM disconnected");
            bytes_put(expected, "\r\n[vspc: VM disconnected]\r\n", 27);
        }
        if (rand() % 2)
            user_output_flush(&user);
        if (i % 20 == 0)
            flush_all();
    }
    flush_all();
}

Test(user_output, every_byte_notice_and_escape_survives_partial_sends)
{
    for (unsigned seed = 1; seed <= 100; seed++) {
        struct bytes expected = {0};
        end();
        begin();
        run(seed, &expected);
        cr_assert(got_len == expected.len && memcmp(got, bytes_at(&expected), got_len) == 0, "seed %u", seed);
        bytes_clear(&expected);
    }
    cr_assert_gt(calls, 1000);
}

Test(user_output, a_raw_user_gets_every_byte_once)
{
    struct bytes expected = {0};
    user.state = USER_RAW;
    run(7, &expected);
    cr_assert(got_len == expected.len && memcmp(got, bytes_at(&expected), got_len) == 0);
    bytes_clear(&expected);
}

/* Stretches without a 255 from none to more than is copied, and far more of all than one send takes. */
Test(user_output, output_longer_than_one_send_is_complete)
{
    static uint8_t data[400000];
    struct bytes expected = {0};
    config.user.backlog = sizeof data;
    for (unsigned seed = 1; seed <= 20; seed++) {
        srand(seed);
        got_len = 0;
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)(i % 251);
        for (size_t i = 0; i < sizeof data; i += (size_t)rand() % (1U << (rand() % 17)))
            data[i++] = TN_IAC;
        print(data, sizeof data);
        expect(&expected, data, sizeof data);
        flush_all();
        cr_assert(got_len == expected.len && memcmp(got, bytes_at(&expected), got_len) == 0, "seed %u", seed);
        bytes_clear(&expected);
    }
}

/* Whatever is skipped, bytes received and bytes told of add up, and no escape is torn. */
Test(user_output, skipped_bytes_are_told_exactly)
{
    for (unsigned seed = 1; seed <= 100; seed++) {
        uint64_t told = 0, bytes = 0;
        uint8_t data[600];
        end();
        begin();
        srand(seed);
        memset(data, TN_IAC, sizeof data);
        for (int i = 0; i < 200; i++) {
            print(data, sizeof data);
            if (rand() % 4 == 0)
                user_output_flush(&user);
        }
        flush_all();
        for (size_t at = 0; at < got_len;) {
            if (got[at] == TN_IAC) {
                cr_assert(at + 1 < got_len && got[at + 1] == TN_IAC, "seed %u: half an escape at %zu", seed,
                          at);
                bytes++;
                at += 2;
                continue;
            }
            char *rest;
            cr_assert_eq(memcmp(got + at, "\r\n[vspc: ", 9), 0, "seed %u: strange bytes at %zu", seed, at);
            told += strtoull((char *)got + at + 9, &rest, 10);
            cr_assert_eq(memcmp(rest, " bytes skipped]\r\n", 17), 0);
            at = (size_t)((uint8_t *)rest - got) + 17;
        }
        cr_assert_gt(told, 0);
        cr_assert_eq(told + bytes, console.ring.end, "seed %u", seed);
    }
}

Test(user_output, a_raw_user_too_far_behind_is_closed)
{
    uint8_t data[600] = {0};
    user.state = USER_RAW;
    for (int i = 0; i < 8; i++)
        print(data, sizeof data);
    cr_assert_eq(user.state, USER_CLOSED);
}
