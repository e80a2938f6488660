#include "mapping/redis_writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mapping/mapping_state.h"
#include "mapping/redis_settings.h"
#include "vspc/log.h"
#include "vspc/loop.h"
#include "vspc/mem.h"

enum {
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 3000,
    GATHER_MS = 5,
    MOVE_TIMEOUT_MS = 1000, /* for taking our entries out of a Redis that we leave */
};

/* What the writer is about. SERVE -> MOVE (to other settings) -> SERVE; each -> STOP. */
enum purpose { PURPOSE_SERVE, PURPOSE_MOVE, PURPOSE_STOP };

struct redis_writer {
    struct loop *loop;
    pthread_t thread;
    /* For other threads to read; so is state, through mapping_state_waiting. */
    atomic_uint_fast64_t updates; /* letters on their way */
    atomic_bool is_enabled;
    atomic_bool is_up;
    atomic_uint_fast64_t reconnects;
    /* From here on the thread's own. */
    struct mapping_state *state;
    struct redis_settings *settings;
    struct redis_settings *next_settings; /* MOVE: where to */
    struct redis_pace pace;
    enum purpose purpose;
    struct redis_session *session; /* NULL: disabled, or waiting for the retry timer */
    struct loop_timer retry;
    struct loop_timer deadline; /* of MOVE and STOP */
    uint64_t backoff_ms;
    unsigned random;
    uint64_t outage_start_ms; /* 0: no outage */
    char *trouble;            /* what was logged last about this outage; NULL: nothing */
    struct log_rate trouble_rate;
    int result; /* of redis_writer_stop */
};

static void session_begin(struct redis_writer *writer);

/* Logs what is wrong with Redis, unless that is what was said last. */
static void report_trouble(struct redis_writer *writer, bool is_error, const char *error, const char *cure)
{
    unsigned suppressed;
    atomic_store_explicit(&writer->is_up, false, memory_order_relaxed);
    if (!writer->outage_start_ms)
        writer->outage_start_ms = clock_ms();
    if ((writer->trouble && strcmp(writer->trouble, error) == 0) ||
        !log_rate_allows(&writer->trouble_rate, clock_ms(), &suppressed))
        return;
    free(writer->trouble);
    writer->trouble = xstrdup(error);
    const char *where = writer->settings->where;
    if (is_error)
        log_error(
            "Redis refuses this node, its VMs are not shown there until that is cured redis=%s error=%s "
            "cure=\"%s\"",
            quote(where, strlen(where)).s, quote(error, strlen(error)).s, cure);
    else
        log_warning("Redis cannot be reached, trying again; VMs and users are served all the same redis=%s "
                    "error=%s",
                    quote(where, strlen(where)).s, quote(error, strlen(error)).s);
}

static void session_end(struct redis_writer *writer)
{
    redis_session_close(writer->session);
    writer->session = NULL;
    atomic_store_explicit(&writer->is_up, false, memory_order_relaxed);
    loop_timer_disarm(writer->loop, &writer->retry);
    mapping_state_forget(writer->state);
}

static void finish(struct redis_writer *writer, int result)
{
    session_end(writer);
    loop_timer_disarm(writer->loop, &writer->deadline);
    writer->result = result;
    loop_stop(writer->loop);
}

/* The old place is left, as well as could be: goes on with the new settings. */
static void move_on(struct redis_writer *writer)
{
    session_end(writer);
    loop_timer_disarm(writer->loop, &writer->deadline);
    redis_settings_free(writer->settings);
    writer->settings = writer->next_settings;
    writer->next_settings = NULL;
    writer->purpose = PURPOSE_SERVE;
    writer->backoff_ms = BACKOFF_MIN_MS;
    writer->outage_start_ms = 0;
    free(writer->trouble);
    writer->trouble = NULL;
    mapping_state_withdraw(writer->state, false);
    session_begin(writer);
}

static void on_retry(struct loop_timer *timer)
{
    session_begin(container_of(timer, struct redis_writer, retry));
}

static void on_ready(void *owner)
{
    struct redis_writer *writer = owner;
    uint64_t outage_ms = writer->outage_start_ms ? clock_ms() - writer->outage_start_ms : 0;
    const char *where = writer->settings->where;
    writer->backoff_ms = BACKOFF_MIN_MS;
    if (writer->outage_start_ms)
        log_info("Redis is back and has all VMs of this node again redis=%s outage_ms=%llu names=%zu",
                 quote(where, strlen(where)).s, (unsigned long long)outage_ms,
                 mapping_state_fields(writer->state));
    else
        log_info("Connected to Redis redis=%s names=%zu", quote(where, strlen(where)).s,
                 mapping_state_fields(writer->state));
    if (writer->outage_start_ms)
        atomic_fetch_add_explicit(&writer->reconnects, 1, memory_order_relaxed);
    atomic_store_explicit(&writer->is_up, true, memory_order_relaxed);
    writer->outage_start_ms = 0;
    free(writer->trouble);
    writer->trouble = NULL;
}

static void on_withdrawn(void *owner)
{
    struct redis_writer *writer = owner;
    if (writer->purpose == PURPOSE_STOP)
        finish(writer, 0);
    else
        move_on(writer);
}

static void on_slow(void *owner, const char *error)
{
    report_trouble(owner, false, error, NULL);
}

static void on_ended(void *owner, enum redis_session_end why, const char *error, const char *cure)
{
    struct redis_writer *writer = owner;
    report_trouble(writer, why == REDIS_REFUSED, error, cure);
    if (writer->purpose == PURPOSE_STOP) {
        finish(writer, -ETIMEDOUT);
        return;
    }
    if (writer->purpose == PURPOSE_MOVE) {
        move_on(writer);
        return;
    }
    session_end(writer);
    uint64_t delay = writer->pace.retry_ms;
    if (why == REDIS_LOST) {
        /* Up to a quarter less at random, so that many nodes do not come back at once. */
        delay = writer->backoff_ms - (uint64_t)rand_r(&writer->random) % (writer->backoff_ms / 4);
        writer->backoff_ms =
            writer->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : writer->backoff_ms * 2;
    }
    loop_timer_arm(writer->loop, &writer->retry, delay, on_retry);
}

static void session_begin(struct redis_writer *writer)
{
    static const struct redis_session_events events = {
        .ready = on_ready, .withdrawn = on_withdrawn, .slow = on_slow, .ended = on_ended};
    loop_timer_disarm(writer->loop, &writer->retry);
    atomic_store_explicit(&writer->is_enabled, writer->settings->config->redis.enabled, memory_order_relaxed);
    if (writer->settings->config->redis.enabled)
        writer->session =
            redis_session_open(writer->loop, writer->settings, writer->state, &writer->pace, &events, writer);
}

static void *run(void *arg)
{
    struct redis_writer *writer = arg;
    session_begin(writer);
    loop_run(writer->loop);
    return NULL;
}

struct redis_writer *redis_writer_start(struct config *config)
{
    struct redis_writer *writer = xcalloc(1, sizeof *writer);
    writer->loop = loop_new();
    if (!writer->loop) {
        free(writer);
        return NULL;
    }
    /* In a storm, updates wait this long for others behind them rather than wake us one by one. */
    loop_set_gather(writer->loop, GATHER_MS);
    writer->state = mapping_state_new();
    writer->settings = redis_settings_new(config);
    writer->pace = (struct redis_pace){.retry_ms = 5000, .look_ms = 5000, .check_ms = 60000};
    writer->backoff_ms = BACKOFF_MIN_MS;
    writer->random = (unsigned)clock_ms() ^ (unsigned)getpid();
    writer->trouble_rate = (struct log_rate){.burst = 5, .window_ms = 60000};
    int err = thread_start(&writer->thread, "redis", run, writer);
    if (err) {
        loop_free(writer->loop);
        mapping_state_free(writer->state);
        redis_settings_free(writer->settings);
        free(writer);
        errno = -err;
        return NULL;
    }
    return writer;
}

/* One update on its way to the writer: identity and name are its last bytes. */
struct update {
    struct redis_writer *writer;
    struct mapping_vm vm;
    char label[LABEL_MAX + 1];
    char bytes[];
};

static struct update *update_new(struct redis_writer *writer, const struct mapping_vm *vm)
{
    struct update *update = xmalloc(sizeof *update + vm->identity_len + vm->name_len);
    atomic_fetch_add_explicit(&writer->updates, 1, memory_order_relaxed);
    update->writer = writer;
    update->vm = *vm;
    update->label[0] = 0;
    if (vm->label)
        strncat(update->label, vm->label, LABEL_MAX);
    memcpy(update->bytes, vm->identity, vm->identity_len);
    if (vm->name_len)
        memcpy(update->bytes + vm->identity_len, vm->name, vm->name_len);
    update->vm.identity = update->bytes;
    update->vm.name = update->bytes + vm->identity_len;
    update->vm.label = update->label;
    return update;
}

static void wake(struct redis_writer *writer)
{
    if (writer->session)
        redis_session_wake(writer->session);
}

static void take_publish(void *arg)
{
    struct update *update = arg;
    atomic_fetch_sub_explicit(&update->writer->updates, 1, memory_order_relaxed);
    mapping_state_publish(update->writer->state, &update->vm);
    wake(update->writer);
    free(update);
}

static void take_remove(void *arg)
{
    struct update *update = arg;
    atomic_fetch_sub_explicit(&update->writer->updates, 1, memory_order_relaxed);
    mapping_state_remove(update->writer->state, update->vm.identity, update->vm.identity_len,
                         update->vm.number);
    wake(update->writer);
    free(update);
}

void mapping_publish(struct redis_writer *writer, const struct mapping_vm *vm)
{
    loop_post(writer->loop, take_publish, update_new(writer, vm));
}

void mapping_remove(struct redis_writer *writer, const char *identity, size_t identity_len, uint64_t number)
{
    struct mapping_vm vm = {.identity = identity, .identity_len = identity_len, .number = number};
    loop_post(writer->loop, take_remove, update_new(writer, &vm));
}

struct mapping_figures mapping_figures(struct redis_writer *writer)
{
    uint64_t oldest, now = clock_ms();
    if (!atomic_load_explicit(&writer->is_enabled, memory_order_relaxed))
        return (struct mapping_figures){0};
    struct mapping_figures figures = {
        .queue_length = mapping_state_waiting(writer->state, &oldest) +
                        atomic_load_explicit(&writer->updates, memory_order_relaxed),
        .is_enabled = true,
        .is_up = atomic_load_explicit(&writer->is_up, memory_order_relaxed),
        .reconnects = atomic_load_explicit(&writer->reconnects, memory_order_relaxed),
    };
    figures.oldest_age_ms = oldest && oldest < now ? now - oldest : 0;
    return figures;
}

/* A message to the writer about itself. */
struct order {
    struct redis_writer *writer;
    struct redis_settings *settings;
    struct redis_pace pace;
    uint64_t deadline_ms;
};

static void on_deadline(struct loop_timer *timer)
{
    struct redis_writer *writer = container_of(timer, struct redis_writer, deadline);
    if (writer->purpose == PURPOSE_STOP) {
        log_warning("Redis did not take this node's entries out in time; the next start does redis=%s",
                    quote(writer->settings->where, strlen(writer->settings->where)).s);
        finish(writer, -ETIMEDOUT);
    } else {
        move_on(writer);
    }
}

/* Nothing of this node is to stay in Redis: asks the session for that, until the deadline. */
static void withdraw(struct redis_writer *writer, uint64_t timeout_ms)
{
    mapping_state_withdraw(writer->state, true);
    loop_timer_arm(writer->loop, &writer->deadline, timeout_ms, on_deadline);
    redis_session_withdraw(writer->session);
}

static void take_settings(void *arg)
{
    struct order *order = arg;
    struct redis_writer *writer = order->writer;
    struct redis_settings *settings = order->settings;
    free(order);
    if (writer->purpose == PURPOSE_MOVE) {
        redis_settings_free(writer->next_settings);
        writer->next_settings = settings;
        return;
    }
    bool same_place = redis_settings_same_place(writer->settings, settings);
    if (writer->purpose == PURPOSE_STOP ||
        (same_place && redis_settings_same_login(writer->settings, settings))) {
        redis_settings_free(settings);
        return;
    }
    writer->next_settings = settings;
    /* With another log-in to the same place, our entries stay where they are. */
    if (same_place || !writer->session) {
        move_on(writer);
        return;
    }
    writer->purpose = PURPOSE_MOVE;
    withdraw(writer, MOVE_TIMEOUT_MS);
}

static void take_stop(void *arg)
{
    struct order *order = arg;
    struct redis_writer *writer = order->writer;
    uint64_t now = clock_ms();
    uint64_t left = order->deadline_ms > now ? order->deadline_ms - now : 0;
    free(order);
    writer->purpose = PURPOSE_STOP;
    if (!writer->settings->config->redis.enabled) {
        finish(writer, 0);
        return;
    }
    /* While Redis is away, one more try, at once. */
    if (!writer->session)
        session_begin(writer);
    withdraw(writer, left);
}

static void take_pace(void *arg)
{
    struct order *order = arg;
    order->writer->pace = order->pace;
    if (order->writer->session)
        redis_session_repace(order->writer->session);
    free(order);
}

void redis_writer_set_pace(struct redis_writer *writer, struct redis_pace pace)
{
    struct order *order = xcalloc(1, sizeof *order);
    order->writer = writer;
    order->pace = pace;
    loop_post(writer->loop, take_pace, order);
}

void redis_writer_reload(struct redis_writer *writer, struct config *config)
{
    struct order *order = xcalloc(1, sizeof *order);
    order->writer = writer;
    order->settings = redis_settings_new(config);
    loop_post(writer->loop, take_settings, order);
}

int redis_writer_stop(struct redis_writer *writer, unsigned timeout_ms)
{
    struct order *order = xcalloc(1, sizeof *order);
    order->writer = writer;
    order->deadline_ms = clock_ms() + timeout_ms;
    loop_post(writer->loop, take_stop, order);
    pthread_join(writer->thread, NULL);
    int result = writer->result;
    loop_free(writer->loop);
    mapping_state_free(writer->state);
    redis_settings_free(writer->settings);
    redis_settings_free(writer->next_settings);
    free(writer->trouble);
    free(writer);
    return result;
}
