/* Run: one run of a scenario, from main's side: phases that the crew goes through while main shows progress
 * and keeps the time line, and what every scenario has in common. Main alone. */
#ifndef VSPC_BENCH_RUN_H
#define VSPC_BENCH_RUN_H

#include "crew.h"
#include "report.h"

/* A VM whose user port is known. */
struct located {
    struct load_vm *vm;
    uint16_t port;
};

struct run {
    const struct bench_options *options;
    struct crew crew;
    struct report report;
    struct tally sum, before;     /* of all threads, as last added up; as it was when measuring began */
    struct histogram main_before; /* the main latency when the last moment was noted */
    uint64_t start_ns;            /* of clock_ns */
    uint64_t measure_ns;          /* when measuring began */
    uint64_t moment_ns;
    struct located *located;
    size_t located_count;
};

/* One phase: what the progress line says. */
struct phase {
    job_fn *job;
    const char *what;     /* "VMs identified" */
    enum counter counter; /* how far it is */
    uint64_t total;       /* of the counter; 0: it goes by the clock */
    uint64_t limit_ms;    /* when it ends at the latest; jobs also bound themselves */
};

/* SIGINT or SIGTERM came: what is being done is to end, and to be reported. */
bool run_is_interrupted(void);

/* Checks that there is what the run needs, and starts the crew. Result: 0, or the exit status, 2 or 3, with
 * the reason told. */
int run_start(struct run *run, const struct bench_options *options);
void run_end(struct run *run);

/* Goes through a phase. Result: whether to go on: false after a signal. */
bool run_phase(struct run *run, const struct phase *phase);

/* Everything has failed: why. The first reason stays. */
void run_fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is measured begins, or has ended. */
void run_measure_begin(struct run *run);
void run_measure_end(struct run *run);
/* Since measuring began, all threads. */
uint64_t run_measured(const struct run *run, enum counter counter);
/* Seconds and the server's CPU seconds (negative: not known) that were measured; after run_measure_end. */
double run_seconds(const struct run *run);
double run_cpu_s(const struct run *run);

/* Connects all VMs; those that are not identified in time are lost. Result: as run_phase. */
bool run_connect(struct run *run);
/* Waits until every VM is in Redis. Result: as run_phase. */
bool run_wait_mapped(struct run *run);
/* Both, and then attaches `each` users to n VMs that are spread over all, where there is a choice. alone: the
 * user is the VM's own, who types. Result: as run_phase; false also when users or VMs are missing. */
bool run_prepare(struct run *run, size_t n, unsigned each, bool alone);
/* Waits until everything that was sent has arrived, but not for ever. */
void run_drain(struct run *run);

/* Everything has been done: fills in what is the same for all scenarios, and judges. */
void run_conclude(struct run *run);

/* The scenarios; each fills run->report. */
void scenario_storm(struct run *run);
void scenario_echo(struct run *run);
void scenario_blast(struct run *run);
void scenario_fanout(struct run *run);
void scenario_vmotion(struct run *run);
void scenario_reconnect(struct run *run);
void scenario_soak(struct run *run);

#endif
