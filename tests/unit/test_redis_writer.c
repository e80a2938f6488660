/* What the Redis writer makes Redis say, with a redis-server that does as it should. */
#include "writer_fixture.h"

TestSuite(redis_writer, .init = fixture_start, .fini = fixture_end, .timeout = 60);

Test(redis_writer, publishes_renames_and_removes)
{
    writer_begin();
    publish(1, "vm1 (with brackets)", 20001);
    wait_field(&redis, "VM:Port", "vm1 (with brackets)", "20001");
    cr_assert(field_is(&redis, "VM:Endpoint", "vm1 (with brackets)", 19, "host1:20001"));
    cr_assert(field_is(&redis, "VM:UUID", UUID_1, 36, "vm1 (with brackets)"));
    cr_assert(field_is(&redis, RECORD, "vm1 (with brackets)", 19, "host1:20001"));
    publish(1, "vm2", 20001);
    wait_field(&redis, "VM:Port", "vm2", "20001");
    wait_field(&redis, "VM:Port", "vm1 (with brackets)", NULL);
    cr_assert(field_is(&redis, "VM:UUID", UUID_1, 36, "vm2"));
    leave(1, "");
    wait_for(WAIT_MS, number_of(&redis, "DBSIZE") == 0, "the VM's entries stay");
}

Test(redis_writer, single_change_is_in_redis_at_once)
{
    writer_begin();
    publish(1, "first", 20001);
    wait_field(&redis, "VM:Port", "first", "20001");
    uint64_t before = clock_ms();
    publish(2, "second", 20002);
    wait_field(&redis, "VM:Port", "second", "20002");
    cr_assert_lt(clock_ms() - before, 1000);
}

Test(redis_writer, duplicate_names_pass_the_field_on)
{
    writer_begin();
    publish(1, "vm", 20001);
    publish(2, "vm", 20002);
    publish(3, "vm", 20003);
    wait_field(&redis, "VM:Port", "vm (03030303-0303-0303-0303-030303030303)", "20003");
    cr_assert(field_is(&redis, "VM:Port", "vm", 2, "20001"));
    cr_assert(field_is(&redis, "VM:Port", "vm (" UUID_2 ")", 41, "20002"));
    cr_assert(field_is(&redis, "VM:UUID", UUID_2, 36, "vm (" UUID_2 ")"));
    leave(1, "");
    wait_field(&redis, "VM:Port", "vm", "20002");
    wait_field(&redis, "VM:Port", "vm (" UUID_2 ")", NULL);
    cr_assert(field_is(&redis, "VM:UUID", UUID_2, 36, "vm"));
    cr_assert(field_is(&redis, "VM:UUID", UUID_1, 36, NULL));
    leave(3, "");
    wait_for(WAIT_MS, has_length("VM:Port", 1), "VM 3 stays");
    leave(2, "");
    wait_for(WAIT_MS, number_of(&redis, "DBSIZE") == 0, "entries stay");
}

static atomic_bool watching;
static atomic_uint gaps;

/* Looks all the time whether the field is there. */
static void *watch_field(void *arg)
{
    redisContext *c = redisConnect("127.0.0.1", redis.port);
    (void)arg;
    while (atomic_load(&watching)) {
        redisReply *reply = redisCommand(c, "HGET VM:Port vm");
        if (!reply || reply->type != REDIS_REPLY_STRING)
            atomic_fetch_add(&gaps, 1);
        freeReplyObject(reply);
    }
    redisFree(c);
    return NULL;
}

Test(redis_writer, field_is_never_missing_while_it_changes_hands)
{
    pthread_t thread;
    writer_begin();
    publish(1, "vm", 20001);
    publish(2, "vm", 20002);
    wait_field(&redis, "VM:Port", "vm", "20001");
    atomic_store(&watching, true);
    pthread_create(&thread, NULL, watch_field, NULL);
    for (int i = 0; i < 300; i++) {
        leave(1 + i % 2, "");
        wait_for(WAIT_MS, field_is(&redis, "VM:Port", "vm", 2, i % 2 ? "20001" : "20002"),
                 "the field is not passed on");
        publish(1 + i % 2, "vm", (uint16_t)(20001 + i % 2));
    }
    atomic_store(&watching, false);
    pthread_join(thread, NULL);
    cr_assert_eq(atomic_load(&gaps), 0);
}

Test(redis_writer, names_are_any_bytes)
{
    static const char name[] = "v\0m \r\n$3\r\nDEL\xff\"'{}";
    size_t len = sizeof name - 1;
    struct mapping_vm vm = {.identity = "x\0y",
                            .identity_len = 3,
                            .number = 1,
                            .name = name,
                            .name_len = len,
                            .label = "",
                            .port = 7};
    writer_begin();
    mapping_publish(writer, &vm);
    wait_for(WAIT_MS, field_is(&redis, "VM:Port", name, len, "7"), "the name is not there");
    cr_assert(field_is(&redis, "VM:Endpoint", name, len, "host1:7"));
    mapping_remove(writer, "x\0y", 3, 1);
    wait_for(WAIT_MS, number_of(&redis, "DBSIZE") == 0, "entries stay");
}

Test(redis_writer, labels_and_empty_names)
{
    writer_begin();
    publish_labelled(1, "vm", "debug", 20001);
    publish(2, "", 20002);
    wait_field(&redis, "VM:Port", UUID_2, "20002");
    cr_assert(field_is(&redis, "VM:Port", "vm.debug", 8, "20001"));
    cr_assert(field_is(&redis, "VM:UUID", UUID_1 ".debug", 42, "vm.debug"));
    cr_assert(field_is(&redis, "VM:UUID", UUID_2, 36, UUID_2));
}

Test(redis_writer, active_keys)
{
    writer_begin_at(redis.port, SETTINGS("redis.active_key_prefix=Active:VM:Port"));
    publish(1, "vm", 20001);
    publish(2, "vm", 20002);
    wait_field(&redis, "VM:Port", "vm (" UUID_2 ")", "20002");
    redisReply *reply = ask(&redis, "GET", "Active:VM:Portvm");
    cr_assert_str_eq(reply->str, "20001");
    freeReplyObject(reply);
    leave(1, "");
    wait_field(&redis, "VM:Port", "vm", "20002");
    reply = ask(&redis, "GET", "Active:VM:Portvm");
    cr_assert_str_eq(reply->str, "20002");
    freeReplyObject(reply);
    cr_assert_eq(number_of(&redis, "EXISTS", "Active:VM:Portvm (" UUID_2 ")"), 0);
    cr_assert_eq(writer_end(2000), 0);
    expect_empty();
}

Test(redis_writer, ipv6_endpoint_is_in_brackets)
{
    writer_begin_at(redis.port, SETTINGS("server.advertise=fd00::7"));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Endpoint", "vm", "[fd00::7]:20001");
    cr_assert_eq(writer_end(2000), 0);
    expect_empty();
}

Test(redis_writer, log_in_with_password_alone)
{
    server_kill(&redis);
    redis.args[0] = "--requirepass";
    redis.args[1] = redis.password = "se cret";
    server_run(&redis);
    writer_begin_at(redis.port, SETTINGS("redis.password=se cret"));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
}

Test(redis_writer, log_in_with_user_name_and_password_file)
{
    char path[80], setting[128];
    tell_redis(&redis, "ACL", "SETUSER", "vspc", "on", ">hunter2", "~VM:*", "~vspc:node:*", "+@all",
               "-client|setname");
    snprintf(path, sizeof path, "%s/password", redis.dir);
    snprintf(setting, sizeof setting, "redis.password_file=%s", path);
    /* The file is not there yet: that is an error, and tried again. */
    writer_begin_at(redis.port, SETTINGS("redis.username=vspc", setting));
    publish(1, "vm", 20001);
    FILE *file = fopen(path, "w");
    fputs("hunter2\n", file);
    fclose(file);
    wait_field(&redis, "VM:Port", "vm", "20001");
}

Test(redis_writer, database_number)
{
    redis.database = 3;
    writer_begin_at(redis.port, SETTINGS("redis.database=3"));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
}

Test(redis_writer, unix_socket)
{
    char setting[128];
    snprintf(setting, sizeof setting, "redis.unix_socket=%s", redis.socket);
    writer_begin_at(1, SETTINGS(setting));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
}

Test(redis_writer, host_name_is_resolved)
{
    writer_begin_at(redis.port, SETTINGS("redis.host=localhost"));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    cr_assert_eq(writer_end(2000), 0);
    /* A name that the resolver answers from /etc/hosts, through the thread. */
    writer_begin_at(redis.port, SETTINGS("redis.host=LOCALHOST"));
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
}

Test(redis_writer, nothing_is_written_when_disabled)
{
    writer_begin_at(redis.port, SETTINGS("redis.enabled=no"));
    publish(1, "vm", 20001);
    cr_assert_eq(writer_end(2000), 0);
    expect_empty();
}

Test(redis_writer, stop_takes_out_ours_and_only_ours)
{
    tell_redis(&redis, "HSET", "VM:Port", "other", "30000");
    tell_redis(&redis, "HSET", "VM:Endpoint", "other", "host2:30000");
    tell_redis(&redis, "HSET", "vspc:node:node2", "other", "host2:30000");
    tell_redis(&redis, "HSET", "VM:UUID", UUID_2, "other");
    writer_begin();
    publish_many("vm", 1000);
    publish(1, "named", 20001);
    wait_field(&redis, "VM:Port", "named", "20001");
    /* One of ours that another node has taken since. */
    tell_redis(&redis, "HSET", "VM:Port", "vm7", "30007");
    tell_redis(&redis, "HSET", "VM:Endpoint", "vm7", "host2:30007");
    cr_assert_eq(writer_end(2000), 0);
    cr_assert_eq(number_of(&redis, "HLEN", "VM:Port"), 2);
    cr_assert_eq(number_of(&redis, "HLEN", "VM:Endpoint"), 2);
    cr_assert_eq(number_of(&redis, "HLEN", "VM:UUID"), 1);
    cr_assert_eq(number_of(&redis, "EXISTS", RECORD), 0);
    cr_assert(field_is(&redis, "VM:Port", "vm7", 3, "30007"));
    cr_assert(field_is(&redis, "VM:Port", "other", 5, "30000"));
}

Test(redis_writer, stop_applies_what_was_posted_before)
{
    tell_redis(&redis, "HSET", "VM:Port", "vm", "30000");
    tell_redis(&redis, "HSET", "VM:Endpoint", "vm", "host2:30000");
    writer_begin();
    publish_many("vm", 5000);
    leave_many("vm", 2500);
    cr_assert_eq(writer_end(2000), 0);
    cr_assert_eq(number_of(&redis, "HLEN", "VM:Port"), 1);
    cr_assert_eq(number_of(&redis, "EXISTS", RECORD), 0);
}

Test(redis_writer, other_nodes_entry_survives_our_removal_and_reconciliation)
{
    writer_begin();
    hurry();
    publish(1, "vm", 20001);
    publish(2, "mine", 20002);
    wait_field(&redis, "VM:Port", "mine", "20002");
    tell_redis(&redis, "HSET", "VM:Port", "vm", "30000");
    tell_redis(&redis, "HSET", "VM:Endpoint", "vm", "host2:30000");
    /* A reconciliation has gone by when it has repaired this one. */
    tell_redis(&redis, "HDEL", "VM:Port", "mine");
    wait_field(&redis, "VM:Port", "mine", "20002");
    cr_assert(field_is(&redis, "VM:Port", "vm", 2, "30000"));
    leave(1, "");
    wait_field(&redis, RECORD, "vm", NULL);
    cr_assert(field_is(&redis, "VM:Port", "vm", 2, "30000"));
    cr_assert(field_is(&redis, "VM:Endpoint", "vm", 2, "host2:30000"));
}

Test(redis_writer, newcomer_overwrites_another_nodes_entry)
{
    tell_redis(&redis, "HSET", "VM:Port", "vm", "30000");
    tell_redis(&redis, "HSET", "VM:Endpoint", "vm", "host2:30000");
    writer_begin();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Endpoint", "vm", "host1:20001");
    cr_assert(field_is(&redis, "VM:Port", "vm", 2, "20001"));
}

Test(redis_writer, leftovers_of_a_dead_process_are_removed_at_start)
{
    for (int i = 0; i < 600; i++) {
        char field[16], port[16], endpoint[32], uuid[48];
        snprintf(field, sizeof field, "old%d", i);
        snprintf(port, sizeof port, "%d", 25000 + i);
        snprintf(endpoint, sizeof endpoint, "host1:%d", 25000 + i);
        snprintf(uuid, sizeof uuid, "00000000-0000-0000-0000-%012d", i);
        tell_redis(&redis, "HSET", "VM:Port", field, port);
        tell_redis(&redis, "HSET", "VM:Endpoint", field, endpoint);
        tell_redis(&redis, "HSET", RECORD, field, endpoint);
        tell_redis(&redis, "HSET", "VM:UUID", uuid, field);
    }
    /* It may have had another address then. */
    tell_redis(&redis, "HSET", "VM:Endpoint", "moved", "oldhost:25999");
    tell_redis(&redis, "HSET", "VM:Port", "moved", "25999");
    tell_redis(&redis, "HSET", RECORD, "moved", "oldhost:25999");
    writer_begin();
    wait_for(WAIT_MS, number_of(&redis, "DBSIZE") == 0, "leftovers stay");
    publish(1, "old3", 20001);
    wait_field(&redis, "VM:Port", "old3", "20001");
}

Test(redis_writer, reload_moves_to_other_keys)
{
    writer_begin();
    publish_many("vm", 700);
    wait_for(WAIT_MS, has_length("VM:Port", 700), "not published");
    struct config *config =
        config_for(redis.port, SETTINGS("redis.vm_port_map=Other:Port", "redis.active_key_prefix=A:"));
    redis_writer_reload(writer, config);
    config_unref(config);
    wait_for(WAIT_MS, has_length("Other:Port", 700), "not moved");
    cr_assert_eq(number_of(&redis, "EXISTS", "VM:Port"), 0);
    cr_assert_eq(number_of(&redis, "EXISTS", "A:vm699"), 1);
    config = config_for(redis.port, SETTINGS("redis.enabled=no"));
    redis_writer_reload(writer, config);
    config_unref(config);
    wait_for(WAIT_MS, number_of(&redis, "DBSIZE") == 0, "entries stay when disabled");
    publish_many("more", 10);
    config = config_for(redis.port, NULL);
    redis_writer_reload(writer, config);
    config_unref(config);
    wait_for(WAIT_MS, has_length("VM:Port", 710), "not enabled again");
}

Test(redis_writer, reload_with_another_password_keeps_the_entries)
{
    writer_begin();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    tell_redis(&redis, "CONFIG", "SET", "requirepass", "new");
    redis.password = "new";
    struct config *config = config_for(redis.port, SETTINGS("redis.password=new"));
    redis_writer_reload(writer, config);
    config_unref(config);
    publish(2, "vm2", 20002);
    wait_field(&redis, "VM:Port", "vm2", "20002");
    cr_assert(field_is(&redis, "VM:Port", "vm", 2, "20001"));
}

enum { PRODUCERS = 4, UPDATES = 3000 };

static void *produce(void *arg)
{
    int producer = (int)(intptr_t)arg;
    for (int i = 0; i < UPDATES; i++) {
        char name[32], identity[32];
        int vm_of_producer = i % 50;
        snprintf(identity, sizeof identity, "name:%d-%d", producer, vm_of_producer);
        /* Some names are the same for all producers. */
        if (i % 3)
            snprintf(name, sizeof name, "p%d-%d", producer, vm_of_producer);
        else
            snprintf(name, sizeof name, "same%d", i % 7);
        if (i % 11 == 0 && i < UPDATES - 50) {
            mapping_remove(writer, identity, strlen(identity), (uint64_t)i);
            continue;
        }
        if (i >= UPDATES - 50)
            snprintf(name, sizeof name, "end%d-%d", producer, vm_of_producer);
        struct mapping_vm vm = {.identity = identity,
                                .identity_len = strlen(identity),
                                .number = (uint64_t)i,
                                .name = name,
                                .name_len = strlen(name),
                                .label = "",
                                .port = (uint16_t)(20000 + producer * 100 + vm_of_producer)};
        mapping_publish(writer, &vm);
    }
    return NULL;
}

Test(redis_writer, takes_updates_from_several_threads)
{
    pthread_t threads[PRODUCERS];
    writer_begin();
    for (int i = 0; i < PRODUCERS; i++)
        pthread_create(&threads[i], NULL, produce, (void *)(intptr_t)i);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    publish(1, "last", 20001);
    wait_field(&redis, "VM:Port", "last", "20001");
    wait_for(WAIT_MS, has_length("VM:Port", 50 * PRODUCERS + 1), "the fields are not right");
    cr_assert(field_is(&redis, "VM:Port", "end3-49", 7, "20349"));
    cr_assert_eq(writer_end(2000), 0);
    expect_empty();
}
