/* Units: numbers as people read them.
 *
 * Pure functions, any thread. Each writes into the caller's buffer and returns it. */
#ifndef VSPC_UNITS_H
#define VSPC_UNITS_H

#include <stdint.h>

enum { UNITS_TEXT = 48 };

/* "1,234,567". */
const char *units_count(char out[UNITS_TEXT], uint64_t n);
/* A time that was measured, with three digits or four: "812 ns", "1.23 ms", "71.5 s", "5 min 20 s". */
const char *units_time(char out[UNITS_TEXT], double ns);
/* A duration as it is configured, in the largest unit that shows it exactly: "500ms", "1min". */
const char *units_duration(char out[UNITS_TEXT], uint64_t ms);
/* Memory: "512 B", "33.1 MiB". */
const char *units_bytes(char out[UNITS_TEXT], double bytes);
/* Any number, with at least three digits: "0.0123", "12.3", "1,234". */
const char *units_number(char out[UNITS_TEXT], double value);

#endif
