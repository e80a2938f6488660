/* How a model's waiting is done: until everybody has what must come, and until vspcd has seen everything that
 * was done to it. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "model.h"

enum { IAC = 255, AYT = 246, STRANGE_CODE = 99, POLLED_MAX = 64 };

/* Less than the 30 s after which a VM without a source is given up. */
enum { LATE_MS = SOON / 2 };

/* What one turn looks at. */
struct turn {
    struct pollfd fds[POLLED_MAX];
    nfds_t count;
    const char *lacks; /* NULL: nothing */
    const char *who;
};

static void look_at_conn(struct turn *turn, struct model_conn *conn)
{
    if (!conn)
        return;
    model_conn_pump(conn);
    const char *lacks = model_conn_lacks(conn);
    if (lacks) {
        turn->lacks = lacks;
        turn->who = conn->name;
    }
    if (conn->fd >= 0 && !conn->deaf && turn->count < POLLED_MAX)
        turn->fds[turn->count++] =
            (struct pollfd){.fd = conn->fd, .events = (short)(POLLIN | (conn->vm.out.len ? POLLOUT : 0))};
}

static void look_at_user(struct turn *turn, struct model_user *user)
{
    model_user_pump(user);
    const char *lacks = model_user_lacks(user);
    if (lacks) {
        turn->lacks = lacks;
        turn->who = "a user";
    }
    if (!user->user->closed_by_peer && turn->count < POLLED_MAX)
        turn->fds[turn->count++] = (struct pollfd){.fd = user->user->fd, .events = POLLIN};
}

/* Removes those that are closed, and should be. */
static void clear_away(struct model_console *c)
{
    struct model_conn *conn, *next_conn;
    struct model_user *user, *next;
    DL_FOREACH_SAFE(c->users, user, next)
    {
        if (!user->must_close)
            continue;
        DL_DELETE(c->users, user);
        model_user_free(user);
    }
    DL_FOREACH_SAFE(c->strangers, conn, next_conn)
    {
        if (conn->role != MODEL_CLOSED || conn->deaf)
            continue;
        DL_DELETE(c->strangers, conn);
        model_conn_free(conn);
    }
}

static void look(struct model *m, struct turn *turn)
{
    struct model_conn *conn;
    struct model_user *user;
    *turn = (struct turn){.lacks = NULL};
    for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++) {
        look_at_conn(turn, c->current);
        look_at_conn(turn, c->destination);
        DL_FOREACH(c->strangers, conn)
        {
            look_at_conn(turn, conn);
        }
        DL_FOREACH(c->users, user)
        {
            look_at_user(turn, user);
        }
    }
    DL_FOREACH(m->doomed, conn)
    {
        look_at_conn(turn, conn);
    }
}

void model_wait(struct model *m)
{
    struct turn turn;
    uint64_t deadline = clock_ms() + LATE_MS;
    for (look(m, &turn); turn.lacks; look(m, &turn)) {
        uint64_t now = clock_ms();
        if (now >= deadline)
            env_fail("%s does not get %s", turn.who, turn.lacks);
        poll(turn.fds, turn.count, (int)(deadline - now));
    }
    for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++) {
        clear_away(c);
        if (c->phase && c->current && c->current->vm.migration)
            c->cookie = *c->current->vm.migration;
    }
}

static unsigned users_of(const struct model_console *c)
{
    const struct model_user *user;
    unsigned n = 0;
    DL_FOREACH(c->users, user)
    {
        n++;
    }
    return n;
}

static char *answer_to_ayt(const struct model_console *c, unsigned users)
{
    return xasprintf("\r\n[vspc: %s, VM %s, %u users]\r\n", c->name,
                     c->current || c->phase ? "connected" : "disconnected", users);
}

/* Something that only the answer to AYT tells: asks until it does. */
static void wait_for_answer(struct model_console *c)
{
    static const char begin[] = "\r\n[vspc: ", end[] = " users]\r\n";
    struct user *user = c->users->user;
    char *answer = answer_to_ayt(c, users_of(c));
    size_t len = strlen(answer);
    uint64_t deadline = clock_ms() + LATE_MS;
    for (bool done = false; !done;) {
        const uint8_t *found = NULL;
        user_send_raw(user, (uint8_t[]){IAC, AYT}, 2);
        while (!found && user_pump(user) && clock_ms() < deadline) {
            poll(&(struct pollfd){.fd = user->fd, .events = POLLIN}, 1, user->in.len ? 1 : 1000);
            found = user->in.len ? memmem(bytes_at(&user->in), user->in.len, end, strlen(end)) : NULL;
        }
        if (!found || memcmp(bytes_at(&user->in), begin, strlen(begin)) != 0)
            env_fail("AYT is answered %s", quote(bytes_at(&user->in), user->in.len).s);
        done = user->in.len == len && memcmp(bytes_at(&user->in), answer, len) == 0;
        if (!done && clock_ms() >= deadline)
            env_fail("AYT is answered %s instead of %s", quote(bytes_at(&user->in), user->in.len).s, answer);
        bytes_drop(&user->in, (size_t)(found - bytes_at(&user->in)) + strlen(end));
    }
    free(answer);
    c->recount = false;
}

/* Asks a VM connection's worker something, when it may answer. */
static void ask_conn(struct model_conn *conn)
{
    if (!conn || conn->fd < 0 || conn->deaf || conn->must_close || conn->role == MODEL_DOOMED)
        return;
    vm_client_send_sub(&conn->vm, STRANGE_CODE, NULL, 0);
    model_conn_want_unknown(conn, STRANGE_CODE);
}

static void ask_all(struct model_console *c)
{
    struct model_conn *conn;
    struct model_user *user;
    if (c->recount && c->users && !c->swamped)
        wait_for_answer(c);
    DL_FOREACH(c->users, user)
    {
        if (c->swamped)
            break;
        char *answer = answer_to_ayt(c, users_of(c));
        bytes_put(&user->want, answer, strlen(answer));
        user_send_raw(user->user, (uint8_t[]){IAC, AYT}, 2);
        free(answer);
    }
    if (c->phase != MODEL_FROZEN)
        ask_conn(c->current);
    ask_conn(c->destination);
    DL_FOREACH(c->strangers, conn)
    {
        ask_conn(conn);
    }
}

/* What has been done before the first of two rounds of questions, vspcd has seen before it answers the
 * second: an event that was there before a question is handled in the same turn of its worker at the latest.
 */
void model_settle(struct model *m)
{
    struct turn turn;
    model_wait(m);
    for (int round = 0; round < 2; round++) {
        for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++)
            ask_all(c);
        model_wait(m);
    }
    look(m, &turn);
}
