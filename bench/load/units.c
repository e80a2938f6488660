#include "units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *units_count(char out[UNITS_TEXT], uint64_t n)
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

/* Three digits as a rule, and never fewer than the whole part has. */
static void three_digits(char out[UNITS_TEXT], double value, const char *unit)
{
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(out, UNITS_TEXT, "%.*f %s", decimals, value, unit);
}

const char *units_time(char out[UNITS_TEXT], double ns)
{
    if (ns < 1000)
        snprintf(out, UNITS_TEXT, "%.0f ns", ns);
    else if (ns < 999500)
        three_digits(out, ns / 1e3, "us");
    else if (ns < 999.5e6)
        three_digits(out, ns / 1e6, "ms");
    else if (ns < 119.5e9)
        three_digits(out, ns / 1e9, "s");
    else {
        uint64_t s = (uint64_t)(ns / 1e9 + 0.5);
        if (s < 7200)
            snprintf(out, UNITS_TEXT, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
        else
            snprintf(out, UNITS_TEXT, "%llu h %u min", (unsigned long long)(s / 3600),
                     (unsigned)(s / 60 % 60));
    }
    return out;
}

const char *units_duration(char out[UNITS_TEXT], uint64_t ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
    unsigned i = 0;
    while (ms == 0 ? i < 3 : ms % units[i].ms != 0)
        i++;
    snprintf(out, UNITS_TEXT, "%llu%s", (unsigned long long)(ms / units[i].ms), units[i].name);
    return out;
}

const char *units_bytes(char out[UNITS_TEXT], double bytes)
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) {
        snprintf(out, UNITS_TEXT, "%.0f B", bytes);
        return out;
    }
    unsigned i = 0;
    for (bytes /= 1024; bytes >= 1000 && i < sizeof names / sizeof *names - 1; i++)
        bytes /= 1024;
    three_digits(out, bytes, names[i]);
    return out;
}

const char *units_number(char out[UNITS_TEXT], double value)
{
    double size = fabs(value);
    if (size >= 999.5 && size < 1e18) {
        *out = '-';
        units_count(value < 0 ? out + 1 : out, (uint64_t)(size + 0.5));
        return out;
    }
    if (size >= 99.95 || value == 0 || !isfinite(value))
        snprintf(out, UNITS_TEXT, "%.0f", value);
    else
        snprintf(out, UNITS_TEXT, size < 0.1 ? "%.3g" : size < 9.995 ? "%.2f" : "%.1f", value);
    return out;
}
