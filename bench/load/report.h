/* Report: what a run found, for people on a terminal and in a browser, and for machines.
 *
 * Main alone. The functions that write a file say on standard error what failed, and return 0 or a negative
 * errno. */
#ifndef VSPC_BENCH_REPORT_H
#define VSPC_BENCH_REPORT_H

#include <stdio.h>

#include "options.h"
#include "server.h"
#include "tally.h"

/* One moment of the time line. */
struct moment {
    double at_s; /* since the run began */
    uint64_t counters[COUNTERS];
    uint64_t p50_ns, p99_ns, max_ns; /* of the report's `main_latency`, since the moment before; 0: none */
    struct server_figures server;
};

enum { REPORT_FIGURES_MAX = 24, REPORT_MOMENTS_MAX = 2000 };

/* A number that only this scenario has: "VMs per second". */
struct figure {
    const char *key;  /* in JSON: "vms_per_s" */
    const char *text; /* in a table */
    const char *unit; /* "VM/s", "us", "" */
    double value;
};

struct report {
    const struct bench_options *options;
    bool ok;
    bool interrupted;   /* by Ctrl-C: what follows is of the part that was done */
    char failure[256];  /* why not ok, a sentence; "" */
    double seconds;     /* what was measured took so long */
    double started_at;  /* seconds since 1970 */
    struct tally tally; /* of all threads */
    uint64_t vms_wanted, vms_identified, vms_mapped, vms_lost; /* at the end; lost: in all */
    enum latency main_latency;                                 /* what the charts show */
    enum counter main_counter;                                 /* whose rate they show: COUNT_IDENTIFIED */
    struct server_figures before, after; /* around what was measured; cpu_s of the report is the difference */
    struct figure figures[REPORT_FIGURES_MAX];
    unsigned figure_count;
    struct moment *moments; /* owned */
    size_t moment_count;
    unsigned moments_each, moments_last; /* moments in one of the time line, and in its last; 0: 1 */
};

/* Frees what the report owns. */
void report_free(struct report *report);
/* Adds a figure; key, text and unit must stay. More than REPORT_FIGURES_MAX are left out. */
void report_figure(struct report *report, const char *key, const char *text, const char *unit, double value);
/* Adds a moment, later than those before. However long the run, the time line stays short: when it has
 * REPORT_MOMENTS_MAX, each two become one, with the mean of their percentiles, and so do those to come. */
void report_moment(struct report *report, const struct moment *moment);

/* A plain table on `out`. */
void report_print(const struct report *report, FILE *out);
/* path "-": standard output. */
int report_write_json(const struct report *report, const char *path);
/* One self-contained page with charts of latency and time line as inline SVG. */
int report_write_html(const struct report *report, const char *path);

/* The progress line on standard error when that is a terminal; nothing when it is not. what: "VMs
 * identified". done and total in its unit, total 0: not known; rate a second. Rewrites its line at most ten
 * times a second. */
void progress_show(const char *what, uint64_t done, uint64_t total, double rate, double eta_s);
/* Ends the line, so that other output can follow. */
void progress_end(void);

#endif
