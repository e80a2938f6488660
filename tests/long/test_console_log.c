/* Console logs at scale: thousands of VMs print for a minute, and every byte is in its file. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleet.h"
#include "probe.h"
#include "stream.h"

TestSuite(console_log, .timeout = 600);

enum { VMS = 2000, ROUND_MS = 100, ROUNDS = 600, AT_ONCE = 1000, REOPENS = 3, FILE_MAX = 65536, KEEP = 50 };

static uint64_t sent[VMS];

static struct stream stream_of(size_t vm)
{
    return (struct stream){.seed = vm + 1, .binary = true};
}

/* Every VM prints something between nothing and AT_ONCE bytes. */
static void print_round(struct fleet *f, unsigned *random)
{
    uint8_t data[AT_ONCE];
    for (size_t i = 0; i < VMS; i++) {
        struct stream stream = stream_of(i);
        size_t len = (size_t)rand_r(random) % (AT_ONCE + 1);
        stream_fill(&stream, sent[i], data, len);
        fleet_send(f, i, data, len);
        sent[i] += len;
    }
}

/* As an operator who wants the logs of the day: all files are moved away while they are written. */
static void move_and_reopen(struct daemon *d, const char *directory, int number)
{
    char *moved = xasprintf("%s.%d", directory, number);
    cr_assert_eq(rename(directory, moved), 0);
    cr_assert_eq(mkdir(directory, 0700), 0);
    daemon_signal(d, SIGHUP);
    free(moved);
}

/* The file must be how the VM went on. Result: its length. */
static size_t check_file(const char *path, size_t vm, uint64_t offset)
{
    struct stream stream = stream_of(vm);
    struct stat st;
    if (stat(path, &st) < 0)
        return 0;
    size_t len = (size_t)st.st_size;
    char *text = env_read_file(path, 0, len);
    cr_assert_leq(len, FILE_MAX, "%s has %zu bytes", path, len);
    size_t right = stream_match(&stream, offset, text, len);
    cr_assert_eq(right, len, "%s differs at %zu of %zu bytes, from %llu of the VM's on", path, right, len,
                 (unsigned long long)offset);
    free(text);
    return len;
}

static void check_vm(const char *directory, size_t vm, unsigned *files)
{
    uint64_t offset = 0;
    for (int moved = 1; moved <= REOPENS + 1; moved++) {
        char *in = moved <= REOPENS ? xasprintf("%s.%d", directory, moved) : xstrdup(directory);
        for (int rotated = KEEP; rotated >= 0; rotated--) {
            char path[512], suffix[16] = "";
            if (rotated)
                snprintf(suffix, sizeof suffix, ".%d", rotated);
            snprintf(path, sizeof path, "%s/vm-%05zu.log%s", in, vm, suffix);
            size_t len = check_file(path, vm, offset);
            *files += len > 0;
            offset += len;
        }
        free(in);
    }
    cr_assert_eq(offset, sent[vm], "of VM %zu's %llu bytes %llu are there", vm, (unsigned long long)sent[vm],
                 (unsigned long long)offset);
}

Test(console_log, two_thousand_vms_are_logged_byte_for_byte)
{
    struct daemon *d = daemon_new(VSPCD, VMS + 10);
    char *directory = xasprintf("%s/logs", env_dir());
    unsigned random = 1, files = 0;
    uint64_t bytes = 0;
    cr_assert_eq(mkdir(directory, 0700), 0);
    daemon_set(d, "log.directory", "%s", directory);
    daemon_set(d, "log.file", "{name}.log");
    daemon_set(d, "log.max_size", "%uB", FILE_MAX);
    daemon_set(d, "log.keep", "%u", KEEP);
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    struct daemon_usage before = daemon_usage(d);
    uint64_t from = clock_ms();
    int moved = 0;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        print_round(f, &random);
        if (round % (ROUNDS / (REOPENS + 1)) == 0 && moved < REOPENS)
            move_and_reopen(d, directory, ++moved);
        for (uint64_t now; (now = clock_ms()) < from + (uint64_t)round * ROUND_MS;)
            fleet_pump(f, (unsigned)(from + (uint64_t)round * ROUND_MS - now));
    }
    uint64_t took = clock_ms() - from;
    struct daemon_usage after = daemon_usage(d);
    for (size_t i = 0; i < VMS; i++) {
        WAIT_FOR((fleet_pump(f, 0), f->vms[i].vm.out.len == 0), SOON, "VM %zu cannot print", i);
        bytes += sent[i];
    }
    cr_assert_eq(f->lost, 0);
    /* In order, so that what is still in the sockets is read. */
    fleet_drop(f, 0, VMS, false);
    WAIT_FOR(daemon_usage(d).fds < VMS + 400, SOON, "VMs are still connected");
    cr_assert_leq(after.fds, before.fds + 256);
    daemon_stop(d);
    cr_assert_eq(daemon_count_log(d, "Console logs reopened"), REOPENS);
    cr_assert_eq(daemon_count_log(d, "Console logs lose output"), 0);
    for (size_t i = 0; i < VMS; i++)
        check_vm(directory, i, &files);
    printf("%d VMs printed %.1f MB in %.1f s into %u files; vspcd used %.1f s of processor time, %zu MiB\n",
           VMS, (double)bytes / 1e6, (double)took / 1e3, files, after.cpu_seconds - before.cpu_seconds,
           after.rss_kib / 1024);
    fleet_free(f);
    free(directory);
}
