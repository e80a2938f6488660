/* blast: VMs print at full speed, each to some users. */
#include "load_user.h"
#include "load_vm.h"
#include "run.h"

static void blast(struct load_thread *thread, bool on)
{
    for (size_t i = 0; i < load_thread_vms(thread); i++)
        load_vm_blast(load_thread_vm(thread, i), on);
}

static void job_blast(struct load_thread *thread)
{
    uint64_t until_ns = clock_ns() + thread->crew->options->duration_ms * 1000000;
    blast(thread, true);
    load_thread_run(thread, until_ns);
    blast(thread, false);
}

void scenario_blast(struct run *run)
{
    struct report *report = &run->report;
    struct phase phase = {.job = job_blast,
                          .what = "bytes delivered",
                          .counter = COUNT_DELIVERED,
                          .limit_ms = run->options->duration_ms + 1000};
    report->main_latency = LATENCY_IDENTIFIED;
    report->main_counter = COUNT_DELIVERED;
    if (!run_prepare(run, run->options->vms, run->options->users, false))
        return;
    run_measure_begin(run);
    run_phase(run, &phase);
    run_measure_end(run);
    double mb = (double)run_measured(run, COUNT_DELIVERED) / 1e6, cpu_s = run_cpu_s(run);
    double printed_mb = (double)run_measured(run, COUNT_PRINTED) / 1e6;
    report_figure(report, "mb_per_s", "delivered to users", "MB/s", mb / run_seconds(run));
    report_figure(report, "printed_mb_per_s", "printed by VMs", "MB/s", printed_mb / run_seconds(run));
    report_figure(report, "skipped_mb", "skipped for users that could not follow", "MB",
                  (double)run_measured(run, COUNT_SKIPPED) / 1e6);
    if (mb > 0 && cpu_s >= 0)
        report_figure(report, "cpu_us_per_mb", "server CPU per MB delivered", "us", cpu_s * 1e6 / mb);
    run_drain(run);
}
