/* vspc-bench where all is not well: it says so, says why, and ends. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_run.h"
#include "probe.h"

TestSuite(bench_trouble, .timeout = 240);

static struct daemon *start(struct redis **redis, unsigned user_ports)
{
    struct daemon *d = daemon_new(VSPCD, user_ports);
    *redis = redis_start();
    daemon_use_redis(d, *redis);
    daemon_start(d);
    return d;
}

/* Waits for the end with code 1, and with a failure that says this. */
static void expect_failure(struct bench_run *run, const char *text)
{
    bench_wait(run, 1);
    cr_assert_not(bench_bool(run, "ok"));
    cr_assert(strstr(bench_text(run, "failure"), text), "without \"%s\": %s", text,
              bench_text(run, "failure"));
    cr_assert(bench_has_printed(run, "FAILED: "));
}

/* Every VM was lost. */
static void expect_all_lost(const struct bench_run *run)
{
    cr_assert_eq(bench_number(run, "vms.lost"), bench_number(run, "vms.wanted"));
    cr_assert_eq(bench_number(run, "vms.identified"), 0);
}

Test(bench_trouble, nothing_listens)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    struct redis *r = redis_start();
    struct bench_run *run = bench_start(d, r, "storm --vms 4");
    bench_wait(run, 3);
    cr_assert(bench_has_printed(run, "cannot reach the server at 127.0.0.1:"));
    cr_assert(bench_has_printed(run, "Connection refused"));
    bench_end(run);
}

Test(bench_trouble, redis_is_away)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    redis_stop(r);
    struct bench_run *run = bench_start(d, r, "storm --vms 4");
    bench_wait(run, 3);
    cr_assert(bench_has_printed(run, "Connection refused"));
    cr_assert(bench_has_printed(run, "--redis none"));
    bench_end(run);
    run = bench_start(d, NULL, "storm --vms 4 --redis none");
    bench_wait(run, 0);
    cr_assert(bench_bool(run, "ok"));
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, no_such_process)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    struct bench_run *run = bench_start(d, r, "storm --vms 4 --pid 4194304");
    bench_wait(run, 2);
    cr_assert(bench_has_printed(run, "--pid 4194304: there is no such process"));
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, the_key_is_another)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    struct bench_run *run = bench_start(d, r, "echo --vms 4 --users 4 --map-key VM:Ports");
    expect_failure(run, "4 VMs are not in Redis");
    cr_assert(strstr(bench_text(run, "failure"), "is VM:Ports the right key?"));
    cr_assert_eq(bench_number(run, "vms.identified"), 4);
    cr_assert_eq(bench_number(run, "vms.mapped"), 0);
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, vms_are_refused)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_set(d, "vm.service_uri", "another");
    daemon_start(d);
    struct bench_run *run = bench_start(d, r, "echo --vms 6 --users 4");
    expect_failure(run, "WONT-PROXY");
    expect_all_lost(run);
    bench_end(run);
    daemon_stop(d);

    daemon_set(d, "vm.service_uri", "%s", "");
    daemon_set(d, "vm.allow", "192.0.2.0/24");
    daemon_start(d);
    run = bench_start(d, r, "storm --vms 6 --threads 2");
    expect_failure(run, "was lost: ");
    expect_all_lost(run);
    bench_end(run);
    daemon_stop(d);
}

/* A run that would go on for ten minutes finds its server dead, once that has logged `sign`. Result: what
 * bench_end frees. */
static struct bench_run *kill_in(const char *arguments, const char *sign)
{
    struct redis *r;
    struct daemon *d = start(&r, 24);
    struct bench_run *run = bench_start(d, r, "%s --duration 10min", arguments);
    daemon_wait_log(d, sign, SOON);
    daemon_kill(d);
    expect_failure(run, "was lost: ");
    return run;
}

Test(bench_trouble, the_server_dies)
{
    /* What is measured may not have begun yet. */
    bench_end(kill_in("echo --vms 6 --users 3", "User connected"));
    const char *const lines[] = {
        "vmotion --vms 6 --users 2 --rate 10 --hold 100ms --threads 2",
        "soak --vms 6 --users 2 --rate 300 --hold 20ms --threads 2",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct bench_run *run = kill_in(lines[i], "VM migrated");
        expect_all_lost(run);
        bench_end(run);
    }
}

/* A run that would go on for ten minutes is interrupted once vspcd has logged `sign`. */
static void interrupt(const char *arguments, const char *sign, int number)
{
    struct redis *r;
    struct daemon *d = start(&r, 24);
    struct bench_run *run = bench_start(d, r, "%s --duration 10min", arguments);
    daemon_wait_log(d, sign, SOON);
    kill(run->pid, number);
    bench_wait(run, 0);
    /* In a soak, some VMs may be away. */
    cr_assert(bench_bool(run, "ok"), "%s", bench_text(run, "failure"));
    cr_assert(bench_bool(run, "interrupted"));
    cr_assert_eq(bench_number(run, "vms.lost"), 0);
    cr_assert_gt(bench_number(run, "vms.identified"), 0);
    cr_assert_eq(bench_number(run, "streams.lost"), 0);
    cr_assert(bench_has_printed(run, "INTERRUPTED: "));
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, an_interrupted_run_reports_what_it_has_and_finds_no_fault)
{
    interrupt("blast --vms 2 --users 2 --threads 3", "User connected", SIGINT);
    interrupt("echo --vms 6 --users 3 --rate 1000", "User connected", SIGTERM);
    /* Keys that were typed on the way are kept for where a VM arrives. */
    interrupt("vmotion --vms 12 --users 12 --rate 15 --hold 500ms", "VM migrated", SIGINT);
    interrupt("soak --vms 10 --users 3 --threads 3", "VM migrated", SIGINT);
}

Test(bench_trouble, an_interrupted_storm_has_lost_nothing)
{
    struct redis *r;
    struct daemon *d = start(&r, 16);
    struct bench_run *run = bench_start(d, r, "storm --vms 10 --rate 0.1 --duration 10min --threads 2");
    daemon_wait_log(d, "VM connected", SOON);
    kill(run->pid, SIGINT);
    bench_wait(run, 0);
    cr_assert(bench_bool(run, "ok") && bench_bool(run, "interrupted"));
    cr_assert_eq(bench_number(run, "vms.lost"), 0);
    cr_assert_lt(bench_number(run, "vms.identified"), 10);
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, vms_return_to_a_server_that_was_killed_and_keep_their_ports)
{
    struct redis *r;
    struct daemon *d = start(&r, 16);
    struct bench_run *run = bench_start(d, r, "storm --vms 10");
    bench_wait(run, 0);
    bench_end(run);
    /* Now the port book has them all. */
    daemon_stop(d);
    daemon_start(d);
    run = bench_start(d, r, "reconnect --vms 10 --duration 1min --threads 2 --restart-command 'kill -9 %d'",
                      d->pid);
    daemon_wait_exit(d, SOON);
    daemon_start(d);
    bench_wait(run, 0);
    bench_expect_well(run, (const char *const[]){"back", "back_mapped", NULL});
    cr_assert_eq(bench_number(run, "figures.ports_kept"), 10);
    cr_assert_eq(bench_count(run, "back"), 10);
    bench_end(run);
    daemon_stop(d);
}

Test(bench_trouble, a_restart_command_that_does_not_restart)
{
    struct redis *r;
    struct daemon *d = start(&r, 16);
    struct bench_run *run = bench_start(d, r, "reconnect --vms 4 --duration 500ms --restart-command true");
    expect_failure(run, "only 0 of 4 VMs lost their connection and came back");
    bench_end(run);
    run = bench_start(d, r, "reconnect --vms 4 --duration 500ms --restart-command 'exit 5'");
    expect_failure(run, "the restart command failed: status 5");
    bench_end(run);
    run = bench_start(d, r, "reconnect --vms 4 --duration 1s --restart-command 'kill -9 %d'", d->pid);
    daemon_wait_exit(d, SOON);
    expect_failure(run, "did not come back in time");
    expect_all_lost(run);
    bench_end(run);
}

enum { STALL_MS = 1000 };

Test(bench_trouble, a_server_that_stands_still_shows_in_the_latencies_of_all_keys_that_were_due)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    struct bench_run *run = bench_start(d, r, "echo --vms 2 --users 2 --rate 100 --duration 3s");
    struct user *watcher = user_connect(redis_wait_port(r, "VM:Port", "bench-00001", SOON), USER_TELNET);
    /* More than the VM says of itself: keys are being typed. */
    WAIT_FOR(user_pump(watcher) && watcher->in.len > 120, SOON, "nobody types");
    daemon_signal(d, SIGSTOP);
    uint64_t since = clock_ms();
    WAIT_FOR(clock_ms() - since >= STALL_MS, SOON, "time stands still");
    daemon_signal(d, SIGCONT);
    bench_wait(run, 0);
    user_close(watcher);
    bench_expect_well(run, (const char *const[]){"echo", NULL});
    cr_assert_geq(bench_number(run, "latency_us.echo.max"), STALL_MS * 1e3 * 0.9);
    /* A third of the keys was due meanwhile. */
    cr_assert_geq(bench_number(run, "latency_us.echo.p90"), STALL_MS * 1e3 / 2);
    cr_assert_geq(bench_count(run, "echo"), 540);
    bench_end(run);
    daemon_stop(d);
}
