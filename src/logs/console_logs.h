/* Console logs, inside: what workers and the disk thread share. Fields that change are atomic or guarded by
 * the lock, which is held for one look at the names in use. */
#ifndef VSPC_CONSOLE_LOGS_H
#define VSPC_CONSOLE_LOGS_H

#include <pthread.h>
#include <stdatomic.h>

#include "vspc/console_log.h"

struct log_files;
struct log_item;

struct console_logs {
    struct loop *disk;         /* the disk thread's */
    char *directory, *pattern; /* never change; the directory is an absolute path */
    atomic_size_t queue_max;
    atomic_size_t queued;    /* bytes on their way, with what it costs to bring them */
    atomic_bool is_short;    /* the queue was full, and has not been half empty since */
    atomic_bool wants_times; /* of what is printed */
    /* Figures. */
    atomic_uint_fast64_t written, lost;
    atomic_uint open_files;
    atomic_bool failing;
    /* On their way to the disk thread: the newest configuration, or NULL, and a reopening that nobody awaits.
     * Neither queues up while the disk does not answer. */
    struct config *_Atomic next_config;
    atomic_bool is_reopening;
    struct log_second conflicts; /* log lines about two consoles of one name */
    pthread_mutex_t lock;
    struct console_log *names; /* logs by the names of their files */
    struct log_files *files;   /* the disk thread's */
};

/* Any thread: posts items, a list that passes to the disk thread. */
void console_logs_post(struct console_logs *logs, struct log_item *items);

#endif
