/* Log files: the disk thread's side of the console logs: which files there are, which are open, what waits to
 * be written into them, and what fails.
 *
 * All of it belongs to the disk thread, but for log_files_new and log_files_free, which main calls before and
 * after. A file is known by its name from when something comes for it until nothing waits, it is closed, and
 * no gap is to be noted in it. What waits is written in turns that are short, so that the disk thread's other
 * work has its own. */
#ifndef VSPC_LOG_FILES_H
#define VSPC_LOG_FILES_H

#include <sys/types.h>
#include <uthash.h>

#include "console_logs.h"
#include "log_item.h"
#include "log_stamp.h"
#include "vspc/log.h"

enum {
    LOG_FILES_OPEN = CONSOLE_LOG_FILES - 4, /* the rest: the directory, and the two of a compression */
    LOG_OUT = 65536,                        /* bytes rendered at once */
    LOG_SIZE_LEAST = 512, /* a lower max_size counts as this: a note and a line's time fit */
    LOG_NO_FILE = 1,      /* as an error: what stands there is no regular file */
    LOG_NO_ROOM = 2,      /* as an error: the queue was full */
};

struct log_file {
    UT_hash_handle hh;                        /* in files->by_name */
    struct log_file *open_prev, *open_next;   /* in files->open, while fd >= 0 */
    struct log_file *ready_prev, *ready_next; /* in files->ready, while there are items */
    struct log_file *bad_prev, *bad_next;     /* in files->failing, while is_failing */
    struct log_item *items;                   /* to be written, the oldest first */
    int fd;
    bool mid_line; /* the file ends within a line; right since it was opened with timestamps = line */
    bool is_failing;
    uint64_t size;
    uint64_t used_ms;   /* while open: when it was last written */
    uint64_t gap;       /* bytes that are missing behind what is in the file */
    int gap_error;      /* why: a negative errno or one of the above */
    uint64_t retry_ms;  /* while failing: what comes before then is dropped */
    uint64_t rotate_ms; /* after a rotation that failed: none before then */
    char name[];
};

struct log_files {
    struct console_logs *logs;
    struct loop *loop;
    struct config *config; /* a reference */
    int dir_fd;            /* -1: not open */
    int dir_error;         /* why, a negative errno */
    uint64_t dir_retry_ms; /* not tried before then */
    bool is_clean;         /* what a killed vspcd left half compressed is gone */
    bool is_stopping;
    struct log_file *by_name;
    struct log_file *open; /* the one written longest ago first */
    struct log_file *ready;
    struct log_file *failing;
    unsigned open_count;
    struct loop_timer work;  /* armed while something waits, or is to be compressed */
    struct loop_timer retry; /* armed while something fails */
    struct loop_timer idle;  /* armed while files are open */
    int told_error;          /* what the log was told fails; 0: nothing */
    struct log_rate outages;
    struct log_clock clock;
    struct gzip_job *jobs; /* log_gzip.h; the first is being done */
    uint8_t out[LOG_OUT];
};

struct log_files *log_files_new(struct console_logs *logs, struct config *config);
/* Opens the directory, and complains where that cannot be. */
void log_files_start(struct log_files *files);
/* Takes items, which are then its own. */
void log_files_take(struct log_files *files, struct log_item *items);
/* The reference passes to it. */
void log_files_reload(struct log_files *files, struct config *config);
void log_files_reopen(struct log_files *files);
/* Writes all that waits, at once, and closes. */
void log_files_stop(struct log_files *files);
void log_files_free(struct log_files *files);

/* log_open.c: makes sure that the file is open, and the one written last. Result: 0, a negative errno, or
 * LOG_NO_FILE. */
int log_file_open(struct log_files *files, struct log_file *file);
void log_file_close(struct log_files *files, struct log_file *file);
/* Forgets a file that there is nothing to know about. */
void log_file_forget_if_idle(struct log_files *files, struct log_file *file);
/* log_open.c: makes sure that the directory is open. Result: 0 or a negative errno. */
int log_directory_open(struct log_files *files);
void log_directory_close(struct log_files *files);

/* log_write.c: writes the gap's note and the item, which may be NULL: the note alone. What the disk refuses
 * becomes a gap. Result: 0 or the error. */
int log_file_write(struct log_files *files, struct log_file *file, const struct log_item *item);

/* log_outage.c: something failed, or it may be over. */
void log_outage_begin(struct log_files *files, const char *name, int error);
void log_outage_end(struct log_files *files);
/* log_outage.c: constant text, or strerror's. */
const char *log_error_text(int error);

/* log_rotate.c: closes the file and gives it the name of the first rotated one; the others move on. Where
 * that cannot be, it complains, and the file may grow for a while. */
void log_file_rotate(struct log_files *files, struct log_file *file);

#endif
