/* Port file: the port book's SQLite database. Whatever stands in it is taken as hostile. The disk thread
 * alone.
 *
 * A closed file is opened by port_file_open; after any error but that of port_file_read it is to be closed
 * and opened again. */
#ifndef VSPC_PORT_FILE_H
#define VSPC_PORT_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vspc/port_pool.h"

enum {
    PORT_FILE_BATCH = 2000, /* changes in one transaction */
    PORT_FILE_ERROR = 320,
};

struct port_file {
    char *path;     /* owned */
    sqlite3 *db;    /* NULL: closed */
    bool read_only; /* an open one can be read, and not written */
    bool lacks_wal; /* and not all of it: the latest changes are missing */
    sqlite3_stmt *put, *erase;
    dev_t device;                /* of the file that was opened */
    ino_t inode, wal_inode;      /* the WAL's once it is written, or 0 */
    char error[PORT_FILE_ERROR]; /* what went wrong last, for people */
};

/* All functions with a result give 0, or a negative errno with file->error: -EUCLEAN, the file is damaged or
 * not a port book of this version; another, the disk does not do what it should. */

/* Opens `path`, which exists or is made, and looks through all of it. Where it cannot be written but read,
 * that is what it is opened for, and file->error says why. */
int port_file_open(struct port_file *file);
/* Does nothing when closed. Says no more than it must: what is not committed is lost. */
void port_file_close(struct port_file *file);
/* Whether the path still leads to the open file. */
bool port_file_is_there(const struct port_file *file);
/* Gives the closed file, and what SQLite keeps beside it, another name that does not exist yet: fresh memory
 * in *name. */
int port_file_set_aside(struct port_file *file, char **name);
/* Removes what SQLite keeps beside the closed file, where it is another's than the file's. */
void port_file_remove_traces(const struct port_file *file);

/* Gives all rows to the pool, those seen longest ago first, and counts those that it took. */
int port_file_read(struct port_file *file, struct port_pool *pool, unsigned *restored);
/* Writes at most PORT_FILE_BATCH of the pool's changes in one transaction. Result: 1 when there may be more;
 * what was taken from the pool is lost on an error. */
int port_file_write(struct port_file *file, struct port_pool *pool);
/* Deletes what lies outside the pool's ports and was last seen before then. */
int port_file_expire(struct port_file *file, const struct port_terms *terms, time_t before);

#endif
