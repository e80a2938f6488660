/* vspc-bench against a concentrator that does harm: it must see each kind, count it as what it is, and say so
 * by its exit status; and it must see none where there is none. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay.h"
#include "vspc/mem.h"

TestSuite(bench_faults, .timeout = 280);

enum { ARGUMENTS_MAX = 32, OUTPUT_MAX = 65536 };
enum { ALL_WAS_WELL = 0, FOUND_FAULTS = 1, CANNOT_START = 3 };

/* How a run ended. */
struct outcome {
    int code;
    json_t *report; /* NULL: it wrote none */
};

/* A run: the scenario and its options, and what it meets. */
struct case_ {
    const char *scenario, *vms, *users;
    const char *option, *value; /* one more, or NULL */
    struct relay_plan plan;
    const char *sees; /* what of `streams` must not be 0, two words at most; NULL: nothing is wrong */
};

/* Starts vspc-bench. Result: its process id. */
static pid_t start(const struct case_ *c, uint16_t vm_port, uint16_t first_user_port, char *json)
{
    char *vspc = xasprintf("127.0.0.1:%u", vm_port), *output = xasprintf("%s/output", env_dir());
    char *ports = xasprintf("%u-%u", first_user_port, first_user_port + atoi(c->vms) - 1);
    char *argv[ARGUMENTS_MAX] = {VSPC_BENCH, (char *)c->scenario, "--vspc",     vspc, "--redis", "none",
                                 "--vms",    (char *)c->vms,      "--duration", "1s", "--json",  json};
    size_t n = 12;
    if (c->users) {
        argv[n++] = "--user-ports", argv[n++] = ports;
        argv[n++] = "--users", argv[n++] = (char *)c->users;
    }
    if (c->option)
        argv[n++] = (char *)c->option, argv[n++] = (char *)c->value;
    int fd = open(output, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    env_show(output);
    pid_t pid = env_spawn(argv, fd);
    close(fd);
    free(vspc);
    free(output);
    free(ports);
    return pid;
}

/* Runs vspc-bench to its end. The caller frees the report. */
static struct outcome run(const struct case_ *c, uint16_t vm_port, uint16_t first_user_port)
{
    char *json = xasprintf("%s/report.json", env_dir());
    int status;
    json_error_t error;
    unlink(json);
    pid_t pid = start(c, vm_port, first_user_port, json);
    if (!env_wait_exit(pid, &status, 2 * SOON))
        env_fail("vspc-bench %s does not end", c->scenario);
    if (!WIFEXITED(status))
        env_fail("vspc-bench %s ended with status %#x", c->scenario, status);
    struct outcome outcome = {WEXITSTATUS(status), NULL};
    if (access(json, F_OK) == 0 && !(outcome.report = json_load_file(json, 0, &error)))
        env_fail("line %d of the report is no JSON: %s", error.line, error.text);
    free(json);
    return outcome;
}

/* A number of the report, which must be there. */
static uint64_t number_of(const struct outcome *outcome, const char *object, const char *key)
{
    json_t *value = json_object_get(json_object_get(outcome->report, object), key);
    if (!json_is_integer(value))
        env_fail("the report has no %s.%s", object, key);
    return (uint64_t)json_integer_value(value);
}

static uint64_t stream_faults(const struct outcome *outcome)
{
    return number_of(outcome, "streams", "lost") + number_of(outcome, "streams", "doubled") +
           number_of(outcome, "streams", "reordered");
}

/* The exit status and the report's verdict must be this one. */
static void expect_verdict(const struct outcome *outcome, const struct case_ *c, int code)
{
    json_t *ok = json_object_get(outcome->report, "ok"),
           *failure = json_object_get(outcome->report, "failure");
    if (outcome->code != code)
        env_fail("vspc-bench %s exited with %d instead of %d", c->scenario, outcome->code, code);
    if (!json_is_boolean(ok) || json_is_true(ok) != (code == ALL_WAS_WELL))
        env_fail("the report of %s has the wrong verdict", c->scenario);
    if (json_is_null(failure) != (code == ALL_WAS_WELL))
        env_fail("the report of %s gives %s reason", c->scenario, json_is_null(failure) ? "no" : "a");
}

/* Runs a case against its relay, which must have done the harm that it was to do. */
static struct outcome run_case(const struct case_ *c, unsigned *harmed)
{
    struct relay *relay = relay_start(&c->plan);
    struct outcome outcome = run(c, relay_vm_port(relay), relay_first_user_port(relay));
    *harmed = relay_harmed(relay);
    if ((*harmed == 0) != (c->plan.harm == RELAY_NO_HARM))
        env_fail("the relay has done harm %u times to %s", *harmed, c->scenario);
    relay_stop(relay);
    return outcome;
}

/* Harm is seen, and all that is seen is what was done. */
static void expect_seen(const struct case_ *c)
{
    static const char *const kinds[] = {"lost", "doubled", "reordered"};
    unsigned harmed;
    struct outcome outcome = run_case(c, &harmed);
    expect_verdict(&outcome, c, c->sees ? FOUND_FAULTS : ALL_WAS_WELL);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t n = number_of(&outcome, "streams", kinds[i]);
        bool seen = c->sees && strstr(c->sees, kinds[i]);
        /* One swap in a thousand looks like a loss and a doubling; a test of many swaps counts them. */
        if (c->plan.harm == RELAY_SWAP && stream_faults(&outcome))
            continue;
        if ((n != 0) != seen)
            env_fail("%s has %llu bytes %s", c->scenario, (unsigned long long)n, kinds[i]);
    }
    json_decref(outcome.report);
}

#define ONCE(kind, to, bytes)                                                                                \
    {                                                                                                        \
        .consoles = 8, .harm = (kind), .way = (to), .after = (bytes)                                         \
    }

static void expect_all_seen(const struct case_ *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_seen(&cases[i]);
}

/* The report must be complete, and a run without harm without fault. */
static void expect_clean(const struct case_ *c, const char *latency)
{
    static const char *const times[] = {"p50", "p90", "p99", "p999", "max"};
    unsigned harmed;
    struct outcome outcome = run_case(c, &harmed);
    expect_verdict(&outcome, c, ALL_WAS_WELL);
    cr_assert_str_eq(json_string_value(json_object_get(outcome.report, "scenario")), c->scenario);
    cr_assert(json_number_value(json_object_get(outcome.report, "seconds")) > 0);
    cr_assert_eq(number_of(&outcome, "vms", "wanted"), (uint64_t)atoi(c->vms));
    cr_assert_eq(number_of(&outcome, "vms", "identified"), (uint64_t)atoi(c->vms));
    cr_assert_eq(number_of(&outcome, "vms", "lost"), 0);
    cr_assert_eq(stream_faults(&outcome), 0);
    if (c->users)
        cr_assert_gt(number_of(&outcome, "streams", "bytes"), 0);
    json_t *l = json_object_get(json_object_get(outcome.report, "latency_us"), latency);
    cr_assert(json_is_object(l), "no latency \"%s\"", latency);
    cr_assert_gt(json_integer_value(json_object_get(l, "count")), 0);
    double before = 0;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        double us = json_number_value(json_object_get(l, times[i]));
        cr_assert(us > 0 && us >= before, "%s %s is %f", latency, times[i], us);
        before = us;
    }
    json_decref(outcome.report);
}

Test(bench_faults, a_harmless_storm_is_clean)
{
    expect_clean(&(struct case_){.scenario = "storm", .vms = "8", .plan.consoles = 8}, "identified");
}

Test(bench_faults, a_harmless_echo_is_clean)
{
    expect_clean(&(struct case_){.scenario = "echo", .vms = "4", .users = "2", .plan.consoles = 4}, "echo");
    expect_clean(&(struct case_){"echo", "4", "2", "--rate", "100", {.consoles = 4}, NULL}, "echo");
}

Test(bench_faults, a_harmless_fanout_is_clean)
{
    expect_clean(&(struct case_){.scenario = "fanout", .vms = "2", .users = "5", .plan.consoles = 2},
                 "delivery");
}

Test(bench_faults, a_harmless_blast_is_clean)
{
    expect_clean(&(struct case_){.scenario = "blast", .vms = "2", .users = "2", .plan.consoles = 2},
                 "identified");
}

Test(bench_faults, echo_sees_what_befalls_a_key)
{
    static const struct case_ cases[] = {
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_DROP, RELAY_TO_VM, 20), "lost"},
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_DOUBLE, RELAY_TO_VM, 20), "doubled"},
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_CORRUPT, RELAY_TO_VM, 20), "lost doubled"},
        {"echo", "2", "2", "--rate", "100", ONCE(RELAY_SWAP, RELAY_TO_VM, 20), "reordered"},
    };
    expect_all_seen(cases, sizeof cases / sizeof *cases);
}

Test(bench_faults, echo_sees_what_befalls_an_echo)
{
    static const struct case_ cases[] = {
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_DROP, RELAY_TO_USERS, 20), "lost"},
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_DOUBLE, RELAY_TO_USERS, 20), "doubled"},
        {"echo", "2", "2", NULL, NULL, ONCE(RELAY_CORRUPT, RELAY_TO_USERS, 20), "lost doubled"},
        {"echo", "2", "2", "--rate", "100", ONCE(RELAY_SWAP, RELAY_TO_USERS, 20), "reordered"},
    };
    expect_all_seen(cases, sizeof cases / sizeof *cases);
}

Test(bench_faults, fanout_sees_what_befalls_output)
{
    static const struct case_ cases[] = {
        {"fanout", "1", "3", NULL, NULL, ONCE(RELAY_DROP, RELAY_TO_USERS, 1000), "lost"},
        {"fanout", "1", "3", NULL, NULL, ONCE(RELAY_DOUBLE, RELAY_TO_USERS, 1000), "doubled"},
        {"fanout", "1", "3", NULL, NULL, ONCE(RELAY_CORRUPT, RELAY_TO_USERS, 1000), "lost doubled"},
        {"fanout", "1", "3", NULL, NULL, ONCE(RELAY_SWAP, RELAY_TO_USERS, 1000), "reordered"},
    };
    expect_all_seen(cases, sizeof cases / sizeof *cases);
}

static void expect_about(uint64_t n, uint64_t wanted, uint64_t few)
{
    cr_expect(n <= wanted + few && n + few >= wanted, "%llu instead of %llu", (unsigned long long)n,
              (unsigned long long)wanted);
}

/* One user of one VM sees every single fault, and counts each as what it is. */
Test(bench_faults, blast_counts_what_befalls_output)
{
    static const struct {
        enum relay_harm harm;
        unsigned lost, doubled, reordered; /* bytes each time */
    } kinds[] = {
        {RELAY_DROP, 1, 0, 0}, {RELAY_DOUBLE, 0, 1, 0}, {RELAY_CORRUPT, 1, 1, 0}, {RELAY_SWAP, 0, 0, 1}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct case_ c = {.scenario = "blast", .vms = "1", .users = "1"};
        unsigned harmed;
        c.plan = (struct relay_plan){
            .consoles = 1, .harm = kinds[i].harm, .way = RELAY_TO_USERS, .after = 5000, .every = 7919};
        struct outcome outcome = run_case(&c, &harmed);
        expect_verdict(&outcome, &c, FOUND_FAULTS);
        /* Among 64 characters, a swap may look like a loss and a doubling; few do. */
        uint64_t few = kinds[i].harm == RELAY_SWAP ? harmed / 100 + 1 : 0;
        expect_about(number_of(&outcome, "streams", "lost"), (uint64_t)harmed * kinds[i].lost, few);
        expect_about(number_of(&outcome, "streams", "doubled"), (uint64_t)harmed * kinds[i].doubled, few);
        expect_about(number_of(&outcome, "streams", "reordered"), (uint64_t)harmed * kinds[i].reordered, few);
        json_decref(outcome.report);
    }
}

/* What the server says it has skipped is not lost, and is told. */
Test(bench_faults, blast_counts_what_was_skipped)
{
    static const struct case_ c = {
        .scenario = "blast",
        .vms = "1",
        .users = "1",
        .plan = {.consoles = 1, .harm = RELAY_SKIP, .way = RELAY_TO_USERS, .after = 5000, .every = 7919}};
    unsigned harmed;
    struct outcome outcome = run_case(&c, &harmed);
    expect_verdict(&outcome, &c, ALL_WAS_WELL);
    cr_assert_eq(stream_faults(&outcome), 0);
    cr_assert_eq(number_of(&outcome, "streams", "skipped"), harmed);
    json_decref(outcome.report);
}

Test(bench_faults, without_verification_nothing_is_said_of_streams)
{
    static const struct case_ c = {
        "fanout", "1", "1", "--no-verify", NULL, ONCE(RELAY_DOUBLE, RELAY_TO_USERS, 1000), NULL};
    expect_seen(&c);
}

Test(bench_faults, a_lost_vm_is_seen)
{
    static const struct case_ c = {"echo", "3", "3", NULL, NULL, ONCE(RELAY_CLOSE, RELAY_TO_VM, 20), NULL};
    unsigned harmed;
    struct outcome outcome = run_case(&c, &harmed);
    expect_verdict(&outcome, &c, FOUND_FAULTS);
    cr_assert_eq(number_of(&outcome, "vms", "lost"), 1);
    cr_assert_eq(number_of(&outcome, "vms", "identified"), 2);
    json_decref(outcome.report);
}

Test(bench_faults, a_vm_that_is_never_identified_is_seen)
{
    static const struct case_ c = {
        .scenario = "storm", .vms = "4", .plan = {.consoles = 4, .ignored_vms = 1}};
    unsigned harmed;
    struct outcome outcome = run_case(&c, &harmed);
    expect_verdict(&outcome, &c, FOUND_FAULTS);
    cr_assert_eq(number_of(&outcome, "vms", "wanted"), 4);
    cr_assert_eq(number_of(&outcome, "vms", "identified"), 3);
    json_decref(outcome.report);
}

Test(bench_faults, users_who_are_told_nothing_are_seen)
{
    static const struct case_ c = {
        .scenario = "echo", .vms = "2", .users = "2", .plan = {.consoles = 2, .mute = true}};
    unsigned harmed;
    struct outcome outcome = run_case(&c, &harmed);
    expect_verdict(&outcome, &c, FOUND_FAULTS);
    json_decref(outcome.report);
}

Test(bench_faults, nothing_that_listens_exits_3)
{
    static const struct case_ c = {.scenario = "storm", .vms = "2"};
    struct outcome outcome = run(&c, env_ports(1), 0);
    cr_assert_eq(outcome.code, CANNOT_START);
    cr_assert_null(outcome.report);
}

Test(bench_faults, a_server_that_says_nothing_is_given_up)
{
    static const struct case_ c = {.scenario = "storm", .vms = "2"};
    uint16_t port = env_ports(1);
    struct sock_addr addr = env_local(port);
    int fd = sock_listen(&addr, false, 16);
    cr_assert_geq(fd, 0);
    struct outcome outcome = run(&c, port, 0);
    expect_verdict(&outcome, &c, FOUND_FAULTS);
    cr_assert_eq(number_of(&outcome, "vms", "identified"), 0);
    json_decref(outcome.report);
    close(fd);
}
