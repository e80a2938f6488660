#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

enum { LOOK_MS = 200, BLOCK = 64 * 1024 };

/* Where the last lines of a file begin. */
static off_t last_lines(int fd, off_t size, unsigned lines)
{
    char block[BLOCK];
    off_t end = size;
    unsigned found = 0;
    if (lines == 0)
        return size;
    while (end > 0) {
        off_t from = end > BLOCK ? end - BLOCK : 0;
        ssize_t n = pread(fd, block, (size_t)(end - from), from);
        if (n <= 0)
            return end;
        for (ssize_t i = n - 1; i >= 0; i--) {
            /* The newline of the last line begins none. */
            if (block[i] == '\n' && from + i + 1 < size && ++found == lines)
                return from + i + 1;
        }
        end = from;
    }
    return 0;
}

/* Prints what there is from an offset on. Result: where the next is to be read. */
static off_t print_from(int fd, off_t at, struct log_text *out)
{
    char block[BLOCK];
    ssize_t n;
    while ((n = pread(fd, block, sizeof block, at)) > 0) {
        log_text_write(out, block, (size_t)n);
        at += n;
    }
    return at;
}

static int open_log(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* Whether another file has the name now. */
static bool is_replaced(const char *path, int fd)
{
    struct stat old, now;
    if (stat(path, &now) < 0)
        return false;
    return fd < 0 || fstat(fd, &old) < 0 || old.st_ino != now.st_ino || old.st_dev != now.st_dev;
}

/* Goes on with the file that has the name now, behind the last of the old one: what came into that before it
 * lost its name. */
static void replace(const char *path, int *fd, off_t *at, struct log_text *out)
{
    int next = open_log(path);
    if (next < 0)
        return;
    if (*fd >= 0) {
        print_from(*fd, *at, out);
        close(*fd);
    }
    *fd = next;
    *at = print_from(next, 0, out);
}

int follow_file(const char *path, unsigned lines, bool follow, struct log_text *out)
{
    off_t at = 0;
    struct stat st;
    int fd = open_log(path);
    if (fd < 0 && !(follow && errno == ENOENT))
        return -errno;
    if (fd >= 0 && fstat(fd, &st) == 0)
        at = print_from(fd, last_lines(fd, st.st_size, lines), out);
    if (!follow) {
        log_text_flush(out);
        close(fd);
        return 0;
    }
    for (;;) {
        flush_output();
        poll(NULL, 0, LOOK_MS);
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size < at)
            at = 0;
        if (fd >= 0)
            at = print_from(fd, at, out);
        if (is_replaced(path, fd))
            replace(path, &fd, &at, out);
    }
}
