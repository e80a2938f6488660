#include "value.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "vspc/config.h"
#include "vspc/mem.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Words: the place in the list is the value. */

static const char *const log_level_words[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_DEBUG + 1] = NULL,
};
static const char *const telnet_words[] = {
    [TELNET_MODE_AUTO] = "auto",
    [TELNET_MODE_ALWAYS] = "always",
    [TELNET_MODE_NEVER] = "never",
    [TELNET_MODE_NEVER + 1] = NULL,
};
static const char *const access_words[] = {
    [USER_ACCESS_RW] = "rw", [USER_ACCESS_RO] = "ro", [USER_ACCESS_RO + 1] = NULL};
static const char *const timestamps_words[] = {
    [LOG_TIMESTAMPS_NONE] = "none", [LOG_TIMESTAMPS_LINE] = "line", [LOG_TIMESTAMPS_LINE + 1] = NULL};

/* Finds text among the words; otherwise the result says which there are. */
static char *parse_word(const char *const *words, const char *text, unsigned *out)
{
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return NULL;
        }
    char *why = xstrdup("must be ");
    for (unsigned i = 0; words[i]; i++) {
        char *longer = xasprintf("%s%s%s", why, i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
        free(why);
        why = longer;
    }
    return why;
}

/* yes or no and nothing else: a typing error must not turn something off. */
static char *parse_bool(const struct config_key *key, const char *text, void *field)
{
    (void)key;
    bool yes = strcmp(text, "yes") == 0;
    if (!yes && strcmp(text, "no") != 0)
        return xstrdup("must be yes or no");
    *(bool *)field = yes;
    return NULL;
}

static char *format_bool(const struct config_key *key, const void *field)
{
    (void)key;
    return xstrdup(*(const bool *)field ? "yes" : "no");
}

/* Every enum of struct config is as large as an unsigned, and has no negative value. */
static char *parse_enum(const struct config_key *key, const char *text, void *field)
{
    unsigned word = 0;
    char *why = parse_word(key->type->words, text, &word);
    if (!why)
        memcpy(field, &word, sizeof word);
    return why;
}

static char *format_enum(const struct config_key *key, const void *field)
{
    unsigned word;
    memcpy(&word, field, sizeof word);
    return xstrdup(key->type->words[word]);
}

/* Quantities: a whole number and a unit. */

struct unit {
    const char *name;
    uint64_t factor;
};

struct quantity {
    const char *noun;
    const char *names; /* of all units */
    const char *example;
    const struct unit *units; /* ascending */
    size_t len;
};

static const struct unit plain_units[] = {{"", 1}};
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit size_units[] = {{"B", 1}, {"KiB", 1024}, {"MiB", 1048576}};

static const struct quantity number = {"number", "", "", plain_units, COUNT(plain_units)};
static const struct quantity duration = {"duration", "ms, s, min, h or d", "10s", duration_units,
                                         COUNT(duration_units)};
static const struct quantity size = {"size", "B, KiB or MiB", "16KiB", size_units, COUNT(size_units)};

/* In the largest unit that shows it exactly. */
static char *format_quantity(const struct quantity *quantity, uint64_t value)
{
    if (value == 0)
        return xstrdup("0");
    size_t i = quantity->len - 1;
    while (value % quantity->units[i].factor != 0)
        i--;
    return xasprintf("%llu%s", (unsigned long long)(value / quantity->units[i].factor),
                     quantity->units[i].name);
}

static char *range_hint(const struct config_key *key, const struct quantity *quantity, bool zero)
{
    char *min = format_quantity(quantity, key->min);
    char *max = format_quantity(quantity, key->max);
    char *why = xasprintf("%smust be from %s to %s", zero ? "may not be 0, " : "", min, max);
    free(min);
    free(max);
    return why;
}

static char *form_hint(const struct config_key *key, const struct quantity *quantity)
{
    if (quantity == &number)
        return xasprintf("must be a whole number from %llu to %llu", (unsigned long long)key->min,
                         (unsigned long long)key->max);
    return xasprintf("a %s is a whole number with the unit %s, for example %s", quantity->noun,
                     quantity->names, quantity->example);
}

static const struct unit *find_unit(const struct quantity *quantity, const char *name)
{
    for (size_t i = 0; i < quantity->len; i++)
        if (strcmp(quantity->units[i].name, name) == 0)
            return &quantity->units[i];
    return NULL;
}

/* Reads a number and its unit within the key's bounds; 0 needs no unit. */
static char *parse_quantity(const struct config_key *key, const struct quantity *quantity, const char *text,
                            uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0)
        return form_hint(key, quantity);
    /* A number too large for strtoull becomes the largest, which no key takes. */
    uint64_t count = strtoull(text, NULL, 10);
    bool overflow = false;
    uint64_t value = 0;
    if (count > 0 || text[digits]) {
        const struct unit *unit = find_unit(quantity, text + digits);
        if (!unit && !text[digits])
            return xasprintf("a %s needs its unit (%s), for example %s", quantity->noun, quantity->names,
                             quantity->example);
        if (!unit)
            return form_hint(key, quantity);
        overflow = __builtin_mul_overflow(count, unit->factor, &value);
    }
    if (overflow || value < key->min || value > key->max)
        return range_hint(key, quantity, !overflow && value == 0);
    *out = value;
    return NULL;
}

static char *parse_unsigned(const struct config_key *key, const char *text, void *field)
{
    uint64_t value = 0;
    char *why = parse_quantity(key, &number, text, &value);
    if (!why)
        *(unsigned *)field = (unsigned)value;
    return why;
}

static char *format_unsigned(const struct config_key *key, const void *field)
{
    (void)key;
    return format_quantity(&number, *(const unsigned *)field);
}

static char *parse_port(const struct config_key *key, const char *text, void *field)
{
    uint64_t value = 0;
    char *why = parse_quantity(key, &number, text, &value);
    if (!why)
        *(uint16_t *)field = (uint16_t)value;
    return why;
}

static char *format_port(const struct config_key *key, const void *field)
{
    (void)key;
    return format_quantity(&number, *(const uint16_t *)field);
}

static char *parse_duration(const struct config_key *key, const char *text, void *field)
{
    return parse_quantity(key, &duration, text, field);
}

static char *format_duration(const struct config_key *key, const void *field)
{
    (void)key;
    return format_quantity(&duration, *(const uint64_t *)field);
}

static char *parse_size(const struct config_key *key, const char *text, void *field)
{
    uint64_t value = 0;
    char *why = parse_quantity(key, &size, text, &value);
    if (!why)
        *(size_t *)field = (size_t)value;
    return why;
}

static char *format_size(const struct config_key *key, const void *field)
{
    (void)key;
    return format_quantity(&size, *(const size_t *)field);
}

/* Text. What a line of a file could not carry is refused from everywhere, so that every value can be printed.
 */

/* Takes any text that survives being written into a file and read again. */
static char *parse_text(const struct config_key *key, const char *text, void *field)
{
    size_t len = strlen(text);
    if (len < key->min)
        return xstrdup("may not be empty");
    if (len > key->max)
        return xasprintf("may have at most %llu bytes, this has %zu", (unsigned long long)key->max, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return xasprintf("may not hold control characters, such as the 0x%02x here", c);
        if (c == ';' && (i == 0 || text[i - 1] == ' '))
            return xstrdup("may not hold a `;` at its start or behind a space, where it begins a comment");
    }
    char **value = field;
    free(*value);
    *value = xstrdup(text);
    return NULL;
}

/* The query says which serial port of a VM this is, so it differs where the service URI may not. */
static char *parse_uri(const struct config_key *key, const char *text, void *field)
{
    if (strchr(text, '?'))
        return xstrdup("is given here without the `?` and what follows it: a VM's own URI may have a query, "
                       "but it is not compared");
    return parse_text(key, text, field);
}

static char *format_text(const struct config_key *key, const void *field)
{
    (void)key;
    return xstrdup(*(char *const *)field);
}

static void copy_text(void *to, const void *from)
{
    *(char **)to = xstrdup(*(char *const *)from);
}

static void clear_text(void *field)
{
    free(*(char **)field);
}

/* Names of console logs: one a console, in one directory. */
static char *parse_log_file(const struct config_key *key, const char *text, void *field)
{
    static const char *const places[] = {"{uuid}", "{uuid32}", "{name}"};
    bool found = false;
    if (strchr(text, '/'))
        return xstrdup("is a file name without `/`; the directory is the key log.directory");
    for (const char *at = strpbrk(text, "{}"); at; at = strpbrk(at, "{}")) {
        size_t len = 0;
        for (size_t i = 0; i < COUNT(places) && !len; i++)
            if (strncmp(at, places[i], strlen(places[i])) == 0)
                len = strlen(places[i]);
        if (!len)
            return xstrdup("may hold {uuid}, {uuid32} and {name}, and no other { or }");
        found = true;
        at += len;
    }
    if (!found)
        return xstrdup("must hold {uuid}, {uuid32} or {name}, so that each console has a file of its own");
    return parse_text(key, text, field);
}

static char *parse_file_mode(const struct config_key *key, const char *text, void *field)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (strspn(text, "01234567") != strlen(text) || end == text || mode < key->min || mode > key->max)
        return xasprintf("must be permission bits in octal, from %04llo to %04llo, for example 0640",
                         (unsigned long long)key->min, (unsigned long long)key->max);
    *(unsigned *)field = (unsigned)mode;
    return NULL;
}

static char *format_file_mode(const struct config_key *key, const void *field)
{
    (void)key;
    return xasprintf("%04o", *(const unsigned *)field);
}

#define SCALAR(type, parse_, format_)                                                                        \
    {                                                                                                        \
        .size = sizeof(type), .parse = (parse_), .format = (format_)                                         \
    }
#define ENUM(type, words_)                                                                                   \
    {                                                                                                        \
        .size = sizeof(type), .words = (words_), .parse = parse_enum, .format = format_enum                  \
    }
#define TEXT(parse_)                                                                                         \
    {                                                                                                        \
        .size = sizeof(char *), .parse = (parse_), .format = format_text, .copy = copy_text,                 \
        .clear = clear_text                                                                                  \
    }

const struct value_type value_bool = SCALAR(bool, parse_bool, format_bool);
const struct value_type value_log_level = ENUM(enum log_level, log_level_words);
const struct value_type value_telnet = ENUM(enum telnet_mode, telnet_words);
const struct value_type value_access = ENUM(enum user_access, access_words);
const struct value_type value_timestamps = ENUM(enum log_timestamps, timestamps_words);
const struct value_type value_unsigned = SCALAR(unsigned, parse_unsigned, format_unsigned);
const struct value_type value_port = SCALAR(uint16_t, parse_port, format_port);
const struct value_type value_duration = SCALAR(uint64_t, parse_duration, format_duration);
const struct value_type value_size = SCALAR(size_t, parse_size, format_size);
const struct value_type value_file_mode = SCALAR(unsigned, parse_file_mode, format_file_mode);
const struct value_type value_text = TEXT(parse_text);
const struct value_type value_uri = TEXT(parse_uri);
const struct value_type value_log_file = TEXT(parse_log_file);
