#include "moving_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { READ_MAX = 16384 };

/* A host that has no GOAHEAD by then leaves its VM where it is; protocol.md, vMotion 1. */
#define GOAHEAD_MAX_NS (5 * UINT64_C(1000000000))

/* One read from a VM's end, and what it brought. */
struct reading {
    uint64_t read_ns;   /* when it was over */
    uint64_t unread_ns; /* how long the bytes had been in the socket; UINT64_MAX: the kernel did not say */
    const char *failure;
    bool goahead, peer_ok;
    size_t data_len;
    uint8_t data; /* the last byte of it */
};

static void set_state(struct moving_vm *vm, enum moving_state state)
{
    struct moving_fleet *fleet = vm->fleet;
    bool was_pending = vm->state >= MOVING_ASKED && vm->state <= MOVING_COMPLETED;
    bool is_pending = state >= MOVING_ASKED && state <= MOVING_COMPLETED;
    fleet->connecting += (size_t)(state == MOVING_CONNECTING) - (size_t)(vm->state == MOVING_CONNECTING);
    fleet->resting += (size_t)(state == MOVING_RESTING) - (size_t)(vm->state == MOVING_RESTING);
    fleet->pending += (size_t)is_pending - (size_t)was_pending;
    vm->state = state;
    fleet->changed();
}

static void end_close(struct moving_end *end)
{
    pace_close(&end->io);
    vm_client_free(&end->client);
}

static void close_all(struct moving_vm *vm)
{
    for (int i = 0; i < 2; i++)
        if (vm->end[i].io.fd >= 0)
            end_close(&vm->end[i]);
    pace_close(&vm->user);
}

void moving_vm_give_up(struct moving_vm *vm, const char *why)
{
    static const char *const states[] = {"connecting", "resting", "BEGIN sent", "GOAHEAD came",
                                         "COMPLETE sent"};
    struct moving_figures *figures = &vm->fleet->figures;
    if (vm->state == MOVING_FAILED)
        return;
    if (figures->failed++ == 0)
        snprintf(figures->first_failure, sizeof figures->first_failure, "%s (%s)", why, states[vm->state]);
    close_all(vm);
    set_state(vm, MOVING_FAILED);
}

static struct moving_end *source_of(struct moving_vm *vm)
{
    return &vm->end[vm->at];
}

static struct moving_end *destination_of(struct moving_vm *vm)
{
    return &vm->end[!vm->at];
}

/* Sends what is queued. */
static void push(struct moving_end *end)
{
    struct bytes *out = &end->client.out;
    while (out->len) {
        ssize_t n = send(end->io.fd, bytes_at(out), out->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            moving_vm_give_up(end->vm, strerror(errno));
            return;
        }
        vm_client_sent(&end->client, (size_t)n);
    }
    pace_set(end->vm->fleet->pace, &end->io, EPOLLIN | (out->len ? (uint32_t)EPOLLOUT : 0));
}

static void on_end(struct pace_io *io, uint32_t events);

/* Makes an end's connection; like: what the VM is, with `peer` for a destination. */
static void connect_end(struct moving_vm *vm, struct moving_end *end, const struct vm_client_options *like)
{
    struct moving_fleet *fleet = vm->fleet;
    int on = 1;
    end->vm = vm;
    vm_client_init(&end->client, like);
    vm_client_connected(&end->client);
    end->io = (struct pace_io){sock_connect(&fleet->vm_addr), EPOLLIN | EPOLLOUT, on_end};
    if (end->io.fd < 0) {
        moving_vm_give_up(vm, strerror(-end->io.fd));
        vm_client_free(&end->client);
        return;
    }
    /* Without it the figures say less, but nothing is lost. */
    setsockopt(end->io.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    int err = pace_add(fleet->pace, &end->io);
    if (err)
        moving_vm_give_up(vm, strerror(-err));
}

/* The source may be closed and the key may arrive in any order. */
static void end_if_complete(struct moving_vm *vm)
{
    if (vm->state != MOVING_COMPLETED || source_of(vm)->io.fd >= 0 || vm->key_pending)
        return;
    vm->at = !vm->at;
    vm->fleet->figures.completed++;
    set_state(vm, MOVING_RESTING);
}

/* The user types a key, which is to be kept for the destination. */
static void type_key(struct moving_vm *vm)
{
    vm->key = (uint8_t)(vm->key < 'a' || vm->key >= 'z' ? 'a' : vm->key + 1);
    vm->key_pending = true;
    if (send(vm->user.fd, &vm->key, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        moving_vm_give_up(vm, "a user cannot type");
}

/* The next VM has arrived at its other host, which connects. */
static void on_arrival(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct moving_fleet *fleet = container_of(schedule, struct moving_fleet, arrivals);
    struct moving_vm *vm = fleet->first_arrival;
    struct vm_client_options like = source_of(vm)->client.opt;
    (void)due_ns;
    fleet->first_arrival = vm->next_arrival;
    if (fleet->first_arrival)
        schedule->due_ns = fleet->first_arrival->arrival_ns;
    if (vm->state != MOVING_FROZEN)
        return;
    like.peer = source_of(vm)->client.migration;
    connect_end(vm, destination_of(vm), &like);
}

/* The VM's memory takes its time to the other host. */
static void hold(struct moving_vm *vm, uint64_t now_ns)
{
    struct moving_fleet *fleet = vm->fleet;
    vm->arrival_ns = now_ns + fleet->hold_ns;
    vm->next_arrival = NULL;
    if (fleet->first_arrival)
        fleet->last_arrival->next_arrival = vm;
    else
        fleet->first_arrival = vm;
    fleet->last_arrival = vm;
    fleet->arrivals.due_ns = fleet->first_arrival->arrival_ns;
    fleet->arrivals.left++;
}

void moving_fleet_init(struct moving_fleet *fleet)
{
    fleet->arrivals.fn = on_arrival;
    pace_schedule(fleet->pace, &fleet->arrivals);
}

static void on_goahead(struct moving_vm *vm, const struct reading *reading)
{
    struct moving_figures *figures = &vm->fleet->figures;
    samples_add(&figures->goahead, reading->read_ns - vm->due_ns);
    samples_add(&figures->late, vm->begin_ns - vm->due_ns);
    uint64_t answer_ns = reading->read_ns - vm->begin_ns;
    /* Two clocks, and one of them may be set: what cannot be is not counted. */
    if (reading->unread_ns <= answer_ns) {
        samples_add(&figures->unread, reading->unread_ns);
        samples_add(&figures->answer, answer_ns - reading->unread_ns);
        samples_add(&figures->ours, vm->begin_ns - vm->due_ns + reading->unread_ns);
    }
    if (answer_ns > GOAHEAD_MAX_NS) {
        moving_vm_give_up(vm, "no GOAHEAD for as long as a host waits");
        return;
    }
    set_state(vm, MOVING_FROZEN);
    if (vm->user.fd >= 0)
        type_key(vm);
    if (vm->state == MOVING_FROZEN)
        hold(vm, reading->read_ns);
}

static void on_key(struct moving_vm *vm, struct moving_end *end, const struct reading *reading)
{
    struct moving_figures *figures = &vm->fleet->figures;
    bool due = vm->state == MOVING_COMPLETED && end == destination_of(vm) && vm->key_pending;
    if (!due || reading->data_len != 1 || reading->data != vm->key) {
        moving_vm_give_up(vm, "a VM was sent what was not for it");
        return;
    }
    vm->key_pending = false;
    samples_add(&figures->key, reading->read_ns - vm->complete_ns);
    samples_add(&figures->key_pause, reading->read_ns - vm->due_ns - vm->fleet->hold_ns);
    end_if_complete(vm);
}

/* What the client tells is only noted: the client must not be freed meanwhile. */
static void on_event(struct vm_client *client, const struct vm_event *event, void *arg)
{
    struct reading *reading = arg;
    switch (event->type) {
    case VM_EVENT_DATA:
        reading->data = event->data[event->len - 1];
        reading->data_len += event->len;
        break;
    case VM_EVENT_GOAHEAD:
        reading->goahead = true;
        break;
    case VM_EVENT_PEER_OK:
        reading->peer_ok = true;
        break;
    case VM_EVENT_NOTNOW:
        reading->failure = "NOTNOW";
        break;
    case VM_EVENT_UNKNOWN:
        reading->failure = "UNKNOWN-SUBOPTION-RCVD-2";
        break;
    case VM_EVENT_WONT_PROXY:
        reading->failure = "WONT-PROXY";
        break;
    case VM_EVENT_PROTOCOL_ERROR:
        reading->failure = client->error;
        break;
    default:
        break;
    }
}

/* Answers what a destination was sent, and completes the migration when its host would. */
static void go_on_at_destination(struct moving_vm *vm, struct moving_end *end, const struct reading *reading)
{
    struct vm_client *client = &end->client;
    if (reading->peer_ok)
        samples_add(&vm->fleet->figures.peer_ok, reading->read_ns - vm->peer_ns);
    if (client->proxy_sent && !vm->peer_ns)
        vm->peer_ns = clock_ns();
    if (!vm_client_is_identified(client) || !vm_client_has_seen(client, VM_EVENT_ASKED_NAME) ||
        !vm_client_has_seen(client, VM_EVENT_ASKED_UUID))
        return;
    vm_client_complete(client);
    vm->complete_ns = clock_ns();
    set_state(vm, MOVING_COMPLETED);
}

/* Does what follows from a read. */
static void act(struct moving_end *end, const struct reading *reading)
{
    struct moving_vm *vm = end->vm;
    if (reading->failure)
        moving_vm_give_up(vm, reading->failure);
    else if (reading->goahead)
        on_goahead(vm, reading);
    else if (vm->state == MOVING_FROZEN && end == destination_of(vm))
        go_on_at_destination(vm, end, reading);
    if (reading->data_len && vm->state != MOVING_FAILED)
        on_key(vm, end, reading);
}

/* vspcd has closed an end, or it broke. */
static void on_closed(struct moving_end *end, const struct reading *reading, const char *why)
{
    struct moving_vm *vm = end->vm;
    if (vm->state != MOVING_COMPLETED || end != source_of(vm)) {
        moving_vm_give_up(vm, why);
        return;
    }
    samples_add(&vm->fleet->figures.pause, reading->read_ns - vm->due_ns - vm->fleet->hold_ns);
    end_close(end);
    end_if_complete(vm);
}

/* How long ago the kernel had what was just read, in nanoseconds; UINT64_MAX when it did not say. */
static uint64_t since_arrival(struct msghdr *message)
{
    struct timespec now, then;
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_TIMESTAMPNS)
        return UINT64_MAX;
    memcpy(&then, CMSG_DATA(c), sizeof then);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)(now.tv_sec - then.tv_sec) * 1000000000 + (now.tv_nsec - then.tv_nsec);
    return ns < 0 ? UINT64_MAX : (uint64_t)ns;
}

static void on_end(struct pace_io *io, uint32_t events)
{
    static uint8_t buffer[READ_MAX];
    struct moving_end *end = container_of(io, struct moving_end, io);
    struct moving_vm *vm = end->vm;
    char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec piece = {buffer, sizeof buffer};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (events & ~(uint32_t)EPOLLOUT) {
        ssize_t n = recvmsg(io->fd, &message, MSG_DONTWAIT);
        struct reading reading = {.read_ns = clock_ns(), .unread_ns = UINT64_MAX};
        if (n > 0) {
            reading.unread_ns = since_arrival(&message);
            vm_client_input(&end->client, buffer, (size_t)n, on_event, &reading);
            act(end, &reading);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            on_closed(end, &reading, n ? strerror(errno) : "vspcd closed the connection");
        }
    }
    if (io->fd >= 0)
        push(end);
    if (vm->state == MOVING_CONNECTING && vm_client_is_identified(&end->client))
        set_state(vm, MOVING_RESTING);
}

void moving_vm_start(struct moving_vm *vm, struct moving_fleet *fleet, const char *name)
{
    struct vm_client_options options = {.name = name, .name_len = strlen(name)};
    memcpy(options.uuid, name, options.name_len < UUID_SIZE ? options.name_len : UUID_SIZE);
    *vm = (struct moving_vm){.fleet = fleet, .user.fd = -1};
    vm->end[1].io.fd = -1;
    fleet->connecting++;
    connect_end(vm, &vm->end[0], &options);
}

/* Whatever the VM prints is read, and is of no interest. */
static void on_user(struct pace_io *io, uint32_t events)
{
    static char buffer[READ_MAX];
    (void)events;
    ssize_t n = recv(io->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        moving_vm_give_up(container_of(io, struct moving_vm, user), "a user's connection has ended");
}

void moving_vm_attach(struct moving_vm *vm, uint16_t port)
{
    struct moving_fleet *fleet = vm->fleet;
    sock_addr_set_port(&fleet->user_addr, port);
    vm->user = (struct pace_io){sock_connect(&fleet->user_addr), EPOLLIN, on_user};
    int err = vm->user.fd < 0 ? vm->user.fd : pace_add(fleet->pace, &vm->user);
    if (err)
        moving_vm_give_up(vm, strerror(-err));
}

void moving_vm_begin(struct moving_vm *vm, uint64_t due_ns)
{
    /* Another each time; 255 is among its bytes now and then. */
    static uint32_t sequence;
    struct moving_end *source = source_of(vm);
    sequence++;
    vm_client_begin(&source->client, &sequence, sizeof sequence);
    vm->due_ns = due_ns;
    vm->peer_ns = vm->complete_ns = 0;
    vm->fleet->figures.begun++;
    set_state(vm, MOVING_ASKED);
    vm->begin_ns = clock_ns();
    push(source);
}

void moving_vm_print(struct moving_vm *vm, const void *data, size_t len)
{
    struct moving_end *source = source_of(vm);
    if (vm->state != MOVING_RESTING)
        return;
    vm_client_send(&source->client, data, len);
    push(source);
}

void moving_vm_free(struct moving_vm *vm)
{
    if (vm->fleet)
        close_all(vm);
}
