/* Bench run: the real vspc-bench, run by a test against a daemon of its own, and what it reports.
 *
 * Its report is read from a JSON file, and what it prints is kept in another, which is shown when the test
 * fails. Functions that do not get what they wait for, or find a sanitizer's report, fail the test. */
#ifndef VSPC_TEST_BENCH_RUN_H
#define VSPC_TEST_BENCH_RUN_H

#include <jansson.h>

#include "daemon.h"
#include "redis.h"

struct bench_run {
    pid_t pid;
    char *json, *output; /* paths */
    json_t *report;      /* NULL: not read, or not written */
};

/* Starts "echo --vms 5", cut at its spaces; a piece between ' and ' stays whole. redis NULL: the options say
 * where it is, or that there is none. Result: a run, which bench_end frees. */
struct bench_run *bench_start(const struct daemon *d, const struct redis *redis, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Waits until it ends, with that exit code; reads its report. */
void bench_wait(struct bench_run *run, int code);
void bench_end(struct bench_run *run);

/* A value of the report, which must be there: bench_number(run, "vms.lost"). */
double bench_number(const struct bench_run *run, const char *path);
bool bench_bool(const struct bench_run *run, const char *path);
/* A string; "" for null. */
const char *bench_text(const struct bench_run *run, const char *path);
/* How often something was timed: "echo". 0: never. */
double bench_count(const struct bench_run *run, const char *latency);
/* Whether it has printed the text up to now. */
bool bench_has_printed(const struct bench_run *run, const char *text);

/* Fails the test unless the run was well: all VMs connected, and in Redis where it was watched, no stream
 * wrong, and each of these timed; the last is NULL. */
void bench_expect_well(const struct bench_run *run, const char *const latencies[]);

#endif
