/* Log name: what a console's log file is called. Pure, any thread.
 *
 * A name can be no path and no other console's rotated file: a placeholder's text holds nothing but letters,
 * digits, `-`, `_`, `.` that is not its first byte, and for every other byte `%` with two hexadecimal digits;
 * and a name that would end like a rotated file (`.1`, `.1.gz`) or one in the making (`~`) has that dot or
 * tilde escaped likewise. */
#ifndef VSPC_LOG_NAME_H
#define VSPC_LOG_NAME_H

#include "vspc/console_log.h"

enum {
    LOG_NAME_PLAIN = 200, /* bytes of a name that no other console has; what is longer is cut, with a hash */
    LOG_NAME_MAX = 240,   /* bytes of any name, without the NUL; a rotation's suffix still fits behind */
};

/* pattern: the key log.file. copy tells two consoles of one name apart: 0, the name as it is; 1, with
 * `-<uuid32>` behind the first placeholder's text, or nothing different where there is no UUID; from 2 on,
 * with
 * `-<copy>` there. Result: the length. */
size_t log_name_make(char out[LOG_NAME_MAX + 1], const char *pattern, const struct console_log_name *who,
                     unsigned copy);

#endif
