#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

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

/* A cookie whose secret is `secret` all over. */
static struct vmext_cookie make_cookie(const char *sequence, size_t len, uint8_t secret)
{
    struct vmext_cookie cookie = {.sequence_len = (uint8_t)len};
    memcpy(cookie.sequence, sequence, len);
    memset(cookie.secret, secret, sizeof cookie.secret);
    return cookie;
}

/* Whose cookie is it? Takes back the pin that an answer to a stranger brings. */
static const struct directory_entry *find(struct directory *dir, struct vmext_cookie cookie)
{
    static int nobody;
    enum directory_claim claim = DIRECTORY_MINE;
    struct directory_entry *entry = directory_find_cookie(dir, &cookie, &nobody, &claim);
    cr_assert_eq(directory_pins(dir), entry ? 1 : 0);
    if (entry) {
        cr_assert_eq(claim, DIRECTORY_THEIRS);
        directory_unpin(dir, entry);
    }
    return entry;
}

Test(directory, a_cookie_is_found_by_all_of_its_sequence_and_secret)
{
    struct directory *dir = directory_new();
    struct directory_entry *entry;
    directory_claim(dir, "x", 1, &alice, &entry);
    struct vmext_cookie cookie = make_cookie("\0\377\1\0", 4, 7), wrong = cookie;
    cr_assert_null(find(dir, cookie));
    directory_set_cookie(dir, entry, &cookie);
    cr_assert_eq(find(dir, cookie), entry);
    for (size_t i = 0; i < VMEXT_SECRET_SIZE; i++, wrong = cookie) {
        wrong.secret[i] ^= 1;
        cr_assert_null(find(dir, wrong));
    }
    for (size_t i = 0; i < 4; i++, wrong = cookie) {
        wrong.sequence[i] ^= 128;
        cr_assert_null(find(dir, wrong));
    }
    cr_assert_null(find(dir, make_cookie("\0\377\1", 3, 7)));
    cr_assert_null(find(dir, make_cookie("\0\377\1\0\0", 5, 7)));
    cr_assert_null(find(dir, make_cookie("", 0, 0)));
    directory_set_cookie(dir, entry, NULL);
    cr_assert_null(find(dir, cookie));
    cr_assert(directory_release(dir, entry));
    directory_free(dir);
}

Test(directory, a_cookie_without_a_sequence_is_nobodys)
{
    struct directory *dir = directory_new();
    struct directory_entry *entry;
    struct vmext_cookie none = {0};
    directory_claim(dir, "x", 1, &alice, &entry);
    directory_set_cookie(dir, entry, &none);
    cr_assert_null(find(dir, none));
    directory_set_cookie(dir, entry, NULL);
    cr_assert(directory_release(dir, entry));
    directory_free(dir);
}

Test(directory, a_later_cookie_of_a_console_replaces_the_earlier)
{
    struct directory *dir = directory_new();
    struct directory_entry *entry;
    struct vmext_cookie first = make_cookie("same", 4, 1), second = make_cookie("same", 4, 2);
    directory_claim(dir, "x", 1, &alice, &entry);
    directory_set_cookie(dir, entry, &first);
    directory_set_cookie(dir, entry, &second);
    cr_assert_null(find(dir, first));
    cr_assert_eq(find(dir, second), entry);
    directory_set_cookie(dir, entry, NULL);
    cr_assert(directory_release(dir, entry));
    directory_free(dir);
}

/* Sequences are the hosts', who know nothing of each other; all of one fall into one bucket too. */
Test(directory, one_sequence_of_many_consoles_is_told_apart_by_the_secret)
{
    enum { CONSOLES = 50 };
    struct directory *dir = directory_new();
    struct directory_entry *entries[CONSOLES];
    for (uint8_t i = 0; i < CONSOLES; i++) {
        struct vmext_cookie cookie = make_cookie("\1\2\3\4", 4, i);
        directory_claim(dir, (char *)&i, 1, &alice, &entries[i]);
        directory_set_cookie(dir, entries[i], &cookie);
    }
    for (uint8_t i = 0; i < CONSOLES; i++)
        cr_assert_eq(find(dir, make_cookie("\1\2\3\4", 4, i)), entries[i]);
    for (uint8_t i = 0; i < CONSOLES; i += 2)
        directory_set_cookie(dir, entries[i], NULL);
    for (uint8_t i = 0; i < CONSOLES; i++)
        cr_assert_eq(find(dir, make_cookie("\1\2\3\4", 4, i)), i % 2 ? entries[i] : NULL);
    for (uint8_t i = 0; i < CONSOLES; i++) {
        directory_set_cookie(dir, entries[i], NULL);
        cr_assert(directory_release(dir, entries[i]));
    }
    directory_free(dir);
}

Test(directory, a_cookie_pins_for_whoever_brings_it_from_elsewhere)
{
    struct directory *dir = directory_new();
    struct directory_entry *entry;
    enum directory_claim claim;
    struct vmext_cookie cookie = make_cookie("s", 1, 9);
    directory_claim(dir, "x", 1, &alice, &entry);
    directory_set_cookie(dir, entry, &cookie);
    cr_assert_eq(directory_find_cookie(dir, &cookie, &alice, &claim), entry);
    cr_assert_eq(claim, DIRECTORY_MINE);
    cr_assert_eq(directory_pins(dir), 0);
    cr_assert_eq(directory_find_cookie(dir, &cookie, &bob, &claim), entry);
    cr_assert_eq(claim, DIRECTORY_THEIRS);
    directory_set_cookie(dir, entry, NULL);
    cr_assert_not(directory_release(dir, entry), "the destination is on its way");
    directory_unpin(dir, entry);
    cr_assert(directory_release(dir, entry));
    directory_free(dir);
}

/* Looks for a cookie that comes and goes, as workers do when destinations arrive there. */
static void *find_again_and_again(void *arg)
{
    struct claimant *me = arg;
    struct vmext_cookie cookie = make_cookie("vm", 2, 5);
    for (int i = 0; i < ROUNDS; i++) {
        enum directory_claim claim;
        struct directory_entry *entry = directory_find_cookie(me->dir, &cookie, me, &claim);
        if (!entry)
            continue;
        cr_assert_eq(entry->owner, &alice);
        me->mine++;
        directory_unpin(me->dir, entry);
    }
    return NULL;
}

Test(directory, cookies_come_and_go_while_others_look_for_them)
{
    struct directory *dir = directory_new();
    struct claimant claimant = {.dir = dir};
    struct directory_entry *entry;
    pthread_t thread;
    struct vmext_cookie cookies[2] = {make_cookie("vm", 2, 5), make_cookie("vm", 2, 6)};
    directory_claim(dir, "vm", 2, &alice, &entry);
    pthread_create(&thread, NULL, find_again_and_again, &claimant);
    for (int i = 0; i < ROUNDS; i++)
        directory_set_cookie(dir, entry, i % 3 == 2 ? NULL : &cookies[i % 3]);
    pthread_join(thread, NULL);
    directory_set_cookie(dir, entry, NULL);
    cr_assert_eq(directory_pins(dir), 0);
    cr_assert(directory_release(dir, entry));
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
