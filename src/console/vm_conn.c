#include "vm_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

#include "migration.h"

enum {
    EARLY_MAX = 4096,        /* serial data kept from before identification */
    EARLY_PEER_MAX = 262144, /* the same from a migration's destination, before COMPLETE */
    OUT_MAX = 65536,         /* replies that a VM may leave unread */
    DRAIN_MAX = 512,         /* reads of READ_SIZE from a connection that is being replaced */
};

static void early_put(struct vm_handshake *handshake, const uint8_t *data, size_t len)
{
    if (len > EARLY_MAX) {
        handshake->early_dropped += (uint32_t)(len - EARLY_MAX);
        data += len - EARLY_MAX;
        len = EARLY_MAX;
    }
    if (handshake->early.len + len > EARLY_MAX) {
        size_t drop = handshake->early.len + len - EARLY_MAX;
        handshake->early_dropped += (uint32_t)drop;
        bytes_drop(&handshake->early, drop);
    }
    bytes_put(&handshake->early, data, len);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct vm_conn *conn = arg;
    if (conn->state == VM_ATTACHED) {
        if (conn->console->migration)
            migration_source_spoke(conn->console);
        console_output(conn->console, data, len);
    } else if (conn->state == VM_HANDSHAKE) {
        early_put(conn->handshake, data, len);
    } else if (conn->state == VM_DESTINATION) {
        /* A VM that does not run there yet has little to say, but that is not to be lost. */
        struct bytes *early = &conn->handshake->early;
        if (early->len + len <= EARLY_PEER_MAX)
            bytes_put(early, data, len);
        else
            conn->error = "serial data without end from a migration's destination, before VMOTION-COMPLETE";
    }
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
        vm_conn_log(conn, &conn->owner->ignored, LOG_LEVEL_INFO,
                    "VM told a UUID too late to be identified by it, ignored");
        break;
    case VMEXT_REFUSED:
        conn->refusal = why;
        break;
    case VMEXT_ERROR:
        conn->error = why;
        break;
    case VMEXT_NEWS:
    case VMEXT_NOTHING:
    case VMEXT_REQUEST:
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

void vm_conn_log(const struct vm_conn *conn, struct log_rate *rate, enum log_level level, const char *what)
{
    char peer[SOCK_TEXT];
    unsigned suppressed;
    if (!log_rate_allows(rate, loop_now(conn->owner->loop), &suppressed))
        return;
    sock_addr_format(&conn->peer, peer);
    struct quoted name = conn->console && conn->console->name
                             ? quote(conn->console->name, conn->console->name_len)
                             : quote(conn->ext.name, conn->ext.name_len);
    log_line(level, "%s vm=%s peer=%s not_logged_before=%u", what, name.s, peer, suppressed);
}

void vm_conn_become_attached(struct vm_conn *conn)
{
    conn->state = VM_ATTACHED;
    figure_add(&conn->owner->figures, FIGURE_VMS, 1);
}

void vm_conn_close(struct vm_conn *conn)
{
    struct console_owner *owner = conn->owner;
    if (conn->state == VM_CLOSED)
        return;
    if (conn->state == VM_HANDSHAKE || conn->state == VM_REFUSED)
        vm_handshake_unlist(conn);
    if (conn->state == VM_ATTACHED)
        figure_sub(&owner->figures, FIGURE_VMS, 1);
    loop_io_close(owner->loop, &conn->io);
    vm_handshake_end(conn);
    admission_give(&owner->shared->admission, conn->descriptors);
    telnet_stream_free(conn->telnet);
    vmext_clear(&conn->ext);
    bytes_clear(&conn->out);
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

/* Counts a connection that ends before it is identified. */
static void count_failure(const struct vm_conn *conn)
{
    enum figure why = conn->handshake->failure;
    if (!why)
        why = conn->error ? FIGURE_HANDSHAKES_PROTOCOL : FIGURE_HANDSHAKES_HANGUP;
    figure_add(&conn->owner->figures, why, 1);
    if (!conn->error && log_wants(LOG_LEVEL_DEBUG)) {
        char peer[SOCK_TEXT];
        sock_addr_format(&conn->peer, peer);
        log_debug("VM connection closed by its host before it was identified peer=%s", peer);
    }
}

void vm_conn_end(struct vm_conn *conn)
{
    if (conn->state == VM_HANDSHAKE)
        count_failure(conn);
    if (conn->error)
        close_failed(conn, conn->error);
    else
        vm_conn_close(conn);
}

void vm_conn_hang_up(struct vm_conn *conn)
{
    struct console *console = conn->console;
    if (conn->state == VM_DESTINATION) {
        migration_destination_lost(conn);
    } else if (console) {
        conn->console = NULL;
        console_vm_lost(console);
    }
    vm_conn_end(conn);
}

/* A TLS client begins with 16 03; it would wait for us for ever. */
static bool is_tls(struct vm_handshake *handshake, const uint8_t *data, size_t len)
{
    uint8_t *first = handshake->first;
    for (size_t i = 0; i < len && handshake->first_len < sizeof handshake->first; i++)
        first[handshake->first_len++] = data[i];
    return handshake->first_len == 2 && first[0] == 0x16 && first[1] == 0x03;
}

void vm_conn_deliver_early(struct vm_conn *conn, size_t len)
{
    struct console *console = conn->console;
    const struct vm_handshake *handshake = conn->handshake;
    unsigned suppressed;
    if (handshake->early_dropped &&
        log_rate_allows(&conn->owner->failures, loop_now(conn->owner->loop), &suppressed))
        log_info("Serial data from before identification was dropped vm=%s bytes=%u not_logged_before=%u",
                 quote(conn->ext.name, conn->ext.name_len).s, handshake->early_dropped, suppressed);
    console_make_room(console, handshake->early.len + len);
    console_output(console, bytes_at(&handshake->early), handshake->early.len);
    vm_handshake_end(conn);
}

enum vm_outcome vm_conn_take(struct vm_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->state == VM_HANDSHAKE && is_tls(conn->handshake, data, len)) {
        conn->handshake->failure = FIGURE_HANDSHAKES_TLS;
        conn->error =
            "a TLS client on the telnet port, set the serial port's vSPC URI to telnet://, not telnets://";
        return VM_ENDED;
    }
    while (len && conn->state != VM_REFUSED) {
        size_t used;
        const char *why;
        if (telnet_stream_feed(conn->telnet, data, len, &used, &why) < 0)
            conn->error = why;
        if (!conn->error && conn->out.len > OUT_MAX)
            conn->error = "it does not read the answers to its telnet commands";
        if (conn->error)
            return VM_ENDED;
        data += used;
        len -= used;
        enum vm_outcome outcome = VM_GOES_ON;
        if (conn->refusal) {
            vm_handshake_refuse(conn);
        } else if (conn->ext.request) {
            outcome = vm_handshake_take_request(conn, data, len);
        } else if (conn->state == VM_HANDSHAKE) {
            outcome = vm_handshake_after_message(conn, data, len);
            /* When it is identified, what came behind the message has been taken. */
            if (outcome == VM_GOES_ON && conn->state != VM_HANDSHAKE)
                return outcome;
        }
        if (outcome != VM_GOES_ON)
            return outcome;
    }
    /* Once for all that was read: a VM that sends names without end must not fill the Redis writer's queue.
     */
    if (conn->renamed) {
        conn->renamed = false;
        console_renamed(conn->console);
    }
    return VM_GOES_ON;
}

enum vm_outcome vm_conn_read(struct vm_conn *conn, uint8_t *buffer)
{
    ssize_t n = recv(conn->io.fd, buffer, READ_SIZE, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? VM_NOTHING : VM_ENDED;
    if (n == 0)
        return VM_ENDED;
    if (conn->state != VM_ATTACHED)
        return vm_conn_take(conn, buffer, (size_t)n);
    console_make_room(conn->console, (size_t)n);
    return vm_conn_take(conn, buffer, (size_t)n);
}

/* A VM that is known may be silent for days, and there are many of them: what its handshake needed goes. */
static void rest(struct vm_conn *conn)
{
    telnet_stream_rest(conn->telnet);
    if (!conn->out.len)
        bytes_clear(&conn->out);
}

void vm_conn_finish(struct vm_conn *conn, enum vm_outcome outcome)
{
    if (outcome == VM_GONE)
        return;
    /* Before the users: a VM stands still until it gets GOAHEAD. */
    if (outcome != VM_ENDED)
        vm_conn_flush(conn);
    if (conn->state == VM_ATTACHED) {
        rest(conn);
        console_flush_users(conn->console);
    }
    if (outcome == VM_ENDED)
        vm_conn_hang_up(conn);
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct vm_conn *conn = container_of(io, struct vm_conn, io);
    enum vm_outcome outcome = VM_NOTHING;
    if (events & ~(uint32_t)EPOLLOUT)
        outcome = vm_conn_read(conn, conn->owner->buffer);
    vm_conn_finish(conn, outcome);
}

void vm_conn_read_last(struct vm_conn *conn)
{
    if (vm_conn_read(conn, conn->owner->buffer) != VM_ENDED)
        vm_conn_flush(conn);
    console_flush_users(conn->console);
}

int vm_conn_watch(struct vm_conn *conn)
{
    return loop_io_add(conn->owner->loop, &conn->io, conn->io.fd, EPOLLIN | EPOLLRDHUP, on_io);
}

bool vm_conn_drain(struct vm_conn *conn)
{
    enum vm_outcome outcome = VM_GOES_ON;
    uint8_t *buffer = xmalloc(READ_SIZE); /* the owner's holds what the newcomer has brought */
    for (int i = 0; i < DRAIN_MAX && outcome == VM_GOES_ON; i++) {
        outcome = vm_conn_read(conn, buffer);
        console_flush_users(conn->console);
    }
    free(buffer);
    return outcome != VM_ENDED;
}

void vm_conn_new(struct console_owner *owner, int fd, const struct sock_addr *peer, uint64_t number)
{
    struct vm_conn *conn = xcalloc(1, sizeof *conn);
    conn->owner = owner;
    conn->number = number;
    conn->peer = *peer;
    conn->descriptors = ADMISSION_VM;
    conn->io.fd = fd;
    figure_add(&owner->figures, FIGURE_VM_CONNECTIONS, 1);
    conn->telnet = telnet_stream_new(TELNET_SIDE_VM, &handler, conn);
    vm_handshake_begin(conn);
    sock_stagger_keepalive(fd, owner->config->vm.keepalive, number);
    if (vm_conn_watch(conn) < 0) {
        vm_conn_close(conn);
        return;
    }
    vm_handshake_arm(conn);
    telnet_stream_greet(conn->telnet);
    vm_conn_flush(conn);
}

void vm_conn_reload(struct vm_conn *conn)
{
    uint64_t keepalive = conn->owner->config->vm.keepalive;
    sock_set_keepalive(conn->io.fd, keepalive);
    sock_stagger_keepalive(conn->io.fd, keepalive, conn->number);
    if (conn->state == VM_HANDSHAKE)
        vm_handshake_arm(conn);
}

/* What is to be sent now: replies and input, in the order in which they may go. Replies never split an escape
 * of the input: its second byte goes first. To a source in migration, nothing goes behind GOAHEAD. Result:
 * the number of pieces. */
static int gather(const struct vm_conn *conn, struct iovec piece[3])
{
    int n = 0;
    size_t first = 0;
    const struct console *console = conn->state == VM_ATTACHED ? conn->console : NULL;
    bool frozen = console && migration_keeps_input(console);
    size_t replies = frozen ? conn->out_open : conn->out.len;
    if (console && console->input_mid_escape && console->input.len) {
        piece[n++] = (struct iovec){bytes_at(&console->input), 1};
        first = 1;
    }
    if (replies)
        piece[n++] = (struct iovec){bytes_at(&conn->out), replies};
    if (console && !frozen && console->input.len > first)
        piece[n++] = (struct iovec){bytes_at(&console->input) + first, console->input.len - first};
    return n;
}

/* The VM has taken n bytes of the console's input. */
static size_t input_sent(struct console *console, size_t n)
{
    const uint8_t *data = bytes_at(&console->input);
    console->bytes_to_vm += n;
    figure_add(&console->owner->figures, FIGURE_BYTES_TO_VMS, n);
    for (size_t i = 0; i < n; i++)
        console->input_mid_escape = !console->input_mid_escape && data[i] == TN_IAC;
    bytes_drop(&console->input, n);
    return n;
}

static void sent(struct vm_conn *conn, size_t n)
{
    struct console *console = conn->state == VM_ATTACHED ? conn->console : NULL;
    if (n && console && console->input_mid_escape)
        n -= input_sent(console, 1);
    size_t replies = n < conn->out.len ? n : conn->out.len;
    bytes_drop(&conn->out, replies);
    conn->out_open -= replies < conn->out_open ? replies : conn->out_open;
    if (console && n > replies)
        input_sent(console, n - replies);
}

void vm_conn_flush(struct vm_conn *conn)
{
    struct iovec piece[3];
    if (conn->state == VM_CLOSED || conn->state == VM_MOVING)
        return;
    uint32_t events = EPOLLIN | EPOLLRDHUP;
    int pieces = gather(conn, piece);
    if (pieces) {
        ssize_t n = sock_send(conn->io.fd, piece, pieces);
        if (n > 0)
            sent(conn, (size_t)n);
        /* Another error than a full socket shows as an event, and reading finds out. */
        if (n >= 0)
            events |= gather(conn, piece) ? (uint32_t)EPOLLOUT : 0;
        if (conn->state == VM_ATTACHED)
            console_input_taken(conn->console);
    }
    loop_io_set(conn->owner->loop, &conn->io, events);
}
