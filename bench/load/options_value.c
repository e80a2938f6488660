#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options_table.h"
#include "units.h"
#include "vspc/text.h"

enum { EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

static const char digit_set[] = "0123456789";

void options_usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vspc-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\ntry vspc-bench --help\n", stderr);
    va_end(args);
    exit(EXIT_USAGE);
}

/* Refuses a value. Text from the command line is quoted: a script may have made it of anything. */
static void __attribute__((noreturn)) refuse(const char *name, const char *text, const char *right)
{
    options_usage_error("--%s %s: %s", name, quote(text, strlen(text)).s, right);
}

/* Reads the digits that text begins with. Result: what follows them; a number that is too large becomes the
 * largest, which nothing takes. */
static const char *read_digits(const char *text, uint64_t *out)
{
    *out = strtoull(text, NULL, 10);
    return text + strspn(text, digit_set);
}

uint64_t options_whole(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char right[128];
    uint64_t value = 0;
    const char *end = read_digits(text, &value);
    if (end != text && !*end && value >= min && value <= max)
        return value;
    snprintf(right, sizeof right, "give a whole number from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    refuse(name, text, right);
}

double options_rate(const char *name, const char *text, double max)
{
    char right[128];
    size_t whole = strspn(text, digit_set), len = whole;
    if (text[len] == '.')
        len += 1 + strspn(text + len + 1, digit_set);
    double value = strtod(text, NULL);
    if (whole > 0 && !text[len] && (value == 0 || (value >= 0.001 && value <= max)))
        return value;
    snprintf(right, sizeof right, "give a number a second from 0.001 to %.0f, or 0", max);
    refuse(name, text, right);
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A whole number with one of the units. Result: false when it is not one, or is too large. */
static bool read_quantity(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
    uint64_t value = 0;
    const char *end = read_digits(text, &value);
    for (size_t i = 0; i < n && end != text; i++)
        if (strcmp(units[i].name, end) == 0)
            return !__builtin_mul_overflow(value, units[i].factor, out);
    return false;
}

uint64_t options_duration(const char *name, const char *text, uint64_t min_ms, uint64_t max_ms)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char right[192], min[UNITS_TEXT], max[UNITS_TEXT];
    uint64_t ms = 0;
    /* 0 needs no unit, as in vspc.ini. */
    bool read = strcmp(text, "0") == 0 || read_quantity(text, units, sizeof units / sizeof *units, &ms);
    if (read && ms >= min_ms && ms <= max_ms)
        return ms;
    snprintf(right, sizeof right, "give a whole number with the unit ms, s, min, h or d, from %s to %s",
             units_duration(min, min_ms), units_duration(max, max_ms));
    refuse(name, text, right);
}

uint64_t options_size(const char *name, const char *text, uint64_t min, uint64_t max)
{
    static const struct unit units[] = {{"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1048576}};
    char right[128], least[UNITS_TEXT], most[UNITS_TEXT];
    uint64_t bytes = 0;
    if (read_quantity(text, units, sizeof units / sizeof *units, &bytes) && bytes >= min && bytes <= max)
        return bytes;
    snprintf(right, sizeof right, "give a number of bytes from %s to %s, or one with the unit KiB or MiB",
             units_count(least, min), units_count(most, max));
    refuse(name, text, right);
}

void options_ports(const char *name, const char *text, uint16_t *first, uint16_t *last)
{
    uint64_t low = 0, high = 0;
    const char *dash = read_digits(text, &low), *end = dash;
    if (*dash == '-')
        end = read_digits(dash + 1, &high);
    if (dash == text || *dash != '-' || end == dash + 1 || *end || low < 1 || low > high || high > 65535)
        refuse(name, text, "give the first and the last port, such as 20000-20999");
    *first = (uint16_t)low;
    *last = (uint16_t)high;
}

struct host_port {
    char host[256];
    const char *port;
};

/* Cuts HOST:PORT or [ADDRESS]:PORT. */
static struct host_port cut_host_port(const char *name, const char *text)
{
    struct host_port cut;
    const char *colon = strrchr(text, ':'), *host = text;
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool brackets = len > 2 && *text == '[' && text[len - 1] == ']';
    if (brackets) {
        host++;
        len -= 2;
    }
    uint64_t port = 0;
    const char *end = colon ? read_digits(colon + 1, &port) : text;
    if (len == 0 || len >= sizeof cut.host || *end || port < 1 || port > 65535 ||
        (!brackets && memchr(host, ':', len)))
        refuse(name, text, "give HOST:PORT or [ADDRESS]:PORT, such as 127.0.0.1:13370");
    memcpy(cut.host, host, len);
    cut.host[len] = 0;
    cut.port = colon + 1;
    return cut;
}

void options_host_port(const char *name, const char *text)
{
    cut_host_port(name, text);
}

void options_resolve(const char *name, const char *text, struct sock_addr *out)
{
    if (sock_addr_port_parse(text, out) == 0)
        return;
    struct host_port cut = cut_host_port(name, text);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int err = getaddrinfo(cut.host, cut.port, &hints, &found);
    if (err) {
        fprintf(stderr, "vspc-bench: --%s: host %s cannot be resolved: %s\n", name,
                quote(cut.host, strlen(cut.host)).s, gai_strerror(err));
        exit(EXIT_UNREACHABLE);
    }
    memset(out, 0, sizeof *out);
    out->len = found->ai_addrlen < sizeof out->in6 ? found->ai_addrlen : sizeof out->in6;
    memcpy(&out->sa, found->ai_addr, out->len);
    freeaddrinfo(found);
}
