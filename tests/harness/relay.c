#include "relay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vspc/mem.h"

enum { USERS_MAX = 64, HANDSHAKE_MAX = 65536, QUEUE_MAX = 1024 * 1024, READ_MAX = 65536, EVENTS = 64 };
enum { IAC = 255, SB = 250, SE = 240, WILL = 251, DONT = 254 };

enum peer_kind { ACCEPTOR, VM, PORT, USER };

/* Where a peer's bytes are, telnet's or lines' ones apart from text. */
enum place { IN_TEXT, AFTER_IAC, AFTER_VERB, IN_SUB, IN_SUB_AFTER_IAC, IN_LINE };

struct console;

struct peer {
    int fd; /* -1: closed; freed with the relay */
    enum peer_kind kind;
    struct console *console; /* NULL: a VM that has not told its name */
    struct peer *next;
    struct bytes out;
    uint32_t events;
    struct bytes handshake; /* a VM's, what it has said until then */
    bool ignored, knows, asked;
    enum place place;
    size_t line_len;
};

struct console {
    struct peer *vm;
    struct peer *users[USERS_MAX];
    unsigned user_count;
    uint64_t text[2]; /* bytes of text that went each way */
    int held[2];      /* one that the next is to overtake, or -1 */
};

struct relay {
    struct relay_plan plan;
    uint16_t vm_port;
    pthread_t thread;
    int epoll_fd, stop_fd;
    struct peer *peers;
    struct console *consoles;
    unsigned console_count, vm_count;
    uint64_t harm_at; /* the next harm is done after so many bytes */
    atomic_uint harmed;
};

/* What a concentrator opens with: to users without the last three, which ask for the VMware extension. */
static const uint8_t greeting[] = {255, 251, 0, 255, 251, 3, 255, 251, 1,
                                   255, 253, 0, 255, 253, 3, 255, 253, 232};
enum { USER_GREETING = sizeof greeting - 3 };

static struct peer *add_peer(struct relay *r, int fd, enum peer_kind kind, struct console *console)
{
    struct peer *peer = xcalloc(1, sizeof *peer);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    *peer = (struct peer){.fd = fd, .kind = kind, .console = console, .next = r->peers, .events = EPOLLIN};
    r->peers = peer;
    if (fd < 0 || epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        fprintf(stderr, "relay: %s\n", strerror(fd < 0 ? -fd : errno));
        abort();
    }
    return peer;
}

static void close_peer(struct peer *peer)
{
    struct console *c = peer->console;
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    bytes_clear(&peer->out);
    for (unsigned i = 0; c && i < c->user_count; i++)
        if (c->users[i] == peer)
            c->users[i] = c->users[--c->user_count];
}

/* Sends what is queued for a peer. */
static void push(struct peer *peer)
{
    while (peer->fd >= 0 && peer->out.len) {
        ssize_t n = send(peer->fd, bytes_at(&peer->out), peer->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            close_peer(peer);
        else
            bytes_drop(&peer->out, (size_t)n);
    }
}

static void put(struct peer *peer, const void *data, size_t len)
{
    if (peer->fd < 0)
        return;
    bytes_put(&peer->out, data, len);
    push(peer);
}

/* Whether those who read what a peer says have too much to read. */
static bool is_held_up(const struct peer *peer)
{
    const struct console *c = peer->console;
    if (!c)
        return false;
    if (peer->kind == USER)
        return c->vm->out.len > QUEUE_MAX;
    for (unsigned i = 0; peer->kind == VM && i < c->user_count; i++)
        if (c->users[i]->out.len > QUEUE_MAX)
            return true;
    return false;
}

/* Waits for what each peer can do. */
static void watch_peers(struct relay *r)
{
    for (struct peer *peer = r->peers; peer; peer = peer->next) {
        uint32_t events =
            (is_held_up(peer) ? 0 : (uint32_t)EPOLLIN) | (peer->out.len ? (uint32_t)EPOLLOUT : 0);
        struct epoll_event event = {.events = events, .data.ptr = peer};
        if (peer->fd < 0 || peer->events == events)
            continue;
        peer->events = events;
        epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, peer->fd, &event);
    }
}

/* Follows telnet and lines. Result: whether a byte is text that may come to harm. */
static bool is_text(struct peer *from, uint8_t c)
{
    switch (from->place) {
    case IN_TEXT:
        from->line_len = 0;
        if (c == IAC)
            from->place = AFTER_IAC;
        else if (c == '\r')
            from->place = IN_LINE;
        return c >= '0' && c <= 'o';
    case AFTER_IAC:
        from->place = c == SB ? IN_SUB : c >= WILL && c <= DONT ? AFTER_VERB : IN_TEXT;
        break;
    case IN_SUB:
        from->place = c == IAC ? IN_SUB_AFTER_IAC : IN_SUB;
        break;
    case IN_SUB_AFTER_IAC:
        from->place = c == SE ? IN_TEXT : IN_SUB;
        break;
    case IN_LINE:
        /* It begins with CR LF, and ends with them. */
        from->place = ++from->line_len > 2 && c == '\n' ? IN_TEXT : IN_LINE;
        break;
    default:
        from->place = IN_TEXT;
    }
    return false;
}

static const char skip_notice[] = "\r\n[vspc: 1 bytes skipped]\r\n";

/* Passes on one byte, or does the harm that is due. */
static void pass_byte(struct relay *r, struct peer *from, uint8_t c, struct bytes *out)
{
    struct console *console = from->console;
    enum relay_way way = r->plan.way;
    uint8_t other = c ^ 1;
    if (!is_text(from, c)) {
        bytes_put(out, &c, 1);
        return;
    }
    if (console->held[way] >= 0) {
        uint8_t held = (uint8_t)console->held[way];
        bytes_put(out, &c, 1);
        /* Nobody could see that equal bytes have changed places: another one is to come. */
        if (held != c) {
            bytes_put(out, &held, 1);
            console->held[way] = -1;
        }
        return;
    }
    if (++console->text[way] <= r->harm_at) {
        bytes_put(out, &c, 1);
        return;
    }
    r->harm_at = r->plan.every ? console->text[way] + r->plan.every : UINT64_MAX;
    atomic_fetch_add(&r->harmed, 1);
    if (r->plan.harm == RELAY_SKIP)
        bytes_put(out, skip_notice, sizeof skip_notice - 1);
    else if (r->plan.harm == RELAY_DOUBLE)
        bytes_put(out, (uint8_t[]){c, c}, 2);
    else if (r->plan.harm == RELAY_CORRUPT)
        bytes_put(out, &other, 1);
    else if (r->plan.harm == RELAY_SWAP)
        console->held[way] = c;
    else if (r->plan.harm == RELAY_CLOSE)
        close_peer(console->vm);
}

/* Passes on what a peer has said, with the harm that is due. */
static void pass(struct relay *r, struct peer *from, const uint8_t *data, size_t len)
{
    struct console *console = from->console;
    enum relay_way way = from->kind == VM ? RELAY_TO_USERS : RELAY_TO_VM;
    struct bytes out = {0};
    bool harmless = r->plan.harm == RELAY_NO_HARM || r->plan.way != way ||
                    (r->harm_at == UINT64_MAX && console->held[way] < 0);
    for (size_t i = 0; !harmless && i < len; i++)
        pass_byte(r, from, data[i], &out);
    if (harmless)
        bytes_put(&out, data, len);
    if (way == RELAY_TO_VM)
        put(console->vm, bytes_at(&out), out.len);
    for (unsigned i = console->user_count; way == RELAY_TO_USERS && !r->plan.mute && i-- > 0;)
        put(console->users[i], bytes_at(&out), out.len);
    bytes_clear(&out);
}

/* Answers a VM by what it has said so far; with its name it gets a console. */
static void answer(struct relay *r, struct peer *vm, const uint8_t *data, size_t len)
{
    static const uint8_t will[] = {255, 251, 232}, proxy[] = {255, 250, 232, 70},
                         name[] = {255, 250, 232, 82};
    static const uint8_t known[] = {255, 250, 232, 1, 0, 1, 2, 3, 70, 71, 73, 80, 81, 82, 83, 255, 240};
    static const uint8_t ask[] = {255, 250, 232, 71,  255, 240, 255, 250, 232,
                                  81,  255, 240, 255, 250, 232, 83,  255, 240};
    /* Whoever connects without a word is no VM. */
    if (vm->handshake.len == 0)
        vm->ignored = r->vm_count++ < r->plan.ignored_vms;
    if (vm->handshake.len + len > HANDSHAKE_MAX)
        return;
    bytes_put(&vm->handshake, data, len);
    if (vm->ignored)
        return;
    const uint8_t *all = bytes_at(&vm->handshake);
    size_t all_len = vm->handshake.len;
    if (!vm->knows && memmem(all, all_len, will, sizeof will)) {
        vm->knows = true;
        put(vm, known, sizeof known);
    }
    if (!vm->asked && memmem(all, all_len, proxy, sizeof proxy)) {
        vm->asked = true;
        put(vm, ask, sizeof ask);
    }
    if (!memmem(all, all_len, name, sizeof name) || r->console_count == r->plan.consoles)
        return;
    struct console *console = &r->consoles[r->console_count++];
    *console = (struct console){.vm = vm, .held = {-1, -1}};
    vm->console = console;
    bytes_clear(&vm->handshake);
    struct sock_addr addr = env_local((uint16_t)(r->vm_port + r->console_count));
    add_peer(r, sock_listen(&addr, false, 64), PORT, console);
}

static void accept_peer(struct relay *r, struct peer *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    sock_tune(fd, 0);
    if (listener->kind == ACCEPTOR) {
        put(add_peer(r, fd, VM, NULL), greeting, sizeof greeting);
        return;
    }
    struct console *console = listener->console;
    if (console->user_count == USERS_MAX) {
        close(fd);
        return;
    }
    console->users[console->user_count++] = add_peer(r, fd, USER, console);
    if (!r->plan.mute)
        put(console->users[console->user_count - 1], greeting, USER_GREETING);
}

static void on_peer(struct relay *r, struct peer *peer, uint32_t events)
{
    static _Thread_local uint8_t buffer[READ_MAX];
    if (peer->fd < 0)
        return;
    if (peer->kind == ACCEPTOR || peer->kind == PORT) {
        accept_peer(r, peer);
        return;
    }
    push(peer);
    if (peer->fd < 0 || !(events & ~(uint32_t)EPOLLOUT))
        return;
    ssize_t n = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        close_peer(peer);
    else if (n > 0 && peer->console)
        pass(r, peer, buffer, (size_t)n);
    else if (n > 0)
        answer(r, peer, buffer, (size_t)n);
}

static void *run(void *arg)
{
    struct relay *r = arg;
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(r->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return NULL;
            on_peer(r, events[i].data.ptr, events[i].events);
        }
        watch_peers(r);
    }
}

struct relay *relay_start(const struct relay_plan *plan)
{
    struct relay *r = xcalloc(1, sizeof *r);
    struct epoll_event stop = {.events = EPOLLIN};
    r->plan = *plan;
    r->harm_at = plan->after;
    r->vm_port = env_ports(plan->consoles + 1);
    r->consoles = xcalloc(plan->consoles, sizeof *r->consoles);
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    struct sock_addr addr = env_local(r->vm_port);
    add_peer(r, sock_listen(&addr, false, 64), ACCEPTOR, NULL);
    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->stop_fd, &stop) < 0 ||
        pthread_create(&r->thread, NULL, run, r) != 0)
        env_fail("cannot start a relay");
    return r;
}

void relay_stop(struct relay *r)
{
    eventfd_write(r->stop_fd, 1);
    pthread_join(r->thread, NULL);
    while (r->peers) {
        struct peer *peer = r->peers;
        r->peers = peer->next;
        close_peer(peer);
        bytes_clear(&peer->handshake);
        free(peer);
    }
    close(r->epoll_fd);
    close(r->stop_fd);
    free(r->consoles);
    free(r);
}

uint16_t relay_vm_port(const struct relay *r)
{
    return r->vm_port;
}

uint16_t relay_first_user_port(const struct relay *r)
{
    return (uint16_t)(r->vm_port + 1);
}

unsigned relay_harmed(const struct relay *r)
{
    return atomic_load(&r->harmed);
}
