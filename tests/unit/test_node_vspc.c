/* Reading what node-vspc saved, from something that does not answer as Redis does. */
#include "mapping/node_vspc_name.h"
#include "redis_server.h"
#include "vspc/node_vspc.h"

TestSuite(node_vspc, .timeout = 60);

struct taken {
    unsigned saved, progress;
    int port;
};

static void take_saved(void *arg, const char *name, size_t name_len, int port)
{
    struct taken *taken = arg;
    (void)name;
    (void)name_len;
    taken->saved++;
    taken->port = port;
}

static void take_progress(void *arg, uint64_t keys)
{
    struct taken *taken = arg;
    (void)keys;
    taken->progress++;
}

/* Reads from that port, with the prefix "prefix:". Result: the error, which the caller frees, or NULL. */
static char *read_from(uint16_t port, struct taken *taken)
{
    char port_text[32], *error = NULL;
    snprintf(port_text, sizeof port_text, "redis.port=%u", port);
    struct config *config = config_load(NULL, (const char *[]){port_text}, 1, &error);
    cr_assert(config, "%s", error);
    signal(SIGPIPE, SIG_IGN);
    *taken = (struct taken){0};
    error = node_vspc_read(config, "prefix:", &(struct node_vspc_sink){take_saved, take_progress, taken});
    config_unref(config);
    return error;
}

/* Reading from one that gives this answer to everything fails, and says so. */
static void expect_error(const char *answer, const char *text)
{
    struct fake fake;
    struct taken taken;
    fake_start(&fake, answer);
    char *error = read_from(fake.port, &taken);
    fake_stop(&fake);
    cr_assert(error && strstr(error, text), "%.60s leads to %s", answer, error ? error : "no error");
    cr_assert_eq(taken.saved, 0);
    free(error);
}

Test(node_vspc, an_answer_that_makes_no_sense_ends_the_reading)
{
    static const char *const senseless[] = {
        ":1\r\n",
        "+OK\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\n0\r\n$1\r\n0\r\n",
        "*2\r\n:0\r\n*0\r\n",
        "*2\r\n$21\r\n123456789012345678901\r\n*0\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n*0\r\n",
        /* keys that were not asked for, the second shorter than the prefix */
        "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nother\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n$1\r\np\r\n",
    };
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
        expect_error(senseless[i], "a wrong kind of answer to SCAN");
    expect_error("*2\r\n$1\r\n0\r\n*1\r\n$8\r\nprefix:a\r\n", "a wrong kind of answer to GETRANGE");
    expect_error("HTTP/1.1 400 Bad Request\r\n\r\n", "cannot reach Redis at \"127.0.0.1:");
    expect_error("*2000000\r\n", ": Out of memory");
    expect_error("-LOADING Redis is loading\r\n", "cure: none needed: Redis is reading its data");
    expect_error("-\x1b[2J\xff\r\n", "Redis refuses SCAN: \"\\x1b[2J\\xff\"");
}

Test(node_vspc, an_answer_without_an_end_ends_the_reading)
{
    enum { LONG = 9 * 1024 * 1024 };
    char *answer = xmalloc(LONG + 1);
    memset(answer, 'x', LONG);
    answer[LONG] = 0;
    memcpy(answer, "$100000000\r\n", 12);
    expect_error(answer, "too long to be right");
    free(answer);
}

Test(node_vspc, silence_ends_the_reading_in_time)
{
    uint64_t begin = clock_ms();
    expect_error("", "cannot reach Redis");
    cr_assert_lt(clock_ms() - begin, 20000);
}

Test(node_vspc, a_key_is_handed_on_and_progress_told)
{
    struct server redis;
    struct taken taken;
    server_start(&redis);
    tell_redis(&redis, "SET", "prefix:a", "20001");
    char *error = read_from(redis.port, &taken);
    cr_assert_null(error, "%s", error);
    cr_assert_eq(taken.saved, 1);
    cr_assert_eq(taken.port, 20001);
    cr_assert_geq(taken.progress, 1);
    server_stop(&redis);
}

/* This is in Redis for a VM with that name. */
static void expect_name(const char *saved, const char *name)
{
    char *out = xmalloc(strlen(saved));
    size_t len = node_vspc_name(saved, strlen(saved), out);
    cr_assert(len == strlen(name) && memcmp(out, name, len) == 0, "%s leads to %.*s", saved, (int)len, out);
    free(out);
}

Test(node_vspc, a_name_that_was_encoded_twice_is_what_the_vm_sends)
{
    expect_name("", "");
    expect_name("vm1 (a\x01\x7f)", "vm1 (a\x01\x7f)");
    expect_name("\xc3\x83\xc2\xbc", "\xc3\xbc");
    expect_name("a\xc3\xa6\xc2\x97\xc2\xa5"
                "b",
                "a\xe6\x97\xa5"
                "b");
    expect_name("\xc3\xb0\xc2\x9f\xc2\x98\xc2\x80", "\xf0\x9f\x98\x80");
    /* Encoded once, or never. */
    expect_name("\xc3\xbc", "\xc3\xbc");
    expect_name("\xe6\x97\xa5", "\xe6\x97\xa5");
    expect_name("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
    expect_name("\xc3\x83\xc2\xbc\xe6\x97\xa5", "\xc3\x83\xc2\xbc\xe6\x97\xa5");
    expect_name("\xff\xfe", "\xff\xfe");
    expect_name("\xc3", "\xc3");
    expect_name("\xc3\x83\xc2", "\xc3\x83\xc2");
    /* What would come out is no UTF-8: cut off, longer than needed, half of a pair, beyond Unicode. */
    expect_name("\xc3\x83", "\xc3\x83");
    expect_name("\xc3\xa6\xc2\x97", "\xc3\xa6\xc2\x97");
    expect_name("\xc3\xa0\xc2\x82\xc2\x80", "\xc3\xa0\xc2\x82\xc2\x80");
    expect_name("\xc3\xad\xc2\xa0\xc2\x80", "\xc3\xad\xc2\xa0\xc2\x80");
    expect_name("\xc3\xb4\xc2\x90\xc2\x80\xc2\x80", "\xc3\xb4\xc2\x90\xc2\x80\xc2\x80");
    expect_name("\xc3\xb5\xc2\x80\xc2\x80\xc2\x80", "\xc3\xb5\xc2\x80\xc2\x80\xc2\x80");
}
