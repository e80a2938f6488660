/* Console logs: one file a console, with every byte that its VM prints, written by the disk thread.
 *
 * A worker's console has a struct console_log and puts into it what the VM prints; it never waits. What is
 * put gathers for up to 100 ms and goes to the disk thread in one letter for all of the worker's consoles.
 * All that waits, of all consoles, is bounded by the key log.queue; what exceeds it, or what the disk
 * refuses, is left out, counted, and noted in the file where it is missing. At most CONSOLE_LOG_FILES files
 * are open. */
#ifndef VSPC_CONSOLE_LOG_H
#define VSPC_CONSOLE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/config.h"
#include "vspc/disk.h"
#include "vspc/text.h"

enum { CONSOLE_LOG_FILES = 256 }; /* descriptors that are to be kept free for them */

struct console_logs;       /* all logs: the disk thread's, and what is shared */
struct console_log_writer; /* a worker's: what gathers for its next letter */
struct console_log;        /* a console's */

/* Who a console is; pointers are copied from. */
struct console_log_name {
    const char *name; /* of the VM, any bytes; its UUID when it gave none */
    size_t name_len;
    bool has_uuid;
    uint8_t uuid[UUID_SIZE];
    const char *label;
};

struct console_log_figures {
    uint64_t queued_bytes; /* now */
    uint64_t written_bytes;
    uint64_t lost_bytes; /* for want of room in the queue, or refused by the disk */
    unsigned open_files; /* now */
    bool failing;        /* the last write of some file failed */
};

/* Main: takes its own reference to config, whose log.directory is not empty. Complains of a directory that
 * cannot be used, and goes on: it may be put right. Result: the logs. */
struct console_logs *console_logs_new(struct disk *disk, struct config *config);
/* Any thread: goes on with another configuration, of which it takes a reference. */
void console_logs_reload(struct console_logs *logs, struct config *config);
/* Any thread: closes all files and the directory. What is put from now on goes into files opened anew, and so
 * may what is still on its way. Then done(arg) is posted to reply_to, unless that is NULL. */
void console_logs_reopen(struct console_logs *logs, struct loop *reply_to, void (*done)(void *arg),
                         void *arg);
/* Any thread. */
struct console_log_figures console_logs_figures(struct console_logs *logs);
/* Main, when every writer is freed: has the disk thread write all that waits. Before disk_stop_begin. */
void console_logs_stop(struct console_logs *logs);
/* When the disk thread has ended. */
void console_logs_free(struct console_logs *logs);

/* A worker's, in the thread of loop. Result: NULL when logs is: there are none, and every call below does
 * nothing then. */
struct console_log_writer *console_log_writer_new(struct console_logs *logs, struct loop *loop);
/* After the loop's thread has ended: sends what has gathered, and frees; every log must have been closed. */
void console_log_writer_free(struct console_log_writer *writer);

/* The console has this name now; *log is NULL for a new console. */
void console_log_name(struct console_log_writer *writer, struct console_log **log,
                      const struct console_log_name *name);
/* The VM printed. Copies; never waits. */
void console_log_put(struct console_log *log, const void *data, size_t len);
/* The console ends: what was put is still written. *log becomes NULL. */
void console_log_close(struct console_log **log);
/* The file's path in fresh memory, as far as is known without the disk; NULL: there is no log. */
char *console_log_path(const struct console_log *log);

#endif
