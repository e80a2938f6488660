#include "load_move.h"

#include "load_user.h"

enum {
    FREEZE_PRINTS = 32, /* bytes printed before BEGIN, and behind COMPLETE */
    FREEZE_KEYS = 3,    /* typed while the VM is on its way */
};

/* A host that has no GOAHEAD by then leaves its VM where it is; protocol.md, vMotion 1. */
#define GOAHEAD_MAX_NS (5 * UINT64_C(1000000000))

/* Whether there is a user who types and reads. */
static bool has_user(const struct load_vm *vm)
{
    return vm->user && vm->user->state == LOAD_USER_ATTACHED;
}

void load_vm_settle(struct load_vm *vm)
{
    if (vm->state != LOAD_VM_COMPLETED || source_of(vm)->io.fd >= 0 ||
        (has_user(vm) && !load_user_is_quiet(vm->user)))
        return;
    vm->at = !vm->at;
    tally_add(tally_of(vm), COUNT_COMPLETED, 1);
    load_vm_set_state(vm, LOAD_VM_UP);
}

/* The next VM has arrived at its other host, which connects. */
static void on_arrival(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct load_thread *thread = container_of(schedule, struct load_thread, arrivals);
    struct load_vm *vm = thread->first_arrival;
    (void)due_ns;
    thread->first_arrival = vm->next_arrival;
    if (thread->first_arrival)
        schedule->due_ns = thread->first_arrival->arrival_ns;
    if (vm->state != LOAD_VM_FROZEN)
        return;
    struct vm_client_options like = source_of(vm)->client.opt;
    like.peer = source_of(vm)->client.migration;
    load_end_connect(vm, destination_of(vm), &like);
}

void load_vms_init(struct load_thread *thread)
{
    thread->arrivals.fn = on_arrival;
    pace_schedule(&thread->pace, &thread->arrivals);
}

/* The VM's memory takes its time to the other host. */
static void hold(struct load_vm *vm, uint64_t now_ns)
{
    struct load_thread *thread = vm->thread;
    vm->arrival_ns = now_ns + thread->crew->options->hold_ms * 1000000;
    vm->next_arrival = NULL;
    if (thread->first_arrival)
        thread->last_arrival->next_arrival = vm;
    else
        thread->first_arrival = vm;
    thread->last_arrival = vm;
    thread->arrivals.due_ns = thread->first_arrival->arrival_ns;
    thread->arrivals.left++;
}

void load_move_goahead(struct load_vm *vm, const struct reading *reading)
{
    uint64_t answer_ns = reading->read_ns - vm->begin_ns;
    tally_time(tally_of(vm), LATENCY_GOAHEAD, reading->read_ns - vm->due_ns);
    /* Two clocks, and one of them may be set: what cannot be is not counted. */
    if (reading->unread_ns <= answer_ns) {
        answer_ns -= reading->unread_ns;
        tally_time(tally_of(vm), LATENCY_ANSWER, answer_ns);
    }
    if (answer_ns > GOAHEAD_MAX_NS) {
        load_vm_lose(vm, "no GOAHEAD for as long as a host waits");
        return;
    }
    load_vm_set_state(vm, LOAD_VM_FROZEN);
    if (has_user(vm))
        load_user_type(vm->user, FREEZE_KEYS);
    if (vm->state == LOAD_VM_FROZEN)
        hold(vm, reading->read_ns);
}

void load_move_go_on(struct load_end *end, const struct reading *reading)
{
    struct load_vm *vm = end->vm;
    struct vm_client *client = &end->client;
    if (reading->peer_ok)
        tally_time(tally_of(vm), LATENCY_PEER_OK, reading->read_ns - vm->peer_ns);
    if (client->proxy_sent && !vm->peer_ns)
        vm->peer_ns = clock_ns();
    if (!vm_client_is_identified(client) || !vm_client_has_seen(client, VM_EVENT_ASKED_NAME) ||
        !vm_client_has_seen(client, VM_EVENT_ASKED_UUID))
        return;
    vm_client_complete(client);
    load_vm_set_state(vm, LOAD_VM_COMPLETED);
    if (vm->owes_line)
        load_end_say_who(end);
    vm->owes_line = false;
    vm->freezing = has_user(vm);
    vm->freeze_at = vm->printed;
    if (vm->freezing)
        load_vm_print(vm, FREEZE_PRINTS);
}

void load_vm_begin(struct load_vm *vm, uint64_t due_ns)
{
    struct load_end *source = source_of(vm);
    struct vm_client *client = &source->client;
    /* Another each time; 255 is among its bytes now and then. */
    uint32_t sequence = (uint32_t)load_random(vm->thread, UINT32_MAX);
    if (has_user(vm))
        load_vm_print(vm, FREEZE_PRINTS);
    if (vm->state != LOAD_VM_UP)
        return;
    vm_client_begin(client, &sequence, sizeof sequence);
    vm->due_ns = due_ns;
    vm->peer_ns = 0;
    tally_add(tally_of(vm), COUNT_BEGUN, 1);
    load_vm_set_state(vm, LOAD_VM_ASKED);
    vm->begin_ns = clock_ns();
    tally_time(tally_of(vm), LATENCY_LATE, vm->begin_ns - due_ns);
    load_end_push(source);
}

void load_vms_end_migrations(struct load_thread *thread)
{
    for (size_t i = 0; i < load_thread_vms(thread); i++)
        if (load_vm_migrates(load_thread_vm(thread, i)))
            load_vm_lose(load_thread_vm(thread, i), "its migration did not end");
}
