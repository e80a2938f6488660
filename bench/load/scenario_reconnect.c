/* reconnect: all VMs lose their connections, to a server that is restarted or by themselves, and come back.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load_vm.h"
#include "redis_watch.h"
#include "run.h"
#include "vspc/mem.h"

enum { RETRY_MS = 20 };

/* A thread's VMs that are on their way back. */
struct returning {
    struct pace_schedule schedule;
    struct load_thread *thread;
    size_t next; /* where to look for one that is down */
};

/* Whether every VM has been away, and is back or lost. */
static bool all_are_back(struct load_thread *thread)
{
    size_t count = load_thread_vms(thread);
    return thread->vms_returned >= count && thread->vms_up == count;
}

/* VMs that are down connect again, as an ESXi host would; some at a time. */
static void retry(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct returning *returning = container_of(schedule, struct returning, schedule);
    struct load_thread *thread = returning->thread;
    size_t count = load_thread_vms(thread), most = LOAD_VMS_IN_FLIGHT / thread->crew->thread_count + 1;
    (void)due_ns;
    for (size_t i = 0; i < count && thread->vms_connecting < most; i++) {
        struct load_vm *vm = load_thread_vm(thread, returning->next);
        returning->next = (returning->next + 1) % count;
        if (vm->state == LOAD_VM_DOWN)
            load_vm_connect(vm, clock_ns());
    }
    if (all_are_back(thread))
        pace_stop(&thread->pace);
}

static void job_return(struct load_thread *thread)
{
    const struct bench_options *options = thread->crew->options;
    struct returning returning = {.thread = thread};
    uint64_t until_ns = clock_ns() + options->duration_ms * 1000000;
    thread->vms_return = true;
    if (!options->restart_command)
        for (size_t i = 0; i < load_thread_vms(thread); i++)
            load_vm_drop(load_thread_vm(thread, i), true);
    returning.schedule = (struct pace_schedule){
        .due_ns = clock_ns(), .interval_ns = RETRY_MS * 1000000, .left = UINT64_MAX, .fn = retry};
    pace_schedule(&thread->pace, &returning.schedule);
    load_thread_run(thread, until_ns);
    pace_unschedule(&thread->pace, &returning.schedule);
    thread->vms_return = false;
    for (size_t i = 0; i < load_thread_vms(thread); i++) {
        struct load_vm *vm = load_thread_vm(thread, i);
        if (vm->state != LOAD_VM_UP && !run_is_interrupted())
            load_vm_lose(vm, "it did not come back in time");
    }
}

/* Starts the command. Standard output is the report's, and whoever reads that must not wait for the end of a
 * server which the command has left behind. Result: its process, or a negative errno. */
static pid_t start_command(const char *command)
{
    char *argv[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    int err = posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err ? -err : pid;
}

/* How many VMs have the user port that they had before. */
static size_t count_kept(const struct run *run, const uint16_t *before)
{
    size_t kept = 0;
    for (uint32_t i = 0; i < run->options->vms; i++)
        kept += before[i] && redis_watch_port(run->crew.watch, i) == before[i];
    return kept;
}

/* What was found, once all are back, or should be. */
static void tell(struct run *run, const uint16_t *before)
{
    struct report *report = &run->report;
    const struct crew *crew = &run->crew;
    size_t back = 0;
    for (unsigned i = 0; i < crew->thread_count; i++)
        back += crew->threads[i].vms_returned;
    if (back < run->options->vms) {
        run_fail(
            run,
            "only %zu of %u VMs lost their connection and came back: does the command restart the server?",
            back, run->options->vms);
        return;
    }
    report_figure(report, "back_s", "until all VMs were back", "s",
                  (double)(crew_last_identified_ns(crew) - run->measure_ns) / 1e9);
    if (!crew->watch)
        return;
    report_figure(report, "back_mapped_s", "until all were in Redis again", "s",
                  (double)(redis_watch_last_ns(crew->watch) - run->measure_ns) / 1e9);
    report_figure(report, "ports_kept", "VMs that kept their user port", "", (double)count_kept(run, before));
}

void scenario_reconnect(struct run *run)
{
    const struct bench_options *options = run->options;
    struct report *report = &run->report;
    struct phase phase = {.job = job_return,
                          .what = "VMs back",
                          .counter = COUNT_IDENTIFIED,
                          .total = options->vms,
                          .limit_ms = options->duration_ms + 1000};
    report->main_latency = LATENCY_BACK;
    report->main_counter = COUNT_IDENTIFIED;
    if (!run_connect(run) || !run_wait_mapped(run))
        return;
    uint16_t *before = xcalloc(options->vms, sizeof *before);
    for (uint32_t i = 0; run->crew.watch && i < options->vms; i++)
        before[i] = redis_watch_port(run->crew.watch, i);
    run_measure_begin(run);
    pid_t command = options->restart_command ? start_command(options->restart_command) : 0;
    if (command < 0)
        run_fail(run, "cannot run the restart command: %s", strerror((int)-command));
    else if (run_phase(run, &phase) && run_wait_mapped(run))
        tell(run, before);
    run_measure_end(run);
    int status = 0;
    if (command > 0 && waitpid(command, &status, WNOHANG) == command && status) {
        /* The rest follows from that. */
        *report->failure = 0;
        run_fail(run, "the restart command failed: status %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : status);
    }
    free(before);
}
