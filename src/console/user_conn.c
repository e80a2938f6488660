#include "user_conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "access.h"
#include "console_event.h"
#include "migration.h"
#include "user_control.h"

static void on_io(struct loop_io *io, uint32_t events);

void user_conn_close(struct user_conn *user)
{
    struct console *console = user->console;
    struct loop *loop = console->owner->loop;
    if (user->state == USER_CLOSED)
        return;
    loop_io_close(loop, &user->io);
    loop_timer_disarm(loop, &user->timer);
    user->state = USER_CLOSED;
    console_user_left(console, user);
    admission_give(&console->owner->shared->admission, ADMISSION_USER);
    telnet_stream_free(user->telnet);
    user_output_clear(user);
    user_control_free(user->attached);
    bytes_clear(&user->held);
    loop_free_later(loop, user);
}

void user_conn_who(const struct user_conn *user, char out[EVENT_WHO])
{
    if (user->attached)
        control_peer_who(&user->attached->peer, out);
    else
        sock_addr_format(&user->peer, out);
}

/* The user has come, or goes. why: "", or the reason. */
static void tell(const struct user_conn *user, enum event_type type, const char *sentence, const char *why)
{
    char who[EVENT_WHO], keys[sizeof(struct quoted) + 64], line[256];
    user_conn_who(user, who);
    if (user->attached)
        snprintf(keys, sizeof keys, " user=%s pid=%d", quote(who, strlen(who)).s,
                 (int)user->attached->peer.pid);
    else
        snprintf(keys, sizeof keys, " peer=%s", who);
    snprintf(line, sizeof line, "%s%s", sentence, why);
    console_event(user->console, &(struct console_event){
                                     .type = type,
                                     .rate = &user->console->owner->users,
                                     .sentence = line,
                                     .keys = keys,
                                     .who = who,
                                     .detail = why,
                                 });
}

void user_conn_close_for(struct user_conn *user, const char *why)
{
    tell(user, EVENT_USER_OUT, "User disconnected: ", why);
    user_conn_close(user);
}

void user_conn_set_interest(struct user_conn *user)
{
    struct loop *loop = user->console->owner->loop;
    /* An undecided one is read all the same, into what is held back: its answers decide what it is shown. */
    bool reads = !user->ended && (!user->console->users_paused || user->state == USER_UNDECIDED) &&
                 user->held.len <= USER_HELD_MAX;
    /* A hang-up that was seen while the user is not read would be reported again and again. */
    uint32_t events = reads ? EPOLLIN : user->hung_up_ms ? 0 : EPOLLRDHUP;
    if (!user_output_is_up_to_date(user))
        events |= EPOLLOUT;
    if (!user->io.fn && user->hung_up_ms && reads)
        loop_io_add(loop, &user->io, user->io.fd, events, on_io);
    loop_io_set(loop, &user->io, events);
}

static void on_idle(struct loop_timer *timer)
{
    struct user_conn *user = container_of(timer, struct user_conn, timer);
    uint64_t idle = loop_now(user->console->owner->loop) - user->last_input_ms;
    if (idle >= user->console->owner->config->user.idle_timeout)
        user_conn_close_for(user, "idle_timeout");
    else
        user_conn_arm_idle(user);
}

void user_conn_arm_idle(struct user_conn *user)
{
    struct loop *loop = user->console->owner->loop;
    uint64_t timeout = user->console->owner->config->user.idle_timeout;
    if (user->state == USER_UNDECIDED || user->hung_up_ms || user->held.len || user->attached)
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
        user_conn_close_for(user, user->error);
    console_flush_input(console);
    if (!err)
        user_output_flush(user);
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
    struct user_conn *user = container_of(timer, struct user_conn, timer);
    /* Between two hosts the VM is not to be blamed: what was typed, and who waits for the answer, waits as
     * long as the migration does. */
    if (migration_keeps_input(user->console))
        loop_timer_arm(user->console->owner->loop, timer, USER_HANGUP_MS, on_hangup_over);
    else
        user_conn_close_for(user, "it hung up");
}

/* The user will be closed in a while. */
static void begin_hangup(struct user_conn *user)
{
    struct loop *loop = user->console->owner->loop;
    if (user->hung_up_ms)
        return;
    user->hung_up_ms = loop_now(loop);
    loop_timer_arm(loop, &user->timer, USER_HANGUP_MS, on_hangup_over);
}

/* The user hung up while it is not read. What it typed may still go to the VM, if that reads again soon. */
static void on_hangup(struct user_conn *user, bool reset)
{
    struct loop *loop = user->console->owner->loop;
    int unread = 0;
    if (ioctl(user->io.fd, FIONREAD, &unread) < 0 || unread == 0) {
        user_conn_close_for(user, "it hung up");
        return;
    }
    begin_hangup(user);
    /* There is no way not to be told of a reset again and again. */
    if (reset)
        loop_io_del(loop, &user->io);
    user_conn_set_interest(user);
}

/* Nothing more will come: what still waited to be understood goes to the VM as it is. A raw user may have
 * ended only its own side, as scripts do with nc and socat, and wait for the answer. */
static void on_end(struct user_conn *user)
{
    struct console *console = user->console;
    user_input_end(user);
    if (user->state == USER_RAW && user->spoke && !user->deaf) {
        user->ended = true;
        begin_hangup(user);
        user_output_flush(user);
    } else {
        user_conn_close_for(user, "it hung up");
    }
    console_flush_input(console);
}

void user_conn_take(struct user_conn *user, const uint8_t *data, size_t len)
{
    struct console_owner *owner = user->console->owner;
    enum user_state before = user->state;
    size_t held_before = user->held.len;
    user->last_input_ms = loop_now(owner->loop);
    user->received_bytes += len;
    figure_add(&owner->figures, FIGURE_BYTES_FROM_USERS, len);
    int err = user_input(user, data, len);
    /* Silence is over, and the timer may have been for the rest of an answer. */
    if (before != user->state)
        user_conn_arm_idle(user);
    else if (user->state == USER_SILENT && user->held.len && !held_before)
        loop_timer_arm(owner->loop, &user->timer, USER_DECIDE_MS, on_decide);
    finish_input(user, err);
}

static void read_user(struct user_conn *user)
{
    struct console_owner *owner = user->console->owner;
    ssize_t n = recv(user->io.fd, owner->buffer, USER_READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        user->deaf = true;
    if (n <= 0)
        on_end(user);
    else
        user_conn_take(user, owner->buffer, (size_t)n);
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct user_conn *user = container_of(io, struct user_conn, io);
    bool reads = user->io.events & EPOLLIN;
    bool reset = events & (EPOLLERR | EPOLLHUP);
    if (user->ended && reset)
        user_conn_close_for(user, "it hung up");
    else if (reads && events & ~(uint32_t)EPOLLOUT)
        read_user(user);
    else if ((reset || events & EPOLLRDHUP) && user->console->users_paused)
        on_hangup(user, reset);
    else if (reset || events & EPOLLRDHUP)
        on_decide(&user->timer);
    if (user->state != USER_CLOSED && events & EPOLLOUT)
        user_output_flush(user);
}

int user_conn_start(struct user_conn *user, enum telnet_mode mode)
{
    struct console *console = user->console;
    struct console_owner *owner = console->owner;
    user->id = atomic_fetch_add_explicit(&owner->shared->users, 1, memory_order_relaxed) + 1;
    user->since = time(NULL);
    user->cursor = console_replay_from(console);
    user->last_input_ms = loop_now(owner->loop);
    figure_add(&owner->figures, FIGURE_USER_CONNECTIONS, 1);
    console_user_joined(console, user);
    if (!user->attached)
        access_begin(user);
    user_input_begin(user, mode);
    int err = loop_io_add(owner->loop, &user->io, user->io.fd, EPOLLIN, on_io);
    if (err) {
        user_conn_close(user);
        return err;
    }
    if (user->state == USER_UNDECIDED)
        loop_timer_arm(owner->loop, &user->timer, USER_DECIDE_MS, on_decide);
    else
        user_conn_arm_idle(user);
    tell(user, EVENT_USER_IN, "User connected", "");
    return 0;
}

void user_conn_new(struct console *console, int fd, const struct sock_addr *peer)
{
    struct user_conn *user = xcalloc(1, sizeof *user);
    user->console = console;
    user->peer = *peer;
    user->io.fd = fd;
    sock_tune(fd, console->owner->config->user.keepalive);
    if (user_conn_start(user, console->owner->config->user.telnet) == 0)
        user_output_flush(user);
}
