/* SIGHUP: each kind of key takes effect on what runs, and a bad file on nothing. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleet.h"
#include "probe.h"

TestSuite(reload, .timeout = 240);

/* A running vspcd whose file may set anything but what the harness needs. */
static struct daemon *start_with(const char *text)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_write_config(d, text);
    daemon_start(d);
    return d;
}

static void reload_with(struct daemon *d, const char *text)
{
    daemon_write_config(d, text);
    probe_reload(d);
}

/* The same, until it has come to the worker of a console that has this user: its letter is handled before the
 * connections that come once the worker has been seen to go on. */
static void reload_at_worker(struct daemon *d, const char *text, struct vm_link *vm, struct user *user)
{
    reload_with(d, text);
    probe_delay(vm, user);
}

/* Whether the VM is served. When it is not, it must have been closed. */
static bool is_served(struct daemon *d, const struct vm_client_options *opt)
{
    struct vm_link *vm = vm_connect(d, opt);
    bool served = vm_link_identify(vm, SOON) == 0;
    if (!served)
        cr_assert_eq(vm->fd, -1);
    vm_stop(vm);
    return served;
}

/* A VM that comes and goes. Result: whether the log tells of it. */
static bool is_logged(struct daemon *d)
{
    static int count;
    char name[32];
    snprintf(name, sizeof name, "guest-%d", ++count);
    daemon_mark_log(d);
    vm_stop(vm_start_named(d, name));
    /* A warning is logged at either level, and behind the VM. */
    daemon_signal(d, SIGHUP);
    daemon_wait_log(d, "needs a restart key=server.node_id", SOON);
    return daemon_count_log(d, name) > 0;
}

Test(reload, log_level)
{
    struct daemon *d = start_with("");
    daemon_write_config(d, "[server]\nnode_id = other\n");
    cr_assert(is_logged(d));
    daemon_write_config(d, "[server]\nnode_id = other\nlog_level = warning\n");
    WAIT_FOR(!is_logged(d), SOON, "log_level = warning has no effect");
    daemon_write_config(d, "[server]\nnode_id = other\nlog_level = debug\n");
    WAIT_FOR(is_logged(d), SOON, "log_level = debug has no effect");
    daemon_stop(d);
}

Test(reload, service_uri)
{
    struct daemon *d = start_with("");
    struct vm_client_options opt = vm_options("vm");
    opt.uri = "one";
    cr_assert(is_served(d, &opt));
    reload_with(d, "[vm]\nservice_uri = two\n");
    cr_assert_not(is_served(d, &opt));
    probe_wait_line(d, "VM refused: set the serial port's Port URI", "peer=127.0.0.1:", SOON);
    opt.uri = "two";
    opt.query = "port=a";
    cr_assert(is_served(d, &opt));
    daemon_stop(d);
}

Test(reload, vm_allow)
{
    struct daemon *d = start_with("");
    struct vm_client_options opt = vm_options("vm");
    struct vm_link *there = vm_start_named(d, "there");
    reload_with(d, "[vm]\nallow = 10.0.0.0/8, fd00::/8\n");
    WAIT_FOR(!is_served(d, &opt), SOON, "[vm] allow has no effect");
    probe_wait_line(d, "VM refused, not in [vm] allow", "peer=127.0.0.1:", SOON);
    reload_with(d, "[vm]\nallow = 10.0.0.0/8, 127.0.0.0/8\n");
    WAIT_FOR(is_served(d, &opt), SOON, "[vm] allow has no effect");
    /* Who is connected stays. */
    cr_assert_eq(vm_link_pump(there), 0);
    vm_stop(there);
    daemon_stop(d);
}

/* Whether a new user is. One that is not must be closed without a byte. */
static bool is_let_in(uint16_t port)
{
    struct user *user = user_connect(port, USER_RAW);
    WAIT_FOR(!user_pump(user) || user->in.len, SOON, "a user is neither greeted nor refused");
    bool let_in = user->in.len > 0;
    user_close(user);
    return let_in;
}

Test(reload, user_allow)
{
    struct daemon *d = start_with("");
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    struct user *there = user_connect(port, USER_TELNET);
    reload_with(d, "[user]\nallow = 10.0.0.0/8\n");
    WAIT_FOR(!is_let_in(port), SOON, "[user] allow has no effect");
    probe_wait_line(d, "User refused, not in [user] allow", "peer=127.0.0.1:", SOON);
    reload_with(d, "[user]\nallow = 127.0.0.1\n");
    WAIT_FOR(is_let_in(port), SOON, "[user] allow has no effect");
    /* Who is connected stays. */
    probe_delay(vm, there);
    user_close(there);
    vm_stop(vm);
    daemon_stop(d);
}

Test(reload, handshake_timeout)
{
    struct daemon *d = start_with("[vm]\nhandshake_timeout = 1h\n");
    reload_with(d, "[vm]\nhandshake_timeout = 50ms\n");
    struct vm_client_options opt = vm_options("vm");
    struct vm_link *vm = vm_connect(d, &opt);
    /* Says nothing. */
    for (uint64_t from = clock_ms(); recv(vm->fd, (char[64]){0}, 64, MSG_DONTWAIT) != 0; env_nap())
        cr_assert_lt(clock_ms() - from, SOON, "a silent connection is not closed");
    probe_wait_line(d, "it did not identify itself within handshake_timeout", "peer=127.0.0.1:", SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(reload, linger_of_consoles_that_linger)
{
    struct daemon *d = start_with("[user]\nlinger = 1h\n");
    vm_stop(vm_start_named(d, "vm"));
    daemon_wait_log(d, "VM disconnected", SOON);
    uint16_t port = probe_port(d, "vm");
    struct user *user = user_connect(port, USER_TELNET);
    user_wait_text(user, "[vspc: VM disconnected]", SOON);
    reload_with(d, "[user]\nlinger = 2h\n");
    cr_assert(user_pump(user));
    reload_with(d, "[user]\nlinger = 20ms\n");
    user_wait_closed(user, SOON);
    user_close(user);
    daemon_wait_log(d, "Console ended, its VM did not come back vm=\"vm\"", SOON);
    WAIT_FOR(!(user = user_try_connect(port, USER_RAW)), SOON, "the user port is still open");
    daemon_stop(d);
}

Test(reload, scrollback_and_backlog)
{
    enum { PRINTED = 40000 };
    static char text[PRINTED];
    struct daemon *d = start_with("[user]\nscrollback = 64KiB\n");
    for (int i = 0; i < PRINTED; i++)
        text[i] = (char)('a' + i % 26);
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    struct user *first = user_connect(port, USER_TELNET);
    vm_print(vm, text, PRINTED);
    user_expect(first, text, PRINTED, SOON);
    reload_at_worker(d, "[user]\nscrollback = 100B\nbacklog = 1KiB\n", vm, first);
    vm_print(vm, text, 100);
    user_expect(first, text, 100, SOON);
    struct user *second = user_connect(port, USER_TELNET);
    user_expect(second, text, 100, SOON);
    /* A backlog smaller than one read of the VM must not cost a user that keeps up anything. */
    vm_print(vm, text, 3000);
    user_expect(first, text, 3000, SOON);
    user_expect(second, text, 3000, SOON);
    reload_at_worker(d, "[user]\nscrollback = 0\n", vm, first);
    struct user *third = user_connect(port, USER_TELNET);
    user_wait_negotiation(third, 251, 0, SOON);
    vm_print_text(vm, "new");
    user_expect_text(third, "new", SOON);
    user_close(first);
    user_close(second);
    user_close(third);
    vm_stop(vm);
    daemon_stop(d);
}

Test(reload, idle_timeout_of_users_who_are_there)
{
    struct daemon *d = start_with("");
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    struct user *telnet = user_connect(port, USER_TELNET), *raw = user_connect(port, USER_RAW);
    probe_delay(vm, telnet);
    user_wait_text(raw, "probe", SOON);
    reload_with(d, "[user]\nidle_timeout = 100ms\n");
    /* What the VM prints does not count. */
    WAIT_FOR(vm_link_send(vm, ".", 1, SOON) == 0 && !user_pump(telnet), SOON, "still connected");
    WAIT_FOR(vm_link_send(vm, ".", 1, SOON) == 0 && !user_pump(raw), SOON, "still connected");
    daemon_wait_log(d, "User disconnected: idle_timeout", SOON);
    user_close(telnet);
    user_close(raw);
    reload_with(d, "[user]\nidle_timeout = 0\n");
    probe_console(port, vm);
    vm_stop(vm);
    daemon_stop(d);
}

/* The keepalive timer of vspcd's end of a connection, as /proc/net/tcp has it. Result: in hundredths of a
 * second, or -1 when there is none. */
static long keepalive_left(const struct sock_addr *peer)
{
    char line[512];
    long left = -1;
    FILE *file = fopen("/proc/net/tcp", "r");
    while (file && fgets(line, sizeof line, file)) {
        unsigned remote, timer, state;
        unsigned long when;
        if (sscanf(line, "%*d: %*8x:%*4x %*8x:%4x %2x %*8x:%*8x %2x:%8lx", &remote, &state, &timer, &when) ==
                4 &&
            remote == sock_addr_port(peer) && state == 1 && timer == 2)
            left = (long)when;
    }
    if (file)
        fclose(file);
    return left;
}

Test(reload, keepalive_of_connections_that_are_there)
{
    struct daemon *d = start_with("[vm]\nkeepalive = 1h\n[user]\nkeepalive = 1h\n");
    struct vm_link *vm = vm_start_named(d, "vm");
    struct user *user = user_connect(probe_port(d, "vm"), USER_TELNET);
    probe_delay(vm, user);
    struct sock_addr vm_peer = {.len = sizeof vm_peer.in6}, user_peer = vm_peer;
    getsockname(vm->fd, &vm_peer.sa, &vm_peer.len);
    getsockname(user->fd, &user_peer.sa, &user_peer.len);
    WAIT_FOR(keepalive_left(&vm_peer) > 6000 && keepalive_left(&user_peer) > 6000, SOON, "no keepalive");
    reload_with(d, "[vm]\nkeepalive = 50s\n[user]\nkeepalive = 30s\n");
    WAIT_FOR(keepalive_left(&vm_peer) > 0 && keepalive_left(&vm_peer) <= 5000 &&
                 keepalive_left(&user_peer) > 0 && keepalive_left(&user_peer) <= 3000,
             SOON, "keepalive timers are at %ld and %ld", keepalive_left(&vm_peer),
             keepalive_left(&user_peer));
    reload_with(d, "[vm]\nkeepalive = 0\n[user]\nkeepalive = 0\n");
    WAIT_FOR(keepalive_left(&vm_peer) < 0 && keepalive_left(&user_peer) < 0, SOON, "keepalive is still on");
    vm_stop(vm);
    user_close(user);
    daemon_stop(d);
}

Test(reload, telnet_mode)
{
    struct daemon *d = start_with("[user]\ntelnet = always\n");
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    struct user *user = user_connect(port, USER_RAW);
    user_expect_text(user, "\xff\xfb", SOON);
    reload_at_worker(d, "[user]\ntelnet = never\n", vm, user);
    user_close(user);
    user = user_connect(port, USER_RAW);
    user_wait_text(user, "<probe", SOON);
    user_wait_text(user, ">", SOON);
    user_type(user, "now");
    vm_expect_text(vm, "now", SOON);
    vm_print(vm, "\xff!", 2);
    user_expect(user, "\xff!", 2, SOON);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}

Test(reload, a_key_that_needs_a_restart_is_named)
{
    struct daemon *d = start_with("");
    daemon_write_config(d, "[server]\nnode_id = other\nadvertise = elsewhere\n[user]\nlisten = 127.0.0.2\n");
    probe_reload(d);
    probe_wait_line(d, "needs a restart", "key=server.node_id", SOON);
    probe_wait_line(d, "needs a restart", "key=server.advertise", SOON);
    probe_wait_line(d, "needs a restart", "key=user.listen", SOON);
    cr_assert_eq(daemon_count_log(d, "needs a restart"), 3);
    struct vm_link *vm = vm_start_named(d, "vm");
    probe_console(probe_port(d, "vm"), vm);
    vm_stop(vm);
    daemon_stop(d);
}

Test(reload, a_bad_file_changes_nothing_and_is_named_with_its_line)
{
    static const char *const bad[][2] = {
        {"[user]\nlinger = 0\nlingr = 5s\n", "vspc1.ini:3"},
        {"[user]\nlinger = 0\n[server]\nlog_level = loud\n", "vspc1.ini:4"},
        {"[user]\nlinger = 0\nscrollback = 1MiB\nbacklog = 1KiB\n", "scrollback"},
        {"[user]\nlinger = 0\nlinger = 0\n", "vspc1.ini:3"},
    };
    struct daemon *d = start_with("[user]\nlinger = 1h\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        daemon_write_config(d, bad[i][0]);
        probe_reload_refused(d);
        probe_wait_line(d, "error: ", bad[i][1], SOON);
    }
    cr_assert_eq(unlink(d->config), 0);
    probe_reload_refused(d);
    daemon_mark_log(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    vm_stop(vm);
    daemon_wait_log(d, "VM disconnected", SOON);
    user_close(user_connect(port, USER_RAW));
    daemon_stop(d);
}

Test(reload, conf_d_is_read_again_and_wins)
{
    struct daemon *d = start_with("[user]\nallow = 10.0.0.0/8\n");
    struct vm_link *vm = vm_start_named(d, "vm");
    uint16_t port = probe_port(d, "vm");
    char *dir = xasprintf("%s/conf.d", env_dir()), *path = xasprintf("%s/50-open.ini", dir);
    cr_assert_eq(mkdir(dir, 0700), 0);
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs("[user]\nallow = 127.0.0.1\n", file) >= 0 && fclose(file) == 0);
    cr_assert_not(is_let_in(port));
    probe_reload(d);
    WAIT_FOR(is_let_in(port), SOON, "conf.d has no effect");
    cr_assert_eq(unlink(path), 0);
    probe_reload(d);
    WAIT_FOR(!is_let_in(port), SOON, "what is no longer in conf.d has an effect");
    vm_stop(vm);
    free(dir);
    free(path);
    daemon_stop(d);
}

/* The [redis] section for a server, and more. */
static void reload_redis(struct daemon *d, const struct redis *r, const char *more)
{
    char *text = xasprintf("[redis]\nhost = 127.0.0.1\nport = %u\n%s", r->port, more);
    reload_with(d, text);
    free(text);
}

Test(reload, redis)
{
    struct redis *a = redis_start(), *b = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    /* The file has all of it; the harness has switched it off by an option. */
    for (size_t i = 0; i < DAEMON_OVERRIDES_MAX && d->overrides[i]; i++)
        if (strcmp(d->overrides[i], "redis.enabled=no") == 0) {
            free(d->overrides[i]);
            d->overrides[i] = xstrdup("server.node_id=one");
        }
    daemon_write_config(d, "[redis]\nenabled = no\n");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    char *port = xasprintf("%u", probe_port(d, "vm"));

    reload_redis(d, a, "");
    redis_wait_hget(a, "VM:Port", "vm", port, SOON);
    probe_wait_maps(a, "one", 1, 0, SOON);
    reload_redis(d, a, "active_key_prefix = Active:VM:Port\n");
    WAIT_FOR(redis_number(a, "EXISTS Active:VM:Portvm") == 1, SOON, "no active key");
    reload_redis(d, a, "vm_port_map = other:ports\nvm_uuid_map = other:uuids\n");
    redis_wait_hget(a, "other:ports", "vm", port, SOON);
    WAIT_FOR(redis_number(a, "EXISTS Active:VM:Portvm VM:Port VM:UUID") == 0, SOON, "old keys are left");
    reload_redis(d, b, "");
    redis_wait_hget(b, "VM:Port", "vm", port, SOON);
    WAIT_FOR(redis_number(a, "DBSIZE") == 0, SOON, "entries are left in the old Redis");
    reload_redis(d, b, "enabled = no\n");
    WAIT_FOR(redis_number(b, "DBSIZE") == 0, SOON, "entries are left in Redis");
    reload_redis(d, b, "database = 3\n");
    WAIT_FOR(redis_number(b, "DBSIZE") == 0, SOON, "entries are in the wrong database");
    freeReplyObject(redis_ask(b, "SELECT 3"));
    redis_wait_hget(b, "VM:Port", "vm", port, SOON);

    /* From one that is frozen to another. */
    redis_freeze(b);
    reload_redis(d, a, "");
    redis_wait_hget(a, "VM:Port", "vm", port, SOON);
    redis_thaw(b);
    free(port);
    vm_stop(vm);
    probe_wait_maps(a, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(reload, again_and_again_while_vms_and_users_come_and_go)
{
    enum { VMS = 60, TURNS = 150 };
    static const char *const lingers[] = {"0", "1ms", "1h"}, *const modes[] = {"auto", "always", "never"};
    struct redis *a = redis_start(), *b = redis_start();
    struct daemon *d = daemon_new(VSPCD, VMS);
    daemon_set(d, "server.node_id", "one");
    daemon_use_redis(d, a);
    /* The file is to say which Redis. */
    for (size_t i = 0; i < DAEMON_OVERRIDES_MAX && d->overrides[i]; i++)
        if (strncmp(d->overrides[i], "redis.port=", strlen("redis.port=")) == 0) {
            free(d->overrides[i]);
            d->overrides[i] = xstrdup("server.workers=3");
        }
    char *first = xasprintf("[redis]\nport = %u\n", a->port);
    daemon_write_config(d, first);
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    struct user *users[4] = {0};
    srand(11);
    for (int turn = 0; turn < TURNS; turn++) {
        size_t at = (size_t)rand() % (VMS - 10);
        if (rand() % 3)
            fleet_connect(f, at, 10);
        else
            fleet_drop(f, at, 10, rand() % 2);
        struct user **user = &users[rand() % 4];
        user_close(*user);
        *user = user_try_connect((uint16_t)(d->first_user_port + rand() % VMS), USER_TELNET);
        char *text = xasprintf("[redis]\nport = %u\n[user]\nlinger = %s\ntelnet = %s\nscrollback = %dKiB\n"
                               "idle_timeout = %dms\nkeepalive = %ds\n",
                               turn % 5 ? a->port : b->port, lingers[rand() % 3], modes[rand() % 3],
                               rand() % 32, rand() % 2 * 20, rand() % 3 * 10);
        daemon_write_config(d, text);
        free(text);
        daemon_signal(d, SIGHUP);
        fleet_pump(f, 2);
    }
    for (int i = 0; i < 4; i++)
        user_close(users[i]);
    daemon_write_config(d, first);
    probe_reload(d);
    for (uint64_t from = clock_ms(); f->identified < VMS; fleet_pump(f, 10)) {
        fleet_connect(f, 0, VMS);
        cr_assert_lt(clock_ms() - from, SOON, "only %zu VMs are served", f->identified);
    }
    probe_wait_maps(a, "one", VMS, 0, SOON);
    WAIT_FOR(redis_number(b, "DBSIZE") == 0, SOON, "entries are left in the other Redis");
    fleet_free(f);
    free(first);
    daemon_stop(d);
}
