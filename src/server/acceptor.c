#include "vspc/acceptor.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vspc/mem.h"

enum {
    VM_BACKLOG = 4096,    /* of the listen queue; the kernel's somaxconn may be lower */
    ACCEPTS_A_TURN = 64,  /* of one listener, so that letters are read in a storm too */
    STORM_MS = 2,         /* connections that come closer than this are gathered */
    REST_MS = 1000,       /* of a listener after EMFILE */
    GIVE_WAY_MS = 5,      /* how long a listener waits for a console that was asked to give way */
    GIVE_WAY_TRIES = 100, /* after that the connection is refused */
};

struct vm_listener {
    struct acceptor *acceptor;
    struct loop_io io;
    struct loop_timer rest;
    unsigned waits; /* in a row, for consoles to give way */
    int parked;     /* an accepted connection that waits for them, or -1 */
    struct sock_addr parked_peer;
};

struct acceptor {
    pthread_t thread;
    bool started;
    struct loop *loop;
    struct config *config;
    struct console_shared *shared;
    struct worker **workers;
    unsigned worker_count;
    unsigned next_worker;
    struct vm_arrival **piles; /* a worker each: what it gets at the end of this turn */
    uint64_t number;           /* of the last connection */
    uint64_t last_ms;          /* when connections were last accepted */
    struct vm_listener *listeners;
    size_t listener_count;
};

static void on_rested(struct loop_timer *timer);

static void rest(struct vm_listener *listener, uint64_t ms)
{
    loop_io_set(listener->acceptor->loop, &listener->io, 0);
    loop_timer_arm(listener->acceptor->loop, &listener->rest, ms, on_rested);
}

/* At most one line a second; the others are counted. */
static void log_refusal(struct acceptor *acceptor, const char *why, const struct sock_addr *peer)
{
    char text[SOCK_TEXT];
    unsigned suppressed;
    if (!log_second_allows(&acceptor->shared->vm_refusals, loop_now(acceptor->loop), &suppressed))
        return;
    sock_addr_format(peer, text);
    log_warning("VM refused, %s peer=%s not_logged_before=%u", why, text, suppressed);
}

/* Asks as many lingering consoles to give way as a VM needs descriptors. Result: whether the connection
 * should wait for that. */
static bool ask_to_give_way(struct vm_listener *listener)
{
    bool asked = false;
    for (int i = 0; i < ADMISSION_VM && listener->waits < GIVE_WAY_TRIES; i++) {
        struct directory_entry *entry = directory_pick_lingering(listener->acceptor->shared->directory);
        if (!entry)
            break;
        console_owner_give_way(entry);
        asked = true;
    }
    /* When none is left to ask, those that were asked may still be on their way out. */
    if (!asked && (listener->waits == 0 || listener->waits >= GIVE_WAY_TRIES)) {
        listener->waits = 0;
        return false;
    }
    listener->waits++;
    rest(listener, GIVE_WAY_MS);
    return true;
}

/* The next worker in turn gets it, when this turn's are posted. */
static void deal(struct acceptor *acceptor, int fd, const struct sock_addr *peer)
{
    struct vm_arrival *arrival = xmalloc(sizeof *arrival);
    struct vm_arrival **pile = &acceptor->piles[acceptor->next_worker];
    *arrival = (struct vm_arrival){.next = *pile, .fd = fd, .peer = *peer, .number = ++acceptor->number};
    *pile = arrival;
    acceptor->next_worker = (acceptor->next_worker + 1) % acceptor->worker_count;
}

static bool has_hung_up(int fd)
{
    struct pollfd peer = {.fd = fd, .events = POLLRDHUP};
    return poll(&peer, 1, 0) > 0;
}

/* Takes an accepted connection in, refuses it, or parks it while others give way. Result: false when it is
 * parked. */
static bool admit(struct vm_listener *listener, int fd, const struct sock_addr *peer)
{
    struct acceptor *acceptor = listener->acceptor;
    if (admission_take(&acceptor->shared->admission, ADMISSION_VM)) {
        listener->waits = 0;
        deal(acceptor, fd, peer);
        return true;
    }
    /* Nobody is to give way for one that has hung up in the queue. */
    if (has_hung_up(fd)) {
        close(fd);
        return true;
    }
    if (ask_to_give_way(listener)) {
        listener->parked = fd;
        listener->parked_peer = *peer;
        return false;
    }
    figure_add(&acceptor->shared->acceptor_figures, FIGURE_REFUSED_DESCRIPTORS, 1);
    log_refusal(acceptor, "no file descriptor is left: raise the limit (LimitNOFILE)", peer);
    close(fd);
    return true;
}

/* Accepts one connection. Result: whether there may be more now. */
static bool accept_one(struct vm_listener *listener)
{
    struct acceptor *acceptor = listener->acceptor;
    struct sock_addr peer = {.len = sizeof peer.in6};
    int fd = accept4(listener->io.fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            rest(listener, REST_MS);
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (network_list_holds(&acceptor->config->vm.allow, &peer))
        return admit(listener, fd, &peer);
    figure_add(&acceptor->shared->acceptor_figures, FIGURE_REFUSED_NETWORK, 1);
    log_refusal(acceptor, "not in [vm] allow", &peer);
    close(fd);
    return true;
}

/* One letter a worker, so that a storm does not wake it for each connection. */
static void post_piles(struct acceptor *acceptor)
{
    for (unsigned i = 0; i < acceptor->worker_count; i++) {
        if (acceptor->piles[i])
            worker_deal(acceptor->workers[i], acceptor->piles[i]);
        acceptor->piles[i] = NULL;
    }
}

/* In a storm, lets a millisecond's connections gather: each turn wakes this thread and the workers once. */
static void gather(struct acceptor *acceptor)
{
    uint64_t now_ms = loop_now(acceptor->loop);
    bool gathered = acceptor->last_ms > now_ms; /* for another listener, in this turn */
    if (!gathered && now_ms - acceptor->last_ms < STORM_MS)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    acceptor->last_ms = clock_ms();
}

static void on_io(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct vm_listener *listener = container_of(io, struct vm_listener, io);
    int left = ACCEPTS_A_TURN;
    gather(listener->acceptor);
    while (left > 0 && accept_one(listener))
        left--;
    post_piles(listener->acceptor);
}

static void on_rested(struct loop_timer *timer)
{
    struct vm_listener *listener = container_of(timer, struct vm_listener, rest);
    int fd = listener->parked;
    listener->parked = -1;
    if (fd >= 0 && !admit(listener, fd, &listener->parked_peer))
        return;
    loop_io_set(listener->acceptor->loop, &listener->io, EPOLLIN);
    post_piles(listener->acceptor);
}

static int add_listener(struct acceptor *acceptor, const struct sock_addr *addr, bool dual)
{
    struct vm_listener *listener = &acceptor->listeners[acceptor->listener_count];
    int fd = sock_listen(addr, dual, VM_BACKLOG);
    if (fd < 0)
        return fd;
    sock_tune(fd, acceptor->config->vm.keepalive);
    listener->acceptor = acceptor;
    listener->parked = -1;
    acceptor->listener_count++;
    return loop_io_add(acceptor->loop, &listener->io, fd, EPOLLIN, on_io);
}

static int add_listeners(struct acceptor *acceptor)
{
    const struct listen_list *list = &acceptor->config->vm.listen;
    acceptor->listeners = xcalloc(list->len, sizeof *acceptor->listeners);
    for (size_t i = 0; i < list->len; i++) {
        const struct sock_addr *addr = &list->items[i];
        int err = add_listener(acceptor, addr, list->len == 1 && sock_addr_is_any6(addr));
        if (err) {
            char text[SOCK_TEXT];
            sock_addr_format(addr, text);
            log_error("Cannot listen for VMs: %s address=%s", strerror(-err), text);
            return err;
        }
    }
    return 0;
}

static void *run(void *arg)
{
    struct acceptor *acceptor = arg;
    loop_run(acceptor->loop);
    return NULL;
}

static void free_acceptor(struct acceptor *acceptor)
{
    for (size_t i = 0; i < acceptor->listener_count; i++) {
        close(acceptor->listeners[i].io.fd);
        if (acceptor->listeners[i].parked >= 0)
            close(acceptor->listeners[i].parked);
    }
    if (acceptor->loop)
        loop_free(acceptor->loop);
    config_unref(acceptor->config);
    free(acceptor->listeners);
    free(acceptor->piles);
    free(acceptor);
}

struct acceptor *acceptor_new(struct config *config, struct console_shared *shared)
{
    struct acceptor *acceptor = xcalloc(1, sizeof *acceptor);
    acceptor->config = config_ref(config);
    acceptor->shared = shared;
    acceptor->loop = loop_new();
    if (!acceptor->loop || add_listeners(acceptor) < 0) {
        free_acceptor(acceptor);
        return NULL;
    }
    return acceptor;
}

int acceptor_start(struct acceptor *acceptor, struct worker **workers, unsigned worker_count)
{
    acceptor->workers = workers;
    acceptor->worker_count = worker_count;
    acceptor->piles = xcalloc(worker_count, sizeof(struct vm_arrival *));
    int err = thread_start(&acceptor->thread, "acceptor", run, acceptor);
    acceptor->started = err == 0;
    return err;
}

struct loop *acceptor_loop(struct acceptor *acceptor)
{
    return acceptor->loop;
}

struct reload {
    struct acceptor *acceptor;
    struct config *config;
};

static void on_reload(void *arg)
{
    struct reload *reload = arg;
    struct acceptor *acceptor = reload->acceptor;
    config_unref(acceptor->config);
    acceptor->config = reload->config;
    for (size_t i = 0; i < acceptor->listener_count; i++)
        sock_set_keepalive(acceptor->listeners[i].io.fd, acceptor->config->vm.keepalive);
    free(reload);
}

void acceptor_reload(struct acceptor *acceptor, struct config *config)
{
    struct reload *reload = xmalloc(sizeof *reload);
    *reload = (struct reload){acceptor, config_ref(config)};
    loop_post(acceptor->loop, on_reload, reload);
}

/* Gives up on the connection that waits for others to give way. */
static void refuse_parked(struct vm_listener *listener)
{
    if (listener->parked < 0)
        return;
    log_refusal(listener->acceptor, "no new VMs are taken (drain)", &listener->parked_peer);
    figure_add(&listener->acceptor->shared->acceptor_figures, FIGURE_REFUSED_DRAINING, 1);
    close(listener->parked);
    listener->parked = -1;
}

/* A socket that is shut down does not listen any more, but keeps its address for when it does again. */
static void on_drain(void *arg)
{
    struct acceptor *acceptor = arg;
    for (size_t i = 0; i < acceptor->listener_count; i++) {
        struct vm_listener *listener = &acceptor->listeners[i];
        loop_timer_disarm(acceptor->loop, &listener->rest);
        loop_io_del(acceptor->loop, &listener->io);
        refuse_parked(listener);
        shutdown(listener->io.fd, SHUT_RD);
    }
}

static void on_undrain(void *arg)
{
    struct acceptor *acceptor = arg;
    for (size_t i = 0; i < acceptor->listener_count; i++) {
        struct vm_listener *listener = &acceptor->listeners[i];
        listener->waits = 0;
        if (listener->io.fn)
            continue;
        if (listen(listener->io.fd, VM_BACKLOG) < 0)
            log_error("Cannot listen for VMs again: %s", strerror(errno));
        loop_io_add(acceptor->loop, &listener->io, listener->io.fd, EPOLLIN, on_io);
    }
}

void acceptor_drain(struct acceptor *acceptor, bool on)
{
    loop_post(acceptor->loop, on ? on_drain : on_undrain, acceptor);
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor->started) {
        loop_stop(acceptor->loop);
        pthread_join(acceptor->thread, NULL);
    }
    free_acceptor(acceptor);
}
