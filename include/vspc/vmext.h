/* vmext: VMware's telnet extension (option 232) as a pure state machine: messages in, replies and verdicts
 * out, no I/O and no clock. A struct vmext belongs to one VM connection and moves with it.
 *
 * Source: VMware, "Using a Proxy with vSphere Virtual Serial Ports" (vSphere 4.1). */
#ifndef VSPC_VMEXT_H
#define VSPC_VMEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/mem.h"
#include "vspc/text.h"

enum { VMEXT_NAME_MAX = 255, VMEXT_SEQUENCE_MAX = 64, VMEXT_SECRET_SIZE = 8 };
enum { VMEXT_SETTLE_MS = 500 }; /* how long after its name a VM may still tell its UUID unasked */

enum vmext_code {
    VMEXT_KNOWN_SUBOPTIONS_1 = 0,
    VMEXT_KNOWN_SUBOPTIONS_2 = 1,
    VMEXT_UNKNOWN_SUBOPTION_RCVD_1 = 2,
    VMEXT_UNKNOWN_SUBOPTION_RCVD_2 = 3,
    VMEXT_VMOTION_BEGIN = 40,
    VMEXT_VMOTION_GOAHEAD = 41,
    VMEXT_VMOTION_NOTNOW = 43,
    VMEXT_VMOTION_PEER = 44,
    VMEXT_VMOTION_PEER_OK = 45,
    VMEXT_VMOTION_COMPLETE = 46,
    VMEXT_VMOTION_ABORT = 48,
    VMEXT_DO_PROXY = 70,
    VMEXT_WILL_PROXY = 71,
    VMEXT_WONT_PROXY = 73,
    VMEXT_VC_UUID = 80,
    VMEXT_GET_VC_UUID = 81,
    VMEXT_NAME = 82,
    VMEXT_GET_NAME = 83,
};

/* What names a migration: a sequence that the source's host chose, and our secret. What is not used is zero.
 */
struct vmext_cookie {
    uint8_t sequence_len; /* 0: no cookie is equal to this one */
    uint8_t sequence[VMEXT_SEQUENCE_MAX];
    uint8_t secret[VMEXT_SECRET_SIZE]; /* of GOAHEAD and PEER */
};

/* What a host said about a migration. */
struct vmext_request {
    enum vmext_code code; /* VMOTION_BEGIN, PEER, COMPLETE or ABORT */
    struct vmext_cookie cookie;
};

/* What the VM has said so far. All zero is a new connection. */
struct vmext {
    char *name; /* NULL until it came; owned */
    uint8_t name_len;
    uint8_t uuid[UUID_SIZE];
    bool has_uuid;
    bool asked;         /* 232 is agreed, the questions are out */
    bool known_came;    /* KNOWN-SUBOPTIONS-1 */
    bool lists_uuid;    /* and it listed VM-VC-UUID: an answer will come */
    bool uuid_closed;   /* no UUID will come */
    bool late_uuid;     /* one came all the same */
    bool do_proxy_came; /* whatever the answer */
    bool proxied;       /* DO-PROXY was accepted */
    bool refused;       /* this connection is never identified */
    bool identified;    /* set by the owner once it knows the console: the identity stands */
    bool peer;          /* set by the owner: a migration's destination, so its UUID says nothing new */
    char label[LABEL_MAX + 1];
    struct vmext_request *request; /* about a migration, to be taken before more is fed; owned */
};

enum vmext_event {
    VMEXT_NOTHING,
    VMEXT_NEWS,      /* something that vmext_judge looks at has changed */
    VMEXT_RENAMED,   /* an identified VM has another name */
    VMEXT_LATE_UUID, /* the first UUID that comes too late to identify the VM by: ignored */
    VMEXT_REQUEST,   /* v->request is set */
    VMEXT_REFUSED,   /* DO-PROXY was answered WONT-PROXY: *why says what to change in the VM */
    VMEXT_ERROR      /* protocol error: *why says which; close the connection */
};

/* Option 232 was agreed: appends KNOWN-SUBOPTIONS-2, GET-VM-VC-UUID and GET-VM-NAME to out, the first time.
 */
void vmext_agreed(struct vmext *v, struct bytes *out);

/* Takes one subnegotiation of option 232, unescaped. service_uri: what the VM's URI must be, "" for any.
 * Replies are appended to out, ready for the wire. */
enum vmext_event vmext_receive(struct vmext *v, const char *service_uri, const uint8_t *message, size_t len,
                               struct bytes *out, const char **why);

enum vmext_time {
    VMEXT_EARLY,         /* less than VMEXT_SETTLE_MS since the name came */
    VMEXT_SETTLED,       /* VMEXT_SETTLE_MS have passed since */
    VMEXT_DEADLINE,      /* handshake_timeout has passed too */
    VMEXT_EARLY_DEADLINE /* handshake_timeout has passed, but less than VMEXT_SETTLE_MS since the name came */
};

enum vmext_verdict {
    VMEXT_WAIT,       /* not known yet */
    VMEXT_IDENTIFIED, /* vmext_identity tells who it is */
    VMEXT_NO_ANSWER, /* the same, but it promised a UUID and never told it: served by its name, with a warning
                      */
    VMEXT_NEVER,     /* not to be identified any more */
    VMEXT_NAMELESS   /* protocol error: an empty name and no UUID */
};

/* Who this connection is, from what is known at that time. */
enum vmext_verdict vmext_judge(const struct vmext *v, const char *service_uri, enum vmext_time time);

/* `uuid:<32 hex>[.label]` or `name:<bytes>[.label]`. Result: fresh memory, *len bytes and a NUL; the
 * caller frees. */
char *vmext_identity(const struct vmext *v, size_t *len);

/* The destination of a migration takes the source's place: the identity is the source's, the name its own if
 * it has told one that a console can have. */
void vmext_succeed(struct vmext *v, const struct vmext *source);
/* What vmext_succeed needs to know of a source that may be gone by then. Result: a copy, to be cleared. */
struct vmext vmext_copy_identity(const struct vmext *v);

/* Appends GOAHEAD, NOTNOW or PEER-OK for that cookie, ready for the wire. */
void vmext_put_vmotion(struct bytes *out, enum vmext_code code, const struct vmext_cookie *cookie);
/* Appends UNKNOWN-SUBOPTION-RCVD-2 for that code. */
void vmext_put_unknown(struct bytes *out, uint8_t code);

/* Whether both are the same, in a time that does not depend on what they hold. */
bool vmext_cookie_equal(const struct vmext_cookie *a, const struct vmext_cookie *b);

void vmext_clear(struct vmext *v);

#endif
