/* Tally: what one thread of a load has counted and timed so far.
 *
 * Each thread writes its own; main adds them up while they go on, for the progress line and the time line,
 * and at the end. */
#ifndef VSPC_TALLY_H
#define VSPC_TALLY_H

#include "histogram.h"

/* Events, since the run began. */
enum counter {
    COUNT_IDENTIFIED,       /* VM connections that were identified, each time */
    COUNT_MAPPED,           /* VMs seen in Redis, each time */
    COUNT_VMS_LOST,         /* VM connections that ended, or were refused, though nobody wanted it */
    COUNT_FOUND,            /* VMs whose user port a search has found */
    COUNT_USERS,            /* users who reached their VM, each time */
    COUNT_USERS_LOST,       /* their connections that ended though nobody wanted it */
    COUNT_KEYS,             /* bytes typed by users */
    COUNT_ECHOES,           /* keys whose echo came back */
    COUNT_PRINTED,          /* bytes of their streams printed by VMs */
    COUNT_DELIVERED,        /* bytes of streams that arrived, at users and at VMs, in their right place */
    COUNT_STREAM_LOST,      /* bytes of streams that never arrived */
    COUNT_STREAM_DOUBLED,   /* that arrived again, or were never sent */
    COUNT_STREAM_REORDERED, /* that arrived in another place */
    COUNT_SKIPPED,          /* that the server said it had skipped for a slow user */
    COUNT_BEGUN,            /* migrations */
    COUNT_COMPLETED,
    COUNT_MIGRATIONS_FAILED,
    COUNT_DROPPED,         /* VM connections that the load itself ended */
    COUNT_PROTOCOL_ERRORS, /* of the server, as its VMs see it */
    COUNTERS
};

/* What is timed. */
enum latency {
    LATENCY_IDENTIFIED,  /* connection due to identified */
    LATENCY_MAPPED,      /* connection due to present in Redis */
    LATENCY_MAPPING,     /* identified to present in Redis */
    LATENCY_ECHO,        /* key due to echo read */
    LATENCY_DELIVERY,    /* chunk due to chunk read by a user */
    LATENCY_GOAHEAD,     /* BEGIN due to GOAHEAD read */
    LATENCY_ANSWER,      /* of that, BEGIN sent to GOAHEAD in our socket */
    LATENCY_PEER_OK,     /* PEER sent to PEER-OK read */
    LATENCY_FREEZE,      /* BEGIN due to the first byte after COMPLETE at a user, without the hold */
    LATENCY_BACK,        /* drop to identified again */
    LATENCY_BACK_MAPPED, /* drop to in Redis again */
    LATENCY_LATE,        /* what was due to when it was done: the load's own fault */
    LATENCIES
};

struct tally {
    _Atomic uint64_t counters[COUNTERS];
    struct histogram latencies[LATENCIES];
};

/* The same for counters: "echoes", and "bytes delivered". */
extern const char *const counter_names[COUNTERS];
extern const char *const counter_texts[COUNTERS];
/* The names in the JSON report: "echo". */
extern const char *const latency_names[LATENCIES];
/* What a table says: "keystroke round trip". */
extern const char *const latency_texts[LATENCIES];

void tally_add(struct tally *t, enum counter counter, uint64_t n);
static inline uint64_t tally_get(const struct tally *t, enum counter counter)
{
    return atomic_load_explicit(&t->counters[counter], memory_order_relaxed);
}
void tally_time(struct tally *t, enum latency latency, uint64_t ns);
/* Adds all of another's. */
void tally_merge(struct tally *to, const struct tally *from);

#endif
