#include "vm_output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vm_uuid_text(const uint8_t uuid[UUID_SIZE], char out[VM_UUID_TEXT_LEN + 1])
{
    for (size_t i = 0; i < UUID_SIZE; i++)
        snprintf(out + 3 * i, 4, i == 7 ? "%02x-" : i == UUID_SIZE - 1 ? "%02x" : "%02x ", uuid[i]);
}

/* Tens of thousands of these stand in one load generator. */
_Static_assert(sizeof(struct vm_client) < 200, "a VM at rest is small");

void vm_client_init(struct vm_client *vm, const struct vm_client_options *opt)
{
    memset(vm, 0, sizeof *vm);
    vm->opt = *opt;
    if (vm->opt.name_len > VM_NAME_MAX)
        vm->opt.name_len = VM_NAME_MAX;
    vm->opt.name = xmemdup0(opt->name, vm->opt.name_len);
    if (!vm->opt.uri)
        vm->opt.uri = "vSPC.py";
    if (!vm->opt.direction)
        vm->opt.direction = 'S';
    if (opt->peer) {
        struct vm_migration *copy = xmalloc(sizeof *copy);
        *copy = *opt->peer;
        vm->opt.peer = copy;
    }
}

void vm_client_free(struct vm_client *vm)
{
    free((void *)vm->opt.name);
    free((void *)vm->opt.peer);
    free(vm->migration);
    bytes_clear(&vm->out);
    bytes_clear(&vm->sub);
    memset(vm, 0, sizeof *vm);
}

void vm_client_send_raw(struct vm_client *vm, const void *data, size_t len)
{
    bytes_put(&vm->out, data, len);
}

/* Queues data with every 255 doubled. */
static void put_escaped(struct vm_client *vm, const void *data, size_t len)
{
    if (len == 0)
        return;
    const uint8_t *at = data, *end = at + len;
    while (at < end) {
        const uint8_t *iac = memchr(at, IAC, (size_t)(end - at));
        const uint8_t *stop = iac ? iac + 1 : end;
        bytes_put(&vm->out, at, (size_t)(stop - at));
        if (iac)
            bytes_put(&vm->out, iac, 1);
        at = stop;
    }
}

void vm_client_send(struct vm_client *vm, const void *data, size_t len)
{
    /* A source that speaks again has given its migration up. */
    if (len)
        vm->frozen = false;
    put_escaped(vm, data, len);
}

/* Queues the head of a suboption. */
static void open_sub(struct vm_client *vm, uint8_t code)
{
    bytes_put(&vm->out, (uint8_t[]){IAC, SB, OPT_VMWARE}, 3);
    put_escaped(vm, &code, 1);
}

/* Queues its end. */
static void close_sub(struct vm_client *vm)
{
    bytes_put(&vm->out, (uint8_t[]){IAC, SE}, 2);
}

void vm_client_send_sub(struct vm_client *vm, uint8_t code, const void *payload, size_t len)
{
    open_sub(vm, code);
    put_escaped(vm, payload, len);
    close_sub(vm);
}

void vm_put_verb(struct vm_client *vm, uint8_t verb, uint8_t option)
{
    bytes_put(&vm->out, (uint8_t[]){IAC, verb, option}, 3);
}

void vm_put_known(struct vm_client *vm)
{
    static const uint8_t codes[] = {0,  1,  2,  3,  40, 41, 43, 44, 45, 46, 48,
                                    70, 71, 73, 80, 81, 84, 85, 86, 87, 82, 83};
    open_sub(vm, VM_KNOWN_SUBOPTIONS_1);
    for (size_t i = 0; i < sizeof codes; i++)
        if (codes[i] != VM_VC_UUID || !vm->opt.omits_code_80)
            put_escaped(vm, &codes[i], 1);
    close_sub(vm);
}

void vm_put_proxy(struct vm_client *vm)
{
    const struct vm_client_options *opt = &vm->opt;
    if (vm->proxy_sent || opt->simple)
        return;
    vm->proxy_sent = true;
    if (opt->peer) {
        open_sub(vm, VM_VMOTION_PEER);
        put_escaped(vm, opt->peer->sequence, opt->peer->sequence_len);
        put_escaped(vm, opt->peer->secret, opt->peer->secret_len);
    } else {
        open_sub(vm, VM_DO_PROXY);
        put_escaped(vm, &opt->direction, 1);
        put_escaped(vm, opt->uri, strlen(opt->uri));
        if (opt->query) {
            put_escaped(vm, "?", 1);
            put_escaped(vm, opt->query, strlen(opt->query));
        }
    }
    close_sub(vm);
}

void vm_client_connected(struct vm_client *vm)
{
    struct vm_client_options opt = vm->opt;
    free(vm->migration);
    bytes_clear(&vm->out);
    bytes_clear(&vm->sub);
    memset(vm, 0, sizeof *vm);
    vm->opt = opt;
    if (opt.simple)
        return;
    if (opt.offers) {
        vm->offered = true;
        vm_put_verb(vm, WILL, OPT_VMWARE);
        vm_put_known(vm);
    } else {
        vm_put_verb(vm, WILL, OPT_AUTHENTICATION);
    }
}

void vm_client_sent(struct vm_client *vm, size_t n)
{
    bytes_drop(&vm->out, n);
    if (vm->out.len == 0)
        bytes_clear(&vm->out);
}

bool vm_client_is_identified(const struct vm_client *vm)
{
    if (vm->opt.peer)
        return vm_client_has_seen(vm, VM_EVENT_PEER_OK);
    if (vm->opt.simple)
        return vm_client_has_seen(vm, VM_EVENT_ASKED_NAME);
    return vm_client_has_seen(vm, VM_EVENT_WILL_PROXY) && vm_client_has_seen(vm, VM_EVENT_ASKED_NAME) &&
           vm_client_has_seen(vm, VM_EVENT_ASKED_UUID);
}

void vm_client_rename(struct vm_client *vm, const void *name, size_t len)
{
    char *copy = xmemdup0(name, len > VM_NAME_MAX ? VM_NAME_MAX : len);
    free((void *)vm->opt.name);
    vm->opt.name = copy;
    vm->opt.name_len = len > VM_NAME_MAX ? VM_NAME_MAX : len;
    if (vm_client_has_seen(vm, VM_EVENT_ASKED_NAME))
        vm_client_send_sub(vm, VM_NAME, vm->opt.name, vm->opt.name_len);
}

void vm_client_begin(struct vm_client *vm, const void *sequence, size_t len)
{
    if (!vm->migration)
        vm->migration = xmalloc(sizeof *vm->migration);
    memset(vm->migration, 0, sizeof *vm->migration);
    vm->migration->sequence_len = (uint8_t)(len > VM_SEQUENCE_MAX ? VM_SEQUENCE_MAX : len);
    memcpy(vm->migration->sequence, sequence, vm->migration->sequence_len);
    vm->begun = true;
    vm->seen &= ~(1u << VM_EVENT_GOAHEAD | 1u << VM_EVENT_NOTNOW);
    vm_client_send_sub(vm, VM_VMOTION_BEGIN, sequence, vm->migration->sequence_len);
}

void vm_client_abort(struct vm_client *vm)
{
    vm->begun = vm->frozen = false;
    vm_client_send_sub(vm, VM_VMOTION_ABORT, NULL, 0);
}

void vm_client_complete(struct vm_client *vm)
{
    const struct vm_migration *peer = vm->opt.peer;
    if (peer)
        vm_client_send_sub(vm, VM_VMOTION_COMPLETE, peer->sequence, peer->sequence_len);
}

void vm_put_uuid(struct vm_client *vm, uint8_t question)
{
    char text[VM_UUID_TEXT_LEN + 1];
    uint8_t answer = (uint8_t)(question - 1);
    enum vm_uuid_answer how = vm->opt.uuid_answer;
    if (vm->opt.simple || how == VM_UUID_SILENT)
        return;
    if (how == VM_UUID_UNKNOWN) {
        vm_client_send_sub(vm, VM_UNKNOWN_SUBOPTION_RCVD_1, &question, 1);
    } else if (how == VM_UUID_GARBAGE) {
        vm_client_send_sub(vm, answer, "no such thing", 13);
    } else {
        vm_uuid_text(vm->opt.uuid, text);
        vm_client_send_sub(vm, answer, text, VM_UUID_TEXT_LEN);
    }
}
