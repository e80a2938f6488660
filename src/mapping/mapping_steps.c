#include <string.h>
#include <utlist.h>

#include "mapping/mapping_data.h"

size_t mapping_uuid_key(const struct mapping_entry *entry, char out[MAPPING_UUID_KEY])
{
    out[0] = 0;
    if (!entry->has_uuid)
        return 0;
    uuid_format(entry->uuid, out);
    size_t len = UUID_TEXT - 1;
    size_t label_len = strlen(entry->label);
    if (label_len) {
        out[len++] = '.';
        memcpy(out + len, entry->label, label_len + 1);
        len += label_len;
    }
    return len;
}

static void field_set_sent(struct mapping_state *state, struct field *field,
                           const struct mapping_entry *entry)
{
    state->sent += (size_t)(entry != NULL) - (size_t)field->is_sent;
    field->is_sent = entry != NULL;
    if (entry)
        field->sent = *entry;
}

size_t mapping_state_changed(const struct mapping_state *state)
{
    return state->queue_len[QUEUE_CHANGED];
}

size_t mapping_state_unchecked(const struct mapping_state *state)
{
    return state->queue_len[QUEUE_UNCHECKED];
}

size_t mapping_state_fields(const struct mapping_state *state)
{
    return state->withdrawn ? 0 : state->held;
}

size_t mapping_state_sent(const struct mapping_state *state)
{
    return state->sent;
}

uint64_t mapping_state_begin_call(struct mapping_state *state)
{
    return ++state->call;
}

static bool vm_is_fresh(const struct mapping_state *state, const struct named_vm *vm)
{
    return vm->fresh && (vm->told_in == 0 || vm->told_in > state->acknowledged);
}

/* Sends what there is to say about one field. Result: the number of steps. */
static size_t field_send(struct mapping_state *state, struct field *field, mapping_step_fn *fn, void *arg)
{
    bool check = field->queue == QUEUE_UNCHECKED;
    struct named_vm *vm = state->withdrawn ? NULL : field->holder;
    bool changed = vm ? !field->is_sent || !mapping_entry_equal(&field->sent, &vm->entry) : field->is_sent;
    size_t steps = 0;
    if (field->is_sent && changed) {
        fn(arg, MAPPING_REMOVE, field->bytes, field->len, &field->sent);
        steps++;
    }
    if (vm && (changed || check || vm_is_fresh(state, vm))) {
        bool fresh = vm_is_fresh(state, vm);
        fn(arg, fresh ? MAPPING_WRITE : MAPPING_FILL, field->bytes, field->len, &vm->entry);
        if (fresh)
            vm->told_in = state->call;
        steps++;
    }
    field_set_sent(state, field, vm ? &vm->entry : NULL);
    field_queue(state, field, QUEUE_NONE);
    if (!field->claims && !field->is_sent)
        field_free(state, field);
    return steps;
}

size_t mapping_state_take(struct mapping_state *state, size_t max, mapping_step_fn *fn, void *arg)
{
    size_t steps = 0;
    while (steps + 2 <= max) {
        struct field *field = state->queues[QUEUE_CHANGED];
        if (!field)
            field = state->queues[QUEUE_UNCHECKED];
        if (!field)
            break;
        steps += field_send(state, field, fn, arg);
    }
    return steps;
}

void mapping_state_acknowledge(struct mapping_state *state, uint64_t call)
{
    if (call > state->acknowledged)
        state->acknowledged = call;
}

void mapping_state_forget(struct mapping_state *state)
{
    struct named_vm *vm, *next_vm;
    HASH_ITER(hh, state->vms, vm, next_vm)
    {
        vm->fresh = vm_is_fresh(state, vm);
        vm->told_in = 0;
    }
    struct field *field, *next_field;
    HASH_ITER(hh, state->fields, field, next_field)
    {
        field_set_sent(state, field, NULL);
        if (!field->claims)
            field_free(state, field);
    }
}

void mapping_state_recheck(struct mapping_state *state)
{
    struct field *field, *next;
    HASH_ITER(hh, state->fields, field, next)
    {
        if (field->holder && field->queue == QUEUE_NONE)
            field_queue(state, field, QUEUE_UNCHECKED);
    }
}

void mapping_state_withdraw(struct mapping_state *state, bool on)
{
    struct field *field, *next;
    state->withdrawn = on;
    HASH_ITER(hh, state->fields, field, next)
    {
        if (field->is_sent || field->holder)
            field_queue(state, field, QUEUE_CHANGED);
    }
}

bool mapping_state_cares(const struct mapping_state *state, const char *field_bytes, size_t field_len)
{
    struct field *field;
    HASH_FIND(hh, state->fields, field_bytes, field_len, field);
    return field && (field->is_sent || (field->holder && !state->withdrawn));
}
