/* User port: which one a VM's console has, for load programs: asked of Redis, or read in vspcd's log.
 *
 * One thread; waits. */
#ifndef VSPC_USER_PORT_H
#define VSPC_USER_PORT_H

#include <hiredis/hiredis.h>
#include <stdint.h>

#include "vspc/mem.h"

/* Where to look; one of the two is set. */
struct user_port_source {
    const char *redis_socket; /* path, or NULL */
    const char *log_file;     /* path of vspcd's standard error, or NULL */
    redisContext *redis;      /* made when first needed */
    struct bytes log;         /* as last read */
};

/* Waits at most timeout_ms for the VM to have a port. The name is printable ASCII. Result: the port, or a
 * negative errno: -ETIMEDOUT, or why the source cannot be read. */
int user_port_find(struct user_port_source *source, const char *name, unsigned timeout_ms);
/* Frees what the source holds; not the struct itself. */
void user_port_close(struct user_port_source *source);

#endif
