/* Which field each VM has, and what Redis has to be told: the mapping state alone, without Redis. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mapping/mapping_state.h"
#include "vspc/log.h"
#include "vspc/mem.h"

enum { STORE_MAX = 64, KEY_MAX = 256 };

/* What Redis would hold: the steps are applied to it. */
static struct stored {
    char field[KEY_MAX];
    size_t len;
    struct mapping_entry entry;
} store[STORE_MAX];
static size_t store_len;
static size_t steps_seen;
static enum mapping_step last_step;

static struct mapping_state *state;

static void setup(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    state = mapping_state_new();
}

static void teardown(void)
{
    mapping_state_free(state);
}

TestSuite(mapping_state, .init = setup, .fini = teardown);

static struct stored *store_find(const char *field, size_t len)
{
    for (size_t i = 0; i < store_len; i++)
        if (store[i].len == len && memcmp(store[i].field, field, len) == 0)
            return &store[i];
    return NULL;
}

static void apply(void *arg, enum mapping_step step, const char *field, size_t len,
                  const struct mapping_entry *entry)
{
    (void)arg;
    struct stored *at = store_find(field, len);
    steps_seen++;
    last_step = step;
    if (step == MAPPING_REMOVE) {
        cr_assert(at, "a field is removed that was never written");
        cr_assert_eq(at->entry.port, entry->port);
        *at = store[--store_len];
        return;
    }
    cr_assert_leq(len, KEY_MAX);
    if (!at) {
        cr_assert_lt(store_len, STORE_MAX);
        at = &store[store_len++];
        memcpy(at->field, field, len);
        at->len = len;
    }
    at->entry = *entry;
}

/* Tells the store everything, in calls of at most max steps. Result: how many steps it took. */
static size_t tell(size_t max)
{
    steps_seen = 0;
    do
        mapping_state_acknowledge(state, mapping_state_begin_call(state));
    while (mapping_state_take(state, max, apply, NULL));
    return steps_seen;
}

static struct mapping_vm vm_make(const char *identity, uint64_t number, const char *name, int uuid,
                                 const char *label, uint16_t port)
{
    struct mapping_vm vm = {.identity = identity,
                            .identity_len = strlen(identity),
                            .number = number,
                            .name = name,
                            .name_len = strlen(name),
                            .has_uuid = uuid != 0,
                            .label = label,
                            .port = port};
    memset(vm.uuid, uuid, UUID_SIZE);
    return vm;
}

static void publish(const char *identity, uint64_t number, const char *name, int uuid, const char *label,
                    uint16_t port)
{
    struct mapping_vm vm = vm_make(identity, number, name, uuid, label, port);
    mapping_state_publish(state, &vm);
}

static void leave(const char *identity, uint64_t number)
{
    mapping_state_remove(state, identity, strlen(identity), number);
}

static void expect_field(const char *identity, const char *expected)
{
    size_t len = 0;
    const char *field = mapping_state_field(state, identity, strlen(identity), &len);
    if (!expected) {
        cr_expect_null(field, "%s has the field %s", identity, field);
        return;
    }
    cr_expect(field, "%s has no field, %s expected", identity, expected);
    if (field)
        cr_expect(len == strlen(expected) && memcmp(field, expected, len) == 0, "%s has %s, %s expected",
                  identity, field, expected);
}

#define UUID_1 "01010101-0101-0101-0101-010101010101"
#define UUID_2 "02020202-0202-0202-0202-020202020202"
#define UUID_3 "03030303-0303-0303-0303-030303030303"

Test(mapping_state, name_is_the_field)
{
    publish("a", 1, "vm1", 1, "", 1001);
    publish("b", 2, "vm2", 0, "", 1002);
    expect_field("a", "vm1");
    expect_field("b", "vm2");
}

Test(mapping_state, label_stands_behind_the_name)
{
    publish("a", 1, "vm1", 1, "debug", 1001);
    expect_field("a", "vm1.debug");
}

Test(mapping_state, empty_name_counts_as_the_uuid)
{
    publish("a", 1, "", 1, "", 1001);
    publish("b", 2, "", 2, "x", 1002);
    expect_field("a", UUID_1);
    expect_field("b", UUID_2 ".x");
}

Test(mapping_state, longest_connected_has_the_plain_field)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    publish("c", 3, "vm", 0, "", 1003);
    publish("d", 4, "vm", 3, "", 1004);
    expect_field("a", "vm");
    expect_field("b", "vm (" UUID_2 ")");
    expect_field("c", "vm (no uuid)");
    leave("a", 1);
    expect_field("b", "vm");
    leave("b", 2);
    expect_field("c", "vm");
    expect_field("d", "vm (" UUID_3 ")");
}

Test(mapping_state, label_stands_behind_the_alternative)
{
    publish("a", 1, "vm", 1, "x", 1001);
    publish("b", 2, "vm", 2, "x", 1002);
    expect_field("b", "vm (" UUID_2 ").x");
}

Test(mapping_state, name_with_a_dot_and_label_are_the_same_field)
{
    publish("a", 1, "vm.x", 1, "", 1001);
    publish("b", 2, "vm", 2, "x", 1002);
    expect_field("a", "vm.x");
    expect_field("b", "vm (" UUID_2 ").x");
}

Test(mapping_state, renamed_holder_gives_the_field_to_the_next)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    publish("a", 1, "other", 1, "", 1001);
    expect_field("a", "other");
    expect_field("b", "vm");
    /* The longer connected one comes back for it. */
    publish("a", 1, "vm", 1, "", 1001);
    expect_field("a", "vm");
    expect_field("b", "vm (" UUID_2 ")");
}

Test(mapping_state, returning_vm_stands_behind_those_that_stayed)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    leave("a", 1);
    publish("a", 3, "vm", 1, "", 1001);
    expect_field("b", "vm");
    expect_field("a", "vm (" UUID_1 ")");
}

Test(mapping_state, republished_vm_keeps_its_place)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    publish("a", 3, "vm", 1, "", 1001);
    expect_field("a", "vm");
    expect_field("b", "vm (" UUID_2 ")");
}

Test(mapping_state, vm_without_a_free_field_is_left_out_until_one_is_free)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm (" UUID_3 ")", 2, "", 1002);
    publish("c", 3, "vm", 3, "", 1003);
    expect_field("c", NULL);
    leave("b", 2);
    expect_field("c", "vm (" UUID_3 ")");
    leave("a", 1);
    expect_field("c", "vm");
}

Test(mapping_state, alternative_goes_to_the_longer_connected)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    publish("c", 3, "vm (" UUID_2 ")", 3, "", 1003);
    expect_field("b", "vm (" UUID_2 ")");
    expect_field("c", "vm (" UUID_2 ") (" UUID_3 ")");
    leave("a", 1);
    expect_field("b", "vm");
    expect_field("c", "vm (" UUID_2 ")");
}

Test(mapping_state, older_number_is_ignored)
{
    publish("a", 5, "new", 1, "", 1001);
    publish("a", 4, "old", 1, "", 1001);
    expect_field("a", "new");
    leave("a", 4);
    expect_field("a", "new");
    leave("a", 5);
    expect_field("a", NULL);
    publish("a", 4, "old", 1, "", 1001);
    expect_field("a", NULL);
    publish("a", 6, "newer", 1, "", 1001);
    expect_field("a", "newer");
}

Test(mapping_state, names_are_any_bytes)
{
    struct mapping_vm vm = vm_make("a", 1, "", 1, "", 1001);
    vm.name = "v\0m\r\n \xff";
    vm.name_len = 7;
    mapping_state_publish(state, &vm);
    size_t len;
    const char *field = mapping_state_field(state, "a", 1, &len);
    cr_assert_eq(len, 7);
    cr_assert_arr_eq(field, vm.name, 7);
}

Test(mapping_state, several_updates_of_one_vm_are_one_step)
{
    publish("a", 1, "one", 1, "", 1001);
    publish("a", 1, "two", 1, "", 1001);
    publish("a", 1, "three", 1, "", 1001);
    cr_assert_eq(tell(16), 1);
    cr_assert_eq(store_len, 1);
    publish("b", 2, "four", 2, "", 1002);
    leave("b", 2);
    cr_assert_eq(tell(16), 0);
    publish("a", 1, "three", 1, "", 1001);
    cr_assert_eq(tell(16), 0, "nothing has changed");
}

Test(mapping_state, departure_and_promotion_are_not_torn_apart)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    tell(16);
    leave("a", 1);
    mapping_state_begin_call(state);
    size_t steps = mapping_state_take(state, 2, apply, NULL);
    cr_assert_eq(steps, 2);
    struct stored *vm = store_find("vm", 2);
    cr_assert(vm, "the field was gone between two calls");
    cr_assert_eq(vm->entry.port, 1002);
}

Test(mapping_state, newcomer_overwrites_until_acknowledged)
{
    publish("a", 1, "vm", 1, "", 1001);
    uint64_t call = mapping_state_begin_call(state);
    mapping_state_take(state, 16, apply, NULL);
    cr_assert_eq(last_step, MAPPING_WRITE);
    /* The answer never came. */
    mapping_state_forget(state);
    mapping_state_recheck(state);
    call = mapping_state_begin_call(state);
    mapping_state_take(state, 16, apply, NULL);
    cr_assert_eq(last_step, MAPPING_WRITE);
    mapping_state_acknowledge(state, call);
    mapping_state_forget(state);
    mapping_state_recheck(state);
    mapping_state_begin_call(state);
    cr_assert_eq(mapping_state_take(state, 16, apply, NULL), 1);
    cr_assert_eq(last_step, MAPPING_FILL);
}

Test(mapping_state, forgets_departed_vms_while_redis_is_away)
{
    char identity[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(identity, sizeof identity, "vm%d", i);
        publish(identity, (uint64_t)i + 1, identity, 1, "", 1001);
        leave(identity, (uint64_t)i + 1);
    }
    cr_assert_eq(mapping_state_changed(state), 0);
    cr_assert_eq(mapping_state_fields(state), 0);
}

Test(mapping_state, withdrawn_state_takes_everything_out)
{
    publish("a", 1, "vm", 1, "", 1001);
    publish("b", 2, "vm", 2, "", 1002);
    tell(16);
    mapping_state_withdraw(state, true);
    cr_assert_not(mapping_state_cares(state, "other", 5));
    tell(16);
    cr_assert_eq(store_len, 0);
    cr_assert_not(mapping_state_cares(state, "vm", 2));
    mapping_state_withdraw(state, false);
    tell(16);
    cr_assert_eq(store_len, 2);
}

/* The naive model: all VMs in the order in which they connected; each takes the first of its fields that is
 * still free. */
enum { MODEL_VMS = 12 };
static struct model_vm {
    char identity[16];
    bool connected;
    uint64_t order, number;
    char name[KEY_MAX];
    int uuid;
    const char *label;
    uint16_t port;
    char field[KEY_MAX]; /* "" none */
} model[MODEL_VMS];

static bool model_is_taken(const char *field, const struct model_vm *except)
{
    for (int i = 0; i < MODEL_VMS; i++)
        if (&model[i] != except && model[i].connected && strcmp(model[i].field, field) == 0)
            return true;
    return false;
}

static void model_resolve(void)
{
    for (int i = 0; i < MODEL_VMS; i++)
        model[i].field[0] = 0;
    for (uint64_t after = 0;;) {
        struct model_vm *vm = NULL;
        for (int i = 0; i < MODEL_VMS; i++)
            if (model[i].connected && model[i].order > after && (!vm || model[i].order < vm->order))
                vm = &model[i];
        if (!vm)
            return;
        after = vm->order;
        char uuid[UUID_TEXT] = "no uuid";
        uint8_t raw[UUID_SIZE];
        memset(raw, vm->uuid, sizeof raw);
        if (vm->uuid)
            uuid_format(raw, uuid);
        const char *name = vm->name[0] ? vm->name : uuid;
        const char *dot = vm->label[0] ? "." : "";
        char plain[KEY_MAX * 2], alternative[KEY_MAX * 2];
        snprintf(plain, sizeof plain, "%s%s%s", name, dot, vm->label);
        snprintf(alternative, sizeof alternative, "%s (%s)%s%s", name, uuid, dot, vm->label);
        if (!model_is_taken(plain, vm))
            strcpy(vm->field, plain);
        else if (!model_is_taken(alternative, vm))
            strcpy(vm->field, alternative);
    }
}

static void model_compare(unsigned seed, int round)
{
    size_t fields = 0;
    for (int i = 0; i < MODEL_VMS; i++) {
        struct model_vm *vm = &model[i];
        size_t len = 0;
        const char *field = mapping_state_field(state, vm->identity, strlen(vm->identity), &len);
        bool has = vm->connected && vm->field[0];
        cr_assert_eq(field != NULL, has, "seed=%u round=%d %s", seed, round, vm->identity);
        if (!has)
            continue;
        fields++;
        cr_assert(len == strlen(vm->field) && memcmp(field, vm->field, len) == 0,
                  "seed=%u round=%d %s has %s, not %s", seed, round, vm->identity, field, vm->field);
        struct stored *at = store_find(field, len);
        cr_assert(at, "seed=%u round=%d Redis lacks %s", seed, round, field);
        cr_assert_eq(at->entry.port, vm->port, "seed=%u round=%d", seed, round);
        cr_assert_str_eq(at->entry.label, vm->label, "seed=%u round=%d", seed, round);
        cr_assert_eq(at->entry.has_uuid, vm->uuid != 0, "seed=%u round=%d", seed, round);
    }
    cr_assert_eq(store_len, fields, "seed=%u round=%d", seed, round);
    cr_assert_eq(mapping_state_fields(state), fields, "seed=%u round=%d", seed, round);
    cr_assert_eq(mapping_state_sent(state), fields, "seed=%u round=%d", seed, round);
}

/* A few names, some of which are other VMs' alternatives. */
static void random_name(char out[KEY_MAX], unsigned *seed)
{
    static const char *const names[] = {"a", "b", "a.x", ""};
    strcpy(out, names[rand_r(seed) % 4]);
    while (out[0] && strlen(out) < 90 && rand_r(seed) % 3 == 0) {
        char uuid[UUID_TEXT];
        uint8_t raw[UUID_SIZE];
        memset(raw, 1 + rand_r(seed) % MODEL_VMS, sizeof raw);
        uuid_format(raw, uuid);
        char *end = out + strlen(out);
        snprintf(end, KEY_MAX / 2, rand_r(seed) % 8 ? " (%s)" : " (no uuid)", uuid);
    }
}

static void random_change(int round, unsigned *seed)
{
    struct model_vm *vm = &model[rand_r(seed) % MODEL_VMS];
    if (rand_r(seed) % 3 == 0) {
        vm->connected = false;
        leave(vm->identity, vm->number);
        return;
    }
    if (!vm->connected) {
        vm->connected = true;
        vm->number++;
        vm->order = (uint64_t)round + 1;
        vm->uuid = rand_r(seed) % 6 ? 1 + (int)(vm - model) : 0;
        vm->label = rand_r(seed) % 3 ? "" : "x";
        vm->port = (uint16_t)(1000 + rand_r(seed) % 50000);
    }
    random_name(vm->name, seed);
    if (!vm->name[0] && !vm->uuid)
        strcpy(vm->name, "c");
    publish(vm->identity, vm->number, vm->name, vm->uuid, vm->label, vm->port);
}

Test(mapping_state, agrees_with_a_naive_model)
{
    unsigned first = (unsigned)time(NULL), seed = first;
    const char *given = getenv("VSPC_TEST_SEED");
    if (given)
        first = seed = (unsigned)strtoul(given, NULL, 10);
    fprintf(stderr, "mapping_state.agrees_with_a_naive_model: VSPC_TEST_SEED=%u\n", first);
    for (int i = 0; i < MODEL_VMS; i++) {
        snprintf(model[i].identity, sizeof model[i].identity, "vm%d", i);
        model[i].label = "";
    }
    for (int round = 0; round < 40000; round++) {
        random_change(round, &seed);
        if (rand_r(&seed) % 3)
            continue;
        if (rand_r(&seed) % 50 == 0) {
            store_len = 0; /* Redis has died, with all that it held */
            mapping_state_forget(state);
            mapping_state_recheck(state);
        } else if (rand_r(&seed) % 50 == 0) {
            mapping_state_withdraw(state, true);
            tell(8);
            cr_assert_eq(store_len, 0, "seed=%u round=%d", first, round);
            mapping_state_withdraw(state, false);
        }
        tell(2 + (size_t)rand_r(&seed) % 20);
        model_resolve();
        model_compare(first, round);
    }
}
