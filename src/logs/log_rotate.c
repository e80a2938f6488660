/* Rotation: file.1 is the newest, compressed or not, and `keep` of them are kept. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_files.h"
#include "log_gzip.h"
#include "log_name.h"

enum { ROTATE_RETRY_MS = 10000, ROTATED_MAX = 2000 };

struct path {
    char s[LOG_NAME_MAX + 16];
};

static struct path rotated(const struct log_file *file, unsigned number, bool is_gzip)
{
    struct path path;
    snprintf(path.s, sizeof path.s, "%s.%u%s", file->name, number, is_gzip ? ".gz" : "");
    return path;
}

static bool exists(const struct log_files *files, const char *path)
{
    struct stat st;
    return fstatat(files->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Gives one of the rotated files the next number, or removes it. Result: 0 or a negative errno. */
static int shift(struct log_files *files, const struct log_file *file, unsigned number)
{
    bool is_last = number >= files->config->log.keep;
    for (int is_gzip = 0; is_gzip < 2; is_gzip++) {
        struct path from = rotated(file, number, is_gzip), to = rotated(file, number + 1, is_gzip);
        int result = is_last ? unlinkat(files->dir_fd, from.s, 0)
                             : renameat(files->dir_fd, from.s, files->dir_fd, to.s);
        if (result < 0 && errno != ENOENT)
            return -errno;
    }
    log_gzip_renumber(files, file->name, number, is_last ? 0 : number + 1);
    return 0;
}

/* A vspcd that was killed may have left a file beside the one that it has become. Result: whether there is
 * one of that number. */
static bool is_there(struct log_files *files, const struct log_file *file, unsigned number)
{
    struct path plain = rotated(file, number, false), gzip = rotated(file, number, true);
    bool has_plain = exists(files, plain.s), has_gzip = exists(files, gzip.s);
    if (has_plain && has_gzip)
        unlinkat(files->dir_fd, gzip.s, 0);
    return has_plain || has_gzip;
}

/* Result: 0 or a negative errno, and then the file has its name still. */
static int rotate(struct log_files *files, struct log_file *file)
{
    unsigned free_number = 1;
    int err = 0;
    while (free_number < ROTATED_MAX && is_there(files, file, free_number))
        free_number++;
    for (unsigned number = free_number - 1; number > 0 && !err; number--)
        err = shift(files, file, number);
    if (err)
        return err;
    struct path first = rotated(file, 1, false);
    bool is_kept = files->config->log.keep > 0;
    int result = is_kept ? renameat(files->dir_fd, file->name, files->dir_fd, first.s)
                         : unlinkat(files->dir_fd, file->name, 0);
    if (result < 0 && errno != ENOENT)
        return -errno;
    if (is_kept && files->config->log.compress)
        log_gzip_add(files, file->name, 1);
    return 0;
}

void log_file_rotate(struct log_files *files, struct log_file *file)
{
    struct stat st;
    unsigned suppressed;
    /* Somebody may have emptied it. */
    if (file->fd >= 0 && fstat(file->fd, &st) == 0 && (uint64_t)st.st_size < file->size) {
        file->size = (uint64_t)st.st_size;
        return;
    }
    log_file_close(files, file);
    int err = rotate(files, file);
    if (!err)
        return;
    file->rotate_ms = clock_ms() + ROTATE_RETRY_MS;
    if (log_rate_allows(&files->outages, clock_ms(), &suppressed))
        log_warning("Console log cannot be rotated and goes on growing file=%s error=\"%s\" "
                    "not_logged_before=%u",
                    quote(file->name, strlen(file->name)).s, strerror(-err), suppressed);
}
