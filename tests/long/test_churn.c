/* The same VM again and again, thousands of times: nothing may be left behind, and nobody served twice. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contest.h"
#include "fleet.h"

TestSuite(churn, .timeout = 900);

static struct daemon *start(struct redis **r, unsigned user_ports, const char *linger, unsigned workers)
{
    *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, user_ports);
    daemon_use_redis(d, *r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "%s", linger);
    daemon_set(d, "server.workers", "%u", workers);
    daemon_start(d);
    return d;
}

/* The VM closes and comes back so many times. */
static void reconnect(struct daemon *d, struct vm_link *vm, int times)
{
    struct sock_addr addr = daemon_vm_addr(d);
    for (int i = 0; i < times; i++) {
        vm_link_close(vm, i % 3 == 0);
        cr_assert_eq(vm_link_connect(vm, &addr, SOON), 0);
        cr_assert_eq(vm_link_identify(vm, SOON), 0, "not served the %d. time", i);
    }
}

Test(churn, a_thousand_reconnections_leave_one_console_on_the_same_port)
{
    struct redis *r;
    struct daemon *d = start(&r, 16, "10min", 2);
    struct vm_link *vm = vm_start_named(d, "again");
    uint16_t port = redis_wait_port(r, "VM:Port", "again", SOON);
    reconnect(d, vm, 100);
    struct daemon_usage before = daemon_usage(d);
    reconnect(d, vm, 1000);
    probe_console(port, vm);
    probe_wait_maps(r, "one", 1, 0, SOON);
    cr_assert_eq(redis_wait_port(r, "VM:Port", "again", SOON), port);
    probe_wait_fds(d, before.fds, SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(churn, a_thousand_takeovers_are_three_in_ten_seconds)
{
    struct redis *r;
    struct daemon *d = start(&r, 16, "10min", 2);
    struct vm_client_options opt = vm_options("copied");
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = redis_wait_port(r, "VM:Port", "copied", SOON);
    unsigned fds = daemon_usage(d).fds, taken = 0;
    uint64_t from = clock_ms();
    for (int i = 0; i < 1000; i++) {
        struct vm_link *newcomer = vm_connect(d, &opt);
        vm_link_identify(newcomer, SOON);
        while (newcomer->fd >= 0 && vm->fd >= 0) {
            vm_link_step(newcomer, 1);
            vm_link_pump(vm);
        }
        taken += vm->fd < 0;
        struct vm_link *gone = vm->fd < 0 ? vm : newcomer;
        vm = vm->fd < 0 ? newcomer : vm;
        vm_stop(gone);
    }
    unsigned windows = (unsigned)((clock_ms() - from) / 10000) + 1;
    cr_assert_geq(taken, 3);
    cr_assert_leq(taken, 3 * windows);
    probe_console(port, vm);
    probe_wait_maps(r, "one", 1, 0, SOON);
    probe_wait_fds(d, fds, SOON);

    /* Once it is over, the next one is served. */
    for (bool served = false; !served;) {
        struct vm_link *newcomer = vm_connect(d, &opt);
        vm_link_identify(newcomer, SOON);
        while (newcomer->fd >= 0 && vm->fd >= 0) {
            vm_link_step(newcomer, 5);
            vm_link_pump(vm);
        }
        served = vm->fd < 0;
        vm_stop(served ? vm : newcomer);
        vm = served ? newcomer : vm;
        cr_assert_lt(clock_ms() - from, 2 * SOON, "refused for too long");
    }
    probe_console(port, vm);
    vm_stop(vm);
    daemon_stop(d);
}

Test(churn, ten_thousand_races_have_one_winner_each)
{
    struct redis *r;
    struct daemon *d = start(&r, 16, "0", 3);
    unsigned fds = daemon_usage(d).fds;
    for (int i = 0; i < 10000; i++)
        contest_race(d, r, i);
    probe_wait_maps(r, "one", 0, 0, SOON);
    probe_wait_fds(d, fds, SOON);
    daemon_stop(d);
}

/* Two hosts that both believe to run the same VMs. */
Test(churn, two_fleets_of_the_same_vms_end_with_one_console_each)
{
    enum { VMS = 100, TURNS = 3000 };
    struct redis *r;
    struct daemon *d = start(&r, 2 * VMS, "3ms", 3);
    unsigned fds = daemon_usage(d).fds;
    struct fleet *a = fleet_new(d, VMS, "vm-", NULL), *b = fleet_new(d, VMS, "vm-", NULL);
    srand(3);
    for (int turn = 0; turn < TURNS; turn++) {
        struct fleet *f = rand() % 2 ? a : b;
        size_t first = (size_t)rand() % (VMS - 10);
        if (rand() % 2)
            fleet_connect(f, first, 10);
        else
            fleet_drop(f, first, 10, rand() % 2);
        fleet_pump(a, 1);
        fleet_pump(b, 0);
    }
    fleet_drop(a, 0, VMS, false);
    fleet_drop(b, 0, VMS, true);
    probe_wait_maps(r, "one", 0, 0, SOON);
    probe_wait_fds(d, fds, SOON);
    fleet_connect(a, 0, VMS);
    fleet_wait_identified(a, SOON);
    probe_wait_maps(r, "one", VMS, 0, SOON);
    probe_wait_fds(d, fds + 2 * VMS, SOON);
    fleet_free(a);
    fleet_free(b);
    daemon_stop(d);
}

Test(churn, lingers_of_every_short_length_lose_nothing)
{
    static const char *const lingers[] = {"1ms", "2ms", "5ms", "20ms"};
    static const long away_us[] = {2000, 4000, 10000, 40000};
    for (int i = 0; i < 4; i++) {
        struct redis *r;
        struct daemon *d = start(&r, 16, lingers[i], 3);
        contest_linger(d, r, i == 3 ? 500 : 1500, away_us[i]);
        probe_wait_maps(r, "one", 0, 0, SOON);
        daemon_stop(d);
    }
}

/* Has VMs of two fleets, which are the same VMs, come and go, some of them with a user who comes too. */
static void crowd(struct daemon *d, struct fleet *a, struct fleet *b, int turns)
{
    struct user *users[8] = {0};
    for (int turn = 0; turn < turns; turn++) {
        struct fleet *f = rand() % 2 ? a : b;
        size_t first = (size_t)rand() % (f->n - 5);
        if (rand() % 2)
            fleet_connect(f, first, 5);
        else
            fleet_drop(f, first, 5, rand() % 2);
        fleet_pump(a, 1);
        fleet_pump(b, 0);
        struct user **user = &users[rand() % 8];
        user_close(*user);
        *user = user_try_connect((uint16_t)(d->first_user_port + (unsigned)rand() % d->user_ports),
                                 rand() % 2 ? USER_RAW : USER_TELNET);
    }
    for (int i = 0; i < 8; i++)
        user_close(users[i]);
}

/* What is short, and how many VMs there is room for. */
static void fight(const char *linger, unsigned user_ports, const char *limit, size_t room)
{
    enum { VMS = 60, TURNS = 2000 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, user_ports);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "%s", linger);
    daemon_set(d, "server.workers", "3");
    probe_run_before(d, limit);
    daemon_start(d);
    struct fleet *a = fleet_new(d, VMS, "vm-", NULL), *b = fleet_new(d, VMS, "vm-", NULL);
    srand(5);
    crowd(d, a, b, TURNS);
    fleet_drop(a, 0, VMS, false);
    fleet_drop(b, 0, VMS, false);
    probe_wait_maps(r, "one", 0, 0, SOON);

    /* All that there is room for are served: nothing has been lost in the fight. */
    for (uint64_t from = clock_ms(); a->identified < room;) {
        fleet_connect(a, 0, room);
        fleet_pump(a, 10);
        cr_assert_lt(clock_ms() - from, SOON, "only %zu of %zu VMs are served", a->identified, room);
    }
    probe_wait_maps(r, "one", room, 0, SOON);
    fleet_free(a);
    fleet_free(b);
    daemon_stop(d);
}

Test(churn, too_few_ports_for_many_lose_nothing_while_consoles_linger)
{
    fight("1h", 20, "ulimit -n 4096", 20);
}

Test(churn, too_few_ports_for_many_lose_nothing_without_linger)
{
    fight("0", 20, "ulimit -n 4096", 20);
}

Test(churn, too_few_descriptors_for_many_lose_nothing)
{
    fight("1h", 200, "ulimit -n 104", 20);
}
