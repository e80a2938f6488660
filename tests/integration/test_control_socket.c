/* The file of the control socket: whose it is, what is in its way, and that vspcd runs without it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "vm.h"

TestSuite(control_socket, .timeout = 240);

/* Somebody else's socket at the daemon's path. Result: it, listening or not. */
static int make_socket(const struct daemon *d, bool listens)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(addr.sun_path, d->control, strlen(d->control) + 1);
    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    if (listens)
        cr_assert_eq(listen(fd, 1), 0);
    return fd;
}

static ino_t inode(const char *path)
{
    struct stat st;
    return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

static unsigned count_warnings(struct daemon *d)
{
    return daemon_count_log(d, " warning: ");
}

Test(control_socket, it_is_open_to_owner_and_group_alone_and_goes_with_vspcd)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    struct stat st;
    daemon_start(d);
    cr_assert_eq(lstat(d->control, &st), 0);
    cr_assert(S_ISSOCK(st.st_mode));
    cr_assert_eq(st.st_mode & 07777, 0660, "mode %o", st.st_mode & 07777);
    const struct group *group = getgrnam("vspc");
    if (group)
        cr_assert_eq(st.st_gid, group->gr_gid);
    else
        cr_assert_eq(daemon_count_log(d, "there is no group vspc"), 1);
    cr_assert_eq(count_warnings(d), group ? 0 : 1);
    daemon_stop(d);
    cr_assert_eq(inode(d->control), 0);
}

Test(control_socket, one_that_a_dead_process_left_is_replaced)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    close(make_socket(d, false));
    daemon_start(d);
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'version'");
    control_link_close(link);
    daemon_kill(d);
    cr_assert_neq(inode(d->control), 0);
    daemon_start(d);
    link = control_link_open(d);
    control_link_do(link, "'command':'version'");
    control_link_close(link);
    daemon_stop(d);
}

Test(control_socket, one_that_another_process_serves_is_left_to_it)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    int fd = make_socket(d, true);
    ino_t before = inode(d->control);
    daemon_start(d);
    daemon_wait_log(d, "another process serves it", SOON);
    cr_assert_eq(count_warnings(d), 1);
    struct vm_link *vm = vm_start_named(d, "vm1");
    vm_stop(vm);
    daemon_stop(d);
    cr_assert_eq(inode(d->control), before);
    close(fd);
}

Test(control_socket, one_that_another_vspcd_serves_is_left_to_it)
{
    struct daemon *first = daemon_new(VSPCD, 8), *second = daemon_new(VSPCD, 8);
    daemon_set(second, "control.socket", "%s", first->control);
    daemon_start(first);
    daemon_start(second);
    daemon_wait_log(second, "another vspcd serves it", SOON);
    cr_assert_eq(count_warnings(second), 1);
    daemon_stop(second);
    struct control_link *link = control_link_open(first);
    json_t *answer = control_link_must(link, "'command':'version'");
    cr_assert_eq(control_number(answer, "pid"), first->pid);
    json_decref(answer);
    control_link_close(link);
    daemon_stop(first);
}

Test(control_socket, what_is_no_socket_is_left_where_it_is)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    close(open(d->control, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ino_t before = inode(d->control);
    daemon_start(d);
    daemon_wait_log(d, "is no socket", SOON);
    cr_assert_eq(count_warnings(d), 1);
    daemon_stop(d);
    cr_assert_eq(inode(d->control), before);
}

Test(control_socket, a_missing_directory_is_one_warning)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "control.socket", "%s/missing/control.sock", env_dir());
    daemon_start(d);
    daemon_wait_log(d, "its directory is missing", SOON);
    cr_assert_eq(count_warnings(d), 1);
    struct vm_link *vm = vm_start_named(d, "vm1");
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_socket, without_a_path_there_is_none)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "control.socket", "%s", "");
    daemon_start(d);
    cr_assert_eq(count_warnings(d), 0);
    cr_assert_eq(inode(d->control), 0);
    struct vm_link *vm = vm_start_named(d, "vm1");
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_socket, a_successors_is_not_removed)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    cr_assert_eq(unlink(d->control), 0);
    int fd = make_socket(d, true);
    ino_t theirs = inode(d->control);
    daemon_stop(d);
    cr_assert_eq(inode(d->control), theirs);
    close(fd);
}
