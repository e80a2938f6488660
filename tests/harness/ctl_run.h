/* Ctl run: the real vspcctl, run by a test, and what it prints.
 *
 * Its input and its outputs are files or pipes, so it has no terminal; see terminal.h for one. Functions that
 * do not get what they wait for, or find a sanitizer's report, fail the test. */
#ifndef VSPC_TEST_CTL_RUN_H
#define VSPC_TEST_CTL_RUN_H

#include <jansson.h>

#include "daemon.h"

struct ctl_run {
    pid_t pid;
    char *input, *output, *errors; /* paths */
    char *out, *err;               /* what it printed, once it has ended */
};

/* Starts vspcctl with these arguments, the last NULL, on the daemon's socket (d NULL: on none). input: what
 * it reads, NULL: nothing. Result: a run, which ctl_end frees. */
struct ctl_run *ctl_start(const struct daemon *d, const char *input, size_t input_len, char *const args[]);
/* Waits until it has printed the text. */
void ctl_wait_printed(struct ctl_run *run, const char *text, unsigned timeout_ms);
/* Waits until it ends, with this exit code. */
void ctl_wait(struct ctl_run *run, int code);
/* Ends it, if it still runs. */
void ctl_end(struct ctl_run *run);

/* Runs it to its end, which must be with this code; its standard output must hold the text, or its standard
 * error where the code is not 0. */
void ctl_expect(const struct daemon *d, int code, const char *text, char *const args[]);
/* Runs it to its good end. Result: what it printed, which the caller frees. */
char *ctl_output(const struct daemon *d, char *const args[]);
/* The same, read as JSON. */
json_t *ctl_json(const struct daemon *d, char *const args[]);

#define CTL(...) ((char *[]){__VA_ARGS__, NULL})

#endif
