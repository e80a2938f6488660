/* Directory: which worker owns which identity, and which identity a migration's cookie belongs to. Shared by
 * all threads; every call is one short critical section.
 *
 * An entry is created by the first claim and lives until it is released with no pins on it. A pin keeps an
 * entry alive while a VM connection is on its way to the owner; the owner unpins on arrival. Only the owner
 * may touch entry->console. */
#ifndef VSPC_DIRECTORY_H
#define VSPC_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/vmext.h"

struct directory;
struct directory_key;

struct directory_entry {
    void *owner;   /* what the claimant gave; never changes */
    void *console; /* the owner's: its console, or NULL when that has ended and pins keep the entry */
    struct directory_key *key; /* the directory's own */
    size_t identity_len;
    const char *identity; /* any bytes; never changes */
};

enum directory_claim {
    DIRECTORY_MINE,  /* the entry is the claimant's: new, or it was already; no pin was added */
    DIRECTORY_THEIRS /* another owner's: the entry is pinned, bring it what you have */
};

struct directory *directory_new(void);
/* Every entry must have been released. */
void directory_free(struct directory *dir);

/* Who owns this identity? Creates the entry as mine when nobody does. */
enum directory_claim directory_claim(struct directory *dir, const char *identity, size_t len, void *me,
                                     struct directory_entry **entry);
/* Whose console waits for the destination that brings this cookie? How long the search takes does not depend
 * on the secrets. Result: the entry, with *claim as above, or NULL. */
struct directory_entry *directory_find_cookie(struct directory *dir, const struct vmext_cookie *cookie,
                                              void *me, enum directory_claim *claim);
/* The owner: from now on, and instead of an earlier one, the entry has this cookie; NULL: it has none, as it
 * must before it is released. */
void directory_set_cookie(struct directory *dir, struct directory_entry *entry,
                          const struct vmext_cookie *cookie);

/* The owner: somebody else is told of the entry, and will bring it back. */
void directory_pin(struct directory *dir, struct directory_entry *entry);
/* The owner: a pinned arrival has come. */
void directory_unpin(struct directory *dir, struct directory_entry *entry);
/* The owner: there is no console any more. Result: true, the entry is gone; false, pins keep it and what
 * arrives finds entry->console as it is. */
bool directory_release(struct directory *dir, struct directory_entry *entry);

/* The owner: the entry's console has no VM since since_ms (CLOCK_MONOTONIC), and has users or not. */
void directory_linger(struct directory *dir, struct directory_entry *entry, uint64_t since_ms,
                      bool has_users);
/* The owner: it does not linger any more. Does nothing when it did not. */
void directory_linger_end(struct directory *dir, struct directory_entry *entry);
/* Anybody short of ports or descriptors: the console lingering longest without users, else the one lingering
 * longest. It is not offered again; it is pinned; tell its owner to end it. Result: NULL when none lingers.
 */
struct directory_entry *directory_pick_lingering(struct directory *dir);

/* Entries and pins, for tests and figures. */
size_t directory_count(struct directory *dir);
size_t directory_pins(struct directory *dir);

#endif
