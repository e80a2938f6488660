/* Mapping data: what the mapping state is made of, for its two halves alone: mapping_state.c decides who has
 * which field, mapping_steps.c what Redis is to be told. */
#ifndef VSPC_MAPPING_DATA_H
#define VSPC_MAPPING_DATA_H

#include <stdatomic.h>
#include <uthash.h>

#include "mapping/mapping_state.h"
#include "vspc/log.h"

struct named_vm;
struct field;

/* A VM's interest in a field. */
struct claim {
    struct named_vm *vm;
    struct field *field; /* NULL: no claim */
    struct claim *prev, *next;
};

/* Where a field waits to be sent. */
enum queue { QUEUE_NONE, QUEUE_CHANGED, QUEUE_UNCHECKED };

struct field {
    UT_hash_handle hh;
    struct claim *claims;    /* by order of the VMs: the longest connected first */
    struct named_vm *holder; /* one of the claims' VMs, or NULL */
    bool is_sent;            /* sent is what Redis was told last */
    struct mapping_entry sent;
    enum queue queue;
    struct field *prev, *next; /* in that queue, by queued_ms */
    uint64_t queued_ms;        /* since when */
    bool suspect;              /* on the list of those that nobody may need any more */
    struct field *next_suspect;
    size_t len;
    char bytes[];
};

struct named_vm {
    UT_hash_handle hh;
    uint64_t number;
    uint64_t order; /* of becoming connected; smaller is longer */
    bool connected;
    bool fresh;       /* has come or changed, and Redis has not acknowledged it: overwrites */
    uint64_t told_in; /* the call in which a fresh VM was sent; 0: not yet */
    bool left_out;
    struct mapping_entry entry;
    size_t name_len; /* the name is the first bytes of the plain field */
    struct claim plain, alternative;
    struct field *field;          /* the one it has, of the two claimed; NULL: none */
    struct named_vm *prev, *next; /* among the departed */
    size_t identity_len;
    char identity[];
};

struct mapping_state {
    struct named_vm *vms; /* by identity */
    struct named_vm *departed;
    size_t departed_len;
    struct field *fields; /* by bytes */
    struct field *queues[QUEUE_UNCHECKED + 1];
    size_t queue_len[QUEUE_UNCHECKED + 1];
    atomic_size_t waiting;          /* in both queues, for other threads to read */
    atomic_uint_fast64_t oldest_ms; /* of them, likewise */
    struct field *suspects;
    size_t held, sent;
    uint64_t next_order;
    uint64_t call, acknowledged;
    bool withdrawn;
    struct log_rate conflict_rate;
};

bool mapping_entry_equal(const struct mapping_entry *a, const struct mapping_entry *b);

/* Puts the field into a queue, out of the one that it is in. */
void field_queue(struct mapping_state *state, struct field *field, enum queue queue);
/* Only for a field without claims of which Redis need not be told anything. */
void field_free(struct mapping_state *state, struct field *field);

#endif
