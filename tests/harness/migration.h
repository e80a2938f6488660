/* Migration: a VM that goes from host to host, one step at a time, and numbered bytes, which tell what is
 * lost from what is doubled or out of order.
 *
 * Functions that do not get what they wait for fail the test. */
#ifndef VSPC_TEST_MIGRATION_H
#define VSPC_TEST_MIGRATION_H

#include "user.h"
#include "vm.h"

/* The source says BEGIN; it has GOAHEAD when this returns. */
void move_begin(struct vm_link *source, const void *sequence, size_t len);
/* Connects a destination with the cookie that the source has got, and does nothing more. Result: a link,
 * which vm_stop frees. */
struct vm_link *move_connect(struct daemon *d, const struct vm_client_options *opt,
                             const struct vm_link *source);
/* The same, and waits for PEER-OK. */
struct vm_link *move_join(struct daemon *d, const struct vm_client_options *opt,
                          const struct vm_link *source);
/* The same of a host that tells its VM's UUID and name before it brings the cookie. */
struct vm_link *move_join_late(struct daemon *d, const struct vm_client_options *opt,
                               const struct vm_link *source);
/* The destination says COMPLETE. */
void move_complete(struct vm_link *destination);

/* A destination, byte for byte, whose PEER has this payload: what it says until then, in one segment. */
struct user *move_forge(struct daemon *d, const void *payload, size_t len);
/* The payload of the PEER that belongs to a source's cookie. Result: its length. */
size_t move_payload(const struct vm_link *source, uint8_t out[VM_SEQUENCE_MAX + VM_SECRET_MAX]);
/* The peer must get UNKNOWN-SUBOPTION-RCVD-2(44) as the last, and be closed; closes it. What it got is put
 * into all, if that is not NULL. */
void move_expect_refusal(struct user *peer, struct bytes *all);

/* A stream of numbered bytes: all 256 values, every fourth a 255. */
struct stream {
    uint32_t seed;
    uint64_t sent, received;
};
/* The next len bytes to be sent. */
void stream_next(struct stream *s, uint8_t *out, size_t len);
/* These came: they must be the next. who: for the message. */
void stream_check(struct stream *s, const uint8_t *data, size_t len, const char *who);
/* Takes what has come, for which it does not wait. */
void stream_take_vm(struct stream *s, struct vm_link *vm);
void stream_take_user(struct stream *s, struct user *user);

#endif
