/* The events of migrations: BEGIN, PEER, COMPLETE, ABORT, right and wrong, and time. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "model_event.h"

enum { FORGERIES = 5 };

/* A few, so that consoles often have the same. */
static void choose_sequence(struct model *m, uint8_t out[VM_SEQUENCE_MAX], size_t *len)
{
    static const uint8_t plain[] = {1, 2, 3, 4}, zeros[] = {0}, full[] = {255, 255, 255, 255},
                         end[] = {255, 240};
    memset(out, 255, VM_SEQUENCE_MAX);
    switch (model_random(m, 6)) {
    case 0:
        *len = sizeof zeros;
        memcpy(out, zeros, *len);
        break;
    case 1:
        *len = sizeof full;
        memcpy(out, full, *len);
        break;
    case 2:
        *len = sizeof end;
        memcpy(out, end, *len);
        break;
    case 3:
        *len = 1 + model_random(m, VM_SEQUENCE_MAX);
        for (size_t i = 0; i < *len; i++)
            out[i] = (uint8_t)model_random(m, 256);
        break;
    default:
        *len = sizeof plain;
        memcpy(out, plain, *len);
    }
}

bool model_begin_migration(struct model *m, struct model_console *c)
{
    uint8_t sequence[VM_SEQUENCE_MAX];
    size_t len;
    choose_sequence(m, sequence, &len);
    model_note(m, c, "BEGIN %s from port %d", quote(sequence, len).s, c->current->port);
    if (c->phase)
        model_forget(m, c);
    /* What it has asked before is answered before. */
    model_append(&c->current->want_control, &c->current->owed);
    bytes_clear(&c->current->owed);
    c->phase = MODEL_FROZEN;
    vm_client_begin(&c->current->vm, sequence, len);
    model_conn_want(c->current, MODEL_GOAHEAD);
    return true;
}

bool model_peer(struct model *m, struct model_console *c)
{
    char name[64];
    snprintf(name, sizeof name, model_random(m, 4) ? "%s" : "%.24s-moved", c->name);
    struct vm_client_options opt = {.name = name, .name_len = strlen(name), .peer = &c->cookie};
    memcpy(opt.uuid, c->uuid, UUID_SIZE);
    opt.uuid[0] = (uint8_t)(opt.uuid[0] ^ (model_random(m, 2) ? 0xaa : 0));
    opt.offers = model_random(m, 2);
    opt.name_first = model_random(m, 2);
    model_retire(c, c->destination);
    struct model_conn *conn = c->destination = model_conn_new(m->daemon, &opt);
    conn->role = MODEL_DESTINATION;
    model_conn_want(conn, MODEL_PEER_OK);
    model_note(m, c, "PEER from port %d, %s", conn->port, name);
    if (model_random(m, 4) == 0)
        model_print(m, c, conn);
    return true;
}

/* Whether some migration waits for just these bytes. */
static bool is_live(const struct model *m, const struct vm_migration *cookie)
{
    size_t len = (size_t)cookie->sequence_len + cookie->secret_len;
    for (const struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++)
        if (c->phase && len == (size_t)c->cookie.sequence_len + c->cookie.secret_len &&
            cookie->sequence_len == c->cookie.sequence_len &&
            memcmp(cookie->sequence, c->cookie.sequence, cookie->sequence_len) == 0 &&
            memcmp(cookie->secret, c->cookie.secret, cookie->secret_len) == 0)
            return true;
    return false;
}

/* A cookie that leads nowhere: dead, or made from one that lives. Result: whether there is one. */
static bool choose_bad_cookie(struct model *m, const struct model_console *c, struct vm_migration *cookie)
{
    const struct model_console *other = &m->consoles[model_random(m, MODEL_CONSOLES)];
    unsigned dead = m->dead_count < MODEL_DEAD ? m->dead_count : MODEL_DEAD;
    if (dead && model_random(m, 2)) {
        *cookie = m->dead[model_random(m, dead)];
        return cookie->secret_len && !is_live(m, cookie);
    }
    if (!c->phase || !c->cookie.secret_len)
        return false;
    *cookie = c->cookie;
    switch (model_random(m, FORGERIES)) {
    case 0:
        cookie->secret[model_random(m, cookie->secret_len)] ^= 1;
        break;
    case 1:
        cookie->sequence[model_random(m, cookie->sequence_len)] ^= 255;
        break;
    case 2:
        cookie->secret_len--;
        break;
    case 3:
        cookie->secret[cookie->secret_len++] = 0;
        break;
    default:
        memcpy(cookie->secret, other->cookie.secret, sizeof cookie->secret);
        cookie->secret_len = other->cookie.secret_len;
    }
    return !is_live(m, cookie);
}

/* A connection is refused and will be closed in a second. */
static void doom(struct model *m, struct model_conn *conn)
{
    conn->role = MODEL_DOOMED;
    model_conn_want_unknown(conn, VM_VMOTION_PEER);
    DL_APPEND(m->doomed, conn);
}

bool model_peer_of_nobody(struct model *m, struct model_console *c)
{
    struct vm_migration cookie;
    if (!choose_bad_cookie(m, c, &cookie))
        return false;
    struct vm_client_options opt = {.name = c->name, .name_len = strlen(c->name), .peer = &cookie};
    memcpy(opt.uuid, c->uuid, UUID_SIZE);
    struct model_conn *conn = model_conn_new(m->daemon, &opt);
    model_note(m, c, "PEER with a bad cookie from port %d", conn->port);
    doom(m, conn);
    return true;
}

/* The destination brings another cookie, and so is none any more. */
bool model_peer_turns_bad(struct model *m, struct model_console *c)
{
    struct vm_migration cookie;
    uint8_t payload[VM_SEQUENCE_MAX + VM_SECRET_MAX];
    struct model_conn *conn = c->destination;
    if (!choose_bad_cookie(m, c, &cookie))
        return false;
    model_note(m, c, "PEER with a bad cookie from its destination on port %d", conn->port);
    memcpy(payload, cookie.sequence, cookie.sequence_len);
    memcpy(payload + cookie.sequence_len, cookie.secret, cookie.secret_len);
    vm_client_send_sub(&conn->vm, VM_VMOTION_PEER, payload, (size_t)cookie.sequence_len + cookie.secret_len);
    c->destination = NULL;
    doom(m, conn);
    return true;
}

bool model_complete(struct model *m, struct model_console *c)
{
    struct model_conn *source = c->current, *conn = c->destination;
    bool last_words = source && !c->kept.len && !source->owed.len && model_random(m, 2);
    bool leaves = source && model_random(m, 4) == 0;
    /* When vspcd comes to look, the destination has been ready for longest. */
    if (model_random(m, 2)) {
        model_print(m, c, conn);
        model_conn_pump(conn);
    }
    if (last_words)
        model_print(m, c, source);
    if (leaves)
        model_conn_hang_up(source, false);
    if (source)
        model_conn_pump(source);
    model_note(m, c, "COMPLETE from port %d%s", conn->port, leaves ? ", the source hung up just before" : "");
    vm_client_complete(&conn->vm);
    c->destination = NULL;
    model_retire(c, source);
    model_forget(m, c);
    model_attached(c, conn);
    c->recount = true;
    if (model_random(m, 2))
        model_print(m, c, conn);
    return true;
}

/* COMPLETE that must have no effect: with another sequence, or not from the destination. */
bool model_complete_in_vain(struct model *m, struct model_console *c)
{
    struct model_conn *conn = c->destination ? c->destination : c->current ? c->current : c->strangers;
    uint8_t sequence[VM_SEQUENCE_MAX + 1] = {0};
    size_t len = c->cookie.sequence_len;
    if (!conn || conn->role == MODEL_CLOSED)
        return false;
    memcpy(sequence, c->cookie.sequence, len);
    if (conn == c->destination && model_random(m, 2) && len > 1)
        len--;
    else if (conn == c->destination)
        sequence[len++] = 0;
    model_note(m, c, "COMPLETE in vain from port %d", conn->port);
    vm_client_send_sub(&conn->vm, VM_VMOTION_COMPLETE, sequence, len);
    return true;
}

bool model_abort(struct model *m, struct model_console *c)
{
    model_note(m, c, "ABORT from port %d", c->current->port);
    vm_client_abort(&c->current->vm);
    model_release(c, c->current);
    model_forget(m, c);
    if (model_random(m, 3) == 0)
        model_print(m, c, c->current);
    return true;
}

/* ABORT that must have no effect: none is pending, or it is not the source that says so. */
bool model_abort_in_vain(struct model *m, struct model_console *c)
{
    struct model_conn *conn = c->destination            ? c->destination
                              : c->current && !c->phase ? c->current
                                                        : c->strangers;
    if (!conn || conn->role == MODEL_CLOSED)
        return false;
    model_note(m, c, "ABORT in vain from port %d", conn->port);
    vm_client_abort(&conn->vm);
    return true;
}

/* BEGIN from a connection that is not its console's current one. */
bool model_begin_in_vain(struct model *m, struct model_console *c)
{
    uint8_t sequence[VM_SEQUENCE_MAX];
    size_t len;
    struct model_conn *conn = c->destination ? c->destination : c->strangers;
    if (!conn || conn->role == MODEL_CLOSED)
        return false;
    choose_sequence(m, sequence, &len);
    model_note(m, c, "BEGIN in vain from port %d", conn->port);
    vm_client_begin(&conn->vm, sequence, len);
    model_conn_want(conn, MODEL_NOTNOW);
    return true;
}

/* vmotion_timeout passes, for all consoles. */
bool model_time(struct model *m, struct model_console *c)
{
    enum { TIMERS_LATE_MS = 5 };
    model_note(m, c, "vmotion_timeout passes, for all");
    for (struct model_console *each = m->consoles; each < m->consoles + MODEL_CONSOLES; each++) {
        enum model_phase phase = each->phase;
        if (!phase)
            continue;
        if (each->current)
            model_release(each, each->current);
        model_forget(m, each);
        if (phase == MODEL_ORPHANED)
            model_disconnected(each);
        each->recount = true;
    }
    uint64_t since = clock_ms();
    model_set_times(m, true, false);
    /* Each answer is a turn of a worker, and a turn with a timer that is due is one that runs it. */
    do
        model_settle(m);
    while (clock_ms() - since < TIMERS_LATE_MS);
    model_settle(m);
    model_check_mapping(m);
    model_set_times(m, false, false);
    return true;
}
