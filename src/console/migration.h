/* Migration: a console's pending vMotion: what vmotion.h decides, done to connections, directory and timer.
 *
 * Belongs to the console, from BEGIN until the migration ends; console->migration is NULL otherwise. */
#ifndef VSPC_MIGRATION_H
#define VSPC_MIGRATION_H

#include "vm_conn.h"
#include "vmotion.h"

struct migration {
    struct console *console;
    struct vmotion vmotion;
    struct vm_conn *destination; /* the last that brought the cookie, in VM_DESTINATION, or NULL */
    struct loop_timer timer;     /* vmotion_due */
    struct vmext source;         /* in ORPHANED and DRAINING: the identity of the VM connection there was */
};

/* The console's VM connection says that its VM is about to leave: puts GOAHEAD behind its replies, which the
 * caller flushes. Result: false when it may not now. */
bool migration_begin(struct console *console, const struct vmext_cookie *sequence);
/* A connection at its console's worker has brought a cookie. Result: whether it is the destination now, and
 * will be answered PEER-OK; else the cookie is not, or no longer, the console's. */
bool migration_accept(struct console *console, struct vm_conn *conn, const struct vmext_cookie *cookie);
/* A destination says that the VM runs there. Result: whether it is the console's VM connection now; else the
 * sequence was wrong. */
bool migration_complete(struct vm_conn *destination, const struct vmext_cookie *sequence);
/* The console's VM connection says that its VM stays. */
void migration_abort(struct console *console);
/* The console's VM connection has sent serial data. */
void migration_source_spoke(struct console *console);

/* The console's VM connection is about to be closed. Result: whether a migration is pending, and the VM
 * counts as connected. */
bool migration_source_lost(struct console *console);
/* A destination is about to be closed. */
void migration_destination_lost(struct vm_conn *destination);
/* Another connection has taken the console over, or the console ends: closes the destination. why: for the
 * log. */
void migration_end(struct console *console, const char *why);

/* Whether input is kept for whoever wins. */
bool migration_keeps_input(const struct console *console);
/* Applies the owner's new configuration. */
void migration_reload(struct console *console);

#endif
