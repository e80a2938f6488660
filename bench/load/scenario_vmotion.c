/* vmotion: VMs migrate by the clock, whether or not earlier migrations have ended. */
#include <math.h>

#include "load_user.h"
#include "load_vm.h"
#include "run.h"

enum { LAST_MS = 10000 }; /* until what was begun has ended */

struct mover {
    struct pace_schedule schedule;
    struct load_thread *thread;
    size_t next;
};

static void end_if_all_ended(struct load_thread *thread)
{
    const struct mover *mover = thread->job_data;
    if (mover->schedule.left == 0 && thread->vms_pending == 0)
        pace_stop(&thread->pace);
}

/* Any VM that rests: the one that has not moved for longest. */
static void begin_next(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct mover *mover = container_of(schedule, struct mover, schedule);
    struct load_thread *thread = mover->thread;
    size_t count = load_thread_vms(thread);
    for (size_t tries = 0; tries < count; tries++) {
        struct load_vm *vm = load_thread_vm(thread, mover->next);
        mover->next = (mover->next + 1) % count;
        if (vm->state == LOAD_VM_UP) {
            load_vm_begin(vm, due_ns);
            return;
        }
    }
    load_thread_fail(thread,
                     "no VM was at rest when a migration was due: more VMs, a lower rate or a shorter hold");
    tally_add(&thread->tally, COUNT_MIGRATIONS_FAILED, 1);
    end_if_all_ended(thread);
}

static void job_move(struct load_thread *thread)
{
    const struct crew *crew = thread->crew;
    const struct bench_options *options = crew->options;
    uint64_t interval_ns = (uint64_t)(1e9 * crew->thread_count / options->rate), now_ns = clock_ns();
    struct mover mover = {.thread = thread};
    mover.schedule =
        (struct pace_schedule){.due_ns = now_ns + interval_ns * thread->index / crew->thread_count,
                               .interval_ns = interval_ns,
                               .left = options->duration_ms * 1000000 / interval_ns + 1,
                               .fn = begin_next};
    if (load_thread_vms(thread) == 0)
        return;
    /* cppcheck-suppress autoVariables ; load_thread_rest takes it back */
    thread->job_data = &mover;
    thread->changed = end_if_all_ended;
    pace_schedule(&thread->pace, &mover.schedule);
    load_thread_run(thread, now_ns + (options->duration_ms + options->hold_ms + LAST_MS) * 1000000);
    pace_unschedule(&thread->pace, &mover.schedule);
    load_thread_rest(thread);
    if (!run_is_interrupted())
        load_vms_end_migrations(thread);
}

void scenario_vmotion(struct run *run)
{
    const struct bench_options *options = run->options;
    struct report *report = &run->report;
    struct phase phase = {.job = job_move,
                          .what = "migrations",
                          .counter = COUNT_COMPLETED,
                          .limit_ms = options->duration_ms + options->hold_ms + LAST_MS + 1000};
    report->main_latency = LATENCY_GOAHEAD;
    report->main_counter = COUNT_COMPLETED;
    run->crew.timestamps = true;
    if (!run_prepare(run, options->users, 1, true))
        return;
    run_measure_begin(run);
    run_phase(run, &phase);
    run_measure_end(run);
    double n = (double)run_measured(run, COUNT_COMPLETED), cpu_s = run_cpu_s(run);
    /* Without the time that the last take, unless it was cut short. */
    double seconds = fmin(run_seconds(run), (double)options->duration_ms / 1e3);
    report_figure(report, "migrations", "migrations completed", "", n);
    report_figure(report, "migrations_per_s", "migrations begun a second", "/s",
                  (double)run_measured(run, COUNT_BEGUN) / seconds);
    if (n > 0 && cpu_s >= 0)
        report_figure(report, "cpu_us_per_migration", "server CPU per migration", "us", cpu_s * 1e6 / n);
    run_drain(run);
}
