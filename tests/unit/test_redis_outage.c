/* The Redis writer when Redis is away, hangs, comes back empty, or loses what it was told. */
#include <errno.h>

#include "writer_fixture.h"

TestSuite(redis_outage, .init = fixture_start, .fini = fixture_end, .timeout = 90);

static bool node_has(long long n)
{
    return has_length("VM:Port", n) && has_length("VM:Endpoint", n) && has_length(RECORD, n);
}

Test(redis_outage, redis_absent_at_start_then_appearing)
{
    server_kill(&redis);
    writer_begin();
    publish_many("vm", 50);
    leave(0, "vm7");
    pause_ms(50);
    server_run(&redis);
    wait_for(WAIT_MS, node_has(49), "the VMs are not in Redis");
    cr_assert(field_is(&redis, "VM:Port", "vm7", 3, NULL));
}

Test(redis_outage, redis_killed_and_restarted_empty)
{
    writer_begin();
    publish_many("vm", 1000);
    wait_for(WAIT_MS, node_has(1000), "not published");
    server_kill(&redis);
    publish_many("new", 100);
    leave_many("vm", 500);
    server_run(&redis);
    wait_for(WAIT_MS, node_has(600), "not the 600 that are connected");
    cr_assert(field_is(&redis, "VM:Port", "new99", 5, "20099"));
    cr_assert(field_is(&redis, "VM:Port", "vm0", 3, NULL));
}

Test(redis_outage, frozen_redis_with_vms_coming_and_going)
{
    writer_begin();
    publish_many("vm", 300);
    wait_for(WAIT_MS, node_has(300), "not published");
    server_freeze(&redis);
    /* Longer than a command may take: connections are given up and made anew meanwhile. What was under way
     * when Redis froze contradicts what follows. */
    uint64_t end = clock_ms() + 5000;
    for (unsigned turn = 0; clock_ms() < end; turn++) {
        publish_many("storm", 40);
        leave_many("vm", 100);
        publish(1, turn % 2 ? "odd" : "even", 29999);
        pause_ms(10);
        leave_many("storm", 40);
        publish_many("vm", 50);
    }
    publish(1, "final", 29999);
    server_thaw(&redis);
    wait_field(&redis, "VM:Port", "final", "29999");
    wait_for(WAIT_MS, node_has(251), "not the 251 that are connected");
    cr_assert(field_is(&redis, "VM:UUID", UUID_1, 36, "final"));
    cr_assert(field_is(&redis, "VM:Port", "vm49", 4, "20049"));
    cr_assert(field_is(&redis, "VM:Port", "vm50", 4, NULL));
    /* A second reconciliation repairs what the first might have been overtaken by. */
    tell_redis(&redis, "HDEL", "VM:Port", "vm1");
    wait_field(&redis, "VM:Port", "vm1", "20001");
    cr_assert(node_has(251));
}

Test(redis_outage, everything_is_written_again_after_flushall)
{
    writer_begin();
    publish_many("vm", 600);
    publish(1, "named", 29999);
    wait_for(WAIT_MS, node_has(601), "not published");
    tell_redis(&redis, "FLUSHALL");
    wait_for(10000, node_has(601), "not written again");
    cr_assert(field_is(&redis, "VM:UUID", UUID_1, 36, "named"));
}

Test(redis_outage, next_update_finds_out_about_flushall)
{
    writer_begin();
    redis_writer_set_pace(writer,
                          (struct redis_pace){.retry_ms = 60000, .look_ms = 60000, .check_ms = 60000});
    publish_many("vm", 600);
    wait_for(WAIT_MS, node_has(600), "not published");
    /* The first reconciliation must be over, which no answer tells: so until it works. */
    wait_for(WAIT_MS,
             (freeReplyObject(ask(&redis, "FLUSHALL")), publish(1, "vm", (uint16_t)(clock_ms() % 50000 + 1)),
              pause_ms(100), node_has(601)),
             "not written again");
}

Test(redis_outage, deleted_maps_and_fields_are_repaired)
{
    static const char *const maps[] = {"VM:Port", "VM:Endpoint", "VM:UUID", RECORD};
    writer_begin_at(redis.port, SETTINGS("redis.active_key_prefix=Active:"));
    hurry();
    publish_many("vm", 300);
    publish(1, "named", 29999);
    wait_for(WAIT_MS, node_has(301), "not published");
    for (int i = 0; i < 4; i++) {
        tell_redis(&redis, "DEL", maps[i]);
        wait_for(WAIT_MS, node_has(301) && has_length("VM:UUID", 1), "%s is not repaired", maps[i]);
    }
    for (int i = 0; i < 4; i++) {
        const char *field = i == 2 ? UUID_1 : "named";
        tell_redis(&redis, "HDEL", maps[i], field);
        wait_for(WAIT_MS, node_has(301) && has_length("VM:UUID", 1), "%s in %s is not repaired", field,
                 maps[i]);
    }
    tell_redis(&redis, "HSET", "VM:Port", "named", "1");
    wait_field(&redis, "VM:Port", "named", "29999");
    tell_redis(&redis, "DEL", "Active:named");
    wait_for(WAIT_MS, number_of(&redis, "EXISTS", "Active:named") == 1, "the active key is not repaired");
}

Test(redis_outage, vm_that_leaves_after_its_endpoint_was_deleted_leaves_no_port)
{
    writer_begin();
    publish(1, "vm", 20001);
    publish(2, "other", 20002);
    wait_field(&redis, "VM:Port", "other", "20002");
    tell_redis(&redis, "DEL", "VM:Endpoint");
    leave(1, "");
    wait_field(&redis, "VM:Port", "vm", NULL);
    wait_field(&redis, RECORD, "vm", NULL);
}

Test(redis_outage, script_flush_is_overcome)
{
    writer_begin();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    tell_redis(&redis, "SCRIPT", "FLUSH");
    publish(2, "vm2", 20002);
    leave(1, "");
    wait_field(&redis, "VM:Port", "vm2", "20002");
    wait_field(&redis, "VM:Port", "vm", NULL);
}

Test(redis_outage, stop_does_not_wait_longer_than_it_may_for_frozen_redis)
{
    writer_begin();
    publish_many("vm", 100);
    wait_for(WAIT_MS, node_has(100), "not published");
    server_freeze(&redis);
    publish_many("more", 100);
    uint64_t before = clock_ms();
    cr_assert_eq(writer_end(700), -ETIMEDOUT);
    uint64_t took = clock_ms() - before;
    cr_assert_geq(took, 690);
    cr_assert_lt(took, 1500);
    server_thaw(&redis);
}

Test(redis_outage, stop_ends_while_redis_is_absent_or_mute)
{
    server_kill(&redis);
    writer_begin();
    publish_many("vm", 100);
    uint64_t before = clock_ms();
    cr_assert_eq(writer_end(2000), -ETIMEDOUT);
    cr_assert_lt(clock_ms() - before, 1000, "there is nobody to wait for");
    struct fake fake;
    fake_start(&fake, "");
    writer_begin_at(fake.port, NULL);
    publish_many("vm", 100);
    before = clock_ms();
    cr_assert_eq(writer_end(500), -ETIMEDOUT);
    cr_assert_lt(clock_ms() - before, 1500);
    fake_stop(&fake);
}

Test(redis_outage, stop_ends_while_the_name_is_unknown)
{
    writer_begin_at(redis.port, SETTINGS("redis.host=no-such-host.invalid"));
    publish_many("vm", 100);
    uint64_t before = clock_ms();
    cr_assert_eq(writer_end(500), -ETIMEDOUT);
    cr_assert_lt(clock_ms() - before, 1500);
}
