#include "vspc/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vspc/loop.h"
#include "vspc/mem.h"

enum {
    LINE_MAX_BYTES = 4096,
    QUEUE_MAX_LINES = 8192,
    WRITE_AT_BYTES =
        32768,     /* lines are written together, at the end of the writer's turn or at this many bytes */
    GATHER_MS = 10 /* how long a line may wait for others behind it */
};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const level_prefixes[] = {"<3>", "<4>", "<6>", "<7>"};

static atomic_int max_level = LOG_LEVEL_INFO;
static bool under_systemd;

/* The writer is a loop whose letters are the lines; a blocking write happens in it and nowhere else. Set by
 * log_start and log_stop alone, while there is no other thread. */
static struct loop *writer_loop;
static pthread_t writer_thread;
static atomic_uint queued;
static atomic_uint lost;                 /* and not told of yet */
static atomic_uint_fast64_t lost_so_far; /* since the start */

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

static void write_all(const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(STDERR_FILENO, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            /* A pipe or terminal that somebody made non-blocking; the writer may wait. */
            struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&room, 1, -1);
            continue;
        }
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* Puts what stands before the sentence into out; the number of characters. */
static size_t prefix(enum log_level level, char *out, size_t size)
{
    if (under_systemd)
        return (size_t)snprintf(out, size, "%s", level_prefixes[level]);
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, size - n, ".%03ldZ %s: ", ts.tv_nsec / 1000000, level_names[level]);
}

/* A whole line with its newline, in fresh memory. */
static char *vformat_line(enum log_level level, const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    size_t n = prefix(level, line, sizeof line);
    int body = vsnprintf(line + n, sizeof line - n - 1, format, args);
    n += body < 0 ? 0 : (size_t)body;
    if (n > sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    return xmemdup0(line, n);
}

static char *format_line(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *line = vformat_line(level, format, args);
    va_end(args);
    return line;
}

/* The writer's: lines that are to be written, and how many they are. */
static struct bytes pending;
static unsigned pending_lines;
static struct loop_timer end_of_turn;

static void write_pending(void)
{
    write_all((const char *)bytes_at(&pending), pending.len);
    bytes_drop(&pending, pending.len);
    atomic_fetch_sub_explicit(&queued, pending_lines, memory_order_relaxed);
    pending_lines = 0;
}

static void put_pending(char *line)
{
    bytes_put(&pending, line, strlen(line));
    free(line);
}

static void on_end_of_turn(struct loop_timer *timer)
{
    (void)timer;
    write_pending();
}

static void write_letter(void *arg)
{
    put_pending(arg);
    pending_lines++;
    unsigned n = atomic_exchange_explicit(&lost, 0, memory_order_relaxed);
    if (n)
        put_pending(
            format_line(LOG_LEVEL_WARNING, "Log lines were lost, nobody read standard error lines=%u", n));
    if (pending.len >= WRITE_AT_BYTES)
        write_pending();
    else if (!end_of_turn.slot)
        loop_timer_arm(writer_loop, &end_of_turn, 0, on_end_of_turn);
}

void log_line(enum log_level level, const char *format, ...)
{
    if (!log_wants(level))
        return;
    if (writer_loop && atomic_load_explicit(&queued, memory_order_relaxed) >= QUEUE_MAX_LINES) {
        atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&lost_so_far, 1, memory_order_relaxed);
        return;
    }
    va_list args;
    va_start(args, format);
    char *line = vformat_line(level, format, args);
    va_end(args);
    if (!writer_loop) {
        write_all(line, strlen(line));
        free(line);
        return;
    }
    atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
    loop_post(writer_loop, write_letter, line);
}

uint64_t log_lines_lost(void)
{
    return atomic_load_explicit(&lost_so_far, memory_order_relaxed);
}

/* systemd names the device and inode of the journal's socket in JOURNAL_STREAM; see systemd.exec(5). */
static bool stderr_is_journal(void)
{
    const char *env = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return env && sscanf(env, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

static void *run_writer(void *arg)
{
    loop_run(arg);
    write_pending();
    bytes_clear(&pending);
    return NULL;
}

int log_start(void)
{
    under_systemd = stderr_is_journal();
    struct loop *loop = loop_new();
    if (!loop)
        return -errno;
    loop_set_gather(loop, GATHER_MS);
    int err = thread_start(&writer_thread, "log-writer", run_writer, loop);
    if (err) {
        loop_free(loop);
        return err;
    }
    writer_loop = loop;
    return 0;
}

bool log_end_writing(unsigned timeout_ms)
{
    if (!writer_loop)
        return false;
    loop_stop(writer_loop);
    return thread_join(writer_thread, timeout_ms) == 0;
}

void log_stop(unsigned timeout_ms)
{
    /* A writer that is stuck in write() is left behind with its loop: the process is about to end. */
    if (!log_end_writing(timeout_ms))
        return;
    struct loop *loop = writer_loop;
    writer_loop = NULL;
    loop_free(loop);
}

bool log_rate_allows(struct log_rate *rate, uint64_t now_ms, unsigned *suppressed)
{
    *suppressed = 0;
    if (now_ms - rate->window_start_ms >= rate->window_ms) {
        rate->window_start_ms = now_ms;
        rate->used = 0;
    }
    if (rate->used >= rate->burst) {
        rate->suppressed++;
        return false;
    }
    rate->used++;
    *suppressed = rate->suppressed;
    rate->suppressed = 0;
    return true;
}

bool log_second_allows(struct log_second *second, uint64_t now_ms, unsigned *suppressed)
{
    uint_fast64_t next = atomic_load_explicit(&second->next_ms, memory_order_relaxed);
    *suppressed = 0;
    if (now_ms < next ||
        !atomic_compare_exchange_strong_explicit(&second->next_ms, &next, now_ms + 1000, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        atomic_fetch_add_explicit(&second->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *suppressed = atomic_exchange_explicit(&second->suppressed, 0, memory_order_relaxed);
    return true;
}
