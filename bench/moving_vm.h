/* Moving VM: one simulated VM that goes from host to host, with a user who types while it is on its way.
 *
 * It has two ends: the connection that it is served by, and the next one, which a migration makes. All belong
 * to the thread of their fleet's pace.
 *
 *      CONNECTING --(identified)--> RESTING --(moving_vm_begin)--> ASKED --(GOAHEAD)--> FROZEN
 *      FROZEN --(hold_ns later: destination connects; PEER-OK, name and UUID asked for; COMPLETE sent)-->
 * COMPLETED COMPLETED --(source closed by vspcd, and the user's key has arrived)--> RESTING any --(anything
 * else that happens)--> FAILED
 */
#ifndef VSPC_MOVING_VM_H
#define VSPC_MOVING_VM_H

#include "pace.h"
#include "vm_client.h"
#include "vspc/sock.h"

enum moving_state {
    MOVING_CONNECTING,
    MOVING_RESTING,
    MOVING_ASKED,
    MOVING_FROZEN,
    MOVING_COMPLETED,
    MOVING_FAILED
};

struct moving_vm;

/* One connection. */
struct moving_end {
    struct pace_io io;
    struct moving_vm *vm;
    struct vm_client client;
};

struct moving_vm {
    struct moving_fleet *fleet;
    struct moving_end end[2];
    struct pace_io user; /* fd -1: it has none */
    enum moving_state state;
    uint8_t at;                              /* the end that serves it; the other is the destination */
    uint8_t key;                             /* what the user typed last */
    bool key_pending;                        /* typed, and not arrived */
    uint64_t due_ns;                         /* when the migration was to begin */
    uint64_t begin_ns, peer_ns, complete_ns; /* when each was sent; 0: it was not */
    uint64_t arrival_ns;                     /* when its destination is to connect */
    struct moving_vm *next_arrival;
};

/* What was measured, of all VMs. */
struct moving_figures {
    struct samples goahead;   /* BEGIN due to GOAHEAD read: the sum of the next three */
    struct samples late;      /* BEGIN due to BEGIN sent */
    struct samples answer;    /* BEGIN sent to GOAHEAD in our socket */
    struct samples unread;    /* GOAHEAD in our socket to GOAHEAD read */
    struct samples ours;      /* late and unread together: not vspcd's doing */
    struct samples peer_ok;   /* PEER sent to PEER-OK read */
    struct samples key;       /* COMPLETE sent to the key, typed at GOAHEAD, read at the destination */
    struct samples pause;     /* BEGIN due to the close of the source, without hold_ns */
    struct samples key_pause; /* BEGIN due to the key, without hold_ns */
    size_t begun, completed;
    size_t failed; /* VMs */
    char first_failure[160];
};

struct moving_fleet {
    struct pace *pace;
    struct sock_addr vm_addr, user_addr; /* user_addr: but for the port */
    size_t connecting, resting, pending; /* how many of them; pending: in migration */
    uint64_t hold_ns; /* from GOAHEAD to the destination's connection: the VM's memory is on its way */
    struct moving_vm *first_arrival, *last_arrival; /* those that are held, in the order of arrival_ns */
    struct pace_schedule arrivals;                  /* the first of them */
    struct moving_figures figures;
    void (*changed)(void); /* one of the numbers is another */
};

/* All but pace, the addresses and hold_ns is zero; `changed` may be set anew at any time. */
void moving_fleet_init(struct moving_fleet *fleet);

/* Connects a VM (all zero but for what is embedded). name is copied. */
void moving_vm_start(struct moving_vm *vm, struct moving_fleet *fleet, const char *name);
/* Connects its user. */
void moving_vm_attach(struct moving_vm *vm, uint16_t port);
/* Begins a migration of a VM that is RESTING. due_ns: when it should have begun. */
void moving_vm_begin(struct moving_vm *vm, uint64_t due_ns);
/* The VM prints something, unless it is on its way. */
void moving_vm_print(struct moving_vm *vm, const void *data, size_t len);
/* The VM is not waited for any more. */
void moving_vm_give_up(struct moving_vm *vm, const char *why);
/* Closes all, and frees what the VM holds; not the struct itself. */
void moving_vm_free(struct moving_vm *vm);

#endif
