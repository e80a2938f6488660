/* The Redis writer when Redis says no: error replies, keys of the wrong type, and replies that make no sense.
 */
#include "writer_fixture.h"

TestSuite(redis_refusal, .init = fixture_start, .fini = fixture_end, .timeout = 90);

/* Everything that is logged from here on goes to a file in the server's directory. */
static char log_path[80];
static void catch_log(void)
{
    snprintf(log_path, sizeof log_path, "%s/log", redis.dir);
    int fd = open(log_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* How many logged lines hold the text. */
static unsigned logged(const char *text)
{
    char line[4096];
    unsigned count = 0;
    FILE *file = fopen(log_path, "r");
    while (file && fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return count;
}

Test(redis_refusal, each_error_reply_is_logged_once_with_its_cure_and_got_over)
{
    static const struct {
        const char *answer, *sign, *cure;
    } errors[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", "LOADING", "reading its data"},
        {"-READONLY You can't write against a read only replica.\r\n", "READONLY", "primary"},
        {"-NOAUTH Authentication required.\r\n", "NOAUTH", "set [redis] password"},
        {"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "WRONGPASS",
         "correct [redis]"},
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM", "raise maxmemory"},
        {"-ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed\r\n",
         "call to f_1", "raise maxmemory"},
        {"-MISCONF Redis is configured to save RDB snapshots, but\r\n", "MISCONF", "free the disk"},
        {"-NOPERM this user has no permissions to run the 'evalsha' command\r\n", "NOPERM", "EVALSHA"},
        {"-BUSY Redis is busy running a script.\r\n", "BUSY", "SCRIPT KILL"},
        {"-ERR max number of clients reached\r\n", "max number", "maxclients"},
        {"-WHATEVER new in Redis 12\r\n", "WHATEVER", "log of Redis"},
    };
    struct fake fake;
    catch_log();
    fake_start(&fake, errors[0].answer);
    writer_begin_at(fake.port, NULL);
    hurry();
    publish(1, "vm", 20001);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        atomic_store(&fake.answer, errors[i].answer);
        /* The retry after the one that logs it is another attempt with the same answer. */
        wait_for(WAIT_MS, logged(errors[i].sign) > 0 || i >= 5, "%s is not logged", errors[i].sign);
        unsigned connections = atomic_load(&fake.connections);
        wait_for(WAIT_MS, atomic_load(&fake.connections) >= connections + 3, "no retry after %s",
                 errors[i].sign);
        cr_expect_leq(logged(errors[i].sign), 1);
        if (logged(errors[i].sign))
            cr_expect_eq(logged(errors[i].cure) > 0, true, "no cure for %s", errors[i].sign);
        unsigned calls = atomic_load(&fake.calls);
        atomic_store(&fake.answer, NULL);
        wait_for(WAIT_MS, atomic_load(&fake.calls) > calls, "%s is not got over", errors[i].sign);
    }
    redis_writer_stop(writer, 100);
    writer = NULL;
    fake_stop(&fake);
}

Test(redis_refusal, retries_every_five_seconds_by_itself)
{
    struct fake fake;
    fake_start(&fake, "-LOADING Redis is loading the dataset in memory\r\n");
    writer_begin_at(fake.port, NULL);
    publish(1, "vm", 20001);
    wait_for(WAIT_MS, atomic_load(&fake.connections) >= 1, "no connection");
    atomic_store(&fake.answer, NULL);
    wait_for(10000, atomic_load(&fake.calls) > 0, "not right within 10 s");
    redis_writer_stop(writer, 100);
    writer = NULL;
    fake_stop(&fake);
}

Test(redis_refusal, replies_that_make_no_sense_are_survived)
{
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$99999999999999999999\r\n",
        "$536870912\r\nabc",
        "*2147483647\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ":1\r\n:2\r\n:3\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "+OK\r\n",
        "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nx\r\n",
        "*2\r\n$30\r\n123456789012345678901234567890\r\n*0\r\n",
        "",
    };
    struct fake fake;
    fake_start(&fake, NULL);
    writer_begin_at(fake.port, NULL);
    hurry();
    publish(1, "vm", 20001);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        unsigned calls = atomic_load(&fake.calls);
        wait_for(WAIT_MS, atomic_load(&fake.calls) > calls, "the writer is lost at answer %zu", i);
        unsigned connections = atomic_load(&fake.connections);
        atomic_store(&fake.answer, answers[i]);
        wait_for(WAIT_MS, atomic_load(&fake.connections) > connections, "answer %zu is taken for good", i);
        atomic_store(&fake.answer, NULL);
        publish(1, i % 2 ? "odd" : "even", 20001);
    }
    redis_writer_stop(writer, 100);
    writer = NULL;
    fake_stop(&fake);
}

Test(redis_refusal, replica_becoming_primary)
{
    writer_begin();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    char dead[8];
    snprintf(dead, sizeof dead, "%u", free_port());
    tell_redis(&redis, "REPLICAOF", "127.0.0.1", dead);
    catch_log();
    publish(2, "vm2", 20002);
    wait_for(WAIT_MS, logged("READONLY"), "the refusal is not logged");
    tell_redis(&redis, "REPLICAOF", "NO", "ONE");
    wait_for(10000, field_is(&redis, "VM:Port", "vm2", 3, "20002"), "not right within 10 s");
}

Test(redis_refusal, out_of_memory)
{
    writer_begin();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    tell_redis(&redis, "CONFIG", "SET", "maxmemory", "1");
    catch_log();
    publish(2, "vm2", 20002);
    wait_for(WAIT_MS, logged("OOM"), "the refusal is not logged");
    cr_assert_gt(logged("raise maxmemory"), 0);
    tell_redis(&redis, "CONFIG", "SET", "maxmemory", "0");
    wait_for(10000, field_is(&redis, "VM:Port", "vm2", 3, "20002"), "not right within 10 s");
}

Test(redis_refusal, password_wanted_then_not)
{
    server_kill(&redis);
    redis.args[0] = "--requirepass";
    redis.args[1] = redis.password = "secret";
    server_run(&redis);
    catch_log();
    writer_begin();
    publish(1, "vm", 20001);
    wait_for(WAIT_MS, logged("NOAUTH"), "the refusal is not logged");
    tell_redis(&redis, "CONFIG", "SET", "requirepass", "");
    redis.password = NULL;
    wait_for(10000, field_is(&redis, "VM:Port", "vm", 2, "20001"), "not right within 10 s");
}

Test(redis_refusal, key_of_wrong_type_in_each_role)
{
    static const char *const maps[] = {"VM:Port", "VM:Endpoint", "VM:UUID", RECORD};
    catch_log();
    for (int broken = 0; broken < 4; broken++) {
        tell_redis(&redis, "FLUSHALL");
        tell_redis(&redis, "SET", maps[broken], "x");
        writer_begin();
        publish(1, "vm", 20001);
        publish(2, "vm2", 20002);
        for (int map = 0; map < 4; map++)
            if (map != broken)
                wait_field(&redis, maps[map], map == 2 ? UUID_2 : "vm2",
                           map == 0   ? "20002"
                           : map == 2 ? "vm2"
                                      : "host1:20002");
        char key[64];
        snprintf(key, sizeof key, "key=\"%s\"", maps[broken]);
        cr_expect_eq(logged(key), 1, "%s is logged %u times", maps[broken], logged(key));
        /* Updates go on meanwhile. */
        leave(1, "");
        publish(3, "vm3", 20003);
        if (broken != 0)
            wait_field(&redis, "VM:Port", "vm3", "20003");
        else
            wait_field(&redis, "VM:Endpoint", "vm3", "host1:20003");
        tell_redis(&redis, "DEL", maps[broken]);
        wait_for(10000,
                 has_length("VM:Port", 2) && has_length("VM:Endpoint", 2) && has_length("VM:UUID", 2) &&
                     has_length(RECORD, 2),
                 "%s is not right within 10 s", maps[broken]);
        cr_assert(field_is(&redis, "VM:Port", "vm3", 3, "20003"));
        wait_for(WAIT_MS, logged(key) == 2, "the cure is not logged");
        cr_assert_eq(writer_end(2000), 0);
        expect_empty();
        cr_assert_eq(truncate(log_path, 0), 0);
    }
}

static bool key_is(const char *key, const char *expected)
{
    redisReply *reply = ask(&redis, "GET", key);
    bool is = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, expected) == 0;
    freeReplyObject(reply);
    return is;
}

Test(redis_refusal, active_key_of_wrong_type_is_replaced)
{
    tell_redis(&redis, "RPUSH", "Active:vm", "x");
    writer_begin_at(redis.port, SETTINGS("redis.active_key_prefix=Active:"));
    hurry();
    publish(1, "vm", 20001);
    wait_field(&redis, "VM:Port", "vm", "20001");
    tell_redis(&redis, "DEL", "Active:vm");
    tell_redis(&redis, "RPUSH", "Active:vm", "x");
    wait_for(WAIT_MS, key_is("Active:vm", "20001"), "not replaced");
}
