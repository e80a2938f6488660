/* Disk: the one thread that waits for a disk. It is a loop whose letters and timers do the waiting: the port
 * book's and the console logs'. Each keeps its turns short (a few milliseconds where the disk is well), so
 * that the other has its own. */
#ifndef VSPC_DISK_H
#define VSPC_DISK_H

#include "vspc/loop.h"

struct disk;

/* Starts the thread. Result: the disk, or NULL with errno set. */
struct disk *disk_start(void);
/* Any thread: where to post, with loop_post alone. */
struct loop *disk_loop(struct disk *disk);
/* Main, when nobody posts any more: has the thread end behind the letters that are there. */
void disk_stop_begin(struct disk *disk);
/* Waits for that and frees. Result: 0; or -ETIMEDOUT: the thread is stuck in the disk and left behind with
 * all it uses, so the process must end by _exit. */
int disk_stop_finish(struct disk *disk, unsigned timeout_ms);

#endif
