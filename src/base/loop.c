#include "vspc/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "vspc/mailbox.h"
#include "vspc/mem.h"

enum { BATCH = 256, LETTERS_AT_ONCE = 16, LETTERS_MS = 2 };

struct loop {
    int epoll_fd;
    atomic_bool stop;
    uint64_t now_ms;
    unsigned gather_ms;
    uint64_t last_letter_ms;
    struct mailbox mailbox;
    struct epoll_event batch[BATCH];
    int batch_len, batch_at;  /* batch[batch_at .. batch_len) are still to be handled */
    struct loop_timer **heap; /* a binary heap by due_ms; heap[0] is unused, slots count from 1 */
    uint32_t heap_len, heap_cap;
    void **graveyard; /* to be freed at the end of the turn */
    size_t graveyard_len, graveyard_cap;
};

uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct loop *loop_new(void)
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->now_ms = clock_ms();
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        free(loop);
        return NULL;
    }
    int err = mailbox_init(&loop->mailbox);
    if (err) {
        close(loop->epoll_fd);
        free(loop);
        errno = -err;
        return NULL;
    }
    /* Edge-triggered: each write wakes us, and nobody has to read the counter. */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->mailbox.event_fd, &ev);
    return loop;
}

static void bury(struct loop *loop)
{
    for (size_t i = 0; i < loop->graveyard_len; i++)
        free(loop->graveyard[i]);
    loop->graveyard_len = 0;
}

void loop_free(struct loop *loop)
{
    mailbox_destroy(&loop->mailbox);
    bury(loop);
    close(loop->epoll_fd);
    free(loop->graveyard);
    free(loop->heap);
    free(loop);
}

void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    mailbox_post(&loop->mailbox, fn, arg);
}

static void set_stop(void *arg)
{
    struct loop *loop = arg;
    atomic_store(&loop->stop, true);
}

void loop_stop(struct loop *loop)
{
    loop_post(loop, set_stop, loop);
}

void loop_set_gather(struct loop *loop, unsigned gather_ms)
{
    loop->gather_ms = gather_ms;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ms;
}

void loop_free_later(struct loop *loop, void *ptr)
{
    if (!ptr)
        return;
    if (loop->graveyard_len == loop->graveyard_cap) {
        loop->graveyard_cap = loop->graveyard_cap ? loop->graveyard_cap * 2 : 64;
        loop->graveyard = xrealloc(loop->graveyard, loop->graveyard_cap * sizeof *loop->graveyard);
    }
    loop->graveyard[loop->graveyard_len++] = ptr;
}

int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn *fn)
{
    struct epoll_event ev = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return -errno;
    io->fd = fd;
    io->events = events;
    io->fn = fn;
    return 0;
}

void loop_io_set(struct loop *loop, struct loop_io *io, uint32_t events)
{
    if (!io->fn || io->events == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = io};
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
    io->events = events;
}

/* No event of the batch at hand is for io any more. */
static void forget(struct loop *loop, struct loop_io *io)
{
    io->fn = NULL;
    io->events = 0;
    for (int i = loop->batch_at; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == io)
            loop->batch[i].data.ptr = NULL;
}

void loop_io_del(struct loop *loop, struct loop_io *io)
{
    if (!io->fn)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    forget(loop, io);
}

void loop_io_close(struct loop *loop, struct loop_io *io)
{
    /* No other descriptor refers to the socket, so closing it takes it out of the epoll set. */
    forget(loop, io);
    close(io->fd);
    io->fd = -1;
}

static void heap_set(struct loop *loop, uint32_t slot, struct loop_timer *timer)
{
    loop->heap[slot] = timer;
    timer->slot = slot;
}

static void heap_up(struct loop *loop, uint32_t slot)
{
    struct loop_timer *timer = loop->heap[slot];
    while (slot > 1 && loop->heap[slot / 2]->due_ms > timer->due_ms) {
        heap_set(loop, slot, loop->heap[slot / 2]);
        slot /= 2;
    }
    heap_set(loop, slot, timer);
}

static void heap_down(struct loop *loop, uint32_t slot)
{
    struct loop_timer *timer = loop->heap[slot];
    for (;;) {
        uint32_t child = slot * 2;
        if (child > loop->heap_len)
            break;
        if (child < loop->heap_len && loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
            child++;
        if (loop->heap[child]->due_ms >= timer->due_ms)
            break;
        heap_set(loop, slot, loop->heap[child]);
        slot = child;
    }
    heap_set(loop, slot, timer);
}

void loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms, loop_timer_fn *fn)
{
    loop_timer_disarm(loop, timer);
    /* From the clock, not from the start of the turn: a long turn must not shorten a timeout. */
    timer->due_ms = clock_ms() + delay_ms;
    timer->fn = fn;
    if (loop->heap_len + 1 >= loop->heap_cap) {
        loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
        loop->heap = xrealloc(loop->heap, loop->heap_cap * sizeof(struct loop_timer *));
    }
    loop->heap_len++;
    loop->heap[loop->heap_len] = timer;
    heap_up(loop, loop->heap_len);
}

void loop_timer_disarm(struct loop *loop, struct loop_timer *timer)
{
    uint32_t slot = timer->slot;
    if (slot == 0)
        return;
    timer->slot = 0;
    struct loop_timer *last = loop->heap[loop->heap_len--];
    if (last == timer)
        return;
    heap_set(loop, slot, last);
    heap_up(loop, slot);
    heap_down(loop, last->slot);
}

static void run_timers(struct loop *loop)
{
    while (loop->heap_len && loop->heap[1]->due_ms <= loop->now_ms) {
        struct loop_timer *timer = loop->heap[1];
        loop_timer_disarm(loop, timer);
        timer->fn(timer);
    }
}

static int next_timeout(const struct loop *loop)
{
    if (loop->heap_len == 0)
        return -1;
    uint64_t now = clock_ms();
    uint64_t due = loop->heap[1]->due_ms;
    if (due <= now)
        return 0;
    return due - now > 3600000 ? 3600000 : (int)(due - now);
}

static void dispatch(struct loop *loop)
{
    for (loop->batch_at = 0; loop->batch_at < loop->batch_len;) {
        struct epoll_event *ev = &loop->batch[loop->batch_at++];
        struct loop_io *io = ev->data.ptr;
        if (io)
            io->fn(io, ev->events);
    }
    loop->batch_len = loop->batch_at = 0;
}

/* Runs letters for a few milliseconds at most: descriptors wait meanwhile. Result: whether more may be
 * waiting. */
static bool run_letters(struct loop *loop, unsigned *letters)
{
    bool more;
    do {
        unsigned ran;
        more = mailbox_run(&loop->mailbox, LETTERS_AT_ONCE, &ran);
        *letters += ran;
    } while (more && clock_ms() - loop->now_ms < LETTERS_MS);
    return more;
}

void loop_run(struct loop *loop)
{
    /* loop_stop only posts, so one that came before this still ends us. */
    atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
    while (!atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
        loop->now_ms = clock_ms();
        run_timers(loop);
        unsigned letters = 0;
        bool more = run_letters(loop, &letters);
        if (letters)
            loop->last_letter_ms = loop->now_ms;
        bury(loop);
        more = more || atomic_load_explicit(&loop->stop, memory_order_relaxed);
        int timeout = more ? 0 : next_timeout(loop);
        /* While gathering we do not say that we sleep, so nobody wakes us for a letter. */
        if (timeout != 0 && loop->now_ms - loop->last_letter_ms < loop->gather_ms)
            timeout = timeout < 0 || timeout > (int)loop->gather_ms ? (int)loop->gather_ms : timeout;
        else if (timeout != 0 && !mailbox_may_sleep(&loop->mailbox))
            timeout = 0;
        int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, timeout);
        mailbox_awake(&loop->mailbox);
        loop->now_ms = clock_ms();
        loop->batch_len = n < 0 ? 0 : n;
        dispatch(loop);
        bury(loop);
    }
}

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    /* What the thread itself may cause: blocked, it would end the process without the handler of a debugger
     * or sanitizer having its say. */
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int err = pthread_create(thread, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return -err;
    pthread_setname_np(*thread, name);
    return 0;
}

struct timespec clock_deadline(clockid_t clock, unsigned timeout_ms)
{
    struct timespec deadline;
    clock_gettime(clock, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

int thread_join(pthread_t thread, unsigned timeout_ms)
{
    struct timespec deadline = clock_deadline(CLOCK_REALTIME, timeout_ms);
    /* Not pthread_clockjoin_np, which thread sanitizers of today do not know for a join. */
    return -pthread_timedjoin_np(thread, NULL, &deadline);
}
