/* Follow: a file that grows, from its last lines on, also when it is truncated, or another takes its name. */
#ifndef VSPC_CTL_FOLLOW_H
#define VSPC_CTL_FOLLOW_H

#include <stdbool.h>

#include "log_text.h"

/* Prints its last lines, and with follow whatever comes then, without end. Result: 0 or a negative errno: the
 * file cannot be read. With follow, one that is not there yet is waited for. */
int follow_file(const char *path, unsigned lines, bool follow, struct log_text *out);

#endif
