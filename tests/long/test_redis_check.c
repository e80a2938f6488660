/* What takes Redis or vspcd a minute: deletions behind vspcd's back, which its check finds, and a long
 * freeze. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "fleet.h"
#include "probe.h"

enum { VMS = 50, A_CHECK_MS = 75000 };

TestSuite(redis_check, .timeout = 300);

/* Runs a command that deletes some of what there is, and waits until all is there again. */
static void expect_healed(struct redis *r, const char *command)
{
    freeReplyObject(redis_ask(r, command));
    cr_assert_lt(redis_number(r, "DBSIZE") + redis_number(r, "HLEN VM:Port") +
                     redis_number(r, "HLEN VM:UUID"),
                 4 + 3 * VMS);
    WAIT_FOR(redis_number(r, "DBSIZE") == 4 + VMS && redis_number(r, "HLEN VM:Port") == VMS &&
                 redis_number(r, "HLEN VM:UUID") == VMS,
             A_CHECK_MS, "not healed: %s", command);
    probe_wait_maps(r, "one", VMS, 0, SOON);
}

static void expect_always_healed(const char *command)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, VMS);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "redis.active_key_prefix", "Active:VM:Port");
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", VMS, 0, SOON);
    /* The first time vspcd looks anyway, 5 s after it has connected; the second time it is in its routine. */
    expect_healed(r, command);
    expect_healed(r, command);
    fleet_free(f);
    probe_wait_maps(r, "one", 0, 0, SOON);
    daemon_stop(d);
    cr_assert_eq(redis_number(r, "DBSIZE"), 0);
}

Test(redis_check, flushall)
{
    expect_always_healed("FLUSHALL");
}

Test(redis_check, a_map_is_deleted)
{
    expect_always_healed("DEL VM:Port");
}

Test(redis_check, fields_are_deleted)
{
    expect_always_healed("HDEL VM:Port vm-00001 vm-00010 vm-00049");
}

Test(redis_check, uuids_and_active_keys_are_deleted)
{
    expect_always_healed("DEL VM:UUID Active:VM:Portvm-00003");
}
