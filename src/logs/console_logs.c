/* What belongs to all console logs: start, reload, reopen, stop, figures. */
#include "console_logs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_files.h"
#include "vspc/log.h"

static void apply(struct console_logs *logs, const struct config *config)
{
    atomic_store_explicit(&logs->queue_max, config->log.queue, memory_order_relaxed);
    atomic_store_explicit(&logs->wants_times, config->log.timestamps == LOG_TIMESTAMPS_LINE,
                          memory_order_relaxed);
}

/* The directory's path from the root. */
static char *absolute(const char *directory)
{
    char *here = directory[0] == '/' ? NULL : getcwd(NULL, 0);
    char *path = here ? xasprintf("%s/%s", here, directory) : xstrdup(directory);
    free(here);
    return path;
}

static void take_start(void *arg)
{
    struct console_logs *logs = arg;
    log_files_start(logs->files);
}

struct console_logs *console_logs_new(struct disk *disk, struct config *config)
{
    struct console_logs *logs = xcalloc(1, sizeof *logs);
    logs->disk = disk_loop(disk);
    logs->directory = absolute(config->log.directory);
    logs->pattern = xstrdup(config->log.file);
    pthread_mutex_init(&logs->lock, NULL);
    apply(logs, config);
    logs->files = log_files_new(logs, config);
    loop_post(logs->disk, take_start, logs);
    return logs;
}

/* What a letter to the disk thread brings. */
struct order {
    struct console_logs *logs;
    struct log_item *items;
    struct loop *reply_to;
    void (*done)(void *arg);
    void *arg;
};

static struct order *order_new(struct console_logs *logs)
{
    struct order *order = xcalloc(1, sizeof *order);
    order->logs = logs;
    return order;
}

static void take_items(void *arg)
{
    struct order *order = arg;
    log_files_take(order->logs->files, order->items);
    free(order);
}

void console_logs_post(struct console_logs *logs, struct log_item *items)
{
    struct order *order = order_new(logs);
    order->items = items;
    loop_post(logs->disk, take_items, order);
}

static void take_config(void *arg)
{
    struct console_logs *logs = arg;
    log_files_reload(logs->files, atomic_exchange(&logs->next_config, NULL));
}

void console_logs_reload(struct console_logs *logs, struct config *config)
{
    apply(logs, config);
    struct config *overtaken = atomic_exchange(&logs->next_config, config_ref(config));
    if (overtaken)
        config_unref(overtaken);
    else
        loop_post(logs->disk, take_config, logs);
}

static void take_reopen(void *arg)
{
    struct order *order = arg;
    if (!order->reply_to)
        atomic_store(&order->logs->is_reopening, false);
    log_files_reopen(order->logs->files);
    log_info("Console logs reopened log_directory=%s",
             quote(order->logs->directory, strlen(order->logs->directory)).s);
    if (order->reply_to)
        loop_post(order->reply_to, order->done, order->arg);
    free(order);
}

void console_logs_reopen(struct console_logs *logs, struct loop *reply_to, void (*done)(void *arg), void *arg)
{
    if (!reply_to && atomic_exchange(&logs->is_reopening, true))
        return;
    struct order *order = order_new(logs);
    order->reply_to = reply_to;
    order->done = done;
    order->arg = arg;
    loop_post(logs->disk, take_reopen, order);
}

struct console_log_figures console_logs_figures(struct console_logs *logs)
{
    return (struct console_log_figures){
        .queued_bytes = atomic_load_explicit(&logs->queued, memory_order_relaxed),
        .written_bytes = atomic_load_explicit(&logs->written, memory_order_relaxed),
        .lost_bytes = atomic_load_explicit(&logs->lost, memory_order_relaxed),
        .open_files = atomic_load_explicit(&logs->open_files, memory_order_relaxed),
        .failing = atomic_load_explicit(&logs->failing, memory_order_relaxed),
    };
}

static void take_stop(void *arg)
{
    struct console_logs *logs = arg;
    log_files_stop(logs->files);
}

void console_logs_stop(struct console_logs *logs)
{
    loop_post(logs->disk, take_stop, logs);
}

void console_logs_free(struct console_logs *logs)
{
    log_files_free(logs->files);
    pthread_mutex_destroy(&logs->lock);
    free(logs->directory);
    free(logs->pattern);
    free(logs);
}
