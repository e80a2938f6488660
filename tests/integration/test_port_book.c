/* Sticky ports: a VM gets its user port back, whatever has happened meanwhile. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sticky.h"

TestSuite(port_book, .timeout = 240);

enum { VMS = 30 };

Test(port_book, vm_that_comes_back_gets_its_port)
{
    uint16_t ports[VMS];
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    struct fleet *f = sticky_start(r, d, VMS, ports);
    fleet_drop(f, 0, VMS, false);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    sticky_expect(r, f, ports);
    fleet_free(f);
    daemon_stop(d);
}

Test(port_book, vms_get_their_ports_after_a_restart_a_kill_and_without_redis_memory)
{
    uint16_t ports[VMS];
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    char *book = sticky_book(d);
    struct fleet *f = sticky_start(r, d, VMS, ports);
    for (int i = 0; i < 4; i++) {
        if (i % 2) {
            daemon_stop(d);
            cr_assert_eq(ports_db_number(book, "SELECT count(*) FROM port WHERE connected"), 0);
        } else {
            WAIT_FOR(ports_db_number(book, "SELECT count(*) FROM port WHERE connected") == VMS, SOON,
                     "the book does not have all VMs");
            daemon_kill(d);
        }
        fleet_wait_lost(f, SOON);
        if (i >= 2)
            freeReplyObject(redis_ask(r, "FLUSHALL"));
        daemon_start(d);
        cr_assert_eq(probe_count_lines(d, "Port book read", "reserved_ports=30"), 1);
        sticky_expect(r, f, ports);
    }
    fleet_free(f);
    daemon_stop(d);
    free(book);
}

Test(port_book, two_ports_of_one_vm_and_a_vm_without_uuid_get_theirs_after_a_kill)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 16);
    struct vm_client_options one = vm_options("vm"), two = vm_options("vm"), plain = vm_options("plain");
    char *book = sticky_book(d);
    one.query = "port=com1";
    two.query = "port=com2";
    plain.uuid_answer = VM_UUID_UNKNOWN;
    uint16_t ports[3];
    for (int i = 0; i < 2; i++) {
        daemon_start(d);
        struct vm_link *c = vm_start(d, i == 0 ? &plain : &two);
        struct vm_link *b = vm_start(d, &one);
        struct vm_link *a = vm_start(d, i == 0 ? &two : &plain);
        uint16_t now[3] = {redis_wait_port(r, "VM:Port", "vm.com1", SOON),
                           redis_wait_port(r, "VM:Port", "vm.com2", SOON),
                           redis_wait_port(r, "VM:Port", "plain", SOON)};
        if (i)
            cr_assert_arr_eq(now, ports, sizeof ports);
        memcpy(ports, now, sizeof ports);
        WAIT_FOR(ports_db_port(book, "vm.com1") == ports[0] && ports_db_port(book, "vm.com2") == ports[1] &&
                     ports_db_port(book, "plain") == ports[2],
                 SOON, "the book does not have them");
        daemon_kill(d);
        vm_stop(a);
        vm_stop(b);
        vm_stop(c);
    }
    free(book);
}

Test(port_book, retention_ends_and_the_port_is_anybodys)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2);
    char *book = sticky_book(d);
    daemon_set(d, "user.port_retention", "1s");
    daemon_start(d);
    uint16_t port = sticky_visit(d, r, "a");
    WAIT_FOR(ports_db_port(book, "a") == port, SOON, "it is not in the book");
    WAIT_FOR(ports_db_count(book) == 0, SOON, "it is still in the book");
    /* The other port has been free for longer. */
    cr_assert_neq(sticky_visit(d, r, "a"), port);
    daemon_stop(d);
    free(book);
}

Test(port_book, without_retention_nothing_is_reserved)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2);
    char *book = sticky_book(d);
    daemon_set(d, "user.port_retention", "0");
    daemon_start(d);
    uint16_t port = sticky_visit(d, r, "a");
    cr_assert_neq(sticky_visit(d, r, "a"), port);
    WAIT_FOR(ports_db_count(book) == 0, SOON, "there is a row");
    daemon_stop(d);
    free(book);
}

Test(port_book, shorter_retention_is_reloaded)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 4);
    char *book = sticky_book(d);
    daemon_start(d);
    uint16_t port = sticky_visit(d, r, "a");
    WAIT_FOR(ports_db_port(book, "a") == port, SOON, "it is not in the book");
    daemon_write_config(d, "[user]\nport_retention = 1s\n");
    probe_reload(d);
    WAIT_FOR(ports_db_count(book) == 0, SOON, "it is still in the book");
    daemon_stop(d);
    free(book);
}

Test(port_book, newcomers_get_unreserved_ports_first_then_those_unused_for_longest)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 3);
    char *book = sticky_book(d);
    daemon_start(d);
    uint16_t a = sticky_visit(d, r, "a"), b = sticky_visit(d, r, "b");
    WAIT_FOR(ports_db_port(book, "b") == b, SOON, "it is not in the book");
    daemon_kill(d);
    /* Which was there first is known to the second only. */
    ports_db_run(book, "UPDATE port SET last_seen=last_seen-10 WHERE name=CAST('b' AS BLOB)");
    daemon_start(d);
    struct vm_link *c = vm_start_named(d, "c");
    uint16_t port = redis_wait_port(r, "VM:Port", "c", SOON);
    cr_assert(port != a && port != b);
    struct vm_link *e = vm_start_named(d, "e");
    cr_assert_eq(redis_wait_port(r, "VM:Port", "e", SOON), b);
    cr_assert_eq(sticky_visit(d, r, "a"), a);
    vm_stop(c);
    vm_stop(e);
    daemon_stop(d);
    free(book);
}

/* Something else listens on the VM's port. Result: its socket. */
static int occupy(uint16_t port)
{
    struct sock_addr addr = env_local(port);
    int fd = -1;
    /* Redis may know before the port is closed that its VM has gone. */
    WAIT_FOR((fd = sock_listen(&addr, false, 1)) >= 0, SOON, "port %u is not free", port);
    return fd;
}

Test(port_book, port_that_is_held_is_skipped_and_the_vm_keeps_the_other)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 16);
    char *book = sticky_book(d);
    daemon_start(d);
    uint16_t first = sticky_visit(d, r, "a");
    int fd = occupy(first);
    uint16_t second = sticky_visit(d, r, "a");
    cr_assert_neq(second, first);
    WAIT_FOR(ports_db_port(book, "a") == second, SOON, "the book still has the other port");
    cr_assert_eq(ports_db_count(book), 1);
    close(fd);
    cr_assert_eq(sticky_visit(d, r, "a"), second);
    daemon_kill(d);
    daemon_start(d);
    cr_assert_eq(sticky_visit(d, r, "a"), second);
    daemon_stop(d);
    free(book);
}

Test(port_book, name_in_the_book_follows_the_vm)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 16);
    char *book = sticky_book(d);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "before");
    int port = redis_wait_port(r, "VM:Port", "before", SOON);
    WAIT_FOR(ports_db_port(book, "before") == port, SOON, "it is not in the book");
    vm_client_rename(&vm->vm, "after", 5);
    vm_link_pump(vm);
    WAIT_FOR(ports_db_port(book, "after") == port, SOON, "the book has the old name");
    cr_assert_eq(ports_db_count(book), 1);
    vm_stop(vm);
    daemon_stop(d);
    free(book);
}

Test(port_book, sigterm_under_load_keeps_every_port)
{
    enum { MANY = 500, ROUNDS = 3 };
    static uint16_t ports[MANY];
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, MANY);
    daemon_start(d);
    struct fleet *f = fleet_new(d, MANY, "vm-", NULL);
    fleet_connect(f, 0, MANY);
    fleet_wait_identified(f, SOON);
    sticky_note(r, f, ports);
    for (int round = 0; round < ROUNDS; round++) {
        static const char output[4096];
        uint64_t from = clock_ms();
        int status = 0;
        for (int turn = 0; !env_wait_exit(d->pid, &status, 0); turn++) {
            for (size_t i = 0; i < MANY; i += 7)
                if (f->vms[i].fd >= 0 && f->vms[i].identified && f->vms[i].vm.out.len == 0)
                    fleet_send(f, i, output, sizeof output);
            fleet_pump(f, 1);
            if (turn == 20)
                daemon_signal(d, SIGTERM);
            cr_assert_lt(clock_ms() - from, SOON, "it does not end");
        }
        d->pid = 0;
        env_check_reports();
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
        fleet_wait_lost(f, SOON);
        daemon_start(d);
        fleet_connect(f, 0, MANY);
        fleet_wait_identified(f, SOON);
        probe_wait_maps(r, "one", MANY, 0, SOON);
        static uint16_t now[MANY];
        sticky_note(r, f, now);
        cr_assert_arr_eq(now, ports, sizeof ports);
    }
    fleet_free(f);
    daemon_stop(d);
}
