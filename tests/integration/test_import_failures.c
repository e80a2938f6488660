/* What keeps an import from its work: it says so, exits 1, and leaves the port book as it was. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "import_run.h"
#include "ports_db.h"
#include "probe.h"

TestSuite(import_failures, .timeout = 240);

Test(import_failures, it_logs_in_as_vspcd_does)
{
    struct redis *r = redis_start_with((const char *[]){"--requirepass", "secret", NULL});
    struct daemon *d = import_daemon(VSPCD, r, 16);
    import_save(r, "vm", d->first_user_port + 3u);
    daemon_set(d, "redis.password", "%s", "");
    import_ports(d, 1, "Redis refuses SCAN: \"NOAUTH");
    cr_assert(import_has_written("cure: set [redis] password or password_file"));
    cr_assert(import_has_written("nothing is imported"));
    daemon_set(d, "redis.password", "wrong");
    import_ports(d, 1, "Redis refuses AUTH: \"WRONGPASS");
    daemon_set(d, "redis.password_file", "%s/password", env_dir());
    import_ports(d, 1, "cannot read a password from ");
    cr_assert(!import_has_book(d), "an import that failed has left a port book");

    char *path = xasprintf("%s/password", env_dir());
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs("secret\n", file) >= 0 && fclose(file) == 0);
    free(path);
    import_ports(d, 0, "imported 1 of 1 saved ports\n");

    /* A Redis user, who may not do all that is needed. */
    freeReplyObject(redis_ask(r, "ACL SETUSER importer on >word +scan ~*"));
    daemon_set(d, "redis.password_file", "%s", "");
    daemon_set(d, "redis.username", "importer");
    daemon_set(d, "redis.password", "word");
    import_ports(d, 1, "Redis refuses GETRANGE: \"NOPERM");
    cr_assert(import_has_written("cure: let the Redis user run AUTH, SELECT, SCAN and GETRANGE"));
    freeReplyObject(redis_ask(r, "ACL SETUSER importer +getrange +select"));
    import_ports(d, 0, "imported 0 of 1 saved ports; skipped: 1 of a VM");

    /* By name; of its addresses the first may be the wrong one. */
    daemon_set(d, "redis.host", "localhost");
    import_ports(d, 0, "imported 0 of 1 saved ports; skipped: 1 of a VM");

    /* Another database, over the other socket. */
    daemon_set(d, "redis.unix_socket", "%s", r->socket);
    daemon_set(d, "redis.database", "3");
    import_ports(d, 0, "imported 0 of 0 saved ports\n");
    cr_assert(import_has_written("[redis] database 3"));
    freeReplyObject(redis_ask(r, "MOVE " SAVED_PREFIX "vm 3"));
    import_ports(d, 0, "imported 0 of 1 saved ports; skipped: 1 of a VM");
    daemon_set(d, "redis.database", "99");
    import_ports(d, 1, "Redis refuses SELECT: ");
}

Test(import_failures, a_redis_that_is_not_there_or_hangs_is_told_in_time)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    import_save(r, "vm", d->first_user_port);
    redis_freeze(r);
    import_ports(d, 1, "cannot reach Redis at \"127.0.0.1:");
    cr_assert(import_has_written("nothing is imported"));
    redis_thaw(r);
    redis_stop(r);
    import_ports(d, 1, ": Connection refused; nothing is imported");
    daemon_set(d, "redis.unix_socket", "%s/none", env_dir());
    import_ports(d, 1, "/none\": No such file or directory; nothing is imported");
    daemon_set(d, "redis.unix_socket", "%s", "");
    daemon_set(d, "redis.host", "no-such-host.invalid");
    import_ports(d, 1, "cannot reach Redis at \"no-such-host.invalid:");
    cr_assert(!import_has_book(d));
}

Test(import_failures, long_work_shows_progress_and_can_be_interrupted)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char *const arguments[] = {"--import-node-vspc", NULL};
    int status;
    import_save(r, "vm", d->first_user_port + 1u);
    redis_freeze(r);
    pid_t pid = import_start(d, arguments);
    WAIT_FOR(import_has_written("reading the saved ports from Redis"), SOON, "the import does not begin");
    kill(pid, SIGINT);
    cr_assert(env_wait_exit(pid, &status, SOON), "the import is not interrupted");
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    cr_assert(!import_has_book(d));

    pid = import_start(d, arguments);
    WAIT_FOR(import_has_written("reading the saved ports from Redis"), SOON, "the import does not begin");
    /* It takes more than a second. */
    uint64_t begin = clock_ms();
    WAIT_FOR(clock_ms() - begin > 1200, SOON, "no time passes");
    redis_thaw(r);
    import_expect_exit(pid, 0);
    cr_assert(import_has_written("read 1 saved ports, in about 500 keys of Redis"));
    cr_assert(import_has_written("imported 1 of 1 saved ports\n"));
}

Test(import_failures, a_running_vspcd_is_in_the_way_and_keeps_its_book)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char text[32];
    import_save(r, "vm", d->first_user_port + 7u);
    daemon_start(d);
    import_expect_port(d, r, "vm", d->first_user_port);
    snprintf(text, sizeof text, "pid=%d", d->pid);
    import_ports(d, 1, text);
    cr_assert(import_has_written("stop that vspcd first"));
    import_expect_port(d, r, "vm", d->first_user_port);
    daemon_stop(d);
    daemon_start(d);
    import_expect_port(d, r, "vm", d->first_user_port);
    daemon_kill(d);
    /* One that was killed is in nobody's way. */
    import_ports(d, 0, "imported 0 of 1 saved ports; skipped: 1 of a VM");
}

Test(import_failures, without_a_state_directory_that_keeps_ports_it_fails)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char *dir = xstrdup(d->state_dir);
    import_save(r, "vm", d->first_user_port);
    daemon_set(d, "server.state_dir", "%s", "");
    import_ports(d, 1, "state_dir is empty");
    daemon_set(d, "server.state_dir", "%s/none", env_dir());
    import_ports(d, 1, "none\": No such file or directory");
    /* Nobody, not even root, can create a file there. */
    daemon_set(d, "server.state_dir", "/proc/self/task");
    import_ports(d, 1, "/proc/self/task");
    daemon_set(d, "server.state_dir", "%s", dir);
    daemon_set(d, "user.port_retention", "0");
    import_ports(d, 1, "port_retention is 0");
    daemon_set(d, "user.port_retention", "30d");
    if (geteuid() == 0) {
        cr_assert_eq(chown(dir, 1, 1), 0);
        import_ports(d, 1, "import as that user");
        cr_assert(!import_has_book(d));
        cr_assert_eq(chown(dir, 0, 0), 0);
    }
    import_ports(d, 0, "imported 1 of 1 saved ports\n");
    free(dir);
}

/* What it holds is not known then, and must not lose against what is imported. */
Test(import_failures, a_port_book_that_is_locked_is_an_error_and_stays_as_it_is)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    char *book = xasprintf("%s/ports.db", d->state_dir), *const arguments[] = {"--import-node-vspc", NULL};
    sqlite3 *other;
    daemon_start(d);
    import_expect_port(d, r, "known", d->first_user_port);
    daemon_stop(d);
    import_save(r, "other", d->first_user_port);
    cr_assert_eq(sqlite3_open(book, &other), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(other, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
                 SQLITE_OK);
    pid_t pid = import_start(d, arguments);
    WAIT_FOR(import_has_written("cure=\"end the program that has it open\""), SOON, "it is not told");
    /* From now on it could write, and there is a last attempt at the end. */
    sqlite3_close(other);
    import_expect_exit(pid, 1);
    cr_assert(import_has_written("cannot be read; nothing is imported"));
    cr_assert_eq(ports_db_port(book, "known"), d->first_user_port);
    cr_assert_eq(ports_db_count(book), 1);
    import_ports(d, 0, "skipped: 1 with a port that is in the port book already");
    free(book);
}

Test(import_failures, a_disk_that_is_full_is_an_error)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    daemon_set(d, "user.max_ports", "1000");
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "a machine with a name %u", i);
        import_save(r, name, d->first_user_port + i);
    }
    const char *program = d->program;
    /* In units of 512 or 1024 bytes: enough for the book, not for what is to be in it. */
    probe_run_before(d, "ulimit -f 100");
    import_ports(d, 1, "not all could be written");
    cr_assert(!import_has_written("imported"));
    d->program = program;
    import_ports(d, 0, " of 1,000 saved ports");
    daemon_start(d);
    import_expect_port(d, r, "a machine with a name 15", d->first_user_port + 15u);
    import_expect_port(d, r, "a machine with a name 0", d->first_user_port);
    daemon_stop(d);
}

Test(import_failures, wrong_usage_exits_2)
{
    struct redis *r = redis_start();
    struct daemon *d = import_daemon(VSPCD, r, 16);
    static char longer[1026];
    memset(longer, 'p', sizeof longer - 1);
    import_with(d, (char *[]){"--import-node-vspc=", NULL}, 2,
                "prefix of the keys must have 1 to 1024 bytes");
    import_with(d, (char *[]){"--import-node-vspc", "", NULL}, 2, "prefix of the keys must have 1 to 1024");
    import_with(d, (char *[]){"--import-node-vspc", longer, NULL}, 2,
                "prefix of the keys must have 1 to 1024");
    import_with(d, (char *[]){"--import-node-vspc", "a", "b", NULL}, 2, "unexpected argument 'b'");
    import_with(d, (char *[]){"--import-node-vspc", "-t", NULL}, 2, "do not go together");
    import_with(d, (char *[]){"--import-node-vspc", "-o", "redis.port=x", NULL}, 1, "redis.port");
}
