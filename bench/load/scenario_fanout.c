/* fanout: one VM prints chunks by the clock, and many users read. */
#include <stdlib.h>

#include "load_user.h"
#include "load_vm.h"
#include "run.h"
#include "vspc/mem.h"

/* The job is one at a time. */
static struct printer {
    struct pace_schedule schedule;
    struct load_vm *vm;
    struct delivery_marks marks;
} printer;

static void print_next(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct load_vm *vm = printer.vm;
    size_t len = vm->thread->crew->options->chunk, n = printer.marks.count;
    (void)schedule;
    if (vm->state != LOAD_VM_UP)
        return;
    printer.marks.marks[n].end = vm->printed + len;
    printer.marks.marks[n].due_ns = due_ns;
    atomic_store_explicit(&printer.marks.count, n + 1, memory_order_release);
    tally_time(&vm->thread->tally, LATENCY_LATE, clock_ns() - due_ns);
    load_vm_print(vm, len);
}

static void job_fanout(struct load_thread *thread)
{
    const struct bench_options *options = thread->crew->options;
    uint64_t until_ns = clock_ns() + options->duration_ms * 1000000;
    if (printer.vm->thread == thread) {
        printer.schedule = (struct pace_schedule){.due_ns = clock_ns(),
                                                  .interval_ns = (uint64_t)(1e9 / options->rate),
                                                  .left = printer.marks.cap,
                                                  .fn = print_next};
        pace_schedule(&thread->pace, &printer.schedule);
    }
    load_thread_run(thread, until_ns);
    pace_unschedule(&thread->pace, &printer.schedule);
}

void scenario_fanout(struct run *run)
{
    const struct bench_options *options = run->options;
    struct report *report = &run->report;
    struct phase phase = {.job = job_fanout,
                          .what = "bytes delivered",
                          .counter = COUNT_DELIVERED,
                          .limit_ms = options->duration_ms + 1000};
    report->main_latency = LATENCY_DELIVERY;
    report->main_counter = COUNT_DELIVERED;
    if (!run_prepare(run, 1, options->users, false))
        return;
    printer.vm = run->located[0].vm;
    printer.marks.cap = (size_t)(options->rate * (double)options->duration_ms / 1e3) + 1;
    printer.marks.marks = xcalloc(printer.marks.cap, sizeof *printer.marks.marks);
    for (size_t i = 0; i < run->crew.user_count; i++)
        run->crew.users[i].marks = &printer.marks;
    run_measure_begin(run);
    run_phase(run, &phase);
    run_measure_end(run);
    double bytes = (double)run_measured(run, COUNT_DELIVERED), cpu_s = run_cpu_s(run);
    report_figure(report, "mb_per_s", "delivered to users", "MB/s", bytes / 1e6 / run_seconds(run));
    if (bytes > 0 && cpu_s >= 0)
        report_figure(report, "cpu_ns_per_byte", "server CPU per byte delivered", "ns", cpu_s * 1e9 / bytes);
    run_drain(run);
    for (size_t i = 0; i < run->crew.user_count; i++)
        run->crew.users[i].marks = NULL;
    free(printer.marks.marks);
}
