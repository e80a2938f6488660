/* Control JSON: rows, users and events of consoles as JSON text. Pure functions.
 *
 * What a VM sent may be any bytes, and leaves as valid UTF-8: each byte that does not belong stands as
 * U+FFFD, and so does NUL, which many readers of JSON cannot take. Rows and events are written by hand: a
 * list has thousands of them. */
#ifndef VSPC_CONTROL_JSON_H
#define VSPC_CONTROL_JSON_H

#include <jansson.h>

#include "vspc/console_query.h"
#include "vspc/event.h"

enum {
    CONTROL_ROW_MAX = 6 * (CONSOLE_NAME_MAX + LABEL_MAX) + 512,
    CONTROL_EVENT_MAX = 6 * (EVENT_NAME_MAX + LABEL_MAX + EVENT_WHO + EVENT_DETAIL) + 512,
};

/* The row as an object, without a NUL. Result: its length. */
size_t control_row_write(const struct console_row *row, char out[CONTROL_ROW_MAX]);
/* Likewise. */
size_t control_event_write(const struct event *event, char out[CONTROL_EVENT_MAX]);

/* Result: a new reference. */
json_t *control_user_json(const struct user_row *user);

#endif
