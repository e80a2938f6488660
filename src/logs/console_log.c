/* The workers' side: what a VM prints gathers here, and goes to the disk thread in letters. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>
#include <utlist.h>

#include "console_logs.h"
#include "log_item.h"
#include "log_name.h"
#include "vspc/log.h"

enum {
    GATHER_MS = 100,
    GATHER_BYTES = 256 * 1024,
    ITEM_COST = 384, /* at least what an item takes beside its bytes, on both sides */
};

struct console_log_writer {
    struct console_logs *logs;
    struct loop *loop;
    struct loop_timer timer; /* armed while something has gathered or a log is losing */
    struct log_item *items;  /* of the next letter */
    size_t gathered;         /* bytes in them */
    uint64_t letter;         /* counts letters: the next one's number */
    struct console_log *losing;
};

struct console_log {
    struct console_log_writer *writer;
    struct log_item *item; /* takes what is put, while its letter is the writer's next */
    uint64_t item_letter;
    uint64_t item_turn_ms;           /* when its last mark was made, by the loop's clock */
    uint64_t lost;                   /* bytes since the item that found no room in the queue */
    struct console_log *prev, *next; /* in writer->losing, while lost is not 0 */
    char *name;                      /* of the file; changed only with the lock held */
    UT_hash_handle hh;               /* in logs->names, guarded by the lock */
};

void log_item_free(struct log_item *item)
{
    bytes_clear(&item->data);
    bytes_clear(&item->marks);
    free(item);
}

struct console_log_writer *console_log_writer_new(struct console_logs *logs, struct loop *loop)
{
    if (!logs)
        return NULL;
    struct console_log_writer *writer = xcalloc(1, sizeof *writer);
    writer->logs = logs;
    writer->loop = loop;
    writer->letter = 1;
    return writer;
}

static void post(struct console_log_writer *writer)
{
    if (!writer->items)
        return;
    console_logs_post(writer->logs, writer->items);
    writer->items = NULL;
    writer->gathered = 0;
    writer->letter++;
}

void console_log_writer_free(struct console_log_writer *writer)
{
    if (!writer)
        return;
    post(writer);
    free(writer);
}

/* Takes room in the queue. One that is empty takes anything. */
static bool reserve(struct console_logs *logs, size_t cost)
{
    size_t before = atomic_fetch_add_explicit(&logs->queued, cost, memory_order_relaxed);
    if (!before || before + cost <= atomic_load_explicit(&logs->queue_max, memory_order_relaxed))
        return true;
    atomic_fetch_sub_explicit(&logs->queued, cost, memory_order_relaxed);
    return false;
}

/* Whether a log that loses may go on: not before there is so much room that its next gap is not at once. */
static bool may_resume(struct console_logs *logs)
{
    return atomic_load_explicit(&logs->queued, memory_order_relaxed) <=
           atomic_load_explicit(&logs->queue_max, memory_order_relaxed) / 2;
}

static void on_timer(struct loop_timer *timer);

/* The item that takes what is put next, or NULL: it would have to be made. */
static struct log_item *open_item(const struct console_log *log)
{
    return log->item_letter == log->writer->letter && !log->lost ? log->item : NULL;
}

/* Makes one, whose cost is reserved; what was lost goes with it. */
static struct log_item *new_item(struct console_log *log, size_t cost)
{
    struct console_log_writer *writer = log->writer;
    size_t name_len = strlen(log->name);
    struct log_item *item = xcalloc(1, sizeof *item + name_len + 1);
    memcpy(item->name, log->name, name_len);
    item->cost = cost;
    item->lost = log->lost;
    if (log->lost)
        DL_DELETE(writer->losing, log);
    log->lost = 0;
    log->item = item;
    log->item_letter = writer->letter;
    log->item_turn_ms = 0;
    DL_APPEND(writer->items, item);
    if (!writer->timer.slot)
        loop_timer_arm(writer->loop, &writer->timer, GATHER_MS, on_timer);
    return item;
}

/* The disk is too slow for what the VMs print. */
static void lose(struct console_log *log, size_t len)
{
    struct console_log_writer *writer = log->writer;
    struct console_logs *logs = writer->logs;
    if (!atomic_exchange_explicit(&logs->is_short, true, memory_order_relaxed))
        log_warning("Console logs lose output, the disk does not keep up: raise [log] queue if that is for "
                    "a moment only queue=%zu",
                    atomic_load(&logs->queue_max));
    atomic_fetch_add_explicit(&logs->lost, len, memory_order_relaxed);
    if (!log->lost)
        DL_APPEND(writer->losing, log);
    log->lost += len;
    if (!writer->timer.slot)
        loop_timer_arm(writer->loop, &writer->timer, GATHER_MS, on_timer);
}

/* Gaps are noted even if the VM prints nothing more, as soon as there is room. */
static void on_timer(struct loop_timer *timer)
{
    struct console_log_writer *writer = container_of(timer, struct console_log_writer, timer);
    post(writer);
    while (writer->losing && may_resume(writer->logs) && reserve(writer->logs, ITEM_COST))
        new_item(writer->losing, ITEM_COST);
    if (writer->losing && !writer->timer.slot)
        loop_timer_arm(writer->loop, &writer->timer, GATHER_MS, on_timer);
}

/* Notes when what is put now was printed: once in a turn of the loop. Result: false, there is no room. */
static bool mark(struct console_log *log, struct log_item *item)
{
    struct timespec now;
    uint64_t turn_ms = loop_now(log->writer->loop);
    if (log->item_turn_ms == turn_ms)
        return true;
    if (!reserve(log->writer->logs, sizeof(struct log_mark)))
        return false;
    item->cost += sizeof(struct log_mark);
    clock_gettime(CLOCK_REALTIME, &now);
    struct log_mark m = {item->data.len, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000};
    bytes_put(&item->marks, &m, sizeof m);
    log->item_turn_ms = turn_ms;
    return true;
}

void console_log_put(struct console_log *log, const void *data, size_t len)
{
    if (!log || !len)
        return;
    struct console_log_writer *writer = log->writer;
    struct console_logs *logs = writer->logs;
    struct log_item *item = open_item(log);
    size_t cost = item ? len : len + ITEM_COST;
    if ((log->lost && !may_resume(logs)) || !reserve(logs, cost)) {
        lose(log, len);
        return;
    }
    if (item)
        item->cost += cost;
    else
        item = new_item(log, cost);
    /* Without room for the time, that of what was put before is near enough. */
    if (atomic_load_explicit(&logs->wants_times, memory_order_relaxed))
        mark(log, item);
    bytes_put(&item->data, data, len);
    writer->gathered += len;
    if (writer->gathered >= GATHER_BYTES)
        post(writer);
}

/* Says once a second that two consoles want one file. */
static void tell_conflict(struct console_log_writer *writer, const char *wanted, const char *given)
{
    unsigned suppressed;
    if (log_second_allows(&writer->logs->conflicts, loop_now(writer->loop), &suppressed))
        log_warning("Two consoles have one log file's name, the second gets another: put {uuid} into [log] "
                    "file wanted=%s given=%s not_logged_before=%u",
                    quote(wanted, strlen(wanted)).s, quote(given, strlen(given)).s, suppressed);
}

static bool is_taken(const struct console_logs *logs, const struct console_log *log, const char *name,
                     size_t len)
{
    struct console_log *holder;
    HASH_FIND(hh, logs->names, name, len, holder);
    return holder && holder != log;
}

/* Takes the first name that is no other console's, in place of the one that the log has. Result: whether it
 * is the first choice. */
static bool take_name(struct console_log *log, const struct console_log_name *who)
{
    struct console_logs *logs = log->writer->logs;
    char name[LOG_NAME_MAX + 1];
    unsigned copy = 0;
    pthread_mutex_lock(&logs->lock);
    size_t len = log_name_make(name, logs->pattern, who, copy);
    while (is_taken(logs, log, name, len))
        len = log_name_make(name, logs->pattern, who, ++copy);
    if (!log->name || strcmp(log->name, name) != 0) {
        if (log->name)
            HASH_DELETE(hh, logs->names, log);
        free(log->name);
        log->name = xmemdup0(name, len);
        HASH_ADD_KEYPTR(hh, logs->names, log->name, len, log);
        log->item_letter = 0;
    }
    pthread_mutex_unlock(&logs->lock);
    return copy == 0;
}

void console_log_name(struct console_log_writer *writer, struct console_log **log,
                      const struct console_log_name *name)
{
    char wanted[LOG_NAME_MAX + 1];
    if (!writer)
        return;
    if (!*log) {
        *log = xcalloc(1, sizeof **log);
        (*log)->writer = writer;
    }
    if (take_name(*log, name))
        return;
    log_name_make(wanted, writer->logs->pattern, name, 0);
    tell_conflict(writer, wanted, (*log)->name);
}

void console_log_close(struct console_log **log)
{
    struct console_log *closed = *log;
    if (!closed)
        return;
    struct console_logs *logs = closed->writer->logs;
    *log = NULL;
    /* The last gap is noted whether there is room or not. */
    if (closed->lost) {
        atomic_fetch_add_explicit(&logs->queued, ITEM_COST, memory_order_relaxed);
        new_item(closed, ITEM_COST);
    }
    pthread_mutex_lock(&logs->lock);
    HASH_DELETE(hh, logs->names, closed);
    pthread_mutex_unlock(&logs->lock);
    free(closed->name);
    free(closed);
}

char *console_log_path(const struct console_log *log)
{
    return log ? xasprintf("%s/%s", log->writer->logs->directory, log->name) : NULL;
}
