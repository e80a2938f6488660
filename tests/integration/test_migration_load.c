/* vMotion again and again, under load: a VM prints and users type numbered bytes all the while, and each side
 * gets them all, once and in order; nobody is told anything, and the mapping stays. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "migration.h"
#include "probe.h"

TestSuite(migration_load, .timeout = 280);

enum { ROUNDS = 100, CHUNK = 3000, TYPED = 700 };

struct load {
    struct redis *r;
    redisContext *watch;
    struct daemon *d;
    struct vm_client_options opt;
    struct vm_link *vm;           /* where the VM runs, or ran last */
    struct user *telnet, *raw;    /* both see what the VM prints; the first types */
    struct stream printed, typed; /* printed.sent and typed: as the telnet user and the VM know them */
    struct stream raw_printed;    /* as the raw user knows them */
    uint32_t random;
    bool frozen; /* the VM does not run */
};

/* A number below n, the same for each run. */
static unsigned pick(struct load *l, unsigned n)
{
    l->random = l->random * 1664525 + 1013904223;
    return (l->random >> 16) % n;
}

static void take(struct load *l)
{
    stream_take_user(&l->printed, l->telnet);
    l->raw_printed.sent = l->printed.sent;
    stream_take_user(&l->raw_printed, l->raw);
    if (l->vm->fd >= 0)
        stream_take_vm(&l->typed, l->vm);
}

/* The user types, and the VM prints if it runs; not all of it has arrived when this returns. */
static void talk(struct load *l)
{
    uint8_t data[CHUNK];
    size_t len = 1 + pick(l, TYPED);
    stream_next(&l->typed, data, len);
    user_send(l->telnet, data, len);
    if (!l->frozen) {
        len = 1 + pick(l, CHUNK);
        stream_next(&l->printed, data, len);
        vm_client_send(&l->vm->vm, data, len);
    }
    take(l);
}

/* All that was printed and typed has arrived. */
static void wait_quiet(struct load *l)
{
    WAIT_FOR((take(l), l->printed.received == l->printed.sent && l->raw_printed.received == l->printed.sent &&
                           l->typed.received == l->typed.sent),
             SOON, "of %llu bytes printed %llu and %llu came, of %llu typed %llu",
             (unsigned long long)l->printed.sent, (unsigned long long)l->printed.received,
             (unsigned long long)l->raw_printed.received, (unsigned long long)l->typed.sent,
             (unsigned long long)l->typed.received);
}

static struct load *start(uint32_t seed)
{
    struct load *l = xcalloc(1, sizeof *l);
    l->r = redis_start();
    l->d = daemon_new(VSPCD, 8);
    daemon_use_redis(l->d, l->r);
    daemon_set(l->d, "server.workers", "3");
    daemon_set(l->d, "user.backlog", "16MiB");
    daemon_start(l->d);
    l->opt = vm_options("vm1");
    l->random = seed;
    l->printed.seed = l->raw_printed.seed = seed;
    l->typed.seed = seed + 1;
    l->vm = vm_start(l->d, &l->opt);
    uint16_t port = redis_wait_port(l->r, "VM:Port", "vm1", SOON);
    l->telnet = user_connect(port, USER_TELNET);
    l->raw = user_connect(port, USER_RAW);
    vm_print_text(l->vm, "ready");
    user_expect_text(l->telnet, "ready", SOON);
    user_wait_text(l->raw, "ready", SOON);
    l->watch = redis_watch(l->r);
    return l;
}

static void finish(struct load *l)
{
    for (int i = 0; i < 10; i++)
        talk(l);
    wait_quiet(l);
    cr_assert_eq(redis_count_writes(l->r, l->watch, "VM:"), 0, "the mapping flickered");
    cr_assert_eq(daemon_count_log(l->d, "VM disconnected"), 0);
    cr_assert_gt(l->typed.sent, 0);
    user_close(l->telnet);
    user_close(l->raw);
    vm_stop(l->vm);
    redis_wait_hlen(l->r, "VM:Port", 0, SOON);
    daemon_stop(l->d);
    free(l);
}

/* The source says BEGIN, with a sequence of 1 to 64 bytes of any value, in the same segment as data. What it
 * was sent before GOAHEAD has arrived when this returns. */
static void begin(struct load *l)
{
    uint8_t sequence[VM_SEQUENCE_MAX];
    static const uint8_t values[] = {0, 255, 240, 250};
    size_t len = 1 + pick(l, VM_SEQUENCE_MAX);
    for (size_t i = 0; i < len; i++)
        sequence[i] = pick(l, 2) ? values[pick(l, sizeof values)] : (uint8_t)pick(l, 256);
    talk(l);
    l->frozen = true;
    move_begin(l->vm, sequence, len);
    take(l);
}

static struct vm_link *join(struct load *l)
{
    return (pick(l, 2) ? move_join_late : move_join)(l->d, &l->opt, l->vm);
}

/* The VM is gone from where it ran. */
static void leave(struct load *l, struct vm_link *there)
{
    cr_assert_eq(l->vm->received.len, 0, "the source was sent something after GOAHEAD");
    cr_assert_eq(l->vm->vm.errors, 0, "%s", l->vm->vm.error);
    vm_stop(l->vm);
    l->vm = there;
    l->frozen = false;
}

/* The destination says COMPLETE, in the same segment as what it prints or in one of its own. */
static void complete(struct load *l, struct vm_link *there, bool close_first)
{
    if (close_first) {
        take(l);
        vm_link_close(l->vm, pick(l, 2));
    }
    vm_client_complete(&there->vm);
    if (pick(l, 2))
        cr_assert_eq(vm_link_flush(there, SOON), 0);
    if (!close_first && pick(l, 2)) {
        cr_assert_eq(vm_link_flush(there, SOON), 0);
        cr_assert_eq(vm_link_wait_closed(l->vm, SOON), 0);
    }
    leave(l, there);
    talk(l);
}

static void wait_logged(struct load *l, const char *text)
{
    WAIT_FOR(daemon_count_log(l->d, text) == ROUNDS, SOON, "logged %u times: %s",
             daemon_count_log(l->d, text), text);
}

Test(migration_load, a_hundred_migrations_lose_nothing)
{
    struct load *l = start(1);
    for (int i = 0; i < ROUNDS; i++) {
        talk(l);
        begin(l);
        talk(l);
        struct vm_link *there = join(l);
        talk(l);
        complete(l, there, pick(l, 2));
        if (pick(l, 4) == 0)
            wait_quiet(l);
    }
    wait_logged(l, "VM migrated");
    finish(l);
}

Test(migration_load, a_hundred_aborts_lose_nothing)
{
    struct load *l = start(2);
    for (int i = 0; i < ROUNDS; i++) {
        talk(l);
        begin(l);
        talk(l);
        struct vm_link *there = pick(l, 2) ? join(l) : NULL;
        talk(l);
        vm_client_abort(&l->vm->vm);
        l->frozen = false;
        talk(l);
        if (there) {
            cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
            vm_stop(there);
        }
        if (pick(l, 4) == 0)
            wait_quiet(l);
    }
    wait_logged(l, "VM migration aborted");
    finish(l);
}

Test(migration_load, a_hundred_hosts_that_give_up_silently_lose_nothing)
{
    struct load *l = start(3);
    struct vm_link *there = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        talk(l);
        begin(l);
        talk(l);
        /* That of the last round goes with the BEGIN that has replaced its. */
        if (there) {
            cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
            vm_stop(there);
        }
        there = pick(l, 2) ? join(l) : NULL;
        l->frozen = false;
        talk(l);
        if (pick(l, 4) == 0)
            wait_quiet(l);
    }
    wait_logged(l, "VM runs on at its old host");
    /* Or the VM would count as between two hosts when it has gone. */
    vm_client_abort(&l->vm->vm);
    if (there) {
        cr_assert_eq(vm_link_flush(l->vm, SOON), 0);
        cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
        vm_stop(there);
    }
    finish(l);
}

Test(migration_load, a_hundred_begins_that_come_from_elsewhere_keep_nothing_back)
{
    struct load *l = start(4);
    struct vm_client_options silent = l->opt;
    silent.uuid_answer = VM_UUID_SILENT;
    for (int i = 0; i < ROUNDS; i++) {
        talk(l);
        struct vm_link *other = vm_connect(l->d, &silent);
        cr_assert_eq(vm_link_wait(other, VM_EVENT_WILL_PROXY, SOON), 0);
        vm_client_begin(&other->vm, "\xff\0\1", 3);
        cr_assert_eq(vm_link_wait(other, VM_EVENT_NOTNOW, SOON), 0);
        talk(l);
        wait_quiet(l);
        vm_link_close(other, pick(l, 2));
        vm_stop(other);
    }
    finish(l);
}

/* One that dies before it completes; how far it came, and how it goes, differs. */
static void lose_destination(struct load *l)
{
    struct vm_link *there = pick(l, 2) ? join(l) : move_connect(l->d, &l->opt, l->vm);
    talk(l);
    vm_link_close(there, pick(l, 2));
    vm_stop(there);
}

/* A frozen source dies, one way or the other. All that it was sent before GOAHEAD it has read. */
static void lose_source(struct load *l)
{
    take(l);
    vm_link_close(l->vm, pick(l, 2));
    talk(l);
}

Test(migration_load, sockets_that_die_at_random_lose_nothing)
{
    struct load *l = start(5);
    for (int i = 0; i < ROUNDS; i++) {
        talk(l);
        begin(l);
        if (pick(l, 4) == 0)
            begin(l);
        talk(l);
        if (pick(l, 2))
            lose_destination(l);
        if (pick(l, 2))
            lose_source(l);
        if (pick(l, 2))
            lose_destination(l);
        if (l->vm->fd < 0 && pick(l, 2)) {
            /* The VM is started anew. */
            leave(l, vm_start(l->d, &l->opt));
        } else if (l->vm->fd >= 0 && pick(l, 2)) {
            if (pick(l, 2))
                vm_client_abort(&l->vm->vm);
            l->frozen = false;
        } else {
            complete(l, join(l), false);
        }
        talk(l);
        if (pick(l, 4) == 0)
            wait_quiet(l);
    }
    /* A VM that is started anew publishes itself anew. */
    redis_count_writes(l->r, l->watch, "VM:");
    l->watch = redis_watch(l->r);
    finish(l);
}

/* How many connections, of which none says a word, are let in beside what there is. */
static unsigned count_admitted(struct daemon *d)
{
    enum { MOST = 32 };
    struct user *peers[MOST];
    unsigned n = 0;
    bool admitted = true;
    while (admitted && n < MOST) {
        struct user *peer = user_connect(d->vm_port, USER_RAW);
        peers[n++] = peer;
        WAIT_FOR(!user_pump(peer) || peer->in.len, SOON, "neither let in nor refused");
        admitted = peer->in.len;
    }
    for (unsigned i = 0; i < n; i++)
        user_close(peers[i]);
    return n - !admitted;
}

/* A VM takes 2 of the 20 that this limit leaves, in whatever way it comes and goes. */
Test(migration_load, descriptors_are_counted_right_however_migrations_end)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    probe_run_before(d, "ulimit -n 84");
    daemon_set(d, "server.workers", "3");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    WAIT_FOR(count_admitted(d) == 9, SOON, "%u are let in", count_admitted(d));
    unsigned fds = daemon_usage(d).fds;
    for (int i = 0; i < ROUNDS; i++) {
        move_begin(vm, "abcd", 4);
        struct vm_link *there = (i & 1 ? move_join : move_join_late)(d, &opt, vm);
        if (i % 5 == 0) {
            vm_link_close(there, i & 2);
            vm_stop(there);
            there = move_join(d, &opt, vm);
        }
        if (i % 7 == 0) {
            vm_client_abort(&vm->vm);
            cr_assert_eq(vm_link_flush(vm, SOON), 0);
            cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
            vm_stop(there);
            continue;
        }
        if (i % 3 == 0)
            vm_link_close(vm, i & 2);
        if (i % 11 == 0) {
            vm_link_close(vm, false);
            vm_stop(vm);
            vm = vm_start(d, &opt);
            cr_assert_eq(vm_link_wait_closed(there, SOON), 0);
            vm_stop(there);
            continue;
        }
        move_complete(there);
        vm_link_wait_closed(vm, SOON);
        vm_stop(vm);
        vm = there;
    }
    vm_print_text(vm, "x");
    WAIT_FOR(count_admitted(d) == 9, SOON, "%u are let in", count_admitted(d));
    probe_wait_fds(d, fds, SOON);
    vm_stop(vm);
    daemon_stop(d);
}

/* A destination that waits for PEER-OK, or for the end, on its way to another worker. */
static struct vm_link *send_peer(struct load *l)
{
    struct vm_link *there = move_connect(l->d, &l->opt, l->vm);
    cr_assert_eq(vm_link_wait(there, VM_EVENT_KNOWN, SOON), 0);
    cr_assert_eq(vm_link_flush(there, SOON), 0);
    return there;
}

Test(migration_load, a_cookie_that_dies_while_it_is_brought_is_refused_or_its_destination_closed)
{
    struct load *l = start(6);
    struct vm_link *there[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        begin(l);
        there[i] = send_peer(l);
        switch (pick(l, 3)) {
        case 0:
            vm_client_abort(&l->vm->vm);
            l->frozen = false;
            break;
        case 1:
            begin(l);
            complete(l, join(l), false);
            break;
        default:
            lose_source(l);
            leave(l, vm_start(l->d, &l->opt));
        }
        talk(l);
    }
    wait_quiet(l);
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_eq(vm_link_wait_closed(there[i], SOON), 0, "a destination is left over");
        cr_assert_eq(there[i]->received.len, 0, "it was sent input");
        vm_stop(there[i]);
    }
    redis_count_writes(l->r, l->watch, "VM:");
    l->watch = redis_watch(l->r);
    finish(l);
}
