/* What systemd is told, on a real NOTIFY_SOCKET: ready, reloading, stopping, the status, and the watchdog. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "probe.h"

TestSuite(notify, .timeout = 120);

enum { MESSAGE = 512 };

/* Systemd's end. */
struct listener {
    int fd;
    char message[MESSAGE]; /* the last one */
    char status[MESSAGE];  /* the last STATUS line */
    unsigned fed;          /* WATCHDOG=1 */
    unsigned ready;        /* READY=1 */
};

/* Listens in the test's directory, or in the abstract namespace, and has the daemons that are started from
 * now on know of it. */
static struct listener listen_for(bool is_abstract)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char name[sizeof addr.sun_path];
    snprintf(name, sizeof name, "%s%s/notify", is_abstract ? "@" : "", env_dir());
    memcpy(addr.sun_path, name, sizeof name);
    if (is_abstract)
        addr.sun_path[0] = 0;
    struct listener listener = {.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    cr_assert_eq(bind(listener.fd, (struct sockaddr *)&addr, len), 0, "%s: %s", name, strerror(errno));
    setenv("NOTIFY_SOCKET", name, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return listener;
}

/* Whether the last message has this line. */
static bool says(const struct listener *listener, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = listener->message; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == 0))
            return true;
    return false;
}

/* Takes the next message, if there is one. A status that is told again although it is the same fails the
 * test. */
static bool take(struct listener *listener)
{
    ssize_t n = recv(listener->fd, listener->message, sizeof listener->message - 1, 0);
    if (n <= 0)
        return false;
    listener->message[n] = 0;
    listener->fed += says(listener, "WATCHDOG=1");
    listener->ready += says(listener, "READY=1");
    const char *status = strstr(listener->message, "STATUS=");
    if (status) {
        char text[MESSAGE];
        snprintf(text, sizeof text, "%.*s", (int)strcspn(status, "\n"), status);
        cr_assert_str_neq(text, listener->status, "told twice");
        memcpy(listener->status, text, sizeof text);
    }
    return true;
}

static void expect_next(struct listener *listener, const char *line)
{
    WAIT_FOR(take(listener), SOON, "systemd is not told %s", line);
    cr_assert(says(listener, line), "instead of %s systemd is told %s", line, listener->message);
}

/* Waits until a message with this line comes, whatever comes before it. */
static void wait_told(struct listener *listener, const char *line)
{
    WAIT_FOR(take(listener) && says(listener, line), SOON, "systemd is not told %s, but %s", line,
             listener->message);
}

static void wait_fed(struct listener *listener, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        wait_told(listener, "WATCHDOG=1");
}

static void take_all(struct listener *listener)
{
    while (take(listener))
        ;
}

static void set_watchdog(unsigned ms)
{
    char usec[32];
    snprintf(usec, sizeof usec, "%u000", ms);
    setenv("WATCHDOG_USEC", usec, 1);
}

static void drain(struct daemon *d, bool on)
{
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'drain','off':%s", on ? "false" : "true");
    control_link_close(link);
}

Test(notify, ready_is_told_last_when_it_serves)
{
    struct listener systemd = listen_for(false);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_spawn(d);
    expect_next(&systemd, "STATUS=starting");
    expect_next(&systemd, "STATUS=reading the port book");
    expect_next(&systemd, "STATUS=0 VMs");
    expect_next(&systemd, "READY=1");
    struct control_link *link = control_link_try(d->control);
    cr_assert_not_null(link);
    control_link_do(link, "'command':'version'");
    control_link_close(link);
    vm_stop(vm_start_named(d, "vm"));
    daemon_stop(d);
}

Test(notify, start_that_fails_is_never_ready)
{
    struct listener systemd = listen_for(false);
    struct daemon *d = daemon_new(VSPCD, 8);
    struct sock_addr addr = daemon_vm_addr(d);
    int in_the_way = sock_listen(&addr, false, 1);
    cr_assert_geq(in_the_way, 0);
    daemon_spawn(d);
    int status = daemon_wait_exit(d, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned)status);
    take_all(&systemd);
    cr_assert_eq(systemd.ready, 0);
    cr_assert(says(&systemd, "STOPPING=1"), "last told: %s", systemd.message);
    close(in_the_way);
}

Test(notify, status_follows_vms_redis_and_draining)
{
    struct redis *r = redis_start();
    struct listener systemd = listen_for(false);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_start(d);
    wait_told(&systemd, "STATUS=0 VMs, Redis up");
    struct vm_link *one = vm_start_named(d, "one");
    wait_told(&systemd, "STATUS=1 VM, Redis up");
    struct vm_link *two = vm_start_named(d, "two");
    wait_told(&systemd, "STATUS=2 VMs, Redis up");
    redis_stop(r);
    wait_told(&systemd, "STATUS=2 VMs, Redis away");
    redis_restart(r);
    wait_told(&systemd, "STATUS=2 VMs, Redis up");
    drain(d, true);
    wait_told(&systemd, "STATUS=2 VMs, Redis up, draining");
    drain(d, false);
    wait_told(&systemd, "STATUS=2 VMs, Redis up");
    vm_stop(one);
    vm_stop(two);
    wait_told(&systemd, "STATUS=0 VMs, Redis up");
    daemon_stop(d);
}

/* A reload is told with the time at which it began, and its end. */
static void expect_reload(struct listener *listener, uint64_t not_before_ms)
{
    unsigned long long usec = 0;
    wait_told(listener, "RELOADING=1");
    const char *time = strstr(listener->message, "MONOTONIC_USEC=");
    cr_assert(time && sscanf(time, "MONOTONIC_USEC=%llu", &usec) == 1, "told: %s", listener->message);
    cr_assert_geq(usec / 1000, not_before_ms);
    cr_assert_leq(usec / 1000, clock_ms());
    expect_next(listener, "READY=1");
}

Test(notify, reload_is_told_whoever_asks_for_it_and_whatever_becomes_of_it)
{
    struct listener systemd = listen_for(false);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    wait_told(&systemd, "READY=1");
    uint64_t from = clock_ms();
    probe_reload(d);
    expect_reload(&systemd, from);
    from = clock_ms();
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'reload'");
    expect_reload(&systemd, from);
    daemon_write_config(d, "[nonsense]\n");
    from = clock_ms();
    probe_reload_refused(d);
    expect_reload(&systemd, from);
    control_link_refused(link, "failed", "'command':'reload'");
    expect_reload(&systemd, from);
    control_link_close(link);
    daemon_stop(d);
}

Test(notify, stopping_is_the_last_that_is_told_also_to_an_abstract_socket)
{
    struct listener systemd = listen_for(true);
    set_watchdog(20);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    wait_told(&systemd, "READY=1");
    daemon_stop(d);
    wait_told(&systemd, "STOPPING=1");
    cr_assert(says(&systemd, "STATUS=shutting down"), "told: %s", systemd.message);
    cr_assert_not(take(&systemd), "after STOPPING=1 systemd is told %s", systemd.message);
    vm_stop(vm);
}

/* A thread is stopped and goes on again: the watchdog must starve meanwhile, and the log say why. */
static void starve(const char *thread, const char *why)
{
    struct listener systemd = listen_for(false);
    set_watchdog(400);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    wait_told(&systemd, "READY=1");
    wait_fed(&systemd, 3);
    daemon_freeze_thread(d, thread);
    daemon_wait_log(d, why, SOON);
    take_all(&systemd);
    unsigned fed = systemd.fed;
    /* Several times the watchdog's, by main's clock. */
    drain(d, true);
    wait_told(&systemd, "STATUS=0 VMs, draining");
    drain(d, false);
    wait_told(&systemd, "STATUS=0 VMs");
    cr_assert_eq(systemd.fed, fed, "the watchdog is fed with %s stopped", thread);
    cr_assert_eq(daemon_count_log(d, "the watchdog is not fed"), 1);
    daemon_thaw_thread(d);
    wait_fed(&systemd, 3);
    daemon_stop(d);
}

Test(notify, watchdog_starves_while_the_first_worker_is_stuck)
{
    starve("worker-0", "A worker is stuck, the watchdog is not fed worker=0\n");
}

Test(notify, watchdog_starves_while_the_last_worker_is_stuck)
{
    starve("worker-1", "A worker is stuck, the watchdog is not fed worker=1\n");
}

Test(notify, watchdog_starves_while_the_acceptor_is_stuck)
{
    starve("acceptor", "The acceptor is stuck, the watchdog is not fed\n");
}

Test(notify, watchdog_is_fed_while_redis_and_the_disk_are_stuck)
{
    struct redis *r = redis_start();
    struct listener systemd = listen_for(false);
    set_watchdog(400);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_start(d);
    wait_told(&systemd, "STATUS=0 VMs, Redis up");
    redis_freeze(r);
    daemon_freeze_thread(d, "disk");
    struct vm_link *vm = vm_start_named(d, "vm");
    wait_told(&systemd, "STATUS=1 VM, Redis away");
    /* Long enough for a status that has not changed to be due. */
    wait_fed(&systemd, 15);
    cr_assert_eq(daemon_count_log(d, "the watchdog is not fed"), 0);
    daemon_thaw_thread(d);
    redis_thaw(r);
    wait_told(&systemd, "STATUS=1 VM, Redis up");
    vm_stop(vm);
    daemon_stop(d);
}

Test(notify, watchdog_is_fed_only_where_systemd_asks_this_process_for_it)
{
    struct listener systemd = listen_for(false);
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    wait_told(&systemd, "READY=1");
    drain(d, true);
    wait_told(&systemd, "STATUS=0 VMs, draining");
    daemon_stop(d);
    wait_told(&systemd, "STOPPING=1");
    set_watchdog(100);
    setenv("WATCHDOG_PID", "1", 1);
    daemon_start(d);
    wait_told(&systemd, "READY=1");
    drain(d, true);
    wait_told(&systemd, "STATUS=0 VMs, draining");
    daemon_stop(d);
    cr_assert_eq(systemd.fed, 0);
}
