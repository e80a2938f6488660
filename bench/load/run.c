#include "run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load_user.h"
#include "load_vm.h"
#include "redis_watch.h"
#include "vspc/mem.h"

enum { LOOK_MS = 50, REACH_MS = 3000, SPARE_DESCRIPTORS = 64 };

#define MOMENT_NS UINT64_C(1000000000)

static atomic_int interrupted; /* how often */

static void on_signal(int number)
{
    (void)number;
    /* Whoever asks twice does not want to wait for the report. */
    if (interrupted++)
        _exit(130);
}

bool run_is_interrupted(void)
{
    return interrupted != 0;
}

void run_fail(struct run *run, const char *format, ...)
{
    va_list args;
    if (*run->report.failure)
        return;
    va_start(args, format);
    vsnprintf(run->report.failure, sizeof run->report.failure, format, args);
    va_end(args);
}

/* Adds up what all threads have counted. */
static void add_up(struct run *run)
{
    memset(&run->sum, 0, sizeof run->sum);
    for (unsigned i = 0; i < run->crew.thread_count; i++)
        tally_merge(&run->sum, &run->crew.threads[i].tally);
    if (run->crew.watch)
        tally_merge(&run->sum, redis_watch_tally(run->crew.watch));
}

/* One counter, as it is now. Not add_up, whose histograms would drive what is measured out of the caches. */
static uint64_t count_now(const struct run *run, enum counter counter)
{
    uint64_t n = run->crew.watch ? tally_get(redis_watch_tally(run->crew.watch), counter) : 0;
    for (unsigned i = 0; i < run->crew.thread_count; i++)
        n += tally_get(&run->crew.threads[i].tally, counter);
    return n;
}

/* Notes a moment of the time line, if it is time for one. */
static void note_moment(struct run *run, bool at_once)
{
    uint64_t now_ns = clock_ns();
    if (!at_once && now_ns - run->moment_ns < MOMENT_NS)
        return;
    run->moment_ns = now_ns;
    add_up(run);
    struct moment moment = {.at_s = (double)(now_ns - run->start_ns) / 1e9};
    const struct histogram *all = &run->sum.latencies[run->report.main_latency];
    struct histogram *since = xcalloc(1, sizeof *since);
    for (int i = 0; i < COUNTERS; i++)
        moment.counters[i] = tally_get(&run->sum, (enum counter)i);
    histogram_merge(since, all);
    histogram_subtract(since, &run->main_before);
    moment.p50_ns = histogram_percentile(since, 50);
    moment.p99_ns = histogram_percentile(since, 99);
    moment.max_ns = histogram_percentile(since, 100);
    memset(&run->main_before, 0, sizeof run->main_before);
    histogram_merge(&run->main_before, all);
    free(since);
    moment.server = server_look(run->options->pid);
    report_moment(&run->report, &moment);
}

/* Whether the server takes connections at all. */
static int reach(const struct sock_addr *to)
{
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval timeout = {.tv_sec = REACH_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    int err = connect(fd, &to->sa, to->len) < 0 ? -errno : 0;
    close(fd);
    return err == -EINPROGRESS ? -ETIMEDOUT : err;
}

/* Raises the descriptor limit. Result: whether it is high enough. */
static bool has_descriptors(const struct bench_options *options)
{
    struct rlimit limit;
    unsigned users = options->scenario == SCENARIO_BLAST ? options->users * options->vms : options->users;
    rlim_t need = (rlim_t)options->vms + users + 2 * (rlim_t)options->threads + SPARE_DESCRIPTORS;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need)
        return true;
    fprintf(stderr,
            "vspc-bench: %u VMs and %u users need %ju file descriptors, but the limit is %ju: raise it "
            "(ulimit -Hn) or "
            "use fewer\n",
            options->vms, users, (uintmax_t)need, (uintmax_t)limit.rlim_cur);
    return false;
}

int run_start(struct run *run, const struct bench_options *options)
{
    struct sigaction action = {.sa_handler = on_signal};
    char why[160];
    memset(run, 0, sizeof *run);
    run->options = options;
    run->report.options = options;
    if (!has_descriptors(options))
        return 2;
    if (options->pid && !server_look(options->pid).known) {
        fprintf(stderr, "vspc-bench: --pid %d: there is no such process\n", options->pid);
        return 2;
    }
    int err = reach(&options->vspc);
    if (err) {
        fprintf(stderr, "vspc-bench: cannot reach the server at %s: %s\n", options->vspc_text,
                strerror(-err));
        return 3;
    }
    struct redis_watch *watch = options->redis ? redis_watch_start(options, why) : NULL;
    if (options->redis && !watch) {
        fprintf(stderr,
                "vspc-bench: cannot use Redis at %s: %s (REDISCLI_AUTH is its password; --redis none does "
                "without)\n",
                options->redis, why);
        return 3;
    }
    err = crew_start(&run->crew, options);
    run->crew.watch = watch;
    if (err) {
        fprintf(stderr, "vspc-bench: cannot start: %s\n", strerror(-err));
        return 3;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    run->report.started_at = (double)time(NULL);
    run->start_ns = run->moment_ns = run->measure_ns = clock_ns();
    return 0;
}

void run_end(struct run *run)
{
    redis_watch_stop(run->crew.watch);
    run->crew.watch = NULL;
    crew_end(&run->crew);
    free(run->located);
    report_free(&run->report);
}

/* Takes over what the threads say has failed. */
static void note_failures(struct run *run)
{
    for (unsigned i = 0; i < run->crew.thread_count; i++)
        if (*run->crew.threads[i].failure)
            run_fail(run, "%s", run->crew.threads[i].failure);
}

/* Whether there is nothing left to put under load. */
static bool all_vms_are_lost(const struct run *run)
{
    return count_now(run, COUNT_VMS_LOST) >= run->options->vms;
}

/* The progress line. */
static void show(const struct run *run, const struct phase *phase, uint64_t began_ns, uint64_t first)
{
    double elapsed_s = (double)(clock_ns() - began_ns) / 1e9;
    uint64_t done = count_now(run, phase->counter) - first;
    double rate = elapsed_s > 0 ? (double)done / elapsed_s : 0;
    double left_s = (double)phase->limit_ms / 1e3 - elapsed_s;
    if (phase->total)
        left_s = rate > 0 && done < phase->total ? (double)(phase->total - done) / rate : 0;
    progress_show(phase->what, done, phase->total, rate, left_s > 0 ? left_s : 0);
}

bool run_phase(struct run *run, const struct phase *phase)
{
    uint64_t began_ns = clock_ns();
    if (interrupted)
        return false;
    uint64_t first = count_now(run, phase->counter);
    crew_begin(&run->crew, phase->job);
    while (!crew_wait(&run->crew, LOOK_MS)) {
        if (interrupted || all_vms_are_lost(run) || clock_ns() - began_ns > phase->limit_ms * 1000000)
            crew_hurry(&run->crew);
        show(run, phase, began_ns, first);
        note_moment(run, false);
    }
    add_up(run);
    note_failures(run);
    return !interrupted;
}

void run_measure_begin(struct run *run)
{
    add_up(run);
    memset(&run->before, 0, sizeof run->before);
    tally_merge(&run->before, &run->sum);
    run->report.before = server_look(run->options->pid);
    run->measure_ns = clock_ns();
    note_moment(run, true);
}

void run_measure_end(struct run *run)
{
    run->report.seconds = (double)(clock_ns() - run->measure_ns) / 1e9;
    run->report.after = server_look(run->options->pid);
    add_up(run);
    note_moment(run, true);
}

uint64_t run_measured(const struct run *run, enum counter counter)
{
    return tally_get(&run->sum, counter) - tally_get(&run->before, counter);
}

/* Whether the run was well, and if not why. */
static void judge(struct run *run)
{
    struct report *report = &run->report;
    static const enum counter bad[] = {COUNT_VMS_LOST, COUNT_USERS_LOST, COUNT_MIGRATIONS_FAILED};
    note_failures(run);
    uint64_t lost = tally_get(&run->sum, COUNT_STREAM_LOST),
             doubled = tally_get(&run->sum, COUNT_STREAM_DOUBLED),
             reordered = tally_get(&run->sum, COUNT_STREAM_REORDERED);
    if (lost + doubled + reordered)
        run_fail(run, "of streams, %" PRIu64 " bytes were lost, %" PRIu64 " doubled, %" PRIu64 " reordered",
                 lost, doubled, reordered);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tally_get(&run->sum, bad[i]))
            run_fail(run, "VMs, users or migrations were lost");
    if (report->vms_identified < report->vms_wanted && !report->interrupted)
        run_fail(run, "only %" PRIu64 " of %" PRIu64 " VMs were connected at the end", report->vms_identified,
                 report->vms_wanted);
    report->ok = !*report->failure;
}

void run_conclude(struct run *run)
{
    struct crew *crew = &run->crew;
    struct report *report = &run->report;
    if (report->seconds == 0)
        run_measure_end(run);
    report->interrupted = crew->cut_short = run_is_interrupted();
    for (size_t i = 0; i < crew->user_count; i++)
        if (crew->users[i].state == LOAD_USER_ATTACHED)
            load_user_account(&crew->users[i]);
    add_up(run);
    tally_merge(&report->tally, &run->sum);
    report->vms_wanted = run->options->vms;
    report->vms_lost = tally_get(&run->sum, COUNT_VMS_LOST);
    for (unsigned i = 0; i < run->options->vms; i++) {
        struct load_vm *vm = &crew->vms[i];
        report->vms_identified += vm->state == LOAD_VM_UP || load_vm_migrates(vm);
    }
    report->vms_mapped = crew->watch ? redis_watch_mapped(crew->watch) : 0;
    judge(run);
}

double run_seconds(const struct run *run)
{
    return run->report.seconds;
}

double run_cpu_s(const struct run *run)
{
    const struct report *report = &run->report;
    return report->before.known && report->after.known ? report->after.cpu_s - report->before.cpu_s : -1;
}
