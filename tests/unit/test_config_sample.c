/* vspc.ini, the sample, against the table of keys; and what becomes of it when it is damaged. */
#include <sys/random.h>

#include "config_fixture.h"

TestSuite(config_sample, .init = fixture_setup, .fini = fixture_teardown);
TestSuite(config_damaged, .init = fixture_setup, .fini = fixture_teardown, .timeout = 300);

/* The whole sample; the caller frees. */
static char *read_sample(size_t *len)
{
    FILE *file = fopen(VSPC_SOURCE "/vspc.ini", "r");
    cr_assert_not_null(file);
    char *text = xmalloc(65536);
    *len = fread(text, 1, 65535, file);
    text[*len] = 0;
    fclose(file);
    return text;
}

/* Where the sample is read, and in which section. */
struct cursor {
    char *rest; /* strtok_r's */
    char section[32];
};

/* The sample's next line must be this key's, with its section in front if it is the first of it. */
static void expect_key(const char *section, const char *key, const char *default_value, const char *comment,
                       void *arg)
{
    struct cursor *at = arg;
    if (strcmp(at->section, section) != 0) {
        char *header = xasprintf("[%s]", section);
        char *line = strtok_r(NULL, "\n", &at->rest);
        cr_assert(line && strcmp(line, header) == 0, "%s is missing", header);
        snprintf(at->section, sizeof at->section, "%s", section);
        free(header);
    }
    char *assignment = xasprintf("%s =%s%s", key, *default_value ? " " : "", default_value);
    char *wanted = xasprintf("%-29s ; %s", assignment, comment);
    char *line = strtok_r(NULL, "\n", &at->rest);
    cr_assert_not_null(line, "%s is missing", wanted);
    cr_assert_str_eq(line, wanted);
    cr_assert_gt(strlen(comment), 0, "%s.%s has no comment", section, key);
    free(assignment);
    free(wanted);
}

Test(config_sample, has_every_key_in_order_with_its_default_and_comment)
{
    size_t len;
    char *text = read_sample(&len);
    char *body = strstr(text, "\n\n[");
    cr_assert_not_null(body);
    struct cursor at = {.rest = body};
    config_each_key(expect_key, &at);
    cr_assert_null(strtok_r(NULL, "\n", &at.rest), "the sample has a line too many");
    free(text);
}

Test(config_sample, means_the_same_as_an_empty_file)
{
    char *error;
    struct config *sample = config_load(VSPC_SOURCE "/vspc.ini", NULL, 0, &error);
    cr_assert_not_null(sample, "%s", error);
    struct config *empty = loads("");
    struct config *none = config_load(NULL, NULL, 0, &error);
    cr_assert_not_null(none, "%s", error);
    char *a = printed(sample), *b = printed(empty), *c = printed(none);
    cr_expect_str_eq(a, b);
    cr_expect_str_eq(b, c);
    free(a);
    free(b);
    free(c);
    config_unref(sample);
    config_unref(empty);
    config_unref(none);
}

static uint64_t random_state;

/* xorshift64*: the same seed gives the same damage everywhere. */
static size_t random_below(size_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * UINT64_C(2685821657736338717)) >> 33) % n;
}

/* Pieces that a damaged file may hold, chosen for what a parser may stumble over. */
static const char *const pieces[] = {"=",      ":",
                                     "\n",     "[",
                                     "]",      ";",
                                     " ;",     "\r\n",
                                     " ",      "\t",
                                     "#",      "\xff",
                                     "\x01",   "0",
                                     "-1",     "99999999999999999999",
                                     "s",      "KiB",
                                     ",",      "1.2.3.4/8",
                                     "[::]:1", "\xef\xbb\xbf",
                                     "[vm]\n", "[user]\n",
                                     "%s%n",   "\"",
                                     "\\",     "[vm",
                                     "yes",    "3650d",
                                     "\v",     "keepalive = 1s\n"};

/* Inserts len bytes at a random place. */
static size_t insert(char *text, size_t len, size_t max, const void *data, size_t n)
{
    if (len + n > max)
        return len;
    size_t at = random_below(len + 1);
    memmove(text + at + n, text + at, len - at);
    memcpy(text + at, data, n);
    return len + n;
}

/* Damages the text a little, or a little more; the new length. */
static size_t damage(char *text, size_t len, size_t max)
{
    for (size_t n = 1 + random_below(4); n; n--) {
        size_t at = random_below(len + 1);
        size_t some = random_below(len - at + 1);
        char byte = (char)random_below(256);
        switch (random_below(6)) {
        case 0:
            if (at < len)
                text[at] = byte;
            break;
        case 1:
            some = some > 40 ? 1 + some % 40 : some;
            memmove(text + at, text + at + some, len - at - some);
            len -= some;
            break;
        case 2: {
            const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
            len = insert(text, len, max, piece, strlen(piece));
            break;
        }
        case 3: {
            char run[300];
            memset(run, byte, sizeof run);
            len = insert(text, len, max, run, random_below(sizeof run));
            break;
        }
        case 4: {
            char copy[300];
            some = some > sizeof copy ? sizeof copy : some;
            memcpy(copy, text + at, some);
            len = insert(text, len, max, copy, some);
            break;
        }
        default:
            if (random_below(8) == 0)
                len = at;
        }
    }
    return len;
}

/* An error for people: not empty, printable, with no more lines than promised. */
static void expect_readable(const char *error, uint64_t seed)
{
    cr_assert_gt(strlen(error), 0);
    cr_assert_leq(count_lines(error), 21, "seed %llu", (unsigned long long)seed);
    for (const char *c = error; *c; c++)
        cr_assert((*c >= 0x20 && *c < 0x7f) || *c == '\n', "byte 0x%02x, seed %llu", (unsigned char)*c,
                  (unsigned long long)seed);
}

/* What was taken must print, and read back to the same. */
static void expect_prints_back(const struct config *config, uint64_t seed)
{
    char *first = printed(config);
    fixture_write_text("vspc.ini", first);
    char *error;
    struct config *again = fixture_load(NULL, &error);
    cr_assert_not_null(again, "seed %llu: %s\n%s", (unsigned long long)seed, error, first);
    char *second = printed(again);
    if (!strstr(first, "; password is set"))
        cr_assert_str_eq(first, second, "seed %llu", (unsigned long long)seed);
    config_unref(again);
    free(first);
    free(second);
}

static uint64_t pick_seed(void)
{
    uint64_t seed = 0;
    const char *given = getenv("VSPC_TEST_SEED");
    if (given)
        seed = strtoull(given, NULL, 10);
    else
        cr_assert_eq(getrandom(&seed, sizeof seed, 0), (ssize_t)sizeof seed);
    seed = seed ? seed : 1;
    fprintf(stderr, "VSPC_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

Test(config_damaged, copies_of_the_sample_are_taken_or_explained)
{
    enum { COPIES = 6000, SPARE = 4096 };
    uint64_t seed = pick_seed();
    random_state = seed;
    size_t len, taken = 0, refused = 0;
    char *sample = read_sample(&len);
    char *text = xmalloc(len + SPARE);
    for (int i = 0; i < COPIES; i++) {
        memcpy(text, sample, len);
        fixture_write("vspc.ini", text, damage(text, len, len + SPARE));
        char *error;
        struct config *config = fixture_load(NULL, &error);
        if (config) {
            taken++;
            expect_prints_back(config, seed);
            config_unref(config);
        } else {
            refused++;
            expect_readable(error, seed);
            free(error);
        }
    }
    cr_expect_gt(taken, 0);
    cr_expect_gt(refused, 0);
    free(text);
    free(sample);
}

Test(config_damaged, overrides_are_taken_or_explained)
{
    enum { COPIES = 20000, MAX = 1024 };
    static const char *const starts[] = {"user.linger=10min",
                                         "vm.listen=0.0.0.0:13370, [::]:13370",
                                         "vm.allow=10.0.0.0/8,fd00::/8",
                                         "redis.password=secret",
                                         "vm.service_uri=vSPC",
                                         "user.backlog=1MiB",
                                         "server.node_id=a"};
    uint64_t seed = pick_seed();
    random_state = seed;
    for (int i = 0; i < COPIES; i++) {
        char text[MAX + 1];
        snprintf(text, sizeof text, "%s", starts[random_below(sizeof starts / sizeof *starts)]);
        text[damage(text, strlen(text), MAX)] = 0;
        const char *override = text;
        char *error;
        struct config *config = config_load(NULL, &override, 1, &error);
        if (!config)
            expect_readable(error, seed);
        else if (i % 16 == 0 && strlen(text) < 100) /* a longer list may not fit into a line */
            expect_prints_back(config, seed);
        config_unref(config);
        free(error);
    }
}
