/* Import: takes over the user ports that node-vspc, vspcd's predecessor, remembered in Redis. A command of
 * its own, without the daemon: main's thread, which waits for Redis and the disk. */
#ifndef VSPC_IMPORT_H
#define VSPC_IMPORT_H

#include "vspc/config.h"

/* What stands before the VM's name in the keys, unless node-vspc was told otherwise. */
#define IMPORT_PREFIX "Saved:VM:Port"

/* Reads all saved ports with that prefix from the Redis of [redis], and stores them in the port book of
 * [server] state_dir, each for the first VM that comes under its name. What the port book has already stays
 * as it is; Redis is not changed. Nothing is stored before all is read. Tells on standard error how it goes
 * and what is skipped, and on standard output what was done. Result: the process's exit code: 0; 1 when it
 * failed; 2 when the prefix is empty or too long. */
int import_node_vspc(struct config *config, const char *prefix);

#endif
