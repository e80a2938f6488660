#include "mapping/mapping_data.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "vspc/log.h"
#include "vspc/loop.h"
#include "vspc/mem.h"

/* Of so many VMs that have gone the connection number is remembered, so that a late update stays ignored. */
enum { DEPARTED_MAX = 1024 };

struct mapping_state *mapping_state_new(void)
{
    struct mapping_state *state = xcalloc(1, sizeof *state);
    state->conflict_rate.burst = 20;
    state->conflict_rate.window_ms = 10000;
    return state;
}

bool mapping_entry_equal(const struct mapping_entry *a, const struct mapping_entry *b)
{
    return a->port == b->port && a->has_uuid == b->has_uuid && memcmp(a->uuid, b->uuid, UUID_SIZE) == 0 &&
           strcmp(a->label, b->label) == 0;
}

/* Says what waits to whoever wants to know. */
static void show_queues(struct mapping_state *state)
{
    uint64_t oldest = UINT64_MAX;
    size_t waiting = 0;
    for (enum queue queue = QUEUE_CHANGED; queue <= QUEUE_UNCHECKED; queue++) {
        const struct field *head = state->queues[queue];
        waiting += state->queue_len[queue];
        if (head && head->queued_ms < oldest)
            oldest = head->queued_ms;
    }
    atomic_store_explicit(&state->waiting, waiting, memory_order_relaxed);
    atomic_store_explicit(&state->oldest_ms, waiting ? oldest : 0, memory_order_relaxed);
}

size_t mapping_state_waiting(const struct mapping_state *state, uint64_t *oldest_ms)
{
    *oldest_ms = atomic_load_explicit(&state->oldest_ms, memory_order_relaxed);
    return atomic_load_explicit(&state->waiting, memory_order_relaxed);
}

void field_queue(struct mapping_state *state, struct field *field, enum queue queue)
{
    if (field->queue == queue)
        return;
    if (field->queue != QUEUE_NONE) {
        DL_DELETE(state->queues[field->queue], field);
        state->queue_len[field->queue]--;
    }
    field->queue = queue;
    if (queue != QUEUE_NONE) {
        DL_APPEND(state->queues[queue], field);
        state->queue_len[queue]++;
        field->queued_ms = clock_ms();
    }
    show_queues(state);
}

static void field_set_holder(struct mapping_state *state, struct field *field, struct named_vm *vm)
{
    state->held += (size_t)(vm != NULL) - (size_t)(field->holder != NULL);
    field->holder = vm;
    field_queue(state, field, QUEUE_CHANGED);
}

void field_free(struct mapping_state *state, struct field *field)
{
    field_queue(state, field, QUEUE_NONE);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): uthash's links are not seen through */
    HASH_DEL(state->fields, field);
    free(field);
}

/* Frees the fields without a claim of which Redis need not be told anything, at the end of a change: earlier,
 * someone up the stack may still hold them. */
static void free_suspects(struct mapping_state *state)
{
    while (state->suspects) {
        struct field *field = state->suspects;
        state->suspects = field->next_suspect;
        field->suspect = false;
        if (!field->claims && !field->is_sent)
            field_free(state, field);
    }
}

void mapping_state_free(struct mapping_state *state)
{
    struct named_vm *vm, *next_vm;
    HASH_ITER(hh, state->vms, vm, next_vm)
    {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): uthash's links are not seen through */
        HASH_DEL(state->vms, vm);
        free(vm);
    }
    struct field *field, *next_field;
    HASH_ITER(hh, state->fields, field, next_field)
    {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): uthash's links are not seen through */
        HASH_DEL(state->fields, field);
        free(field);
    }
    free(state);
}

enum { ENDING_MAX = 3 + UUID_TEXT + 1 + LABEL_MAX };

/* What a field has behind the name: `[ (uuid)][.label]`. Result: its length. */
static size_t field_ending(char out[ENDING_MAX], const struct mapping_entry *entry, bool alternative)
{
    char *end = out;
    if (alternative) {
        char uuid[UUID_TEXT] = "no uuid";
        if (entry->has_uuid)
            uuid_format(entry->uuid, uuid);
        end = stpcpy(end, " (");
        end = stpcpy(end, uuid);
        end = stpcpy(end, ")");
    }
    if (entry->label[0]) {
        *end++ = '.';
        end = stpcpy(end, entry->label);
    }
    return (size_t)(end - out);
}

/* The field `name[ (uuid)][.label]`, made if it is new. */
static struct field *field_get(struct mapping_state *state, const char *name, size_t name_len,
                               const struct mapping_entry *entry, bool alternative)
{
    struct field *found;
    char ending[ENDING_MAX];
    size_t ending_len = field_ending(ending, entry, alternative);
    struct field *made = xmalloc(sizeof *made + name_len + ending_len);
    memset(made, 0, sizeof *made);
    made->len = name_len + ending_len;
    if (name_len)
        memcpy(made->bytes, name, name_len);
    memcpy(made->bytes + name_len, ending, ending_len);
    unsigned hash;
    HASH_VALUE(made->bytes, made->len, hash);
    HASH_FIND_BYHASHVALUE(hh, state->fields, made->bytes, made->len, hash, found);
    if (found) {
        free(made);
        return found;
    }
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, state->fields, made->bytes, made->len, hash, made);
    return made;
}

static void claim_make(struct claim *claim, struct named_vm *vm, struct field *field)
{
    claim->vm = vm;
    claim->field = field;
    /* From the back: a VM that has just come belongs there. */
    struct claim *after = field->claims ? field->claims->prev : NULL;
    while (after && after->vm->order > vm->order)
        after = after == field->claims ? NULL : after->prev;
    DL_APPEND_ELEM(field->claims, after, claim);
}

static void claim_drop(struct mapping_state *state, struct claim *claim)
{
    struct field *field = claim->field;
    if (!field)
        return;
    DL_DELETE(field->claims, claim);
    claim->field = NULL;
    if (!field->claims && !field->suspect) {
        field->suspect = true;
        field->next_suspect = state->suspects;
        state->suspects = field;
    }
}

static void log_conflict(struct mapping_state *state, const struct named_vm *vm)
{
    unsigned suppressed;
    if (!log_rate_allows(&state->conflict_rate, clock_ms(), &suppressed))
        return;
    const struct field *plain = vm->plain.field;
    if (vm->field)
        log_warning("Another connected VM has this name, so this one is published under a field of its own; "
                    "rename one of them name=%s field=%s port=%u not_logged_before=%u",
                    quote(plain->bytes, plain->len).s, quote(vm->field->bytes, vm->field->len).s,
                    vm->entry.port, suppressed);
    else
        log_warning("VM is left out of Redis: other connected VMs have its field and the alternative too; "
                    "rename one of them field=%s alternative=%s port=%u not_logged_before=%u",
                    quote(plain->bytes, plain->len).s,
                    quote(vm->alternative.field->bytes, vm->alternative.field->len).s, vm->entry.port,
                    suppressed);
}

/* May the VM have this field? Yes when it is free, its own already, or a less long connected VM's. */
static bool may_hold(const struct field *field, const struct named_vm *vm)
{
    return !field->holder || field->holder == vm || field->holder->order > vm->order;
}

static void settle(struct mapping_state *state, struct named_vm *vm);

static bool wants(const struct named_vm *vm, const struct field *field)
{
    return field == vm->plain.field ? vm->field != field : !vm->field;
}

/* Nobody has the field any more: the longest connected VM that wants it gets it. */
static void field_release(struct mapping_state *state, struct field *field)
{
    field_set_holder(state, field, NULL);
    while (!field->holder) {
        /* From the front each time: settling one VM may change the claims of others. */
        struct claim *claim = field->claims;
        while (claim && !wants(claim->vm, field))
            claim = claim->next;
        if (!claim)
            return;
        settle(state, claim->vm);
    }
}

/* Gives the VM the field (NULL: none), finding another for whoever had it and another VM for the field it had
 * before. In this order: so a renamed VM is in Redis under its new name before the old one goes.
 *
 * Recursion with settle and field_release is shallow: a VM that loses its plain field goes on to its
 * alternative, which is longer by a UUID, and one that gains its plain field frees its alternative; so each
 * level's field is longer than the one before, and names have an end. */
static void vm_take(struct mapping_state *state, struct named_vm *vm, struct field *field)
{
    struct field *old = vm->field;
    if (field == old) {
        if (field)
            field_queue(state, field, QUEUE_CHANGED);
        return;
    }
    vm->field = field;
    if (field) {
        struct named_vm *displaced = field->holder;
        field_set_holder(state, field, vm);
        if (displaced) {
            displaced->field = NULL;
            settle(state, displaced);
        }
    }
    if (old)
        field_release(state, old);
}

/* Decides which field a connected VM has: the plain one, else the alternative, else none. */
static void settle(struct mapping_state *state, struct named_vm *vm)
{
    struct field *before = vm->field;
    if (may_hold(vm->plain.field, vm)) {
        vm->left_out = false;
        vm_take(state, vm, vm->plain.field);
        claim_drop(state, &vm->alternative);
        return;
    }
    if (!vm->alternative.field)
        claim_make(&vm->alternative, vm,
                   field_get(state, vm->plain.field->bytes, vm->name_len, &vm->entry, true));
    bool was_left_out = vm->left_out;
    vm->left_out = !may_hold(vm->alternative.field, vm);
    vm_take(state, vm, vm->left_out ? NULL : vm->alternative.field);
    if (vm->left_out ? !was_left_out : vm->field != before)
        log_conflict(state, vm);
}

static struct named_vm *vm_find(const struct mapping_state *state, const char *identity, size_t identity_len)
{
    struct named_vm *vm;
    HASH_FIND(hh, state->vms, identity, identity_len, vm);
    return vm;
}

static struct named_vm *vm_add(struct mapping_state *state, const char *identity, size_t identity_len)
{
    struct named_vm *vm = xcalloc(1, sizeof *vm + identity_len);
    vm->identity_len = identity_len;
    memcpy(vm->identity, identity, identity_len);
    HASH_ADD_KEYPTR(hh, state->vms, vm->identity, identity_len, vm);
    return vm;
}

/* Gives a VM that comes or changes its new name and entry. */
static void vm_rename(struct mapping_state *state, struct named_vm *vm, const char *name, size_t name_len,
                      const struct mapping_entry *entry)
{
    struct field *plain = field_get(state, name, name_len, entry, false);
    claim_drop(state, &vm->plain);
    claim_drop(state, &vm->alternative);
    vm->entry = *entry;
    vm->name_len = name_len;
    vm->left_out = false;
    claim_make(&vm->plain, vm, plain);
    settle(state, vm);
}

void mapping_state_publish(struct mapping_state *state, const struct mapping_vm *update)
{
    struct named_vm *vm = vm_find(state, update->identity, update->identity_len);
    if (vm && update->number < vm->number)
        return;
    if (!vm)
        vm = vm_add(state, update->identity, update->identity_len);
    struct mapping_entry entry = {.port = update->port, .has_uuid = update->has_uuid};
    char uuid[UUID_TEXT];
    const char *name = update->name ? update->name : "";
    size_t name_len = update->name ? update->name_len : 0;
    if (update->has_uuid)
        memcpy(entry.uuid, update->uuid, UUID_SIZE);
    if (update->label)
        memcpy(entry.label, update->label, strnlen(update->label, LABEL_MAX));
    if (name_len == 0 && update->has_uuid) {
        uuid_format(update->uuid, uuid);
        name = uuid;
        name_len = UUID_TEXT - 1;
    }
    if (!vm->connected) {
        if (vm->order) { /* it has been here before */
            DL_DELETE(state->departed, vm);
            state->departed_len--;
        }
        vm->order = ++state->next_order;
        vm->connected = true;
    } else if (update->number == vm->number && mapping_entry_equal(&entry, &vm->entry) &&
               name_len == vm->name_len && memcmp(name, vm->plain.field->bytes, name_len) == 0) {
        return;
    }
    vm->number = update->number;
    vm->fresh = true;
    vm->told_in = 0;
    vm_rename(state, vm, name, name_len, &entry);
    free_suspects(state);
}

void mapping_state_remove(struct mapping_state *state, const char *identity, size_t identity_len,
                          uint64_t number)
{
    struct named_vm *vm = vm_find(state, identity, identity_len);
    if (!vm || !vm->connected || number < vm->number)
        return;
    vm->number = number;
    vm->connected = false;
    claim_drop(state, &vm->plain);
    claim_drop(state, &vm->alternative);
    vm_take(state, vm, NULL);
    free_suspects(state);
    DL_APPEND(state->departed, vm);
    if (++state->departed_len > DEPARTED_MAX) {
        struct named_vm *oldest = state->departed;
        DL_DELETE(state->departed, oldest);
        state->departed_len--;
        HASH_DEL(state->vms, oldest);
        free(oldest);
    }
}

const char *mapping_state_field(const struct mapping_state *state, const char *identity, size_t identity_len,
                                size_t *field_len)
{
    struct named_vm *vm = vm_find(state, identity, identity_len);
    if (!vm || !vm->field)
        return NULL;
    *field_len = vm->field->len;
    return vm->field->bytes;
}
