/* A console's user port: which one it is, and the users who arrive there. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "user_conn.h"
#include "vm_conn.h"

enum {
    USER_BACKLOG = 128,      /* of the user port's listen queue */
    LISTENER_REST_MS = 1000, /* after EMFILE */
};

/* What the port pool calls the VM: as Redis does, but for a name that two VMs have. Result: its length. */
static size_t port_name(const struct console *console, char out[PORT_NAME_MAX])
{
    const char *label = console->vm->ext.label;
    size_t len = console->name_len;
    memcpy(out, console->name, len);
    if (!*label)
        return len;
    out[len] = '.';
    return (size_t)(stpcpy(out + len + 1, label) - out);
}

void console_port_connected(const struct console *console)
{
    char name[PORT_NAME_MAX];
    size_t len = port_name(console, name);
    port_pool_connected(console->owner->shared->ports, console->port, name, len, time(NULL));
}

static void on_listener_rested(struct loop_timer *timer)
{
    struct console *console = container_of(timer, struct console, rest);
    loop_io_set(console->owner->loop, &console->listener, EPOLLIN);
}

/* No descriptor is left for a user: one console that lingers is asked to give way. */
static void ask_to_give_way(struct console_owner *owner)
{
    struct directory_entry *entry = directory_pick_lingering(owner->shared->directory);
    if (entry)
        console_owner_give_way(entry);
}

void console_log_refusal(struct console_owner *owner, struct log_second *second, const char *what,
                         const struct sock_addr *peer)
{
    char text[SOCK_TEXT];
    unsigned suppressed;
    if (!log_second_allows(second, loop_now(owner->loop), &suppressed))
        return;
    sock_addr_format(peer, text);
    log_warning("%s peer=%s not_logged_before=%u", what, text, suppressed);
}

static void on_user_arrives(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct console *console = container_of(io, struct console, listener);
    struct console_owner *owner = console->owner;
    struct sock_addr peer = {.len = sizeof peer.in6};
    int fd = accept4(io->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        /* Without a descriptor the queue stays as it is, and would wake us at once again. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            loop_io_set(owner->loop, io, 0);
            loop_timer_arm(owner->loop, &console->rest, LISTENER_REST_MS, on_listener_rested);
        }
        return;
    }
    if (!network_list_holds(&owner->config->user.allow, &peer)) {
        console_log_refusal(owner, &owner->shared->user_refusals, "User refused, not in [user] allow", &peer);
        figure_add(&owner->figures, FIGURE_USERS_REFUSED, 1);
        close(fd);
    } else if (!admission_take(&owner->shared->admission, ADMISSION_USER)) {
        console_log_refusal(owner, &owner->shared->user_refusals,
                            "User refused, no file descriptor is left: raise the limit (LimitNOFILE)", &peer);
        figure_add(&owner->figures, FIGURE_USERS_REFUSED, 1);
        ask_to_give_way(owner);
        close(fd);
    } else {
        user_conn_new(console, fd, &peer);
    }
}

/* Listens on that port. Result: 0 or a negative errno. */
static int listen_on(struct console *console, uint16_t port)
{
    const struct config *config = console->owner->config;
    struct sock_addr addr = config->user.listen;
    sock_addr_set_port(&addr, port);
    int fd = sock_listen(&addr, sock_addr_is_any6(&addr), USER_BACKLOG);
    if (fd < 0)
        return fd;
    int err = loop_io_add(console->owner->loop, &console->listener, fd, EPOLLIN, on_user_arrives);
    if (err)
        close(fd);
    return err;
}

int console_port_open(struct console *console)
{
    struct port_pool *ports = console->owner->shared->ports;
    uint64_t now = loop_now(console->owner->loop);
    const struct directory_entry *entry = console->entry;
    char name[PORT_NAME_MAX];
    size_t name_len = port_name(console, name);
    unsigned held = 0;
    int port, err;
    for (;;) {
        port = port_pool_take(ports, entry->identity, entry->identity_len, name, name_len, now, time(NULL));
        err = port < 0 ? port : listen_on(console, (uint16_t)port);
        if (err != -EADDRINUSE)
            break;
        port_pool_put_held(ports, (uint16_t)port, now);
        if (held++ == 0)
            log_info("User port is held by something else, skipped for a minute port=%d", port);
    }
    if (held > 1)
        log_info("User ports are held by something else, skipped for a minute ports=%u", held);
    if (err == 0)
        console->port = (uint16_t)port;
    else if (port > 0)
        port_pool_put(ports, (uint16_t)port);
    return err;
}

void console_port_close(struct console *console)
{
    struct console_owner *owner = console->owner;
    loop_timer_disarm(owner->loop, &console->rest);
    if (!console->port)
        return;
    loop_io_close(owner->loop, &console->listener);
    port_pool_put(owner->shared->ports, console->port);
}
