/* Ports that node-vspc saved in Redis are taken over, and stay the VMs' own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "import_run.h"
#include "probe.h"

TestSuite(import, .timeout = 240);

struct name_case {
    const void *name;
    size_t len;
};

Test(import, a_vm_of_any_name_gets_its_saved_port_and_redis_is_left_alone)
{
    char longest[255];
    memset(longest, 'n', sizeof longest);
    const struct name_case cases[] = {
        {"vm1", 3},
        {"vm1 (993329f5-f353-4383-9a29-be60143f20d8)", 42},
        {"a b  c", 6},
        {"\xc3\xbc\xe6\x97\xa5", 5},
        {"nul\0within", 10},
        {"*", 1},
        {"[a-z]?\\*", 8},
        {"\xff\xfe\r\n", 4},
        {longest, sizeof longest},
        {"Saved:VM:Port", 13},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 32);
    for (unsigned i = 0; i < CASES; i++) {
        char value[8];
        snprintf(value, sizeof value, "%u", d->first_user_port + 31 - 2 * i);
        import_save_bytes(r, SAVED_PREFIX, cases[i].name, cases[i].len, value);
    }
    freeReplyObject(redis_ask(r, "SET " SAVED_PREFIX "forever %u", d->first_user_port + 30));
    freeReplyObject(redis_ask(r, "SET Active:VM:Portvm1 %u", d->first_user_port));
    import_ports(d, 0, "imported 11 of 11 saved ports\n");
    cr_assert_eq(redis_number(r, "DBSIZE"), CASES + 2);
    cr_assert_gt(redis_number(r, "TTL " SAVED_PREFIX "vm1"), 86000);
    cr_assert_eq(redis_number(r, "TTL " SAVED_PREFIX "forever"), -1);

    daemon_start(d);
    /* One that nobody has saved a port for takes none of those. */
    import_expect_port(d, r, "new", d->first_user_port);
    for (unsigned i = 0; i < CASES; i++)
        import_expect_port_bytes(d, r, cases[i].name, cases[i].len, d->first_user_port + 31 - 2 * i);
    import_expect_port(d, r, "forever", d->first_user_port + 30);
    daemon_stop(d);
}

Test(import, a_saved_port_is_the_vms_own_after_a_restart_and_under_a_new_name)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    unsigned port = d->first_user_port + 9u;
    char value[8];
    snprintf(value, sizeof value, "%u", port);
    import_save(r, "before", port);
    import_ports(d, 0, "imported 1 of 1 saved ports\n");
    daemon_start(d);
    struct vm_client_options opt = vm_options("before");
    struct vm_link *vm = vm_start(d, &opt);
    redis_wait_hget(r, "VM:Port", "before", value, SOON);
    vm_client_rename(&vm->vm, "after", 5);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    redis_wait_hget(r, "VM:Port", "after", value, SOON);
    vm_stop(vm);
    redis_wait_hlen(r, "VM:Port", 0, SOON);
    daemon_stop(d);

    daemon_start(d);
    /* Another VM that comes under the old name has no right to it. */
    struct vm_client_options other = vm_options("another");
    other.name = "before";
    other.name_len = 6;
    struct vm_link *newcomer = vm_start(d, &other);
    cr_assert_neq(redis_wait_port(r, "VM:Port", "before", SOON), port);
    opt.name = "last";
    opt.name_len = 4;
    vm = vm_start(d, &opt);
    redis_wait_hget(r, "VM:Port", "last", value, SOON);
    probe_console((uint16_t)port, vm);
    vm_stop(newcomer);
    vm_stop(vm);
    daemon_stop(d);
}

Test(import, a_name_that_node_vspc_encoded_twice_is_understood)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char longest[255], twice[510], value[8];
    for (size_t i = 0; i < sizeof longest; i++) {
        longest[i] = (char)(i % 3 == 0 ? 0xe6 : i % 3 == 1 ? 0x97 : 0xa5);
        twice[2 * i] = (char)(i % 3 == 0 ? 0xc3 : 0xc2);
        twice[2 * i + 1] = (char)((uint8_t)longest[i] & 0xbf);
    }
    snprintf(value, sizeof value, "%u", d->first_user_port + 9u);
    import_save_bytes(r, SAVED_PREFIX, twice, sizeof twice, value);
    import_save(r, "K\xc3\x83\xc2\xb6ln", d->first_user_port + 5u);
    /* The same VM once more, and this one has no port. */
    import_save(r, "K\xc3\xb6ln", 0);
    import_ports(d, 0, "imported 2 of 2 saved ports\n");
    daemon_start(d);
    import_expect_port(d, r, "K\xc3\xb6ln", d->first_user_port + 5u);
    import_expect_port_bytes(d, r, longest, sizeof longest, d->first_user_port + 9u);
    daemon_stop(d);
}

Test(import, importing_again_changes_nothing)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    import_save(r, "a", d->first_user_port + 5u);
    import_save(r, "b", d->first_user_port + 3u);
    import_ports(d, 0, "imported 2 of 2 saved ports\n");
    import_ports(d, 0, "imported 0 of 2 saved ports; skipped: 2 of a VM that is in the port book already\n");
    daemon_start(d);
    import_expect_port(d, r, "a", d->first_user_port + 5u);
    daemon_stop(d);
    /* Now one is a VM's, the other still a name's. What Redis says meanwhile does not matter. */
    import_save(r, "a", d->first_user_port + 7u);
    import_save(r, "b", d->first_user_port + 8u);
    import_ports(d, 0, "imported 0 of 2 saved ports; skipped: 2 of a VM that is in the port book already\n");
    daemon_start(d);
    import_expect_port(d, r, "a", d->first_user_port + 5u);
    import_expect_port(d, r, "b", d->first_user_port + 3u);
    daemon_stop(d);
}

Test(import, a_prefix_may_be_given_and_means_only_itself)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char *const prefixes[] = {"old:", "Old*[x]?\\^", "{p}%s "};
    char value[8];
    for (unsigned i = 0; i < 3; i++) {
        snprintf(value, sizeof value, "%u", d->first_user_port + 12 - i);
        import_save_bytes(r, prefixes[i], "vm", 2, value);
        import_save_bytes(r, prefixes[i], value, strlen(value), "1");
    }
    import_save(r, "not this one", d->first_user_port);
    /* They would match, were the prefix a pattern. */
    import_save_bytes(r, "Oldabcx1^", "vm", 2, "20000");
    import_save_bytes(r, "Old*x1^", "vm", 2, "20000");
    import_with(d, (char *[]){"--import-node-vspc=old:", NULL}, 0, "imported 1 of 2 saved ports; ");
    daemon_start(d);
    import_expect_port(d, r, "vm", d->first_user_port + 12u);
    daemon_stop(d);
    import_with(d, (char *[]){"--import-node-vspc", prefixes[1], "-o", "server.log_level=error", NULL}, 0,
                "imported 0 of 2 saved ports; ");
    cr_assert(import_has_written(" 1 of a VM that is in the port book already"));
    import_with(d, (char *[]){"--import-node-vspc", prefixes[2], NULL}, 0, "imported 0 of 2 saved ports; ");
    import_with(d, (char *[]){"--import-node-vspc", "nothing", NULL}, 0, "imported 0 of 0 saved ports\n");
    cr_assert(import_has_written("no key begins with \"nothing\""));
}

/* Eight values that are no port's number, and two that are no strings. */
static void save_what_is_no_port(struct redis *r)
{
    const char *const no_ports[] = {"zero",   "0",    "word", "two thousand", "big",    "65536", "leading",
                                    "020000", "sign", "-200", "tail",         "20000 ", "hex",   "0x4e20"};
    for (size_t i = 0; i < sizeof no_ports / sizeof *no_ports; i += 2)
        import_save_bytes(r, SAVED_PREFIX, no_ports[i], strlen(no_ports[i]), no_ports[i + 1]);
    import_save_bytes(r, SAVED_PREFIX, "nul", 3, "20000");
    freeReplyObject(redis_ask(r, "SET " SAVED_PREFIX "nul %b",
                              "2\0"
                              "000",
                              (size_t)5));
    freeReplyObject(redis_ask(r, "RPUSH " SAVED_PREFIX "list 20000"));
    freeReplyObject(redis_ask(r, "HSET " SAVED_PREFIX "hash port 20000"));
}

Test(import, what_cannot_be_taken_is_skipped_and_named)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    unsigned first = d->first_user_port;
    char longer[256];
    memset(longer, 'n', sizeof longer);
    daemon_start(d);
    import_expect_port(d, r, "known", first);
    daemon_stop(d);

    import_save(r, "known", first + 1);
    import_save(r, "latecomer", first);
    import_save(r, "good", first + 2);
    import_save(r, "twin 2", first + 3);
    import_save(r, "twin 1", first + 3);
    import_save(r, "below", first - 1);
    import_save(r, "above", first + 16);
    import_save(r, "last", first + 15);
    import_save(r, "", first + 4);
    import_save_bytes(r, SAVED_PREFIX, longer, sizeof longer, "20000");
    import_save_bytes(r, SAVED_PREFIX, "empty", 5, "");
    save_what_is_no_port(r);

    char *summary = xasprintf("imported 3 of 21 saved ports; skipped: 2 not a string in Redis, "
                              "1 without a value, or expired meanwhile, 8 not a port number, "
                              "1 without a VM name, 1 with a name of more than 255 bytes, "
                              "2 outside user ports %u-%u, 1 with a port that another VM has too, "
                              "1 of a VM that is in the port book already, "
                              "1 with a port that is in the port book already\n",
                              first, first + 15);
    char *named[] = {
        xasprintf("not imported: \"known\" %u: of a VM that is in the port book already", first + 1),
        xasprintf("not imported: \"latecomer\" %u: with a port that is in the port book already", first),
        xasprintf("not imported: \"twin 2\" %u: with a port that another VM has too", first + 3),
        xasprintf("not imported: \"below\" %u: outside user ports %u-%u", first - 1, first, first + 15),
        xstrdup("not imported: \"hash\": not a string in Redis"),
        xstrdup("not imported: \"nul\": not a port number"),
    };
    import_ports(d, 0, summary);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        cr_assert(import_has_written(named[i]), "not told: %s", named[i]);
        free(named[i]);
    }
    free(summary);
    daemon_start(d);
    import_expect_port(d, r, "known", first);
    import_expect_port(d, r, "good", first + 2);
    import_expect_port(d, r, "twin 1", first + 3);
    import_expect_port(d, r, "last", first + 15);
    daemon_stop(d);
}

Test(import, names_reach_the_terminal_escaped_and_only_the_first_of_many)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    for (int i = 0; i < 30; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "\x1b[2J\r\n%02d\xff", i);
        import_save_bytes(r, SAVED_PREFIX, name, (size_t)len, "1");
    }
    import_ports(d, 0, "imported 0 of 30 saved ports; skipped: 30 outside user ports ");
    char *output = import_output();
    unsigned lines = 0;
    for (const char *c = output; *c; c++) {
        lines += *c == '\n';
        cr_assert(*c == '\n' || (*c >= ' ' && *c < 127), "byte %d in the output", *c);
    }
    cr_assert_leq(lines, 15, "%u lines: %s", lines, output);
    free(output);
}

enum { SAVED = 5000, OTHERS = 20000, VMS = 200 };

/* The port of one of many VMs, counted from the first: another for each, in no order. */
static unsigned scattered(unsigned vm)
{
    return (vm * 2741 + 17) % SAVED;
}

Test(import, thousands_of_saved_ports_among_many_keys)
{
    struct redis *r = redis_start();
    /* Only as many ports are free for this test as VMs are going to come. */
    struct daemon *d = import_daemon(VSPCD, r, VMS);
    daemon_set(d, "user.max_ports", "%d", SAVED);
    uint64_t begin = clock_ms();
    freeReplyObject(redis_ask(r, "EVAL %s 0", "for i = 1, 20000 do redis.call('set', 'key:' .. i, i) end"));
    for (unsigned i = 0; i < SAVED; i++) {
        char name[32];
        snprintf(name, sizeof name, "fleet-%05u", i);
        import_save(r, name, d->first_user_port + scattered(i));
    }
    uint64_t saved = clock_ms();
    import_ports(d, 0, "imported 5,000 of 5,000 saved ports\n");
    uint64_t imported = clock_ms();
    import_ports(d, 0, "imported 0 of 5,000 saved ports; skipped: 5,000 of a VM that is in the port book");
    printf("import of %d saved ports among %d keys: saved in %lu ms, imported in %lu ms, again in %lu ms\n",
           SAVED, OTHERS + SAVED, (unsigned long)(saved - begin), (unsigned long)(imported - saved),
           (unsigned long)(clock_ms() - imported));
    cr_assert_eq(redis_number(r, "DBSIZE"), OTHERS + SAVED);

    daemon_start(d);
    struct fleet *fleet = fleet_new(d, SAVED, "fleet-", NULL);
    for (unsigned i = 0; i < SAVED; i++)
        if (scattered(i) < VMS)
            fleet_connect(fleet, i, 1);
    fleet_wait_identified(fleet, SOON);
    redis_wait_hlen(r, "VM:Port", VMS, SOON);
    for (unsigned i = 0; i < SAVED; i++) {
        char name[32], value[8];
        if (scattered(i) >= VMS)
            continue;
        snprintf(name, sizeof name, "fleet-%05u", i);
        snprintf(value, sizeof value, "%u", d->first_user_port + scattered(i));
        redis_wait_hget(r, "VM:Port", name, value, SOON);
    }
    fleet_free(fleet);
    daemon_stop(d);
}
