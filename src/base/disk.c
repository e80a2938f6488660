#include "vspc/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vspc/mem.h"

struct disk {
    struct loop *loop;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct disk *disk = arg;
    loop_run(disk->loop);
    return NULL;
}

static void disk_free(struct disk *disk)
{
    loop_free(disk->loop);
    free(disk);
}

struct disk *disk_start(void)
{
    struct disk *disk = xcalloc(1, sizeof *disk);
    disk->loop = loop_new();
    if (!disk->loop) {
        free(disk);
        return NULL;
    }
    int err = thread_start(&disk->thread, "disk", run, disk);
    if (err) {
        disk_free(disk);
        errno = -err;
        return NULL;
    }
    return disk;
}

struct loop *disk_loop(struct disk *disk)
{
    return disk->loop;
}

void disk_stop_begin(struct disk *disk)
{
    loop_stop(disk->loop);
}

int disk_stop_finish(struct disk *disk, unsigned timeout_ms)
{
    if (thread_join(disk->thread, timeout_ms) != 0)
        return -ETIMEDOUT;
    disk_free(disk);
    return 0;
}
