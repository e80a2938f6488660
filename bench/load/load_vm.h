/* Load VM: one simulated VM of a load: it connects, prints a stream of its own, checks what its user types,
 * and goes from host to host.
 *
 * It has two ends: the connection that serves it, and the next one, which a migration makes. All belong to
 * its thread.
 *
 *      DOWN --(load_vm_connect)--> CONNECTING --(identified)--> UP --(load_vm_drop)--> DOWN
 *      UP --(load_vm_begin)--> ASKED --(GOAHEAD)--> FROZEN
 *      FROZEN --(the hold is over: destination connects; PEER-OK, name and UUID asked for; COMPLETE sent)-->
 *      COMPLETED --(source closed by the server; all that was typed and printed has arrived)--> UP
 *      any --(anything else)--> LOST, or DOWN where thread->vms_return
 *
 * Asked with ENQ, by a user, whose console this is, a VM prints the line load_line. */
#ifndef VSPC_BENCH_LOAD_VM_H
#define VSPC_BENCH_LOAD_VM_H

#include "crew.h"
#include "stream.h"
#include "vm_client.h"

enum { LOAD_ENQ = 5, LOAD_NAME_MAX = 32, LOAD_LINE_MAX = 80, LOAD_PRINT_MAX = 65536 };

enum load_vm_state {
    LOAD_VM_DOWN,
    LOAD_VM_CONNECTING,
    LOAD_VM_UP,
    LOAD_VM_ASKED,
    LOAD_VM_FROZEN,
    LOAD_VM_COMPLETED,
    LOAD_VM_LOST
};

/* One connection. */
struct load_end {
    struct pace_io io;
    struct load_vm *vm;
    struct vm_client client;
};

struct load_vm {
    struct load_thread *thread;
    uint32_t number;
    uint32_t drops; /* how often load_vm_drop was called */
    uint8_t state;  /* enum load_vm_state */
    uint8_t at;     /* the end that serves it; the other is the destination */
    bool blasts;    /* prints whenever its socket takes something */
    bool freezing;  /* freeze_at holds */
    bool owes_line; /* was asked who it is while on its way */
    struct load_end end[2];
    struct stream stream; /* what it prints */
    uint64_t printed;
    struct stream_check
        *typed;             /* what its user types; NULL: nobody does, or it is echoed and checked there */
    struct load_user *user; /* who types; in the same thread */
    uint64_t due_ns;        /* when the connection, or the migration, was due */
    uint64_t lost_ns;       /* when its connection ended, and it is to come back; 0: it did not */
    uint64_t begin_ns, peer_ns; /* when each was sent; 0: it was not */
    uint64_t freeze_at;         /* in a migration: where what the destination prints begins */
    uint64_t arrival_ns;        /* when its destination is to connect */
    struct load_vm *next_arrival;
};

/* Prepares a thread for VMs. */
void load_vms_init(struct load_thread *thread);
/* A VM that is down. */
void load_vm_init(struct load_vm *vm, struct load_thread *thread, uint32_t number);
/* Closes what is open, with a reset so that no port is left waiting, and frees. */
void load_vm_free(struct load_vm *vm);

/* "bench-00017". */
void load_vm_name(uint32_t number, char name[LOAD_NAME_MAX]);
/* What a VM says of itself: "\r\n{bench-00017 5f3a9c21 0 4096}\r\n". */
struct load_line {
    uint32_t number, run, drops; /* drops: of its connection before */
    uint64_t printed;            /* bytes of its stream before the line */
};
/* Reads such a line, without its ends. Result: whether it is one. */
bool load_line_parse(const char *line, struct load_line *out);

/* Connects a VM that is down; it was due at due_ns. */
void load_vm_connect(struct load_vm *vm, uint64_t due_ns);
/* Ends the connection: in order, or with a reset. In UP or CONNECTING. */
void load_vm_drop(struct load_vm *vm, bool reset);
/* Prints the next len bytes (at most LOAD_PRINT_MAX) of its stream. In UP. */
void load_vm_print(struct load_vm *vm, size_t len);
/* Prints at full speed, or no more. */
void load_vm_blast(struct load_vm *vm, bool on);
/* Begins a migration that was due at due_ns. In UP. */
void load_vm_begin(struct load_vm *vm, uint64_t due_ns);
/* Whatever migration of a thread's VMs is still pending has failed. */
void load_vms_end_migrations(struct load_thread *thread);
/* Ends a migration that may be complete: its user has read or its keys have arrived. */
void load_vm_settle(struct load_vm *vm);
/* It is lost, and why. */
void load_vm_lose(struct load_vm *vm, const char *why);

/* Whether it is between BEGIN and the end of its migration. */
static inline bool load_vm_migrates(const struct load_vm *vm)
{
    return vm->state >= LOAD_VM_ASKED && vm->state <= LOAD_VM_COMPLETED;
}

#endif
