#include "display.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "vspc/mem.h"

void display_init(void)
{
    setlocale(LC_CTYPE, "");
    /* A script's C locale says nothing about who reads the output. */
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && !isatty(STDOUT_FILENO))
        setlocale(LC_CTYPE, "C.UTF-8");
}

/* What changes the direction of writing, or is nothing to see, and so can make one name look like another. */
static bool is_deceptive(wchar_t c)
{
    return c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
           (c >= 0xe0000 && c <= 0xe0fff);
}

size_t shown_one(const char *text, size_t len, char out[SHOWN_ONE])
{
    wchar_t c;
    mbstate_t state = {0};
    size_t n = mbrtowc(&c, text, len, &state);
    if (n == 0 || n > len) {
        snprintf(out, SHOWN_ONE, "\\x%02x", (unsigned char)*text);
        return 1;
    }
    if (c < 0x80 && !iswprint((wint_t)c))
        snprintf(out, SHOWN_ONE, "\\x%02x", (unsigned)c);
    else if (!iswprint((wint_t)c) || wcwidth(c) < 0 || is_deceptive(c))
        snprintf(out, SHOWN_ONE, "\\u{%x}", (unsigned)c);
    else {
        memcpy(out, text, n);
        out[n] = 0;
    }
    return n;
}

/* How many bytes at the beginning of text are printable ASCII, but backslashes: most text is nothing else,
 * and thousands of rows are not to go through the locale for it. */
static size_t plain_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= 0x20 && text[n] < 0x7f && text[n] != '\\')
        n++;
    return n;
}

char *shown(const char *text, size_t len)
{
    if (plain_len(text, len) == len)
        return xmemdup0(text, len);
    char *result = xmalloc(len * SHOWN_ONE + 1), *at = result;
    while (len) {
        char one[SHOWN_ONE];
        size_t used = shown_one(text, len, one);
        if (*one == '\\' && *text == '\\')
            *at++ = '\\';
        at = stpcpy(at, one);
        text += used;
        len -= used;
    }
    *at = 0;
    return result;
}

char *shown_field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return shown(json_is_string(value) ? json_string_value(value) : "", json_string_length(value));
}

void print_shown(FILE *file, const char *text, size_t len)
{
    char *safe = shown(text, len);
    fputs(safe, file);
    free(safe);
}

size_t shown_cut(const char *text, unsigned width)
{
    size_t at = 0, len = strlen(text);
    mbstate_t state = {0};
    for (unsigned column = 0; at < len;) {
        wchar_t c;
        size_t n = mbrtowc(&c, text + at, len - at, &state);
        if (n == 0 || n > len - at)
            return at;
        int columns = wcwidth(c);
        column += columns > 0 ? (unsigned)columns : 0;
        if (column > width)
            return at;
        at += n;
    }
    return at;
}

unsigned shown_width(const char *text)
{
    size_t len = strlen(text), plain = plain_len(text, len);
    unsigned width = (unsigned)plain;
    mbstate_t state = {0};
    text += plain;
    len -= plain;
    while (len) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, len, &state);
        if (n == 0 || n > len)
            break;
        int columns = wcwidth(c);
        width += columns > 0 ? (unsigned)columns : 0;
        text += n;
        len -= n;
    }
    return width;
}

const char *field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

json_int_t field_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Makes it a number of at most three digits. Result: how many times 1024 it was divided by. */
static int scaled(double *bytes)
{
    int unit = 0;
    for (; *bytes >= 999.5 && unit < 6; unit++)
        *bytes /= 1024;
    return unit;
}

const char *size_short(double bytes, char out[DISPLAY_SHORT])
{
    int unit = scaled(&bytes);
    if (unit == 0)
        snprintf(out, DISPLAY_SHORT, "%.0f", bytes);
    else
        snprintf(out, DISPLAY_SHORT, bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, " KMGTPE"[unit]);
    return out;
}

const char *size_long(double bytes, char out[DISPLAY_SHORT])
{
    int unit = scaled(&bytes);
    if (unit == 0)
        snprintf(out, DISPLAY_SHORT, "%.0f B", bytes);
    else
        snprintf(out, DISPLAY_SHORT, bytes < 9.95 ? "%.1f %ciB" : "%.0f %ciB", bytes, " KMGTPE"[unit]);
    return out;
}

const char *duration_long(double seconds, char out[DISPLAY_SHORT])
{
    static const struct {
        double below, unit; /* both in seconds */
        const char *name;
    } units[] = {{0.9995e-3, 1e-6, "us"}, {0.9995, 1e-3, "ms"}, {120, 1, "s"},
                 {7200, 60, "min"},       {172800, 3600, "h"},  {1e300, 86400, "days"}};
    size_t i = 0;
    while (seconds >= units[i].below)
        i++;
    seconds /= units[i].unit;
    snprintf(out, DISPLAY_SHORT, seconds < 9.95 && seconds > 0 ? "%.1f %s" : "%.0f %s", seconds,
             seconds > 0 ? units[i].name : "s");
    return out;
}

/* The seconds since 1970, or -1. */
static time_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end)
        return -1;
    if (*end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    time_t when = timegm(&tm);
    int hours, minutes;
    char sign;
    if (sscanf(end, "%c%2d:%2d", &sign, &hours, &minutes) == 3 && (sign == '+' || sign == '-'))
        when -= (sign == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
    return when;
}

static const char *format_time(time_t when, const char *format, char out[DISPLAY_SHORT])
{
    struct tm tm;
    if (when < 0 || !localtime_r(&when, &tm) || !strftime(out, DISPLAY_SHORT, format, &tm))
        snprintf(out, DISPLAY_SHORT, "?");
    return out;
}

const char *date_long(time_t when, char out[DISPLAY_SHORT])
{
    return format_time(when, "%Y-%m-%d %H:%M:%S", out);
}

const char *time_short(const char *rfc3339, char out[DISPLAY_SHORT])
{
    time_t when = parse_time(rfc3339);
    bool is_recent = time(NULL) - when < 12 * 3600;
    return format_time(when, is_recent ? "%H:%M:%S" : "%Y-%m-%d", out);
}

const char *time_long(const char *rfc3339, char out[DISPLAY_SHORT])
{
    return date_long(parse_time(rfc3339), out);
}

/* jansson takes DEL for a character like others. */
static int put_ascii(const char *text, size_t len, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < len; i++)
        if (text[i] == 0x7f)
            fputs("\\u007f", stdout);
        else
            putchar(text[i]);
    return 0;
}

void put_json(const json_t *value)
{
    json_dump_callback(value, put_ascii, NULL, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
}

void print_json(const json_t *value)
{
    put_json(value);
    putchar('\n');
}

unsigned display_columns(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}
