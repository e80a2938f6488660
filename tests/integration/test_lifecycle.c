/* How vspcd ends, and starts again: signals, kill -9, and everything around it being stuck. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleet.h"
#include "probe.h"

TestSuite(lifecycle, .timeout = 240);

/* design.md, Failure manners; and what a loaded machine and a sanitizer's leak check may add. */
enum { STOP_MS = 5000, STOP_SLACK_MS = 2000 };

static struct daemon *daemon_with(struct redis *r, unsigned user_ports)
{
    struct daemon *d = daemon_new(VSPCD, user_ports);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    return d;
}

/* After a signal: it must exit with 0, in time. */
static void expect_stop(struct daemon *d, uint64_t signalled_ms)
{
    int status = daemon_wait_exit(d, SOON);
    uint64_t took = clock_ms() - signalled_ms;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_lt(took, STOP_MS + STOP_SLACK_MS, "it took %u ms to stop", (unsigned)took);
}

Test(lifecycle, sigterm_and_sigint_tell_users_and_take_the_vms_out_of_redis)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 16);
    daemon_set(d, "redis.active_key_prefix", "Active:VM:Port");
    const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        daemon_start(d);
        struct vm_link *vm = vm_start_named(d, "vm");
        struct user *telnet = user_connect(redis_wait_port(r, "VM:Port", "vm", SOON), USER_TELNET);
        struct user *raw = user_connect(redis_wait_port(r, "VM:Port", "vm", SOON), USER_RAW);
        probe_delay(vm, telnet);
        user_wait_text(raw, "<probe", SOON);
        cr_assert_eq(redis_number(r, "EXISTS Active:VM:Portvm"), 1);
        uint64_t from = clock_ms();
        daemon_signal(d, signals[i]);
        user_wait_text(telnet, "\r\n[vspc: shutting down]\r\n", SOON);
        user_wait_closed(telnet, SOON);
        user_wait_closed(raw, SOON);
        cr_assert_null(memmem(bytes_at(&raw->in), raw->in.len, "[vspc", 5), "a raw user was told");
        cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
        expect_stop(d, from);
        probe_wait_maps(r, "one", 0, 0, SOON);
        cr_assert_eq(redis_number(r, "EXISTS Active:VM:Portvm vspc:node:one VM:Port"), 0);
        user_close(telnet);
        user_close(raw);
        vm_stop(vm);
    }
}

Test(lifecycle, more_signals_while_it_stops_change_nothing)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 64);
    daemon_start(d);
    struct fleet *f = fleet_new(d, 50, "vm-", NULL);
    fleet_connect(f, 0, 50);
    fleet_wait_identified(f, SOON);
    redis_freeze(r);
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    daemon_signal(d, SIGHUP);
    daemon_signal(d, SIGTERM);
    fleet_wait_lost(f, SOON);
    daemon_signal(d, SIGINT);
    daemon_signal(d, SIGHUP);
    expect_stop(d, from);
    redis_thaw(r);
    fleet_free(f);
}

Test(lifecycle, sigterm_in_a_storm_of_connections_ends_in_time)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 256);
    daemon_set(d, "user.linger", "5ms");
    for (int round = 0; round < 3; round++) {
        daemon_start(d);
        struct fleet *f = fleet_new(d, 200, "storm-", NULL);
        uint64_t from = 0;
        int status = 0;
        for (int turn = 0;; turn++) {
            /* VMs come and go all the time, also those that were refused. */
            if (!from || f->lost < 2000)
                fleet_connect(f, 0, 200);
            fleet_drop(f, (size_t)(turn * 37 % 150), 50, turn % 2);
            fleet_pump(f, 1);
            if (turn == 100 + 100 * round) {
                from = clock_ms();
                daemon_signal(d, SIGTERM);
            }
            if (from && env_wait_exit(d->pid, &status, 0))
                break;
            cr_assert(!from || clock_ms() - from < SOON, "it does not end");
        }
        d->pid = 0;
        env_check_reports();
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
        cr_assert_lt(clock_ms() - from, STOP_MS + STOP_SLACK_MS);
        probe_wait_maps(r, "one", 0, 0, SOON);
        fleet_free(f);
    }
}

Test(lifecycle, sigterm_with_redis_frozen_ends_in_time)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 200);
    daemon_start(d);
    struct fleet *f = fleet_new(d, 200, "vm-", NULL);
    fleet_connect(f, 0, 200);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", 200, 0, SOON);
    redis_freeze(r);
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    expect_stop(d, from);
    redis_thaw(r);

    /* What it could not take out of Redis, the next start does. */
    daemon_start(d);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
    fleet_free(f);
}

Test(lifecycle, what_a_killed_vspcd_left_in_redis_is_gone_before_any_vm_is_back)
{
    enum { VMS = 50 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, VMS);
    daemon_set(d, "redis.active_key_prefix", "Active:VM:Port");
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS, 0, SOON);
    daemon_kill(d);
    fleet_wait_lost(f, SOON);
    probe_wait_maps(r, "one", VMS, 0, SOON);
    daemon_start(d);
    probe_wait_maps(r, "one", 0, 0, SOON);
    cr_assert_eq(redis_number(r, "DBSIZE"), 0);

    /* Half of them come back; the others' entries do not. Then once more, with the VMs coming at once. */
    fleet_connect(f, 0, VMS / 2);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS / 2, 0, SOON);
    daemon_kill(d);
    fleet_wait_lost(f, SOON);
    daemon_start(d);
    fleet_connect(f, VMS / 4, VMS / 2);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS / 2, 0, SOON);
    cr_assert_eq(redis_number(r, "DBSIZE"), 4 + VMS / 2);
    fleet_free(f);
    daemon_stop(d);
}

Test(lifecycle, what_a_killed_vspcd_left_goes_also_when_redis_is_late_and_everything_else_is_another)
{
    enum { VMS = 20 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, VMS);
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS, 0, SOON);
    daemon_kill(d);
    fleet_wait_lost(f, SOON);

    /* The VMs are back, in another order and so on other ports, before Redis answers. */
    redis_freeze(r);
    daemon_set(d, "server.advertise", "console.example");
    daemon_start(d);
    for (size_t i = VMS - 1; i >= VMS / 2; i--) {
        fleet_connect(f, i, 1);
        fleet_wait_identified(f, SOON);
    }
    redis_thaw(r);
    probe_wait_maps(r, "one", VMS / 2, 0, SOON);
    char *endpoint = xasprintf("console.example:%u", probe_port(d, "vm-00019"));
    redis_wait_hget(r, "VM:Endpoint", "vm-00019", endpoint, 0);
    free(endpoint);
    fleet_free(f);
    daemon_stop(d);
}

/* The first VM of a vspcd whose log does not tell when it is ready. */
static struct vm_link *start_unlogged(struct daemon *d, const char *name)
{
    struct sock_addr addr = daemon_vm_addr(d);
    struct vm_client_options opt = vm_options(name);
    struct vm_link *vm = xcalloc(1, sizeof *vm);
    vm_link_init(vm, &opt);
    WAIT_FOR(vm_link_connect(vm, &addr, SOON) == 0, SOON, "vspcd does not listen");
    cr_assert_eq(vm_link_identify(vm, SOON), 0);
    return vm;
}

Test(lifecycle, without_standard_descriptors_it_runs_all_the_same)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 4);
    daemon_set(d, "server.log_level", "debug");
    probe_run_before(d, "exec 0<&- 1>&- 2>&-");
    daemon_spawn(d);
    struct vm_link *vm = start_unlogged(d, "vm");
    probe_console(redis_wait_port(r, "VM:Port", "vm", SOON), vm);
    char target[64], path[64];
    for (int fd = 0; fd <= 2; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", d->pid, fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        cr_assert_str_eq(target, "/dev/null", "descriptor %d is %s", fd, target);
    }
    vm_stop(vm);
    daemon_stop(d);
}

/* A pipe for standard error that nobody reads. Result: what keeps it open. */
static int use_stuck_stderr(struct daemon *d)
{
    char command[160];
    char *path = xasprintf("%s/stderr", env_dir());
    if (mkfifo(path, 0600) < 0)
        env_fail("cannot make %s", path);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(command, sizeof command, "exec 2>%s", path);
    free(path);
    probe_run_before(d, command);
    /* Full from the start. */
    char block[4096];
    memset(block, '\n', sizeof block);
    while (write(fd, block, sizeof block) > 0)
        ;
    return fd;
}

/* Stops a vspcd with a stuck log, and reads that now, so that a sanitizer's report comes to light. */
static void stop_reading(struct daemon *d, int pipe_fd)
{
    static char block[65536];
    int status, log = open(d->log, O_WRONLY | O_APPEND | O_CLOEXEC);
    daemon_signal(d, SIGTERM);
    for (uint64_t from = clock_ms(); !env_wait_exit(d->pid, &status, 0);) {
        ssize_t n = read(pipe_fd, block, sizeof block);
        if (n > 0 && write(log, block, (size_t)n) != n)
            env_fail("cannot write %s", d->log);
        cr_assert_lt(clock_ms() - from, SOON, "vspcd does not end");
    }
    d->pid = 0;
    close(log);
    env_check_reports();
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

/* Without log and Redis: asks on every user port which VM is there. Result: the port. */
static uint16_t find_console(struct daemon *d, const char *vm)
{
    char *answer = xasprintf("[vspc: %s, VM connected", vm);
    for (uint64_t deadline = clock_ms() + SOON; clock_ms() < deadline;) {
        for (unsigned i = 0; i < d->user_ports; i++) {
            uint16_t port = (uint16_t)(d->first_user_port + i);
            struct user *user = user_try_connect(port, USER_TELNET);
            if (!user)
                continue;
            user_wait_negotiation(user, 251, 0, SOON);
            user_send_raw(user, "\xff\xf6", 2);
            user_wait_text(user, "[vspc: ", SOON);
            user_wait_text(user, "\r\n", SOON);
            bytes_clear(&user->in);
            user_send_raw(user, "\xff\xf6", 2);
            WAIT_FOR(!user_pump(user) || (user->in.len && memmem(bytes_at(&user->in), user->in.len, "]", 1)),
                     SOON, "AYT is not answered");
            bool found = user->in.len && memmem(bytes_at(&user->in), user->in.len, answer, strlen(answer));
            user_close(user);
            if (!found)
                continue;
            free(answer);
            return port;
        }
    }
    env_fail("no console of VM %s", vm);
}

/* Prints from a VM until its user, who does not read, is far behind. */
static void flood(struct vm_link *vm)
{
    static char block[65536];
    memset(block, 'f', sizeof block);
    for (int i = 0; i < 64; i++)
        vm_print(vm, block, sizeof block);
}

Test(lifecycle, stuck_log_stuck_redis_and_a_stuck_user_are_noticed_by_nobody)
{
    enum { STORM = 3000, WORST_MS = 2000 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 8);
    daemon_set(d, "server.log_level", "debug");
    daemon_set(d, "user.linger", "0");
    int pipe_fd = use_stuck_stderr(d);
    daemon_spawn(d);
    struct vm_link *vm = start_unlogged(d, "echo");
    struct user *user = user_connect(find_console(d, "echo"), USER_TELNET);

    redis_freeze(r);
    struct vm_link *noisy = vm_start_named(d, "noisy");
    struct user *stuck = user_connect(find_console(d, "noisy"), USER_TELNET);
    user_wait_negotiation(stuck, 251, 0, SOON);
    uint64_t worst = 0;
    for (int i = 0; i < STORM; i++) {
        struct vm_client_options other = vm_options(i % 2 ? "storm" : "tempest");
        struct vm_link *visitor = vm_connect(d, &other);
        if (i % 3)
            vm_link_identify(visitor, SOON);
        if (i % 100 == 0)
            flood(noisy);
        if (i % 10 == 0) {
            uint64_t delay = probe_delay(vm, user);
            worst = delay > worst ? delay : worst;
        }
        vm_stop(visitor);
    }
    cr_assert_lt(worst, WORST_MS, "an echo took %u ms", (unsigned)worst);
    struct vm_link *late = vm_start_named(d, "late");
    probe_console(find_console(d, "late"), late);
    redis_thaw(r);
    stop_reading(d, pipe_fd);
    vm_stop(vm);
    vm_stop(late);
    vm_stop(noisy);
    user_close(user);
    user_close(stuck);
    close(pipe_fd);
}

Test(lifecycle, sigterm_with_a_stuck_log_ends_in_time)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_with(r, 8);
    int pipe_fd = use_stuck_stderr(d);
    daemon_spawn(d);
    struct vm_link *vm = start_unlogged(d, "vm");
    redis_wait_port(r, "VM:Port", "vm", SOON);
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    expect_stop(d, from);
    probe_wait_maps(r, "one", 0, 0, SOON);
    vm_stop(vm);
    close(pipe_fd);
}
