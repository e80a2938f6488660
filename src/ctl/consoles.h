/* Consoles: the rows that `list` answers, and which of them a person's patterns mean. */
#ifndef VSPC_CTL_CONSOLES_H
#define VSPC_CTL_CONSOLES_H

#include <jansson.h>

#include "ctl_conn.h"

/* All consoles, in no order; exits when that fails. Result: an array, which the caller frees. */
json_t *consoles_list(struct ctl_conn *conn);

/* What the arguments from first on match: by name, name.label or UUID, globs (of fnmatch) or, if is_regex,
 * POSIX extended regular expressions; all without arguments; sorted by name. Exits with CTL_USAGE on a bad
 * expression. */
json_t *consoles_matching(struct ctl_conn *conn, const struct call *call, unsigned first, unsigned end,
                          bool is_regex);

/* Its name with its label behind it; the caller frees. NULs are in it as such: *len. */
char *console_name(const json_t *console, size_t *len);
/* The same, shown. */
char *console_shown_name(const json_t *console);
/* What names this console and no other; the caller frees. */
char *console_handle(const json_t *console);

#endif
