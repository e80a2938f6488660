#include "vspc/port_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "vspc/mem.h"

/* Whose a port is. Identity and name are its last bytes. */
struct reservation {
    UT_hash_handle hh; /* by identity */
    struct port_slot *slot;
    uint16_t identity_len, name_len;
    char bytes[];
};

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_HELD };

struct port_slot {
    struct port_slot *prev, *next; /* in the list of its state; a TAKEN one is in none */
    struct port_slot *next_changed;
    struct reservation *reservation; /* NULL: nobody's */
    uint64_t retry_ms;               /* HELD: when to try again */
    time_t last_seen;                /* of the VM that it is reserved for */
    uint8_t state;
    bool connected;
    bool changed; /* in the list of changed ones */
};

struct port_pool {
    pthread_mutex_t lock; /* guards all below and all of every slot */
    uint16_t first;
    unsigned size;
    uint64_t retention; /* seconds */
    struct port_slot *slots;
    struct reservation *reservations;
    struct port_slot *unreserved; /* free ports, the one free for longest first */
    struct port_slot *reserved;   /* free ports in the order of last_seen */
    struct port_slot *held;
    unsigned free_count; /* in the first two lists */
    struct port_slot *changed, *last_changed;
    bool is_new_list; /* the list of changed ones was empty when this call began, and is not any more */
    void (*on_change)(void *arg);
    void *on_change_arg;
};

static void lock(struct port_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_new_list = false;
}

/* Unlocks, and tells of a new list of changes. */
static void unlock(struct port_pool *pool)
{
    void (*fn)(void *arg) = pool->is_new_list ? pool->on_change : NULL;
    void *arg = pool->on_change_arg;
    pthread_mutex_unlock(&pool->lock);
    if (fn)
        fn(arg);
}

static void mark_changed(struct port_pool *pool, struct port_slot *slot)
{
    if (slot->changed)
        return;
    slot->changed = true;
    slot->next_changed = NULL;
    if (pool->changed)
        pool->last_changed->next_changed = slot;
    else
        pool->changed = slot;
    pool->is_new_list |= slot == pool->changed;
    pool->last_changed = slot;
}

/* Puts a port into the list that its state and reservation ask for. */
static void enlist(struct port_pool *pool, struct port_slot *slot)
{
    pool->free_count += slot->state == SLOT_FREE;
    if (slot->state == SLOT_HELD) {
        DL_APPEND(pool->held, slot);
    } else if (slot->state == SLOT_FREE && !slot->reservation) {
        DL_APPEND(pool->unreserved, slot);
    } else if (slot->state == SLOT_FREE) {
        /* Nearly always the newest, so look from the end; prev of the first is the last. */
        struct port_slot *at = pool->reserved ? pool->reserved->prev : NULL;
        while (at && at->last_seen > slot->last_seen)
            at = at == pool->reserved ? NULL : at->prev;
        if (at)
            DL_APPEND_ELEM(pool->reserved, at, slot);
        else
            DL_PREPEND(pool->reserved, slot);
    }
}

static void unlist(struct port_pool *pool, struct port_slot *slot)
{
    pool->free_count -= slot->state == SLOT_FREE;
    if (slot->state == SLOT_HELD)
        DL_DELETE(pool->held, slot);
    else if (slot->state == SLOT_FREE && !slot->reservation)
        DL_DELETE(pool->unreserved, slot);
    else if (slot->state == SLOT_FREE)
        DL_DELETE(pool->reserved, slot);
}

static void forget(struct port_pool *pool, struct port_slot *slot)
{
    if (!slot->reservation)
        return;
    HASH_DELETE(hh, pool->reservations, slot->reservation);
    free(slot->reservation);
    slot->reservation = NULL;
    slot->connected = false;
}

/* Makes a port nobody's. Call while it is in no list. */
static void unreserve(struct port_pool *pool, struct port_slot *slot)
{
    if (slot->reservation)
        mark_changed(pool, slot);
    forget(pool, slot);
}

/* Reserves a port, whosever it was, for an identity that has none. Call while the port is in no list. */
static void reserve(struct port_pool *pool, struct port_slot *slot, const char *identity, size_t identity_len,
                    const char *name, size_t name_len, time_t last_seen)
{
    struct reservation *reservation = xmalloc(sizeof *reservation + identity_len + name_len);
    reservation->slot = slot;
    reservation->identity_len = (uint16_t)identity_len;
    reservation->name_len = (uint16_t)name_len;
    memcpy(reservation->bytes, identity, identity_len);
    if (name_len)
        memcpy(reservation->bytes + identity_len, name, name_len);
    forget(pool, slot);
    HASH_ADD_KEYPTR(hh, pool->reservations, reservation->bytes, identity_len, reservation);
    slot->reservation = reservation;
    slot->last_seen = last_seen;
}

static struct port_slot *find_slot(struct port_pool *pool, const char *identity, size_t identity_len)
{
    struct reservation *reservation;
    HASH_FIND(hh, pool->reservations, identity, identity_len, reservation);
    return reservation ? reservation->slot : NULL;
}

/* The identity of whoever comes under that name first. Result: its length. */
static size_t saved_identity(char out[PORT_IDENTITY_MAX], const char *name, size_t name_len)
{
    char *end = stpcpy(out, PORT_SAVED_PREFIX);
    if (name_len)
        memcpy(end, name, name_len);
    return (size_t)(end - out) + name_len;
}

/* The port saved for that name, or NULL. */
static struct port_slot *find_saved(struct port_pool *pool, const char *name, size_t name_len)
{
    char identity[PORT_IDENTITY_MAX];
    return find_slot(pool, identity, saved_identity(identity, name, name_len));
}

static uint16_t port_of(const struct port_pool *pool, const struct port_slot *slot)
{
    return (uint16_t)(pool->first + (slot - pool->slots));
}

/* NULL when the port is out of range. */
static struct port_slot *slot_of(struct port_pool *pool, uint16_t port)
{
    return port >= pool->first && port < pool->first + pool->size ? &pool->slots[port - pool->first] : NULL;
}

struct port_pool *port_pool_new(uint16_t first, unsigned count)
{
    struct port_pool *pool = xcalloc(1, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pool->first = first;
    pool->size = count;
    pool->slots = xcalloc(count, sizeof *pool->slots);
    for (unsigned i = 0; i < count; i++)
        enlist(pool, &pool->slots[i]);
    return pool;
}

void port_pool_free(struct port_pool *pool)
{
    HASH_CLEAR(hh, pool->reservations);
    for (unsigned i = 0; i < pool->size; i++)
        free(pool->slots[i].reservation);
    pthread_mutex_destroy(&pool->lock);
    free(pool->slots);
    free(pool);
}

void port_pool_set_retention(struct port_pool *pool, uint64_t seconds)
{
    lock(pool);
    pool->retention = seconds;
    unlock(pool);
}

/* Whether the reservation of a port that is free is over. A VM seen in the future was seen now. */
static bool is_over(const struct port_pool *pool, const struct port_slot *slot, time_t now)
{
    return pool->retention == 0 ||
           (now > slot->last_seen && (uint64_t)(now - slot->last_seen) > pool->retention);
}

/* Ends the reservations that are over. */
static void expire(struct port_pool *pool, time_t now)
{
    while (pool->reserved && is_over(pool, pool->reserved, now)) {
        struct port_slot *slot = pool->reserved;
        unlist(pool, slot);
        unreserve(pool, slot);
        enlist(pool, slot);
    }
}

/* Ports held by something else are tried again after their time. */
static void release_held(struct port_pool *pool, uint64_t now_ms)
{
    while (pool->held && pool->held->retry_ms <= now_ms) {
        struct port_slot *slot = pool->held;
        unlist(pool, slot);
        slot->state = SLOT_FREE;
        enlist(pool, slot);
    }
}

/* The free port that an identity should have, or NULL. */
static struct port_slot *choose(struct port_pool *pool, struct port_slot *own, const char *name,
                                size_t name_len)
{
    struct port_slot *saved = own ? NULL : find_saved(pool, name, name_len);
    if (own && own->state == SLOT_FREE)
        return own;
    if (saved)
        return saved; /* one that is saved for a name is always free */
    return pool->unreserved ? pool->unreserved : pool->reserved;
}

int port_pool_take(struct port_pool *pool, const char *identity, size_t identity_len, const char *name,
                   size_t name_len, uint64_t now_ms, time_t now)
{
    int port = -EAGAIN;
    lock(pool);
    release_held(pool, now_ms);
    expire(pool, now);
    struct port_slot *own = find_slot(pool, identity, identity_len);
    struct port_slot *slot = choose(pool, own, name, name_len);
    if (slot) {
        unlist(pool, slot);
        slot->state = SLOT_TAKEN;
        /* One that it still has elsewhere is taken, and so in no list. */
        if (own && own != slot)
            unreserve(pool, own);
        reserve(pool, slot, identity, identity_len, name, name_len, now);
        mark_changed(pool, slot);
        port = port_of(pool, slot);
    }
    unlock(pool);
    return port;
}

void port_pool_connected(struct port_pool *pool, uint16_t port, const char *name, size_t name_len, time_t now)
{
    lock(pool);
    struct port_slot *slot = slot_of(pool, port);
    struct reservation *old = slot->reservation;
    if (old) {
        if (old->name_len != name_len || memcmp(old->bytes + old->identity_len, name, name_len) != 0) {
            char identity[PORT_IDENTITY_MAX];
            memcpy(identity, old->bytes, old->identity_len);
            reserve(pool, slot, identity, old->identity_len, name, name_len, now);
        }
        slot->connected = true;
        slot->last_seen = now;
        mark_changed(pool, slot);
    }
    unlock(pool);
}

void port_pool_disconnected(struct port_pool *pool, uint16_t port, time_t now)
{
    lock(pool);
    struct port_slot *slot = slot_of(pool, port);
    if (slot->reservation) {
        slot->connected = false;
        slot->last_seen = now;
        mark_changed(pool, slot);
    }
    unlock(pool);
}

void port_pool_put(struct port_pool *pool, uint16_t port)
{
    lock(pool);
    struct port_slot *slot = slot_of(pool, port);
    if (pool->retention == 0)
        unreserve(pool, slot);
    slot->state = SLOT_FREE;
    slot->connected = false;
    enlist(pool, slot);
    unlock(pool);
}

void port_pool_put_held(struct port_pool *pool, uint16_t port, uint64_t now_ms)
{
    lock(pool);
    struct port_slot *slot = slot_of(pool, port);
    unreserve(pool, slot);
    slot->state = SLOT_HELD;
    slot->retry_ms = now_ms + PORT_POOL_HELD_MS;
    enlist(pool, slot);
    unlock(pool);
}

unsigned port_pool_available(struct port_pool *pool)
{
    lock(pool);
    unsigned n = pool->free_count;
    unlock(pool);
    return n;
}

/* Reserves a free port. Result: whether that was possible. */
static bool add(struct port_pool *pool, const struct port_record *record, time_t now)
{
    struct port_slot *slot = slot_of(pool, record->port);
    if (!slot || pool->retention == 0 || slot->state != SLOT_FREE || slot->reservation ||
        record->identity_len == 0 || record->identity_len > PORT_IDENTITY_MAX ||
        record->name_len > PORT_NAME_MAX || find_slot(pool, record->identity, record->identity_len))
        return false;
    time_t last_seen = record->last_seen < now ? record->last_seen : now;
    unlist(pool, slot);
    reserve(pool, slot, record->identity, record->identity_len, record->name, record->name_len,
            last_seen > 0 ? last_seen : 0);
    enlist(pool, slot);
    return true;
}

bool port_pool_restore(struct port_pool *pool, const struct port_record *record, time_t now)
{
    lock(pool);
    struct port_slot *slot = slot_of(pool, record->port);
    bool restored = add(pool, record, now);
    /* Where the book says what is not so, it is to be corrected. */
    if (slot && (!restored || record->connected || record->last_seen > now))
        mark_changed(pool, slot);
    unlock(pool);
    return restored;
}

/* Whether a port is reserved under that name, for whomever. */
static bool name_is_known(const struct port_pool *pool, const char *name, size_t name_len)
{
    const struct reservation *reservation;
    for (reservation = pool->reservations; reservation; reservation = reservation->hh.next)
        if (reservation->name_len == name_len &&
            memcmp(reservation->bytes + reservation->identity_len, name, name_len) == 0)
            return true;
    return false;
}

int port_pool_save(struct port_pool *pool, const char *name, size_t name_len, uint16_t port, time_t now)
{
    char identity[PORT_IDENTITY_MAX];
    int err = 0;
    if (name_len == 0 || name_len > PORT_NAME_MAX)
        return -EINVAL;
    size_t identity_len = saved_identity(identity, name, name_len);
    lock(pool);
    struct port_slot *slot = slot_of(pool, port);
    if (pool->retention == 0) {
        err = -EINVAL;
    } else if (!slot) {
        err = -ERANGE;
    } else if (name_is_known(pool, name, name_len)) {
        err = -EEXIST;
    } else if (slot->state != SLOT_FREE || slot->reservation) {
        err = -EADDRINUSE;
    } else {
        unlist(pool, slot);
        reserve(pool, slot, identity, identity_len, name, name_len, now);
        mark_changed(pool, slot);
        enlist(pool, slot);
    }
    unlock(pool);
    return err;
}

bool port_pool_next_change(struct port_pool *pool, struct port_record *record)
{
    lock(pool);
    struct port_slot *slot = pool->changed;
    *record = (struct port_record){0};
    if (slot) {
        const struct reservation *reservation = slot->reservation;
        pool->changed = slot->next_changed;
        slot->changed = false;
        record->port = port_of(pool, slot);
        record->connected = slot->connected;
        record->last_seen = slot->last_seen;
        if (reservation) {
            record->identity_len = reservation->identity_len;
            record->identity = xmemdup0(reservation->bytes, record->identity_len);
            record->name_len = reservation->name_len;
            record->name = xmemdup0(reservation->bytes + record->identity_len, record->name_len);
        }
    }
    unlock(pool);
    return slot != NULL;
}

void port_record_clear(struct port_record *record)
{
    free(record->identity);
    free(record->name);
    *record = (struct port_record){0};
}

void port_pool_change_all(struct port_pool *pool)
{
    lock(pool);
    for (unsigned i = 0; i < pool->size; i++)
        mark_changed(pool, &pool->slots[i]);
    unlock(pool);
}

static void see(struct port_pool *pool, struct port_slot *slot, time_t now)
{
    slot->last_seen = now;
    mark_changed(pool, slot);
}

/* The clock may have been set back since a VM was seen: in the future it was not. */
static void correct_future(struct port_pool *pool, time_t now)
{
    /* They are the last ones, and stay in order when all become the same. */
    struct port_slot *slot = pool->reserved ? pool->reserved->prev : NULL;
    while (slot && slot->last_seen > now) {
        see(pool, slot, now);
        slot = slot == pool->reserved ? NULL : slot->prev;
    }
}

void port_pool_touch(struct port_pool *pool, time_t now)
{
    lock(pool);
    for (unsigned i = 0; i < pool->size; i++) {
        struct port_slot *slot = &pool->slots[i];
        /* Without retention it does not matter when a VM was seen. */
        bool is_due = (slot->connected && pool->retention > 0) || slot->last_seen > now;
        if (slot->reservation && slot->state == SLOT_TAKEN && is_due)
            see(pool, slot, now);
    }
    correct_future(pool, now);
    expire(pool, now);
    unlock(pool);
}

void port_pool_on_change(struct port_pool *pool, void (*fn)(void *arg), void *arg)
{
    lock(pool);
    pool->on_change = fn;
    pool->on_change_arg = arg;
    pool->is_new_list = pool->changed != NULL;
    unlock(pool);
}

struct port_terms port_pool_terms(struct port_pool *pool)
{
    lock(pool);
    struct port_terms terms = {
        .first = pool->first, .last = (uint16_t)(pool->first + pool->size - 1), .retention = pool->retention};
    unlock(pool);
    return terms;
}
