/* Storms: a user types more than the VM's host takes, so that vspcd, with input in hand and perhaps half an
 * escape sent, has to begin a migration, lose the VM, or give the console to another connection. What the one
 * connection has received is a beginning of what was typed, and the other must receive just the rest. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <utlist.h>

#include "model_event.h"

enum {
    IAC = 255,
    BRK = 243,
    STORM_MIN = 120 * 1024,
    STORM_MORE = 60 * 1024,
    STABLE_LOOKS = 3,
    USER_PIECE = 16384,
    INPUT_LOOKS = 40
};

struct storm {
    struct model *m;
    struct model_console *c;
    struct model_conn *source, *newcomer;
    struct bytes typed; /* and not known to be received by anybody */
};

/* The user types, mostly 255, which are two bytes to the VM each, and BREAK now and then. */
static void type_much(struct storm *s)
{
    struct user *user = s->c->users->user;
    size_t len = STORM_MIN + model_random(s->m, STORM_MORE);
    uint8_t *keys = xmalloc(len);
    memset(keys, IAC, len);
    /* vspcd reads a piece at a time, of which the kernel takes an even number of bytes as a rule: half of an
     * escape, when a lone byte is in front of them. */
    for (size_t i = 0; i + 1 < len; i += USER_PIECE / 2)
        keys[i] = (uint8_t)model_random(s->m, 255);
    for (size_t i = 8; i + 1 < len; i += 2 + model_random(s->m, 512)) {
        keys[i] = (uint8_t)model_random(s->m, 255);
        keys[i + 1] = (uint8_t)model_random(s->m, 255);
    }
    model_put_input(&s->typed, keys, len);
    free(keys);
    if (model_random(s->m, 2))
        bytes_put(&s->typed, (uint8_t[]){IAC, BRK}, 2);
    /* As a telnet user writes it too. */
    user_send_raw(user, bytes_at(&s->typed), s->typed.len);
}

/* Waits until the VM's socket takes no more. */
static void wait_until_full(struct storm *s)
{
    int before = -1, now = 0;
    for (int same = 0; same < STABLE_LOOKS; same = now == before ? same + 1 : 0, before = now) {
        env_nap();
        if (ioctl(s->source->fd, FIONREAD, &now) < 0)
            env_fail("FIONREAD: %s", strerror(errno));
    }
}

/* What the source has received is now known: takes it off what was typed. */
static void take_received(struct storm *s)
{
    struct bytes *got = &s->source->got;
    if (got->len > s->typed.len || (got->len && memcmp(bytes_at(got), bytes_at(&s->typed), got->len) != 0))
        env_fail("port %d received other input than was typed, %zu bytes of it", s->source->port, got->len);
    model_note(s->m, s->c, "port %d received %zu bytes, %zu are left", s->source->port, got->len,
               s->typed.len - got->len);
    bytes_drop(&s->typed, got->len);
    bytes_clear(got);
    s->source->unmatched = false;
}

/* The source reads again, up to GOAHEAD, or (end) to its end. */
static void read_source(struct storm *s, bool end)
{
    struct model_conn *conn = s->source;
    uint64_t deadline = clock_ms() + SOON;
    conn->deaf = false;
    for (;;) {
        model_conn_pump(conn);
        if (s->newcomer)
            model_conn_pump(s->newcomer);
        if (end ? conn->fd < 0 : conn->control.len != 0)
            break;
        if (clock_ms() >= deadline)
            env_fail("port %d does not get %s", conn->port, end ? "its end" : "GOAHEAD");
        struct pollfd ready[2] = {{.fd = conn->fd, .events = POLLIN},
                                  {.fd = s->newcomer ? s->newcomer->fd : -1, .events = POLLIN}};
        poll(ready, 2, 1000);
    }
    take_received(s);
}

/* Waits with the source's GOAHEAD in hand: what is left of the input is kept. */
static void go_ahead(struct storm *s)
{
    read_source(s, false);
    model_append(&s->c->kept, &s->typed);
    bytes_clear(&s->typed);
    s->c->swamped = true;
    model_settle(s->m);
}

/* How a migration that keeps much goes on. */
static void end_migration(struct storm *s)
{
    struct model *m = s->m;
    struct model_console *c = s->c;
    unsigned how = model_random(m, 6);
    if (how <= 2) {
        model_peer(m, c);
        model_settle(m);
        if (how == 1)
            model_hang_up(m, c, false);
        model_settle(m);
        model_complete(m, c);
    } else if (how == 3 && model_may_take_over(c)) {
        model_arrive(m, c);
    } else if (how == 4) {
        model_print(m, c, c->current);
    } else {
        model_abort(m, c);
    }
    model_wait(m);
    c->swamped = false;
}

/* The source hangs up with input in hand, which waits for another connection, or is dropped. */
static void lose_source(struct storm *s)
{
    struct model *m = s->m;
    struct model_console *c = s->c;
    model_append(&c->kept, &s->typed);
    model_hang_up(m, c, false);
    read_source(s, true);
    bytes_clear(&c->kept);
    if (!c->phase)
        return;
    model_append(&c->kept, &s->typed);
    model_arrive(m, c);
}

/* Waits until the newcomer is given input, while the source still does not read, or nothing is left. */
static void wait_for_input(struct storm *s)
{
    for (int i = 0; i < INPUT_LOOKS && !s->newcomer->got.len; i++) {
        model_conn_pump(s->newcomer);
        env_nap();
    }
}

/* Another connection takes the source's place, and its input: a destination (completes), or an ordinary one.
 */
static void replace_source(struct storm *s, bool completes)
{
    if (completes) {
        s->newcomer = s->c->destination;
        model_complete(s->m, s->c);
    } else {
        s->newcomer = model_arrive(s->m, s->c);
    }
    if (!s->newcomer)
        env_fail("a takeover took too long");
    s->newcomer->unmatched = true;
    wait_for_input(s);
    read_source(s, true);
    model_append(&s->newcomer->want, &s->typed);
    s->newcomer->unmatched = false;
}

/* A migration is pending whose source runs on all the same, and is sent input as any other. */
static void resume(struct model *m, struct model_console *c)
{
    model_begin_migration(m, c);
    model_settle(m);
    model_peer(m, c);
    model_settle(m);
    model_print(m, c, c->current);
    model_settle(m);
}

bool model_storm(struct model *m, struct model_console *c)
{
    struct storm s = {.m = m, .c = c, .source = c->current};
    if (!c->users || !model_may_take_over(c))
        return false;
    if (!c->phase && model_random(m, 3) == 0)
        resume(m, c);
    bool completes = c->destination && model_random(m, 4);
    bool begins = !completes && model_random(m, 2), goes_ahead = begins && model_random(m, 2);
    model_note(m, c, "a user types much, port %d does not read%s%s", s.source->port,
               begins ? ", and begins a migration" : "", goes_ahead ? ", then reads" : "");
    s.source->deaf = s.source->unmatched = true;
    type_much(&s);
    wait_until_full(&s);
    if (begins) {
        model_begin_migration(m, c);
        model_conn_pump(s.source);
    }
    if (goes_ahead) {
        go_ahead(&s);
        end_migration(&s);
    } else {
        c->swamped = true;
        if (!completes && model_random(m, 2))
            lose_source(&s);
        else
            replace_source(&s, completes);
        /* Whether GOAHEAD left before the end depends on how much the kernel took. */
        bytes_clear(&s.source->control);
        bytes_clear(&s.source->want_control);
        model_wait(m);
        c->swamped = false;
    }
    bytes_clear(&s.typed);
    model_settle(m);
    return true;
}
