/* VM: one simulated VM in a test, on a connection to the daemon under test.
 *
 * A vm_link (bench/vm_link.h) with assertions: functions that do not get what they wait for fail the test,
 * and so does vm_stop when the concentrator has broken the protocol. */
#ifndef VSPC_TEST_VM_H
#define VSPC_TEST_VM_H

#include "daemon.h"
#include "vm_link.h"

/* An ESXi host's VM with this name, and a UUID that is always the same for the same name. */
struct vm_client_options vm_options(const char *name);

/* Connects a VM and waits until it is identified. Result: a link, which vm_stop frees. */
struct vm_link *vm_start(const struct daemon *d, const struct vm_client_options *opt);
struct vm_link *vm_start_named(const struct daemon *d, const char *name);
/* Connects a VM and does nothing more. */
struct vm_link *vm_connect(const struct daemon *d, const struct vm_client_options *opt);
/* Closes the connection in order and frees the link. */
void vm_stop(struct vm_link *vm);

/* The VM's serial port: prints, and waits for exactly these bytes. */
void vm_print(struct vm_link *vm, const void *data, size_t len);
void vm_print_text(struct vm_link *vm, const char *text);
void vm_expect(struct vm_link *vm, const void *data, size_t len, unsigned timeout_ms);
void vm_expect_text(struct vm_link *vm, const char *text, unsigned timeout_ms);

#endif
