#include "vm_output.h"

#include <stdio.h>
#include <string.h>

enum parser { IN_DATA, AFTER_IAC, AFTER_VERB, AFTER_SB, IN_SUB, IN_SUB_AFTER_IAC };

/* A concentrator has no reason to send a longer subnegotiation, or to try more foreign options than that. */
enum { SUB_MAX = 1024, STRANGE_VERBS_MAX = 16 };

/* One vm_client_input, for the functions that it is made of. */
struct call {
    struct vm_client *vm;
    vm_event_fn *fn;
    void *arg;
};

/* Reports an event. */
static void tell(struct call *call, enum vm_event_type type, const void *data, size_t len)
{
    struct vm_event event = {.type = type, .data = data, .len = len};
    if (type != VM_EVENT_DATA && type != VM_EVENT_PROTOCOL_ERROR)
        call->vm->seen |= 1u << type;
    if (call->fn)
        call->fn(call->vm, &event, call->arg);
}

/* The concentrator did something that it must not: `what` about the option or code. */
static void protocol_error(struct call *call, const char *what, uint8_t code)
{
    struct vm_client *vm = call->vm;
    char text[128];
    if (vm->errors < UINT16_MAX)
        vm->errors++;
    if (!vm->error) {
        vm->error = what;
        vm->error_code = code;
    }
    int n = snprintf(text, sizeof text, "%s (%u)", what, code);
    tell(call, VM_EVENT_PROTOCOL_ERROR, text, (size_t)n);
}

static void on_get_uuid(struct call *call, uint8_t code)
{
    struct vm_client *vm = call->vm;
    if (code == VM_GET_VC_UUID) {
        if (vm_client_has_seen(vm, VM_EVENT_ASKED_UUID))
            protocol_error(call, "asked twice", code);
        if (vm->opt.name_first && !vm_client_has_seen(vm, VM_EVENT_ASKED_NAME))
            vm->owes_uuid = true;
        else
            vm_put_uuid(vm, code);
        tell(call, VM_EVENT_ASKED_UUID, NULL, 0);
    } else {
        vm_put_uuid(vm, code);
    }
}

static void on_get_name(struct call *call)
{
    struct vm_client *vm = call->vm;
    bool first = !vm_client_has_seen(vm, VM_EVENT_ASKED_NAME);
    if (!first)
        protocol_error(call, "asked twice", VM_GET_NAME);
    vm_client_send_sub(vm, VM_NAME, vm->opt.name, vm->opt.name_len);
    if (vm->owes_uuid) {
        vm->owes_uuid = false;
        vm_put_uuid(vm, VM_GET_VC_UUID);
    }
    /* A host offers its port settings once it has said who it is. */
    if (first && !vm->opt.simple && !vm->opt.offers)
        vm_put_verb(vm, WILL, OPT_COM_PORT);
    tell(call, VM_EVENT_ASKED_NAME, NULL, 0);
}

static void on_known(struct call *call, const uint8_t *payload, size_t len)
{
    struct vm_client *vm = call->vm;
    if (vm_client_has_seen(vm, VM_EVENT_KNOWN))
        protocol_error(call, "sent twice", VM_KNOWN_SUBOPTIONS_2);
    if (!memchr(payload, VM_DO_PROXY, len))
        protocol_error(call, "KNOWN-SUBOPTIONS-2 lacks a code", VM_DO_PROXY);
    if (!vm->proxy_sent && !vm->opt.simple && !vm->opt.offers)
        vm_put_known(vm);
    vm_put_proxy(vm);
    tell(call, VM_EVENT_KNOWN, payload, len);
}

static void on_proxy_answer(struct call *call, uint8_t code)
{
    struct vm_client *vm = call->vm;
    if (!vm->proxy_sent || vm->opt.peer)
        protocol_error(call, "answers a DO-PROXY that was not sent", code);
    if (vm->seen & (1u << VM_EVENT_WILL_PROXY | 1u << VM_EVENT_WONT_PROXY))
        protocol_error(call, "answers DO-PROXY twice", code);
    tell(call, code == VM_WILL_PROXY ? VM_EVENT_WILL_PROXY : VM_EVENT_WONT_PROXY, NULL, 0);
}

/* Whether payload begins with the migration's sequence. */
static bool is_sequence_of(const struct vm_migration *migration, const uint8_t *payload, size_t len)
{
    return migration && len >= migration->sequence_len &&
           memcmp(payload, migration->sequence, migration->sequence_len) == 0;
}

static void on_goahead(struct call *call, const uint8_t *payload, size_t len)
{
    struct vm_migration *migration = call->vm->migration;
    if (!call->vm->begun || !is_sequence_of(migration, payload, len)) {
        protocol_error(call, "GOAHEAD for a migration that was not begun", VM_VMOTION_GOAHEAD);
        return;
    }
    payload += migration->sequence_len;
    len -= migration->sequence_len;
    if (len == 0 || len > VM_SECRET_MAX) {
        protocol_error(call, "GOAHEAD with a secret that is empty or too long", VM_VMOTION_GOAHEAD);
        return;
    }
    migration->secret_len = (uint16_t)len;
    memcpy(migration->secret, payload, len);
    call->vm->begun = false;
    call->vm->frozen = true;
    tell(call, VM_EVENT_GOAHEAD, migration->secret, len);
}

static void on_notnow(struct call *call, const uint8_t *payload, size_t len)
{
    struct vm_client *vm = call->vm;
    if (!vm->begun || !is_sequence_of(vm->migration, payload, len) || len != vm->migration->sequence_len) {
        protocol_error(call, "NOTNOW for a migration that was not begun", VM_VMOTION_NOTNOW);
        return;
    }
    vm->begun = vm->frozen = false;
    tell(call, VM_EVENT_NOTNOW, payload, len);
}

static void on_peer_ok(struct call *call, const uint8_t *payload, size_t len)
{
    const struct vm_migration *peer = call->vm->opt.peer;
    if (!call->vm->proxy_sent || !is_sequence_of(peer, payload, len) || len != peer->sequence_len) {
        protocol_error(call, "PEER-OK for another migration", VM_VMOTION_PEER_OK);
        return;
    }
    if (vm_client_has_seen(call->vm, VM_EVENT_PEER_OK))
        protocol_error(call, "sent twice", VM_VMOTION_PEER_OK);
    tell(call, VM_EVENT_PEER_OK, payload, len);
}

/* Handles a whole message of option 232. */
static void on_message(struct call *call, uint8_t code, const uint8_t *payload, size_t len)
{
    bool bare = code == VM_WILL_PROXY || code == VM_WONT_PROXY || code == VM_GET_VC_UUID ||
                code == VM_GET_NAME || code == VM_GET_BIOS_UUID || code == VM_GET_LOCATION_UUID;
    if (bare && len)
        protocol_error(call, "payload where there is none", code);
    switch (code) {
    case VM_KNOWN_SUBOPTIONS_2:
        on_known(call, payload, len);
        break;
    case VM_UNKNOWN_SUBOPTION_RCVD_2:
        if (len != 1)
            protocol_error(call, "UNKNOWN-SUBOPTION-RCVD-2 without one code", code);
        tell(call, VM_EVENT_UNKNOWN, payload, len);
        break;
    case VM_WILL_PROXY:
    case VM_WONT_PROXY:
        on_proxy_answer(call, code);
        break;
    case VM_GET_VC_UUID:
    case VM_GET_BIOS_UUID:
    case VM_GET_LOCATION_UUID:
        on_get_uuid(call, code);
        break;
    case VM_GET_NAME:
        on_get_name(call);
        break;
    case VM_VMOTION_GOAHEAD:
        on_goahead(call, payload, len);
        break;
    case VM_VMOTION_NOTNOW:
        on_notnow(call, payload, len);
        break;
    case VM_VMOTION_PEER_OK:
        on_peer_ok(call, payload, len);
        break;
    default:
        protocol_error(call, "code that is not for a proxy to send", code);
        if (code != VM_UNKNOWN_SUBOPTION_RCVD_1)
            vm_client_send_sub(call->vm, VM_UNKNOWN_SUBOPTION_RCVD_1, &code, 1);
    }
}

/* Handles a whole subnegotiation, whose first byte is the option. */
static void on_sub(struct call *call)
{
    struct bytes sub = call->vm->sub;
    call->vm->sub = (struct bytes){0};
    const uint8_t *at = bytes_at(&sub);
    if (at[0] != OPT_VMWARE)
        protocol_error(call, "subnegotiates an option that is not on", at[0]);
    else if (!vm_client_has_seen(call->vm, VM_EVENT_AGREED))
        protocol_error(call, "subnegotiates before WILL and DO were exchanged", at[0]);
    else if (sub.len < 2)
        protocol_error(call, "subnegotiation without a code", at[0]);
    else if (sub.len > SUB_MAX)
        protocol_error(call, "subnegotiation is too long", at[1]);
    else
        on_message(call, at[1], at + 2, sub.len - 2);
    bytes_clear(&sub);
}

/* The place of an option in `verbs`, or -1 when it is none of ours. */
static int option_place(uint8_t option)
{
    static const uint8_t options[] = {OPT_BINARY,         OPT_ECHO,     OPT_SGA,
                                      OPT_AUTHENTICATION, OPT_COM_PORT, OPT_VMWARE};
    for (int i = 0; i < (int)sizeof options; i++)
        if (options[i] == option)
            return i;
    return -1;
}

/* Remembers that a verb came for an option. Result: true, and answer it, when it is the first time. */
static bool note_verb(struct call *call, uint8_t verb, uint8_t option)
{
    struct vm_client *vm = call->vm;
    int place = option_place(option);
    if (place < 0) {
        if (vm->strange_verbs == STRANGE_VERBS_MAX) {
            protocol_error(call, "negotiates without end", option);
            return false;
        }
        vm->strange_verbs++;
        return true;
    }
    uint8_t bit = (uint8_t)(1u << place);
    if (vm->verbs[verb - WILL] & bit) {
        protocol_error(call, "negotiates an option again", option);
        return false;
    }
    vm->verbs[verb - WILL] |= bit;
    return true;
}

static void on_agreed(struct call *call)
{
    tell(call, VM_EVENT_AGREED, NULL, 0);
    /* Whoever offers does not wait to hear what the proxy knows. */
    if (call->vm->opt.offers)
        vm_put_proxy(call->vm);
}

/* The concentrator asks us to do an option. */
static void on_do(struct call *call, uint8_t option)
{
    struct vm_client *vm = call->vm;
    if (option == OPT_VMWARE) {
        if (!vm->offered)
            vm_put_verb(vm, WILL, option);
        vm->offered = true;
        on_agreed(call);
        return;
    }
    if (option == OPT_AUTHENTICATION || option == OPT_COM_PORT)
        protocol_error(call, "takes an option that it cannot do", option);
    bool will = !vm->opt.simple && (option == OPT_BINARY || option == OPT_SGA);
    vm_put_verb(vm, will ? WILL : WONT, option);
}

static void on_verb(struct call *call, uint8_t verb, uint8_t option)
{
    struct vm_client *vm = call->vm;
    if (!note_verb(call, verb, option))
        return;
    if (verb == DO) {
        on_do(call, option);
    } else if (verb == WILL) {
        bool take = !vm->opt.simple && (option == OPT_BINARY || option == OPT_SGA || option == OPT_ECHO);
        vm_put_verb(vm, take ? DO : DONT, option);
    } else if (option == OPT_VMWARE) {
        protocol_error(call, "refuses VMWARE-TELNET-EXT", option);
    }
}

/* Handles the byte behind an IAC. */
static void on_command(struct call *call, uint8_t c)
{
    struct vm_client *vm = call->vm;
    vm->parser = IN_DATA;
    switch (c) {
    case IAC:
        tell(call, VM_EVENT_DATA, &c, 1);
        break;
    case WILL:
    case WONT:
    case DO:
    case DONT:
        vm->verb = c;
        vm->parser = AFTER_VERB;
        break;
    case SB:
        vm->parser = AFTER_SB;
        break;
    case BRK:
        tell(call, VM_EVENT_BREAK, NULL, 0);
        break;
    case GA:
    case NOP:
        break;
    default:
        protocol_error(call, "sends a telnet command that a VM has no use for", c);
    }
}

/* Appends to the subnegotiation; what goes beyond the bound is not kept, only noticed. */
static void sub_put(struct vm_client *vm, const void *data, size_t len)
{
    if (vm->sub.len <= SUB_MAX)
        bytes_put(&vm->sub, data, len > SUB_MAX + 1 - vm->sub.len ? SUB_MAX + 1 - vm->sub.len : len);
}

static void on_sub_after_iac(struct call *call, uint8_t c)
{
    struct vm_client *vm = call->vm;
    if (c == IAC) {
        sub_put(vm, &c, 1);
        vm->parser = IN_SUB;
        return;
    }
    vm->parser = IN_DATA;
    if (c == SE) {
        on_sub(call);
        return;
    }
    protocol_error(call, "subnegotiation ends without SE", c);
    bytes_clear(&vm->sub);
    on_command(call, c);
}

/* Takes a byte that is not plain data or payload. */
static void on_byte(struct call *call, uint8_t c)
{
    struct vm_client *vm = call->vm;
    switch ((enum parser)vm->parser) {
    case AFTER_IAC:
        on_command(call, c);
        break;
    case AFTER_VERB:
        vm->parser = IN_DATA;
        on_verb(call, vm->verb, c);
        break;
    case AFTER_SB:
        sub_put(vm, &c, 1);
        vm->parser = IN_SUB;
        break;
    case IN_SUB_AFTER_IAC:
        on_sub_after_iac(call, c);
        break;
    case IN_DATA:
    case IN_SUB:
        break;
    }
}

void vm_client_input(struct vm_client *vm, const void *data, size_t len, vm_event_fn *fn, void *arg)
{
    struct call call = {vm, fn, arg};
    if (len == 0)
        return;
    const uint8_t *at = data, *end = at + len;
    bool told = false;
    while (at < end) {
        /* GOAHEAD is the last thing that a frozen source may hear; protocol.md, vMotion 1. */
        if (vm->frozen && !vm->begun && !told) {
            told = true;
            protocol_error(&call, "speaks to a source after GOAHEAD", VM_VMOTION_GOAHEAD);
        }
        if (vm->parser != IN_DATA && vm->parser != IN_SUB) {
            on_byte(&call, *at++);
            continue;
        }
        const uint8_t *iac = memchr(at, IAC, (size_t)(end - at));
        size_t run = (size_t)((iac ? iac : end) - at);
        if (run && vm->parser == IN_SUB)
            sub_put(vm, at, run);
        else if (run)
            tell(&call, VM_EVENT_DATA, at, run);
        at += run;
        if (iac) {
            vm->parser = vm->parser == IN_SUB ? IN_SUB_AFTER_IAC : AFTER_IAC;
            at++;
        }
    }
}
