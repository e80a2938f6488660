/* soak: what a datacenter does all day: most VMs are idle, some are talked to, users come and go, VMs migrate
 * and flap. Every stream is checked. */
#include <stdlib.h>

#include "load_user.h"
#include "load_vm.h"
#include "run.h"
#include "vspc/mem.h"

enum { LAST_MS = 10000, RETURN_MS = 50, PRINT_MAX = 400, KEYS_MAX = 8 };

/* Of a hundred events. */
enum { CHATS = 60, PRINTS = 20, COMINGS = 8, MIGRATIONS = 6 /* the rest are flaps */ };

struct day {
    struct pace_schedule events, returns;
    struct load_thread *thread;
    struct load_user **users;
    size_t user_count;
    uint64_t end_ns;
};

/* Whether the VM may be dropped, or its user leave, with nothing on its way. */
static bool is_quiet(const struct load_vm *vm)
{
    return vm->state == LOAD_VM_UP && (!vm->user || load_user_is_quiet(vm->user));
}

static struct load_vm *any_vm(struct load_thread *thread)
{
    return load_thread_vm(thread, (size_t)load_random(thread, load_thread_vms(thread)));
}

/* A user types, and his VM prints. */
static void chat(struct day *day, uint64_t due_ns)
{
    struct load_thread *thread = day->thread;
    struct load_user *user = day->users[load_random(thread, day->user_count)];
    struct load_vm *vm = user->vm;
    if (user->state != LOAD_USER_ATTACHED || vm->state != LOAD_VM_UP)
        return;
    load_user_type(user, 1 + (size_t)load_random(thread, KEYS_MAX));
    if (vm->state != LOAD_VM_UP)
        return;
    size_t len = 1 + (size_t)load_random(thread, PRINT_MAX);
    if (!user->chat_end) {
        user->chat_end = vm->printed + len;
        user->chat_due_ns = due_ns;
    }
    load_vm_print(vm, len);
}

/* A user leaves, or one who has left comes back. */
static void come_or_go(struct day *day)
{
    struct load_user *user = day->users[load_random(day->thread, day->user_count)];
    if (user->state == LOAD_USER_DOWN)
        load_user_attach(user, user->port);
    else if (user->state == LOAD_USER_ATTACHED && is_quiet(user->vm))
        load_user_leave(user);
}

static void on_event(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct day *day = container_of(schedule, struct day, events);
    struct load_thread *thread = day->thread;
    uint64_t kind = load_random(thread, 100);
    struct load_vm *vm = any_vm(thread);
    tally_time(&thread->tally, LATENCY_LATE, clock_ns() - due_ns);
    if (kind < CHATS + COMINGS && day->user_count) {
        if (kind < CHATS)
            chat(day, due_ns);
        else
            come_or_go(day);
    } else if (!is_quiet(vm)) {
        return;
    } else if (kind < CHATS + COMINGS + PRINTS) {
        load_vm_print(vm, 1 + (size_t)load_random(thread, PRINT_MAX));
    } else if (kind < CHATS + COMINGS + PRINTS + MIGRATIONS) {
        load_vm_begin(vm, due_ns);
    } else {
        if (vm->user && vm->user->state == LOAD_USER_ATTACHED)
            load_user_wait(vm->user);
        load_vm_drop(vm, false);
    }
}

/* VMs that are down come back, some sooner and some later. */
static void on_return(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct day *day = container_of(schedule, struct day, returns);
    struct load_thread *thread = day->thread;
    for (size_t i = 0; i < load_thread_vms(thread); i++) {
        struct load_vm *vm = load_thread_vm(thread, i);
        if (vm->state == LOAD_VM_DOWN && (day->events.left == 0 || load_random(thread, 8) == 0))
            load_vm_connect(vm, due_ns);
    }
    if (day->events.left == 0 && due_ns >= day->end_ns && thread->vms_up == load_thread_vms(thread))
        pace_stop(&thread->pace);
}

static void job_soak(struct load_thread *thread)
{
    struct crew *crew = thread->crew;
    const struct bench_options *options = crew->options;
    struct day day = {.thread = thread, .users = xcalloc(crew->user_count + 1, sizeof(struct load_user *))};
    uint64_t now_ns = clock_ns(), interval_ns = (uint64_t)(1e9 * crew->thread_count / options->rate);
    for (size_t i = 0; i < crew->user_count; i++)
        if (crew->users[i].thread == thread)
            day.users[day.user_count++] = &crew->users[i];
    day.end_ns = now_ns + options->duration_ms * 1000000;
    day.events = (struct pace_schedule){.due_ns = now_ns,
                                        .interval_ns = interval_ns,
                                        .left = options->duration_ms * 1000000 / interval_ns + 1,
                                        .fn = on_event};
    day.returns = (struct pace_schedule){
        .due_ns = now_ns, .interval_ns = RETURN_MS * 1000000, .left = UINT64_MAX, .fn = on_return};
    if (load_thread_vms(thread)) {
        pace_schedule(&thread->pace, &day.events);
        pace_schedule(&thread->pace, &day.returns);
        load_thread_run(thread, now_ns + (options->duration_ms + options->hold_ms + LAST_MS) * 1000000);
        pace_unschedule(&thread->pace, &day.events);
        pace_unschedule(&thread->pace, &day.returns);
    }
    if (!run_is_interrupted())
        load_vms_end_migrations(thread);
    free(day.users);
}

void scenario_soak(struct run *run)
{
    const struct bench_options *options = run->options;
    struct report *report = &run->report;
    struct phase phase = {.job = job_soak,
                          .what = "bytes delivered",
                          .counter = COUNT_DELIVERED,
                          .limit_ms = options->duration_ms + options->hold_ms + LAST_MS + 1000};
    report->main_latency = LATENCY_DELIVERY;
    report->main_counter = COUNT_DELIVERED;
    run->crew.timestamps = true;
    if (!run_prepare(run, options->users, 1, true))
        return;
    run_measure_begin(run);
    run_phase(run, &phase);
    run_drain(run);
    /* Those that came back last, too. */
    run_wait_mapped(run);
    run_measure_end(run);
    report_figure(report, "migrations", "migrations completed", "",
                  (double)run_measured(run, COUNT_COMPLETED));
    report_figure(report, "flaps", "VMs that dropped and came back", "",
                  (double)run_measured(run, COUNT_DROPPED));
    report_figure(report, "users_came", "users who came", "", (double)run_measured(run, COUNT_USERS));
    if (!report->before.known || !report->after.known)
        return;
    report_figure(report, "rss_growth_kib", "server memory, end less start", "KiB",
                  (double)report->after.rss_kib - (double)report->before.rss_kib);
    report_figure(report, "fds_growth", "server descriptors, end less start", "",
                  (double)report->after.fds - (double)report->before.fds);
}
