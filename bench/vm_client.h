/* VM client: the VM's side of the VMware telnet extension, as an ESXi host speaks it.
 *
 * A vm_client does no I/O: bytes that came from the concentrator go in, events come out of a callback, and
 * bytes for the concentrator wait in `out` until the owner has sent them (vm_client_sent). It has a telnet
 * parser of its own, so that a mistake in the concentrator's is not made twice, and holds the concentrator to
 * the protocol: what an ESXi host would not expect counts as a protocol error. A client belongs to one thread
 * at a time. */
#ifndef VSPC_VM_CLIENT_H
#define VSPC_VM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/mem.h"
#include "vspc/text.h"

enum { VM_SEQUENCE_MAX = 64, VM_SECRET_MAX = 256, VM_NAME_MAX = 1024 };

/* Codes of option 232. */
enum vm_code {
    VM_KNOWN_SUBOPTIONS_1 = 0,
    VM_KNOWN_SUBOPTIONS_2 = 1,
    VM_UNKNOWN_SUBOPTION_RCVD_1 = 2,
    VM_UNKNOWN_SUBOPTION_RCVD_2 = 3,
    VM_VMOTION_BEGIN = 40,
    VM_VMOTION_GOAHEAD = 41,
    VM_VMOTION_NOTNOW = 43,
    VM_VMOTION_PEER = 44,
    VM_VMOTION_PEER_OK = 45,
    VM_VMOTION_COMPLETE = 46,
    VM_VMOTION_ABORT = 48,
    VM_DO_PROXY = 70,
    VM_WILL_PROXY = 71,
    VM_WONT_PROXY = 73,
    VM_VC_UUID = 80,
    VM_GET_VC_UUID = 81,
    VM_NAME = 82,
    VM_GET_NAME = 83,
    VM_BIOS_UUID = 84,
    VM_GET_BIOS_UUID = 85,
    VM_LOCATION_UUID = 86,
    VM_GET_LOCATION_UUID = 87,
};

/* What can happen. All but the first and the last also leave the bit 1 << event in `seen`. */
enum vm_event_type {
    VM_EVENT_DATA,    /* serial data for the VM; data */
    VM_EVENT_BREAK,   /* IAC BRK */
    VM_EVENT_AGREED,  /* option 232 is on */
    VM_EVENT_KNOWN,   /* KNOWN-SUBOPTIONS-2; data: the codes */
    VM_EVENT_UNKNOWN, /* UNKNOWN-SUBOPTION-RCVD-2; data: the code */
    VM_EVENT_WILL_PROXY,
    VM_EVENT_WONT_PROXY,
    VM_EVENT_ASKED_UUID,     /* GET-VM-VC-UUID; answered as the options say */
    VM_EVENT_ASKED_NAME,     /* GET-VM-NAME; answered */
    VM_EVENT_GOAHEAD,        /* data: the secret */
    VM_EVENT_NOTNOW,         /* the sequence was ours */
    VM_EVENT_PEER_OK,        /* the sequence was ours */
    VM_EVENT_PROTOCOL_ERROR, /* data: a sentence, without NUL */
};

struct vm_event {
    enum vm_event_type type;
    const uint8_t *data; /* valid during the callback only */
    size_t len;
};

struct vm_client;

/* May call vm_client_send_* and the vmotion functions, not vm_client_input or vm_client_free. */
typedef void vm_event_fn(struct vm_client *vm, const struct vm_event *event, void *arg);

/* How GET-VM-VC-UUID is answered. */
enum vm_uuid_answer {
    VM_UUID_TEXT,    /* with the UUID */
    VM_UUID_UNKNOWN, /* with UNKNOWN-SUBOPTION-RCVD-1(81) */
    VM_UUID_GARBAGE, /* with text that is no UUID */
    VM_UUID_SILENT,  /* not at all */
};

/* A migration, as both of its connections know it. */
struct vm_migration {
    uint8_t sequence_len;
    uint16_t secret_len; /* 0 until GOAHEAD */
    uint8_t sequence[VM_SEQUENCE_MAX];
    uint8_t secret[VM_SECRET_MAX];
};

/* What a VM is like. All zero but the name is an ESXi host's VM with the UUID 0. */
struct vm_client_options {
    const void *name; /* any bytes; copied */
    size_t name_len;  /* at most VM_NAME_MAX; over 255 is for tests of the concentrator */
    uint8_t uuid[UUID_SIZE];
    const char *uri;                 /* service URI; not copied, outlives the client; NULL: vSPC.py */
    const char *query;               /* goes behind a ? ("port=serial1"); not copied; NULL: none */
    const struct vm_migration *peer; /* a destination: sends VMOTION-PEER instead of DO-PROXY; copied */
    enum vm_uuid_answer uuid_answer;
    char direction;     /* of DO-PROXY; 0: 'S' */
    bool offers;        /* opens with WILL 232 and KNOWN-SUBOPTIONS-1 instead of WILL AUTHENTICATION */
    bool omits_code_80; /* does not list VM-VC-UUID in KNOWN-SUBOPTIONS-1 */
    bool name_first;    /* the UUID's answer waits for the name's */
    bool simple;        /* agrees to 232 and nothing else, answers GET-VM-NAME and nothing else */
};

struct vm_client {
    struct vm_client_options opt; /* the name is owned */
    struct bytes out;             /* to be sent; no memory while empty */
    struct bytes sub;             /* the subnegotiation that is being read; no memory while there is none */
    struct vm_migration *migration;
    const char *error;     /* the first protocol error, static text; NULL: none */
    uint32_t seen;         /* 1 << enum vm_event_type, since vm_client_connected */
    uint16_t errors;       /* protocol errors since then */
    uint8_t error_code;    /* the option or code that `error` is about */
    uint8_t verbs[4];      /* WILL, WONT, DO, DONT: bits of the options they came for */
    uint8_t strange_verbs; /* negotiations of options that are none of ours */
    uint8_t parser, verb;
    bool offered;    /* WILL 232 was sent */
    bool owes_uuid;  /* asked for, and held back until the name has gone out */
    bool proxy_sent; /* DO-PROXY or VMOTION-PEER */
    bool begun;      /* VMOTION-BEGIN was sent and not answered */
    bool frozen;     /* GOAHEAD came, and the VM has neither aborted nor spoken again */
};

/* Makes a client that is not connected yet. */
void vm_client_init(struct vm_client *vm, const struct vm_client_options *opt);
/* Frees what the client holds; not the struct itself. */
void vm_client_free(struct vm_client *vm);

/* A new connection stands: forgets all about an earlier one, and queues what the VM opens with. */
void vm_client_connected(struct vm_client *vm);

/* Takes len bytes that came from the concentrator, queues the replies, and tells fn (may be NULL) what
 * happened. */
void vm_client_input(struct vm_client *vm, const void *data, size_t len, vm_event_fn *fn, void *arg);

/* The owner has sent the first n bytes of vm->out. */
void vm_client_sent(struct vm_client *vm, size_t n);

/* All that a host waits for before it takes the connection for good has happened: WILL-PROXY (or, for a
 * simple client, nothing; for a destination PEER-OK), and the questions about name and UUID. */
bool vm_client_is_identified(const struct vm_client *vm);
static inline bool vm_client_has_seen(const struct vm_client *vm, enum vm_event_type event)
{
    return vm->seen >> event & 1;
}

/* Queue: serial data, 255 doubled; bytes as they are; a suboption of 232, 255 doubled. */
void vm_client_send(struct vm_client *vm, const void *data, size_t len);
void vm_client_send_raw(struct vm_client *vm, const void *data, size_t len);
void vm_client_send_sub(struct vm_client *vm, uint8_t code, const void *payload, size_t len);

/* The VM was renamed: tells so when it is connected, and uses the name from now on. */
void vm_client_rename(struct vm_client *vm, const void *name, size_t len);

/* vMotion, source: queues VMOTION-BEGIN. sequence: 1 to VM_SEQUENCE_MAX bytes. After GOAHEAD, vm->migration
 * is what the destination's options need as `peer`. */
void vm_client_begin(struct vm_client *vm, const void *sequence, size_t len);
/* Source: queues VMOTION-ABORT; the VM goes on here. */
void vm_client_abort(struct vm_client *vm);
/* Destination: queues VMOTION-COMPLETE. */
void vm_client_complete(struct vm_client *vm);

/* The text of VM-VC-UUID: `01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00`. */
enum { VM_UUID_TEXT_LEN = 47 };
void vm_uuid_text(const uint8_t uuid[UUID_SIZE], char out[VM_UUID_TEXT_LEN + 1]);

#endif
