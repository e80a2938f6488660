/* The events of users, of VMs that print and ask, and the table of all. */
#include "model_event.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

enum { IAC = 255, BRK = 243, EARLY_MAX = 4096, STRANGE_CODE = 99 };

const char *const model_state_names[MODEL_STATES] = {
    [MODEL_STATE_ABSENT] = "absent",
    [MODEL_STATE_AWAY] = "away",
    [MODEL_STATE_CONNECTED] = "connected",
    [MODEL_STATE_FROZEN] = "frozen",
    [MODEL_STATE_FROZEN_WAITED] = "frozen+",
    [MODEL_STATE_RESUMED] = "resumed",
    [MODEL_STATE_RESUMED_WAITED] = "resumed+",
    [MODEL_STATE_ORPHANED] = "orphaned",
    [MODEL_STATE_ORPHANED_WAITED] = "orphaned+",
};

enum model_state model_state(const struct model_console *c)
{
    bool waited = c->destination;
    switch (c->phase) {
    case MODEL_FROZEN:
        return waited ? MODEL_STATE_FROZEN_WAITED : MODEL_STATE_FROZEN;
    case MODEL_RESUMED:
        return waited ? MODEL_STATE_RESUMED_WAITED : MODEL_STATE_RESUMED;
    case MODEL_ORPHANED:
        return waited ? MODEL_STATE_ORPHANED_WAITED : MODEL_STATE_ORPHANED;
    default:
        return !c->exists ? MODEL_STATE_ABSENT : c->current ? MODEL_STATE_CONNECTED : MODEL_STATE_AWAY;
    }
}

void model_print(struct model *m, struct model_console *c, struct model_conn *conn)
{
    uint8_t chunk[MODEL_CHUNK_MAX];
    size_t len = model_chunk(m, chunk);
    if (conn != c->current && conn->early.len + len > EARLY_MAX)
        return;
    model_note(m, c, "port %d prints %zu bytes, %u", conn->port, len, m->chunk);
    vm_client_send(&conn->vm, chunk, len);
    if (conn != c->current) {
        bytes_put(&conn->early, chunk, len);
        return;
    }
    if (c->phase == MODEL_FROZEN) {
        c->phase = MODEL_RESUMED;
        model_release(c, conn);
    }
    model_output(c, chunk, len);
}

static bool prints(struct model *m, struct model_console *c)
{
    model_print(m, c, c->current);
    if (model_random(m, 4) == 0)
        model_print(m, c, c->current);
    return true;
}

static bool destination_prints(struct model *m, struct model_console *c)
{
    model_print(m, c, c->destination);
    return true;
}

static bool stranger_prints(struct model *m, struct model_console *c)
{
    if (!c->strangers)
        return false;
    model_print(m, c, c->strangers);
    return true;
}

/* The frozen source asks something, which must wait for its answer. */
static bool asks(struct model *m, struct model_console *c)
{
    model_note(m, c, "port %d asks something", c->current->port);
    vm_client_send_sub(&c->current->vm, STRANGE_CODE, NULL, 0);
    bytes_put(&c->current->owed, (uint8_t[]){MODEL_UNKNOWN, STRANGE_CODE}, 2);
    return true;
}

static bool renames(struct model *m, struct model_console *c)
{
    struct model_conn *conn = c->destination && model_random(m, 2) ? c->destination : c->current;
    snprintf(conn->name, sizeof conn->name, "vm%u-%c%u", m->sequence, c->label ? 'a' : 'b',
             model_random(m, 100));
    model_note(m, c, "port %d is called %s", conn->port, conn->name);
    vm_client_rename(&conn->vm, conn->name, strlen(conn->name));
    if (conn == c->current)
        snprintf(c->name, sizeof c->name, "%s", conn->name);
    c->recount = true;
    return true;
}

static struct model_user *some_user(struct model *m, struct model_console *c)
{
    struct model_user *user = c->users;
    for (unsigned i = model_random(m, MODEL_USERS); user && i; i--)
        user = user->next ? user->next : c->users;
    return user;
}

static bool types(struct model *m, struct model_console *c)
{
    uint8_t chunk[MODEL_CHUNK_MAX];
    struct bytes input = {0};
    struct model_user *user = some_user(m, c);
    if (!user)
        return false;
    size_t len = model_chunk(m, chunk);
    model_note(m, c, "a user types %zu bytes, %u", len, m->chunk);
    user_send(user->user, chunk, len);
    model_put_input(&input, chunk, len);
    model_input(c, &input);
    bytes_clear(&input);
    return true;
}

static bool sends_break(struct model *m, struct model_console *c)
{
    static const uint8_t mark[] = {IAC, BRK};
    struct bytes input = {0};
    struct model_user *user = some_user(m, c);
    if (!user)
        return false;
    model_note(m, c, "a user sends BREAK");
    user_send_raw(user->user, mark, sizeof mark);
    bytes_put(&input, mark, sizeof mark);
    model_input(c, &input);
    bytes_clear(&input);
    return model_random(m, 2) ? types(m, c) : true;
}

static bool user_comes(struct model *m, struct model_console *c)
{
    static const char away[] = "\r\n[vspc: VM disconnected]\r\n";
    struct model_user *user;
    unsigned n = 0;
    DL_FOREACH(c->users, user)
    {
        n++;
    }
    if (n == MODEL_USERS || !c->port)
        return false;
    model_note(m, c, "a user comes");
    user = model_user_new(c->port);
    size_t len = c->output.len < MODEL_SCROLLBACK ? c->output.len : MODEL_SCROLLBACK;
    if (len)
        bytes_put(&user->want, bytes_at(&c->output) + c->output.len - len, len);
    if (!c->current && !c->phase)
        bytes_put(&user->want, away, strlen(away));
    DL_APPEND(c->users, user);
    return true;
}

static bool user_goes(struct model *m, struct model_console *c)
{
    struct model_user *user = some_user(m, c);
    if (!user)
        return false;
    /* A reset is noticed by what other users are told. */
    bool reset = c->users->next && model_random(m, 2);
    model_note(m, c, "a user %s", reset ? "is reset" : "hangs up");
    if (!reset) {
        user->must_close = true;
        shutdown(user->user->fd, SHUT_WR);
        return true;
    }
    DL_DELETE(c->users, user);
    user_reset(user->user);
    user->user = NULL;
    model_user_free(user);
    c->recount = true;
    return true;
}

enum {
    ABSENT = 1 << MODEL_STATE_ABSENT,
    AWAY = 1 << MODEL_STATE_AWAY,
    CONNECTED = 1 << MODEL_STATE_CONNECTED,
    FROZEN = 1 << MODEL_STATE_FROZEN | 1 << MODEL_STATE_FROZEN_WAITED,
    WAITED =
        1 << MODEL_STATE_FROZEN_WAITED | 1 << MODEL_STATE_RESUMED_WAITED | 1 << MODEL_STATE_ORPHANED_WAITED,
    RESUMED = 1 << MODEL_STATE_RESUMED | 1 << MODEL_STATE_RESUMED_WAITED,
    ORPHANED = 1 << MODEL_STATE_ORPHANED | 1 << MODEL_STATE_ORPHANED_WAITED,
    PENDING = FROZEN | RESUMED | ORPHANED,
    HAS_VM = CONNECTED | FROZEN | RESUMED,
    EXISTS = AWAY | CONNECTED | PENDING,
    ALL = ABSENT | EXISTS,
};

const struct model_event model_events[] = {
    {"connect", ALL, 6, false, false, model_connect},
    {"identify", ALL, 9, false, false, model_identify},
    {"arrive", ABSENT | AWAY, 30, false, false, model_arrives},
    {"arrive again", ALL & ~(ABSENT | AWAY), 6, false, false, model_arrives},
    {"begin", HAS_VM, 24, false, false, model_begin_migration},
    {"begin in vain", ALL, 5, false, false, model_begin_in_vain},
    {"peer", PENDING, 40, false, false, model_peer},
    {"bad peer", ALL, 8, true, true, model_peer_of_nobody},
    {"peer turns bad", WAITED, 6, true, true, model_peer_turns_bad},
    {"complete", WAITED, 24, false, false, model_complete},
    {"complete in vain", ALL, 6, false, false, model_complete_in_vain},
    {"abort", FROZEN | RESUMED, 5, false, false, model_abort},
    {"abort in vain", ALL & ~ORPHANED, 4, false, false, model_abort_in_vain},
    {"hang up", HAS_VM, 6, false, false, model_current_hangs_up},
    {"reset", HAS_VM, 5, false, false, model_current_is_reset},
    {"destination goes", WAITED, 4, false, false, model_destination_goes},
    {"stranger goes", ALL, 6, false, false, model_stranger_goes},
    {"prints", HAS_VM, 20, false, false, prints},
    {"destination prints", WAITED, 12, false, false, destination_prints},
    {"stranger prints", ALL, 6, false, false, stranger_prints},
    {"asks", FROZEN, 6, false, false, asks},
    {"renames", HAS_VM, 4, false, false, renames},
    {"types", EXISTS, 24, false, false, types},
    {"break", EXISTS, 8, false, false, sends_break},
    {"user comes", EXISTS, 12, false, true, user_comes},
    {"user goes", EXISTS, 5, false, false, user_goes},
    {"storm", CONNECTED | RESUMED, 12, true, true, model_storm},
    {"time", ALL & ~PENDING, 1, true, true, model_time},
    {"vmotion_timeout", PENDING, 4, true, true, model_time},
    {"linger", ALL & ~AWAY, 3, true, true, model_linger},
    {"linger of its own", AWAY, 4, true, true, model_linger},
};
const size_t model_event_count = sizeof model_events / sizeof *model_events;
