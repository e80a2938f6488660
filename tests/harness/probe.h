/* Probe: what a test asks of the whole: which user port is whose, does a console work, is Redis exactly
 * right.
 *
 * Functions that do not get what they wait for fail the test. */
#ifndef VSPC_TEST_PROBE_H
#define VSPC_TEST_PROBE_H

#include "daemon.h"
#include "redis.h"
#include "user.h"
#include "vm.h"

/* Waits until the log tells that the VM has connected, since the last start or daemon_mark_log. Result: its
 * user port, of the last time. */
uint16_t probe_port(struct daemon *d, const char *vm);
/* How many lines of the log hold both texts. */
unsigned probe_count_lines(struct daemon *d, const char *a, const char *b);
/* Waits until the log has a line that holds both texts. */
void probe_wait_line(struct daemon *d, const char *a, const char *b, unsigned timeout_ms);

/* The VM is the one behind this user port: what it prints arrives at a new user there, and what that types at
 * the VM. */
void probe_console(uint16_t port, struct vm_link *vm);
/* How long it takes what the VM prints to reach the user, in milliseconds. */
uint64_t probe_delay(struct vm_link *vm, struct user *user);

/* How many descriptors vspcd has once that number is no more than `most`, for which it waits. */
unsigned probe_wait_fds(struct daemon *d, unsigned most, unsigned timeout_ms);

/* Waits until the three hashes hold the `own` fields of this node and `others` of anybody else, and no more,
 * and until what they and the node's record say of each of its fields agrees. All VMs must have a UUID. */
void probe_wait_maps(struct redis *r, const char *node_id, size_t own, size_t others, unsigned timeout_ms);

/* Sends SIGHUP and waits until the configuration has been reloaded, or, when refused, that it has not. */
void probe_reload(struct daemon *d);
void probe_reload_refused(struct daemon *d);

/* Makes d->program a shell script that runs this before it becomes vspcd: "ulimit -n 84". For one daemon of a
 * test. */
void probe_run_before(struct daemon *d, const char *command);

#endif
