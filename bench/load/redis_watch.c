#include "redis_watch.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load_vm.h"
#include "pace.h"
#include "vspc/loop.h"

enum { ASK_AT_ONCE = 512, RETRY_MS = 200, COMMAND_S = 5, IDLE_MS = 10 };

enum expected { NOT_EXPECTED, EXPECTED, SEEN };

struct watched {
    _Atomic uint8_t expected; /* enum expected; what follows is settled before it says EXPECTED */
    atomic_bool again;
    _Atomic uint16_t port;
    _Atomic uint64_t due_ns, identified_ns;
};

struct redis_watch {
    const struct bench_options *options;
    redisContext *redis; /* NULL: the connection broke */
    pthread_t thread;
    atomic_bool over;
    struct watched *vms;
    _Atomic uint64_t seen, last_ns;
    _Atomic uint64_t expecting; /* VMs that are EXPECTED */
    uint32_t next;              /* where to look for those that are expected */
    struct tally tally;
    char *command; /* of one question */
    size_t command_cap;
};

static void nap(unsigned ms)
{
    struct timespec ts = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&ts, NULL);
}

/* Connects and authenticates. Result: whether Redis answers. */
static bool log_in(struct redis_watch *watch, char why[160])
{
    const char *where = watch->options->redis;
    const char *password = getenv("REDISCLI_AUTH");
    struct timeval timeout = {.tv_sec = COMMAND_S};
    char host[256];
    const char *colon = strrchr(where, ':');
    if (*where == '/') {
        watch->redis = redisConnectUnixWithTimeout(where, timeout);
    } else {
        snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - where) : (int)strlen(where), where);
        watch->redis = redisConnectWithTimeout(host, colon ? atoi(colon + 1) : 6379, timeout);
    }
    if (!watch->redis)
        abort();
    redisReply *reply = NULL;
    if (!watch->redis->err) {
        redisSetTimeout(watch->redis, timeout);
        reply =
            password ? redisCommand(watch->redis, "AUTH %s", password) : redisCommand(watch->redis, "PING");
    }
    bool well = reply && reply->type != REDIS_REPLY_ERROR;
    if (!well)
        snprintf(why, 160, "%s", reply ? reply->str : watch->redis->errstr);
    if (reply)
        freeReplyObject(reply);
    if (!well) {
        redisFree(watch->redis);
        watch->redis = NULL;
    }
    return well;
}

/* Takes up to ASK_AT_ONCE VMs that are expected. Result: how many. */
static unsigned collect(struct redis_watch *watch, uint32_t numbers[ASK_AT_ONCE])
{
    unsigned n = 0;
    /* Most of the time there is nobody to look for. */
    if (atomic_load_explicit(&watch->expecting, memory_order_relaxed) == 0)
        return 0;
    for (uint32_t i = 0; i < watch->options->vms && n < ASK_AT_ONCE; i++) {
        uint32_t number = watch->next;
        watch->next = (number + 1) % watch->options->vms;
        if (atomic_load_explicit(&watch->vms[number].expected, memory_order_acquire) == EXPECTED)
            numbers[n++] = number;
    }
    return n;
}

/* A VM's port was in the answer. */
static void see(struct redis_watch *watch, uint32_t number, uint16_t port, uint64_t now_ns)
{
    struct watched *vm = &watch->vms[number];
    uint8_t was = EXPECTED;
    uint64_t due_ns = vm->due_ns, identified_ns = vm->identified_ns;
    bool again = vm->again;
    atomic_store_explicit(&vm->port, port, memory_order_relaxed);
    if (!atomic_compare_exchange_strong(&vm->expected, &was, SEEN))
        return;
    atomic_fetch_sub(&watch->expecting, 1);
    tally_add(&watch->tally, COUNT_MAPPED, 1);
    tally_time(&watch->tally, again ? LATENCY_BACK_MAPPED : LATENCY_MAPPED, now_ns - due_ns);
    if (now_ns > identified_ns)
        tally_time(&watch->tally, LATENCY_MAPPING, now_ns - identified_ns);
    atomic_store_explicit(&watch->last_ns, now_ns, memory_order_relaxed);
    atomic_fetch_add(&watch->seen, 1);
}

/* Asks for some VMs' ports. Result: NULL when the connection broke. */
static redisReply *ask(struct redis_watch *watch, const uint32_t *numbers, unsigned n)
{
    const struct bench_options *options = watch->options;
    static const char *const commands[] = {"HMGET", "MGET"};
    const char *args[ASK_AT_ONCE + 2];
    char(*keys)[LOAD_NAME_MAX + 256] = xmalloc(sizeof *keys * n);
    int count = 0;
    args[count++] = commands[options->active_prefix != NULL];
    if (!options->active_prefix)
        args[count++] = options->map_key;
    for (unsigned i = 0; i < n; i++) {
        char name[LOAD_NAME_MAX];
        load_vm_name(numbers[i], name);
        snprintf(keys[i], sizeof *keys, "%.255s%s", options->active_prefix ? options->active_prefix : "",
                 name);
        args[count++] = keys[i];
    }
    redisReply *reply = redisCommandArgv(watch->redis, count, args, NULL);
    free(keys);
    if (!reply) {
        redisFree(watch->redis);
        watch->redis = NULL;
    }
    return reply;
}

/* One question, and what follows from the answer. Result: whether there may be more to ask at once. */
static bool look(struct redis_watch *watch)
{
    uint32_t numbers[ASK_AT_ONCE];
    unsigned n = collect(watch, numbers), seen = 0;
    redisReply *reply = n ? ask(watch, numbers, n) : NULL;
    if (!reply)
        return false;
    uint64_t now_ns = clock_ns();
    for (unsigned i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements && i < n; i++) {
        const redisReply *port = reply->element[i];
        long number = port->type == REDIS_REPLY_STRING ? strtol(port->str, NULL, 10) : 0;
        if (number > 0 && number <= UINT16_MAX) {
            see(watch, numbers[i], (uint16_t)number, now_ns);
            seen++;
        }
    }
    freeReplyObject(reply);
    return n == ASK_AT_ONCE && seen == n;
}

static void *work(void *arg)
{
    struct redis_watch *watch = arg;
    char why[160];
    while (!atomic_load(&watch->over)) {
        if (!watch->redis && !log_in(watch, why))
            nap(RETRY_MS);
        else if (!look(watch))
            nap(REDIS_WATCH_MS);
    }
    return NULL;
}

struct redis_watch *redis_watch_start(const struct bench_options *options, char why[160])
{
    struct redis_watch *watch = xcalloc(1, sizeof *watch);
    watch->options = options;
    if (!log_in(watch, why)) {
        free(watch);
        return NULL;
    }
    watch->vms = xcalloc(options->vms, sizeof *watch->vms);
    if (thread_start(&watch->thread, "redis watch", work, watch) < 0)
        abort();
    return watch;
}

void redis_watch_stop(struct redis_watch *watch)
{
    if (!watch)
        return;
    atomic_store(&watch->over, true);
    pthread_join(watch->thread, NULL);
    if (watch->redis)
        redisFree(watch->redis);
    free(watch->vms);
    free(watch);
}

void redis_watch_expect(struct redis_watch *watch, uint32_t number, uint64_t due_ns, uint64_t identified_ns,
                        bool again)
{
    struct watched *vm = &watch->vms[number];
    vm->due_ns = due_ns;
    vm->identified_ns = identified_ns;
    vm->again = again;
    uint8_t was = atomic_exchange_explicit(&vm->expected, EXPECTED, memory_order_acq_rel);
    if (was != EXPECTED)
        atomic_fetch_add(&watch->expecting, 1);
    if (was == SEEN)
        atomic_fetch_sub(&watch->seen, 1);
}

uint64_t redis_watch_mapped(const struct redis_watch *watch)
{
    return atomic_load(&watch->seen);
}

uint64_t redis_watch_last_ns(const struct redis_watch *watch)
{
    return atomic_load(&watch->last_ns);
}

uint16_t redis_watch_port(const struct redis_watch *watch, uint32_t number)
{
    return atomic_load_explicit(&watch->vms[number].port, memory_order_relaxed);
}

const struct tally *redis_watch_tally(const struct redis_watch *watch)
{
    return &watch->tally;
}
