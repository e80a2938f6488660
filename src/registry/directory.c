#include "vspc/directory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "vspc/mem.h"

/* What the directory knows of an entry and the owner must not touch without the lock. */
struct directory_key {
    struct directory_entry entry;
    UT_hash_handle hh;
    unsigned pins;
    struct directory_key *prev, *next; /* in one of the two lists of lingering consoles */
    struct directory_key **list;       /* that list, or NULL */
    uint64_t since_ms;
    struct directory_cookie *cookie; /* of a pending migration, or NULL */
    char identity[];
};

struct directory_cookie {
    struct directory_cookie *prev, *next; /* in its bucket */
    struct directory_key *key;
    struct vmext_cookie value;
};

enum { COOKIE_BUCKETS = 256 };

struct directory {
    pthread_mutex_t lock; /* guards all below and all of every directory_key but its entry */
    struct directory_key *keys;
    size_t pins;
    struct directory_key *lingering_alone; /* both lists in the order of since_ms */
    struct directory_key *lingering_watched;
    struct directory_cookie *cookies[COOKIE_BUCKETS];
};

struct directory *directory_new(void)
{
    struct directory *dir = xcalloc(1, sizeof *dir);
    pthread_mutex_init(&dir->lock, NULL);
    return dir;
}

void directory_free(struct directory *dir)
{
    pthread_mutex_destroy(&dir->lock);
    free(dir);
}

static struct directory_key *add_key(struct directory *dir, const char *identity, size_t len, void *me)
{
    struct directory_key *key = xcalloc(1, sizeof *key + len + 1);
    memcpy(key->identity, identity, len);
    key->entry.owner = me;
    key->entry.key = key;
    key->entry.identity = key->identity;
    key->entry.identity_len = len;
    HASH_ADD_KEYPTR(hh, dir->keys, key->identity, len, key);
    return key;
}

/* Says whose the entry is, and pins it when it is not mine. Call with the lock held. */
static enum directory_claim claim_key(struct directory *dir, struct directory_key *key, const void *me)
{
    if (key->entry.owner == me)
        return DIRECTORY_MINE;
    key->pins++;
    dir->pins++;
    return DIRECTORY_THEIRS;
}

enum directory_claim directory_claim(struct directory *dir, const char *identity, size_t len, void *me,
                                     struct directory_entry **entry)
{
    struct directory_key *key;
    pthread_mutex_lock(&dir->lock);
    HASH_FIND(hh, dir->keys, identity, len, key);
    if (!key)
        key = add_key(dir, identity, len, me);
    enum directory_claim claim = claim_key(dir, key, me);
    pthread_mutex_unlock(&dir->lock);
    *entry = &key->entry;
    return claim;
}

/* By the sequence alone, which is no secret. */
static struct directory_cookie **cookie_bucket(struct directory *dir, const struct vmext_cookie *cookie)
{
    unsigned hash = 0;
    for (size_t i = 0; i < cookie->sequence_len; i++)
        hash = hash * 31 + cookie->sequence[i];
    return &dir->cookies[(hash ^ hash >> 8) % COOKIE_BUCKETS];
}

struct directory_entry *directory_find_cookie(struct directory *dir, const struct vmext_cookie *cookie,
                                              void *me, enum directory_claim *claim)
{
    struct directory_key *key = NULL;
    struct directory_cookie *at;
    pthread_mutex_lock(&dir->lock);
    DL_FOREACH(*cookie_bucket(dir, cookie), at)
    {
        /* Looks at all, also behind the one that it is. */
        if (vmext_cookie_equal(&at->value, cookie))
            key = at->key;
    }
    if (key)
        *claim = claim_key(dir, key, me);
    pthread_mutex_unlock(&dir->lock);
    return key ? &key->entry : NULL;
}

void directory_set_cookie(struct directory *dir, struct directory_entry *entry,
                          const struct vmext_cookie *cookie)
{
    struct directory_key *key = entry->key;
    struct directory_cookie *fresh = NULL;
    if (cookie) {
        fresh = xmalloc(sizeof *fresh);
        fresh->key = key;
        fresh->value = *cookie;
    }
    pthread_mutex_lock(&dir->lock);
    struct directory_cookie *old = key->cookie;
    if (old)
        DL_DELETE(*cookie_bucket(dir, &old->value), old);
    if (fresh)
        DL_APPEND(*cookie_bucket(dir, &fresh->value), fresh);
    key->cookie = fresh;
    pthread_mutex_unlock(&dir->lock);
    free(old);
}

void directory_pin(struct directory *dir, struct directory_entry *entry)
{
    pthread_mutex_lock(&dir->lock);
    entry->key->pins++;
    dir->pins++;
    pthread_mutex_unlock(&dir->lock);
}

void directory_unpin(struct directory *dir, struct directory_entry *entry)
{
    pthread_mutex_lock(&dir->lock);
    entry->key->pins--;
    dir->pins--;
    pthread_mutex_unlock(&dir->lock);
}

/* Call with the lock held. */
static void unlist(struct directory_key *key)
{
    if (!key->list)
        return;
    DL_DELETE(*key->list, key);
    key->list = NULL;
}

bool directory_release(struct directory *dir, struct directory_entry *entry)
{
    struct directory_key *key = entry->key;
    pthread_mutex_lock(&dir->lock);
    unlist(key);
    bool gone = key->pins == 0;
    if (gone)
        HASH_DELETE(hh, dir->keys, key);
    pthread_mutex_unlock(&dir->lock);
    if (gone)
        free(key);
    return gone;
}

void directory_linger(struct directory *dir, struct directory_entry *entry, uint64_t since_ms, bool has_users)
{
    struct directory_key *key = entry->key;
    pthread_mutex_lock(&dir->lock);
    unlist(key);
    key->since_ms = since_ms;
    key->list = has_users ? &dir->lingering_watched : &dir->lingering_alone;
    /* Mostly it begins to linger now, and workers' clocks differ by a turn: look from the end; prev of the
     * first is the last. */
    struct directory_key *after = *key->list ? (*key->list)->prev : NULL;
    while (after && after->since_ms > since_ms)
        after = after == *key->list ? NULL : after->prev;
    DL_APPEND_ELEM(*key->list, after, key);
    pthread_mutex_unlock(&dir->lock);
}

void directory_linger_end(struct directory *dir, struct directory_entry *entry)
{
    pthread_mutex_lock(&dir->lock);
    unlist(entry->key);
    pthread_mutex_unlock(&dir->lock);
}

struct directory_entry *directory_pick_lingering(struct directory *dir)
{
    pthread_mutex_lock(&dir->lock);
    struct directory_key *key = dir->lingering_alone ? dir->lingering_alone : dir->lingering_watched;
    if (key) {
        unlist(key);
        key->pins++;
        dir->pins++;
    }
    pthread_mutex_unlock(&dir->lock);
    return key ? &key->entry : NULL;
}

size_t directory_count(struct directory *dir)
{
    pthread_mutex_lock(&dir->lock);
    size_t n = HASH_COUNT(dir->keys);
    pthread_mutex_unlock(&dir->lock);
    return n;
}

size_t directory_pins(struct directory *dir)
{
    pthread_mutex_lock(&dir->lock);
    size_t n = dir->pins;
    pthread_mutex_unlock(&dir->lock);
    return n;
}
