#include "log_gzip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include <zlib.h>

#include "log_name.h"

enum {
    STEP_MS = 3,
    CHUNK = 32768,
    GZIP_WINDOW = 15 + 16, /* zlib: the largest window, with gzip's header */
    SUFFIX_MAX = 16,
};

struct gzip_job {
    struct gzip_job *prev, *next;
    unsigned number;
    bool is_begun;
    bool is_read; /* to its end */
    int in, out;  /* while begun */
    z_stream z;   /* likewise */
    char name[];
};

struct path {
    char s[LOG_NAME_MAX + SUFFIX_MAX];
};

static struct path source_of(const struct gzip_job *job)
{
    struct path path;
    snprintf(path.s, sizeof path.s, "%s.%u", job->name, job->number);
    return path;
}

static struct path part_of(const struct gzip_job *job)
{
    struct path path;
    snprintf(path.s, sizeof path.s, "%s" LOG_GZIP_PART, job->name);
    return path;
}

void log_gzip_add(struct log_files *files, const char *name, unsigned number)
{
    size_t len = strlen(name);
    struct gzip_job *job = xcalloc(1, sizeof *job + len + 1);
    memcpy(job->name, name, len);
    job->number = number;
    DL_APPEND(files->jobs, job);
}

/* Forgets it, and what is half done. */
static void drop(struct log_files *files, struct gzip_job *job)
{
    if (job->is_begun) {
        deflateEnd(&job->z);
        close(job->in);
        close(job->out);
        unlinkat(files->dir_fd, part_of(job).s, 0);
    }
    DL_DELETE(files->jobs, job);
    free(job);
}

void log_gzip_renumber(struct log_files *files, const char *name, unsigned from, unsigned to)
{
    struct gzip_job *job, *next;
    DL_FOREACH_SAFE(files->jobs, job, next)
    {
        if (job->number != from || strcmp(job->name, name) != 0)
            continue;
        if (!to)
            drop(files, job);
        else
            job->number = to;
        return;
    }
}

/* Opens both files. Result: 0 or a negative errno. */
static int begin(struct log_files *files, struct gzip_job *job)
{
    struct stat st;
    struct path part = part_of(job);
    job->in =
        openat(files->dir_fd, source_of(job).s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (job->in < 0)
        return -errno;
    int err = fstat(job->in, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    unlinkat(files->dir_fd, part.s, 0);
    job->out = err ? -1 : openat(files->dir_fd, part.s, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (job->out < 0) {
        err = err ? err : -errno;
        close(job->in);
        return err;
    }
    if (fchmod(job->out, st.st_mode & 0777) < 0)
        log_debug("Compressed console log keeps its mode: %s", strerror(errno));
    if (deflateInit2(&job->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        close(job->in);
        close(job->out);
        return -ENOMEM;
    }
    job->is_begun = true;
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Compresses the next bytes. Result: 0, 1 when all is done, or a negative errno. */
static int deflate_some(struct gzip_job *job)
{
    uint8_t in[CHUNK], out[CHUNK];
    ssize_t n = read(job->in, in, sizeof in);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    job->z.next_in = in;
    job->z.avail_in = (unsigned)n;
    int flush = n ? Z_NO_FLUSH : Z_FINISH, err = 0;
    do {
        job->z.next_out = out;
        job->z.avail_out = sizeof out;
        deflate(&job->z, flush);
        err = write_all(job->out, out, sizeof out - job->z.avail_out);
    } while (!err && job->z.avail_out == 0);
    return err ? err : n == 0;
}

/* All is in the new file, which takes the old one's place. Result: 0 or a negative errno. */
static int finish(struct log_files *files, struct gzip_job *job)
{
    char path[LOG_NAME_MAX + SUFFIX_MAX];
    snprintf(path, sizeof path, "%s.%u.gz", job->name, job->number);
    if (renameat(files->dir_fd, part_of(job).s, files->dir_fd, path) < 0)
        return -errno;
    unlinkat(files->dir_fd, source_of(job).s, 0);
    return 0;
}

void log_gzip_step(struct log_files *files)
{
    uint64_t until = clock_ms() + STEP_MS;
    struct gzip_job *job = files->jobs;
    if (!job)
        return;
    int result = log_directory_open(files);
    if (!result && !job->is_begun)
        result = begin(files, job);
    while (result == 0 && clock_ms() < until)
        result = deflate_some(job);
    if (result == 0)
        return;
    int err = result < 0 ? result : finish(files, job);
    struct path source = source_of(job);
    unsigned suppressed;
    if (err && log_rate_allows(&files->outages, clock_ms(), &suppressed))
        log_warning("Console log cannot be compressed and stays as it is file=%s error=\"%s\" "
                    "not_logged_before=%u",
                    quote(source.s, strlen(source.s)).s, strerror(-err), suppressed);
    drop(files, job);
}

void log_gzip_stop(struct log_files *files)
{
    while (files->jobs)
        drop(files, files->jobs);
}
