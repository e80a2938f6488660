/* Port book: the copy of the port pool on disk, so that VMs get their user ports back after a restart.
 *
 * It is an SQLite database, `ports.db` in the state directory, and belongs to the disk thread (disk.h), the
 * only one that waits for a disk. It reads the book once into the pool, and from then on writes what changes
 * in the pool, within 200 ms of the change where the disk can. What goes wrong with the disk is logged, once,
 * and tried again every 5 s; the pool goes on without it. A file that is damaged or not vspcd's is set aside
 * under another name, and a new one is begun. */
#ifndef VSPC_PORT_BOOK_H
#define VSPC_PORT_BOOK_H

#include "vspc/disk.h"
#include "vspc/port_pool.h"

struct port_book;

/* Has the disk thread read `dir`/ports.db into the pool. Disk and pool must outlive the book; the pool's
 * retention is to be set before. Result: the book. */
struct port_book *port_book_start(struct disk *disk, const char *dir, struct port_pool *pool);
/* Waits for the first attempt to read the book. Result: 0, the pool has all that the book holds; -EIO, it
 * could not be read, as was logged; -ETIMEDOUT after timeout_ms. What is read later is restored where that is
 * still possible. */
int port_book_wait_loaded(struct port_book *book, unsigned timeout_ms);
/* Any thread: marks connected VMs as seen now and ends what is over, which happens by itself every hour, or
 * four times a retention when that is shorter, but every 10 s at most. For when the retention has changed. */
void port_book_touch(struct port_book *book);

/* Has the disk thread write what has changed and be done with the book; nobody may change the pool any more.
 */
void port_book_stop_begin(struct port_book *book);
/* Waits for that. Result: 0; -EIO, not all could be written, as was logged; both free the book. -ETIMEDOUT:
 * the disk thread is stuck and left behind with the book and the pool, so the process must end by _exit. */
int port_book_stop_finish(struct port_book *book, unsigned timeout_ms);

#endif
