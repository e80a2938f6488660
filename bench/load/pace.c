#include "pace.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, STARTS_A_TURN = 64 };

uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int pace_init(struct pace *pace)
{
    *pace = (struct pace){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .timer_fd = -1};
    if (pace->epoll_fd < 0)
        return -errno;
    /* Not epoll_wait's timeout: its milliseconds are longer than what is to be measured. */
    pace->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (pace->timer_fd < 0 || epoll_ctl(pace->epoll_fd, EPOLL_CTL_ADD, pace->timer_fd, &ev) < 0)
        return -errno;
    return 0;
}

void pace_destroy(struct pace *pace)
{
    if (pace->timer_fd >= 0)
        close(pace->timer_fd);
    close(pace->epoll_fd);
}

int pace_add(struct pace *pace, struct pace_io *io)
{
    struct epoll_event ev = {.events = io->events, .data.ptr = io};
    return epoll_ctl(pace->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0 ? -errno : 0;
}

void pace_set(struct pace *pace, struct pace_io *io, uint32_t events)
{
    if (io->fd < 0 || io->events == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = io};
    epoll_ctl(pace->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
    io->events = events;
}

void pace_close(struct pace_io *io)
{
    if (io->fd >= 0)
        close(io->fd);
    io->fd = -1;
}

void pace_schedule(struct pace *pace, struct pace_schedule *schedule)
{
    if (pace->schedule_count == PACE_SCHEDULES_MAX)
        abort();
    pace->schedules[pace->schedule_count++] = schedule;
}

void pace_unschedule(struct pace *pace, struct pace_schedule *schedule)
{
    for (unsigned i = 0; i < pace->schedule_count; i++)
        if (pace->schedules[i] == schedule) {
            pace->schedules[i] = pace->schedules[--pace->schedule_count];
            return;
        }
}

/* Starts what is due; of what is due so often that nothing else would have its turn, a part. */
static void run_due(struct pace *pace)
{
    uint64_t now = clock_ns();
    for (unsigned i = 0; i < pace->schedule_count; i++) {
        struct pace_schedule *s = pace->schedules[i];
        for (int n = 0; n < STARTS_A_TURN && s->left && s->due_ns <= now; n++) {
            uint64_t due = s->due_ns;
            s->left--;
            s->due_ns += s->interval_ns;
            s->fn(s, due);
        }
    }
}

/* Sets the timer to what comes first. */
static void arm(struct pace *pace, uint64_t until_ns)
{
    uint64_t first = until_ns;
    for (unsigned i = 0; i < pace->schedule_count; i++)
        if (pace->schedules[i]->left && pace->schedules[i]->due_ns < first)
            first = pace->schedules[i]->due_ns;
    if (first == pace->armed_ns)
        return;
    struct itimerspec when = {.it_value.tv_sec = (time_t)(first / 1000000000),
                              .it_value.tv_nsec = (long)(first % 1000000000)};
    timerfd_settime(pace->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    pace->armed_ns = first;
}

bool pace_run(struct pace *pace, uint64_t until_ns)
{
    struct epoll_event batch[BATCH];
    pace->stopped = false;
    while (!pace->stopped && clock_ns() < until_ns) {
        arm(pace, until_ns);
        int n = epoll_wait(pace->epoll_fd, batch, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct pace_io *io = batch[i].data.ptr;
            run_due(pace);
            if (io && io->fd >= 0)
                io->fn(io, batch[i].events);
        }
        run_due(pace);
    }
    return pace->stopped;
}

void pace_stop(struct pace *pace)
{
    pace->stopped = true;
}
