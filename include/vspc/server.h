/* Server: the daemon as a whole: starts its threads, reloads, and stops them in order. Main's thread alone.
 */
#ifndef VSPC_SERVER_H
#define VSPC_SERVER_H

#include <stddef.h>

#include "vspc/config.h"

/* Where the configuration came from, to read it again on SIGHUP. */
struct config_source {
    const char *file; /* NULL: none */
    const char *const *overrides;
    size_t override_count;
};

/* Keeps SIGTERM, SIGINT and SIGHUP for server_run to handle; to be called before anything takes time, since
 * they would end the process. */
void server_block_signals(void);

/* Runs the daemon until SIGTERM or SIGINT; SIGHUP reloads. The reference to config passes to it.
 * Result: the process's exit code. */
int server_run(struct config *config, const struct config_source *source);

#endif
