/* Model event: everything that may happen to a console of a model, done to the model and to vspcd.
 *
 * An event happens to one console, in some of its states; what it leads to is waited for by model_settle.
 * Events of several consoles may happen before that, but for those that are `alone`. */
#ifndef VSPC_TEST_MODEL_EVENT_H
#define VSPC_TEST_MODEL_EVENT_H

#include "model.h"

/* What a console can be in, as far as events differ by it; WAITED: there is a destination too. */
enum model_state {
    MODEL_STATE_ABSENT, /* vspcd has no such console */
    MODEL_STATE_AWAY,   /* lingers without a VM */
    MODEL_STATE_CONNECTED,
    MODEL_STATE_FROZEN,
    MODEL_STATE_FROZEN_WAITED,
    MODEL_STATE_RESUMED,
    MODEL_STATE_RESUMED_WAITED,
    MODEL_STATE_ORPHANED,
    MODEL_STATE_ORPHANED_WAITED,
    MODEL_STATES
};

struct model_event {
    const char *name;
    unsigned states; /* 1 << enum model_state */
    unsigned weight; /* how often it is tried */
    bool alone;
    bool waits; /* needs vspcd to answer meanwhile */
    /* Result: whether it could happen. */
    bool (*happen)(struct model *m, struct model_console *c);
};

extern const struct model_event model_events[];
extern const size_t model_event_count;
extern const char *const model_state_names[MODEL_STATES];

enum model_state model_state(const struct model_console *c);

/* The VM of that connection prints something. */
void model_print(struct model *m, struct model_console *c, struct model_conn *conn);

/* model_come.c: a connection that identifies itself at once. Result: NULL when it cannot be sure what
 * follows. */
struct model_conn *model_arrive(struct model *m, struct model_console *c);
/* Whether one that identifies itself in the next seconds would have the console. */
bool model_may_take_over(const struct model_console *c);
/* The current connection ends, and may print before it does so in order. */
bool model_hang_up(struct model *m, struct model_console *c, bool reset);
bool model_arrives(struct model *m, struct model_console *c);
bool model_connect(struct model *m, struct model_console *c);
bool model_identify(struct model *m, struct model_console *c);
bool model_current_hangs_up(struct model *m, struct model_console *c);
bool model_current_is_reset(struct model *m, struct model_console *c);
bool model_destination_goes(struct model *m, struct model_console *c);
bool model_stranger_goes(struct model *m, struct model_console *c);
bool model_linger(struct model *m, struct model_console *c);

/* model_migrate.c */
bool model_begin_migration(struct model *m, struct model_console *c);
bool model_begin_in_vain(struct model *m, struct model_console *c);
bool model_peer(struct model *m, struct model_console *c);
bool model_peer_of_nobody(struct model *m, struct model_console *c);
bool model_peer_turns_bad(struct model *m, struct model_console *c);
bool model_complete(struct model *m, struct model_console *c);
bool model_complete_in_vain(struct model *m, struct model_console *c);
bool model_abort(struct model *m, struct model_console *c);
bool model_abort_in_vain(struct model *m, struct model_console *c);
bool model_time(struct model *m, struct model_console *c);

/* model_storm.c: things happen while the VM does not read what is typed. */
bool model_storm(struct model *m, struct model_console *c);

#endif
