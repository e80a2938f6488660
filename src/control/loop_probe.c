#include "control/loop_probe.h"

#include <stdlib.h>
#include <time.h>

#include "vspc/mem.h"

enum { PERIOD_MS = 1000, MINUTE = 60 };

struct probe {
    uint64_t sent_ns;
    atomic_uint_fast64_t took_ns; /* 0: on its way; written by the worker */
    uint64_t seconds[MINUTE];     /* what the last ones took */
};

struct loop_probes {
    struct loop *loop;
    struct console_owner **owners;
    unsigned count;
    unsigned second; /* where in seconds the next is noted */
    struct loop_timer timer;
    struct probe probes[];
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The worker's: the letter is read. */
static void arrive(void *arg)
{
    struct probe *probe = arg;
    uint64_t took = now_ns() - probe->sent_ns;
    atomic_store_explicit(&probe->took_ns, took ? took : 1, memory_order_release);
}

static bool is_on_its_way(const struct probe *probe)
{
    return atomic_load_explicit(&probe->took_ns, memory_order_acquire) == 0;
}

static uint64_t age_ns(const struct probe *probe)
{
    uint64_t took = atomic_load_explicit(&probe->took_ns, memory_order_acquire);
    return took ? took : now_ns() - probe->sent_ns;
}

static void send_probe(struct loop_probes *probes, unsigned worker)
{
    struct probe *probe = &probes->probes[worker];
    probe->sent_ns = now_ns();
    atomic_store_explicit(&probe->took_ns, 0, memory_order_relaxed);
    loop_post(probes->owners[worker]->loop, arrive, probe);
}

static void on_second(struct loop_timer *timer)
{
    struct loop_probes *probes = container_of(timer, struct loop_probes, timer);
    for (unsigned i = 0; i < probes->count; i++) {
        probes->probes[i].seconds[probes->second] = age_ns(&probes->probes[i]);
        if (!is_on_its_way(&probes->probes[i]))
            send_probe(probes, i);
    }
    probes->second = (probes->second + 1) % MINUTE;
    loop_timer_arm(probes->loop, &probes->timer, PERIOD_MS, on_second);
}

struct loop_probes *loop_probes_new(struct loop *loop, struct console_owner **owners, unsigned count)
{
    struct loop_probes *probes = xcalloc(1, sizeof *probes + count * sizeof *probes->probes);
    probes->loop = loop;
    probes->owners = owners;
    probes->count = count;
    for (unsigned i = 0; i < count; i++)
        send_probe(probes, i);
    loop_timer_arm(loop, &probes->timer, PERIOD_MS, on_second);
    return probes;
}

void loop_probes_free(struct loop_probes *probes)
{
    loop_timer_disarm(probes->loop, &probes->timer);
    free(probes);
}

uint64_t loop_probes_last(const struct loop_probes *probes, unsigned worker)
{
    return age_ns(&probes->probes[worker]);
}

uint64_t loop_probes_peak(const struct loop_probes *probes, unsigned worker)
{
    const struct probe *probe = &probes->probes[worker];
    uint64_t peak = age_ns(probe);
    for (unsigned i = 0; i < MINUTE; i++)
        if (probe->seconds[i] > peak)
            peak = probe->seconds[i];
    return peak;
}

bool loop_probes_stuck(const struct loop_probes *probes, unsigned *worker)
{
    for (unsigned i = 0; i < probes->count; i++) {
        if (is_on_its_way(&probes->probes[i]) && age_ns(&probes->probes[i]) / 1000000 >= PROBE_STUCK_MS) {
            *worker = i;
            return true;
        }
    }
    return false;
}
