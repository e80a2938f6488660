/* Ports db: the port book's file, looked at while vspcd runs, as an operator with sqlite3 would.
 *
 * Each call has a connection of its own. Functions that cannot do their work fail the test. */
#ifndef VSPC_TEST_PORTS_DB_H
#define VSPC_TEST_PORTS_DB_H

#include "env.h"

/* Result: the number that a query answers; -1 when the file or the table is not there, or has no row for it.
 */
long long ports_db_number(const char *path, const char *sql);
/* The port of the VM with that name, and how many rows there are; -1 likewise. */
int ports_db_port(const char *path, const char *name);
long long ports_db_count(const char *path);
/* Changes a file that nobody uses, or that is not there yet. */
void ports_db_run(const char *path, const char *sql);

/* A table as vspcd makes it, for ports_db_run. */
#define PORTS_DB_SCHEMA                                                                                      \
    "PRAGMA application_id=1987276899; PRAGMA user_version=1;"                                               \
    "CREATE TABLE port(port INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, name BLOB NOT NULL,"         \
    " last_seen INTEGER NOT NULL, connected INTEGER NOT NULL);"

#endif
