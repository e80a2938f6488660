/* Console logs of the real vspcd: every byte that a VM prints, and a disk that fails without anybody but the
 * log noticing. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mounts.h"
#include "probe.h"
#include "wire.h"

TestSuite(console_log, .timeout = 240);

static char directory[200];

/* A daemon that logs into files by the names of the VMs. */
static struct daemon *log_daemon(void)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    snprintf(directory, sizeof directory, "%s/logs", env_dir());
    mkdir(directory, 0700);
    daemon_set(d, "log.directory", "%s", directory);
    daemon_set(d, "log.file", "{name}.log");
    return d;
}

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", directory, name);
}

static size_t size_of(const char *name)
{
    struct stat st;
    char *path = path_of(name);
    size_t size = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    free(path);
    return size;
}

static char *content(const char *name)
{
    char *path = path_of(name), *text = env_read_file(path, 0, 64 << 20);
    free(path);
    return text;
}

static void expect_soon(const char *name, const char *expected)
{
    char *text = NULL;
    WAIT_FOR((free(text), text = content(name), strcmp(text, expected) == 0), SOON, "%s holds %s, not %s",
             name, quote(text, strlen(text)).s, quote(expected, strlen(expected)).s);
    free(text);
}

Test(console_log, holds_what_came_before_the_name_and_what_nobody_saw)
{
    struct daemon *d = log_daemon();
    struct vm_client_options opt = vm_options("vm");
    daemon_start(d);
    struct vm_link *vm = vm_connect(d, &opt);
    vm_client_send(&vm->vm, "early ", 6);
    cr_assert_eq(vm_link_identify(vm, SOON), 0);
    vm_print(vm, "\xff\xff and \xff", 8);
    expect_soon("vm.log", "early \xff\xff and \xff");
    vm_stop(vm);
    vm = vm_start(d, &opt);
    vm_print_text(vm, ", again");
    expect_soon("vm.log", "early \xff\xff and \xff, again");
    vm_stop(vm);
    daemon_stop(d);
}

Test(console_log, two_ports_of_one_vm_have_a_file_each)
{
    struct daemon *d = log_daemon();
    struct vm_client_options one = vm_options("vm"), two = vm_options("vm");
    char uuid[UUID_TEXT], name[128];
    uuid_format(one.uuid, uuid);
    one.query = "port=com1";
    two.query = "port=com2";
    daemon_set(d, "log.file", "{uuid}.log");
    daemon_start(d);
    struct vm_link *a = vm_start(d, &one), *b = vm_start(d, &two);
    vm_print_text(a, "one");
    vm_print_text(b, "two");
    snprintf(name, sizeof name, "%s.com1.log", uuid);
    expect_soon(name, "one");
    snprintf(name, sizeof name, "%s.com2.log", uuid);
    expect_soon(name, "two");
    vm_stop(a);
    vm_stop(b);
    daemon_stop(d);
}

Test(console_log, hostile_names_and_links_write_nothing_elsewhere)
{
    struct daemon *d = log_daemon();
    struct vm_client_options up = vm_options("../up"), link = vm_options("link");
    char *outside = xasprintf("%s/up.log", env_dir()), *target = xasprintf("%s/target", env_dir());
    char *in_directory = path_of("link.log");
    cr_assert_eq(symlink(target, in_directory), 0);
    daemon_start(d);
    struct vm_link *a = vm_start(d, &up), *b = vm_start(d, &link);
    vm_print_text(b, "text");
    vm_print_text(a, "text");
    expect_soon("%2E.%2Fup.log", "text");
    probe_wait_line(d, "Console logs cannot be written", "link.log", SOON);
    cr_assert_lt(access(outside, F_OK), 0);
    cr_assert_lt(access(target, F_OK), 0);
    probe_console(probe_port(d, "link"), b);
    vm_stop(a);
    vm_stop(b);
    daemon_stop(d);
    free(outside);
    free(target);
    free(in_directory);
}

Test(console_log, all_that_was_printed_is_written_at_the_end)
{
    enum { LEN = 1000000 };
    static char text[LEN + 1];
    struct daemon *d = log_daemon();
    memset(text, 't', LEN);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    vm_print(vm, text, LEN);
    wire_wait_read(vm->fd);
    daemon_stop(d);
    expect_soon("vm.log", text);
    vm_stop(vm);
}

/* What logrotate does: it renames, then tells vspcd. */
Test(console_log, bytes_are_equal_across_rotations_and_reopens)
{
    enum { CHUNK = 30000, CHUNKS = 40, LEN = CHUNK * CHUNKS };
    static uint8_t sent[LEN];
    struct daemon *d = log_daemon();
    struct bytes got = {0};
    char *live = path_of("vm.log");
    daemon_set(d, "log.max_size", "64KiB");
    daemon_set(d, "log.keep", "100");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    wire_fill(sent, LEN, 3);
    for (size_t i = 0; i < CHUNKS; i++) {
        vm_print(vm, sent + i * CHUNK, CHUNK);
        if (i % 10 != 9)
            continue;
        /* All that is there is moved away while it is written, the oldest first. */
        WAIT_FOR(size_of("vm.log.1"), SOON, "not rotated");
        wire_wait_read(vm->fd);
        daemon_mark_log(d);
        daemon_signal(d, SIGHUP);
        daemon_wait_log(d, "Console logs reopened", SOON);
    }
    daemon_stop(d);
    for (int i = 100; i >= 0; i--) {
        char name[32];
        struct stat st;
        snprintf(name, sizeof name, i ? "vm.log.%d" : "vm.log", i);
        char *path = path_of(name), *text = content(name);
        size_t len = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
        cr_assert_leq(len, 65536);
        bytes_put(&got, text, len);
        free(path);
        free(text);
    }
    cr_assert_eq(got.len, LEN);
    cr_assert_eq(memcmp(bytes_at(&got), sent, LEN), 0);
    bytes_clear(&got);
    free(live);
    vm_stop(vm);
}

Test(console_log, file_that_was_moved_is_left_on_sighup)
{
    struct daemon *d = log_daemon();
    char *live = path_of("vm.log"), *moved = path_of("moved");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    vm_print_text(vm, "old");
    expect_soon("vm.log", "old");
    cr_assert_eq(rename(live, moved), 0);
    vm_print_text(vm, ", still");
    expect_soon("moved", "old, still");
    daemon_signal(d, SIGHUP);
    daemon_wait_log(d, "Console logs reopened", SOON);
    vm_print_text(vm, "new");
    expect_soon("vm.log", "new");
    vm_stop(vm);
    daemon_stop(d);
    free(live);
    free(moved);
}

Test(console_log, settings_are_reloaded)
{
    struct daemon *d = log_daemon();
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    vm_print_text(vm, "a\n");
    expect_soon("vm.log", "a\n");
    daemon_write_config(d, "[log]\ntimestamps = line\n");
    probe_reload(d);
    daemon_wait_log(d, "Console logs reopened", SOON);
    vm_print_text(vm, "b\n");
    WAIT_FOR(size_of("vm.log") == 2 + 25 + 2, SOON, "%zu bytes", size_of("vm.log"));
    vm_stop(vm);
    daemon_stop(d);
}

Test(console_log, directory_that_is_missing_is_a_warning_and_used_when_it_is_there)
{
    struct daemon *d = log_daemon();
    cr_assert_eq(rmdir(directory), 0);
    daemon_start(d);
    probe_wait_line(d, "Console logs cannot be written", "make that directory, writable for vspcd", SOON);
    struct vm_link *vm = vm_start_named(d, "vm");
    probe_console(probe_port(d, "vm"), vm);
    cr_assert_eq(mkdir(directory, 0700), 0);
    daemon_wait_log(d, "Console logs are written again", SOON);
    daemon_mark_log(d);
    WAIT_FOR((vm_print_text(vm, "x"), size_of("vm.log")), SOON, "not logged");
    char *text = content("vm.log");
    cr_assert_not_null(strstr(text, "bytes lost here: No such file or directory]"));
    free(text);
    cr_assert_eq(daemon_count_log(d, "Console logs"), 0);
    vm_stop(vm);
    daemon_stop(d);
}

Test(console_log, full_disk_is_a_gap_and_nobody_waits)
{
    static char block[4096];
    mounts_unshare();
    struct daemon *d = log_daemon();
    char *filler = path_of("filler");
    cr_assert_eq(mount("none", directory, "tmpfs", 0, "size=200k"), 0);
    memset(block, 'b', sizeof block);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    struct user *user = user_connect(probe_port(d, "vm"), USER_RAW);
    probe_delay(vm, user);
    WAIT_FOR(size_of("vm.log"), SOON, "not logged");
    mounts_fill(filler);
    for (int i = 0; i < 50; i++) {
        vm_print(vm, block, sizeof block);
        probe_delay(vm, user);
    }
    probe_wait_line(d, "Console logs cannot be written", "No space left on device", SOON);
    cr_assert_eq(unlink(filler), 0);
    daemon_wait_log(d, "Console logs are written again", SOON);
    vm_print_text(vm, "after\n");
    char *text = NULL, *gap = NULL;
    WAIT_FOR(
        (free(text), text = content("vm.log"), (gap = strstr(text, "\r\n[vspc: ")) && strstr(gap, "after")),
        SOON, "no gap is noted");
    unsigned long long lost = 0;
    int end = 0;
    cr_assert_eq(sscanf(gap, "\r\n[vspc: %llu bytes lost here: No space left on device]%n", &lost, &end), 1);
    cr_assert_gt(end, 0);
    cr_assert_gt(lost, 20 * sizeof block);
    cr_assert_str_eq(gap + end, "\r\nafter\n");
    cr_assert_eq(daemon_count_log(d, "Console logs cannot be written"), 1);
    free(text);
    free(filler);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
    umount(directory);
}

Test(console_log, stuck_disk_is_a_gap_and_nobody_waits)
{
    enum { BLOCK = 65536, BLOCKS = 400 };
    static char block[BLOCK];
    struct daemon *d = log_daemon();
    memset(block, 'b', sizeof block);
    daemon_set(d, "log.queue", "1MiB");
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm");
    struct user *user = user_connect(probe_port(d, "vm"), USER_RAW);
    for (size_t i = 1; i <= 40; i++) {
        vm_print(vm, block, BLOCK);
        probe_delay(vm, user);
        WAIT_FOR(size_of("vm.log") >= i * BLOCK, SOON, "not logged");
    }
    daemon_freeze_thread(d, "disk");
    size_t before = daemon_usage(d).rss_kib;
    for (int i = 0; i < BLOCKS; i++) {
        vm_print(vm, block, BLOCK);
        probe_delay(vm, user);
    }
    cr_assert_lt(daemon_usage(d).rss_kib, before + 16 * 1024);
    cr_assert_eq(daemon_count_log(d, "Console logs lose output"), 1);
    daemon_thaw_thread(d);
    char *text = NULL, *gap = NULL;
    WAIT_FOR((free(text), text = content("vm.log"), gap = strstr(text, "\r\n[vspc: ")), SOON,
             "no gap is noted");
    unsigned long long lost = 0;
    cr_assert_eq(sscanf(gap, "\r\n[vspc: %llu bytes lost here: the disk did not keep up]", &lost), 1);
    cr_assert_gt(lost, (BLOCKS - 40) * (unsigned long long)BLOCK);
    free(text);
    vm_print_text(vm, "after");
    WAIT_FOR((text = content("vm.log"), gap = strstr(text, "]\r\nafter"), free(text), gap), SOON,
             "not logged");

    /* And one that is stuck at the end is left behind. */
    daemon_freeze_thread(d, "disk");
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
    user_close(user);
    vm_stop(vm);
}

Test(console_log, descriptors_are_kept_for_the_files)
{
    struct daemon *d = log_daemon();
    daemon_set(d, "user.max_ports", "16");
    probe_run_before(d, "ulimit -n 340");
    daemon_start(d);
    /* 340 less the reserve of 64 and 256 for the files, two a VM. */
    probe_wait_line(d, "Ready", "max_vms=10 limited_by=descriptors", SOON);
    daemon_stop(d);
}
