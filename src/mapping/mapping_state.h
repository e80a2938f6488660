/* Mapping state: what should be in Redis for this node, and what of it Redis has yet to be told.
 *
 * A data structure without I/O, owned by the Redis writer's thread. It knows the connected VMs, decides which
 * field each of them has (design.md, Redis), and remembers per field what was last sent. Changes gather per
 * field, so that several updates of one VM, or a departure and the promotion of the next holder of its field,
 * become one step. */
#ifndef VSPC_MAPPING_STATE_H
#define VSPC_MAPPING_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/mapping.h"
#include "vspc/text.h"

struct mapping_state;

/* What a field stands for. */
struct mapping_entry {
    uint16_t port;
    bool has_uuid;
    uint8_t uuid[UUID_SIZE];
    char label[LABEL_MAX + 1];
};

enum mapping_step {
    MAPPING_REMOVE, /* take the field out, where it is still this entry's */
    MAPPING_WRITE,  /* the VM has just come: write, whoever had the field */
    MAPPING_FILL,   /* write where the field is absent or this node's own */
};

typedef void mapping_step_fn(void *arg, enum mapping_step step, const char *field, size_t field_len,
                             const struct mapping_entry *entry);

struct mapping_state *mapping_state_new(void);
void mapping_state_free(struct mapping_state *state);

/* As mapping_publish and mapping_remove (vspc/mapping.h) say. */
void mapping_state_publish(struct mapping_state *state, const struct mapping_vm *vm);
void mapping_state_remove(struct mapping_state *state, const char *identity, size_t identity_len,
                          uint64_t number);

/* Fields that have changed since Redis was last told, and fields that wait to be checked (recheck). */
size_t mapping_state_changed(const struct mapping_state *state);
size_t mapping_state_unchecked(const struct mapping_state *state);
/* Any thread: both together, and since when (clock_ms) the oldest of them has waited, 0 without one. */
size_t mapping_state_waiting(const struct mapping_state *state, uint64_t *oldest_ms);
/* Fields that some VM has; fields that Redis holds for this node as far as was sent. */
size_t mapping_state_fields(const struct mapping_state *state);
size_t mapping_state_sent(const struct mapping_state *state);

/* A number for the next call to Redis, counted from 1; the steps taken until the next one belong to it. */
uint64_t mapping_state_begin_call(struct mapping_state *state);
/* Takes the next steps, at most max (2 or more), changed fields first. A field's steps are never torn apart.
 * What is passed to fn is valid during the call only. From here on they count as sent. Result: how many. */
size_t mapping_state_take(struct mapping_state *state, size_t max, mapping_step_fn *fn, void *arg);
/* Redis has executed this call and all before it. */
void mapping_state_acknowledge(struct mapping_state *state, uint64_t call);
/* Nothing is known any more of what Redis holds: the connection is gone. What was never acknowledged counts
 * as just come again. */
void mapping_state_forget(struct mapping_state *state);
/* Every field is to be sent once more, as MAPPING_FILL. */
void mapping_state_recheck(struct mapping_state *state);
/* While on, nothing at all should be in Redis, and what was sent is taken out. The VMs stay known. */
void mapping_state_withdraw(struct mapping_state *state, bool on);

/* Should Redis hold this field for this node, or is it about to be told something about it? */
bool mapping_state_cares(const struct mapping_state *state, const char *field, size_t field_len);
/* The field that the identity's VM has now, NULL when it is left out or not connected. Valid until the next
 * change. */
const char *mapping_state_field(const struct mapping_state *state, const char *identity, size_t identity_len,
                                size_t *field_len);

/* "uuid" or "uuid.label", the entry's key in the UUID map. Result: its length; 0 without a UUID. */
enum { MAPPING_UUID_KEY = UUID_TEXT + 1 + LABEL_MAX };
size_t mapping_uuid_key(const struct mapping_entry *entry, char out[MAPPING_UUID_KEY]);

#endif
