/* Loop: one thread's epoll loop, with timers and a mailbox.
 *
 * A loop and everything registered with it belong to the thread that runs it (before loop_run: to whoever
 * builds it). Only loop_post and loop_stop may be called from other threads. */
#ifndef VSPC_LOOP_H
#define VSPC_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct loop;
struct loop_io;
struct loop_timer;

typedef void loop_io_fn(struct loop_io *io, uint32_t events);
typedef void loop_timer_fn(struct loop_timer *timer);

/* A descriptor of interest, embedded in its owner's object. All zero is not registered. */
struct loop_io {
    int fd;
    uint32_t
        events; /* EPOLLIN and so on, as last set; 0 with fn set: registered for errors and hang-up only */
    loop_io_fn *fn; /* NULL: not registered */
};

/* A timer, embedded likewise. All zero is not armed. */
struct loop_timer {
    uint64_t due_ms;
    uint32_t slot; /* place in the loop's heap, counted from 1; 0: not armed */
    loop_timer_fn *fn;
};

/* Result: a loop, or NULL with errno set. */
struct loop *loop_new(void);
/* Runs what is still in the mailbox, then frees. No other thread may post any more. */
void loop_free(struct loop *loop);

/* Runs until loop_stop; may be run again. */
void loop_run(struct loop *loop);
/* Any thread: makes loop_run return at the end of its turn. */
void loop_stop(struct loop *loop);

/* Any thread: runs fn(arg) in the loop's thread. What arg points to belongs to the loop from now on. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Lets letters wait up to gather_ms when others came just before, so that a storm of them does not wake the
 * loop for each; 0, the default: never. Before loop_run, or in the loop's thread. */
void loop_set_gather(struct loop *loop, unsigned gather_ms);

/* Milliseconds of CLOCK_MONOTONIC, as of the start of this turn. */
uint64_t loop_now(const struct loop *loop);
/* The same clock, read now. Any thread. */
uint64_t clock_ms(void);
/* timeout_ms from now on that clock, as pthread functions with a timeout want it. Any thread. */
struct timespec clock_deadline(clockid_t clock, unsigned timeout_ms);

/* Registers io->fd, level-triggered. Result: 0 or a negative errno. */
int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn *fn);
/* Changes what is waited for; costs nothing when nothing changes. */
void loop_io_set(struct loop *loop, struct loop_io *io, uint32_t events);
/* Unregisters; the descriptor stays open. No event for io is delivered any more, also none of the batch that
 * is being handled, so io may change threads at once. Does nothing when not registered. */
void loop_io_del(struct loop *loop, struct loop_io *io);

/* The same for a descriptor that is then closed, which costs one call less. */
void loop_io_close(struct loop *loop, struct loop_io *io);

/* (Re)arms the timer to run fn once, delay_ms from now. */
void loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms, loop_timer_fn *fn);
/* Does nothing when not armed. */
void loop_timer_disarm(struct loop *loop, struct loop_timer *timer);

/* Frees ptr at the end of this turn, when no function that still uses it is on the stack. */
void loop_free_later(struct loop *loop, void *ptr);

/* Starts a named thread with all signals blocked. Result: 0 or a negative errno. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg);
/* Waits for the thread's end. Result: 0, or -ETIMEDOUT. */
int thread_join(pthread_t thread, unsigned timeout_ms);

#endif
