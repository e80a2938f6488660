#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vspc/telnet.h"

/* What a stream told, as text: data as it is, the rest in <>. */
static char told[1 << 18];
static size_t told_len;
static struct bytes sent;

static void tell(const void *text, size_t len)
{
    cr_assert_lt(told_len + len, sizeof told);
    if (len)
        memcpy(told + told_len, text, len);
    told_len += len;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    tell(data, len);
}

static void on_command(void *arg, uint8_t command)
{
    char text[16];
    (void)arg;
    tell(text, (size_t)sprintf(text, "<%u>", command));
}

static void on_peer_option(void *arg, uint8_t option, bool enabled)
{
    char text[16];
    (void)arg;
    tell(text, (size_t)sprintf(text, "<%s %u>", enabled ? "will" : "wont", option));
}

static void on_subnegotiation(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    char text[16];
    (void)arg;
    tell(text, (size_t)sprintf(text, "<sb %u ", option));
    tell(data, len);
    tell(">", 1);
}

static void on_send(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    bytes_put(&sent, data, len);
}

static const struct telnet_handler handler = {on_data, on_command, on_peer_option, on_subnegotiation,
                                              on_send};

static struct telnet_stream *stream;
static bool rests; /* after each feed */

static void begin(void)
{
    told_len = 0;
    rests = false;
    stream = telnet_stream_new(TELNET_SIDE_VM, &handler, NULL);
}

static void end(void)
{
    telnet_stream_free(stream);
    bytes_clear(&sent);
}

TestSuite(telnet, .init = begin, .fini = end);

static int feed(const void *data, size_t len)
{
    const uint8_t *at = data;
    const char *why;
    size_t used;
    while (len) {
        if (telnet_stream_feed(stream, at, len, &used, &why) < 0)
            return -EPROTO;
        cr_assert_gt(used, 0);
        cr_assert_leq(used, len);
        at += used;
        len -= used;
        if (rests)
            telnet_stream_rest(stream);
    }
    return 0;
}

Test(telnet, greeting_is_what_a_host_expects)
{
    telnet_stream_greet(stream);
    cr_assert_eq(sent.len, 18);
    cr_assert_arr_eq(bytes_at(&sent),
                     "\xff\xfb\x00\xff\xfb\x03\xff\xfb\x01\xff\xfd\x00\xff\xfd\x03\xff\xfd\xe8", 18);
}

Test(telnet, options_nobody_asked_for_are_refused)
{
    feed("\xff\xfb\x25\xff\xfb\x2c\xff\xfd\x18", 9);
    cr_assert_eq(sent.len, 9);
    cr_assert_arr_eq(bytes_at(&sent), "\xff\xfe\x25\xff\xfe\x2c\xff\xfc\x18", 9);
}

/* The same bytes must tell the same story however they are cut. */
Test(telnet, every_cut_tells_the_same)
{
    static const char wire[] =
        "plain\xff\xff more\xff\xfb\xe8\xff\xfa\xe8\x52vm\xff\xff\xf0\xff\xf0 data \xff\xf3"
        "\xff\xff\xf0 x\xff\xfa\xe8\x50\xff\xf0\xff\xff\xff\xff end";
    static const char story[] = "plain\xff more<will 232><sb 232 \x52vm\xff\xf0> data <243>"
                                "\xff\xf0 x<sb 232 \x50>\xff\xff end";
    size_t len = sizeof wire - 1;
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            end();
            begin();
            cr_assert_eq(feed(wire, a), 0);
            cr_assert_eq(feed(wire + a, b - a), 0);
            cr_assert_eq(feed(wire + b, len - b), 0);
            cr_assert(told_len == sizeof story - 1 && memcmp(told, story, told_len) == 0,
                      "cut at %zu and %zu", a, b);
        }
    }
}

/* Feeds a new, greeted stream in three pieces. */
static void feed_cut(bool with_rests, const char *wire, size_t a, size_t b, size_t len)
{
    end();
    begin();
    rests = with_rests;
    telnet_stream_greet(stream);
    cr_assert_eq(feed(wire, a), 0);
    cr_assert_eq(feed(wire + a, b - a), 0);
    cr_assert_eq(feed(wire + b, len - b), 0);
}

/* A stream that rests whenever it can tells and answers what one does that never rests. */
static void expect_no_difference(const char *wire, size_t a, size_t b, size_t len)
{
    static char expected[4096];
    feed_cut(false, wire, 0, 0, len);
    size_t told_before = told_len, sent_before = sent.len;
    cr_assert_leq(told_before + sent_before, sizeof expected);
    memcpy(expected, told, told_before);
    memcpy(expected + told_before, bytes_at(&sent), sent_before);
    feed_cut(true, wire, a, b, len);
    cr_assert(told_len == told_before && memcmp(told, expected, told_len) == 0, "cut at %zu and %zu", a, b);
    cr_assert(sent.len == sent_before && memcmp(bytes_at(&sent), expected + told_before, sent.len) == 0,
              "cut at %zu and %zu", a, b);
}

Test(telnet, rest_changes_nothing_wherever_it_comes)
{
    static const char wire[] =
        "\xff\xfd\x01\xff\xfb\xe8\xff\xfa\xe8\x52vm\xff\xff\xf0\xff\xf0 data\xff\xff \xff\xf3"
        "\xff\xfe\x01\xff\xfa\xff\xfd\x01\xff\xf0\xff\xfd\x01 x\xff\xfa\xe8\xff\xf0\xff\xfc\xff end";
    size_t len = sizeof wire - 1;
    for (size_t a = 0; a <= len; a++)
        for (size_t b = a; b <= len; b++)
            expect_no_difference(wire, a, b, len);
}

/* With all that a peer may have said of an option before the rest, and may say after it. */
Test(telnet, what_was_agreed_outlives_a_rest)
{
    static const uint8_t options[] = {TN_OPT_BINARY, TN_OPT_ECHO, TN_OPT_SGA, TN_OPT_VMWARE, 37};
    for (size_t i = 0; i < sizeof options; i++) {
        for (unsigned history = 0; history < 5 * 5 * 4 * 4; history++) {
            char wire[32];
            size_t len = 0;
            unsigned rest = history;
            for (int n = 0; n < 4; n++) {
                /* Of the first two, each may be none. */
                unsigned word = rest % (n < 2 ? 5 : 4);
                rest /= n < 2 ? 5 : 4;
                if (n == 2)
                    len += (size_t)(stpcpy(wire + len, "\xff\xfa\xe8x\xff\xf0") - (wire + len));
                if (word == 4)
                    continue;
                wire[len++] = (char)TN_IAC;
                wire[len++] = (char)(TN_WILL + word);
                wire[len++] = (char)options[i];
            }
            expect_no_difference(wire, len, len, len);
        }
    }
}

/* However the bytes are cut, what follows a subnegotiation is not parsed in the same feed. */
Test(telnet, feed_stops_behind_each_subnegotiation)
{
    static const uint8_t wire[] = "ab\xff\xfa\xe8\x01\xff\xf0tail\xff\xfa\xe8\x02\xff\xf0";
    static const size_t ends[] = {8, 18};
    for (size_t cut = 1; cut < sizeof wire - 1; cut++) {
        end();
        begin();
        for (size_t at = 0; at < sizeof wire - 1;) {
            const char *why;
            size_t used, limit = at < cut ? cut : sizeof wire - 1;
            telnet_stream_feed(stream, wire + at, limit - at, &used, &why);
            for (int i = 0; i < 2; i++)
                cr_assert(at + used <= ends[i] || at >= ends[i], "from %zu to %zu, cut at %zu", at, at + used,
                          cut);
            at += used;
        }
    }
}

Test(telnet, endless_subnegotiation_is_an_error)
{
    char filler[4096];
    memset(filler, 'x', sizeof filler);
    cr_assert_eq(feed("\xff\xfa\xe8", 3), 0);
    int err = 0;
    for (int i = 0; i < 64 && !err; i++)
        err = feed(filler, sizeof filler);
    cr_assert_eq(err, -EPROTO);
}

Test(telnet, compression_is_an_error_and_inflates_nothing)
{
    cr_assert_eq(feed("\xff\xfa\x56\xff\xf0\x78\x9c\x4b\x4c\x04\x00", 11), -EPROTO);
    cr_assert_null(memmem(told, told_len, "a", 1));
}

/* What stands for SE may be a command with more behind it, which would all be inflated. */
Test(telnet, what_is_behind_compression_is_not_parsed_whatever_ends_its_subnegotiation)
{
    static const uint8_t ends[] = {TN_SE, TN_SB, TN_WILL, TN_DONT, TN_AYT, 0};
    for (size_t i = 0; i < sizeof ends; i++) {
        uint8_t wire[64] = {TN_IAC, TN_SB, 86, TN_IAC, ends[i]};
        const char *why;
        size_t used;
        end();
        begin();
        cr_assert_eq(telnet_stream_feed(stream, wire, sizeof wire, &used, &why), -EPROTO);
        cr_assert_eq(used, 5, "%u: %zu", ends[i], used);
    }
}

Test(telnet, escape_doubles_255_and_nothing_else)
{
    uint8_t all[256];
    struct bytes out = {0};
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    telnet_escape(&out, all, sizeof all);
    cr_assert_eq(out.len, 257);
    cr_assert_arr_eq(bytes_at(&out), all, 256);
    cr_assert_eq(bytes_at(&out)[256], 255);
    bytes_clear(&out);
}

Test(telnet, negotiation_is_found_only_where_there_is_one)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool found;
    } cases[] = {
        {"", 0, false},
        {"\xff\xfb", 2, false},
        {"\xff\xfb\x03", 3, true},
        {"ls\r\xff\xfd\x01", 6, true},
        {"\xff\xff\xfb\x03", 4, false},
        {"\xff\xff\xff\xfe\x01", 5, true},
        {"\xff\xf3\xff\xfc\x01", 5, true},
        {"\xff\xfa\x18\xff\xfb\x01", 6, false},
        {"\xff\xfa\x18\x00xterm\xff\xf0\xff\xfb\x18", 14, true},
        {"\xff\xfa\x18\x00xterm\xff\xff\xfb\x18", 13, false},
        {"\xff\xf6 hello", 8, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(telnet_has_negotiation((const uint8_t *)cases[i].bytes, cases[i].len), cases[i].found,
                     "%zu", i);
}
