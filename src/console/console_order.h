/* Console order: what answers to the control socket share. */
#ifndef VSPC_CONSOLE_ORDER_H
#define VSPC_CONSOLE_ORDER_H

#include "console.h"
#include "vspc/console_query.h"

/* Whether there is anything to be told of yet: it has a user port. */
bool console_is_shown(const struct console *console);
/* What a list says of the console. */
void console_fill_row(const struct console *console, struct console_row *row);
/* What ORDER_SHOW answers. */
void console_order_fill_show(struct console_order *order, const struct console *console);

/* Posts the answer to who asked. */
void console_query_answer(struct console_query *query);

#endif
