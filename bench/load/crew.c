#include "crew.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load_user.h"
#include "load_vm.h"
#include "vspc/loop.h"
#include "vspc/mem.h"

enum { TICK_MS = 10 };

static void on_tick(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct load_thread *thread = container_of(schedule, struct load_thread, tick);
    (void)due_ns;
    if (atomic_load_explicit(&thread->crew->over, memory_order_relaxed))
        pace_stop(&thread->pace);
}

bool load_thread_run(struct load_thread *thread, uint64_t until_ns)
{
    thread->tick = (struct pace_schedule){
        .due_ns = clock_ns(), .interval_ns = TICK_MS * 1000000, .left = UINT64_MAX, .fn = on_tick};
    pace_schedule(&thread->pace, &thread->tick);
    bool stopped = pace_run(&thread->pace, until_ns);
    pace_unschedule(&thread->pace, &thread->tick);
    return stopped && !atomic_load_explicit(&thread->crew->over, memory_order_relaxed);
}

void load_thread_fail(struct load_thread *thread, const char *format, ...)
{
    va_list args;
    if (*thread->failure)
        return;
    va_start(args, format);
    vsnprintf(thread->failure, sizeof thread->failure, format, args);
    va_end(args);
}

uint64_t load_random(struct load_thread *thread, uint64_t n)
{
    /* xorshift64*; good enough to mix a load. */
    uint64_t x = thread->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    thread->random = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d) >> 11) % n;
}

size_t load_thread_vms(const struct load_thread *thread)
{
    const struct crew *crew = thread->crew;
    return (crew->options->vms + crew->thread_count - 1 - thread->index) / crew->thread_count;
}

struct load_vm *load_thread_vm(const struct load_thread *thread, size_t k)
{
    return &thread->crew->vms[k * thread->crew->thread_count + thread->index];
}

/* A thread: one job after the other. */
static void *work(void *arg)
{
    struct load_thread *thread = arg;
    struct crew *crew = thread->crew;
    unsigned done = 0;
    pthread_mutex_lock(&crew->lock);
    for (;;) {
        while (!crew->leaving && crew->job_number == done)
            pthread_cond_wait(&crew->wake, &crew->lock);
        if (crew->leaving)
            break;
        done = crew->job_number;
        job_fn *job = crew->job;
        pthread_mutex_unlock(&crew->lock);
        job(thread);
        pthread_mutex_lock(&crew->lock);
        if (--crew->busy == 0)
            pthread_cond_broadcast(&crew->wake);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

void crew_begin(struct crew *crew, job_fn *job)
{
    pthread_mutex_lock(&crew->lock);
    atomic_store(&crew->over, false);
    crew->job = job;
    crew->busy = crew->thread_count;
    crew->job_number++;
    pthread_cond_broadcast(&crew->wake);
    pthread_mutex_unlock(&crew->lock);
}

bool crew_wait(struct crew *crew, unsigned timeout_ms)
{
    struct timespec deadline = clock_deadline(CLOCK_MONOTONIC, timeout_ms);
    pthread_mutex_lock(&crew->lock);
    int err = 0;
    while (crew->busy && err == 0)
        err = pthread_cond_timedwait(&crew->wake, &crew->lock, &deadline);
    bool done = crew->busy == 0;
    pthread_mutex_unlock(&crew->lock);
    return done;
}

void crew_hurry(struct crew *crew)
{
    atomic_store(&crew->over, true);
}

uint64_t crew_last_identified_ns(const struct crew *crew)
{
    uint64_t last_ns = 0;
    for (unsigned i = 0; i < crew->thread_count; i++)
        if (crew->threads[i].last_identified_ns > last_ns)
            last_ns = crew->threads[i].last_identified_ns;
    return last_ns;
}

/* Nobody waits for anything. */
static void ignore_change(struct load_thread *thread)
{
    (void)thread;
}

void load_thread_rest(struct load_thread *thread)
{
    thread->changed = ignore_change;
    thread->job_data = NULL;
}

static int start_thread(struct crew *crew, unsigned index)
{
    struct load_thread *thread = &crew->threads[index];
    thread->crew = crew;
    thread->index = index;
    thread->changed = ignore_change;
    thread->random = ((uint64_t)crew->run << 32 | index) * 2 + 1;
    int err = pace_init(&thread->pace);
    if (err)
        return err;
    thread->buffer = xmalloc(LOAD_READ_MAX);
    load_vms_init(thread);
    load_users_init(thread);
    return thread_start(&thread->thread, "load", work, thread);
}

int crew_start(struct crew *crew, const struct bench_options *options)
{
    pthread_condattr_t monotonic;
    *crew = (struct crew){.options = options, .run = (uint32_t)clock_ns()};
    pthread_mutex_init(&crew->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    crew->vms = xcalloc(options->vms, sizeof *crew->vms);
    crew->threads = xcalloc(options->threads, sizeof *crew->threads);
    for (unsigned i = 0; i < options->threads; i++) {
        int err = start_thread(crew, i);
        if (err)
            return err;
        crew->thread_count++;
    }
    for (size_t i = 0; i < options->vms; i++)
        load_vm_init(&crew->vms[i], &crew->threads[i % crew->thread_count], (uint32_t)i);
    return 0;
}

void crew_end(struct crew *crew)
{
    pthread_mutex_lock(&crew->lock);
    crew->leaving = true;
    pthread_cond_broadcast(&crew->wake);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->thread_count; i++)
        pthread_join(crew->threads[i].thread, NULL);
    for (size_t i = 0; i < crew->user_count; i++)
        load_user_free(&crew->users[i]);
    for (size_t i = 0; i < crew->options->vms; i++)
        load_vm_free(&crew->vms[i]);
    for (unsigned i = 0; i < crew->thread_count; i++) {
        pace_destroy(&crew->threads[i].pace);
        free(crew->threads[i].buffer);
    }
    free(crew->ports);
    free(crew->users);
    free(crew->vms);
    free(crew->threads);
    pthread_cond_destroy(&crew->wake);
    pthread_mutex_destroy(&crew->lock);
}
