#include "vspc/worker.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vspc/mem.h"

struct worker {
    pthread_t thread;
    bool has_ended;
    struct loop *loop;
    /* What is on its way to the thread, or NULL. Of several that come faster than it takes them, only the
     * last counts: so they never queue up, however long one takes. */
    struct config *_Atomic next_config;
    const char *_Atomic next_notice;
    struct console_owner owner; /* the thread's */
};

static void *run(void *arg)
{
    struct worker *worker = arg;
    loop_run(worker->loop);
    return NULL;
}

struct worker *worker_start(unsigned number, struct config *config, struct console_shared *shared)
{
    char name[16];
    struct worker *worker = xcalloc(1, sizeof *worker);
    worker->loop = loop_new();
    if (!worker->loop) {
        free(worker);
        return NULL;
    }
    console_owner_init(&worker->owner, number, worker->loop, config, shared);
    snprintf(name, sizeof name, "worker-%u", number);
    int err = thread_start(&worker->thread, name, run, worker);
    if (err) {
        worker_free(worker);
        errno = -err;
        return NULL;
    }
    return worker;
}

void worker_deal(struct worker *worker, struct vm_arrival *arrivals)
{
    arrivals->owner = &worker->owner;
    loop_post(worker->loop, console_owner_arrivals, arrivals);
}

struct console_owner *worker_owner(struct worker *worker)
{
    return &worker->owner;
}

uint64_t worker_cpu_ns(const struct worker *worker)
{
    clockid_t clock;
    struct timespec ts = {0};
    if (!worker->has_ended && pthread_getcpuclockid(worker->thread, &clock) == 0)
        clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_reload(void *arg)
{
    struct worker *worker = arg;
    console_owner_reload(&worker->owner, atomic_exchange(&worker->next_config, NULL));
}

void worker_reload(struct worker *worker, struct config *config)
{
    struct config *overtaken = atomic_exchange(&worker->next_config, config_ref(config));
    if (overtaken)
        config_unref(overtaken);
    else
        loop_post(worker->loop, on_reload, worker);
}

static void on_notice(void *arg)
{
    struct worker *worker = arg;
    console_owner_notice(&worker->owner, atomic_exchange(&worker->next_notice, NULL));
}

void worker_notice(struct worker *worker, const char *text)
{
    if (!atomic_exchange(&worker->next_notice, text))
        loop_post(worker->loop, on_notice, worker);
}

/* What the letter to close brings. */
struct order {
    struct worker *worker;
    struct loop *reply_to;
    void (*done)(void *arg);
    void *arg;
};

static void on_close(void *arg)
{
    struct order *order = arg;
    console_owner_close(&order->worker->owner);
    loop_post(order->reply_to, order->done, order->arg);
    free(order);
}

void worker_close(struct worker *worker, struct loop *reply_to, void (*done)(void *arg), void *arg)
{
    struct order *order = xcalloc(1, sizeof *order);
    *order = (struct order){.worker = worker, .reply_to = reply_to, .done = done, .arg = arg};
    loop_post(worker->loop, on_close, order);
}

int worker_join(struct worker *worker, unsigned timeout_ms)
{
    loop_stop(worker->loop);
    int err = thread_join(worker->thread, timeout_ms);
    worker->has_ended = err == 0;
    return err;
}

void worker_free(struct worker *worker)
{
    loop_free(worker->loop);
    console_owner_destroy(&worker->owner);
    free(worker);
}
