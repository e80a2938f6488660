/* Figures: what a thread counts of what it does, for `vspcctl stats`.
 *
 * Each thread that counts has a struct figures of its own and is the only one to change it; any thread may
 * read it. Levels (how many VMs there are) and counters (how many bytes came) are kept alike: the sum over
 * all threads is the figure. One table names them. */
#ifndef VSPC_FIGURES_H
#define VSPC_FIGURES_H

#include <stdatomic.h>
#include <stdint.h>

enum figure {
    /* Levels. */
    FIGURE_CONSOLES,
    FIGURE_VMS,
    FIGURE_HANDSHAKING,
    FIGURE_MIGRATING,
    FIGURE_USERS_TELNET, /* raw ones and undecided ones too: all who came by a user port */
    FIGURE_USERS_CONTROL,
    /* Counters. */
    FIGURE_VM_CONNECTIONS,
    FIGURE_HANDSHAKES_DONE,
    FIGURE_HANDSHAKES_TIMEOUT,   /* handshake_timeout */
    FIGURE_HANDSHAKES_HANGUP,    /* the host closed the connection */
    FIGURE_HANDSHAKES_PROTOCOL,  /* the host broke the protocol */
    FIGURE_HANDSHAKES_TLS,       /* a TLS client */
    FIGURE_HANDSHAKES_URI,       /* not service_uri, or another direction or scheme */
    FIGURE_HANDSHAKES_COOKIE,    /* a migration that is not known */
    FIGURE_HANDSHAKES_OLD,       /* the console has a newer connection */
    FIGURE_HANDSHAKES_TAKEOVERS, /* taken over too often */
    FIGURE_HANDSHAKES_NO_PORT,
    FIGURE_REFUSED_NETWORK, /* [vm] allow */
    FIGURE_REFUSED_DESCRIPTORS,
    FIGURE_REFUSED_DRAINING,
    FIGURE_TAKEOVERS,
    FIGURE_MIGRATIONS_DONE,
    FIGURE_MIGRATIONS_ABORTED,
    FIGURE_MIGRATIONS_TIMEOUT,
    FIGURE_MIGRATIONS_LOST,    /* source and destination are gone */
    FIGURE_MIGRATIONS_REFUSED, /* NOTNOW */
    FIGURE_MIGRATIONS_OTHER,   /* taken over by an ordinary connection, or the console ended */
    FIGURE_BYTES_FROM_VMS,
    FIGURE_BYTES_TO_VMS,
    FIGURE_BYTES_TO_USERS,
    FIGURE_BYTES_FROM_USERS,
    FIGURE_BYTES_SKIPPED,
    FIGURE_USER_CONNECTIONS,
    FIGURE_USERS_REFUSED, /* [user] allow, descriptors */
    FIGURE_USERS_TOO_SLOW,
    FIGURES
};

struct figures {
    atomic_uint_fast64_t count[FIGURES];
};

/* How a figure is shown. */
struct figure_name {
    const char *metric; /* Prometheus' name of the family: figures of one family stand one behind the other */
    const char *label;  /* `reason="timeout"`, or "" */
    const char *help;   /* of the family, a sentence without a full stop; NULL: as the one before */
    int is_level;
};

extern const struct figure_name figure_names[FIGURES];

/* The thread that owns them: counts n more, or fewer. No locked instruction: nobody else writes. */
static inline void figure_add(struct figures *figures, enum figure which, uint64_t n)
{
    atomic_uint_fast64_t *count = &figures->count[which];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void figure_sub(struct figures *figures, enum figure which, uint64_t n)
{
    figure_add(figures, which, 0 - n);
}

/* Any thread. */
static inline uint64_t figure_read(const struct figures *figures, enum figure which)
{
    return atomic_load_explicit(&figures->count[which], memory_order_relaxed);
}

#endif
