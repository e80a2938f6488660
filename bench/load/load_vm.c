#include "load_move.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "connect.h"
#include "load_user.h"
#include "redis_watch.h"

enum { BLASTS_A_TURN = 4 /* chunks that a VM prints before others have their turn */ };

void load_vm_set_state(struct load_vm *vm, enum load_vm_state state)
{
    struct load_thread *thread = vm->thread;
    bool was_pending = load_vm_migrates(vm);
    enum load_vm_state was = vm->state;
    vm->state = (uint8_t)state;
    thread->vms_connecting += (size_t)(state == LOAD_VM_CONNECTING) - (size_t)(was == LOAD_VM_CONNECTING);
    thread->vms_pending += (size_t)load_vm_migrates(vm) - (size_t)was_pending;
    thread->vms_up += (size_t)(state == LOAD_VM_UP) - (size_t)(was == LOAD_VM_UP);
    thread->changed(thread);
}

void load_end_close(struct load_end *end, bool reset)
{
    if (end->io.fd < 0)
        return;
    if (reset) {
        struct linger at_once = {.l_onoff = 1};
        setsockopt(end->io.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    pace_close(&end->io);
    tally_add(&end->vm->thread->tally, COUNT_PROTOCOL_ERRORS, end->client.errors);
    vm_client_free(&end->client);
}

void load_vm_lose(struct load_vm *vm, const char *why)
{
    static const char *const states[] = {"down",         "connecting",    "connected", "BEGIN sent",
                                         "GOAHEAD came", "COMPLETE sent", "lost"};
    struct load_thread *thread = vm->thread;
    char name[LOAD_NAME_MAX];
    if (vm->state == LOAD_VM_LOST || (vm->state == LOAD_VM_DOWN && !vm->lost_ns))
        return;
    if (load_vm_migrates(vm))
        tally_add(&thread->tally, COUNT_MIGRATIONS_FAILED, 1);
    load_end_close(&vm->end[0], true);
    load_end_close(&vm->end[1], true);
    if (thread->vms_return) {
        vm->lost_ns = vm->lost_ns ? vm->lost_ns : clock_ns();
        load_vm_set_state(vm, LOAD_VM_DOWN);
        return;
    }
    load_vm_name(vm->number, name);
    load_thread_fail(thread, "VM %s was lost: %s (%s)", name, why, states[vm->state]);
    tally_add(&thread->tally, COUNT_VMS_LOST, 1);
    load_vm_set_state(vm, LOAD_VM_LOST);
}

/* Prints at full speed, past the client, whose copies would cost more than the stream; it has no 255. Result:
 * whether there is room for more. */
static bool blast(struct load_vm *vm, struct load_end *end)
{
    size_t len = vm->thread->crew->options->chunk;
    for (int i = 0; i < BLASTS_A_TURN; i++) {
        stream_fill(&vm->stream, vm->printed, vm->thread->buffer, len);
        ssize_t n = send(end->io.fd, vm->thread->buffer, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            load_vm_lose(vm, strerror(errno));
        if (n <= 0)
            return false;
        vm->printed += (uint64_t)n;
        tally_add(tally_of(vm), COUNT_PRINTED, (uint64_t)n);
        if ((size_t)n < len)
            return false;
    }
    return true;
}

void load_end_push(struct load_end *end)
{
    struct bytes *out = &end->client.out;
    while (out->len) {
        ssize_t n = send(end->io.fd, bytes_at(out), out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
            break;
        if (n < 0) {
            load_vm_lose(end->vm, strerror(errno));
            return;
        }
        vm_client_sent(&end->client, (size_t)n);
    }
    if (!out->len && end->vm->blasts && end == source_of(end->vm))
        blast(end->vm, end);
    bool waits = out->len || end->vm->blasts;
    pace_set(&end->vm->thread->pace, &end->io, EPOLLIN | (waits ? (uint32_t)EPOLLOUT : 0));
}

void load_vm_name(uint32_t number, char name[LOAD_NAME_MAX])
{
    snprintf(name, LOAD_NAME_MAX, "bench-%05" PRIu32, number + 1);
}

bool load_line_parse(const char *line, struct load_line *out)
{
    int end = 0;
    if (sscanf(line, "{bench-%" SCNu32 " %" SCNx32 " %" SCNu32 " %" SCNu64 "}%n", &out->number, &out->run,
               &out->drops, &out->printed, &end) != 4 ||
        !end || line[end] || out->number == 0)
        return false;
    --out->number;
    return true;
}

void load_end_say_who(struct load_end *end)
{
    struct load_vm *vm = end->vm;
    char name[LOAD_NAME_MAX], line[LOAD_LINE_MAX];
    load_vm_name(vm->number, name);
    int len = snprintf(line, sizeof line, "\r\n{%s %08" PRIx32 " %" PRIu32 " %" PRIu64 "}\r\n", name,
                       vm->thread->crew->run, vm->drops, vm->printed);
    vm_client_send(&end->client, line, (size_t)len);
}

/* Bytes that were typed, without an ENQ among them. */
static void take_typed(struct load_vm *vm, struct load_end *end, const uint8_t *data, size_t len)
{
    if (len == 0)
        return;
    if (vm->thread->crew->echo) {
        vm_client_send(&end->client, data, len);
        vm->printed += len;
        tally_add(tally_of(vm), COUNT_PRINTED, len);
    } else if (vm->typed) {
        uint64_t before = vm->typed->arrived;
        if (!stream_check_feed(vm->typed, data, len))
            load_thread_fail(vm->thread, "what was typed at VM %" PRIu32 " did not arrive as it was",
                             vm->number + 1);
        tally_add(tally_of(vm), COUNT_DELIVERED, vm->typed->arrived - before);
    }
}

/* Bytes for the VM; only where it runs. */
static void on_data(struct reading *reading, const uint8_t *data, size_t len)
{
    struct load_end *end = reading->end;
    struct load_vm *vm = end->vm;
    bool runs_here = vm->state == LOAD_VM_COMPLETED ? end == destination_of(vm) : end == source_of(vm);
    if (!runs_here) {
        reading->failure = "a host was sent what was not for it";
        return;
    }
    reading->typed = true;
    while (len) {
        const uint8_t *enq = memchr(data, LOAD_ENQ, len);
        size_t run = enq ? (size_t)(enq - data) : len;
        take_typed(vm, end, data, run);
        /* One that is about to move answers where it arrives. */
        if (enq && load_vm_migrates(vm) && vm->state != LOAD_VM_COMPLETED)
            vm->owes_line = true;
        else if (enq)
            load_end_say_who(end);
        run += enq != NULL;
        data += run;
        len -= run;
    }
}

/* What the client tells is only noted: the client must not be freed meanwhile. */
static void on_event(struct vm_client *client, const struct vm_event *event, void *arg)
{
    struct reading *reading = arg;
    (void)client;
    switch (event->type) {
    case VM_EVENT_DATA:
        on_data(reading, event->data, event->len);
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
    default:
        break;
    }
}

static void on_end(struct pace_io *io, uint32_t events);

void load_end_connect(struct load_vm *vm, struct load_end *end, const struct vm_client_options *like)
{
    struct load_thread *thread = vm->thread;
    int on = 1;
    int fd = load_connect(thread, &thread->crew->options->vspc);
    end->vm = vm;
    end->io = (struct pace_io){fd < 0 ? -1 : fd, EPOLLIN | EPOLLOUT, on_end};
    if (fd < 0) {
        load_vm_lose(vm, strerror(-fd));
        return;
    }
    vm_client_init(&end->client, like);
    vm_client_connected(&end->client);
    /* Without it the figures say less, but nothing is lost. */
    if (thread->crew->timestamps)
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    int err = pace_add(&thread->pace, &end->io);
    if (err)
        load_vm_lose(vm, strerror(-err));
}

static void on_identified(struct load_vm *vm, const struct reading *reading)
{
    uint64_t now_ns = reading->read_ns;
    bool back = vm->lost_ns != 0;
    uint64_t since_ns = back ? vm->lost_ns : vm->due_ns;
    vm->lost_ns = 0;
    tally_add(tally_of(vm), COUNT_IDENTIFIED, 1);
    tally_time(tally_of(vm), back ? LATENCY_BACK : LATENCY_IDENTIFIED, now_ns - since_ns);
    if (vm->thread->crew->watch)
        redis_watch_expect(vm->thread->crew->watch, vm->number, since_ns, now_ns, back);
    vm->thread->last_identified_ns = now_ns;
    vm->thread->vms_returned += back;
    load_vm_set_state(vm, LOAD_VM_UP);
}

/* Does what follows from a read. */
static void act(struct load_end *end, const struct reading *reading)
{
    struct load_vm *vm = end->vm;
    if (reading->failure)
        load_vm_lose(vm, reading->failure);
    else if (reading->goahead)
        load_move_goahead(vm, reading);
    else if (vm->state == LOAD_VM_FROZEN && end == destination_of(vm))
        load_move_go_on(end, reading);
    else if (vm->state == LOAD_VM_CONNECTING && vm_client_is_identified(&end->client))
        on_identified(vm, reading);
    if (reading->typed && vm->state == LOAD_VM_COMPLETED)
        load_vm_settle(vm);
}

/* The server has closed an end, or it broke. */
static void on_closed(struct load_end *end, const char *why)
{
    struct load_vm *vm = end->vm;
    if (vm->state != LOAD_VM_COMPLETED || end != source_of(vm)) {
        load_vm_lose(vm, why);
        return;
    }
    load_end_close(end, false);
    load_vm_settle(vm);
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

/* Reads an end, once. */
static void read_end(struct load_end *end)
{
    struct load_thread *thread = end->vm->thread;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec piece = {thread->buffer, LOAD_READ_MAX};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(end->io.fd, &message, MSG_DONTWAIT);
    if (n > 0) {
        struct reading reading = {.end = end, .read_ns = clock_ns(), .unread_ns = UINT64_MAX};
        if (thread->crew->timestamps)
            reading.unread_ns = since_arrival(&message);
        vm_client_input(&end->client, thread->buffer, (size_t)n, on_event, &reading);
        act(end, &reading);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        on_closed(end, n ? strerror(errno) : "the server closed the connection");
    }
}

static void on_end(struct pace_io *io, uint32_t events)
{
    struct load_end *end = container_of(io, struct load_end, io);
    if (events & ~(uint32_t)EPOLLOUT)
        read_end(end);
    if (io->fd >= 0)
        load_end_push(end);
}

void load_vm_init(struct load_vm *vm, struct load_thread *thread, uint32_t number)
{
    *vm = (struct load_vm){.thread = thread, .number = number};
    vm->end[0] = vm->end[1] = (struct load_end){.io.fd = -1, .vm = vm};
    vm->stream = (struct stream){.seed = (uint64_t)thread->crew->run << 32 | number};
}

void load_vm_connect(struct load_vm *vm, uint64_t due_ns)
{
    const struct bench_options *options = vm->thread->crew->options;
    char name[LOAD_NAME_MAX];
    load_vm_name(vm->number, name);
    struct vm_client_options like = {.name = name, .name_len = strlen(name), .offers = options->offer};
    memcpy(like.uuid, name, like.name_len < UUID_SIZE ? like.name_len : UUID_SIZE);
    vm->due_ns = due_ns;
    vm->at = 0;
    load_vm_set_state(vm, LOAD_VM_CONNECTING);
    load_end_connect(vm, source_of(vm), &like);
}

void load_vm_drop(struct load_vm *vm, bool reset)
{
    tally_add(tally_of(vm), COUNT_DROPPED, 1);
    /* Here, not when it comes back: a line that is still on its way is of the past already. */
    vm->drops++;
    if (vm->thread->vms_return)
        vm->lost_ns = clock_ns();
    load_end_close(source_of(vm), reset);
    load_vm_set_state(vm, LOAD_VM_DOWN);
}

void load_vm_print(struct load_vm *vm, size_t len)
{
    struct load_end *end = vm->state == LOAD_VM_COMPLETED ? destination_of(vm) : source_of(vm);
    uint8_t text[LOAD_PRINT_MAX];
    stream_fill(&vm->stream, vm->printed, text, len);
    vm_client_send(&end->client, text, len);
    vm->printed += len;
    tally_add(tally_of(vm), COUNT_PRINTED, len);
    load_end_push(end);
}

void load_vm_blast(struct load_vm *vm, bool on)
{
    vm->blasts = on && vm->state == LOAD_VM_UP;
    if (vm->state == LOAD_VM_UP)
        load_end_push(source_of(vm));
}

void load_vm_free(struct load_vm *vm)
{
    load_end_close(&vm->end[0], true);
    load_end_close(&vm->end[1], true);
    free(vm->typed);
}
