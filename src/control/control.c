#include "vspc/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "control/control_parts.h"
#include "control/control_request.h"

enum {
    CLIENTS_MAX = 1024,
    CLIENTS_IN_RESERVE = 16, /* are within ADMISSION_RESERVE, so that a full vspcd can be asked too */
    ACCEPTS_A_TURN = 64,
    REST_MS = 1000,
};

/* At most one line a second; the client is told in any case, as far as that goes at once. */
static void refuse(struct control *control, int fd, const char *why)
{
    static const char format[] = "{\"v\":1,\"ok\":false,\"error\":\"failed\",\"message\":\"vspcd has %s\"}\n";
    unsigned suppressed;
    char *line = xasprintf(format, why);
    send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
    free(line);
    close(fd);
    if (log_second_allows(&control->refusals, clock_ms(), &suppressed))
        log_warning("Control client refused, vspcd has %s not_logged_before=%u", why, suppressed);
}

static void admit(struct control *control, int fd)
{
    bool in_reserve = control->in_reserve < CLIENTS_IN_RESERVE;
    /* Those who hang up as soon as they have asked still cost memory. */
    if (control->client_count + control->forsaken >= CLIENTS_MAX) {
        refuse(control, fd, "too many control clients");
    } else if (!in_reserve && !admission_take(&control->server->shared->admission, ADMISSION_USER)) {
        refuse(control, fd, "no file descriptor left");
    } else {
        control->in_reserve += in_reserve;
        control_client_new(control, fd, in_reserve);
    }
}

void control_client_left(struct control *control, struct control_client *client)
{
    DL_DELETE(control->clients, client);
    control->client_count--;
    if (client->in_reserve)
        control->in_reserve--;
    else
        admission_give(&control->server->shared->admission, ADMISSION_USER);
}

static void on_rested(struct loop_timer *timer)
{
    struct control *control = container_of(timer, struct control, rest);
    loop_io_set(control->server->loop, &control->listener, EPOLLIN);
}

static void on_listener(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct control *control = container_of(io, struct control, listener);
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(control, fd);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            if (errno == EAGAIN)
                return;
            loop_io_set(control->server->loop, io, 0);
            loop_timer_arm(control->server->loop, &control->rest, REST_MS, on_rested);
            return;
        }
    }
}

/* There are events: those who wait for them go on. */
static void on_news(void *arg)
{
    struct control *control = arg;
    struct control_client *client, *next;
    DL_FOREACH_SAFE(control->clients, client, next)
    {
        if (client->state == CLIENT_FOLLOWING)
            control_client_serve(client);
    }
}

struct control *control_start(const struct control_server *server)
{
    struct control *control = xcalloc(1, sizeof *control);
    const char *path = server->config(server->arg)->control.socket;
    control->server = server;
    control->started = time(NULL);
    control->socket.fd = control->socket.lock = -1;
    if (path[0])
        control_socket_open(&control->socket, path);
    /* Without a socket nobody asks, and nothing is counted or kept. */
    if (control->socket.fd < 0)
        return control;
    control->events = event_list_new(&server->shared->events, server->loop, on_news, control);
    control->probes = loop_probes_new(server->loop, server->owners, server->owner_count);
    loop_io_add(server->loop, &control->listener, control->socket.fd, EPOLLIN, on_listener);
    return control;
}

void control_stop(struct control *control)
{
    struct loop *loop = control->server->loop;
    struct control_request *request, *next_request;
    struct control_client *client, *next_client;
    loop_io_del(loop, &control->listener);
    loop_timer_disarm(loop, &control->rest);
    control_socket_close(&control->socket);
    /* Before the clients: none is to begin anything more. */
    control->lists.waiting = NULL;
    DL_FOREACH_SAFE(control->requests, request, next_request)
    {
        control_request_abandon(request);
    }
    DL_FOREACH_SAFE(control->clients, client, next_client)
    {
        control_client_close(client);
    }
    control_lists_end(control);
    if (control->events)
        event_list_free(control->events);
    if (control->probes)
        loop_probes_free(control->probes);
    free(control);
}
