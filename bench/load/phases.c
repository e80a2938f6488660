/* The phases that scenarios share: VMs connect, are found, get their users, and everything arrives. */
#include <stdlib.h>

#include "load_user.h"
#include "load_vm.h"
#include "redis_watch.h"
#include "run.h"
#include "vspc/mem.h"

enum {
    USERS_IN_FLIGHT = 128, /* users who are on their way at once, of each thread */
    SCOUTS = 64,           /* ports that are looked at at once */
    SCOUT_MS = 1000,       /* a console that says nothing for so long has no VM */
    CONNECT_MS = 30000,
    MAPPED_MS = 10000,
    ATTACH_MS = 20000,
    DRAIN_MS = 5000, /* without anything that arrives */
    DRAIN_ROUNDS = 12,
    POLL_MS = 2, /* how often a job looks whether it is done, where nothing tells */
};

/* A user who looks whose console a port is. */
struct scout {
    struct load_user user;
    uint64_t until_ns; /* when he gives it up */
};

/* A thread's progress with its list of VMs or users. */
struct queue {
    size_t next, count;
    size_t in_flight; /* at most */
    bool busy;        /* in the function that takes from it */
    bool done;
    struct pace_schedule schedule;
    struct load_thread *thread;
    struct scout *scouts;
};

static void end_if_connected(struct load_thread *thread)
{
    struct queue *queue = thread->job_data;
    if (queue->next == queue->count && thread->vms_connecting == 0)
        pace_stop(&thread->pace);
}

/* More VMs, as those on their way arrive. */
static void connect_more(struct load_thread *thread)
{
    struct queue *queue = thread->job_data;
    if (queue->busy)
        return;
    queue->busy = true;
    while (queue->next < queue->count && thread->vms_connecting < queue->in_flight)
        load_vm_connect(load_thread_vm(thread, queue->next++), clock_ns());
    queue->busy = false;
    end_if_connected(thread);
}

/* The next VM, by the clock. */
static void connect_next(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct queue *queue = container_of(schedule, struct queue, schedule);
    load_vm_connect(load_thread_vm(queue->thread, queue->next++), due_ns);
}

static void job_connect(struct load_thread *thread)
{
    const struct crew *crew = thread->crew;
    struct queue queue = {.thread = thread,
                          .count = load_thread_vms(thread),
                          .in_flight = LOAD_VMS_IN_FLIGHT / crew->thread_count + 1};
    double rate = crew->options->rate;
    bool storm = crew->options->scenario == SCENARIO_STORM;
    bool paced = rate > 0 && storm;
    uint64_t interval_ns = paced ? (uint64_t)(1e9 * crew->thread_count / rate) : 0;
    uint64_t limit_ms = storm ? crew->options->duration_ms : CONNECT_MS;
    /* cppcheck-suppress autoVariables ; load_thread_rest takes it back */
    thread->job_data = &queue;
    thread->changed = paced ? end_if_connected : connect_more;
    if (paced) {
        queue.schedule =
            (struct pace_schedule){.due_ns = clock_ns() + interval_ns * thread->index / crew->thread_count,
                                   .interval_ns = interval_ns,
                                   .left = queue.count,
                                   .fn = connect_next};
        pace_schedule(&thread->pace, &queue.schedule);
    } else {
        connect_more(thread);
    }
    if (queue.next < queue.count || thread->vms_connecting)
        load_thread_run(thread, clock_ns() + limit_ms * 1000000);
    pace_unschedule(&thread->pace, &queue.schedule);
    load_thread_rest(thread);
    for (size_t i = 0; i < queue.next && !run_is_interrupted(); i++)
        if (load_thread_vm(thread, i)->state == LOAD_VM_CONNECTING)
            load_vm_lose(load_thread_vm(thread, i), "it was not identified in time");
}

bool run_connect(struct run *run)
{
    struct phase phase = {.job = job_connect,
                          .what = "VMs identified",
                          .counter = COUNT_IDENTIFIED,
                          .total = run->options->vms,
                          .limit_ms = UINT64_MAX / 1000000};
    return run_phase(run, &phase);
}

/* Looks again and again whether something that no event tells has come true. */
static void poll_until_mapped(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct load_thread *thread = container_of(schedule, struct queue, schedule)->thread;
    (void)due_ns;
    if (redis_watch_mapped(thread->crew->watch) >= thread->crew->expected)
        pace_stop(&thread->pace);
}

/* Serves VMs and users until `poll` stops the pace, or until the limit. */
static void serve_until(struct load_thread *thread, void (*poll)(struct pace_schedule *, uint64_t),
                        uint64_t limit_ms)
{
    struct queue queue = {.thread = thread};
    queue.schedule = (struct pace_schedule){
        .due_ns = clock_ns(), .interval_ns = POLL_MS * 1000000, .left = UINT64_MAX, .fn = poll};
    pace_schedule(&thread->pace, &queue.schedule);
    load_thread_run(thread, clock_ns() + limit_ms * 1000000);
    pace_unschedule(&thread->pace, &queue.schedule);
}

static void job_wait_mapped(struct load_thread *thread)
{
    serve_until(thread, poll_until_mapped, MAPPED_MS);
}

bool run_wait_mapped(struct run *run)
{
    struct crew *crew = &run->crew;
    if (!crew->watch)
        return !run_is_interrupted();
    crew->expected = 0;
    for (unsigned i = 0; i < crew->thread_count; i++)
        crew->expected += crew->threads[i].vms_up;
    struct phase phase = {.job = job_wait_mapped,
                          .what = "VMs in Redis",
                          .counter = COUNT_MAPPED,
                          .total = crew->expected,
                          .limit_ms = MAPPED_MS};
    bool on = run_phase(run, &phase);
    uint64_t mapped = redis_watch_mapped(crew->watch);
    if (on && mapped < crew->expected)
        run_fail(run, "%zu VMs are not in Redis %d s after the last was identified; is %s the right key?",
                 crew->expected - (size_t)mapped, MAPPED_MS / 1000,
                 run->options->active_prefix ? run->options->active_prefix : run->options->map_key);
    return on;
}

/* Scouts who have found out whose console a port is, or that it is nobody's, go on to the next port. The
 * server may open ports a little later than we come: behind the last comes the first again. */
static void send_scouts(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct queue *queue = container_of(schedule, struct queue, schedule);
    struct crew *crew = queue->thread->crew;
    uint64_t now_ns = clock_ns();
    (void)due_ns;
    for (size_t i = 0; i < SCOUTS; i++) {
        struct load_user *scout = &queue->scouts[i].user;
        if (scout->state == LOAD_USER_ATTACHED && !crew->ports[scout->found]) {
            crew->ports[scout->found] = scout->port;
            crew->found++;
            tally_add(&queue->thread->tally, COUNT_FOUND, 1);
        }
        if (scout->state == LOAD_USER_ATTACHED || now_ns > queue->scouts[i].until_ns)
            load_user_leave(scout);
        if (scout->state == LOAD_USER_ARRIVING || crew->found >= crew->wanted)
            continue;
        queue->scouts[i].until_ns = now_ns + SCOUT_MS * UINT64_C(1000000);
        load_user_attach(scout, (uint16_t)(crew->options->first_user_port + queue->next++ % queue->count));
    }
    if (crew->found >= crew->wanted)
        crew_hurry(crew);
}

/* The first thread searches the range; the others serve their VMs, which answer. */
static void job_search(struct load_thread *thread)
{
    const struct bench_options *options = thread->crew->options;
    struct queue queue = {.thread = thread,
                          .count = (size_t)options->last_user_port - options->first_user_port + 1,
                          .scouts = thread->index ? NULL : xcalloc(SCOUTS, sizeof *queue.scouts)};
    if (queue.scouts) {
        for (uint32_t i = 0; i < SCOUTS; i++)
            load_user_init(&queue.scouts[i].user, thread, i, NULL);
        queue.schedule = (struct pace_schedule){
            .due_ns = clock_ns(), .interval_ns = POLL_MS * 1000000, .left = UINT64_MAX, .fn = send_scouts};
        pace_schedule(&thread->pace, &queue.schedule);
    }
    load_thread_run(thread, clock_ns() + ATTACH_MS * UINT64_C(1000000));
    pace_unschedule(&thread->pace, &queue.schedule);
    for (uint32_t i = 0; queue.scouts && i < SCOUTS; i++)
        load_user_leave(&queue.scouts[i].user);
    free(queue.scouts);
}

static void add_located(struct run *run, uint32_t number, uint16_t port)
{
    struct load_vm *vm = &run->crew.vms[number];
    if (port && vm->state == LOAD_VM_UP)
        run->located[run->located_count++] = (struct located){vm, port};
}

/* VM i of n that lie evenly among all; not at even places only, which would all be with one worker: the
 * server deals connections to its workers in turn. */
static uint32_t spread(size_t i, size_t n, size_t vms)
{
    return (uint32_t)(i * vms / n + (vms / n > 1 ? i % 2 : 0));
}

/* Finds the user ports of n VMs. Result: whether there are so many. */
static bool locate(struct run *run, size_t n)
{
    const struct bench_options *options = run->options;
    struct crew *crew = &run->crew;
    run->located = xcalloc(n + 1, sizeof *run->located);
    if (options->first_user_port) {
        struct phase phase = {.job = job_search,
                              .what = "ports searched, VMs found",
                              .counter = COUNT_FOUND,
                              .total = n,
                              .limit_ms = ATTACH_MS};
        crew->ports = xcalloc(options->vms, sizeof *crew->ports);
        crew->wanted = n;
        run_phase(run, &phase);
        for (uint32_t i = 0; i < options->vms && run->located_count < n; i++)
            add_located(run, i, crew->ports[i]);
    } else {
        for (size_t i = 0; i < n; i++) {
            uint32_t number = spread(i, n, options->vms);
            add_located(run, number, redis_watch_port(crew->watch, number));
        }
    }
    if (run->located_count < n && !run_is_interrupted())
        run_fail(run, "only %zu of %zu VMs were found at a user port", run->located_count, n);
    return run->located_count == n && !run_is_interrupted();
}

/* The thread has done its part, but serves its VMs until all have. */
static void part_done(struct queue *queue)
{
    struct crew *crew = queue->thread->crew;
    if (!queue->done && atomic_fetch_sub(&crew->remaining, 1) == 1)
        crew_hurry(crew);
    queue->done = true;
}

/* More users, as those on their way arrive. */
static void attach_more(struct load_thread *thread)
{
    struct queue *queue = thread->job_data;
    struct crew *crew = thread->crew;
    if (queue->busy)
        return;
    queue->busy = true;
    for (; queue->next < crew->user_count && thread->users_arriving < USERS_IN_FLIGHT; queue->next++) {
        struct load_user *user = &crew->users[queue->next];
        if (user->thread == thread)
            load_user_attach(user, user->port);
    }
    queue->busy = false;
    if (queue->next == crew->user_count && thread->users_arriving == 0)
        part_done(queue);
}

static void job_attach(struct load_thread *thread)
{
    struct queue queue = {.thread = thread};
    /* cppcheck-suppress autoVariables ; load_thread_rest takes it back */
    thread->job_data = &queue;
    thread->changed = attach_more;
    attach_more(thread);
    load_thread_run(thread, clock_ns() + ATTACH_MS * UINT64_C(1000000));
    load_thread_rest(thread);
}

/* Makes `each` users for every located VM. */
static void place_users(struct run *run, unsigned each, bool alone)
{
    struct crew *crew = &run->crew;
    crew->user_count = run->located_count * each;
    crew->users = xcalloc(crew->user_count + 1, sizeof *crew->users);
    for (size_t i = 0; i < crew->user_count; i++) {
        struct located *at = &run->located[i / each];
        /* Another thread than the VM's: one cannot print and read at full speed. */
        size_t index = alone ? at->vm->number : at->vm->number + 1 + i % each;
        struct load_user *user = &crew->users[i];
        load_user_init(user, &crew->threads[index % crew->thread_count], (uint32_t)i, at->vm);
        user->port = at->port;
        if (!alone)
            continue;
        at->vm->user = user;
        at->vm->stream.binary = true;
        if (!crew->echo) {
            at->vm->typed = xcalloc(1, sizeof *at->vm->typed);
            stream_check_init(at->vm->typed, &user->keys, 0);
        }
    }
}

/* Attaches users to all VMs that were located. Result: whether all could attach. */
static bool attach(struct run *run, unsigned each, bool alone)
{
    struct crew *crew = &run->crew;
    size_t missing = 0;
    place_users(run, each, alone);
    struct phase phase = {.job = job_attach,
                          .what = "users attached",
                          .counter = COUNT_USERS,
                          .total = crew->user_count,
                          .limit_ms = ATTACH_MS};
    crew->remaining = crew->thread_count;
    bool on = run_phase(run, &phase);
    for (size_t i = 0; i < crew->user_count; i++)
        missing += crew->users[i].state != LOAD_USER_ATTACHED;
    if (on && missing)
        run_fail(run, "%zu of %zu users did not reach their VM in %d s", missing, crew->user_count,
                 ATTACH_MS / 1000);
    return on && !missing;
}

bool run_prepare(struct run *run, size_t n, unsigned each, bool alone)
{
    return run_connect(run) && run_wait_mapped(run) &&
           (n == 0 || (locate(run, n) && attach(run, each, alone)));
}

/* Whether all that concerns the thread's users has arrived. */
static void poll_quiet(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct queue *queue = container_of(schedule, struct queue, schedule);
    struct load_thread *thread = queue->thread;
    const struct crew *crew = thread->crew;
    (void)due_ns;
    for (; queue->next < crew->user_count; queue->next++)
        if (crew->users[queue->next].thread == thread && !load_user_is_quiet(&crew->users[queue->next]))
            return;
    if (thread->vms_pending == 0)
        part_done(queue);
}

static void job_drain(struct load_thread *thread)
{
    serve_until(thread, poll_quiet, DRAIN_MS);
}

/* How far it is. */
static uint64_t drained(const struct run *run)
{
    return tally_get(&run->sum, COUNT_DELIVERED) + tally_get(&run->sum, COUNT_SKIPPED);
}

void run_drain(struct run *run)
{
    uint64_t before;
    struct phase phase = {.job = job_drain,
                          .what = "bytes delivered",
                          .counter = COUNT_DELIVERED,
                          .total = 0,
                          .limit_ms = DRAIN_MS};
    bool on = true;
    /* As long as something still arrives. */
    for (unsigned i = 0; on && i < DRAIN_ROUNDS; i++) {
        before = drained(run);
        run->crew.remaining = run->crew.thread_count;
        on = run_phase(run, &phase) && run->crew.remaining && drained(run) > before;
    }
}
