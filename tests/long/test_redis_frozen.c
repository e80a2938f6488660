/* A Redis that hangs with its connections open, for as long as it takes to lose patience. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "fleet.h"
#include "probe.h"

Test(redis_frozen, for_a_minute_with_vms_coming_and_going_costs_no_memory_and_no_mapping, .timeout = 300)
{
    enum { CHURNING = 200, A_MINUTE_MS = 60000 };
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, CHURNING);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "50ms");
    daemon_start(d);
    struct fleet *f = fleet_new(d, CHURNING, "vm-", NULL);
    fleet_connect(f, 0, CHURNING);
    fleet_wait_identified(f, SOON);
    probe_wait_maps(r, "one", CHURNING, 0, SOON);
    size_t rss = daemon_usage(d).rss_kib;

    redis_freeze(r);
    for (uint64_t from = clock_ms(); clock_ms() - from < A_MINUTE_MS;) {
        size_t first = (size_t)rand() % CHURNING, count = (size_t)rand() % (CHURNING - first) + 1;
        if (rand() % 2)
            fleet_drop(f, first, count, false);
        else
            fleet_connect(f, first, count);
        fleet_pump(f, 10);
    }
    cr_assert_lt(daemon_usage(d).rss_kib, rss + 2 * 1024, "what waits for Redis grows");
    fleet_drop(f, 0, CHURNING / 2, false);
    fleet_connect(f, CHURNING / 2, CHURNING / 2);
    fleet_wait_identified(f, SOON);
    redis_thaw(r);
    probe_wait_maps(r, "one", CHURNING / 2, 0, SOON);
    fleet_free(f);
    daemon_stop(d);
}
