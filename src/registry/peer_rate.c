#include "vspc/peer_rate.h"

#include <string.h>

void peer_rate_init(struct peer_rate *rate)
{
    memset(rate, 0, sizeof *rate);
    pthread_mutex_init(&rate->lock, NULL);
}

/* FNV-1a; never 0, which marks an empty slot. */
static uint64_t hash_host(const struct sock_addr *peer)
{
    char host[SOCK_TEXT];
    uint64_t hash = 14695981039346656037u;
    sock_addr_host(peer, host);
    for (const char *c = host; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    return hash | 1;
}

bool peer_rate_allows(struct peer_rate *rate, const struct sock_addr *peer, uint64_t now_ms)
{
    uint64_t hash = hash_host(peer);
    size_t slot = (size_t)(hash >> 20) % PEER_RATE_SLOTS;
    pthread_mutex_lock(&rate->lock);
    bool allowed = rate->slots[slot].hash != hash || now_ms - rate->slots[slot].logged_ms >= PEER_RATE_MS;
    if (allowed) {
        rate->slots[slot].hash = hash;
        rate->slots[slot].logged_ms = now_ms;
    }
    pthread_mutex_unlock(&rate->lock);
    return allowed;
}
