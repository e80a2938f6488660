/* Who may type: users of the control socket and of the user port on one console. */
#include "console_fixture.h"

TestSuite(access, .init = fixture_begin, .fini = fixture_end);

/* A console with a VM, two clients of the control socket and two users of the user port. */
struct room {
    struct vm_link *vm;
    struct user *alice, *bob, *telnet, *raw;
};

static const char nobody[] = "{\"access\": \"rw\", \"writes\": true, \"holder\": null}";

/* Takes what a client is sent first, up to its console. */
static void greeted(struct user *user, const char *access)
{
    user_expect_text(user, "{\"v\": 1, \"ok\": true}\n", SOON);
    fixture_expect_json(user, access);
    user_wait_text(user, "\"log\": null}}\xff\xf0", SOON);
}

static struct room enter(void)
{
    struct room r = {.vm = fixture_vm("vm1", NULL)};
    r.telnet = user_connect(fx.first_port, USER_TELNET);
    r.raw = user_connect(fx.first_port, USER_RAW);
    user_expect_offer(r.raw, SOON);
    WAIT_FOR(fixture_users("vm1") == 2, SOON, "the users do not come");
    r.alice = fixture_attach("vm1", "alice", ACCESS_RW);
    greeted(r.alice, nobody);
    r.bob = fixture_attach("vm1", "bob", ACCESS_RW);
    greeted(r.bob, nobody);
    return r;
}

static void leave(struct room *r)
{
    user_close(r->alice);
    user_close(r->bob);
    user_close(r->telnet);
    user_close(r->raw);
    vm_stop(r->vm);
}

/* Bytes that the console has taken from its users. */
static uint64_t typed(void)
{
    struct console_order *order = fixture_order(ORDER_USERS, "vm1");
    uint64_t sum = 0;
    cr_assert_eq(fixture_obey(order), 0);
    for (size_t i = 0; i < order->user_count; i++)
        sum += order->users[i].bytes_from_user;
    console_order_free(order);
    return sum;
}

/* All of them type; only those in `expected` reach the VM. */
static void all_type(struct room *r, const char *expected)
{
    struct user *users[] = {r->alice, r->bob, r->telnet, r->raw};
    uint64_t before = typed(), keys = 0;
    for (size_t i = 0; i < 4; i++) {
        char key[2] = {"abtr"[i], 0};
        if (users[i]) {
            user_type(users[i], key);
            keys++;
            if (strchr(expected, key[0]))
                vm_expect_text(r->vm, key, SOON);
        }
    }
    WAIT_FOR(typed() >= before + keys, SOON, "not all keys are taken");
}

Test(access, all_type_together_until_somebody_has_exclusive_access_and_again_after_that)
{
    struct room r = enter();
    all_type(&r, "abtr");
    fixture_ask(r.alice, "{\"access\": \"exclusive-write\"}");
    fixture_expect_json(
        r.alice, "{\"access\": \"exclusive-write\", \"writes\": true, \"holder\": \"alice (uid 1000)\"}");
    fixture_expect_json(r.bob, "{\"access\": \"rw\", \"writes\": false, \"holder\": \"alice (uid 1000)\"}");
    fixture_expect_json(r.bob, "{\"notice\": \"read-only: alice (uid 1000) has exclusive access\"}");
    user_expect_text(r.telnet, "\r\n[vspc: read-only: alice (uid 1000) has exclusive access]\r\n", SOON);

    /* Who types all the same is told why nothing happens, once. */
    all_type(&r, "a");
    all_type(&r, "a");
    fixture_expect_json(r.bob, "{\"notice\": \"read-only: alice (uid 1000) has exclusive access\"}");
    user_expect_text(r.telnet, "\r\n[vspc: read-only: alice (uid 1000) has exclusive access]\r\n", SOON);

    fixture_ask(r.alice, "{\"access\": \"rw\"}");
    fixture_expect_json(r.alice, nobody);
    fixture_expect_json(r.bob, nobody);
    fixture_expect_json(
        r.bob, "{\"notice\": \"you may type again: alice (uid 1000) no longer has exclusive access\"}");
    user_expect_text(r.telnet,
                     "\r\n[vspc: you may type again: alice (uid 1000) no longer has exclusive access]\r\n",
                     SOON);
    all_type(&r, "abtr");
    vm_print_text(r.vm, "end");
    user_expect_text(r.raw, "end", SOON);
    user_expect_text(r.telnet, "end", SOON);
    user_expect_text(r.alice, "end", SOON);
    user_expect_text(r.bob, "end", SOON);
    leave(&r);
}

Test(access, a_holder_that_hangs_up_lets_go)
{
    struct room r = enter();
    fixture_ask(r.alice, "{\"access\": \"exclusive\"}");
    user_expect_text(r.telnet, "\r\n[vspc: read-only: alice (uid 1000) has exclusive access]\r\n", SOON);
    user_close(r.alice);
    r.alice = NULL;
    user_expect_text(r.telnet,
                     "\r\n[vspc: you may type again: alice (uid 1000) no longer has exclusive access]\r\n",
                     SOON);
    all_type(&r, "btr");
    leave(&r);
}

Test(access, force_takes_the_hold_and_tells_who_did)
{
    struct room r = enter();
    fixture_ask(r.alice, "{\"access\": \"exclusive\"}");
    fixture_expect_json(r.alice,
                        "{\"access\": \"exclusive\", \"writes\": true, \"holder\": \"alice (uid 1000)\"}");
    user_wait_text(r.bob, "has exclusive access\"}\xff\xf0", SOON);
    fixture_ask(r.bob, "{\"access\": \"exclusive-write\"}");
    fixture_expect_json(r.bob,
                        "{\"error\": \"refused\", \"message\": \"somebody else has exclusive access\", "
                        "\"holder\": \"alice (uid 1000)\"}");
    fixture_ask(r.bob, "{\"access\": \"rw\", \"force\": true}");
    fixture_expect_json(r.bob, nobody);
    fixture_expect_json(r.alice, "{\"access\": \"ro\", \"writes\": false, \"holder\": null}");
    fixture_expect_json(r.alice, "{\"notice\": \"read-only: bob (uid 1000) has taken write access\"}");
    all_type(&r, "btr");
    fixture_expect_json(r.alice, "{\"notice\": \"read-only\"}");
    /* For good, until it asks again. */
    fixture_ask(r.bob, "{\"access\": \"ro\"}");
    fixture_expect_json(r.bob, "{\"access\": \"ro\", \"writes\": false, \"holder\": null}");
    all_type(&r, "tr");
    fixture_ask(r.alice, "{\"access\": \"fallback\"}");
    fixture_expect_json(r.alice, nobody);
    all_type(&r, "atr");
    leave(&r);
}

Test(access, newcomers_get_what_the_holder_leaves_them)
{
    static const enum console_access all[] = {ACCESS_RW, ACCESS_RO, ACCESS_EXCLUSIVE_WRITE, ACCESS_EXCLUSIVE,
                                              ACCESS_FALLBACK};
    struct vm_link *vm = fixture_vm("vm1", NULL);
    struct user *alice = fixture_attach("vm1", "alice", ACCESS_EXCLUSIVE_WRITE);
    for (int exclusive = 0; exclusive < 2; exclusive++) {
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            int result;
            char holder[EVENT_WHO];
            bool may = !exclusive && (all[i] == ACCESS_RO || all[i] == ACCESS_FALLBACK);
            struct user *user = fixture_try_attach("vm1", "carol", all[i], false, &result, holder);
            cr_assert_eq(result, may ? 0 : -EBUSY, "%s", console_access_name(all[i]));
            cr_assert_str_eq(holder, "alice (uid 1000)");
            user_close(user);
            WAIT_FOR(fixture_users("vm1") == 1, SOON, "it does not leave");
        }
        /* A user of the user port may always watch. */
        struct user *telnet = user_connect(fx.first_port, USER_TELNET);
        user_expect_text(telnet, "\r\n[vspc: read-only: alice (uid 1000) has exclusive access]\r\n", SOON);
        user_close(telnet);
        WAIT_FOR(fixture_users("vm1") == 1, SOON, "it does not leave");
        fixture_ask(alice, "{\"access\": \"exclusive\"}");
        user_wait_text(alice, "{\"access\": \"exclusive\"", SOON);
    }
    int result;
    struct user *bob = fixture_try_attach("vm1", "bob", ACCESS_EXCLUSIVE, true, &result, NULL);
    cr_assert_eq(result, 0);
    user_wait_text(alice, "{\"notice\": \"read-only: bob (uid 1000) has taken write access\"}", SOON);
    user_close(alice);
    user_close(bob);
    vm_stop(vm);
}

/* Letter. */
static void reload(void *arg)
{
    console_owner_reload(&fx.owner, arg);
}

Test(access, mode_ro_makes_users_of_the_user_port_watch_and_reload_applies_to_who_is_there)
{
    struct room r = enter();
    loop_post(fx.loop, reload, fixture_config("user.mode=ro"));
    user_expect_text(r.telnet, "\r\n[vspc: read-only]\r\n", SOON);
    all_type(&r, "ab");
    user_expect_text(r.telnet, "\r\n[vspc: read-only]\r\n", SOON);
    user_send_raw(r.telnet, "\xff\xf3", 2); /* BREAK is typed too; and AYT still answers */
    user_send_raw(r.telnet, "\xff\xf6", 2);
    user_expect_text(r.telnet, "\r\n[vspc: vm1, VM connected, 4 users]\r\n", SOON);
    all_type(&r, "ab");
    cr_assert_not(vm_client_has_seen(&r.vm->vm, VM_EVENT_BREAK));
    loop_post(fx.loop, reload, fixture_config("user.mode=rw"));
    user_expect_text(r.telnet, "\r\n[vspc: you may type]\r\n", SOON);
    all_type(&r, "abtr");
    leave(&r);
}

Test(access, hostile_requests_are_refused_one_by_one_and_the_stream_goes_on)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "7",
        "{}",
        "{\"access\": 1}",
        "{\"access\": \"root\"}",
        "{\"access\": \"rw\", \"x\": 1}",
        "{\"access\": \"rw\", \"force\": 1}",
        "{\"access\": \"rw\", \"access\": \"ro\"}",
        "{\"replay\": false}",
        "{\"replay\": true, \"access\": null}",
        "{\"a\": \"\xff\xff\"}",
        "[[[[[[[[[[[[[[[[[[",
    };
    struct room r = enter();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fixture_ask(r.bob, bad[i]);
        user_wait_text(r.bob, "{\"error\": \"usage\", \"message\": \"", SOON);
        user_wait_text(r.bob, "\xff\xf0", SOON);
    }
    char *huge = xmalloc(6001);
    memset(huge, ' ', 6000);
    memcpy(huge, "{\"access\": \"ro\"}", 16);
    huge[6000] = 0;
    fixture_ask(r.bob, huge);
    /* Blanks behind an object are fine, as far as they are read. */
    user_wait_text(r.bob, "{\"access\": \"ro\"", SOON);
    huge[0] = '[';
    memset(huge + 1, '[', 5999);
    fixture_ask(r.bob, huge);
    user_wait_text(r.bob, "{\"error\": \"usage\"", SOON);
    free(huge);
    /* Other subnegotiations, commands and negotiations mean nothing, and are not answered. */
    user_send_raw(r.alice, "\xff\xfa\x18\x01\xff\xf0\xff\xfb\x01\xff\xfd\x03\xff\xf6\xff\xf1", 16);
    all_type(&r, "atr");
    vm_print_text(r.vm, "end");
    user_expect_text(r.alice, "end", SOON);
    leave(&r);
}
