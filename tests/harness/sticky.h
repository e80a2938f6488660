/* Sticky: which user ports the VMs of a fleet have, and whether they have them again.
 *
 * The VMs are named vm-00000 and so on, and their ports are asked from Redis. Functions that do not get what
 * they wait for fail the test. */
#ifndef VSPC_TEST_STICKY_H
#define VSPC_TEST_STICKY_H

#include "fleet.h"
#include "ports_db.h"
#include "probe.h"

/* A daemon, program being VSPCD, not running, that uses Redis as node `one` and keeps no console without a
 * VM. */
struct daemon *sticky_daemon(const char *program, struct redis *r, unsigned user_ports);
/* The path of its port book; the caller frees. */
char *sticky_book(const struct daemon *d);

/* Starts the daemon and has n VMs connected, whose ports go to ports[]. */
struct fleet *sticky_start(struct redis *r, struct daemon *d, size_t n, uint16_t *ports);
/* Notes the ports of a fleet's VMs, all of which must be connected. */
void sticky_note(struct redis *r, const struct fleet *f, uint16_t *ports);
/* The VMs, none of which is connected, connect one after the other, the last first; each must have its port.
 */
void sticky_expect(struct redis *r, struct fleet *f, const uint16_t *ports);
/* A VM comes and goes, and is out of Redis and without a console then. Result: its port. */
uint16_t sticky_visit(struct daemon *d, struct redis *r, const char *name);

#endif
