/* Which VM gets which port, and what the port book is told. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/loop.h"
#include "vspc/mem.h"
#include "vspc/port_pool.h"

#ifndef NDEBUG /* what sanitizers run with */
#define SLOWER 20
#else
#define SLOWER 1
#endif

enum { FIRST = 20000, A_DAY = 86400, NOW = 1700000000 };

/* A pool of so many ports, with a retention of a day. */
static struct port_pool *pool_of(unsigned count)
{
    struct port_pool *pool = port_pool_new(FIRST, count);
    port_pool_set_retention(pool, A_DAY);
    return pool;
}

/* A VM, by its name alone, at a time. */
static int take_at(struct port_pool *pool, const char *vm, time_t now)
{
    char *identity = xasprintf("name:%s", vm);
    int port = port_pool_take(pool, identity, strlen(identity), vm, strlen(vm), 0, now);
    free(identity);
    return port;
}

static int take(struct port_pool *pool, const char *vm)
{
    return take_at(pool, vm, NOW);
}

/* The VM comes and goes. Result: its port. */
static int visit(struct port_pool *pool, const char *vm, time_t now)
{
    int port = take_at(pool, vm, now);
    port_pool_connected(pool, (uint16_t)port, vm, strlen(vm), now);
    port_pool_disconnected(pool, (uint16_t)port, now);
    port_pool_put(pool, (uint16_t)port);
    return port;
}

static void forget_changes(struct port_pool *pool)
{
    struct port_record record;
    while (port_pool_next_change(pool, &record))
        port_record_clear(&record);
}

/* The next change: that this port is that VM's, NULL: nobody's. */
static void expect_change(struct port_pool *pool, int port, const char *vm, bool connected, time_t last_seen)
{
    struct port_record record;
    cr_assert(port_pool_next_change(pool, &record), "nothing has changed");
    cr_assert_eq(record.port, port);
    cr_assert_eq(record.connected, connected);
    if (vm) {
        cr_assert_eq(record.last_seen, last_seen);
        cr_assert_eq(record.name_len, strlen(vm));
        cr_assert_arr_eq(record.name, vm, strlen(vm));
        cr_assert_eq(record.identity_len, strlen("name:") + strlen(vm));
    } else {
        cr_assert_null(record.identity);
    }
    port_record_clear(&record);
}

static void expect_no_change(struct port_pool *pool)
{
    struct port_record record;
    cr_assert_not(port_pool_next_change(pool, &record), "port %u has changed", record.port);
}

static struct port_record record_of(uint16_t port, const char *identity, time_t last_seen)
{
    return (struct port_record){.port = port,
                                .last_seen = last_seen,
                                .identity = (char *)identity,
                                .identity_len = strlen(identity),
                                .name = "vm",
                                .name_len = 2};
}

Test(port_pool, gives_each_port_once_and_the_longest_free_first)
{
    struct port_pool *pool = port_pool_new(65534, 2);
    cr_assert_eq(take(pool, "a"), 65534);
    cr_assert_eq(take(pool, "b"), 65535);
    cr_assert_eq(take(pool, "c"), -EAGAIN);
    port_pool_put(pool, 65535);
    port_pool_put(pool, 65534);
    cr_assert_eq(take(pool, "d"), 65535);
    cr_assert_eq(port_pool_available(pool), 1);
    port_pool_free(pool);
}

Test(port_pool, port_held_by_others_is_tried_again_later_and_its_vm_gets_another)
{
    struct port_pool *pool = pool_of(2);
    cr_assert_eq(take(pool, "a"), FIRST);
    forget_changes(pool);
    port_pool_put_held(pool, FIRST, 1000);
    expect_change(pool, FIRST, NULL, false, 0);
    cr_assert_eq(port_pool_take(pool, "name:a", 6, "a", 1, 1000, NOW), FIRST + 1);
    forget_changes(pool);
    cr_assert_eq(port_pool_take(pool, "b", 1, "b", 1, 1000 + PORT_POOL_HELD_MS - 1, NOW), -EAGAIN);
    cr_assert_eq(port_pool_available(pool), 0);
    cr_assert_eq(port_pool_take(pool, "b", 1, "b", 1, 1000 + PORT_POOL_HELD_MS, NOW), FIRST);
    port_pool_put(pool, FIRST + 1);
    cr_assert_eq(take(pool, "a"), FIRST + 1);
    port_pool_free(pool);
}

Test(port_pool, vm_gets_its_own_port_back_however_others_come_and_go)
{
    struct port_pool *pool = pool_of(4);
    cr_assert_eq(visit(pool, "a", NOW), FIRST);
    cr_assert_eq(visit(pool, "b", NOW), FIRST + 1);
    cr_assert_eq(visit(pool, "c", NOW), FIRST + 2);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(visit(pool, "b", NOW), FIRST + 1);
        cr_assert_eq(visit(pool, "c", NOW), FIRST + 2);
        cr_assert_eq(visit(pool, "a", NOW), FIRST);
    }
    cr_assert_eq(port_pool_available(pool), 4);
    port_pool_free(pool);
}

Test(port_pool, newcomer_gets_an_unreserved_port_first_then_that_of_the_vm_seen_longest_ago)
{
    struct port_pool *pool = pool_of(4);
    visit(pool, "a", NOW + 5);
    visit(pool, "b", NOW + 2);
    visit(pool, "c", NOW + 9);
    cr_assert_eq(take_at(pool, "new-1", NOW + 10), FIRST + 3);
    cr_assert_eq(take_at(pool, "new-2", NOW + 10), FIRST + 1);
    cr_assert_eq(take_at(pool, "new-3", NOW + 10), FIRST);
    cr_assert_eq(take_at(pool, "c", NOW + 10), FIRST + 2);
    cr_assert_eq(take_at(pool, "b", NOW + 10), -EAGAIN);
    port_pool_put(pool, FIRST);
    cr_assert_eq(take_at(pool, "b", NOW + 10), FIRST, "b has no reservation any more");
    port_pool_free(pool);
}

Test(port_pool, reservation_ends_when_the_vm_was_seen_longer_ago_than_the_retention)
{
    struct port_pool *pool = pool_of(2);
    visit(pool, "a", NOW);
    visit(pool, "b", NOW + 1);
    forget_changes(pool);
    port_pool_touch(pool, NOW + A_DAY);
    expect_no_change(pool);
    port_pool_touch(pool, NOW + A_DAY + 1);
    expect_change(pool, FIRST, NULL, false, 0);
    expect_no_change(pool);
    cr_assert_eq(take_at(pool, "c", NOW + A_DAY + 1), FIRST);
    cr_assert_eq(take_at(pool, "b", NOW + A_DAY + 1), FIRST + 1);
    port_pool_free(pool);
}

Test(port_pool, vm_that_comes_back_too_late_is_a_newcomer)
{
    struct port_pool *pool = pool_of(2);
    visit(pool, "a", NOW);
    cr_assert_eq(visit(pool, "a", NOW + A_DAY), FIRST);
    cr_assert_eq(visit(pool, "a", NOW + 2 * A_DAY + 1), FIRST + 1);
    port_pool_free(pool);
}

Test(port_pool, identity_has_one_port_reserved_whatever_it_takes)
{
    struct port_pool *pool = pool_of(3);
    cr_assert_eq(take(pool, "a"), FIRST);
    forget_changes(pool);
    cr_assert_eq(take(pool, "a"), FIRST + 1);
    expect_change(pool, FIRST, NULL, false, 0);
    expect_change(pool, FIRST + 1, "a", false, NOW);
    port_pool_put(pool, FIRST);
    port_pool_put(pool, FIRST + 1);
    cr_assert_eq(take(pool, "a"), FIRST + 1);
    cr_assert_eq(take(pool, "b"), FIRST + 2);
    port_pool_free(pool);
}

Test(port_pool, connected_vm_keeps_its_reservation_however_long)
{
    struct port_pool *pool = pool_of(2);
    cr_assert_eq(take(pool, "a"), FIRST);
    port_pool_connected(pool, FIRST, "a", 1, NOW);
    port_pool_touch(pool, NOW + 10 * A_DAY);
    port_pool_put(pool, FIRST);
    cr_assert_eq(take_at(pool, "new", NOW + 11 * A_DAY), FIRST + 1);
    cr_assert_eq(take_at(pool, "a", NOW + 11 * A_DAY), FIRST);
    port_pool_free(pool);
}

Test(port_pool, without_retention_nothing_is_reserved)
{
    struct port_pool *pool = port_pool_new(FIRST, 2);
    struct port_record record = record_of(FIRST, "name:b", NOW);
    visit(pool, "a", NOW);
    forget_changes(pool);
    cr_assert_eq(take(pool, "a"), FIRST + 1);
    expect_change(pool, FIRST + 1, "a", false, NOW);
    port_pool_connected(pool, FIRST + 1, "a", 1, NOW);
    forget_changes(pool);
    port_pool_touch(pool, NOW + 10);
    expect_no_change(pool);
    port_pool_put(pool, FIRST + 1);
    expect_change(pool, FIRST + 1, NULL, false, 0);
    cr_assert_not(port_pool_restore(pool, &record, NOW));
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST, NOW), -EINVAL);
    port_pool_free(pool);
}

Test(port_pool, another_retention_applies_to_what_there_is)
{
    struct port_pool *pool = pool_of(2);
    visit(pool, "a", NOW);
    port_pool_set_retention(pool, 10);
    cr_assert_eq(take_at(pool, "b", NOW + 10), FIRST + 1);
    cr_assert_eq(take_at(pool, "c", NOW + 11), FIRST);
    port_pool_put(pool, FIRST);
    port_pool_set_retention(pool, 0);
    cr_assert_eq(take_at(pool, "d", NOW + 11), FIRST);
    port_pool_free(pool);
}

Test(port_pool, change_tells_what_the_port_is_now_and_once)
{
    struct port_pool *pool = pool_of(2);
    cr_assert_eq(take(pool, "a"), FIRST);
    port_pool_connected(pool, FIRST, "a", 1, NOW + 1);
    expect_change(pool, FIRST, "a", true, NOW + 1);
    expect_no_change(pool);
    port_pool_connected(pool, FIRST, "other", 5, NOW + 2);
    struct port_record record;
    cr_assert(port_pool_next_change(pool, &record));
    cr_assert_arr_eq(record.identity, "name:a", 6, "the identity has changed with the name");
    cr_assert_arr_eq(record.name, "other", 5);
    cr_assert(record.connected);
    port_record_clear(&record);
    port_pool_disconnected(pool, FIRST, NOW + 3);
    port_pool_put(pool, FIRST);
    cr_assert(port_pool_next_change(pool, &record));
    cr_assert_not(record.connected);
    cr_assert_eq(record.last_seen, NOW + 3);
    port_record_clear(&record);
    expect_no_change(pool);
    port_pool_change_all(pool);
    cr_assert(port_pool_next_change(pool, &record));
    port_record_clear(&record);
    expect_change(pool, FIRST + 1, NULL, false, 0);
    expect_no_change(pool);
    port_pool_free(pool);
}

Test(port_pool, restored_reservation_is_the_vms)
{
    struct port_pool *pool = pool_of(8);
    struct port_record record = record_of(FIRST + 5, "name:a", NOW - 10);
    cr_assert(port_pool_restore(pool, &record, NOW));
    expect_no_change(pool);
    cr_assert_eq(take(pool, "b"), FIRST);
    cr_assert_eq(take(pool, "a"), FIRST + 5);
    port_pool_free(pool);
}

Test(port_pool, what_cannot_be_restored_is_left_and_corrected_in_the_book)
{
    struct port_pool *pool = pool_of(4);
    struct port_record good = record_of(FIRST, "name:vm", NOW);
    cr_assert(port_pool_restore(pool, &good, NOW));
    cr_assert_not(port_pool_restore(pool, &good, NOW), "twice");
    struct port_record same_identity = record_of(FIRST + 1, "name:vm", NOW);
    cr_assert_not(port_pool_restore(pool, &same_identity, NOW));
    struct port_record nobody = record_of(FIRST + 2, "", NOW);
    cr_assert_not(port_pool_restore(pool, &nobody, NOW));
    struct port_record outside = record_of(FIRST + 4, "name:b", NOW);
    cr_assert_not(port_pool_restore(pool, &outside, NOW));
    cr_assert_eq(take(pool, "c"), FIRST + 1);
    struct port_record taken = record_of(FIRST + 1, "name:d", NOW);
    cr_assert_not(port_pool_restore(pool, &taken, NOW));
    expect_change(pool, FIRST, "vm", false, NOW);
    expect_change(pool, FIRST + 1, "c", false, NOW);
    expect_change(pool, FIRST + 2, NULL, false, 0);
    expect_no_change(pool);
    port_pool_free(pool);
}

Test(port_pool, restored_vm_is_away_and_was_not_seen_in_the_future)
{
    struct port_pool *pool = pool_of(4);
    struct port_record killed = record_of(FIRST, "name:vm", NOW - 5),
                       future = record_of(FIRST + 1, "x", NOW + 9);
    killed.connected = true;
    cr_assert(port_pool_restore(pool, &killed, NOW));
    expect_change(pool, FIRST, "vm", false, NOW - 5);
    cr_assert(port_pool_restore(pool, &future, NOW));
    struct port_record record;
    cr_assert(port_pool_next_change(pool, &record));
    cr_assert_eq(record.last_seen, NOW);
    port_record_clear(&record);
    struct port_record ancient = record_of(FIRST + 2, "y", INT64_MIN);
    cr_assert(port_pool_restore(pool, &ancient, NOW));
    port_pool_touch(pool, NOW);
    expect_change(pool, FIRST + 2, NULL, false, 0);
    port_pool_free(pool);
}

Test(port_pool, clock_that_was_set_back_does_not_make_reservations_eternal)
{
    struct port_pool *pool = pool_of(2);
    visit(pool, "a", NOW + 100 * A_DAY);
    visit(pool, "b", NOW);
    port_pool_touch(pool, NOW);
    port_pool_touch(pool, NOW + A_DAY + 1);
    cr_assert_eq(take_at(pool, "c", NOW + A_DAY + 1), FIRST + 1);
    cr_assert_eq(take_at(pool, "d", NOW + A_DAY + 1), FIRST);
    port_pool_free(pool);
}

/* With every VM seen in a future of its own, which is the worst. Each VM of a storm waits for the pool's
 * lock. */
Test(port_pool, clock_that_was_set_back_is_corrected_in_a_moment)
{
    enum { VMS = 45000 };
    struct port_pool *pool = port_pool_new(FIRST, VMS);
    port_pool_set_retention(pool, A_DAY);
    for (int i = 0; i < VMS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        cr_assert_eq(visit(pool, name, NOW + A_DAY + i), FIRST + i);
    }
    forget_changes(pool);
    uint64_t from = clock_ms();
    port_pool_touch(pool, NOW);
    unsigned took = (unsigned)(clock_ms() - from);
    printf("%d VMs corrected in %u ms\n", VMS, took);
    cr_assert_lt(took, 20 * SLOWER);
    for (int i = 0; i < VMS; i++) {
        struct port_record record;
        cr_assert(port_pool_next_change(pool, &record));
        cr_assert_eq(record.last_seen, NOW);
        port_record_clear(&record);
    }
    cr_assert_eq(take_at(pool, "new", NOW), FIRST, "they are not in their order any more");
    port_pool_free(pool);
}

Test(port_pool, saved_port_is_for_the_first_vm_of_that_name_without_one_of_its_own)
{
    struct port_pool *pool = pool_of(8);
    cr_assert_eq(visit(pool, "owner", NOW), FIRST);
    cr_assert_eq(port_pool_save(pool, "a\0b", 3, FIRST + 4, NOW), 0);
    cr_assert_eq(port_pool_take(pool, "name:owner", 10, "a\0b", 3, 0, NOW), FIRST, "it has one of its own");
    cr_assert_eq(port_pool_take(pool, "uuid:1", 6, "a\0c", 3, 0, NOW), FIRST + 1);
    cr_assert_eq(port_pool_take(pool, "uuid:2", 6, "a\0b", 3, 0, NOW), FIRST + 4);
    cr_assert_eq(port_pool_take(pool, "uuid:3", 6, "a\0b", 3, 0, NOW), FIRST + 2);
    port_pool_put(pool, FIRST + 4);
    cr_assert_eq(port_pool_take(pool, "uuid:2", 6, "renamed", 7, 0, NOW), FIRST + 4);
    port_pool_free(pool);
}

Test(port_pool, what_cannot_be_saved_is_told_why)
{
    struct port_pool *pool = pool_of(4);
    char longest[PORT_NAME_MAX + 1];
    memset(longest, 'x', sizeof longest);
    cr_assert_eq(visit(pool, "known", NOW), FIRST);
    cr_assert_eq(take(pool, "b"), FIRST + 1);
    cr_assert_eq(port_pool_save(pool, "", 0, FIRST + 2, NOW), -EINVAL);
    cr_assert_eq(port_pool_save(pool, longest, sizeof longest, FIRST + 2, NOW), -EINVAL);
    cr_assert_eq(port_pool_save(pool, longest, PORT_NAME_MAX, FIRST + 2, NOW), 0);
    cr_assert_eq(port_pool_save(pool, longest, PORT_NAME_MAX, FIRST + 3, NOW), -EEXIST);
    cr_assert_eq(port_pool_save(pool, "known", 5, FIRST + 3, NOW), -EEXIST);
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST, NOW), -EADDRINUSE);
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST + 1, NOW), -EADDRINUSE);
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST + 2, NOW), -EADDRINUSE);
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST + 4, NOW), -ERANGE);
    cr_assert_eq(port_pool_save(pool, "c", 1, FIRST - 1, NOW), -ERANGE);
    port_pool_free(pool);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

Test(port_pool, a_storm_of_changes_is_told_once)
{
    struct port_pool *pool = pool_of(100);
    int told = 0;
    port_pool_on_change(pool, count, &told);
    cr_assert_eq(told, 0);
    for (int i = 0; i < 100; i++) {
        char name[8];
        snprintf(name, sizeof name, "vm%d", i);
        take(pool, name);
    }
    cr_assert_eq(told, 1);
    forget_changes(pool);
    port_pool_put(pool, FIRST);
    cr_assert_eq(told, 1, "it is as the book has it");
    port_pool_touch(pool, NOW + 2 * A_DAY);
    cr_assert_eq(told, 2);
    port_pool_on_change(pool, count, &told);
    cr_assert_eq(told, 3, "not told of what there is");
    port_pool_on_change(pool, NULL, NULL);
    port_pool_change_all(pool);
    cr_assert_eq(told, 3);
    port_pool_free(pool);
}

/* Against a model: many VMs come and go at random, and the book is told all. */
Test(port_pool, no_port_is_lost_or_given_twice_and_the_book_agrees)
{
    enum { PORTS = 50, VMS = 80, TURNS = 200000 };
    struct port_pool *pool = pool_of(PORTS);
    int port_of_vm[VMS] = {0}, last_port[VMS] = {0};
    int book[PORTS]; /* whose the port is, as the changes tell; -1: nobody's */
    unsigned taken = 0, came_back = 0;
    memset(book, -1, sizeof book);
    srand(7);
    for (int turn = 0; turn < TURNS; turn++) {
        int vm = rand() % VMS;
        char name[8];
        snprintf(name, sizeof name, "%d", vm);
        if (port_of_vm[vm] && rand() % 50 == 0) {
            port_pool_put_held(pool, (uint16_t)port_of_vm[vm], 0);
            taken--;
            port_of_vm[vm] = last_port[vm] = 0;
        } else if (port_of_vm[vm]) {
            port_pool_put(pool, (uint16_t)port_of_vm[vm]);
            taken--;
            port_of_vm[vm] = 0;
        } else {
            char *identity = xasprintf("name:%s", name);
            int port = port_pool_take(pool, identity, strlen(identity), name, strlen(name), PORT_POOL_HELD_MS,
                                      NOW + turn);
            free(identity);
            cr_assert_eq(port < 0, taken == PORTS);
            for (int i = 0; i < VMS && port > 0; i++)
                cr_assert_neq(port_of_vm[i], port, "given twice");
            taken += port > 0;
            came_back += port > 0 && port == last_port[vm];
            port_of_vm[vm] = port > 0 ? port : 0;
            last_port[vm] = port_of_vm[vm];
        }
        cr_assert_leq(port_pool_available(pool), PORTS - taken);
        struct port_record record;
        while (rand() % 4 == 0 && port_pool_next_change(pool, &record)) {
            book[record.port - FIRST] = record.identity ? atoi(record.name) : -1;
            port_record_clear(&record);
        }
    }
    struct port_record record;
    while (port_pool_next_change(pool, &record)) {
        book[record.port - FIRST] = record.identity ? atoi(record.name) : -1;
        port_record_clear(&record);
    }
    for (int i = 0; i < PORTS; i++)
        for (int j = 0; j < i; j++)
            cr_assert(book[i] < 0 || book[i] != book[j], "one VM has two ports");
    for (int i = 0; i < VMS; i++)
        cr_assert(!port_of_vm[i] || book[port_of_vm[i] - FIRST] == i, "the book has another VM");
    cr_assert_gt(came_back, TURNS / 20);
    port_pool_free(pool);
}

struct crowd {
    struct port_pool *pool;
    int number;
};

static void *come_and_go(void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < 20000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d-%d", crowd->number, i % 10);
        int port = take(crowd->pool, name);
        if (port < 0)
            continue;
        port_pool_connected(crowd->pool, (uint16_t)port, name, strlen(name), NOW);
        port_pool_put(crowd->pool, (uint16_t)port);
    }
    return NULL;
}

Test(port_pool, threads_share_it)
{
    struct port_pool *pool = pool_of(15);
    struct crowd crowd[3] = {{pool, 0}, {pool, 1}, {pool, 2}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, come_and_go, &crowd[i]);
    for (int i = 0; i < 1000; i++)
        forget_changes(pool);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(port_pool_available(pool), 15);
    port_pool_free(pool);
}
