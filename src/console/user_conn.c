#include "user_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

enum { PIECES = 64 }; /* of one send; more follow when there is room */

static void on_io(struct loop_io *io, uint32_t events);

/* Takes the first notice off the list. */
static void drop_notice(struct user_conn *user)
{
    struct user_notice *first = user->notices;
    DL_DELETE(user->notices, first);
    user->notice_count--;
    free(first);
}

void user_conn_close(struct user_conn *user)
{
    struct console *console = user->console;
    struct loop *loop = console->owner->loop;
    if (user->state == USER_CLOSED)
        return;
    loop_io_close(loop, &user->io);
    loop_timer_disarm(loop, &user->timer);
    if (user->lagging)
        console->lagging--;
    user->state = USER_CLOSED;
    console_user_left(console, user);
    admission_give(&console->owner->shared->admission, ADMISSION_USER);
    telnet_stream_free(user->telnet);
    while (user->notices)
        drop_notice(user);
    bytes_clear(&user->control);
    bytes_clear(&user->held);
    loop_free_later(loop, user);
}

/* Closes the user, with the reason in the log. */
static void close_for(struct user_conn *user, const char *why)
{
    char peer[SOCK_TEXT];
    sock_addr_format(&user->peer, peer);
    log_info("User disconnected: %s vm=%s peer=%s", why,
             quote(user->console->name, user->console->name_len).s, peer);
    user_conn_close(user);
}

/* The user's stream in the order in which it is sent: what it owes, then replies and notices, then what was
 * skipped, then output. */
struct outgoing {
    struct iovec piece[PIECES];
    uint8_t kind[PIECES]; /* enum piece_kind */
    int len;
    char skipped[64]; /* the line of PIECE_SKIPPED */
};

enum piece_kind {
    PIECE_OUTPUT,
    PIECE_ESCAPE, /* the second 255 of a pair */
    PIECE_CONTROL,
    PIECE_SKIPPED
};

static void put_piece(struct outgoing *out, enum piece_kind kind, const void *data, size_t len)
{
    out->piece[out->len] = (struct iovec){(void *)(uintptr_t)data, len};
    out->kind[out->len++] = (uint8_t)kind;
}

static const uint8_t escape_byte = TN_IAC;

/* Output for a telnet user: each 255 is followed by another. */
static void put_escaped(struct outgoing *out, const uint8_t *data, size_t len)
{
    while (len && out->len <= PIECES - 2) {
        const uint8_t *iac = memchr(data, TN_IAC, len);
        size_t run = iac ? (size_t)(iac - data) + 1 : len;
        put_piece(out, PIECE_OUTPUT, data, run);
        if (iac)
            put_piece(out, PIECE_ESCAPE, &escape_byte, 1);
        data += run;
        len -= run;
    }
}

static bool sends_output(const struct user_conn *user)
{
    return user->state != USER_UNDECIDED;
}

/* Notices that all output before them has been sent for go with the replies. */
static void release_notices(struct user_conn *user)
{
    while (user->notices && user->notices->at <= user->cursor) {
        bytes_put(&user->control, user->notices->line, user->notices->len);
        drop_notice(user);
    }
}

/* Everything the user is to be sent next, as far as it fits. */
static void gather(struct user_conn *user, struct outgoing *out)
{
    const struct ring *ring = &user->console->ring;
    struct iovec data[2];
    out->len = 0;
    release_notices(user);
    if (user->owes_escape)
        put_piece(out, PIECE_ESCAPE, &escape_byte, 1);
    if (user->control.len)
        put_piece(out, PIECE_CONTROL, bytes_at(&user->control), user->control.len);
    if (!sends_output(user))
        return;
    if (user->skipped) {
        int len = snprintf(out->skipped, sizeof out->skipped, "\r\n[vspc: %llu bytes skipped]\r\n",
                           (unsigned long long)user->skipped);
        put_piece(out, PIECE_SKIPPED, out->skipped, (size_t)len);
    }
    int pieces = ring_read(ring, user->cursor, user->notices ? user->notices->at : ring->end, data);
    for (int i = 0; i < pieces; i++) {
        if (user->state == USER_TELNET)
            put_escaped(out, data[i].iov_base, data[i].iov_len);
        else
            put_piece(out, PIECE_OUTPUT, data[i].iov_base, data[i].iov_len);
    }
}

/* The socket took n bytes of what was gathered. */
static void sent(struct user_conn *user, const struct outgoing *out, size_t n)
{
    for (int i = 0; i < out->len && n; i++) {
        size_t len = out->piece[i].iov_len;
        size_t taken = n < len ? n : len;
        n -= taken;
        switch ((enum piece_kind)out->kind[i]) {
        case PIECE_OUTPUT:
            user->cursor += taken;
            /* Only a piece that ends in a 255 is followed by an escape. */
            user->owes_escape = taken == len && i + 1 < out->len && out->kind[i + 1] == PIECE_ESCAPE;
            break;
        case PIECE_ESCAPE:
            user->owes_escape = false;
            break;
        case PIECE_CONTROL:
            bytes_drop(&user->control, taken);
            break;
        case PIECE_SKIPPED:
            /* However long the socket took nothing, it is one line; from now on its number stands. */
            user->skipped = 0;
            bytes_put(&user->control, out->skipped + taken, len - taken);
            break;
        }
    }
}

void user_conn_reply(struct user_conn *user, const void *data, size_t len)
{
    bytes_put(&user->control, data, len);
}

/* Whether everything the user may have now has been sent. */
static bool is_up_to_date(const struct user_conn *user)
{
    return !user->owes_escape && !user->control.len && !user->skipped && !user->notices &&
           (!sends_output(user) || user->cursor == user->console->ring.end);
}

static void set_lagging(struct user_conn *user)
{
    /* One that waits to send something else is not flushed when output comes, and its cursor stays behind. */
    bool lagging = user->cursor != user->console->ring.end || user->owes_escape || user->control.len;
    if (lagging != user->lagging)
        user->console->lagging += lagging ? 1 : (unsigned)-1;
    user->lagging = lagging;
}

void user_conn_set_interest(struct user_conn *user)
{
    struct loop *loop = user->console->owner->loop;
    bool reads = !user->console->users_paused && user->held.len <= USER_HELD_MAX;
    /* A hang-up that was seen while the user is not read would be reported again and again. */
    uint32_t events = reads ? EPOLLIN : user->hung_up_ms ? 0 : EPOLLRDHUP;
    if (!is_up_to_date(user))
        events |= EPOLLOUT;
    loop_io_set(user->console->owner->loop, &user->io, events);
    set_lagging(user);
}

void user_conn_flush(struct user_conn *user)
{
    struct outgoing out;
    if (user->state == USER_CLOSED)
        return;
    for (;;) {
        if (user->deaf)
            set_deaf(user);
        gather(user, &out);
        if (out.len == 0)
            break;
        struct msghdr message = {.msg_iov = out.piece, .msg_iovlen = (size_t)out.len};
        ssize_t n = sendmsg(user->io.fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            /* Reading finds out too, behind what the user typed before. */
            user->deaf = true;
            continue;
        }
        size_t wanted = 0;
        for (int i = 0; i < out.len; i++)
            wanted += out.piece[i].iov_len;
        if (n > 0)
            sent(user, &out, (size_t)n);
        if (n < (ssize_t)wanted)
            break;
    }
    user_conn_set_interest(user);
}

void user_conn_make_room(struct user_conn *user, size_t n)
{
    const struct config *config = user->console->owner->config;
    uint64_t end = user->console->ring.end;
    if (end - user->cursor + n <= config->user.backlog)
        return;
    user_conn_flush(user);
    if (user->state == USER_CLOSED || end - user->cursor + n <= config->user.backlog || user->cursor == end)
        return;
    if (user->state == USER_RAW || user->state == USER_SILENT) {
        close_for(user, "it does not read, and raw users cannot be told of skipped bytes");
        return;
    }
    size_t kept = config->user.scrollback ? config->user.scrollback : config->user.backlog / 2;
    kept = kept > n ? kept - n : 0;
    if (end - user->cursor <= kept)
        return;
    uint64_t to = end - kept;
    /* One that is undecided waits for us; it is as if it had come later. */
    if (user->state == USER_TELNET)
        user->skipped += to - user->cursor;
    user->cursor = to;
    set_lagging(user);
}

void user_conn_notice(struct user_conn *user, const char *text)
{
    if (user->state != USER_TELNET || user->notice_count >= USER_NOTICES_MAX)
        return;
    size_t len = strlen(text) + strlen("\r\n[vspc: ]\r\n");
    struct user_notice *notice = xmalloc(sizeof *notice + len + 1);
    notice->at = user->console->ring.end;
    notice->len = len;
    snprintf(notice->line, len + 1, "\r\n[vspc: %s]\r\n", text);
    DL_APPEND(user->notices, notice);
    user->notice_count++;
}

static void on_idle(struct loop_timer *timer)
{
    struct user_conn *user = container_of(timer, struct user_conn, timer);
    uint64_t idle = loop_now(user->console->owner->loop) - user->last_input_ms;
    if (idle >= user->console->owner->config->user.idle_timeout)
        close_for(user, "idle_timeout");
    else
        user_conn_arm_idle(user);
}

void user_conn_arm_idle(struct user_conn *user)
{
    struct loop *loop = user->console->owner->loop;
    uint64_t timeout = user->console->owner->config->user.idle_timeout;
    if (user->state == USER_UNDECIDED || user->hung_up_ms || user->held.len)
        return;
    loop_timer_disarm(loop, &user->timer);
    if (!timeout)
        return;
    uint64_t idle = loop_now(loop) - user->last_input_ms;
    loop_timer_arm(loop, &user->timer, idle < timeout ? timeout - idle : 0, on_idle);
}

/* What remains after a user was given input, or time: input goes to the VM, replies to the user. */
static void finish_input(struct user_conn *user, int err)
{
    struct console *console = user->console;
    if (err == 0 && user->control.len > USER_REPLIES_MAX) {
        user->error = "it does not read the answers to its telnet commands";
        err = -EPROTO;
    }
    if (err)
        close_for(user, user->error);
    console_flush_input(console);
    if (!err)
        user_conn_flush(user);
}

static void read_user(struct user_conn *user);

static void on_decide(struct loop_timer *timer)
{
    struct user_conn *user = container_of(timer, struct user_conn, timer);
    /* What came in time counts, however late this thread comes to read it. */
    if (user->state != USER_RAW && user->io.events & EPOLLIN)
        read_user(user);
    if (user->state == USER_CLOSED || user->state == USER_TELNET)
        return;
    user_input_decide(user);
    user_conn_arm_idle(user);
    finish_input(user, 0);
}

static void on_hangup_over(struct loop_timer *timer)
{
    user_conn_close(container_of(timer, struct user_conn, timer));
}

/* The user hung up while it is not read. What it typed may still go to the VM, if that reads again soon. */
static void on_hangup(struct user_conn *user, bool reset)
{
    struct loop *loop = user->console->owner->loop;
    int unread = 0;
    if (ioctl(user->io.fd, FIONREAD, &unread) < 0 || unread == 0) {
        user_conn_close(user);
        return;
    }
    if (!user->hung_up_ms) {
        user->hung_up_ms = loop_now(loop);
        loop_timer_arm(loop, &user->timer, USER_HANGUP_MS, on_hangup_over);
    }
    /* There is no way not to be told of a reset again and again. */
    if (reset)
        loop_io_del(loop, &user->io);
    user_conn_set_interest(user);
}

/* Nothing more will come: what still waited to be understood goes to the VM as it is. */
static void on_end(struct user_conn *user)
{
    struct console *console = user->console;
    if (user->held.len)
        user_input_end(user);
    user_conn_close(user);
    console_flush_input(console);
}

static void read_user(struct user_conn *user)
{
    struct console_owner *owner = user->console->owner;
    ssize_t n = recv(user->io.fd, owner->buffer, USER_READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        on_end(user);
        return;
    }
    user->last_input_ms = loop_now(owner->loop);
    enum user_state before = user->state;
    size_t held_before = user->held.len;
    int err = user_input(user, owner->buffer, (size_t)n);
    /* Silence is over, and the timer may have been for the rest of an answer. */
    if (before != user->state)
        user_conn_arm_idle(user);
    else if (user->state == USER_SILENT && user->held.len && !held_before)
        loop_timer_arm(owner->loop, &user->timer, USER_DECIDE_MS, on_decide);
    finish_input(user, err);
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct user_conn *user = container_of(io, struct user_conn, io);
    bool reads = user->io.events & EPOLLIN;
    bool reset = events & (EPOLLERR | EPOLLHUP);
    if (reads && events & ~(uint32_t)EPOLLOUT)
        read_user(user);
    else if ((reset || events & EPOLLRDHUP) && user->console->users_paused)
        on_hangup(user, reset);
    else if (reset || events & EPOLLRDHUP)
        on_decide(&user->timer);
    if (user->state != USER_CLOSED && events & EPOLLOUT)
        user_conn_flush(user);
}

void user_conn_new(struct console *console, int fd, const struct sock_addr *peer)
{
    char text[SOCK_TEXT];
    struct console_owner *owner = console->owner;
    struct user_conn *user = xcalloc(1, sizeof *user);
    user->console = console;
    user->peer = *peer;
    user->io.fd = fd;
    user->cursor = console_replay_from(console);
    user->last_input_ms = loop_now(owner->loop);
    sock_tune(fd, owner->config->user.keepalive);
    console_user_joined(console, user);
    user_input_begin(user, owner->config->user.telnet);
    if (loop_io_add(owner->loop, &user->io, fd, EPOLLIN, on_io) < 0) {
        user_conn_close(user);
        return;
    }
    if (user->state == USER_UNDECIDED)
        loop_timer_arm(owner->loop, &user->timer, USER_DECIDE_MS, on_decide);
    else
        user_conn_arm_idle(user);
    sock_addr_format(peer, text);
    log_info("User connected vm=%s port=%u peer=%s", quote(console->name, console->name_len).s, console->port,
             text);
    user_conn_flush(user);
}
