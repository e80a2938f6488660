#include "vspc/console_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/text.h"

json_t *console_json_text(const void *text, size_t len)
{
    char *clean = xmalloc(3 * len + 1);
    size_t n = text_utf8(text, len, clean);
    json_t *string = json_stringn(clean, n);
    free(clean);
    return string;
}

json_t *console_json_time(time_t time)
{
    struct tm tm;
    char text[32];
    gmtime_r(&time, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

json_t *console_json_row(const struct console_row *row)
{
    char uuid[UUID_TEXT] = "";
    if (row->has_uuid)
        uuid_format(row->uuid, uuid);
    return json_pack("{s:o,s:s,s:s,s:s,s:i,s:i,s:o,s:I,s:I}", "name",
                     console_json_text(row->name, row->name_len), "uuid", uuid, "label", row->label, "state",
                     row->state, "port", (int)row->port, "users", (int)row->users, "since",
                     console_json_time(row->since), "bytes_from_vm", (json_int_t)row->bytes_from_vm,
                     "bytes_to_vm", (json_int_t)row->bytes_to_vm);
}

/* A text, or null where there is none. */
static json_t *text_or_null(const char *text)
{
    return text && *text ? console_json_text(text, strlen(text)) : json_null();
}

/* `host:port`, with brackets where the host is an IPv6 address. */
static json_t *endpoint(const char *advertise, uint16_t port)
{
    bool is_v6 = strchr(advertise, ':') != NULL;
    char *text = xasprintf("%s%s%s:%u", is_v6 ? "[" : "", advertise, is_v6 ? "]" : "", port);
    json_t *string = console_json_text(text, strlen(text));
    free(text);
    return string;
}

json_t *console_json_show(const struct console_order *order, const char *advertise)
{
    json_t *console = console_json_row(&order->row);
    json_t *more = json_pack("{s:s,s:i,s:o,s:s,s:I,s:o,s:o}", "identity", order->identity, "worker",
                             (int)order->worker, "endpoint", endpoint(advertise, order->row.port), "peer",
                             order->peer_text, "scrollback", (json_int_t)order->scrollback, "holder",
                             text_or_null(order->holder), "log", text_or_null(order->log));
    json_object_update(console, more);
    json_decref(more);
    return console;
}
