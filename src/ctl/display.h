/* Display: what comes from outside, as a terminal may be shown it; sizes and times for people. */
#ifndef VSPC_CTL_DISPLAY_H
#define VSPC_CTL_DISPLAY_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

enum { DISPLAY_SHORT = 32, SHOWN_ONE = 16 };

/* Takes the locale; where output goes to no terminal, UTF-8 stays UTF-8 in any. To be called first. */
void display_init(void);

/* Text with backslashes doubled, and everything escaped that a terminal would act on or not show: \xNN for a
 * byte, \u{NN} for a character (controls, directions of writing, what the locale cannot print). The caller
 * frees. */
char *shown(const char *text, size_t len);
/* The first character of text (len > 0), or byte that is none, likewise; but a backslash stays one. Result:
 * how many bytes of text that was. */
size_t shown_one(const char *text, size_t len, char out[SHOWN_ONE]);
/* The string under this key, shown; "" when there is none. The caller frees. */
char *shown_field(const json_t *object, const char *key);
/* Prints text, shown. */
void print_shown(FILE *file, const char *text, size_t len);
/* How many columns of a terminal text takes that was made by shown. */
unsigned shown_width(const char *text);
/* The longest beginning of it that takes no more than width columns. Result: its bytes. */
size_t shown_cut(const char *text, unsigned width);

/* The string, the number under this key; "" and 0 when there is none. */
const char *field_text(const json_t *object, const char *key);
json_int_t field_number(const json_t *object, const char *key);

/* "512", "1.4K", "23M". */
const char *size_short(double bytes, char out[DISPLAY_SHORT]);
/* "512 B", "1.4 KiB", "23 MiB". */
const char *size_long(double bytes, char out[DISPLAY_SHORT]);
/* "12 us", "3.4 ms", "2.5 s", "20 min", "5 h", "12 days". */
const char *duration_long(double seconds, char out[DISPLAY_SHORT]);
/* "2026-11-20 14:02:33", here. */
const char *date_long(time_t when, char out[DISPLAY_SHORT]);
/* A time of RFC 3339 here: "14:02:33" within the last 12 hours, else "2026-11-20"; or the whole of it. What
 * is no such time comes out as "?". */
const char *time_short(const char *rfc3339, char out[DISPLAY_SHORT]);
const char *time_long(const char *rfc3339, char out[DISPLAY_SHORT]);

/* One JSON value, in printable ASCII; and the same with a newline. */
void put_json(const json_t *value);
void print_json(const json_t *value);

/* How many columns standard output has; 0: it is no terminal. */
unsigned display_columns(void);

#endif
