#include "server/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/server_parts.h"
#include "vspc/mem.h"
#include "vspc/text.h"

#ifdef VSPC_SYSTEMD
#include <systemd/sd-daemon.h>
#else
/* As where nobody listens. */
#define sd_notify(unset, state) ((void)(state), 0)
#define sd_notifyf(unset, format, ...) ((void)(format), 0)
#define sd_watchdog_enabled(unset, usec) ((void)(usec), 0)
#endif

enum { STATUS_MS = 2000, STATUS_TEXT = 128 };

/* What a loop reads and thereby shows that it turns. */
struct letter {
    struct notify *notify;
    atomic_bool read;
};

struct notify {
    struct server *server;
    bool stopped;
    char status[STATUS_TEXT]; /* as last told */
    struct loop_timer status_timer;
    uint64_t feed_ms; /* half of what the watchdog waits; 0: there is none */
    struct loop_timer feed_timer;
    atomic_uint unread;     /* letters of this round */
    struct letter *letters; /* the workers', then the acceptor's */
};

struct notify *notify_new(struct server *server)
{
    if (sd_notify(0, "STATUS=starting") == 0)
        return NULL;
    struct notify *notify = xcalloc(1, sizeof *notify);
    notify->server = server;
    return notify;
}

void notify_status(struct notify *notify, const char *text)
{
    if (!notify || strcmp(notify->status, text) == 0)
        return;
    snprintf(notify->status, sizeof notify->status, "%s", text);
    sd_notifyf(0, "STATUS=%s", notify->status);
}

/* "4,012 VMs, Redis up". */
static void tell_state(struct notify *notify)
{
    const struct server *server = notify->server;
    const char *redis = "";
    char text[STATUS_TEXT];
    uint64_t vms = 0;
    for (unsigned i = 0; i < server->worker_count; i++)
        vms += figure_read(&server->owners[i]->figures, FIGURE_VMS);
    if (server->config->redis.enabled)
        redis = mapping_figures(server->shared.mapping).is_up ? ", Redis up" : ", Redis away";
    snprintf(text, sizeof text, "%s VM%s%s%s", grouped(vms).s, vms == 1 ? "" : "s", redis,
             atomic_load(&server->shared.draining) ? ", draining" : "");
    notify_status(notify, text);
}

static void on_status_due(struct loop_timer *timer)
{
    struct notify *notify = container_of(timer, struct notify, status_timer);
    tell_state(notify);
    loop_timer_arm(notify->server->loop, timer, STATUS_MS, on_status_due);
}

static void begin_round(struct loop_timer *timer);

/* Everybody turns. */
static void on_round_done(void *arg)
{
    struct notify *notify = arg;
    if (notify->stopped)
        return;
    sd_notify(0, "WATCHDOG=1");
    loop_timer_arm(notify->server->loop, &notify->feed_timer, notify->feed_ms, begin_round);
}

/* In the loop that is asked. */
static void on_letter(void *arg)
{
    struct letter *letter = arg;
    struct notify *notify = letter->notify;
    atomic_store(&letter->read, true);
    if (atomic_fetch_sub(&notify->unread, 1) == 1)
        loop_post(notify->server->loop, on_round_done, notify);
}

/* Somebody has not read its letter. The watchdog strikes when as much time again has passed. */
static void on_round_late(struct loop_timer *timer)
{
    struct notify *notify = container_of(timer, struct notify, feed_timer);
    unsigned workers = notify->server->worker_count;
    for (unsigned i = 0; i < workers; i++)
        if (!atomic_load(&notify->letters[i].read))
            log_error("A worker is stuck, the watchdog is not fed worker=%u", i);
    if (!atomic_load(&notify->letters[workers].read))
        log_error("The acceptor is stuck, the watchdog is not fed");
}

static void begin_round(struct loop_timer *timer)
{
    struct notify *notify = container_of(timer, struct notify, feed_timer);
    struct server *server = notify->server;
    unsigned workers = server->worker_count;
    atomic_store(&notify->unread, workers + 1);
    for (unsigned i = 0; i <= workers; i++)
        atomic_store(&notify->letters[i].read, false);
    for (unsigned i = 0; i < workers; i++)
        loop_post(server->owners[i]->loop, on_letter, &notify->letters[i]);
    loop_post(acceptor_loop(server->acceptor), on_letter, &notify->letters[workers]);
    loop_timer_arm(server->loop, timer, notify->feed_ms / 2, on_round_late);
}

/* The watchdog's time runs from READY on. */
static void start_feeding(struct notify *notify)
{
    unsigned loops = notify->server->worker_count + 1;
    uint64_t usec;
    if (sd_watchdog_enabled(0, &usec) <= 0)
        return;
    notify->feed_ms = usec < 2000 ? 1 : usec / 2000;
    notify->letters = xcalloc(loops, sizeof *notify->letters);
    for (unsigned i = 0; i < loops; i++)
        notify->letters[i].notify = notify;
    begin_round(&notify->feed_timer);
}

void notify_ready(struct notify *notify)
{
    if (!notify)
        return;
    tell_state(notify);
    sd_notify(0, "READY=1");
    loop_timer_arm(notify->server->loop, &notify->status_timer, STATUS_MS, on_status_due);
    start_feeding(notify);
}

void notify_reloading(struct notify *notify)
{
    struct timespec now;
    if (!notify)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void notify_reloaded(struct notify *notify)
{
    if (notify)
        sd_notify(0, "READY=1");
}

void notify_stopping(struct notify *notify)
{
    if (!notify || notify->stopped)
        return;
    notify->stopped = true;
    loop_timer_disarm(notify->server->loop, &notify->status_timer);
    loop_timer_disarm(notify->server->loop, &notify->feed_timer);
    sd_notify(0, "STOPPING=1\nSTATUS=shutting down");
}

void notify_free(struct notify *notify)
{
    if (!notify)
        return;
    free(notify->letters);
    free(notify);
}
