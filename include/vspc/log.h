/* The log: lines on standard error, written by a thread of its own.
 *
 * Any thread may log; nobody ever waits for the reader of standard error. A line is a sentence with key=value
 * behind it: `VM connected vm="vm1" port=20004`. Text from outside goes through quote() (text.h). Before
 * log_start and after log_stop, lines are written at once by the caller. */
#ifndef VSPC_LOG_H
#define VSPC_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are not made at all. Default: info. */
void log_set_level(enum log_level level);
bool log_wants(enum log_level level);

/* Starts the log writer. When standard error is the journal's, lines carry systemd's priority prefix and no
 * time. Result: 0 or a negative errno. */
int log_start(void);

/* Writes what is queued and ends the writer, waiting at most timeout_ms for a reader of standard error that
 * does not read. */
void log_stop(unsigned timeout_ms);
/* The same where a thread that is stuck may still log: frees nothing, and what is logged from now on is not
 * written. Result: whether all was written. */
bool log_end_writing(unsigned timeout_ms);

/* Queues one line. When 8,192 lines wait, the line is dropped and counted; the count is logged later. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How many lines were dropped since the start. Any thread. */
uint64_t log_lines_lost(void);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) (log_wants(LOG_LEVEL_INFO) ? log_line(LOG_LEVEL_INFO, __VA_ARGS__) : (void)0)
#define log_debug(...) (log_wants(LOG_LEVEL_DEBUG) ? log_line(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)

/* At most `burst` lines in each window of `window_ms`, for what a peer could flood. All zero but burst and
 * window_ms is ready to use. Not shared between threads. */
struct log_rate {
    unsigned burst;
    unsigned window_ms;
    unsigned used;
    unsigned suppressed;
    uint64_t window_start_ms;
};

/* true: log this one; *suppressed then tells how many were not logged since the last that was. */
bool log_rate_allows(struct log_rate *rate, uint64_t now_ms, unsigned *suppressed);

/* At most one line a second, whichever thread it comes from. All zero is ready to use. */
struct log_second {
    atomic_uint_fast64_t next_ms; /* not before then */
    atomic_uint suppressed;
};

/* As log_rate_allows. */
bool log_second_allows(struct log_second *second, uint64_t now_ms, unsigned *suppressed);

#endif
