/* As many VMs as 20,000 descriptors allow, on one process as it is shipped. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleet.h"
#include "probe.h"

TestSuite(scale, .timeout = 600);

enum { DESCRIPTORS = 20000, VMS = 9500, WORKERS = 2, STOP_MS = 5000, FIRST_PORT = 15000 };

/* Where users connect: an address of this test's own, as nowhere else so many ports are free for certain. */
static struct sock_addr user_addr;

/* This process has a descriptor for each VM too. */
static void raise_limit(void)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < DESCRIPTORS)
        cr_skip_test("needs %d descriptors", DESCRIPTORS);
}

static struct daemon *start(struct redis **r, unsigned vms)
{
    raise_limit();
    *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 1);
    char *address = xasprintf("127.0.%d.1", 10 + getpid() % 200);
    cr_assert_eq(sock_addr_parse(address, 0, &user_addr), 0);
    daemon_set(d, "user.listen", "%s", address);
    daemon_set(d, "user.first_port", "%d", FIRST_PORT);
    daemon_set(d, "user.max_ports", "%u", vms);
    daemon_set(d, "user.telnet", "never");
    free(address);
    daemon_use_redis(d, *r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "server.workers", "%d", WORKERS);
    probe_run_before(d, "ulimit -n 20000");
    daemon_start(d);
    return d;
}

static void connect_all(struct redis *r, struct fleet *f, const char *what)
{
    uint64_t from = clock_ms();
    fleet_connect(f, 0, f->n);
    fleet_wait_identified(f, 4 * SOON);
    uint64_t served = clock_ms() - from;
    redis_wait_hlen(r, "VM:Port", (long long)f->n, 4 * SOON);
    printf("%s: %zu VMs served after %llu ms, all in Redis after %llu ms\n", what, f->n,
           (unsigned long long)served, (unsigned long long)(clock_ms() - from));
}

/* Reads from a socket until the text has come, and nothing else. */
static void expect_text(int fd, const char *text)
{
    char got[96];
    size_t len = strlen(text), have = 0;
    for (uint64_t from = clock_ms(); have < len;) {
        ssize_t n = recv(fd, got + have, len - have, MSG_DONTWAIT);
        cr_assert(n > 0 || (n < 0 && errno == EAGAIN), "a user was disconnected");
        have += n > 0 ? (size_t)n : 0;
        cr_assert_lt(clock_ms() - from, SOON, "a user has not been sent \"%s\"", text);
    }
    cr_assert_arr_eq(got, text, len);
}

/* A sample of the VMs is behind the ports that Redis has for them. round: different each time. */
static void check_sample(struct redis *r, struct fleet *f, int round)
{
    for (size_t i = (size_t)round; i < f->n; i += 97) {
        char name[64], text[96];
        snprintf(name, sizeof name, "vm-%05zu", i);
        snprintf(text, sizeof text, "I am %s.", name);
        fleet_send(f, i, text, strlen(text));
        sock_addr_set_port(&user_addr, redis_wait_port(r, "VM:Port", name, SOON));
        int fd = sock_connect(&user_addr);
        struct pollfd connected = {.fd = fd, .events = POLLOUT};
        cr_assert(poll(&connected, 1, SOON) == 1 && sock_error(fd) == 0, "no user port of %s", name);
        expect_text(fd, text);
        close(fd);
    }
}

Test(scale, nine_and_a_half_thousand_vms_are_served_found_and_cheap)
{
    struct redis *r;
    struct daemon *d = start(&r, VMS);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    struct daemon_usage before = daemon_usage(d);
    connect_all(r, f, "first");
    struct daemon_usage full = daemon_usage(d);
    size_t bytes = (full.rss_kib - before.rss_kib) * 1024 / VMS;
    printf("memory: %zu KiB before, %zu KiB full, %zu bytes a VM\n", before.rss_kib, full.rss_kib, bytes);
    cr_assert_geq(full.fds, before.fds + 2 * VMS);
    for (int i = 0; i < WORKERS; i++) {
        char worker[32];
        snprintf(worker, sizeof worker, " worker=%d", i);
        cr_assert_eq(probe_count_lines(d, "VM connected", worker), VMS / WORKERS);
    }
    cr_assert_eq(redis_number(r, "HLEN VM:Endpoint"), VMS);
    cr_assert_eq(redis_number(r, "HLEN VM:UUID"), VMS);
    cr_assert_eq(redis_number(r, "HLEN vspc:node:one"), VMS);
    check_sample(r, f, 0);

    /* All go at once, and come back. */
    fleet_drop(f, 0, VMS, true);
    redis_wait_hlen(r, "VM:Port", 0, 4 * SOON);
    cr_assert_eq(redis_number(r, "EXISTS VM:Endpoint VM:UUID vspc:node:one"), 0);
    connect_all(r, f, "again");
    check_sample(r, f, 1);
    struct daemon_usage again = daemon_usage(d);
    printf("memory: %zu KiB after all have come back\n", again.rss_kib);
    fleet_drop(f, 0, VMS, false);
    redis_wait_hlen(r, "VM:Port", 0, 4 * SOON);
    fleet_free(f);
    daemon_stop(d);
    cr_assert_leq(bytes, 2 * 1024, "an idle VM takes %zu bytes", bytes);
}

Test(scale, sigterm_with_redis_frozen_and_five_thousand_vms_ends_in_time)
{
    enum { MANY = 5000 };
    struct redis *r;
    struct daemon *d = start(&r, MANY);
    struct fleet *f = fleet_new(d, MANY, "vm-", NULL);
    connect_all(r, f, "before SIGTERM");
    redis_freeze(r);
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    uint64_t took = clock_ms() - from;
    printf("stopped after %llu ms\n", (unsigned long long)took);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_lt(took, STOP_MS);
    redis_thaw(r);
    daemon_start(d);
    redis_wait_hlen(r, "VM:Port", 0, 4 * SOON);
    daemon_stop(d);
    fleet_free(f);
}
