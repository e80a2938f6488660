/* Wire: bytes in segments of the test's choosing, and what a VM says as bytes.
 *
 * For tests of what must not depend on how TCP cuts a stream. Functions that do not get what they wait for
 * fail the test. */
#ifndef VSPC_TEST_WIRE_H
#define VSPC_TEST_WIRE_H

#include "daemon.h"
#include "user.h"

/* What the concentrator opens with, as a raw peer sees it: to a user, and to a VM. */
enum { WIRE_USER_GREETING = 15, WIRE_VM_GREETING = 18 };
extern const uint8_t wire_greeting[WIRE_VM_GREETING];

/* Waits until the peer's process, on this machine, has read everything that was sent on a TCP socket. */
void wire_wait_read(int fd);
/* Sends len bytes, each a segment of its own that is read before the next is sent. */
void wire_send_each(struct user *peer, const void *data, size_t len);

/* Appends a message of option 232. */
void wire_put_sub(struct bytes *out, uint8_t code, const void *payload, size_t len);
/* Appends all that an ESXi host's VM says, in its order, until it is identified; number makes its UUID. */
void wire_put_handshake(struct bytes *out, const char *name, unsigned number);
/* Appends the same up to an accepted DO-PROXY, from a VM that does not list VM-VC-UUID. */
void wire_put_start(struct bytes *out);

/* Fills with bytes that are the same for the same seed, of all 256 values, every fourth of them 255. */
void wire_fill(uint8_t *out, size_t len, uint32_t seed);

#endif
