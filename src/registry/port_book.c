#include "vspc/port_book.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "port_file.h"
#include "vspc/log.h"
#include "vspc/loop.h"
#include "vspc/mem.h"
#include "vspc/text.h"

enum {
    GATHER_MS = 50, /* changes wait this long for others: at most 20 commits a second */
    RETRY_MS = 5000,
    TOUCHES = 4,      /* in a retention, so that it is kept to a quarter after a kill -9 */
    TOUCH_MIN_S = 10, /* each writes a row for every connected VM */
    TOUCH_MAX_S = 3600,
    SET_ASIDE_EVERY_MS = 60000, /* a disk that damages every file is not to be filled with them */
};

/* What is waited for has not come to its end. */
enum { PENDING = 1 };

struct port_book {
    struct loop *loop; /* the disk's */
    struct port_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* one of the two results */
    int load_result;        /* guarded by the lock; PENDING, and then as of port_book_wait_loaded */
    int stop_result;        /* likewise, as of port_book_stop_finish */
    /* From here on the disk thread's own. */
    struct port_file file;
    struct loop_timer write; /* changes are being gathered, or more are to be written */
    struct loop_timer retry; /* armed while the disk fails */
    struct loop_timer touch;
    bool is_partly_read;        /* the pool has what could be read of the file */
    bool is_read;               /* the pool has what the file had */
    uint64_t outage_start_ms;   /* 0: no outage */
    uint64_t last_set_aside_ms; /* 0: never */
    bool is_stopped;
    int last_result; /* of the last batch: 0 or -EIO */
};

static struct quoted file_name(const struct port_book *book)
{
    return quote(book->file.path, strlen(book->file.path));
}

static void on_retry(struct loop_timer *timer);

static const char *cure_of(int err)
{
    switch (err) {
    case -EROFS:
    case -EACCES:
        return "make it and its directory writable for vspcd";
    case -EBUSY:
        return "end the program that has it open";
    default:
        return "see to the disk and the space on it";
    }
}

/* The disk does not do what it should: says so, once, and tries again later. What was taken from the pool and
 * may not be on disk is written then. */
static void begin_outage(struct port_book *book, int err)
{
    const char *error = book->file.error;
    port_file_close(&book->file);
    if (!book->outage_start_ms) {
        book->outage_start_ms = clock_ms();
        log_warning(
            "Port book cannot be written, ports are kept in memory only until it can book=%s error=%s "
            "cure=\"%s\"",
            file_name(book).s, quote(error, strlen(error)).s, cure_of(err));
    } else {
        log_debug("Port book still cannot be written error=%s", quote(error, strlen(error)).s);
    }
    port_pool_change_all(book->pool);
    loop_timer_disarm(book->loop, &book->write);
    loop_timer_arm(book->loop, &book->retry, RETRY_MS, on_retry);
}

static void end_outage(struct port_book *book)
{
    if (!book->outage_start_ms)
        return;
    log_info("Port book is written again book=%s outage_ms=%llu", file_name(book).s,
             (unsigned long long)(clock_ms() - book->outage_start_ms));
    book->outage_start_ms = 0;
}

/* The file is damaged or not ours: gives it another name. Result: 0 or a negative errno. */
static int set_aside(struct port_book *book)
{
    char *name, why[PORT_FILE_ERROR];
    if (book->last_set_aside_ms && clock_ms() - book->last_set_aside_ms < SET_ASIDE_EVERY_MS)
        return -EUCLEAN;
    memcpy(why, book->file.error, sizeof why);
    port_file_close(&book->file);
    int err = port_file_set_aside(&book->file, &name);
    if (err)
        return err;
    book->last_set_aside_ms = clock_ms();
    log_warning("Port book cannot be used and was set aside, a new one is begun; VMs may get other ports "
                "than before book=%s set_aside=%s error=%s",
                file_name(book).s, quote(name, strlen(name)).s, quote(why, strlen(why)).s);
    free(name);
    return 0;
}

/* Opens the file; reads it if that has not been done. Result: 0 or a negative errno. */
static int open_and_read(struct port_book *book)
{
    unsigned restored;
    int err = port_file_open(&book->file);
    if (err || book->is_read || (book->is_partly_read && book->file.lacks_wal))
        return err;
    err = port_file_read(&book->file, book->pool, &restored);
    if (err)
        return err;
    book->is_partly_read = true;
    /* What is still missing is read before the file is first written, which would lose it. */
    book->is_read = !book->file.lacks_wal;
    log_info("Port book read book=%s reserved_ports=%u%s", file_name(book).s, restored,
             book->is_read ? "" : " latest_changes=missing");
    return 0;
}

/* Makes the file ready to be written, whatever it is now. Result: 0 or a negative errno. */
static int open_book(struct port_book *book)
{
    if (book->file.db && !port_file_is_there(&book->file)) {
        log_warning("Port book was removed or replaced, writing it anew book=%s", file_name(book).s);
        port_file_close(&book->file);
        port_file_remove_traces(&book->file);
        port_pool_change_all(book->pool);
    }
    if (book->file.db)
        return 0;
    int err = open_and_read(book);
    if (err == -EUCLEAN && set_aside(book) == 0) {
        port_pool_change_all(book->pool);
        err = open_and_read(book);
    }
    return !err && book->file.read_only ? -EROFS : err;
}

static void on_write(struct loop_timer *timer);

/* Writes a batch of what has changed; the next is written when this turn is over. Result: as port_file_write.
 */
static int write_batch(struct port_book *book)
{
    int more = open_book(book);
    if (more == 0)
        more = port_file_write(&book->file, book->pool);
    if (more == -EUCLEAN && set_aside(book) == 0) {
        port_pool_change_all(book->pool);
        more = open_book(book);
        if (more == 0)
            more = port_file_write(&book->file, book->pool);
    }
    if (more < 0)
        begin_outage(book, more);
    else if (more)
        loop_timer_arm(book->loop, &book->write, 0, on_write);
    else
        end_outage(book);
    return more;
}

static void on_write(struct loop_timer *timer)
{
    write_batch(container_of(timer, struct port_book, write));
}

static void on_retry(struct loop_timer *timer)
{
    write_batch(container_of(timer, struct port_book, retry));
}

/* The pool has a new list of changes. */
static void take_change(void *arg)
{
    struct port_book *book = arg;
    if (!book->is_stopped && !book->write.slot && !book->retry.slot)
        loop_timer_arm(book->loop, &book->write, GATHER_MS, on_write);
}

/* Any thread that changes the pool. */
static void on_change(void *arg)
{
    struct port_book *book = arg;
    loop_post(book->loop, take_change, book);
}

/* How long until connected VMs are marked as seen again. */
static uint64_t touch_pause_ms(uint64_t retention)
{
    uint64_t pause = retention / TOUCHES;
    if (retention == 0 || pause > TOUCH_MAX_S)
        pause = TOUCH_MAX_S;
    return (pause > TOUCH_MIN_S ? pause : TOUCH_MIN_S) * 1000;
}

static void on_touch(struct loop_timer *timer)
{
    struct port_book *book = container_of(timer, struct port_book, touch);
    struct port_terms terms = port_pool_terms(book->pool);
    time_t now = time(NULL);
    int err = 0;
    port_pool_touch(book->pool, now);
    if (book->file.db && (uint64_t)now > terms.retention)
        err = port_file_expire(&book->file, &terms, now - (time_t)terms.retention);
    if (err)
        begin_outage(book, err);
    loop_timer_arm(book->loop, &book->touch, touch_pause_ms(terms.retention), on_touch);
}

static void take_touch(void *arg)
{
    struct port_book *book = arg;
    if (!book->is_stopped)
        on_touch(&book->touch);
}

void port_book_touch(struct port_book *book)
{
    loop_post(book->loop, take_touch, book);
}

/* Tells who waits for this result. */
static void set_result(struct port_book *book, int *which, int result)
{
    pthread_mutex_lock(&book->lock);
    *which = result;
    pthread_cond_signal(&book->changed);
    pthread_mutex_unlock(&book->lock);
}

/* Result: that result, or -ETIMEDOUT. */
static int wait_result(struct port_book *book, const int *which, unsigned timeout_ms)
{
    struct timespec deadline = clock_deadline(CLOCK_MONOTONIC, timeout_ms);
    int err = 0;
    pthread_mutex_lock(&book->lock);
    while (*which == PENDING && !err)
        err = pthread_cond_clockwait(&book->changed, &book->lock, CLOCK_MONOTONIC, &deadline);
    int result = *which == PENDING ? -ETIMEDOUT : *which;
    pthread_mutex_unlock(&book->lock);
    return result;
}

static void take_start(void *arg)
{
    struct port_book *book = arg;
    write_batch(book);
    set_result(book, &book->load_result, book->is_read ? 0 : -EIO);
    port_pool_on_change(book->pool, on_change, book);
    on_touch(&book->touch);
}

struct port_book *port_book_start(struct disk *disk, const char *dir, struct port_pool *pool)
{
    struct port_book *book = xcalloc(1, sizeof *book);
    book->pool = pool;
    book->loop = disk_loop(disk);
    pthread_mutex_init(&book->lock, NULL);
    pthread_cond_init(&book->changed, NULL);
    book->load_result = book->stop_result = PENDING;
    book->file.path = xasprintf("%s/ports.db", dir);
    loop_post(book->loop, take_start, book);
    return book;
}

int port_book_wait_loaded(struct port_book *book, unsigned timeout_ms)
{
    return wait_result(book, &book->load_result, timeout_ms);
}

/* No letter about the book is behind this one. */
static void take_end(void *arg)
{
    struct port_book *book = arg;
    set_result(book, &book->stop_result, book->last_result);
}

static void take_stop(void *arg)
{
    struct port_book *book = arg;
    int more;
    book->is_stopped = true;
    port_pool_on_change(book->pool, NULL, NULL);
    do
        more = write_batch(book);
    while (more > 0);
    port_file_close(&book->file);
    loop_timer_disarm(book->loop, &book->write);
    loop_timer_disarm(book->loop, &book->retry);
    loop_timer_disarm(book->loop, &book->touch);
    book->last_result = more < 0 ? -EIO : 0;
    /* What the disk thread itself has posted of the pool's changes comes before that. */
    loop_post(book->loop, take_end, book);
}

void port_book_stop_begin(struct port_book *book)
{
    loop_post(book->loop, take_stop, book);
}

int port_book_stop_finish(struct port_book *book, unsigned timeout_ms)
{
    int result = wait_result(book, &book->stop_result, timeout_ms);
    if (result == -ETIMEDOUT)
        return result;
    pthread_cond_destroy(&book->changed);
    pthread_mutex_destroy(&book->lock);
    free(book->file.path);
    free(book);
    return result;
}
