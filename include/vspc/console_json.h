/* Console JSON: what console_query.h answers, as vspc-control(7) shows it. Pure functions, any thread. */
#ifndef VSPC_CONSOLE_JSON_H
#define VSPC_CONSOLE_JSON_H

#include <jansson.h>

#include "vspc/console_query.h"

/* Text of any bytes; each that does not belong into UTF-8 stands as U+FFFD. Result: a new reference. */
json_t *console_json_text(const void *text, size_t len);
/* A time as RFC 3339, to the second, UTC. Result: a new reference. */
json_t *console_json_time(time_t time);
/* What *list* says of a console. Result: a new reference. */
json_t *console_json_row(const struct console_row *row);
/* What *show* says, of an answered order of type SHOW or ATTACH. advertise: the host name users connect to.
 * Result: a new reference. */
json_t *console_json_show(const struct console_order *order, const char *advertise);

#endif
