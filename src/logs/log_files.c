/* The files by their names, what waits for them, and the disk thread's turns. */
#include "log_files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "log_gzip.h"

enum {
    TURN_MS = 5,
    TURN_BYTES = 1024 * 1024,
    RETRY_MS = 1000,    /* of a file that fails */
    RETRIES = 64,       /* files at once */
    RETRY_FAILURES = 4, /* after so many in a row the others are left for the next time */
    FILES_MAX = 32768,  /* known, of which most have a gap */
    IDLE_MS = 30000,    /* a file that nothing is written into is closed */
};

struct log_files *log_files_new(struct console_logs *logs, struct config *config)
{
    struct log_files *files = xcalloc(1, sizeof *files);
    files->logs = logs;
    files->loop = logs->disk;
    files->config = config_ref(config);
    files->dir_fd = -1;
    files->outages = (struct log_rate){.burst = 6, .window_ms = 60000};
    return files;
}

static struct log_file *find_file(struct log_files *files, const char *name)
{
    struct log_file *file;
    size_t len = strlen(name);
    HASH_FIND(hh, files->by_name, name, len, file);
    if (file)
        return file;
    file = xcalloc(1, sizeof *file + len + 1);
    memcpy(file->name, name, len);
    file->fd = -1;
    HASH_ADD_KEYPTR(hh, files->by_name, file->name, len, file);
    return file;
}

void log_file_forget_if_idle(struct log_files *files, struct log_file *file)
{
    /* Where a disk fails for long, what VMs that came and went have lost is noted no more. */
    bool is_one_too_many = HASH_COUNT(files->by_name) > FILES_MAX;
    if (file->items || file->fd >= 0 || (file->gap && !is_one_too_many))
        return;
    if (file->is_failing)
        DL_DELETE2(files->failing, file, bad_prev, bad_next);
    HASH_DELETE(hh, files->by_name, file);
    free(file);
}

static void on_retry(struct loop_timer *timer);

/* A write has gone well, or has not. */
static void note_result(struct log_files *files, struct log_file *file, int err)
{
    if (err && !file->is_failing)
        DL_APPEND2(files->failing, file, bad_prev, bad_next);
    else if (!err && file->is_failing)
        DL_DELETE2(files->failing, file, bad_prev, bad_next);
    file->is_failing = err != 0;
    if (!err) {
        log_outage_end(files);
        return;
    }
    file->retry_ms = clock_ms() + RETRY_MS;
    log_outage_begin(files, file->name, err);
    if (!files->retry.slot && !files->is_stopping)
        loop_timer_arm(files->loop, &files->retry, RETRY_MS, on_retry);
}

/* Files that have failed get the note of their gap when they can be written, whether something comes for
 * them or not. */
static void retry_some(struct log_files *files, unsigned most)
{
    unsigned failures = 0;
    uint64_t now = clock_ms();
    while (files->failing && most-- > 0 && failures < RETRY_FAILURES) {
        struct log_file *file = files->failing;
        DL_DELETE2(files->failing, file, bad_prev, bad_next);
        DL_APPEND2(files->failing, file, bad_prev, bad_next);
        if (file->retry_ms > now && !files->is_stopping)
            continue;
        int err = log_file_write(files, file, NULL);
        failures = err ? failures + 1 : 0;
        note_result(files, file, err);
    }
}

static void on_retry(struct loop_timer *timer)
{
    struct log_files *files = container_of(timer, struct log_files, retry);
    if (log_directory_open(files) == 0)
        log_outage_end(files);
    retry_some(files, RETRIES);
    if (files->failing || files->dir_error)
        loop_timer_arm(files->loop, &files->retry, RETRY_MS, on_retry);
}

/* Closes what has not been written for a while: whoever removes a file wants its space back. */
static void on_idle(struct loop_timer *timer)
{
    struct log_files *files = container_of(timer, struct log_files, idle);
    uint64_t now = clock_ms();
    while (files->open && now - files->open->used_ms >= IDLE_MS) {
        struct log_file *file = files->open;
        log_file_close(files, file);
        log_file_forget_if_idle(files, file);
    }
    if (files->open)
        loop_timer_arm(files->loop, &files->idle, IDLE_MS / 3, on_idle);
}

/* Writes the oldest item of a file. One that has just failed gets no more for now. */
static void write_item(struct log_files *files, struct log_file *file)
{
    struct log_item *item = file->items;
    struct console_logs *logs = files->logs;
    DL_DELETE(file->items, item);
    if (file->is_failing && clock_ms() < file->retry_ms && !files->is_stopping) {
        file->gap += item->lost + item->data.len;
        atomic_fetch_add_explicit(&logs->lost, item->data.len, memory_order_relaxed);
    } else {
        note_result(files, file, log_file_write(files, file, item));
    }
    size_t left = atomic_fetch_sub_explicit(&logs->queued, item->cost, memory_order_relaxed) - item->cost;
    if (left <= atomic_load_explicit(&logs->queue_max, memory_order_relaxed) / 2)
        atomic_store_explicit(&logs->is_short, false, memory_order_relaxed);
    log_item_free(item);
    if (file->items)
        return;
    DL_DELETE2(files->ready, file, ready_prev, ready_next);
    log_file_forget_if_idle(files, file);
}

/* One turn: what waits to be written comes before what is to be compressed. */
static void on_work(struct loop_timer *timer)
{
    struct log_files *files = container_of(timer, struct log_files, work);
    uint64_t until = clock_ms() + TURN_MS;
    size_t bytes = 0;
    while (files->ready && bytes < TURN_BYTES && clock_ms() < until) {
        bytes += files->ready->items->data.len;
        write_item(files, files->ready);
    }
    if (!files->ready)
        log_gzip_step(files);
    if (files->open && !files->idle.slot)
        loop_timer_arm(files->loop, &files->idle, IDLE_MS / 3, on_idle);
    if (files->ready || files->jobs)
        loop_timer_arm(files->loop, &files->work, 0, on_work);
}

void log_files_start(struct log_files *files)
{
    if (log_directory_open(files) == 0)
        return;
    log_outage_begin(files, "", files->dir_error);
    loop_timer_arm(files->loop, &files->retry, RETRY_MS, on_retry);
}

void log_files_take(struct log_files *files, struct log_item *items)
{
    struct log_item *item, *next;
    DL_FOREACH_SAFE(items, item, next)
    {
        struct log_file *file = find_file(files, item->name);
        if (!file->items)
            DL_APPEND2(files->ready, file, ready_prev, ready_next);
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): utlist's links are not seen through */
        DL_DELETE(items, item);
        DL_APPEND(file->items, item);
    }
    if (!files->work.slot && !files->is_stopping)
        loop_timer_arm(files->loop, &files->work, 0, on_work);
}

void log_files_reload(struct log_files *files, struct config *config)
{
    config_unref(files->config);
    files->config = config;
}

static void close_all(struct log_files *files)
{
    while (files->open) {
        struct log_file *file = files->open;
        log_file_close(files, file);
        log_file_forget_if_idle(files, file);
    }
    log_directory_close(files);
}

void log_files_reopen(struct log_files *files)
{
    close_all(files);
    /* What failed may have been put right. */
    files->dir_retry_ms = 0;
    for (struct log_file *file = files->failing; file; file = file->bad_next)
        file->retry_ms = 0;
    if (log_directory_open(files) != 0)
        log_files_start(files);
    else
        log_outage_end(files);
}

void log_files_stop(struct log_files *files)
{
    files->is_stopping = true;
    loop_timer_disarm(files->loop, &files->work);
    loop_timer_disarm(files->loop, &files->retry);
    loop_timer_disarm(files->loop, &files->idle);
    while (files->ready)
        write_item(files, files->ready);
    files->dir_retry_ms = 0;
    retry_some(files, HASH_COUNT(files->by_name));
    log_gzip_stop(files);
    close_all(files);
}

void log_files_free(struct log_files *files)
{
    struct log_file *file, *next;
    HASH_ITER(hh, files->by_name, file, next)
    {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): uthash's links are not seen through */
        HASH_DELETE(hh, files->by_name, file);
        free(file);
    }
    config_unref(files->config);
    free(files);
}
