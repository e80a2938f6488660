#include "vspc/port_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vspc/mem.h"

struct port_entry {
    uint16_t port;
    uint64_t retry_ms; /* in the held queue: when to try again */
};

/* A queue of at most `size` entries; it never overflows, as each port is in one queue at a time. */
struct port_queue {
    struct port_entry *items;
    unsigned first, len;
};

struct port_pool {
    pthread_mutex_t lock; /* guards both queues */
    unsigned size;
    struct port_queue free_ports;
    struct port_queue held;
};

static void push(struct port_pool *pool, struct port_queue *queue, struct port_entry entry)
{
    queue->items[(queue->first + queue->len) % pool->size] = entry;
    queue->len++;
}

static struct port_entry pop(struct port_pool *pool, struct port_queue *queue)
{
    struct port_entry entry = queue->items[queue->first];
    queue->first = (queue->first + 1) % pool->size;
    queue->len--;
    return entry;
}

struct port_pool *port_pool_new(uint16_t first, unsigned count)
{
    struct port_pool *pool = xcalloc(1, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pool->size = count;
    pool->free_ports.items = xcalloc(count, sizeof(struct port_entry));
    pool->held.items = xcalloc(count, sizeof(struct port_entry));
    for (unsigned i = 0; i < count; i++)
        push(pool, &pool->free_ports, (struct port_entry){.port = (uint16_t)(first + i)});
    return pool;
}

void port_pool_free(struct port_pool *pool)
{
    pthread_mutex_destroy(&pool->lock);
    free(pool->free_ports.items);
    free(pool->held.items);
    free(pool);
}

int port_pool_take(struct port_pool *pool, uint64_t now_ms)
{
    int port = -EAGAIN;
    pthread_mutex_lock(&pool->lock);
    while (pool->held.len && pool->held.items[pool->held.first].retry_ms <= now_ms)
        push(pool, &pool->free_ports, pop(pool, &pool->held));
    if (pool->free_ports.len)
        port = pop(pool, &pool->free_ports).port;
    pthread_mutex_unlock(&pool->lock);
    return port;
}

void port_pool_put(struct port_pool *pool, uint16_t port)
{
    pthread_mutex_lock(&pool->lock);
    push(pool, &pool->free_ports, (struct port_entry){.port = port});
    pthread_mutex_unlock(&pool->lock);
}

void port_pool_put_held(struct port_pool *pool, uint16_t port, uint64_t now_ms)
{
    pthread_mutex_lock(&pool->lock);
    push(pool, &pool->held, (struct port_entry){.port = port, .retry_ms = now_ms + PORT_POOL_HELD_MS});
    pthread_mutex_unlock(&pool->lock);
}

unsigned port_pool_available(struct port_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned n = pool->free_ports.len;
    pthread_mutex_unlock(&pool->lock);
    return n;
}
