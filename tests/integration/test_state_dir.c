/* The state directory: one vspcd at a time, and what vspcd does without one. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ports_db.h"
#include "probe.h"

TestSuite(state_dir, .timeout = 240);

static char *path_in(const struct daemon *d, const char *name)
{
    return xasprintf("%s/%s", d->state_dir, name);
}

/* It must not start, and say which process has the directory. */
static void expect_refused(struct daemon *d, pid_t holder)
{
    daemon_spawn(d);
    int status = daemon_wait_exit(d, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned)status);
    char *line = xasprintf("state_dir=\"%s\" pid=%d\n", d->state_dir, holder);
    cr_assert_eq(probe_count_lines(d, "Another vspcd uses this state directory", ""), 1);
    cr_assert_eq(daemon_count_log(d, line), 1, "not logged: %s", line);
    cr_assert_eq(daemon_count_log(d, "Ready"), 0);
    free(line);
}

Test(state_dir, second_vspcd_is_refused_and_told_who_has_it)
{
    struct redis *r = redis_start();
    struct daemon *one = daemon_new(VSPCD, 16), *two = daemon_new(VSPCD, 16);
    daemon_use_redis(one, r);
    daemon_use_redis(two, r);
    daemon_set(one, "server.node_id", "one");
    /* The same node: were it to touch Redis or the book, the first one's VM would be gone. */
    daemon_set(two, "server.node_id", "one");
    daemon_set(two, "server.state_dir", "%s", one->state_dir);
    free(two->state_dir);
    two->state_dir = xstrdup(one->state_dir);
    daemon_start(one);
    struct vm_link *vm = vm_start_named(one, "vm");
    probe_wait_maps(r, "one", 1, 0, SOON);
    for (int i = 0; i < 3; i++)
        expect_refused(two, one->pid);
    probe_wait_maps(r, "one", 1, 0, SOON);
    probe_console(redis_wait_port(r, "VM:Port", "vm", SOON), vm);
    vm_stop(vm);

    /* The lock goes with the process, however that ends. */
    daemon_kill(one);
    daemon_start(two);
    expect_refused(one, two->pid);
    daemon_stop(two);
    daemon_start(one);
    daemon_stop(one);
}

Test(state_dir, holds_the_process_id_and_a_lock)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_start(d);
    char *path = path_in(d, "vspcd.lock"), *expected = xasprintf("%d\n", d->pid);
    char *text = env_read_file(path, 0, 64);
    cr_assert_str_eq(text, expected);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_lt(flock(fd, LOCK_EX | LOCK_NB), 0);
    daemon_kill(d);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    free(text);
    free(expected);
    free(path);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Whoever can open the file, if only to read, can lock it. */
Test(state_dir, lock_file_is_for_vspcd_alone)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    char *path = path_in(d, "vspcd.lock");
    umask(0);
    daemon_start(d);
    cr_assert_eq(mode_of(path), 0600);
    daemon_stop(d);
    cr_assert_eq(chmod(path, 0644), 0);
    daemon_start(d);
    cr_assert_eq(mode_of(path), 0600);
    daemon_stop(d);
    free(path);
}

Test(state_dir, that_is_missing_is_a_warning_and_ports_are_sticky_all_the_same)
{
    static const char *const missing[] = {"%s/not-there", "%s/vspcd.lock", ""};
    for (int i = 0; i < 3; i++) {
        struct daemon *d = daemon_new(VSPCD, 16);
        char *file = path_in(d, "vspcd.lock");
        close(open(file, O_WRONLY | O_CREAT, 0600));
        free(file);
        daemon_set(d, "server.state_dir", missing[i], d->state_dir);
        daemon_set(d, "user.linger", "0");
        daemon_start(d);
        cr_assert_eq(daemon_count_log(d, "Nothing is kept on disk"), i < 2);
        struct vm_link *a = vm_start_named(d, "a"), *b = vm_start_named(d, "b");
        uint16_t port = probe_port(d, "a");
        vm_stop(a);
        daemon_wait_log(d, "VM disconnected vm=\"a\"", SOON);
        vm_stop(b);
        daemon_wait_log(d, "VM disconnected vm=\"b\"", SOON);
        daemon_mark_log(d);
        b = vm_start_named(d, "b");
        a = vm_start_named(d, "a");
        cr_assert_eq(probe_port(d, "a"), port);
        vm_stop(a);
        vm_stop(b);
        daemon_stop(d);
    }
}
