#include "server/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vspc/log.h"
#include "vspc/loop.h"
#include "vspc/mem.h"
#include "vspc/text.h"

/* Says who holds the lock, as far as its file tells. */
static void log_holder(const char *dir, int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text, 0);
    size_t digits = 0;
    while (n > 0 && digits < (size_t)n && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    log_error("Another vspcd uses this state directory: stop it, or give each its own [server] state_dir "
              "state_dir=%s pid=%.*s",
              quote(dir, strlen(dir)).s, (int)digits, text);
}

/* Writes this process's id. A disk that is full does not matter: the lock is what counts. */
static void write_holder(int fd)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d\n", getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) != len)
        log_debug("The lock file of the state directory does not hold the process id: %s", strerror(errno));
}

/* Waits for the disk. Result: as of state_dir_lock. */
static int take_lock(const char *dir)
{
    char *path = xasprintf("%s/vspcd.lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    bool can_write = fd >= 0;
    int err = -errno;
    /* Whoever can open it could lock it, and keep vspcd from starting. */
    if (can_write && fchmod(fd, 0600) < 0)
        log_debug("Lock file of the state directory keeps its mode: %s", strerror(errno));
    /* In a directory that is read-only by now the file may be left from before. */
    if (!can_write)
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    free(path);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        err = errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (err == -EBUSY)
            log_holder(dir, fd);
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        return err;
    if (can_write)
        write_holder(fd);
    return fd;
}

/* What the thread works with; its own as soon as nobody waits for it any more. */
struct attempt {
    char *dir;
    int result;
};

static void *run(void *arg)
{
    struct attempt *attempt = arg;
    attempt->result = take_lock(attempt->dir);
    return NULL;
}

int state_dir_lock(const char *dir, unsigned timeout_ms)
{
    pthread_t thread;
    struct attempt *attempt = xcalloc(1, sizeof *attempt);
    attempt->dir = xstrdup(dir);
    int result = thread_start(&thread, "state-dir", run, attempt);
    if (result == 0)
        result = thread_join(thread, timeout_ms);
    if (result == -ETIMEDOUT) {
        pthread_detach(thread);
        log_warning(
            "The disk does not answer, the state directory is left alone until the next start state_dir=%s",
            quote(dir, strlen(dir)).s);
        return result;
    }
    if (result == 0)
        result = attempt->result;
    free(attempt->dir);
    free(attempt);
    if (result == -ENOENT || result == -ENOTDIR)
        log_warning("Nothing is kept on disk: %s state_dir=%s", strerror(-result), quote(dir, strlen(dir)).s);
    else if (result < 0 && result != -EBUSY)
        log_warning("State directory cannot be locked, see to it that only one vspcd uses it: %s "
                    "state_dir=%s",
                    strerror(-result), quote(dir, strlen(dir)).s);
    return result;
}
