/* storm: all VMs connect, at a rate or as fast as it goes. */
#include "crew.h"
#include "load_vm.h"
#include "redis_watch.h"
#include "run.h"

enum { REST_MS = 1500 }; /* until the server's memory is what it is at rest */

static void job_rest(struct load_thread *thread)
{
    load_thread_run(thread, clock_ns() + REST_MS * UINT64_C(1000000));
}

void scenario_storm(struct run *run)
{
    struct crew *crew = &run->crew;
    struct report *report = &run->report;
    struct phase rest = {
        .job = job_rest, .what = "VMs at rest", .counter = COUNT_PRINTED, .limit_ms = REST_MS};
    report->main_latency = LATENCY_IDENTIFIED;
    report->main_counter = COUNT_IDENTIFIED;
    run_measure_begin(run);
    if (run_connect(run))
        run_wait_mapped(run);
    run_measure_end(run);
    uint64_t last_ns = crew_last_identified_ns(crew);
    double n = (double)run_measured(run, COUNT_IDENTIFIED),
           seconds = (double)(last_ns - run->measure_ns) / 1e9;
    if (n > 0)
        report_figure(report, "vms_per_s", "VMs identified a second", "/s", n / seconds);
    if (n > 0 && run_cpu_s(run) >= 0)
        report_figure(report, "cpu_us_per_vm", "server CPU per VM, until it is in Redis", "us",
                      run_cpu_s(run) * 1e6 / n);
    uint64_t mapped_ns = crew->watch ? redis_watch_last_ns(crew->watch) : 0;
    if (mapped_ns)
        report_figure(report, "last_mapping_ms", "last VM identified to last VM in Redis", "ms",
                      mapped_ns > last_ns ? (double)(mapped_ns - last_ns) / 1e6 : 0);
    run_phase(run, &rest);
    struct server_figures at_rest = server_look(run->options->pid);
    if (!at_rest.known || !report->before.known)
        return;
    report->after.rss_kib = at_rest.rss_kib;
    report->after.fds = at_rest.fds;
    if (n > 0)
        report_figure(report, "rss_bytes_per_vm", "server memory per VM, at rest", "B",
                      ((double)at_rest.rss_kib - (double)report->before.rss_kib) * 1024 / n);
}
