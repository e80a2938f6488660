#include "control/control_json.h"

#include <string.h>

#include "vspc/console_json.h"

/* The functions below write at out and return where they ended. */

static char *put(char *out, const char *text)
{
    return stpcpy(out, text);
}

static char *put_control_character(char *out, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    out = put(out, "\\u00");
    *out++ = digits[c >> 4];
    *out++ = digits[c & 15];
    return out;
}

/* Without quotes; at most six bytes for each of data. */
static char *put_escaped(char *out, const void *data, size_t len)
{
    const uint8_t *in = data, *end = in + len;
    while (in < end) {
        if (*in >= 0x20 && *in < 0x7f && *in != '"' && *in != '\\') {
            *out++ = (char)*in++;
            continue;
        }
        size_t n = *in ? utf8_char_len(in, (size_t)(end - in)) : 0;
        if (n == 0) {
            out = put(out, "\xef\xbf\xbd");
            in++;
        } else if (n > 1) {
            out = mempcpy(out, in, n);
            in += n;
        } else if (*in == '"' || *in == '\\') {
            *out++ = '\\';
            *out++ = (char)*in++;
        } else {
            out = put_control_character(out, *in++);
        }
    }
    return out;
}

/* `"name":"text",` */
static char *put_text(char *out, const char *member, const void *data, size_t len)
{
    out = put(out, member);
    *out++ = '"';
    out = put_escaped(out, data, len);
    return put(out, "\",");
}

static char *put_digits(char *out, uint64_t number, unsigned width)
{
    char digits[20];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number || n < width);
    while (n)
        *out++ = digits[--n];
    return out;
}

/* `"name":1,` */
static char *put_number(char *out, const char *member, uint64_t number)
{
    out = put_digits(put(out, member), number, 1);
    *out++ = ',';
    return out;
}

static char *put_time(char *out, time_t time)
{
    struct tm tm;
    gmtime_r(&time, &tm);
    const struct {
        int value;
        char behind;
    } parts[] = {{tm.tm_year + 1900, '-'}, {tm.tm_mon + 1, '-'}, {tm.tm_mday, 'T'},
                 {tm.tm_hour, ':'},        {tm.tm_min, ':'},     {tm.tm_sec, 'Z'}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        out = put_digits(out, parts[i].value < 0 ? 0 : (uint64_t)parts[i].value, i == 0 ? 4 : 2);
        *out++ = parts[i].behind;
    }
    return out;
}

static char *put_uuid(char *out, bool has_uuid, const uint8_t uuid[UUID_SIZE])
{
    char text[UUID_TEXT] = "";
    if (has_uuid)
        uuid_format(uuid, text);
    return put_text(out, "\"uuid\":", text, strlen(text));
}

/* The comma behind the last member becomes the end of the object. Result: the object's length. */
static size_t end_object(char *begin, char *out)
{
    out[-1] = '}';
    return (size_t)(out - begin);
}

size_t control_row_write(const struct console_row *row, char out[CONTROL_ROW_MAX])
{
    char *at = put_text(out, "{\"name\":", row->name, row->name_len);
    at = put_uuid(at, row->has_uuid, row->uuid);
    at = put_text(at, "\"label\":", row->label, strlen(row->label));
    at = put_text(at, "\"state\":", row->state, strlen(row->state));
    at = put_number(at, "\"port\":", row->port);
    at = put_number(at, "\"users\":", row->users);
    at = put(put_time(put(at, "\"since\":\""), row->since), "\",");
    at = put_number(at, "\"bytes_from_vm\":", row->bytes_from_vm);
    at = put_number(at, "\"bytes_to_vm\":", row->bytes_to_vm);
    return end_object(out, at);
}

size_t control_event_write(const struct event *event, char out[CONTROL_EVENT_MAX])
{
    const char *type = event_type_name(event->type);
    char *at = put_time(put(out, "{\"time\":\""), event->time.tv_sec);
    at[-1] = '.';
    at = put(put_digits(at, (uint64_t)event->time.tv_nsec / 1000000, 3), "Z\",");
    at = put_text(at, "\"type\":", type, strlen(type));
    if (event->type == EVENT_LOST)
        return end_object(out, put_number(at, "\"count\":", event->count));
    at = put_text(at, "\"name\":", event->name, event->name_len);
    at = put_uuid(at, event->has_uuid, event->uuid);
    at = put_text(at, "\"label\":", event->label, strlen(event->label));
    at = put_number(at, "\"port\":", event->port);
    at = put_text(at, "\"who\":", event->who, strlen(event->who));
    at = put_text(at, "\"detail\":", event->detail, strlen(event->detail));
    return end_object(out, at);
}

json_t *control_user_json(const struct user_row *user)
{
    json_t *who = console_json_text(user->who, strlen(user->who));
    return json_pack("{s:I, s:s, s:o, s:s, s:b, s:o, s:I, s:I, s:I}", "id", (json_int_t)user->id, "kind",
                     user->kind, "who", who, "access", console_access_name(user->access), "writes",
                     user->writes, "since", console_json_time(user->since), "bytes_to_user",
                     (json_int_t)user->bytes_to_user, "bytes_from_user", (json_int_t)user->bytes_from_user,
                     "behind", (json_int_t)user->behind);
}
