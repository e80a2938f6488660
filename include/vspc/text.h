/* Text from outside, made safe to show. Pure functions, any thread. */
#ifndef VSPC_TEXT_H
#define VSPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_QUOTED_BYTES = 288 };        /* as many bytes of the original are shown; the rest becomes "..." */
enum { UUID_SIZE = 16, UUID_TEXT = 37 }; /* bytes of a UUID; characters of its text with the NUL */

enum { LABEL_MAX = 32 }; /* bytes of a console's label */

struct quoted {
    char s[4 * TEXT_QUOTED_BYTES + 8];
};

/* In double quotes, for a log line: printable ASCII as it is, `"` and `\` behind a backslash, all else as
 * \xNN. UTF-8 is escaped too: a reader of the log may have any locale. Use as quote(name, len).s in an
 * argument. */
struct quoted quote(const void *data, size_t len);

/* The same without the quotes, for a notice on a user's terminal. */
struct quoted printable(const void *data, size_t len);

/* How many bytes the character at the head of a text has; 0 when there is none that is well-formed (RFC 3629:
 * the shortest form, no surrogates, nothing beyond U+10FFFF). */
size_t utf8_char_len(const uint8_t *in, size_t len);
/* Valid UTF-8: each byte that does not belong into it becomes U+FFFD, and so does NUL, which many readers of
 * JSON cannot take. out has room for 3 * len bytes. Result:
 * how many there are. */
size_t text_utf8(const void *data, size_t len, char *out);

/* 8-4-4-4-12, lower case. */
void uuid_format(const uint8_t uuid[UUID_SIZE], char out[UUID_TEXT]);

struct grouped {
    char s[32];
};

/* In decimal, with a comma between thousands. Use as grouped(n).s in an argument. */
struct grouped grouped(uint64_t n);

/* 0 to 15, or -1 when c is no hexadecimal digit. */
int hex_digit(int c);

#endif
