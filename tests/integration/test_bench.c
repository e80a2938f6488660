/* vspc-bench on a vspcd that is well: every scenario, and every way to tell it where things are. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_run.h"
#include "probe.h"
#include "terminal.h"

TestSuite(bench, .timeout = 240);

#define TIMED(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A daemon with Redis, started. */
static struct daemon *start(struct redis **redis, unsigned user_ports)
{
    struct daemon *d = daemon_new(VSPCD, user_ports);
    *redis = redis_start();
    daemon_use_redis(d, *redis);
    daemon_start(d);
    return d;
}

/* Runs to its end, which must be well. Result: what bench_end frees. */
static struct bench_run *run_well(const struct daemon *d, const struct redis *r, const char *arguments,
                                  const char *const latencies[])
{
    struct bench_run *run = bench_start(d, r, "%s", arguments);
    bench_wait(run, 0);
    bench_expect_well(run, latencies);
    return run;
}

/* The server's figures are there, and can be. */
static void expect_server(const struct bench_run *run)
{
    cr_assert_geq(bench_number(run, "server.cpu_s"), 0);
    cr_assert_gt(bench_number(run, "server.rss_kib"), 1000);
    cr_assert_geq(bench_number(run, "server.fds"), bench_number(run, "vms.identified"));
}

/* Runs a scenario as it comes, then from several threads with VMs that make offers; the second finds the
 * consoles that the first has left. Result: the second. */
static struct bench_run *run_twice(const char *arguments, const char *const latencies[])
{
    struct redis *r;
    struct daemon *d = start(&r, 24);
    char *line = xasprintf("%s --pid %d", arguments, d->pid);
    struct bench_run *run = run_well(d, r, line, latencies);
    expect_server(run);
    cr_assert_eq(bench_number(run, "vms.wanted"), 12);
    bench_end(run);
    free(line);
    line = xasprintf("%s --offer --threads 3", arguments);
    run = run_well(d, r, line, latencies);
    cr_assert_eq(bench_number(run, "options.threads"), 3);
    free(line);
    daemon_stop(d);
    return run;
}

/* The same, where bytes go through. */
static void run_streams_twice(const char *arguments, const char *const latencies[])
{
    struct bench_run *run = run_twice(arguments, latencies);
    cr_assert_gt(bench_number(run, "streams.bytes"), 0);
    cr_assert_geq(bench_number(run, "seconds"), 1);
    bench_end(run);
}

Test(bench, storm)
{
    struct bench_run *run =
        run_twice("storm --vms 12 --rate 50 --duration 2s", TIMED("identified", "mapped", "mapping"));
    cr_assert_eq(bench_count(run, "mapped"), 12);
    /* The last was due 11/50 s behind the first. */
    cr_assert_geq(bench_number(run, "seconds"), 0.2);
    cr_assert_leq(bench_number(run, "figures.vms_per_s"), 60);
    bench_end(run);
}

Test(bench, echo)
{
    run_streams_twice("echo --vms 12 --users 6 --duration 1s", TIMED("identified", "mapped", "echo"));
}

Test(bench, echo_at_a_rate_types_each_key_that_is_due)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    struct bench_run *run = run_well(d, r, "echo --vms 4 --users 4 --rate 50 --duration 1s", TIMED("echo"));
    cr_assert_leq(bench_count(run, "echo"), 204);
    cr_assert_geq(bench_count(run, "echo"), 180, "only %g keys", bench_count(run, "echo"));
    cr_assert_eq(bench_number(run, "streams.bytes"), bench_count(run, "echo"));
    bench_end(run);
    /* However short the time, the first is due. */
    run = run_well(d, r, "echo --vms 4 --users 4 --rate 0.1 --duration 1ms", TIMED("echo"));
    bench_end(run);
    daemon_stop(d);
}

Test(bench, blast)
{
    run_streams_twice("blast --vms 12 --users 2 --duration 1s", TIMED("identified"));
}

Test(bench, fanout)
{
    run_streams_twice("fanout --vms 12 --users 10 --duration 1s", TIMED("delivery"));
}

Test(bench, vmotion)
{
    run_streams_twice("vmotion --vms 12 --users 6 --rate 12 --hold 50ms --duration 1s",
                      TIMED("goahead", "answer", "peer_ok", "freeze"));
}

Test(bench, reconnect)
{
    struct bench_run *run = run_twice("reconnect --vms 12 --duration 20s", TIMED("back", "back_mapped"));
    cr_assert_eq(bench_count(run, "back"), 12);
    cr_assert_eq(bench_number(run, "figures.ports_kept"), 12);
    cr_assert_leq(bench_number(run, "figures.back_s"), 20);
    bench_end(run);
}

Test(bench, soak)
{
    run_streams_twice("soak --vms 12 --users 6 --rate 300 --hold 20ms --duration 1s",
                      TIMED("delivery", "goahead"));
}

Test(bench, a_soak_that_the_load_cannot_keep_up_with_finds_no_faults_of_its_own)
{
    struct redis *r;
    struct daemon *d = start(&r, 24);
    bench_end(
        run_well(d, r, "soak --vms 20 --users 20 --rate 20000 --hold 20ms --duration 300ms", TIMED("late")));
    daemon_stop(d);
}

Test(bench, a_rate_beyond_what_can_be_typed_ends_in_time)
{
    struct redis *r;
    struct daemon *d = start(&r, 24);
    bench_end(run_well(d, r, "echo --vms 20 --users 20 --rate 1000000 --duration 500ms", TIMED("echo")));
    daemon_stop(d);
}

Test(bench, more_threads_than_vms)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    const char *const lines[] = {
        "storm --vms 1 --threads 8",
        "echo --vms 1 --users 1 --threads 8 --duration 100ms",
        "blast --vms 1 --users 3 --threads 8 --duration 100ms",
        "fanout --vms 1 --users 3 --threads 8 --duration 100ms",
        "vmotion --vms 1 --users 1 --threads 8 --duration 100ms --hold 0 --rate 20",
        "soak --vms 1 --users 1 --threads 8 --duration 100ms --hold 10ms",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        bench_end(run_well(d, r, lines[i], TIMED("identified")));
    daemon_stop(d);
}

Test(bench, no_users)
{
    struct redis *r;
    struct daemon *d = start(&r, 16);
    const char *const scenarios[] = {"echo", "blast", "vmotion", "soak"};
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        char *line =
            xasprintf("%s --vms 10 --users 0 --duration 200ms%s", scenarios[i], i < 2 ? "" : " --hold 20ms");
        bench_end(run_well(d, r, line, TIMED("identified")));
        free(line);
    }
    daemon_stop(d);
}

Test(bench, user_ports_are_searched_without_redis)
{
    struct daemon *d = daemon_new(VSPCD, 100);
    daemon_start(d);
    /* More consoles without a VM come first than are looked at at once. */
    for (int i = 0; i < 80; i++) {
        char name[16];
        snprintf(name, sizeof name, "other-%d", i);
        vm_stop(vm_start_named(d, name));
    }
    const char *const lines[] = {
        "echo --vms 4 --users 4 --duration 200ms --threads 2",
        "blast --vms 2 --users 2 --duration 200ms --redis none",
        "fanout --users 5 --duration 200ms",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *line = xasprintf("%s --user-ports %u-%u", lines[i], d->first_user_port,
                               d->first_user_port + d->user_ports - 1);
        struct bench_run *run = run_well(d, NULL, line, TIMED("identified"));
        cr_assert_eq(bench_number(run, "vms.mapped"), 0);
        bench_end(run);
        free(line);
    }
    daemon_stop(d);
}

Test(bench, redis_is_asked_where_and_what_the_options_say)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_set(d, "redis.vm_port_map", "Other:Ports");
    daemon_set(d, "redis.active_key_prefix", "Active:Port:");
    daemon_start(d);
    const char *const options[] = {"--map-key Other:Ports", "--active-prefix Active:Port:"};
    for (size_t i = 0; i < 2; i++) {
        char *line =
            xasprintf("echo --vms 4 --users 4 --duration 200ms --redis %s %s", r->socket, options[i]);
        bench_end(run_well(d, NULL, line, TIMED("mapped", "echo")));
        free(line);
    }
    daemon_stop(d);
}

Test(bench, a_password_of_redis_comes_from_the_environment)
{
    struct redis *r = redis_start_with((const char *[]){"--requirepass", "secret", NULL});
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_start(d);
    setenv("REDISCLI_AUTH", "secret", 1);
    bench_end(run_well(d, r, "storm --vms 4", TIMED("mapped")));
    setenv("REDISCLI_AUTH", "wrong", 1);
    struct bench_run *run = bench_start(d, r, "storm --vms 4");
    bench_wait(run, 3);
    cr_assert(bench_has_printed(run, "REDISCLI_AUTH"));
    bench_end(run);
    daemon_stop(d);
}

/* Whether any is skipped is a matter of speed, and not always so. */
Test(bench, output_that_vspcd_skips_for_slow_users_is_accounted_for)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_set(d, "user.scrollback", "1KiB");
    daemon_set(d, "user.backlog", "4KiB");
    daemon_start(d);
    struct bench_run *run = run_well(d, r, "blast --users 4 --duration 1s --threads 5", TIMED("identified"));
    cr_assert_gt(bench_number(run, "streams.bytes"), 0);
    bench_end(run);
    run = run_well(d, r, "blast --vms 2 --users 2 --duration 500ms --no-verify", TIMED("identified"));
    cr_assert_gt(bench_number(run, "streams.bytes"), 0);
    bench_end(run);
    daemon_stop(d);
}

Test(bench, users_find_their_vm_though_their_replay_begins_within_its_line)
{
    struct redis *r = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, r);
    daemon_set(d, "user.scrollback", "20B");
    daemon_start(d);
    bench_end(run_well(d, r, "fanout --users 5 --duration 200ms", TIMED("delivery")));
    bench_end(run_well(d, r, "echo --vms 1 --users 1 --duration 200ms", TIMED("echo")));
    daemon_stop(d);
}

Test(bench, the_page_stands_alone_and_standard_output_is_all_json)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    char *html = xasprintf("%s/report.html", env_dir());
    char *line = xasprintf("echo --vms 4 --users 4 --duration 1s --html %s", html);
    bench_end(run_well(d, r, line, TIMED("echo")));
    char *page = env_read_file(html, 0, 1024 * 1024);
    cr_assert(strncasecmp(page, "<!doctype html>", 15) == 0 && strstr(page, "</html>"));
    cr_assert(strstr(page, "<svg") && strstr(page, "keystroke round trip"));
    static const char *const elsewhere[] = {"src=", "href=", "<link", "@import", "url("};
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        cr_assert_null(strstr(page, elsewhere[i]), "the page says %s", elsewhere[i]);
    free(page);
    free(html);
    free(line);
    line = xasprintf(VSPC_BENCH " storm --vms 4 --vspc 127.0.0.1:%u --redis %s --json - 2>/dev/null",
                     d->vm_port, r->socket);
    FILE *out = popen(line, "r");
    json_error_t error;
    json_t *report = json_loadf(out, 0, &error);
    cr_assert_not_null(report, "line %d: %s", error.line, error.text);
    cr_assert(json_is_true(json_object_get(report, "ok")));
    json_decref(report);
    cr_assert_eq(pclose(out), 0);
    free(line);
    daemon_stop(d);
}

Test(bench, a_terminal_sees_how_far_it_is)
{
    struct redis *r;
    struct daemon *d = start(&r, 8);
    char *vspc = xasprintf("127.0.0.1:%u", d->vm_port);
    struct terminal *t = terminal_run((char *[]){VSPC_BENCH, "storm", "--vms", "5", "--rate", "10", "--vspc",
                                                 vspc, "--redis", r->socket, NULL});
    terminal_wait(t, " of 5 VMs identified, ", SOON);
    terminal_wait(t, "\nOK: storm", SOON);
    terminal_wait(t, "5 of 5 identified, 5 in Redis, 0 lost", SOON);
    cr_assert_eq(terminal_wait_exit(t, SOON), 0);
    terminal_close(t);
    free(vspc);
    daemon_stop(d);
}
