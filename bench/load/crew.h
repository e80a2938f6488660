/* Crew: the threads of a load, what each owns, and how main has them do one thing after the other.
 *
 * VM i and everything about it belongs to thread i % n, and so does its user in scenarios where a VM has one;
 * where many users read one VM they are spread over the threads, and read of it only what was settled before
 * their job began. Main gives all threads one job at a time and touches their VMs and users only between
 * jobs. */
#ifndef VSPC_BENCH_CREW_H
#define VSPC_BENCH_CREW_H

#include <pthread.h>
#include <stdatomic.h>

#include "options.h"
#include "pace.h"
#include "tally.h"

enum {
    LOAD_READ_MAX = 262144,
    LOAD_FAILURE_MAX = 160,
    LOAD_VMS_IN_FLIGHT = 512, /* connections that are on their way at once, of all threads */
};

struct crew;
struct load_thread;
struct load_vm;
struct load_user;
struct redis_watch;

typedef void job_fn(struct load_thread *thread);

struct load_thread {
    struct crew *crew;
    unsigned index;
    pthread_t thread;
    struct pace pace;
    struct pace_schedule tick;  /* looks whether the job is over */
    struct pace_schedule asker; /* users who wait for their VM's line ask again */
    struct tally tally;
    uint8_t *buffer;                /* LOAD_READ_MAX, for whoever reads */
    char failure[LOAD_FAILURE_MAX]; /* the first, of a VM or a user; "": none */
    /* Connections of VMs that are on their way, and those that wait for their turn. */
    size_t vms_connecting, vms_up, vms_pending; /* pending: in migration */
    size_t users_arriving;
    struct load_user *arriving; /* a list of them */
    uint64_t random;            /* state of load_random */
    unsigned source;            /* which loopback address connections come from, connect.c */
    bool vms_return;            /* a VM whose connection ends is down, and not lost */
    size_t vms_returned;        /* that were away, and came back */
    uint64_t last_identified_ns;
    /* The next arrivals of migrating VMs at their destinations, in the order of time. */
    struct pace_schedule arrivals;
    struct load_vm *first_arrival, *last_arrival;
    /* Called in the thread whenever one of the numbers above, or something that the job waits for, changed.
     */
    void (*changed)(struct load_thread *thread);
    void *job_data; /* the job's own */
};

struct crew {
    const struct bench_options *options;
    struct redis_watch *watch; /* NULL: no Redis */
    uint32_t run;              /* tells this run's lines from those of earlier ones */
    bool echo;                 /* VMs print what is typed, and nothing else */
    bool timestamps;           /* the kernel tells when a VM was sent something */
    bool cut_short;            /* nobody has waited for what is still on its way; it is not lost */
    struct load_vm *vms;       /* options->vms of them */
    struct load_user *users;
    size_t user_count;
    uint64_t expected;            /* VMs that are to be in Redis */
    uint16_t *ports;              /* VM -> user port, of a search through a range; 0: not found */
    _Atomic size_t found, wanted; /* of that search */
    _Atomic unsigned remaining;   /* threads whose part of the job is not done */
    unsigned thread_count;
    struct load_thread *threads;
    atomic_bool over; /* the job at hand is to end */
    /* Guards the four below: handing out a job and hearing of its end. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    job_fn *job;
    unsigned job_number, busy;
    bool leaving;
};

/* Starts the threads. Result: 0 or a negative errno. */
int crew_start(struct crew *crew, const struct bench_options *options);
/* Ends the threads and frees everything. */
void crew_end(struct crew *crew);

/* Has every thread do the job once; the one before must be done. */
void crew_begin(struct crew *crew, job_fn *job);
/* Waits for the job's end. Result: whether it ended within timeout_ms. */
bool crew_wait(struct crew *crew, unsigned timeout_ms);
/* Asks the job to end early: crew->over. */
void crew_hurry(struct crew *crew);
/* Between jobs: when the last VM was identified, of clock_ns; 0: none was. */
uint64_t crew_last_identified_ns(const struct crew *crew);

/* In a job: runs the thread's pace until pace_stop, crew_hurry, or that moment of clock_ns. Result: whether
 * it was pace_stop. */
bool load_thread_run(struct load_thread *thread, uint64_t until_ns);
/* At a job's end: nobody waits for changes any more. */
void load_thread_rest(struct load_thread *thread);
/* Notes why a VM or a user failed; the first stays. */
void load_thread_fail(struct load_thread *thread, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The next pseudo-random number below n. */
uint64_t load_random(struct load_thread *thread, uint64_t n);
/* The number of VMs that are thread's: those with i % n == index. */
size_t load_thread_vms(const struct load_thread *thread);
/* The k-th of them. */
struct load_vm *load_thread_vm(const struct load_thread *thread, size_t k);

#endif
