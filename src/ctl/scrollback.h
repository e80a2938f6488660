/* Scrollback: what a console has printed last, asked of vspcd itself, where it keeps no log. */
#ifndef VSPC_CTL_SCROLLBACK_H
#define VSPC_CTL_SCROLLBACK_H

#include <stdbool.h>

#include "ctl_conn.h"
#include "log_text.h"

/* Prints the last lines, and with follow whatever comes then, until vspcd closes the connection (exits).
 * name: the console's. */
void scrollback_print(struct ctl_conn *conn, const char *name, unsigned lines, bool follow,
                      struct log_text *out);

#endif
