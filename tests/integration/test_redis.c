/* Redis comes and goes, and forgets; afterwards it holds exactly what is connected. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "probe.h"

TestSuite(redis, .timeout = 240);

static struct daemon *node(struct redis *r, const char *id, unsigned user_ports)
{
    struct daemon *d = daemon_new(VSPCD, user_ports);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "%s", id);
    daemon_set(d, "redis.active_key_prefix", "Active:VM:Port");
    return d;
}

/* A VM of a node that only exists on paper. */
static void put_foreign(struct redis *r)
{
    freeReplyObject(redis_ask(r, "HSET VM:Port far 4711"));
    freeReplyObject(redis_ask(r, "HSET VM:Endpoint far elsewhere:4711"));
    freeReplyObject(redis_ask(r, "HSET VM:UUID 33333333-3333-3333-3333-333333333333 far"));
    freeReplyObject(redis_ask(r, "HSET vspc:node:far far elsewhere:4711"));
    freeReplyObject(redis_ask(r, "SET Active:VM:Portfar 4711"));
}

static void expect_foreign(struct redis *r)
{
    redis_wait_hget(r, "VM:Port", "far", "4711", 0);
    redis_wait_hget(r, "VM:Endpoint", "far", "elsewhere:4711", 0);
    redis_wait_hget(r, "VM:UUID", "33333333-3333-3333-3333-333333333333", "far", 0);
    redis_wait_hget(r, "vspc:node:far", "far", "elsewhere:4711", 0);
    cr_assert_eq(redis_number(r, "STRLEN Active:VM:Portfar"), 4);
}

/* Has a third of the VMs come and go for some turns. */
static void flap(struct fleet *f, int turns)
{
    for (int i = 0; i < turns; i++) {
        size_t first = (size_t)rand() % f->n, count = (size_t)rand() % (f->n / 3);
        count = first + count > f->n ? f->n - first : count;
        if (rand() % 2)
            fleet_drop(f, first, count, rand() % 2);
        else
            fleet_connect(f, first, count);
        fleet_pump(f, 2);
    }
}

/* Flaps until the log has the text. */
static void flap_until(struct fleet *f, struct daemon *d, const char *text)
{
    for (uint64_t from = clock_ms(); !daemon_count_log(d, text); flap(f, 10))
        cr_assert_lt(clock_ms() - from, SOON, "not logged: %s", text);
}

/* All VMs of a sample are behind the ports that Redis has for them. */
static void expect_ports_right(struct redis *r, struct fleet *f, const char *prefix)
{
    for (size_t i = 0; i < f->n; i += f->n / 10) {
        char name[64], text[96];
        snprintf(name, sizeof name, "%s%05zu", prefix, i);
        snprintf(text, sizeof text, "I am %s.", name);
        struct user *user = user_connect(redis_wait_port(r, "VM:Port", name, SOON), USER_TELNET);
        fleet_send(f, i, text, strlen(text));
        user_wait_text(user, text, SOON);
        user_close(user);
    }
}

Test(redis, after_restarts_freezes_and_flushes_it_holds_exactly_what_is_connected)
{
    enum { VMS = 200, OTHERS = 20 };
    struct redis *r = redis_start();
    struct daemon *one = node(r, "one", VMS + 50), *two = node(r, "two", OTHERS);
    daemon_set(one, "user.linger", "50ms");
    daemon_start(one);
    daemon_start(two);
    struct fleet *f = fleet_new(one, VMS, "flap-", NULL), *stable = fleet_new(two, OTHERS, "two-", NULL);
    fleet_connect(stable, 0, OTHERS);
    fleet_wait_identified(stable, SOON);
    srand(7);
    put_foreign(r);
    flap(f, 100);
    expect_foreign(r);

    daemon_mark_log(one);
    redis_stop(r);
    flap_until(f, one, "Redis cannot be reached");
    redis_restart(r);
    put_foreign(r);
    flap_until(f, one, "Redis is back");
    flap(f, 50);

    daemon_mark_log(one);
    redis_freeze(r);
    flap_until(f, one, "Redis cannot be reached");
    redis_thaw(r);
    flap_until(f, one, "Redis is back");
    flap(f, 50);
    expect_foreign(r);

    freeReplyObject(redis_ask(r, "FLUSHALL"));
    put_foreign(r);
    flap(f, 50);

    /* The end: part of them stay, and it stays so. */
    fleet_drop(f, 0, VMS, false);
    fleet_connect(f, 0, VMS / 2);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS / 2, OTHERS + 1, SOON);
    probe_wait_maps(r, "two", OTHERS, VMS / 2 + 1, SOON);
    WAIT_FOR(redis_number(r, "DBSIZE") == 3 + 3 + VMS / 2 + OTHERS + 1, SOON, "keys are %lld",
             redis_number(r, "DBSIZE"));
    expect_ports_right(r, stable, "two-");
    fleet_drop(f, VMS / 2, VMS / 2, false);
    expect_foreign(r);

    daemon_stop(one);
    probe_wait_maps(r, "two", OTHERS, 1, SOON);
    daemon_stop(two);
    probe_wait_maps(r, "far", 1, 0, SOON);
    expect_foreign(r);
    cr_assert_eq(redis_number(r, "DBSIZE"), 5);
    fleet_free(f);
    fleet_free(stable);
}

Test(redis, a_vm_that_moves_to_another_node_stays_found)
{
    struct redis *r = redis_start();
    struct daemon *one = node(r, "one", 8), *two = node(r, "two", 8);
    daemon_start(one);
    daemon_start(two);
    struct vm_link *vm = vm_start_named(one, "wanderer");
    redis_wait_port(r, "VM:Port", "wanderer", SOON);
    struct daemon *here = one, *there = two;
    for (int i = 0; i < 6; i++) {
        daemon_mark_log(there);
        struct vm_link *moved = vm_start_named(there, "wanderer");
        char *port = xasprintf("%u", probe_port(there, "wanderer"));
        redis_wait_hget(r, "VM:Port", "wanderer", port, SOON);
        /* Only then does the old node notice that it has left. */
        vm_stop(vm);
        daemon_wait_log(here, "VM disconnected vm=\"wanderer\"", SOON);
        WAIT_FOR(redis_number(r, "EXISTS vspc:node:%s", here == one ? "one" : "two") == 0, SOON,
                 "the old node's record is left");
        probe_wait_maps(r, here == one ? "two" : "one", 1, 0, SOON);
        redis_wait_hget(r, "VM:Port", "wanderer", port, 0);
        probe_console((uint16_t)atoi(port), moved);
        daemon_mark_log(here);
        free(port);
        vm = moved;
        struct daemon *swap = here;
        here = there;
        there = swap;
    }
    vm_stop(vm);
    daemon_stop(one);
    daemon_stop(two);
    cr_assert_eq(redis_number(r, "DBSIZE"), 0);
}

Test(redis, vms_and_users_are_served_without_redis_and_found_once_it_is_there)
{
    struct redis *r = redis_start();
    struct daemon *d = node(r, "one", 8);
    redis_stop(r);
    daemon_start(d);
    probe_wait_line(d, "warning: ", "Redis", SOON);
    struct vm_link *a = vm_start_named(d, "a"), *b = vm_start_named(d, "b"), *c = vm_start_named(d, "c");
    probe_console(probe_port(d, "a"), a);
    vm_stop(b);
    vm_client_rename(&c->vm, "renamed", 7);
    vm_link_flush(c, SOON);
    redis_restart(r);
    probe_wait_maps(r, "one", 2, 0, SOON);
    cr_assert_eq(redis_wait_port(r, "VM:Port", "a", SOON), probe_port(d, "a"));
    probe_console(redis_wait_port(r, "VM:Port", "renamed", SOON), c);
    vm_stop(a);
    vm_stop(c);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
}

Test(redis, a_frozen_one_costs_vms_and_users_nothing)
{
    enum { WORST_MS = 1500 };
    struct redis *r = redis_start();
    struct daemon *d = node(r, "one", 64);
    daemon_set(d, "user.linger", "0");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    struct user *user = user_connect(probe_port(d, "vm"), USER_TELNET);
    redis_freeze(r);
    uint64_t worst = 0;
    for (int i = 0; i < 60 || !daemon_count_log(d, "Redis cannot be reached"); i++) {
        char name[32];
        snprintf(name, sizeof name, "guest-%d", i % 40);
        struct vm_link *guest = vm_start_named(d, name);
        uint64_t delay = probe_delay(vm, user);
        worst = delay > worst ? delay : worst;
        vm_stop(guest);
    }
    cr_assert_lt(worst, WORST_MS, "an echo took %u ms", (unsigned)worst);
    redis_thaw(r);
    probe_wait_maps(r, "one", 1, 0, SOON);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}
