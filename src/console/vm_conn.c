#include "vm_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

enum {
    EARLY_MAX = 4096,     /* serial data kept from before identification */
    OUT_MAX = 65536,      /* replies that a VM may leave unread */
    REFUSED_MS = 1000,    /* between WONT-PROXY and the close */
    DRAIN_MAX = 512,      /* reads of READ_SIZE from a connection that is being replaced */
    READS_AT_TIMEOUT = 4, /* pending input that is looked at before a timeout counts */
};

/* What became of a connection that was given input. */
enum outcome {
    GOES_ON,
    ENDED,  /* hang-up, error, or protocol error: conn->error tells */
    MOVED,  /* to another worker, or closed: not ours to touch any more */
    NOTHING /* there was no input */
};

static void early_put(struct vm_conn *conn, const uint8_t *data, size_t len)
{
    if (len > EARLY_MAX) {
        conn->early_dropped += (uint32_t)(len - EARLY_MAX);
        data += len - EARLY_MAX;
        len = EARLY_MAX;
    }
    if (conn->early.len + len > EARLY_MAX) {
        size_t drop = conn->early.len + len - EARLY_MAX;
        conn->early_dropped += (uint32_t)drop;
        bytes_drop(&conn->early, drop);
    }
    bytes_put(&conn->early, data, len);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct vm_conn *conn = arg;
    if (conn->state == VM_ATTACHED)
        console_output(conn->console, data, len);
    else if (conn->state == VM_HANDSHAKE)
        early_put(conn, data, len);
}

static void on_command(void *arg, uint8_t command)
{
    (void)arg;
    (void)command;
}

static void on_peer_option(void *arg, uint8_t option, bool enabled)
{
    struct vm_conn *conn = arg;
    if (option == TN_OPT_VMWARE && enabled)
        vmext_agreed(&conn->ext, &conn->out);
}

static void on_subnegotiation(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    struct vm_conn *conn = arg;
    const char *why = NULL;
    if (option != TN_OPT_VMWARE || !conn->ext.asked || conn->state == VM_REFUSED)
        return;
    switch (vmext_receive(&conn->ext, conn->owner->config->vm.service_uri, data, len, &conn->out, &why)) {
    case VMEXT_RENAMED:
        conn->renamed = true;
        break;
    case VMEXT_LATE_UUID:
        log_info("VM told its UUID after it was identified by name, ignored vm=%s port=%u",
                 quote(conn->ext.name, conn->ext.name_len).s, conn->console->port);
        break;
    case VMEXT_REFUSED:
        conn->refusal = why;
        break;
    case VMEXT_ERROR:
        conn->error = why;
        break;
    case VMEXT_NEWS:
    case VMEXT_NOTHING:
        break;
    }
}

static void on_send(void *arg, const uint8_t *data, size_t len)
{
    struct vm_conn *conn = arg;
    bytes_put(&conn->out, data, len);
}

static const struct telnet_handler handler = {on_data, on_command, on_peer_option, on_subnegotiation,
                                              on_send};

void vm_conn_close(struct vm_conn *conn)
{
    struct console_owner *owner = conn->owner;
    if (conn->state == VM_CLOSED)
        return;
    if (conn->state == VM_HANDSHAKE || conn->state == VM_REFUSED)
        DL_DELETE(owner->handshaking, conn);
    loop_io_close(owner->loop, &conn->io);
    loop_timer_disarm(owner->loop, &conn->timer);
    admission_give(&owner->shared->admission, conn->descriptors);
    telnet_stream_free(conn->telnet);
    vmext_clear(&conn->ext);
    bytes_clear(&conn->out);
    bytes_clear(&conn->early);
    bytes_clear(&conn->unread);
    conn->state = VM_CLOSED;
    loop_free_later(owner->loop, conn);
}

/* Closes a connection without a console, with a line in the log that says why. */
static void close_failed(struct vm_conn *conn, const char *why)
{
    char peer[SOCK_TEXT];
    unsigned suppressed;
    if (log_rate_allows(&conn->owner->failures, loop_now(conn->owner->loop), &suppressed)) {
        sock_addr_format(&conn->peer, peer);
        log_warning("VM connection closed: %s peer=%s not_logged_before=%u", why, peer, suppressed);
    }
    vm_conn_close(conn);
}

/* The connection is over: by hang-up, or by conn->error. */
static void conn_ended(struct vm_conn *conn)
{
    struct console *console = conn->console;
    if (console) {
        conn->console = NULL;
        console_vm_lost(console);
    }
    if (conn->error)
        close_failed(conn, conn->error);
    else
        vm_conn_close(conn);
}

/* The VM asked for what it may not have: it gets the answer, a second to read it, and is closed. */
static void on_refused_over(struct loop_timer *timer)
{
    vm_conn_close(container_of(timer, struct vm_conn, timer));
}

static void refuse(struct vm_conn *conn)
{
    char peer[SOCK_TEXT];
    sock_addr_format(&conn->peer, peer);
    if (peer_rate_allows(&conn->owner->shared->refusals, &conn->peer, loop_now(conn->owner->loop)))
        log_warning("VM refused: %s vm=%s peer=%s", conn->refusal,
                    quote(conn->ext.name, conn->ext.name_len).s, peer);
    conn->state = VM_REFUSED;
    bytes_clear(&conn->early);
    loop_timer_arm(conn->owner->loop, &conn->timer, REFUSED_MS, on_refused_over);
}

/* A TLS client begins with 16 03; it would wait for us for ever. */
static bool is_tls(struct vm_conn *conn, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len && conn->first_len < sizeof conn->first; i++)
        conn->first[conn->first_len++] = data[i];
    return conn->first_len == 2 && conn->first[0] == 0x16 && conn->first[1] == 0x03;
}

static enum outcome vm_conn_take(struct vm_conn *conn, const uint8_t *data, size_t len);
static void on_io(struct loop_io *io, uint32_t events);
static void finish(struct vm_conn *conn, enum outcome outcome);

/* Attaches a connection that is with its console's worker, and delivers what it has brought. */
static enum outcome attach(struct vm_conn *conn, struct directory_entry *entry, const uint8_t *rest,
                           size_t len)
{
    struct console *console = entry->console;
    if (!console)
        console = console_new(conn->owner, entry);
    conn->ext.identified = true;
    if (!console_attach(console, conn))
        return MOVED;
    loop_timer_disarm(conn->owner->loop, &conn->timer);
    if (conn->early_dropped)
        log_info("Serial data from before identification was dropped vm=%s bytes=%u",
                 quote(conn->ext.name, conn->ext.name_len).s, conn->early_dropped);
    console_make_room(console, conn->early.len + len);
    console_output(console, bytes_at(&conn->early), conn->early.len);
    bytes_clear(&conn->early);
    return vm_conn_take(conn, rest, len);
}

/* Letter: a connection has arrived at its console's worker. */
static void on_arrived(void *arg)
{
    struct vm_conn *conn = arg;
    struct directory_entry *entry = conn->entry;
    struct console_owner *owner = entry->owner;
    conn->owner = owner;
    directory_unpin(owner->shared->directory, entry);
    if (owner->closing || loop_io_add(owner->loop, &conn->io, conn->io.fd, EPOLLIN | EPOLLRDHUP, on_io) < 0) {
        if (!entry->console)
            directory_release(owner->shared->directory, entry);
        vm_conn_close(conn);
        return;
    }
    struct bytes unread = conn->unread;
    conn->unread = (struct bytes){0};
    enum outcome outcome = attach(conn, entry, unread.len ? bytes_at(&unread) : NULL, unread.len);
    bytes_clear(&unread);
    finish(conn, outcome);
}

/* Sends the connection, with what is read but not parsed, to the worker that owns its console. */
static void move_away(struct vm_conn *conn, struct directory_entry *entry, const uint8_t *rest, size_t len)
{
    struct console_owner *target = entry->owner;
    vm_conn_flush(conn);
    loop_io_del(conn->owner->loop, &conn->io);
    loop_timer_disarm(conn->owner->loop, &conn->timer);
    DL_DELETE(conn->owner->handshaking, conn);
    bytes_put(&conn->unread, rest, len);
    conn->entry = entry;
    conn->state = VM_MOVING;
    loop_post(target->loop, on_arrived, conn);
}

static enum outcome identified(struct vm_conn *conn, const uint8_t *rest, size_t len)
{
    size_t identity_len;
    struct directory_entry *entry;
    char *identity = vmext_identity(&conn->ext, &identity_len);
    enum directory_claim claim =
        directory_claim(conn->owner->shared->directory, identity, identity_len, conn->owner, &entry);
    free(identity);
    if (claim == DIRECTORY_THEIRS) {
        move_away(conn, entry, rest, len);
        return MOVED;
    }
    return attach(conn, entry, rest, len);
}

static void on_time(struct loop_timer *timer);

static uint64_t deadline(const struct vm_conn *conn)
{
    return conn->since_ms + conn->owner->config->vm.handshake_timeout;
}

/* Arms the timer for whatever comes first. */
static void arm_timer(struct vm_conn *conn, uint64_t now)
{
    uint64_t due = deadline(conn);
    if (conn->settle_ms > now && conn->settle_ms < due)
        due = conn->settle_ms;
    if (conn->timer.slot && conn->timer.due_ms == due)
        return;
    loop_timer_arm(conn->owner->loop, &conn->timer, due > now ? due - now : 0, on_time);
}

/* Who is it, at that time? rest is what was read behind the message that may have decided. */
static enum outcome consider(struct vm_conn *conn, enum vmext_time time, const uint8_t *rest, size_t len)
{
    switch (vmext_judge(&conn->ext, conn->owner->config->vm.service_uri, time)) {
    case VMEXT_IDENTIFIED:
        return identified(conn, rest, len);
    case VMEXT_NO_ANSWER:
        log_warning("VM never told the UUID that it had promised, served by its name vm=%s",
                    quote(conn->ext.name, conn->ext.name_len).s);
        return identified(conn, rest, len);
    case VMEXT_NAMELESS:
        conn->error = "an empty name and no UUID";
        return ENDED;
    case VMEXT_NEVER:
        conn->error = "it did not identify itself within handshake_timeout";
        return ENDED;
    case VMEXT_WAIT:
        break;
    }
    return GOES_ON;
}

/* After each message of a connection that has no console. */
static enum outcome after_message(struct vm_conn *conn, const uint8_t *rest, size_t len)
{
    if (conn->ext.name && !conn->settle_ms) {
        uint64_t now = loop_now(conn->owner->loop);
        conn->settle_ms = now + VMEXT_SETTLE_MS;
        arm_timer(conn, now);
    }
    return consider(conn, VMEXT_EARLY, rest, len);
}

/* Parses and acts on bytes from the VM, one message at a time. What follows the message that identified it
 * has been taken when after_message returns. */
static enum outcome vm_conn_take(struct vm_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->state == VM_HANDSHAKE && is_tls(conn, data, len)) {
        conn->error =
            "a TLS client on the telnet port, set the serial port's vSPC URI to telnet://, not telnets://";
        return ENDED;
    }
    while (len && conn->state != VM_REFUSED) {
        size_t used;
        const char *why;
        if (telnet_stream_feed(conn->telnet, data, len, &used, &why) < 0)
            conn->error = why;
        if (!conn->error && conn->out.len > OUT_MAX)
            conn->error = "it does not read the answers to its telnet commands";
        if (conn->error)
            return ENDED;
        data += used;
        len -= used;
        if (conn->refusal) {
            refuse(conn);
        } else if (conn->state == VM_HANDSHAKE) {
            enum outcome outcome = after_message(conn, data, len);
            if (outcome != GOES_ON || conn->state != VM_HANDSHAKE)
                return outcome;
        }
    }
    /* Once for all that was read: a VM that sends names without end must not fill the Redis writer's queue.
     */
    if (conn->renamed) {
        conn->renamed = false;
        console_renamed(conn->console);
    }
    return GOES_ON;
}

/* One read and all that follows from it. */
static enum outcome read_some(struct vm_conn *conn, uint8_t *buffer)
{
    ssize_t n = recv(conn->io.fd, buffer, READ_SIZE, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? NOTHING : ENDED;
    if (n == 0)
        return ENDED;
    if (conn->state != VM_ATTACHED)
        return vm_conn_take(conn, buffer, (size_t)n);
    console_make_room(conn->console, (size_t)n);
    return vm_conn_take(conn, buffer, (size_t)n);
}

/* What is left to do after a connection was given input or time. */
static void finish(struct vm_conn *conn, enum outcome outcome)
{
    if (outcome == MOVED)
        return;
    if (conn->console)
        console_flush_users(conn->console);
    if (outcome == ENDED)
        conn_ended(conn);
    else
        vm_conn_flush(conn);
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct vm_conn *conn = container_of(io, struct vm_conn, io);
    enum outcome outcome = NOTHING;
    if (events & ~(uint32_t)EPOLLOUT)
        outcome = read_some(conn, conn->owner->buffer);
    finish(conn, outcome);
}

static void on_time(struct loop_timer *timer)
{
    struct vm_conn *conn = container_of(timer, struct vm_conn, timer);
    enum outcome outcome = GOES_ON;
    for (int i = 0; i < READS_AT_TIMEOUT && outcome == GOES_ON && conn->state == VM_HANDSHAKE; i++)
        outcome = read_some(conn, conn->owner->buffer);
    if ((outcome == GOES_ON || outcome == NOTHING) && conn->state == VM_HANDSHAKE) {
        uint64_t now = loop_now(conn->owner->loop);
        bool settled = conn->settle_ms && now >= conn->settle_ms;
        enum vmext_time time = settled ? VMEXT_SETTLED : VMEXT_EARLY;
        if (now >= deadline(conn))
            time = settled ? VMEXT_DEADLINE : VMEXT_EARLY_DEADLINE;
        outcome = consider(conn, time, NULL, 0);
        if (outcome == GOES_ON && conn->state == VM_HANDSHAKE)
            arm_timer(conn, now);
    }
    finish(conn, outcome);
}

bool vm_conn_drain(struct vm_conn *conn)
{
    enum outcome outcome = GOES_ON;
    uint8_t *buffer = xmalloc(READ_SIZE); /* the owner's holds what the newcomer has brought */
    for (int i = 0; i < DRAIN_MAX && outcome == GOES_ON; i++) {
        outcome = read_some(conn, buffer);
        console_flush_users(conn->console);
    }
    free(buffer);
    return outcome != ENDED;
}

void vm_conn_new(struct console_owner *owner, int fd, const struct sock_addr *peer, uint64_t number)
{
    struct vm_conn *conn = xcalloc(1, sizeof *conn);
    uint64_t now = loop_now(owner->loop);
    conn->owner = owner;
    conn->number = number;
    conn->peer = *peer;
    conn->descriptors = ADMISSION_VM;
    conn->io.fd = fd;
    conn->telnet = telnet_stream_new(TELNET_SIDE_VM, &handler, conn);
    conn->since_ms = now;
    DL_APPEND(owner->handshaking, conn);
    if (loop_io_add(owner->loop, &conn->io, fd, EPOLLIN | EPOLLRDHUP, on_io) < 0) {
        vm_conn_close(conn);
        return;
    }
    arm_timer(conn, now);
    telnet_stream_greet(conn->telnet);
    vm_conn_flush(conn);
}

void vm_conn_reload(struct vm_conn *conn)
{
    sock_set_keepalive(conn->io.fd, conn->owner->config->vm.keepalive);
    if (conn->state == VM_HANDSHAKE)
        arm_timer(conn, loop_now(conn->owner->loop));
}

/* What is to be sent now: replies and input, in the order in which they may go. Replies never split an escape
 * of the input: its second byte goes first. Result: the number of pieces. */
static int gather(const struct vm_conn *conn, struct iovec piece[3])
{
    int n = 0;
    size_t first = 0;
    struct console *console = conn->console;
    if (console && console->input_mid_escape && console->input.len) {
        piece[n++] = (struct iovec){bytes_at(&console->input), 1};
        first = 1;
    }
    if (conn->out.len)
        piece[n++] = (struct iovec){bytes_at(&conn->out), conn->out.len};
    if (console && console->input.len > first)
        piece[n++] = (struct iovec){bytes_at(&console->input) + first, console->input.len - first};
    return n;
}

/* The VM has taken n bytes of the console's input. */
static size_t input_sent(struct console *console, size_t n)
{
    const uint8_t *data = bytes_at(&console->input);
    for (size_t i = 0; i < n; i++)
        console->input_mid_escape = !console->input_mid_escape && data[i] == TN_IAC;
    bytes_drop(&console->input, n);
    return n;
}

static void sent(struct vm_conn *conn, size_t n)
{
    struct console *console = conn->console;
    if (n && console && console->input_mid_escape)
        n -= input_sent(console, 1);
    size_t replies = n < conn->out.len ? n : conn->out.len;
    bytes_drop(&conn->out, replies);
    if (n > replies)
        input_sent(console, n - replies);
}

void vm_conn_flush(struct vm_conn *conn)
{
    struct iovec piece[3];
    struct msghdr message = {.msg_iov = piece};
    if (conn->state == VM_CLOSED || conn->state == VM_MOVING)
        return;
    uint32_t events = EPOLLIN | EPOLLRDHUP;
    int pieces = gather(conn, piece);
    if (pieces) {
        message.msg_iovlen = (size_t)pieces;
        ssize_t n = sendmsg(conn->io.fd, &message, MSG_NOSIGNAL);
        if (n > 0)
            sent(conn, (size_t)n);
        /* Another error than a full socket shows as an event, and reading finds out. */
        if (n >= 0 || errno == EAGAIN || errno == EINTR)
            events |= gather(conn, piece) ? (uint32_t)EPOLLOUT : 0;
        if (conn->console)
            console_input_taken(conn->console);
    }
    loop_io_set(conn->owner->loop, &conn->io, events);
}
