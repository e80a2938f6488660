/* Pace: the epoll loop of a load program that measures in nanoseconds and starts things by the clock.
 *
 * A schedule's moments are laid down in advance and none is dropped: what starts late is told when it was
 * due, so that a load program that is held up does not hide what its victim would have suffered meanwhile.
 * One thread has one pace and all that is registered with it. */
#ifndef VSPC_PACE_H
#define VSPC_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace_io;
typedef void pace_io_fn(struct pace_io *io, uint32_t events);

/* A descriptor of interest, embedded in its owner's object, which must stay for as long as the pace: an event
 * of a descriptor that was closed in the same turn may still arrive, and then finds nothing to do. */
struct pace_io {
    int fd; /* -1: none */
    uint32_t events;
    pace_io_fn *fn;
};

/* Something that is to happen `left` times, every interval_ns; fn may set due_ns and left for the next. */
struct pace_schedule {
    uint64_t due_ns; /* the next time, of clock_ns */
    uint64_t interval_ns;
    uint64_t left;
    void (*fn)(struct pace_schedule *schedule, uint64_t due_ns);
};

enum { PACE_SCHEDULES_MAX = 8 };

struct pace {
    int epoll_fd, timer_fd;
    bool stopped;
    uint64_t armed_ns; /* what timer_fd is set to */
    unsigned schedule_count;
    struct pace_schedule *schedules[PACE_SCHEDULES_MAX];
};

/* CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

/* Result: 0 or a negative errno. */
int pace_init(struct pace *pace);
void pace_destroy(struct pace *pace);

/* Registers io->fd, level-triggered. Result: 0 or a negative errno. */
int pace_add(struct pace *pace, struct pace_io *io);
/* Changes what is waited for; costs nothing when nothing changes. */
void pace_set(struct pace *pace, struct pace_io *io, uint32_t events);
/* Closes the descriptor, if there is one. */
void pace_close(struct pace_io *io);

/* Adds a schedule, which must stay until pace_unschedule. At most PACE_SCHEDULES_MAX. */
void pace_schedule(struct pace *pace, struct pace_schedule *schedule);
/* Takes it out, if it is in. */
void pace_unschedule(struct pace *pace, struct pace_schedule *schedule);

/* Runs until pace_stop, or until that moment of clock_ns. Result: whether it was stopped. */
bool pace_run(struct pace *pace, uint64_t until_ns);
void pace_stop(struct pace *pace);

#endif
