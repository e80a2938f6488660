#include "tally.h"

const char *const counter_names[COUNTERS] = {
    [COUNT_IDENTIFIED] = "identified",
    [COUNT_MAPPED] = "mapped",
    [COUNT_VMS_LOST] = "vms_lost",
    [COUNT_FOUND] = "found",
    [COUNT_USERS] = "users",
    [COUNT_USERS_LOST] = "users_lost",
    [COUNT_KEYS] = "keys",
    [COUNT_ECHOES] = "echoes",
    [COUNT_PRINTED] = "printed",
    [COUNT_DELIVERED] = "delivered",
    [COUNT_STREAM_LOST] = "stream_lost",
    [COUNT_STREAM_DOUBLED] = "stream_doubled",
    [COUNT_STREAM_REORDERED] = "stream_reordered",
    [COUNT_SKIPPED] = "skipped",
    [COUNT_BEGUN] = "begun",
    [COUNT_COMPLETED] = "completed",
    [COUNT_MIGRATIONS_FAILED] = "migrations_failed",
    [COUNT_DROPPED] = "dropped",
    [COUNT_PROTOCOL_ERRORS] = "protocol_errors",
};

const char *const counter_texts[COUNTERS] = {
    [COUNT_IDENTIFIED] = "VMs identified",
    [COUNT_MAPPED] = "VMs seen in Redis",
    [COUNT_VMS_LOST] = "VM connections lost",
    [COUNT_FOUND] = "user ports found",
    [COUNT_USERS] = "users connected",
    [COUNT_USERS_LOST] = "user connections lost",
    [COUNT_KEYS] = "bytes typed",
    [COUNT_ECHOES] = "echoes",
    [COUNT_PRINTED] = "bytes printed",
    [COUNT_DELIVERED] = "bytes delivered",
    [COUNT_STREAM_LOST] = "bytes lost",
    [COUNT_STREAM_DOUBLED] = "bytes doubled",
    [COUNT_STREAM_REORDERED] = "bytes reordered",
    [COUNT_SKIPPED] = "bytes skipped",
    [COUNT_BEGUN] = "migrations begun",
    [COUNT_COMPLETED] = "migrations completed",
    [COUNT_MIGRATIONS_FAILED] = "migrations failed",
    [COUNT_DROPPED] = "VM connections dropped",
    [COUNT_PROTOCOL_ERRORS] = "protocol errors",
};

const char *const latency_names[LATENCIES] = {
    [LATENCY_IDENTIFIED] = "identified",   [LATENCY_MAPPED] = "mapped",
    [LATENCY_MAPPING] = "mapping",         [LATENCY_ECHO] = "echo",
    [LATENCY_DELIVERY] = "delivery",       [LATENCY_GOAHEAD] = "goahead",
    [LATENCY_ANSWER] = "answer",           [LATENCY_PEER_OK] = "peer_ok",
    [LATENCY_FREEZE] = "freeze",           [LATENCY_BACK] = "back",
    [LATENCY_BACK_MAPPED] = "back_mapped", [LATENCY_LATE] = "late",
};

const char *const latency_texts[LATENCIES] = {
    [LATENCY_IDENTIFIED] = "VM due to identified",    [LATENCY_MAPPED] = "VM due to in Redis",
    [LATENCY_MAPPING] = "identified to in Redis",     [LATENCY_ECHO] = "keystroke round trip",
    [LATENCY_DELIVERY] = "VM's output at a user",     [LATENCY_GOAHEAD] = "migration due to GOAHEAD",
    [LATENCY_ANSWER] = "BEGIN sent to GOAHEAD here",  [LATENCY_PEER_OK] = "PEER sent to PEER-OK",
    [LATENCY_FREEZE] = "freeze, without the hold",    [LATENCY_BACK] = "drop to identified again",
    [LATENCY_BACK_MAPPED] = "drop to in Redis again", [LATENCY_LATE] = "load behind its schedule",
};

void tally_add(struct tally *t, enum counter counter, uint64_t n)
{
    /* One writer: no locked addition. */
    atomic_store_explicit(&t->counters[counter], tally_get(t, counter) + n, memory_order_relaxed);
}

void tally_time(struct tally *t, enum latency latency, uint64_t ns)
{
    histogram_add(&t->latencies[latency], ns);
}

void tally_merge(struct tally *to, const struct tally *from)
{
    for (unsigned i = 0; i < COUNTERS; i++)
        tally_add(to, (enum counter)i, tally_get(from, (enum counter)i));
    for (unsigned i = 0; i < LATENCIES; i++)
        histogram_merge(&to->latencies[i], &from->latencies[i]);
}
