/* Load move: a load VM on its way from host to host, and what load_vm.c and load_move.c need of one another.
 * For these two alone. */
#ifndef VSPC_BENCH_LOAD_MOVE_H
#define VSPC_BENCH_LOAD_MOVE_H

#include "load_vm.h"

/* One read from a VM's end, and what it brought. */
struct reading {
    struct load_end *end;
    uint64_t read_ns;   /* when it was over */
    uint64_t unread_ns; /* how long the bytes had been in the socket; UINT64_MAX: the kernel did not say */
    const char *failure;
    bool goahead, peer_ok;
    bool typed; /* bytes for the VM came */
};

static inline struct tally *tally_of(struct load_vm *vm)
{
    return &vm->thread->tally;
}

/* The end that serves the VM. */
static inline struct load_end *source_of(struct load_vm *vm)
{
    return &vm->end[vm->at];
}

/* The other. */
static inline struct load_end *destination_of(struct load_vm *vm)
{
    return &vm->end[!vm->at];
}

/* load_vm.c: the one place where the state changes. */
void load_vm_set_state(struct load_vm *vm, enum load_vm_state state);
/* load_vm.c: makes an end's connection; like: what the VM is, with `peer` for a destination. */
void load_end_connect(struct load_vm *vm, struct load_end *end, const struct vm_client_options *like);
/* load_vm.c: closes it, if it is open; with a reset, or in order. */
void load_end_close(struct load_end *end, bool reset);
/* load_vm.c: sends what is queued, and what is printed at full speed. */
void load_end_push(struct load_end *end);
/* load_vm.c: queues the line that tells whose console this is. */
void load_end_say_who(struct load_end *end);

/* load_move.c: GOAHEAD came. */
void load_move_goahead(struct load_vm *vm, const struct reading *reading);
/* load_move.c: a destination was sent something; completes the migration when its host would. */
void load_move_go_on(struct load_end *end, const struct reading *reading);

#endif
