/* Resolver: one DNS question, asked without waiting for the answer.
 *
 * The question goes to a short-lived thread of its own, since getaddrinfo may take as long as it likes; the
 * asker looks for the answer from time to time. Both share the question, and whoever is done last frees it.
 */
#ifndef VSPC_RESOLVER_H
#define VSPC_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "vspc/sock.h"

struct resolver;

/* Asks for the addresses of host. Result: the question, or NULL with errno set. */
struct resolver *resolver_ask(const char *host, uint16_t port);

/* Result: the number of addresses put into out, at most max; -EAGAIN: no answer yet; -ENOENT: the name has no
 * address, and *error says why (valid until resolver_drop). */
int resolver_answer(struct resolver *resolver, struct sock_addr *out, size_t max, const char **error);

/* The asker is done with it, answered or not. */
void resolver_drop(struct resolver *resolver);

#endif
