/* Five thousand VMs get their ports back, on one process as it is shipped. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fleet.h"
#include "ports_db.h"
#include "probe.h"

TestSuite(sticky, .timeout = 600);

enum { VMS = 5000, FIRST_PORT = 15000, DESCRIPTORS = 2 * VMS + 256 };

static uint16_t had[VMS], has[VMS];

static struct daemon *start(struct redis **r)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < DESCRIPTORS)
        cr_skip_test("needs %d descriptors", DESCRIPTORS);
    *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 1);
    /* An address of this test's own, as nowhere else so many ports are free for certain. */
    daemon_set(d, "user.listen", "127.0.%d.2", 10 + getpid() % 200);
    daemon_set(d, "user.first_port", "%d", FIRST_PORT);
    daemon_set(d, "user.max_ports", "%d", VMS + 1000);
    daemon_set(d, "user.linger", "0");
    daemon_set(d, "server.node_id", "one");
    daemon_use_redis(d, *r);
    daemon_start(d);
    return d;
}

/* All VMs connect, in random order. */
static void connect_all(struct fleet *f, struct redis *r)
{
    static size_t order[VMS];
    for (size_t i = 0; i < VMS; i++) {
        size_t j = (size_t)rand() % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    uint64_t from = clock_ms();
    for (size_t i = 0; i < VMS; i++) {
        fleet_connect(f, order[i], 1);
        if (i % 50 == 0)
            fleet_pump(f, 0);
    }
    fleet_wait_identified(f, 4 * SOON);
    uint64_t served = clock_ms() - from;
    redis_wait_hlen(r, "VM:Port", VMS, 4 * SOON);
    printf("%d VMs served after %llu ms, in Redis after %llu ms\n", VMS, (unsigned long long)served,
           (unsigned long long)(clock_ms() - from));
}

static void note_ports(struct redis *r, uint16_t *ports)
{
    for (size_t i = 0; i < VMS; i++) {
        char name[32];
        snprintf(name, sizeof name, "vm-%05zu", i);
        ports[i] = redis_wait_port(r, "VM:Port", name, SOON);
    }
}

Test(sticky, five_thousand_vms_have_their_ports_after_a_kill_and_a_restart_also_without_redis_memory)
{
    struct redis *r;
    struct daemon *d = start(&r);
    char *book = xasprintf("%s/ports.db", d->state_dir);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    srand(11);
    connect_all(f, r);
    note_ports(r, had);
    for (int round = 0; round < 4; round++) {
        uint64_t from = clock_ms();
        if (round % 2) {
            daemon_stop(d);
        } else {
            WAIT_FOR(ports_db_number(book, "SELECT count(*) FROM port WHERE connected") == VMS, SOON,
                     "the book lacks VMs");
            from = clock_ms();
            daemon_kill(d);
        }
        if (round >= 2)
            redis_restart(r);
        uint64_t ended = clock_ms();
        fleet_wait_lost(f, SOON);
        uint64_t starting = clock_ms();
        daemon_start(d);
        printf("%s: ended after %llu ms, ready after %llu ms\n", round % 2 ? "SIGTERM" : "kill -9",
               (unsigned long long)(ended - from), (unsigned long long)(clock_ms() - starting));
        cr_assert_eq(probe_count_lines(d, "Port book read", "reserved_ports=5000"), 1);
        connect_all(f, r);
        note_ports(r, has);
        for (size_t i = 0; i < VMS; i++)
            cr_assert_eq(has[i], had[i], "VM %zu has port %u, not %u", i, has[i], had[i]);
    }
    fleet_free(f);
    daemon_stop(d);
    free(book);
}

/* How long after the last of so many VMs was served are all in the book? */
Test(sticky, book_keeps_up_with_a_storm)
{
    enum { ON_DISK_MS = 200 };
    struct redis *r;
    struct daemon *d = start(&r);
    char *book = xasprintf("%s/ports.db", d->state_dir);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    static const size_t counts[] = {1, 2000};
    size_t first = 0;
    for (int i = 0; i < 2; i++) {
        fleet_connect(f, first, counts[i]);
        fleet_wait_identified(f, SOON);
        uint64_t from = clock_ms();
        first += counts[i];
        WAIT_FOR(ports_db_count(book) == (long long)first, SOON, "the book lacks VMs");
        uint64_t took = clock_ms() - from;
        printf("%zu VMs in the book %llu ms after the last was served\n", counts[i],
               (unsigned long long)took);
        cr_assert_lt(took, ON_DISK_MS);
    }
    fleet_free(f);
    daemon_stop(d);
    free(book);
}

/* Whatever a shutdown waits for is stuck, and there is much to close. */
Test(sticky, sigterm_with_redis_and_disk_frozen_and_five_thousand_vms_ends_in_time)
{
    enum { STOP_MS = 5000 };
    struct redis *r;
    struct daemon *d = start(&r);
    char *book = xasprintf("%s/ports.db", d->state_dir);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    srand(12);
    connect_all(f, r);
    note_ports(r, had);
    WAIT_FOR(ports_db_count(book) == VMS, SOON, "the book lacks VMs");
    daemon_freeze_thread(d, "disk");
    redis_freeze(r);
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    uint64_t took = clock_ms() - from;
    printf("stopped after %llu ms\n", (unsigned long long)took);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_lt(took, STOP_MS);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
    redis_thaw(r);
    fleet_wait_lost(f, SOON);
    daemon_start(d);
    redis_wait_hlen(r, "VM:Port", 0, 4 * SOON);
    connect_all(f, r);
    note_ports(r, has);
    cr_assert_arr_eq(has, had, sizeof had);
    fleet_free(f);
    daemon_stop(d);
    free(book);
}
