#include "control/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vspc/log.h"
#include "vspc/mem.h"
#include "vspc/text.h"

#define SOCKET_GROUP "vspc"

enum { SOCKET_MODE = 0660, SOCKET_BACKLOG = 1024, GROUP_BUFFER = 65536 };

static void warn(const char *path, const char *what)
{
    log_warning("No control socket, vspcctl will not work: %s socket=%s", what, quote(path, strlen(path)).s);
}

static void warn_errno(const char *path, int err)
{
    if (err == ENOENT || err == ENOTDIR)
        warn(path, "its directory is missing, create it (systemd does, with RuntimeDirectory=vspc) or set "
                   "[control] socket");
    else if (err == EACCES || err == EPERM || err == EROFS)
        warn(path, "its directory cannot be written, let vspcd's user write there or set [control] socket");
    else
        warn(path, strerror(err));
}

/* Takes the lock beside the socket. Result: 0, or -1 after a warning. */
static int take_lock(struct control_socket *sock)
{
    char *path = xasprintf("%s.lock", sock->path);
    int result = -1;
    sock->lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (sock->lock < 0)
        warn_errno(sock->path, errno);
    else if (flock(sock->lock, LOCK_EX | LOCK_NB) == 0)
        result = 0;
    else if (errno == EWOULDBLOCK)
        warn(sock->path, "another vspcd serves it, give each its own [control] socket");
    else
        warn_errno(sock->path, errno);
    free(path);
    return result;
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    return addr;
}

/* Does somebody listen there? Also when it cannot be told. */
static bool is_served(const char *path)
{
    struct sockaddr_un addr = address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    bool refused =
        connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 && (errno == ECONNREFUSED || errno == ENOENT);
    close(fd);
    return !refused;
}

/* Removes a socket that a dead process has left. Result: 0 when nothing is in the way, or -1 after a warning.
 */
static int make_way(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        warn_errno(path, errno);
        return -1;
    }
    if (!S_ISSOCK(st.st_mode)) {
        warn(path, "a file of that name is in the way, and is no socket");
        return -1;
    }
    if (is_served(path)) {
        warn(path, "another process serves it");
        return -1;
    }
    if (unlink(path) == 0)
        return 0;
    warn_errno(path, errno);
    return -1;
}

/* Gives the file, which has this group, to the one whose members may use it. */
static void give_to_group(const char *path, gid_t current)
{
    struct group group, *found = NULL;
    char *buffer = xmalloc(GROUP_BUFFER);
    getgrnam_r(SOCKET_GROUP, &group, buffer, GROUP_BUFFER, &found);
    if (!found)
        log_warning("The control socket keeps vspcd's own group, there is no group " SOCKET_GROUP
                    ": create it (groupadd --system " SOCKET_GROUP ") and restart socket=%s",
                    quote(path, strlen(path)).s);
    /* A service's sandbox may forbid the call, which its own group does not need. */
    else if (found->gr_gid != current && lchown(path, (uid_t)-1, found->gr_gid) < 0)
        log_warning(
            "The control socket keeps vspcd's own group: %s; run vspcd as a member of the group " SOCKET_GROUP
            " socket=%s",
            strerror(errno), quote(path, strlen(path)).s);
    free(buffer);
}

/* Makes the file and listens at it. Nobody can connect before listen(), and the file is never wider than it
 * is to be: bind() gives it the socket's own mode. Result: 0 or a negative errno. */
static int listen_at(struct control_socket *sock)
{
    struct sockaddr_un addr = address(sock->path);
    struct stat st;
    sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock->fd < 0 || fchmod(sock->fd, SOCKET_MODE) < 0 ||
        bind(sock->fd, (struct sockaddr *)&addr, sizeof addr) < 0 || lstat(sock->path, &st) < 0)
        return -errno;
    sock->device = st.st_dev;
    sock->inode = st.st_ino;
    give_to_group(sock->path, st.st_gid);
    /* What the umask has taken away. */
    if (chmod(sock->path, SOCKET_MODE) < 0 || listen(sock->fd, SOCKET_BACKLOG) < 0)
        return -errno;
    return 0;
}

void control_socket_open(struct control_socket *sock, const char *path)
{
    *sock = (struct control_socket){.fd = -1, .lock = -1, .path = xstrdup(path)};
    if (take_lock(sock) == 0 && make_way(sock->path) == 0) {
        int err = listen_at(sock);
        if (err == 0)
            return;
        warn_errno(path, -err);
    }
    control_socket_close(sock);
}

void control_socket_close(struct control_socket *sock)
{
    struct stat st;
    if (sock->inode && lstat(sock->path, &st) == 0 && st.st_dev == sock->device && st.st_ino == sock->inode)
        unlink(sock->path);
    if (sock->fd >= 0)
        close(sock->fd);
    if (sock->lock >= 0)
        close(sock->lock);
    free(sock->path);
    *sock = (struct control_socket){.fd = -1, .lock = -1};
}
