/* vMotion: the migration of a console's VM from one host to another, as a pure state machine: events in,
 * actions out, no I/O and no clock. A struct vmotion belongs to one console while a migration is pending.
 *
 * The source is the VM connection that the console has, the destination the one that is to take its place.
 *
 *               BEGIN                              COMPLETE                DRAINED
 *      NONE ------------> FROZEN, RESUMED, ORPHANED -----------> DRAINING ---------> NONE
 *       ^                             |
 *       \-- ABORT, TAKEN_OVER, TIME --/
 *
 *      FROZEN --(SOURCE_SPOKE)--> RESUMED
 *      FROZEN, RESUMED --(SOURCE_LOST)--> ORPHANED
 *      FROZEN, RESUMED --(BEGIN)--> FROZEN, with another cookie
 *
 *      FROZEN    GOAHEAD is the last that the source was sent; input is kept
 *      RESUMED   the source's host has given up and the VM runs there: input flows; the destination may still
 *                come and complete
 *      ORPHANED  the source is gone; input is kept
 *      DRAINING  what the source has sent is being read, as the last of it; input is kept
 *
 * PEER, and the loss of the destination, change no state. */
#ifndef VSPC_VMOTION_H
#define VSPC_VMOTION_H

#include "vspc/vmext.h"

enum { VMOTION_ORPHAN_MS = 30000 }; /* how long a VM without a source counts as connected */

enum vmotion_state {
    VMOTION_NONE,
    VMOTION_FROZEN,
    VMOTION_RESUMED,
    VMOTION_ORPHANED,
    VMOTION_DRAINING,
    VMOTION_STATES
};

enum vmotion_event {
    VMOTION_BEGIN,        /* from the source */
    VMOTION_COMPLETE,     /* from the destination, with the sequence */
    VMOTION_DRAINED,      /* the source has been read to its end, or there was none */
    VMOTION_ABORT,        /* from the source */
    VMOTION_SOURCE_SPOKE, /* serial data */
    VMOTION_SOURCE_LOST,
    VMOTION_TAKEN_OVER, /* an ordinary connection has the console now, or the console ends */
    VMOTION_TIME,       /* vmotion_due has come */
    VMOTION_EVENTS
};

/* What the caller has to do, in this order. */
enum vmotion_action {
    VMOTION_END = 1,         /* the cookie is dead: forget it and close the destination */
    VMOTION_GOAHEAD = 2,     /* make a cookie, answer the source */
    VMOTION_DRAIN = 4,       /* read the source, if there is one, to its end; then comes DRAINED */
    VMOTION_SWITCH = 8,      /* forget the cookie, close the source: the destination is the VM connection */
    VMOTION_DISCONNECT = 16, /* the VM is lost */
    VMOTION_IGNORED = 32     /* the event means nothing now: say so in the log */
};

/* All zero is NONE. */
struct vmotion {
    enum vmotion_state state;
    struct vmext_cookie cookie;
    uint64_t begun_ms;    /* when the last BEGIN came */
    uint64_t orphaned_ms; /* when the source was lost; in ORPHANED */
};

/* Makes the transition. now_ms: any clock, the same for all calls. Result: actions, or'ed. */
unsigned vmotion_happened(struct vmotion *m, enum vmotion_event event, uint64_t now_ms);

/* Whether input for the VM is kept back for whoever wins. */
bool vmotion_keeps_input(const struct vmotion *m);

/* When TIME is to happen, if nothing else does. timeout_ms: vmotion_timeout. */
uint64_t vmotion_due(const struct vmotion *m, uint64_t timeout_ms);

#endif
