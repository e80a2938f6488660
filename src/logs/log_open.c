/* Opening and closing: the directory, and the files that are written just now. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "log_files.h"
#include "log_gzip.h"

enum { DIRECTORY_RETRY_MS = 1000 };

/* Removes what a vspcd that was killed had not finished to compress. */
static void clean(struct log_files *files)
{
    int fd = openat(files->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    files->is_clean = true;
    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name), suffix = strlen(LOG_GZIP_PART);
        if (len > suffix && strcmp(entry->d_name + len - suffix, LOG_GZIP_PART) == 0)
            unlinkat(files->dir_fd, entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

int log_directory_open(struct log_files *files)
{
    uint64_t now = clock_ms();
    if (files->dir_fd >= 0)
        return 0;
    if (files->dir_error && now < files->dir_retry_ms)
        return files->dir_error;
    files->dir_fd = open(files->logs->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    files->dir_error = files->dir_fd < 0 ? -errno : 0;
    if (!files->dir_error && faccessat(files->dir_fd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        files->dir_error = -errno;
        log_directory_close(files);
    }
    files->dir_retry_ms = now + DIRECTORY_RETRY_MS;
    if (!files->dir_error && !files->is_clean)
        clean(files);
    return files->dir_error;
}

void log_directory_close(struct log_files *files)
{
    if (files->dir_fd >= 0)
        close(files->dir_fd);
    files->dir_fd = -1;
}

/* Makes room for another one. */
static void close_oldest(struct log_files *files)
{
    struct log_file *file = files->open;
    log_file_close(files, file);
    log_file_forget_if_idle(files, file);
}

void log_file_close(struct log_files *files, struct log_file *file)
{
    if (file->fd < 0)
        return;
    close(file->fd);
    file->fd = -1;
    DL_DELETE2(files->open, file, open_prev, open_next);
    atomic_store_explicit(&files->logs->open_files, --files->open_count, memory_order_relaxed);
}

/* Opens what is there, or makes it, with exactly the mode that is configured. Result: a descriptor or a
 * negative errno. */
static int open_or_make(const struct log_files *files, const char *name)
{
    const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    mode_t mode = files->config->log.file_mode;
    int fd = openat(files->dir_fd, name, flags);
    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : -errno;
    fd = openat(files->dir_fd, name, flags | O_CREAT | O_EXCL, mode);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, mode) < 0)
        log_debug("Console log keeps its mode: %s", strerror(errno));
    return fd;
}

/* The same; where the directory was removed, in the one that is there now, and where descriptors are short,
 * with one file less open. */
static int open_somehow(struct log_files *files, const char *name)
{
    int err = log_directory_open(files);
    if (err)
        return err;
    int fd = open_or_make(files, name);
    if (fd == -ENOENT) {
        log_directory_close(files);
        err = log_directory_open(files);
        fd = err ? err : open_or_make(files, name);
    }
    if ((fd == -EMFILE || fd == -ENFILE) && files->open) {
        close_oldest(files);
        fd = open_or_make(files, name);
    }
    return fd;
}

/* Whether what is in the file ends within a line; only where lines begin with the time does it matter. */
static bool ends_mid_line(const struct log_files *files, int fd, off_t size)
{
    uint8_t last;
    return files->config->log.timestamps == LOG_TIMESTAMPS_LINE && size > 0 &&
           pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

int log_file_open(struct log_files *files, struct log_file *file)
{
    struct stat st;
    if (file->fd < 0) {
        if (files->open_count >= LOG_FILES_OPEN)
            close_oldest(files);
        int fd = open_somehow(files, file->name);
        /* A FIFO, a socket. */
        if (fd == -ENXIO || fd == -EISDIR)
            return LOG_NO_FILE;
        if (fd < 0)
            return fd;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
            close(fd);
            return LOG_NO_FILE;
        }
        file->fd = fd;
        file->size = (uint64_t)st.st_size;
        file->mid_line = ends_mid_line(files, fd, st.st_size);
        atomic_store_explicit(&files->logs->open_files, ++files->open_count, memory_order_relaxed);
    } else {
        DL_DELETE2(files->open, file, open_prev, open_next);
    }
    DL_APPEND2(files->open, file, open_prev, open_next);
    file->used_ms = clock_ms();
    return 0;
}
