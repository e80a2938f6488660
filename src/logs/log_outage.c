/* What the log is told of a disk that does not take the console logs: once when it begins, once when all is
 * well again. */
#include <errno.h>
#include <string.h>

#include "log_files.h"

const char *log_error_text(int error)
{
    switch (error) {
    case LOG_NO_FILE:
        return "not a regular file";
    case LOG_NO_ROOM:
        return "the disk did not keep up";
    case -ELOOP:
        return "a symbolic link stands there";
    default:
        return strerror(-error);
    }
}

static const char *cure_of(int error)
{
    switch (error) {
    case LOG_NO_FILE:
    case -ELOOP:
        return "remove what stands in the file's place";
    case -ENOENT:
    case -ENOTDIR:
        return "make that directory, writable for vspcd";
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return "make the directory and what is in it writable for vspcd";
    case -ENOSPC:
    case -EDQUOT:
        return "make room on the disk, and see to [log] max_size and keep";
    default:
        return "see to the disk";
    }
}

void log_outage_begin(struct log_files *files, const char *name, int error)
{
    const char *directory = files->logs->directory, *text = log_error_text(error);
    unsigned suppressed;
    atomic_store_explicit(&files->logs->failing, true, memory_order_relaxed);
    if (files->told_error == error || !log_rate_allows(&files->outages, clock_ms(), &suppressed))
        return;
    files->told_error = error;
    log_warning("Console logs cannot be written, output is missing in them until they can log_directory=%s "
                "file=%s error=\"%s\" cure=\"%s\" not_logged_before=%u",
                quote(directory, strlen(directory)).s, quote(name, strlen(name)).s, text, cure_of(error),
                suppressed);
}

void log_outage_end(struct log_files *files)
{
    const char *directory = files->logs->directory;
    if (files->failing || files->dir_error)
        return;
    atomic_store_explicit(&files->logs->failing, false, memory_order_relaxed);
    if (files->told_error)
        log_info("Console logs are written again log_directory=%s lost_bytes=%llu",
                 quote(directory, strlen(directory)).s,
                 (unsigned long long)atomic_load_explicit(&files->logs->lost, memory_order_relaxed));
    files->told_error = 0;
}
