/* Who a VM connection is: from its first messages to its console, which may be another worker's, or to its
 * refusal. */
#include <stdlib.h>
#include <utlist.h>

#include "migration.h"

enum {
    REFUSED_MS = 1000,    /* between a refusal and the close */
    READS_AT_TIMEOUT = 4, /* pending input that is looked at before a timeout counts */
};

void vm_handshake_begin(struct vm_conn *conn)
{
    struct vm_handshake *handshake = xcalloc(1, sizeof *handshake);
    handshake->conn = conn;
    handshake->since_ms = loop_now(conn->owner->loop);
    conn->handshake = handshake;
    vm_handshake_list(conn);
}

void vm_handshake_list(struct vm_conn *conn)
{
    DL_APPEND(conn->owner->handshaking, conn->handshake);
    figure_add(&conn->owner->figures, FIGURE_HANDSHAKING, 1);
}

void vm_handshake_unlist(struct vm_conn *conn)
{
    DL_DELETE(conn->owner->handshaking, conn->handshake);
    figure_sub(&conn->owner->figures, FIGURE_HANDSHAKING, 1);
}

void vm_handshake_end(struct vm_conn *conn)
{
    struct vm_handshake *handshake = conn->handshake;
    if (!handshake)
        return;
    conn->handshake = NULL;
    loop_timer_disarm(conn->owner->loop, &handshake->timer);
    bytes_clear(&handshake->unread);
    bytes_clear(&handshake->early);
    free(handshake);
}

static void on_refused_over(struct loop_timer *timer)
{
    vm_conn_close(container_of(timer, struct vm_handshake, timer)->conn);
}

void vm_handshake_refuse(struct vm_conn *conn)
{
    struct console_owner *owner = conn->owner;
    char peer[SOCK_TEXT];
    sock_addr_format(&conn->peer, peer);
    if (peer_rate_allows(&owner->shared->refusals, &conn->peer, loop_now(owner->loop)))
        log_warning("VM refused: %s vm=%s peer=%s", conn->refusal,
                    quote(conn->ext.name, conn->ext.name_len).s, peer);
    if (conn->state == VM_DESTINATION)
        migration_destination_lost(conn);
    if (conn->state != VM_DESTINATION) {
        enum figure failure = conn->handshake->failure;
        figure_add(&owner->figures, failure ? failure : FIGURE_HANDSHAKES_URI, 1);
    }
    if (conn->state != VM_HANDSHAKE)
        vm_handshake_list(conn);
    conn->state = VM_REFUSED;
    bytes_clear(&conn->handshake->early);
    loop_timer_arm(owner->loop, &conn->handshake->timer, REFUSED_MS, on_refused_over);
}

/* Attaches a connection that is with its console's worker, and delivers what it has brought. */
static enum vm_outcome attach(struct vm_conn *conn, struct directory_entry *entry, const uint8_t *rest,
                              size_t len)
{
    struct console *console = entry->console;
    if (!console)
        console = console_new(conn->owner, entry);
    conn->ext.identified = true;
    if (!console_attach(console, conn))
        return VM_GONE;
    vm_conn_deliver_early(conn, len);
    return vm_conn_take(conn, rest, len);
}

/* The cookie is not one of a pending migration: says so, whether it ever was or not. */
static void refuse_peer(struct vm_conn *conn)
{
    vmext_put_unknown(&conn->out, VMEXT_VMOTION_PEER);
    conn->ext.refused = true;
    conn->handshake->failure = FIGURE_HANDSHAKES_COOKIE;
    conn->refusal = "it is a migration's destination, but no migration with its cookie is pending";
    vm_handshake_refuse(conn);
}

/* Makes the connection the destination of its console's migration, when it is with the console's worker. */
static void join(struct vm_conn *conn, struct directory_entry *entry, const struct vmext_cookie *cookie)
{
    struct console *console = entry->console;
    if (!console || !migration_accept(console, conn, cookie)) {
        refuse_peer(conn);
        return;
    }
    vmext_put_vmotion(&conn->out, VMEXT_VMOTION_PEER_OK, cookie);
    if (conn->state == VM_DESTINATION)
        return;
    if (conn->state == VM_HANDSHAKE)
        vm_handshake_unlist(conn);
    figure_add(&conn->owner->figures, FIGURE_HANDSHAKES_DONE, 1);
    loop_timer_disarm(conn->owner->loop, &conn->handshake->timer);
    conn->state = VM_DESTINATION;
    conn->console = console;
    conn->ext.peer = true;
    /* The other of its descriptors would be a user port's, which the console has. */
    conn->descriptors = 1;
    admission_give(&conn->owner->shared->admission, 1);
}

/* Letter: a connection has arrived at its console's worker. */
static void on_arrived(void *arg)
{
    struct vm_conn *conn = arg;
    struct directory_entry *entry = conn->handshake->entry;
    struct console_owner *owner = entry->owner;
    struct vmext_request *request = conn->ext.request;
    conn->owner = owner;
    conn->ext.request = NULL;
    directory_unpin(owner->shared->directory, entry);
    bool lost = owner->closing || vm_conn_watch(conn) < 0;
    if (!entry->console && (lost || request)) {
        directory_release(owner->shared->directory, entry);
        entry = NULL;
    }
    if (lost) {
        vm_conn_close(conn);
        free(request);
        return;
    }
    struct bytes unread = conn->handshake->unread;
    conn->handshake->unread = (struct bytes){0};
    enum vm_outcome outcome = VM_GOES_ON;
    const uint8_t *rest = unread.len ? bytes_at(&unread) : NULL;
    if (!request) {
        outcome = attach(conn, entry, rest, unread.len);
    } else {
        if (entry)
            join(conn, entry, &request->cookie);
        else
            refuse_peer(conn);
        outcome = vm_conn_take(conn, rest, unread.len);
    }
    free(request);
    bytes_clear(&unread);
    vm_conn_finish(conn, outcome);
}

/* Sends the connection, with what is read but not parsed, to the worker that owns its console. */
static void move_away(struct vm_conn *conn, struct directory_entry *entry, const uint8_t *rest, size_t len)
{
    struct console_owner *target = entry->owner;
    struct vm_handshake *handshake = conn->handshake;
    vm_conn_flush(conn);
    loop_io_del(conn->owner->loop, &conn->io);
    loop_timer_disarm(conn->owner->loop, &handshake->timer);
    vm_handshake_unlist(conn);
    bytes_put(&handshake->unread, rest, len);
    handshake->entry = entry;
    conn->state = VM_MOVING;
    loop_post(target->loop, on_arrived, conn);
}

/* A connection has brought a cookie: finds its console. */
static enum vm_outcome take_peer(struct vm_conn *conn, struct vmext_request *request, const uint8_t *rest,
                                 size_t len)
{
    enum directory_claim claim = DIRECTORY_MINE;
    struct directory_entry *entry = NULL;
    if (conn->state == VM_ATTACHED) {
        conn->error = "VMOTION-PEER from a VM that is identified already";
        return VM_ENDED;
    }
    if (conn->state == VM_DESTINATION)
        entry = conn->console->entry;
    else
        entry = directory_find_cookie(conn->owner->shared->directory, &request->cookie, conn->owner, &claim);
    if (claim == DIRECTORY_THEIRS) {
        conn->ext.request = xmalloc(sizeof *request);
        *conn->ext.request = *request;
        move_away(conn, entry, rest, len);
        return VM_GONE;
    }
    if (entry)
        join(conn, entry, &request->cookie);
    else
        refuse_peer(conn);
    return VM_GOES_ON;
}

/* What has no effect from that connection is told in the log. */
static void log_ignored(struct vm_conn *conn, const char *what)
{
    vm_conn_log(conn, &conn->owner->ignored, LOG_LEVEL_WARNING, what);
}

enum vm_outcome vm_handshake_take_request(struct vm_conn *conn, const uint8_t *rest, size_t len)
{
    struct vmext_request request = *conn->ext.request;
    struct console_owner *owner = conn->owner;
    bool may_migrate =
        !owner->closing && !atomic_load_explicit(&owner->shared->draining, memory_order_relaxed);
    bool is_current = conn->state == VM_ATTACHED && conn->console->state == CONSOLE_CONNECTED;
    free(conn->ext.request);
    conn->ext.request = NULL;
    switch (request.code) {
    case VMEXT_VMOTION_BEGIN:
        if (is_current && may_migrate && migration_begin(conn->console, &request.cookie))
            break;
        /* It replaces an earlier one all the same, which would keep the answer back. */
        if (is_current)
            migration_end(conn->console, "the next one was refused");
        figure_add(&owner->figures, FIGURE_MIGRATIONS_REFUSED, 1);
        vmext_put_vmotion(&conn->out, VMEXT_VMOTION_NOTNOW, &request.cookie);
        break;
    case VMEXT_VMOTION_PEER:
        return take_peer(conn, &request, rest, len);
    case VMEXT_VMOTION_COMPLETE:
        if (conn->state != VM_DESTINATION)
            log_ignored(conn, "VMOTION-COMPLETE ignored, it is not a migration's destination that says so");
        else if (migration_complete(conn, &request.cookie))
            vm_conn_deliver_early(conn, len);
        break;
    case VMEXT_VMOTION_ABORT:
        if (is_current)
            migration_abort(conn->console);
        else
            log_ignored(conn, "VMOTION-ABORT ignored, it is not the source that says so");
        break;
    default:
        break;
    }
    return VM_GOES_ON;
}

/* The connection is known: brings it to its console. */
static enum vm_outcome identified(struct vm_conn *conn, const uint8_t *rest, size_t len)
{
    size_t identity_len;
    struct directory_entry *entry;
    char *identity = vmext_identity(&conn->ext, &identity_len);
    enum directory_claim claim =
        directory_claim(conn->owner->shared->directory, identity, identity_len, conn->owner, &entry);
    free(identity);
    if (claim == DIRECTORY_THEIRS) {
        move_away(conn, entry, rest, len);
        return VM_GONE;
    }
    return attach(conn, entry, rest, len);
}

static void on_time(struct loop_timer *timer);

static uint64_t deadline(const struct vm_conn *conn)
{
    return conn->handshake->since_ms + conn->owner->config->vm.handshake_timeout;
}

void vm_handshake_arm(struct vm_conn *conn)
{
    uint64_t now = loop_now(conn->owner->loop);
    uint64_t due = deadline(conn);
    struct vm_handshake *handshake = conn->handshake;
    if (handshake->settle_ms > now && handshake->settle_ms < due)
        due = handshake->settle_ms;
    if (handshake->timer.slot && handshake->timer.due_ms == due)
        return;
    loop_timer_arm(conn->owner->loop, &handshake->timer, due > now ? due - now : 0, on_time);
}

/* Who is it, at that time? rest is what was read behind the message that may have decided. */
static enum vm_outcome consider(struct vm_conn *conn, enum vmext_time time, const uint8_t *rest, size_t len)
{
    switch (vmext_judge(&conn->ext, conn->owner->config->vm.service_uri, time)) {
    case VMEXT_IDENTIFIED:
        return identified(conn, rest, len);
    case VMEXT_NO_ANSWER:
        vm_conn_log(conn, &conn->owner->failures, LOG_LEVEL_WARNING,
                    "VM never told the UUID that it had promised, served by its name");
        return identified(conn, rest, len);
    case VMEXT_NAMELESS:
        conn->error = "an empty name and no UUID";
        return VM_ENDED;
    case VMEXT_NEVER:
        conn->error = "it did not identify itself within handshake_timeout";
        conn->handshake->failure = FIGURE_HANDSHAKES_TIMEOUT;
        return VM_ENDED;
    case VMEXT_WAIT:
        break;
    }
    return VM_GOES_ON;
}

enum vm_outcome vm_handshake_after_message(struct vm_conn *conn, const uint8_t *rest, size_t len)
{
    if (conn->ext.name && !conn->handshake->settle_ms) {
        conn->handshake->settle_ms = loop_now(conn->owner->loop) + VMEXT_SETTLE_MS;
        vm_handshake_arm(conn);
    }
    return consider(conn, VMEXT_EARLY, rest, len);
}

static void on_time(struct loop_timer *timer)
{
    struct vm_conn *conn = container_of(timer, struct vm_handshake, timer)->conn;
    enum vm_outcome outcome = VM_GOES_ON;
    for (int i = 0; i < READS_AT_TIMEOUT && outcome == VM_GOES_ON && conn->state == VM_HANDSHAKE; i++)
        outcome = vm_conn_read(conn, conn->owner->buffer);
    if ((outcome == VM_GOES_ON || outcome == VM_NOTHING) && conn->state == VM_HANDSHAKE) {
        uint64_t now = loop_now(conn->owner->loop);
        uint64_t settle_ms = conn->handshake->settle_ms;
        bool settled = settle_ms && now >= settle_ms;
        enum vmext_time time = settled ? VMEXT_SETTLED : VMEXT_EARLY;
        if (now >= deadline(conn))
            time = settled ? VMEXT_DEADLINE : VMEXT_EARLY_DEADLINE;
        outcome = consider(conn, time, NULL, 0);
        if (outcome == VM_GOES_ON && conn->state == VM_HANDSHAKE)
            vm_handshake_arm(conn);
    }
    vm_conn_finish(conn, outcome);
}
