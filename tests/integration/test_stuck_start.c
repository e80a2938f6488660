/* A disk that does not answer from the start: vspcd serves VMs without it, and ends in time all the same. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

TestSuite(stuck_start, .timeout = 120);

/* The 5 s of design.md, and what a loaded machine and a sanitizer may add. */
enum { STOP_MS = 5000, STOP_SLACK_MS = 2000 };

/* From now on who opens a file in the daemon's state directory waits, this process too. Result: a descriptor,
 * whose closing lets all go on. */
static int hold_opens(const struct daemon *d)
{
    int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, 0);
    if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, 0, d->state_dir) < 0)
        cr_skip_test("this machine does not let us hold up files");
    return fd;
}

/* Waits until somebody waits. */
static void wait_held(int fd)
{
    struct pollfd held = {.fd = fd, .events = POLLIN};
    WAIT_FOR(poll(&held, 1, 0) == 1, SOON, "nobody opens a file");
}

/* Lets the one go on that waits now. */
static void let_one_go(int fd)
{
    struct fanotify_event_metadata event;
    wait_held(fd);
    /* Its buffer has room for one. */
    cr_assert_eq(read(fd, &event, sizeof event), (ssize_t)sizeof event);
    struct fanotify_response response = {.fd = event.fd, .response = FAN_ALLOW};
    cr_assert_eq(write(fd, &response, sizeof response), (ssize_t)sizeof response);
    close(event.fd);
}

static bool exists(const struct daemon *d, const char *name)
{
    struct stat st;
    char *path = xasprintf("%s/%s", d->state_dir, name);
    bool found = stat(path, &st) == 0;
    free(path);
    return found;
}

/* After SIGTERM: it must end with that code, in time. */
static void expect_end(struct daemon *d, int code)
{
    uint64_t from = clock_ms();
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    uint64_t took = clock_ms() - from;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == code, "status %x", (unsigned)status);
    cr_assert_lt(took, STOP_MS + STOP_SLACK_MS, "it took %u ms to end", (unsigned)took);
    printf("ended %u ms after SIGTERM\n", (unsigned)took);
}

Test(stuck_start, state_directory_that_cannot_be_locked_in_time_is_left_alone)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    int fd = hold_opens(d);
    daemon_start(d);
    cr_assert_eq(daemon_count_log(d, "The disk does not answer"), 1);
    struct vm_link *vm = vm_start_named(d, "vm");
    probe_console(probe_port(d, "vm"), vm);
    /* Now it gets its lock; but somebody else may have been there meanwhile. */
    close(fd);
    WAIT_FOR(exists(d, "vspcd.lock"), SOON, "it was not the lock that it waited for");
    vm_stop(vm);
    daemon_wait_log(d, "VM disconnected", SOON);
    expect_end(d, 0);
    cr_assert_not(exists(d, "ports.db"), "it has written a book without the lock");
    daemon_start(d);
    cr_assert_eq(daemon_count_log(d, "The disk does not answer"), 0);
    cr_assert(exists(d, "ports.db"));
    daemon_stop(d);
}

Test(stuck_start, sigterm_ends_it_in_time_while_it_waits_for_the_lock)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, r);
    redis_freeze(r);
    int fd = hold_opens(d);
    daemon_spawn(d);
    wait_held(fd);
    expect_end(d, 0);
    close(fd);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
}

Test(stuck_start, sigterm_ends_it_in_time_while_it_waits_for_the_port_book)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_use_redis(d, r);
    redis_freeze(r);
    int fd = hold_opens(d);
    daemon_spawn(d);
    let_one_go(fd);
    wait_held(fd);
    expect_end(d, 0);
    close(fd);
    cr_assert_eq(probe_count_lines(d, "starting without the port book", ""), 1);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
}

Test(stuck_start, failed_start_is_told_by_the_exit_code)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    struct sock_addr addr = daemon_vm_addr(d);
    int listener = sock_listen(&addr, false, 1), fd = hold_opens(d);
    cr_assert_geq(listener, 0);
    daemon_spawn(d);
    int status = daemon_wait_exit(d, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned)status);
    cr_assert_eq(probe_count_lines(d, "The disk is stuck", ""), 1);
    close(fd);
    close(listener);
}
