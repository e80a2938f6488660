#include "console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "access.h"
#include "console_event.h"
#include "migration.h"

enum {
    TAKEOVERS_MAX = 3,    /* in TAKEOVERS_MS, from connections that were still open */
    TAKEOVERS_MS = 10000, /* also how long newcomers are refused then */
    OPEN_RETRY_MS = 20,   /* between looks for a port that another console gives up */
    OPEN_TRIES = 50,
    OPEN_ASK_EVERY = 10, /* tries between asking one more console to give way */
};

struct console *console_new(struct console_owner *owner, struct directory_entry *entry)
{
    struct console *console = xcalloc(1, sizeof *console);
    console->owner = owner;
    console->entry = entry;
    console->state = CONSOLE_OPENING;
    console->listener.fd = -1;
    entry->console = console;
    DL_APPEND(owner->consoles, console);
    figure_add(&owner->figures, FIGURE_CONSOLES, 1);
    return console;
}

const char *console_label(const struct console *console)
{
    const struct directory_entry *entry = console->entry;
    return entry->identity + entry->identity_len - console->label_len;
}

bool console_uuid(const struct console *console, uint8_t uuid[UUID_SIZE])
{
    const char *digits = console->entry->identity + strlen("uuid:");
    if (memcmp(console->entry->identity, "uuid:", strlen("uuid:")) != 0)
        return false;
    for (size_t i = 0; i < UUID_SIZE; i++)
        uuid[i] = (uint8_t)(hex_digit(digits[2 * i]) << 4 | hex_digit(digits[2 * i + 1]));
    return true;
}

/* What the log and the mapping call the VM. */
static struct quoted console_name(const struct console *console)
{
    return quote(console->name, console->name_len);
}

/* Tells Redis where the VM is, under the name it has now. */
static void publish(struct console *console)
{
    struct vmext *ext = &console->vm->ext;
    struct mapping_vm vm = {
        .identity = console->entry->identity,
        .identity_len = console->entry->identity_len,
        .number = console->attachment,
        .name = ext->name,
        .name_len = ext->name_len,
        .has_uuid = ext->has_uuid,
        .label = ext->label,
        .port = console->port,
    };
    memcpy(vm.uuid, ext->uuid, UUID_SIZE);
    mapping_publish(console->owner->shared->mapping, &vm);
}

/* The log goes on in the file of the name that the console has now. */
static void name_log(struct console *console)
{
    const struct vmext *ext = &console->vm->ext;
    struct console_log_name name = {
        .name = console->name,
        .name_len = console->name_len,
        .has_uuid = ext->has_uuid,
        .label = ext->label,
    };
    memcpy(name.uuid, ext->uuid, UUID_SIZE);
    console_log_name(console->owner->log_writer, &console->log, &name);
}

/* Takes the name that the VM connection has told. Result: whether it is another one. */
static bool remember_name(struct console *console)
{
    struct vmext *ext = &console->vm->ext;
    char uuid[UUID_TEXT];
    const char *name = ext->name;
    uint8_t len = ext->name_len;
    if (!len) {
        uuid_format(ext->uuid, uuid);
        name = uuid;
        len = (uint8_t)strlen(uuid);
    }
    if (console->name && console->name_len == len && memcmp(console->name, name, len) == 0)
        return false;
    free(console->name);
    console->name = xmemdup0(name, len);
    console->name_len = len;
    name_log(console);
    return true;
}

void console_renamed(struct console *console)
{
    struct quoted before = console_name(console);
    char sentence[sizeof before + 32];
    if (!remember_name(console))
        return;
    snprintf(sentence, sizeof sentence, "VM renamed from=%s", before.s);
    console_event(console, &(struct console_event){
                               .type = EVENT_VM_RENAMED,
                               .rate = &console->owner->renames,
                               .sentence = sentence,
                               .detail = before.s,
                           });
    if (console->state == CONSOLE_CONNECTED) {
        console_port_connected(console);
        publish(console);
    }
}

static void tell_connected(struct console *console)
{
    char peer[SOCK_TEXT], uuid[UUID_TEXT] = "", keys[256];
    const struct vm_conn *vm = console->vm;
    sock_addr_format(&vm->peer, peer);
    if (vm->ext.has_uuid)
        uuid_format(vm->ext.uuid, uuid);
    snprintf(keys, sizeof keys, " uuid=%s label=%s peer=%s worker=%u", uuid, vm->ext.label, peer,
             console->owner->worker);
    console_event(console, &(struct console_event){
                               .type = EVENT_VM_UP,
                               .rate = &console->owner->vms,
                               .sentence = "VM connected",
                               .keys = keys,
                               .who = peer,
                           });
}

/* The console is about to end. */
static void tell_ended(struct console *console, const char *sentence, const char *why)
{
    console_event(console, &(struct console_event){
                               .type = EVENT_CONSOLE_ENDED,
                               .rate = &console->owner->vms,
                               .sentence = sentence,
                               .detail = why,
                           });
}

/* The console has a VM and a port. */
static void set_connected(struct console *console)
{
    bool lingered = console->state == CONSOLE_LINGERING;
    console->state = CONSOLE_CONNECTED;
    if (lingered) {
        loop_timer_disarm(console->owner->loop, &console->timer);
        directory_linger_end(console->owner->shared->directory, console->entry);
    }
    console_port_connected(console);
    publish(console);
    figure_add(&console->owner->figures, FIGURE_HANDSHAKES_DONE, 1);
    tell_connected(console);
    if (lingered)
        console_notice(console, "VM connected");
}

/* There is no port for this console: ends it and closes its VM connection. */
static void refuse_opening(struct console *console, int err)
{
    struct vm_conn *vm = console->vm;
    char text[sizeof(struct quoted) + 128];
    snprintf(text, sizeof text, "VM refused, %s vm=%s",
             err == -EAGAIN ? "no user port is free: raise [user] max_ports" : strerror(-err),
             console_name(console).s);
    console_log_refusal(console->owner, &console->owner->shared->vm_refusals, text, &vm->peer);
    figure_add(&console->owner->figures, FIGURE_HANDSHAKES_NO_PORT, 1);
    console->vm = NULL;
    vm->console = NULL;
    console_end(console);
    vm_conn_close(vm);
}

static void on_open_retry(struct loop_timer *timer);

/* Tries to open the user port, again and again for a second while others may give one up. Result: whether the
 * console still is. */
static bool try_open(struct console *console)
{
    struct console_owner *owner = console->owner;
    int err = console_port_open(console);
    if (err == 0) {
        set_connected(console);
        return true;
    }
    if (err == -EAGAIN && console->open_tries < OPEN_TRIES) {
        struct directory_entry *entry = NULL;
        if (console->open_tries % OPEN_ASK_EVERY == 0)
            entry = directory_pick_lingering(owner->shared->directory);
        if (entry)
            console_owner_give_way(entry);
        if (entry || console->open_tries) {
            console->open_tries++;
            loop_timer_arm(owner->loop, &console->timer, OPEN_RETRY_MS, on_open_retry);
            return true;
        }
    }
    refuse_opening(console, err);
    return false;
}

static void on_open_retry(struct loop_timer *timer)
{
    try_open(container_of(timer, struct console, timer));
}

/* More than TAKEOVERS_MAX takeovers in TAKEOVERS_MS: two VMs fight for one identity. */
static bool takeover_allowed(struct console *console, uint64_t now)
{
    if (now < console->refuse_until_ms)
        return false;
    if (now - console->takeovers_since_ms >= TAKEOVERS_MS) {
        console->takeovers_since_ms = now;
        console->takeovers = 0;
    }
    if (++console->takeovers <= TAKEOVERS_MAX)
        return true;
    console->refuse_until_ms = now + TAKEOVERS_MS;
    console->takeovers = 0;
    return false;
}

static void log_takeover(struct console *console, const struct vm_conn *newcomer, bool allowed)
{
    char from[SOCK_TEXT], to[SOCK_TEXT];
    unsigned suppressed;
    struct console_owner *owner = console->owner;
    if (!log_rate_allows(&owner->takeovers, loop_now(owner->loop), &suppressed))
        return;
    sock_addr_format(&console->vm->peer, from);
    sock_addr_format(&newcomer->peer, to);
    log_warning("%s: two serial ports without ?port=, or a copied VM? vm=%s port=%u connected=%s newcomer=%s "
                "not_logged_before=%u",
                allowed ? "VM taken over from a connection that was still open"
                        : "VM refused for 10 s, taken over too often",
                console_name(console).s, console->port, from, to, suppressed);
}

/* Takes the VM connection off the console and closes it. */
static void drop_vm(struct console *console)
{
    struct vm_conn *old = console->vm;
    console->vm = NULL;
    old->console = NULL;
    vm_conn_end(old);
}

/* A newer connection of the same VM has come while the console has one. Result: whether it may have the
 * console. */
static bool take_over(struct console *console, struct vm_conn *newcomer)
{
    /* What the old one has sent comes first, and tells whether it has hung up already. */
    if (vm_conn_drain(console->vm)) {
        bool allowed = takeover_allowed(console, loop_now(console->owner->loop));
        log_takeover(console, newcomer, allowed);
        if (!allowed) {
            figure_add(&console->owner->figures, FIGURE_HANDSHAKES_TAKEOVERS, 1);
            vm_conn_flush(console->vm);
            return false;
        }
        figure_add(&console->owner->figures, FIGURE_TAKEOVERS, 1);
    }
    drop_vm(console);
    console_keep_whole_input(console);
    return true;
}

void console_keep_whole_input(struct console *console)
{
    struct bytes input = console->input;
    uint8_t iac = TN_IAC;
    if (!console->input_mid_escape)
        return;
    console->input = (struct bytes){0};
    bytes_put(&console->input, &iac, 1);
    bytes_put(&console->input, bytes_at(&input), input.len);
    bytes_clear(&input);
    console->input_mid_escape = false;
}

bool console_attach(struct console *console, struct vm_conn *conn)
{
    bool older = conn->number < console->number;
    if (older)
        figure_add(&console->owner->figures, FIGURE_HANDSHAKES_OLD, 1);
    if (older || (console->vm && !take_over(console, conn))) {
        log_debug("VM connection closed, the console has another vm=%s", console_name(console).s);
        vm_conn_close(conn);
        return false;
    }
    migration_end(console, "another connection of the VM has come");
    if (conn->state == VM_HANDSHAKE)
        vm_handshake_unlist(conn);
    vm_conn_become_attached(conn);
    conn->console = console;
    console->vm = conn;
    console->number = conn->number;
    /* Not the connection's number for the mapping: where a console has ended, an older connection that was
     * slow to identify itself may make it anew, and must not be taken for an update that is late. */
    console->attachment = atomic_fetch_add(&console->owner->shared->attachments, 1) + 1;
    console->label_len = (uint8_t)strlen(conn->ext.label);
    remember_name(console);
    /* Of its two descriptors, the second is the console's user port; a console that has one needs no other.
     */
    conn->descriptors = 1;
    if (console->port || console->open_tries)
        admission_give(&console->owner->shared->admission, 1);
    if (console->state != CONSOLE_OPENING) {
        set_connected(console);
        return true;
    }
    return console->open_tries ? true : try_open(console);
}

static void on_linger_over(struct loop_timer *timer)
{
    struct console *console = container_of(timer, struct console, timer);
    tell_ended(console, "Console ended, its VM did not come back", "its VM did not come back");
    console_end(console);
}

void console_vm_lost(struct console *console)
{
    bool between_hosts = migration_source_lost(console);
    console->vm = NULL;
    if (!between_hosts)
        console_disconnected(console);
}

void console_disconnected(struct console *console)
{
    struct console_owner *owner = console->owner;
    const struct config *config = owner->config;
    bytes_clear(&console->input);
    console->input_mid_escape = false;
    console_input_taken(console);
    if (console->state == CONSOLE_CONNECTED) {
        mapping_remove(owner->shared->mapping, console->entry->identity, console->entry->identity_len,
                       console->attachment);
        port_pool_disconnected(owner->shared->ports, console->port, time(NULL));
        console_event(console, &(struct console_event){.type = EVENT_VM_DOWN,
                                                       .rate = &owner->vms,
                                                       .sentence = "VM disconnected"});
        console_notice(console, "VM disconnected");
    }
    bool opening = console->state == CONSOLE_OPENING;
    console->state = CONSOLE_LINGERING;
    if (opening || config->user.linger == 0) {
        if (!opening)
            tell_ended(console, "Console ended, [user] linger is 0", "linger is 0");
        console_end(console);
        return;
    }
    console->lingering_since_ms = loop_now(owner->loop);
    loop_timer_arm(owner->loop, &console->timer, config->user.linger, on_linger_over);
    directory_linger(owner->shared->directory, console->entry, console->lingering_since_ms,
                     console->user_count > 0);
}

void console_end(struct console *console)
{
    struct console_owner *owner = console->owner;
    struct console_shared *shared = owner->shared;
    struct directory_entry *entry = console->entry;
    struct user_conn *user, *next;
    migration_end(console, "its console ended");
    if (console->state == CONSOLE_CONNECTED) {
        mapping_remove(shared->mapping, entry->identity, entry->identity_len, console->attachment);
        port_pool_disconnected(shared->ports, console->port, time(NULL));
    }
    console->state = CONSOLE_ENDED;
    loop_timer_disarm(owner->loop, &console->timer);
    DL_FOREACH_SAFE(console->users, user, next)
    {
        user_conn_close_for(user, "its console ended");
    }
    console_port_close(console);
    admission_give(&shared->admission, 1);
    DL_DELETE(owner->consoles, console);
    figure_sub(&owner->figures, FIGURE_CONSOLES, 1);
    entry->console = NULL;
    directory_release(shared->directory, entry);
    free(console->name);
    bytes_clear(&console->input);
    ring_clear(&console->ring);
    console_log_close(&console->log);
    loop_free_later(owner->loop, console);
}

void console_give_way(void *arg)
{
    struct directory_entry *entry = arg;
    struct console_owner *owner = entry->owner;
    struct console *console = entry->console;
    directory_unpin(owner->shared->directory, entry);
    if (!console) {
        directory_release(owner->shared->directory, entry);
    } else if (console->state == CONSOLE_LINGERING) {
        tell_ended(console, "Console ended before its time, ports or descriptors are short",
                   "ports or descriptors are short");
        console_end(console);
    }
}

void console_reload(struct console *console)
{
    const struct config *config = console->owner->config;
    struct user_conn *user;
    if (console->vm)
        vm_conn_reload(console->vm);
    migration_reload(console);
    DL_FOREACH(console->users, user)
    {
        if (!user->attached)
            sock_set_keepalive(user->io.fd, config->user.keepalive);
        user_conn_arm_idle(user);
    }
    access_reload(console);
    console_flush_users(console);
    if (!console->users)
        ring_shrink(&console->ring, config->user.scrollback);
    if (console->state == CONSOLE_LINGERING) {
        uint64_t gone = loop_now(console->owner->loop) - console->lingering_since_ms;
        uint64_t left = gone < config->user.linger ? config->user.linger - gone : 0;
        loop_timer_arm(console->owner->loop, &console->timer, left, on_linger_over);
    }
}
