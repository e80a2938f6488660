#include "control/control_client.h"

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
    READ_AT_ONCE = 16384,
    STALLED_MS = 10000,
    STEPS_A_TURN = 4, /* requests or pieces of an answer, before others have their turn */
    TURN_MS = 5,      /* for all clients together, before the rest of the loop has its turn */
};

/* The one place that changes the state, and with it what is waited for. */
static void set_state(struct control_client *client, enum client_state state)
{
    client->state = state;
    loop_io_set(client->control->server->loop, &client->io, state == CLIENT_READING ? EPOLLIN : 0);
}

static void drop_source(struct control_client *client)
{
    if (client->source)
        client->source->free(client->source);
    client->source = NULL;
}

/* Frees what belongs to the client; its descriptor is closed, or somebody else's. */
static void end(struct control_client *client)
{
    struct loop *loop = client->control->server->loop;
    client->state = CLIENT_GONE;
    loop_timer_disarm(loop, &client->stalled);
    loop_timer_disarm(loop, &client->go_on);
    drop_source(client);
    if (client->request)
        control_request_forsake(client->request);
    client->request = NULL;
    bytes_clear(&client->in);
    bytes_clear(&client->out);
    control_client_left(client->control, client);
    loop_free_later(loop, client);
}

void control_client_close(struct control_client *client)
{
    if (client->state == CLIENT_GONE)
        return;
    /* Lent, it is the worker's to close. */
    if (client->io.fd >= 0)
        loop_io_close(client->control->server->loop, &client->io);
    end(client);
}

static void on_stalled(struct loop_timer *timer)
{
    control_client_close(container_of(timer, struct control_client, stalled));
}

static void on_go_on(struct loop_timer *timer)
{
    control_client_serve(container_of(timer, struct control_client, go_on));
}

/* Sends what waits and makes more of it, until all is sent, the socket is full or it is the others' turn.
 * Result: whether a step was done after which there may be another. */
static bool write_step(struct control_client *client)
{
    struct loop *loop = client->control->server->loop;
    if (client->out.len == 0) {
        enum source_state state =
            client->source ? client->source->next(client->source, &client->out) : SOURCE_END;
        if (state == SOURCE_END)
            drop_source(client);
        if (client->out.len == 0) {
            loop_timer_disarm(loop, &client->stalled);
            set_state(client, client->source ? CLIENT_FOLLOWING : CLIENT_READING);
            if (client->is_last && !client->source)
                control_client_close(client);
            return client->state == CLIENT_READING;
        }
    }
    struct iovec piece = {.iov_base = bytes_at(&client->out), .iov_len = client->out.len};
    ssize_t n = sock_send(client->io.fd, &piece, 1);
    if (n < 0) {
        control_client_close(client);
        return false;
    }
    bytes_drop(&client->out, (size_t)n);
    if (n > 0 || !client->stalled.slot)
        loop_timer_arm(loop, &client->stalled, STALLED_MS, on_stalled);
    if (client->out.len)
        loop_io_set(loop, &client->io, EPOLLOUT);
    return client->out.len == 0;
}

/* Takes the next line, if a whole one is here. Result: whether it was. */
static bool take_line(struct control_client *client)
{
    const char *from = (const char *)bytes_at(&client->in);
    size_t fresh = client->in.len - client->searched;
    const char *newline = fresh ? memchr(from + client->searched, '\n', fresh) : NULL;
    size_t len = newline ? (size_t)(newline - from) : client->in.len;
    if (len > CLIENT_LINE_MAX) {
        set_state(client, CLIENT_BUSY);
        control_request_too_long(client);
        return true;
    }
    client->searched = newline ? 0 : len;
    if (!newline)
        return false;
    set_state(client, CLIENT_BUSY);
    char *line = xmemdup0(from, len);
    bytes_drop(&client->in, len + 1);
    control_request_begin(client, line, len);
    free(line);
    return true;
}

static bool step(struct control_client *client)
{
    if (client->state == CLIENT_WRITING)
        return write_step(client);
    if (client->state != CLIENT_READING)
        return false;
    if (take_line(client))
        return true;
    if (client->has_ended)
        control_client_close(client);
    return false;
}

void control_client_serve(struct control_client *client)
{
    struct loop *loop = client->control->server->loop;
    if (client->serving)
        return;
    if (client->state == CLIENT_FOLLOWING)
        set_state(client, CLIENT_WRITING);
    client->serving = true;
    int steps = STEPS_A_TURN;
    bool goes_on = true;
    while (goes_on && steps-- > 0 && clock_ms() - loop_now(loop) < TURN_MS)
        goes_on = step(client);
    client->serving = false;
    if (goes_on && client->state != CLIENT_GONE)
        loop_timer_arm(loop, &client->go_on, 0, on_go_on);
}

static void read_some(struct control_client *client)
{
    uint8_t buffer[READ_AT_ONCE];
    size_t room = CLIENT_LINE_MAX + 1 - client->in.len;
    ssize_t n = recv(client->io.fd, buffer, room < sizeof buffer ? room : sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        control_client_close(client);
        return;
    }
    client->has_ended = n == 0;
    bytes_put(&client->in, buffer, (size_t)n);
    control_client_serve(client);
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct control_client *client = container_of(io, struct control_client, io);
    /* Its turn comes, with what is here already. */
    if (client->go_on.slot)
        return;
    /* A half-closed client still gets its answers; one that is gone altogether may have left a request. */
    if (client->state == CLIENT_READING)
        read_some(client);
    else if (events & (EPOLLHUP | EPOLLERR))
        control_client_close(client);
    else
        control_client_serve(client);
}

void control_client_new(struct control *control, int fd, bool in_reserve)
{
    struct control_client *client = xcalloc(1, sizeof *client);
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t len = sizeof cred;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
    client->control = control;
    client->in_reserve = in_reserve;
    client->peer.uid = cred.uid;
    client->peer.pid = cred.pid;
    DL_APPEND(control->clients, client);
    control->client_count++;
    if (loop_io_add(control->server->loop, &client->io, fd, EPOLLIN, on_io) < 0) {
        close(fd);
        client->io.fd = -1;
        end(client);
    }
}

void control_client_answer(struct control_client *client, const void *line, size_t len,
                           struct control_source *source)
{
    bytes_put(&client->out, line, len);
    client->source = source;
    client->request = NULL;
    set_state(client, CLIENT_WRITING);
}

void control_client_end(struct control_client *client)
{
    client->is_last = true;
}

int control_client_lend(struct control_client *client, struct bytes *in)
{
    int fd = client->io.fd;
    loop_io_del(client->control->server->loop, &client->io);
    client->io.fd = -1;
    *in = client->in;
    client->in = (struct bytes){0};
    client->searched = 0;
    return fd;
}

void control_client_give_back(struct control_client *client, int fd, struct bytes *in)
{
    client->in = *in;
    *in = (struct bytes){0};
    if (loop_io_add(client->control->server->loop, &client->io, fd, 0, on_io) < 0) {
        close(fd);
        client->io.fd = -1;
        control_client_close(client);
    }
}

void control_client_kept(struct control_client *client)
{
    end(client);
}
