/* Peer rate: which peers were complained about lately, so that each is in the log once a minute. Any thread.
 */
#ifndef VSPC_PEER_RATE_H
#define VSPC_PEER_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vspc/sock.h"

enum { PEER_RATE_SLOTS = 1024, PEER_RATE_MS = 60000 };

/* A hash of the address to when it was last logged; two addresses in one slot push each other out. */
struct peer_rate {
    pthread_mutex_t lock; /* guards slots */
    struct {
        uint64_t hash;
        uint64_t logged_ms;
    } slots[PEER_RATE_SLOTS];
};

void peer_rate_init(struct peer_rate *rate);
/* Result: whether a line about this host (whatever its port) may be logged now. */
bool peer_rate_allows(struct peer_rate *rate, const struct sock_addr *peer, uint64_t now_ms);

#endif
