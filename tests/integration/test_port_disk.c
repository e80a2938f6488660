/* The port book on a sick disk: damaged, full, read-only, stuck. VMs and users are served all the same. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mounts.h"
#include "sticky.h"

TestSuite(port_disk, .timeout = 240);

/* The 5 s of design.md, and what a loaded machine and a sanitizer's leak check may add. */
enum { STOP_MS = 5000, STOP_SLACK_MS = 2000, VMS = 30 };

/* Starts with a book that is damaged, or none at all: VMs are served, and it is set aside. */
static void expect_set_aside(struct daemon *d, struct redis *r, const char *why)
{
    char *book = sticky_book(d);
    daemon_start(d);
    cr_assert_eq(probe_count_lines(d, "set_aside=", why), 1);
    cr_assert_eq(probe_count_lines(d, "ports.db.damaged-20", "warning"), 1);
    int port = sticky_visit(d, r, "a");
    WAIT_FOR(ports_db_port(book, "a") == port, SOON, "the new book is not written");
    daemon_stop(d);
    free(book);
}

Test(port_disk, unusable_file_is_set_aside_and_the_service_goes_on)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 16);
    char *book = sticky_book(d);
    FILE *file = fopen(book, "w");
    fputs("ports: none; this is somebody's shopping list and it goes on for some more bytes\n", file);
    fclose(file);
    expect_set_aside(d, r, "not a database");
    cr_assert_eq(truncate(book, 5000), 0);
    expect_set_aside(d, r, "malformed");
    ports_db_run(book, "PRAGMA application_id=1");
    expect_set_aside(d, r, "another program");
    ports_db_run(book, "PRAGMA user_version=7");
    expect_set_aside(d, r, "newer");
    free(book);
}

/* Sets how big a file may be that vspcd writes. */
static void limit_files(struct daemon *d, rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    cr_assert_eq(prlimit(d->pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

Test(port_disk, files_that_may_not_grow_are_an_outage_of_the_book_alone)
{
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 64);
    char *book = sticky_book(d);
    daemon_start(d);
    uint16_t first = sticky_visit(d, r, "first");
    WAIT_FOR(ports_db_port(book, "first") == first, SOON, "it is not in the book");
    /* The log, a file here too, may still grow. */
    limit_files(d, 16384);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    daemon_wait_log(d, "Port book cannot be written", SOON);
    redis_wait_hlen(r, "VM:Port", VMS, SOON);
    limit_files(d, RLIM_INFINITY);
    daemon_wait_log(d, "Port book is written again", SOON);
    cr_assert_eq(daemon_count_log(d, "Port book cannot be written"), 1);
    uint16_t ports[VMS];
    sticky_note(r, f, ports);
    WAIT_FOR(ports_db_count(book) == VMS + 1, SOON, "the book lacks VMs");
    daemon_kill(d);
    fleet_wait_lost(f, SOON);
    daemon_start(d);
    sticky_expect(r, f, ports);
    cr_assert_eq(sticky_visit(d, r, "first"), first);
    fleet_free(f);
    daemon_stop(d);
    free(book);
}

Test(port_disk, full_disk_is_an_outage_of_the_book_alone_and_then_all_is_written)
{
    uint16_t ports[VMS];
    mounts_unshare();
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    char *filler = xasprintf("%s/filler", d->state_dir), *book = sticky_book(d);
    cr_assert_eq(mount("none", d->state_dir, "tmpfs", 0, "size=200k"), 0);
    daemon_set(d, "server.log_level", "debug");
    daemon_start(d);
    int first = sticky_visit(d, r, "first");
    WAIT_FOR(ports_db_port(book, "first") == first, SOON, "it is not in the book");
    mounts_fill(filler);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    sticky_note(r, f, ports);
    probe_wait_line(d, "Port book cannot be written", "full", SOON);
    fleet_drop(f, 0, VMS, false);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    sticky_expect(r, f, ports);
    daemon_wait_log(d, "Port book still cannot be written", SOON);
    cr_assert_eq(unlink(filler), 0);
    daemon_wait_log(d, "Port book is written again", SOON);
    cr_assert_eq(daemon_count_log(d, "Port book cannot be written"), 1);
    WAIT_FOR(ports_db_count(book) == VMS + 1, SOON, "the book lacks VMs");
    for (size_t i = 0; i < VMS; i++) {
        char name[32];
        snprintf(name, sizeof name, "vm-%05zu", i);
        cr_assert_eq(ports_db_port(book, name), ports[i]);
    }
    fleet_free(f);
    daemon_stop(d);

    /* Full from the start: what is in the book can still be read. */
    mounts_fill(filler);
    daemon_start(d);
    cr_assert_eq(sticky_visit(d, r, "first"), first);
    probe_wait_line(d, "Port book cannot be written", "", SOON);
    daemon_stop(d);
    umount(d->state_dir);
    free(filler);
    free(book);
}

/* As after the crash of a machine whose disk has filled up. */
Test(port_disk, full_disk_after_a_kill_gives_vms_their_ports)
{
    uint16_t ports[VMS];
    mounts_unshare();
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    char *filler = xasprintf("%s/filler", d->state_dir), *book = sticky_book(d);
    cr_assert_eq(mount("none", d->state_dir, "tmpfs", 0, "size=200k"), 0);
    struct fleet *f = sticky_start(r, d, VMS, ports);
    WAIT_FOR(ports_db_count(book) == VMS, SOON, "the book lacks VMs");
    daemon_kill(d);
    fleet_wait_lost(f, SOON);
    mounts_fill(filler);
    daemon_start(d);
    cr_assert_eq(daemon_count_log(d, "reserved_ports=30\n"), 1);
    sticky_expect(r, f, ports);
    probe_wait_line(d, "Port book cannot be written", "", SOON);
    fleet_free(f);
    daemon_stop(d);
    umount(d->state_dir);
    free(filler);
    free(book);
}

/* Makes the state directory read-only, or lets it be written again, until it is unmounted. */
static void set_read_only(struct daemon *d, bool read_only)
{
    unsigned long flags = MS_REMOUNT | MS_BIND | (read_only ? MS_RDONLY : 0);
    cr_assert_eq(mount("none", d->state_dir, NULL, flags, NULL), 0);
}

static void expect_ports_from_read_only(struct redis *r, struct daemon *d, struct fleet *f, uint16_t *ports)
{
    char *book = sticky_book(d);
    cr_assert_eq(mount(d->state_dir, d->state_dir, NULL, MS_BIND, NULL), 0);
    set_read_only(d, true);
    daemon_start(d);
    probe_wait_line(d, "Port book cannot be written", "writable", SOON);
    cr_assert_eq(daemon_count_log(d, "reserved_ports=30"), 1);
    sticky_expect(r, f, ports);
    int port = sticky_visit(d, r, "new");
    set_read_only(d, false);
    daemon_wait_log(d, "Port book is written again", SOON);
    cr_assert_eq(daemon_count_log(d, "Port book cannot be written"), 1);
    cr_assert_eq(ports_db_port(book, "new"), port);
    cr_assert_eq(ports_db_count(book), VMS + 1);
    daemon_stop(d);
    fleet_wait_lost(f, SOON);
    umount(d->state_dir);
    ports_db_run(book, "DELETE FROM port WHERE name=CAST('new' AS BLOB)");
    free(book);
}

Test(port_disk, read_only_directory_gives_vms_their_ports)
{
    uint16_t ports[VMS];
    mounts_unshare();
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    char *book = sticky_book(d);
    struct fleet *f = sticky_start(r, d, VMS, ports);
    daemon_stop(d);
    fleet_wait_lost(f, SOON);
    expect_ports_from_read_only(r, d, f, ports);

    /* What a vspcd that was killed had not copied back into the file counts too. */
    daemon_start(d);
    sticky_expect(r, f, ports);
    WAIT_FOR(ports_db_number(book, "SELECT count(*) FROM port WHERE connected") == VMS, SOON,
             "the book lacks VMs");
    cr_assert_eq(unlink(book), 0);
    fleet_drop(f, 0, VMS, false);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    sticky_expect(r, f, ports);
    WAIT_FOR(ports_db_number(book, "SELECT count(*) FROM port WHERE connected") == VMS, SOON,
             "the book lacks VMs");
    daemon_kill(d);
    fleet_wait_lost(f, SOON);
    expect_ports_from_read_only(r, d, f, ports);
    fleet_free(f);
    free(book);
}

/* What SQLite needs to read the latest changes is gone, and cannot be made anew. */
Test(port_disk, changes_that_could_not_be_read_are_restored_before_anything_is_written)
{
    mounts_unshare();
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 16);
    char *book = sticky_book(d), *shm = xasprintf("%s-shm", book);
    daemon_start(d);
    int old = sticky_visit(d, r, "old");
    daemon_stop(d);
    daemon_start(d);
    int latest = sticky_visit(d, r, "latest"), last = sticky_visit(d, r, "last");
    WAIT_FOR(ports_db_port(book, "last") == last, SOON, "it is not in the book");
    daemon_kill(d);
    cr_assert_eq(unlink(shm), 0);

    cr_assert_eq(mount(d->state_dir, d->state_dir, NULL, MS_BIND, NULL), 0);
    set_read_only(d, true);
    daemon_start(d);
    probe_wait_line(d, "Port book cannot be written", "writable", SOON);
    cr_assert_eq(probe_count_lines(d, "reserved_ports=1", "latest_changes=missing"), 1);
    cr_assert_eq(sticky_visit(d, r, "old"), old);
    cr_assert_eq(sticky_visit(d, r, "new"), latest, "nobody knows whose it was");
    set_read_only(d, false);
    daemon_wait_log(d, "Port book is written again", SOON);
    cr_assert_eq(ports_db_port(book, "last"), last);
    cr_assert_eq(ports_db_port(book, "new"), latest);
    cr_assert_eq(ports_db_count(book), 3);
    cr_assert_eq(sticky_visit(d, r, "last"), last);
    cr_assert_eq(daemon_count_log(d, "Port book read"), 2);
    daemon_stop(d);
    umount(d->state_dir);
    free(shm);
    free(book);
}

/* After SIGTERM: it must exit with 0, in time. */
static void expect_stop(struct daemon *d)
{
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    uint64_t took = clock_ms() - from;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_lt(took, STOP_MS + STOP_SLACK_MS, "it took %u ms to stop", (unsigned)took);
}

Test(port_disk, stuck_disk_stops_nobody)
{
    uint16_t ports[VMS], unwritten[VMS];
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 4 * VMS);
    char *book = sticky_book(d);
    struct fleet *f = sticky_start(r, d, VMS, ports), *late = fleet_new(d, VMS, "late-", NULL);
    WAIT_FOR(ports_db_count(book) == VMS, SOON, "the book lacks VMs");
    daemon_freeze_thread(d, "disk");
    fleet_connect(late, 0, VMS);
    fleet_wait_identified(late, SOON);
    fleet_drop(f, 0, VMS, false);
    redis_wait_hlen(r, "VM:Port", VMS, SOON);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    sticky_note(r, f, unwritten);
    cr_assert_arr_eq(unwritten, ports, sizeof ports);
    struct vm_link *vm = vm_start_named(d, "vm");
    probe_console(redis_wait_port(r, "VM:Port", "vm", SOON), vm);
    cr_assert_eq(ports_db_count(book), VMS);

    /* What waited is written once the disk answers. */
    daemon_thaw_thread(d);
    WAIT_FOR(ports_db_count(book) == 2 * VMS + 1, SOON, "the book lacks VMs");
    daemon_freeze_thread(d, "disk");
    fleet_drop(late, 0, VMS, true);
    expect_stop(d);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
    probe_wait_maps(r, "one", 0, 0, SOON);
    vm_stop(vm);
    fleet_wait_lost(f, SOON);
    daemon_start(d);
    sticky_expect(r, f, ports);
    fleet_free(f);
    fleet_free(late);
    daemon_stop(d);
    free(book);
}

Test(port_disk, stuck_disk_and_redis_together_do_not_delay_the_end)
{
    uint16_t ports[VMS];
    struct redis *r = redis_start();
    struct daemon *d = sticky_daemon(VSPCD, r, 2 * VMS);
    char *book = sticky_book(d);
    struct fleet *f = sticky_start(r, d, VMS, ports);
    WAIT_FOR(ports_db_count(book) == VMS, SOON, "the book lacks VMs");
    daemon_freeze_thread(d, "disk");
    redis_freeze(r);
    expect_stop(d);
    redis_thaw(r);
    fleet_wait_lost(f, SOON);
    daemon_start(d);
    probe_wait_maps(r, "one", 0, 0, SOON);
    sticky_expect(r, f, ports);
    fleet_free(f);
    daemon_stop(d);
    free(book);
}
