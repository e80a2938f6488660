#include <criterion/criterion.h>
#include <pthread.h>

#include "vspc/admission.h"
#include "vspc/directory.h"
#include "vspc/peer_rate.h"

static int alice, bob;

Test(directory, first_claim_owns_and_others_are_sent_to_the_owner)
{
    struct directory *dir = directory_new();
    struct directory_entry *mine, *same, *theirs;
    cr_assert_eq(directory_claim(dir, "a\0b", 3, &alice, &mine), DIRECTORY_MINE);
    cr_assert_eq(directory_claim(dir, "a\0b", 3, &alice, &same), DIRECTORY_MINE);
    cr_assert_eq(mine, same);
    cr_assert_eq(directory_pins(dir), 0);
    cr_assert_eq(directory_claim(dir, "a\0b", 3, &bob, &theirs), DIRECTORY_THEIRS);
    cr_assert_eq(theirs, mine);
    cr_assert_eq(theirs->owner, &alice);
    cr_assert_eq(directory_pins(dir), 1);
    directory_unpin(dir, theirs);
    cr_assert(directory_release(dir, mine));
    cr_assert_eq(directory_count(dir), 0);
    directory_free(dir);
}

Test(directory, release_fails_while_an_arrival_is_on_its_way)
{
    struct directory *dir = directory_new();
    struct directory_entry *entry, *pinned;
    directory_claim(dir, "x", 1, &alice, &entry);
    directory_claim(dir, "x", 1, &bob, &pinned);
    cr_assert_not(directory_release(dir, entry));
    cr_assert_eq(directory_claim(dir, "x", 1, &alice, &entry), DIRECTORY_MINE);
    directory_unpin(dir, pinned);
    cr_assert(directory_release(dir, entry));
    cr_assert_eq(directory_claim(dir, "x", 1, &bob, &entry), DIRECTORY_MINE);
    cr_assert(directory_release(dir, entry));
    directory_free(dir);
}

Test(directory, identities_differ_by_every_byte)
{
    struct directory *dir = directory_new();
    struct directory_entry *a, *b;
    directory_claim(dir, "a\0b", 3, &alice, &a);
    cr_assert_eq(directory_claim(dir, "a\0c", 3, &bob, &b), DIRECTORY_MINE);
    cr_assert(directory_release(dir, a));
    cr_assert(directory_release(dir, b));
    directory_free(dir);
}

Test(directory, lingering_without_users_gives_way_first_then_the_longest)
{
    struct directory *dir = directory_new();
    struct directory_entry *e[4];
    char name[2] = "a";
    for (int i = 0; i < 4; i++, name[0]++)
        directory_claim(dir, name, 1, &alice, &e[i]);
    cr_assert_null(directory_pick_lingering(dir));
    directory_linger(dir, e[0], 100, true);
    directory_linger(dir, e[1], 300, false);
    directory_linger(dir, e[2], 200, true);
    directory_linger(dir, e[3], 250, true);
    directory_linger(dir, e[3], 250, false); /* its users left; it lingers longer than e[1] */
    cr_assert_eq(directory_pick_lingering(dir), e[3]);
    cr_assert_eq(directory_pick_lingering(dir), e[1]);
    directory_linger_end(dir, e[0]);
    cr_assert_eq(directory_pick_lingering(dir), e[2]);
    cr_assert_null(directory_pick_lingering(dir));
    cr_assert_eq(directory_pins(dir), 3);
    for (int i = 1; i < 4; i++)
        directory_unpin(dir, e[i]);
    for (int i = 0; i < 4; i++)
        cr_assert(directory_release(dir, e[i]));
    directory_free(dir);
}

enum { ROUNDS = 20000 };

struct claimant {
    struct directory *dir;
    int token;
    unsigned mine;
};

/* Claims one identity again and again, as two workers with a VM that reconnects would. */
static void *claim_and_release(void *arg)
{
    struct claimant *me = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct directory_entry *entry;
        if (directory_claim(me->dir, "vm", 2, me, &entry) == DIRECTORY_MINE) {
            cr_assert_eq(entry->owner, me);
            cr_assert_null(entry->console);
            entry->console = me;
            me->mine++;
            entry->console = NULL;
            directory_release(me->dir, entry);
        } else {
            directory_unpin(me->dir, entry);
        }
    }
    return NULL;
}

Test(directory, one_owner_at_a_time_and_no_pin_is_lost)
{
    struct directory *dir = directory_new();
    struct claimant claimant[2] = {{.dir = dir}, {.dir = dir}};
    pthread_t thread[2];
    struct directory_entry *entry;
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, claim_and_release, &claimant[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    cr_assert_gt(claimant[0].mine + claimant[1].mine, 0);
    cr_assert_eq(directory_pins(dir), 0);
    /* An entry whose release failed for a pin is still its owner's. */
    void *owner =
        directory_claim(dir, "vm", 2, &claimant[0], &entry) == DIRECTORY_MINE ? &claimant[0] : entry->owner;
    if (owner != &claimant[0])
        directory_unpin(dir, entry);
    cr_assert(directory_release(dir, entry));
    cr_assert_eq(directory_count(dir), 0);
    directory_free(dir);
}

Test(admission, counts_down_to_the_reserve_and_back)
{
    struct admission admission;
    admission_init(&admission, ADMISSION_RESERVE + 3);
    cr_assert(admission_take(&admission, ADMISSION_VM));
    cr_assert_not(admission_take(&admission, ADMISSION_VM));
    cr_assert(admission_take(&admission, ADMISSION_USER));
    cr_assert_not(admission_take(&admission, ADMISSION_USER));
    admission_give(&admission, ADMISSION_VM);
    cr_assert(admission_take(&admission, ADMISSION_VM));
}

Test(admission, limit_below_the_reserve_admits_nobody)
{
    struct admission admission;
    admission_init(&admission, 10);
    cr_assert_not(admission_take(&admission, ADMISSION_USER));
}

Test(peer_rate, each_host_once_a_minute_whatever_its_port)
{
    static struct peer_rate rate;
    struct sock_addr a, b;
    peer_rate_init(&rate);
    sock_addr_parse("10.0.0.1", 1000, &a);
    sock_addr_parse("10.0.0.2", 1000, &b);
    cr_assert(peer_rate_allows(&rate, &a, 5));
    sock_addr_set_port(&a, 2000);
    cr_assert_not(peer_rate_allows(&rate, &a, 5 + PEER_RATE_MS - 1));
    cr_assert(peer_rate_allows(&rate, &b, 6));
    cr_assert(peer_rate_allows(&rate, &a, 5 + PEER_RATE_MS));
}
