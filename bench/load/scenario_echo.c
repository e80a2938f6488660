/* echo: VMs are held, and users type at some, each of which echoes. */
#include <stdlib.h>

#include "load_user.h"
#include "load_vm.h"
#include "run.h"
#include "vspc/mem.h"

/* The thread's users who type by the clock, in turn. */
struct typists {
    struct pace_schedule schedule;
    struct load_thread *thread;
    struct load_user **users;
    size_t count, next;
};

static void type_next(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct typists *typists = container_of(schedule, struct typists, schedule);
    struct load_user *user = typists->users[typists->next];
    typists->next = (typists->next + 1) % typists->count;
    if (user->state != LOAD_USER_ATTACHED)
        return;
    if (user->typed == 0)
        user->first_due_ns = due_ns;
    tally_time(&typists->thread->tally, LATENCY_LATE, clock_ns() - due_ns);
    load_user_type(user, 1);
}

/* Has the thread's users type until the time is over. */
static void job_type(struct load_thread *thread)
{
    const struct crew *crew = thread->crew;
    const struct bench_options *options = crew->options;
    struct typists typists = {.thread = thread,
                              .users = xcalloc(crew->user_count + 1, sizeof(struct load_user *))};
    uint64_t until_ns = clock_ns() + options->duration_ms * 1000000;
    for (size_t i = 0; i < crew->user_count; i++)
        if (crew->users[i].thread == thread)
            typists.users[typists.count++] = &crew->users[i];
    if (options->rate > 0 && typists.count) {
        uint64_t interval_ns = (uint64_t)(1e9 / options->rate / (double)typists.count) + 1;
        typists.schedule = (struct pace_schedule){.due_ns = clock_ns(),
                                                  .interval_ns = interval_ns,
                                                  .left = options->duration_ms * 1000000 / interval_ns + 1,
                                                  .fn = type_next};
        for (size_t i = 0; i < typists.count; i++)
            typists.users[i]->interval_ns = interval_ns * typists.count;
        pace_schedule(&thread->pace, &typists.schedule);
    } else {
        for (size_t i = 0; i < typists.count; i++) {
            typists.users[i]->ping_pong = true;
            typists.users[i]->first_due_ns = clock_ns();
            if (typists.users[i]->state == LOAD_USER_ATTACHED)
                load_user_type(typists.users[i], 1);
        }
    }
    load_thread_run(thread, until_ns);
    pace_unschedule(&thread->pace, &typists.schedule);
    for (size_t i = 0; i < typists.count; i++)
        typists.users[i]->ping_pong = false;
    free(typists.users);
}

void scenario_echo(struct run *run)
{
    struct report *report = &run->report;
    struct phase type = {.job = job_type,
                         .what = "keys echoed",
                         .counter = COUNT_ECHOES,
                         .limit_ms = run->options->duration_ms + 1000};
    report->main_latency = LATENCY_ECHO;
    report->main_counter = COUNT_ECHOES;
    run->crew.echo = true;
    if (!run_prepare(run, run->options->users, 1, true))
        return;
    run_measure_begin(run);
    run_phase(run, &type);
    run_measure_end(run);
    double n = (double)run_measured(run, COUNT_ECHOES), cpu_s = run_cpu_s(run);
    if (cpu_s >= 0)
        report_figure(report, "cpu_percent", "server CPU, of one core", "%", cpu_s * 100 / run_seconds(run));
    if (run->options->users == 0)
        return;
    report_figure(report, "echoes_per_s", "echoes a second", "/s", n / run_seconds(run));
    if (n > 0 && cpu_s >= 0)
        report_figure(report, "cpu_us_per_echo", "server CPU per echo", "us", cpu_s * 1e6 / n);
    run_drain(run);
}
