/* A report of a run that never was, for tests of what is written about it. */
#ifndef VSPC_TEST_REPORT_FIXTURE_H
#define VSPC_TEST_REPORT_FIXTURE_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "report.h"
#include "vspc/mem.h"

struct fixture {
    struct bench_options options;
    struct report report;
};

/* Frees what fixture_make made. */
static inline void fixture_free(struct fixture *f)
{
    report_free(&f->report);
    free(f);
}

/* A migration run of so many seconds, a moment each, that went well. */
static inline struct fixture *fixture_make(size_t moments)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->options = (struct bench_options){.scenario = SCENARIO_VMOTION,
                                        .vspc_text = "vspc.example:13370",
                                        .vms = 2000,
                                        .users = 500,
                                        .rate = 12.5,
                                        .duration_ms = 10000,
                                        .hold_ms = 500,
                                        .threads = 2,
                                        .redis = "127.0.0.1:6379",
                                        .map_key = "VM:Port",
                                        .verify = true};
    struct report *r = &f->report;
    r->options = &f->options;
    r->ok = true;
    r->seconds = 10.25;
    r->started_at = 1790000000;
    r->vms_wanted = 2000;
    r->vms_identified = 1999;
    r->vms_mapped = 1998;
    r->vms_lost = 3;
    r->main_latency = LATENCY_GOAHEAD;
    r->main_counter = COUNT_COMPLETED;
    r->before = (struct server_figures){.known = true, .cpu_s = 1.5, .rss_kib = 30000, .fds = 4000};
    r->after = (struct server_figures){.known = true, .cpu_s = 4.75, .rss_kib = 40000, .fds = 4100};
    tally_add(&r->tally, COUNT_DELIVERED, 5000000);
    tally_add(&r->tally, COUNT_STREAM_LOST, 11);
    tally_add(&r->tally, COUNT_STREAM_DOUBLED, 12);
    tally_add(&r->tally, COUNT_STREAM_REORDERED, 13);
    tally_add(&r->tally, COUNT_SKIPPED, 14);
    for (uint64_t i = 1; i <= 1000; i++) {
        tally_time(&r->tally, LATENCY_GOAHEAD, i * 1000 + 7);
        tally_time(&r->tally, LATENCY_FREEZE, i * 500000);
    }
    report_figure(r, "migrations_per_s", "migrations a second", "1/s", 97.5);
    for (size_t i = 0; i < moments; i++) {
        struct moment m = {
            .at_s = (double)i + 1,
            .p50_ns = 500007,
            .p99_ns = 990007,
            .max_ns = 1000007,
            .server = {.known = true, .cpu_s = 1.5 + (double)i, .rss_kib = 30000, .fds = 4000}};
        m.counters[COUNT_COMPLETED] = 100 * (i + 1);
        report_moment(r, &m);
    }
    return f;
}

#endif
