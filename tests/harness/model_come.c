/* The events of VM connections that come, tell who they are, and go. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "model_event.h"
#include "probe.h"

enum { TAKEOVERS_MAX = 3, TAKEOVERS_MS = 7000 /* of the 10 s, so that nothing depends on the very moment */ };

/* What becomes of a connection that identifies itself now. UNSURE: it depends on the time. */
enum verdict { ACCEPTED, REFUSED, UNSURE };

static enum verdict judge(const struct model_console *c)
{
    uint64_t now = clock_ms();
    if (!c->current)
        return ACCEPTED;
    if (c->refusal_ms)
        return now - c->refusal_ms < TAKEOVERS_MS ? REFUSED : UNSURE;
    if (c->takeovers && now - c->takeover_ms >= TAKEOVERS_MS)
        return UNSURE;
    return c->takeovers < TAKEOVERS_MAX ? ACCEPTED : REFUSED;
}

bool model_may_take_over(const struct model_console *c)
{
    return judge(c) == ACCEPTED && (!c->takeovers || clock_ms() - c->takeover_ms < TAKEOVERS_MS / 2);
}

static struct model_conn *come(struct model *m, struct model_console *c, enum vm_uuid_answer answer)
{
    struct vm_client_options opt = {.name = c->name, .name_len = strlen(c->name), .uuid_answer = answer};
    memcpy(opt.uuid, c->uuid, UUID_SIZE);
    opt.query = !c->label ? NULL : c->index ? "port=serial2" : "port=serial1";
    opt.offers = model_random(m, 2);
    opt.name_first = model_random(m, 2);
    struct model_conn *conn = model_conn_new(m->daemon, &opt);
    model_conn_want(conn, MODEL_PROXY);
    return conn;
}

/* The connection is known: it has the console, or is closed. Result: whether it has it. */
static bool identified(struct model *m, struct model_console *c, struct model_conn *conn)
{
    bool was_connected = c->current || c->phase;
    enum verdict verdict = judge(c);
    if (c->exists && conn->number < c->number) {
        model_note(m, c, "port %d is older than another, and closed", conn->port);
        conn->forgiven = true;
        model_retire(c, conn);
        return false;
    }
    if (c->current && verdict == REFUSED) {
        model_note(m, c, "port %d is refused, after too many", conn->port);
        if (!c->refusal_ms)
            c->refusal_ms = clock_ms();
        conn->forgiven = true;
        model_retire(c, conn);
        return false;
    }
    if (c->current && c->takeovers++ == 0)
        c->takeover_ms = clock_ms();
    model_retire(c, c->current);
    if (c->phase)
        model_forget(m, c);
    if (c->exists && !was_connected)
        model_notice(c, "VM connected");
    c->exists = true;
    c->recount = true;
    model_attached(c, conn);
    return true;
}

struct model_conn *model_arrive(struct model *m, struct model_console *c)
{
    if (judge(c) == UNSURE)
        return NULL;
    struct model_conn *conn = come(m, c, VM_UUID_TEXT);
    model_note(m, c, "an ordinary connection from port %d", conn->port);
    if (model_random(m, 3) == 0)
        model_print(m, c, conn);
    identified(m, c, conn);
    return conn;
}

/* The same, as an event. */
bool model_arrives(struct model *m, struct model_console *c)
{
    return model_arrive(m, c) != NULL;
}

/* A connection that has not told its UUID yet, and so waits. */
bool model_connect(struct model *m, struct model_console *c)
{
    struct model_conn *conn;
    unsigned n = 0;
    DL_FOREACH(c->strangers, conn)
    {
        n++;
    }
    if (n >= MODEL_STRANGERS)
        return false;
    conn = come(m, c, VM_UUID_SILENT);
    model_note(m, c, "a connection from port %d that does not say who it is", conn->port);
    DL_APPEND(c->strangers, conn);
    if (model_random(m, 2))
        model_print(m, c, conn);
    return true;
}

/* The oldest or newest that waits says who it is, and perhaps goes on at once. */
bool model_identify(struct model *m, struct model_console *c)
{
    char text[VM_UUID_TEXT_LEN + 1];
    struct model_conn *conn = c->strangers;
    if (!conn || judge(c) == UNSURE)
        return false;
    if (model_random(m, 2))
        conn = conn->prev;
    if (model_random(m, 3) == 0) {
        model_print(m, c, conn);
        model_conn_pump(conn);
    }
    /* What the one before has said last comes first. */
    if (c->current && !c->kept.len && !c->current->owed.len && model_random(m, 2)) {
        model_print(m, c, c->current);
        model_conn_pump(c->current);
    }
    model_note(m, c, "port %d says who it is", conn->port);
    vm_uuid_text(c->uuid, text);
    vm_client_send_sub(&conn->vm, VM_VC_UUID, text, VM_UUID_TEXT_LEN);
    DL_DELETE(c->strangers, conn);
    if (!identified(m, c, conn))
        return true;
    if (model_random(m, 3) == 0)
        model_print(m, c, conn);
    /* Input that was kept goes to it before BEGIN comes, or waits on, as TCP cuts it. */
    if (!conn->want.len && model_random(m, 4) == 0)
        model_begin_migration(m, c);
    return true;
}

bool model_hang_up(struct model *m, struct model_console *c, bool reset)
{
    struct model_conn *conn = c->current;
    /* Of what was printed before a reset, nothing is sure; of what comes before a FIN, all is. And a frozen
     * source that speaks has the kept input, which its end loses or not. */
    if (!reset && !c->kept.len && !conn->owed.len && model_random(m, 3) == 0)
        model_print(m, c, conn);
    model_note(m, c, "port %d %s", conn->port, reset ? "is reset" : "hangs up");
    model_conn_hang_up(conn, reset);
    model_retire(c, conn);
    if (c->phase)
        c->phase = MODEL_ORPHANED;
    else
        model_disconnected(c);
    return true;
}

bool model_current_hangs_up(struct model *m, struct model_console *c)
{
    return model_hang_up(m, c, false);
}

bool model_current_is_reset(struct model *m, struct model_console *c)
{
    /* Without users, nobody would tell when it is known. */
    return c->users && model_hang_up(m, c, true);
}

/* Somebody goes who is not the console's VM connection. */
static bool other_goes(struct model *m, struct model_console *c, struct model_conn *conn, bool reset)
{
    model_note(m, c, "port %d, %s, %s", conn->port,
               conn == c->destination ? "its destination" : "unidentified", reset ? "is reset" : "hangs up");
    model_conn_hang_up(conn, reset);
    if (conn == c->destination) {
        model_retire(c, conn);
        return true;
    }
    conn->role = MODEL_CLOSED;
    return true;
}

bool model_destination_goes(struct model *m, struct model_console *c)
{
    return other_goes(m, c, c->destination, c->users && model_random(m, 2));
}

bool model_stranger_goes(struct model *m, struct model_console *c)
{
    return c->strangers && other_goes(m, c, c->strangers, model_random(m, 2));
}

/* linger passes, for all consoles. */
bool model_linger(struct model *m, struct model_console *c)
{
    struct model_user *user;
    model_note(m, c, "linger passes, for all");
    model_set_times(m, false, true);
    for (struct model_console *each = m->consoles; each < m->consoles + MODEL_CONSOLES; each++) {
        if (!each->exists || each->current || each->phase)
            continue;
        char *port = xasprintf(" port=%u", each->port);
        probe_wait_line(m->daemon, "Console ended, its VM did not come back", port, SOON);
        free(port);
        DL_FOREACH(each->users, user)
        {
            user->must_close = true;
        }
        bytes_clear(&each->output);
        each->exists = false;
        each->port = 0;
        each->number = each->takeovers = 0;
        each->refusal_ms = 0;
    }
    model_settle(m);
    model_set_times(m, false, false);
    return true;
}
