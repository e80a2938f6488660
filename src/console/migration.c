#include "migration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "console_event.h"

/* What the VM connection has made so, if there is one. why: what the list of events says to the sentence. */
static void tell(struct console *console, enum event_type type, struct log_rate *rate, const char *sentence,
                 const char *why)
{
    char peer[SOCK_TEXT] = "", keys[SOCK_TEXT + 8];
    if (console->vm)
        sock_addr_format(&console->vm->peer, peer);
    snprintf(keys, sizeof keys, " peer=%s", peer);
    console_event(console, &(struct console_event){type, rate, sentence, keys, peer, why});
}

static void tell_failed(struct console *console, const char *sentence, const char *why)
{
    tell(console, EVENT_MIGRATION_FAILED, &console->owner->migrations, sentence, why);
}

/* What has no effect. */
static void log_ignored(struct console *console, const char *what, const struct vm_conn *peer)
{
    vm_conn_log(peer, &console->owner->ignored, LOG_LEVEL_WARNING, what);
}

/* From where to where, and what the destination has told of itself, which is for the log only. */
static void tell_migrated(struct console *console, const struct vm_conn *source)
{
    char from[SOCK_TEXT] = "gone", to[SOCK_TEXT], uuid[UUID_TEXT] = "", detail[SOCK_TEXT + 8];
    char keys[sizeof(struct quoted) + 2 * SOCK_TEXT + UUID_TEXT + 64];
    const struct vm_conn *vm = console->vm;
    if (source)
        sock_addr_format(&source->peer, from);
    sock_addr_format(&vm->peer, to);
    if (vm->ext.has_uuid)
        uuid_format(vm->ext.uuid, uuid);
    snprintf(keys, sizeof keys, " from=%s to=%s uuid_there=%s name_there=%s", from, to, uuid,
             quote(vm->ext.name, vm->ext.name_len).s);
    snprintf(detail, sizeof detail, "from %s", from);
    console_event(console, &(struct console_event){
                               .type = EVENT_MIGRATION_DONE,
                               .rate = &console->owner->migrations,
                               .sentence = "VM migrated",
                               .keys = keys,
                               .who = to,
                               .detail = detail,
                           });
}

static void close_destination(struct migration *m)
{
    struct vm_conn *destination = m->destination;
    m->destination = NULL;
    if (!destination)
        return;
    destination->console = NULL;
    vm_conn_close(destination);
}

/* The migration is over: its cookie leads nowhere any more. */
static void forget(struct migration *m, enum figure outcome)
{
    struct console *console = m->console;
    figure_sub(&console->owner->figures, FIGURE_MIGRATING, 1);
    figure_add(&console->owner->figures, outcome, 1);
    directory_set_cookie(console->owner->shared->directory, console->entry, NULL);
    loop_timer_disarm(console->owner->loop, &m->timer);
    vmext_clear(&m->source);
    console->migration = NULL;
    free(m);
}

bool migration_keeps_input(const struct console *console)
{
    return console->migration && vmotion_keeps_input(&console->migration->vmotion);
}

static void on_time(struct loop_timer *timer);

static void arm(struct migration *m)
{
    struct console_owner *owner = m->console->owner;
    uint64_t now = loop_now(owner->loop);
    uint64_t due = vmotion_due(&m->vmotion, owner->config->vm.vmotion_timeout);
    loop_timer_arm(owner->loop, &m->timer, due > now ? due - now : 0, on_time);
}

/* Neither completed nor aborted in time. */
static void on_time(struct loop_timer *timer)
{
    struct migration *m = container_of(timer, struct migration, timer);
    struct console *console = m->console;
    unsigned actions = vmotion_happened(&m->vmotion, VMOTION_TIME, loop_now(console->owner->loop));
    if (!(actions & VMOTION_END))
        return;
    bool lost = actions & VMOTION_DISCONNECT;
    tell_failed(console, "VM migration abandoned, it was neither completed nor aborted in time",
                lost ? "both hosts are gone" : "not completed in time");
    close_destination(m);
    forget(m, lost ? FIGURE_MIGRATIONS_LOST : FIGURE_MIGRATIONS_TIMEOUT);
    if (lost)
        console_disconnected(console);
    else
        vm_conn_flush(console->vm);
}

bool migration_begin(struct console *console, const struct vmext_cookie *sequence)
{
    struct vm_conn *vm = console->vm;
    struct vmext_cookie cookie = *sequence;
    /* A machine that has just been switched on may have none yet. */
    if (getrandom(cookie.secret, sizeof cookie.secret, GRND_NONBLOCK) != (ssize_t)sizeof cookie.secret) {
        log_ignored(console, "VM may not migrate now, there are no random numbers", vm);
        return false;
    }
    struct migration *m = console->migration;
    if (!m) {
        m = console->migration = xcalloc(1, sizeof *m);
        m->console = console;
        figure_add(&console->owner->figures, FIGURE_MIGRATING, 1);
    }
    unsigned actions = vmotion_happened(&m->vmotion, VMOTION_BEGIN, loop_now(console->owner->loop));
    bool replaces = actions & VMOTION_END;
    if (replaces) {
        close_destination(m);
        figure_add(&console->owner->figures, FIGURE_MIGRATIONS_OTHER, 1);
    }
    if (!(actions & VMOTION_GOAHEAD)) {
        log_ignored(console, "VMOTION-BEGIN ignored, the VM has just migrated", vm);
        return true;
    }
    m->vmotion.cookie = cookie;
    directory_set_cookie(console->owner->shared->directory, console->entry, &m->vmotion.cookie);
    vmext_put_vmotion(&vm->out, VMEXT_VMOTION_GOAHEAD, &m->vmotion.cookie);
    vm->out_open = vm->out.len;
    arm(m);
    tell(console, EVENT_MIGRATION_BEGUN, replaces ? &console->owner->ignored : &console->owner->migrations,
         "VM migration begins", replaces ? "instead of an earlier one" : "");
    return true;
}

bool migration_accept(struct console *console, struct vm_conn *conn, const struct vmext_cookie *cookie)
{
    struct migration *m = console->migration;
    if (!m || !vmext_cookie_equal(&m->vmotion.cookie, cookie))
        return false;
    if (m->destination != conn) {
        close_destination(m);
        m->destination = conn;
    }
    return true;
}

/* The destination takes the source's place. */
static void switch_over(struct migration *m)
{
    struct console *console = m->console;
    struct vm_conn *source = console->vm, *vm = m->destination;
    m->destination = NULL;
    console->vm = vm;
    vm_conn_become_attached(vm);
    if (vm->number > console->number)
        console->number = vm->number;
    tell_migrated(console, source);
    vmext_succeed(&vm->ext, source ? &source->ext : &m->source);
    if (source) {
        source->console = NULL;
        vm_conn_end(source);
    }
    console_keep_whole_input(console);
    forget(m, FIGURE_MIGRATIONS_DONE);
    console_renamed(console);
}

bool migration_complete(struct vm_conn *destination, const struct vmext_cookie *sequence)
{
    struct console *console = destination->console;
    struct migration *m = console->migration;
    uint64_t now = loop_now(console->owner->loop);
    if (sequence->sequence_len != m->vmotion.cookie.sequence_len ||
        memcmp(sequence->sequence, m->vmotion.cookie.sequence, sequence->sequence_len) != 0) {
        log_ignored(console, "VMOTION-COMPLETE ignored, its sequence is not the pending migration's",
                    destination);
        return false;
    }
    if (vmotion_happened(&m->vmotion, VMOTION_COMPLETE, now) & VMOTION_DRAIN && console->vm)
        vm_conn_drain(console->vm);
    if (vmotion_happened(&m->vmotion, VMOTION_DRAINED, now) & VMOTION_SWITCH)
        switch_over(m);
    return true;
}

void migration_abort(struct console *console)
{
    struct migration *m = console->migration;
    unsigned actions = VMOTION_IGNORED;
    if (m)
        actions = vmotion_happened(&m->vmotion, VMOTION_ABORT, loop_now(console->owner->loop));
    if (actions & VMOTION_IGNORED) {
        log_ignored(console, "VMOTION-ABORT ignored, no migration is pending", console->vm);
        return;
    }
    tell_failed(console, "VM migration aborted by its host", "aborted by its host");
    close_destination(m);
    forget(m, FIGURE_MIGRATIONS_ABORTED);
}

void migration_source_spoke(struct console *console)
{
    struct migration *m = console->migration;
    bool was_frozen = m->vmotion.state == VMOTION_FROZEN;
    vmotion_happened(&m->vmotion, VMOTION_SOURCE_SPOKE, loop_now(console->owner->loop));
    if (was_frozen)
        vm_conn_log(console->vm, &console->owner->migrations, LOG_LEVEL_INFO,
                    "VM runs on at its old host, which did not say so");
}

bool migration_source_lost(struct console *console)
{
    struct migration *m = console->migration;
    if (!m)
        return false;
    vmotion_happened(&m->vmotion, VMOTION_SOURCE_LOST, loop_now(console->owner->loop));
    m->source = vmext_copy_identity(&console->vm->ext);
    console_keep_whole_input(console);
    arm(m);
    return true;
}

void migration_destination_lost(struct vm_conn *destination)
{
    struct migration *m = destination->console->migration;
    m->destination = NULL;
    destination->console = NULL;
}

void migration_end(struct console *console, const char *why)
{
    struct migration *m = console->migration;
    if (!m)
        return;
    vmotion_happened(&m->vmotion, VMOTION_TAKEN_OVER, loop_now(console->owner->loop));
    tell_failed(console, "VM migration ended before it was complete", why);
    close_destination(m);
    forget(m, FIGURE_MIGRATIONS_OTHER);
}

void migration_reload(struct console *console)
{
    struct migration *m = console->migration;
    if (!m)
        return;
    if (m->destination)
        vm_conn_reload(m->destination);
    arm(m);
}
