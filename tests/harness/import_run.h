/* Import run: vspcd --import-node-vspc, run with a daemon's configuration, and what node-vspc would have left
 * for it in Redis.
 *
 * One import at a time; what it writes is kept in a file until the next begins. Functions that do not get
 * what they wait for fail the test. */
#ifndef VSPC_TEST_IMPORT_RUN_H
#define VSPC_TEST_IMPORT_RUN_H

#include "daemon.h"
#include "redis.h"

#define SAVED_PREFIX "Saved:VM:Port" /* node-vspc's */

/* Makes a daemon that is not running and uses this Redis. Its consoles end with their VMs. */
struct daemon *import_daemon(const char *program, struct redis *r, unsigned user_ports);
/* Whether its state directory holds a port book. */
bool import_has_book(const struct daemon *d);

/* Saves a port in Redis as node-vspc does; name: any bytes. */
void import_save_bytes(struct redis *r, const char *prefix, const void *name, size_t len, const char *value);
/* The same with the usual prefix. */
void import_save(struct redis *r, const char *name, unsigned port);

/* Starts an import with the daemon's configuration and these arguments behind it, the last NULL. Result: its
 * process id. */
pid_t import_start(struct daemon *d, char *const arguments[]);
/* Waits until it ends, with that exit code. */
void import_expect_exit(pid_t pid, int code);
/* Runs one to its end, which must be that exit code, with that text in what it writes. */
void import_with(struct daemon *d, char *const arguments[], int code, const char *text);
/* The same with the usual prefix. */
void import_ports(struct daemon *d, int code, const char *text);

/* What the last import has written up to now, to standard output and error; the caller frees. */
char *import_output(void);
bool import_has_written(const char *text);

/* A VM connects to the running daemon under that name, of any bytes, gets that port, is served, and leaves.
 */
void import_expect_port_bytes(struct daemon *d, struct redis *r, const void *name, size_t len, unsigned port);
void import_expect_port(struct daemon *d, struct redis *r, const char *name, unsigned port);

#endif
