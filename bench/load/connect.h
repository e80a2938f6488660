/* Connect: connections of a load, more than one address has ports for. */
#ifndef VSPC_BENCH_CONNECT_H
#define VSPC_BENCH_CONNECT_H

#include "crew.h"

/* Starts to connect, non-blocking. Where this address has no port left and the server is on loopback, the
 * next of 127.0.0.0/24 is taken. Result: a descriptor, connected or on its way, or a negative errno. */
int load_connect(struct load_thread *thread, const struct sock_addr *to);

#endif
