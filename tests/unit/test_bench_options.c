/* vspc-bench's command line. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "vspc/mem.h"

TestSuite(bench_options, .timeout = 60);

enum { ARGUMENTS_MAX = 32, OUTPUT_MAX = 16384, RETURNED = 100 };

/* How options_parse ended, in a child of its own, and what it wrote. */
struct outcome {
    int code; /* RETURNED: it did not exit */
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
};

/* Cuts "storm --vms 5" at its spaces. Result: argc; argv[0] is the program. */
static int cut(char *line, char *argv[ARGUMENTS_MAX + 1])
{
    int argc = 0;
    argv[argc++] = (char *)"vspc-bench";
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        cr_assert_lt(argc, ARGUMENTS_MAX);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return argc;
}

static void read_back(int fd, char out[OUTPUT_MAX])
{
    ssize_t n = pread(fd, out, OUTPUT_MAX - 1, 0);
    cr_assert_geq(n, 0);
    out[n] = 0;
    close(fd);
}

/* Parses in a child. Result: fresh memory. */
static struct outcome *run(const char *text)
{
    struct outcome *outcome = xcalloc(1, sizeof *outcome);
    int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), status;
    cr_assert(out >= 0 && err >= 0);
    fflush(NULL);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        char *argv[ARGUMENTS_MAX + 1], *line = xstrdup(text);
        struct bench_options options;
        int argc = cut(line, argv);
        if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
            _exit(RETURNED + 1);
        options_parse(&options, argc, argv);
        _exit(RETURNED);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status), "%s: status %d", text, status);
    outcome->code = WEXITSTATUS(status);
    read_back(out, outcome->out);
    read_back(err, outcome->err);
    return outcome;
}

/* Parses what must be right. Strings of the result stay until the next call. */
static struct bench_options parsed(const char *text)
{
    struct outcome *outcome = run(text);
    cr_assert_eq(outcome->code, RETURNED, "%s: %s", text, outcome->err);
    cr_assert_str_empty(outcome->out);
    free(outcome);
    static char *argv[ARGUMENTS_MAX + 1];
    static char line[1024];
    struct bench_options options;
    snprintf(line, sizeof line, "%s", text);
    int argc = cut(line, argv);
    options_parse(&options, argc, argv);
    return options;
}

/* The arguments are wrong usage, and the one line about it has this in it. */
static void refused(const char *text, const char *wanted)
{
    struct outcome *outcome = run(text);
    cr_expect_eq(outcome->code, 2, "%s: %d", text, outcome->code);
    cr_expect_str_empty(outcome->out);
    cr_expect_eq(strncmp(outcome->err, "vspc-bench: ", 12), 0, "%s", outcome->err);
    const char *found = strstr(outcome->err, wanted), *end = strchr(outcome->err, '\n');
    cr_expect(found && end && found < end, "%s: no \"%s\" in: %s", text, wanted, outcome->err);
    cr_expect_str_eq(end ? end : "", "\ntry vspc-bench --help\n");
    free(outcome);
}

/* Prints on standard output and exits 0; nothing is wider than a terminal. */
static struct outcome *told(const char *text)
{
    struct outcome *outcome = run(text);
    cr_assert_eq(outcome->code, 0, "%s: %d: %s", text, outcome->code, outcome->err);
    cr_expect_str_empty(outcome->err);
    for (const char *line = outcome->out; *line;) {
        size_t len = strcspn(line, "\n");
        cr_expect_leq(len, 80, "%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
    return outcome;
}

Test(bench_options, a_scenario_alone_has_its_defaults)
{
    static const struct {
        const char *name;
        unsigned vms, users;
        double rate;
        uint64_t duration_ms, hold_ms;
        unsigned chunk;
    } defaults[SCENARIOS] = {
        {"storm", 1000, 0, 0, 60000, 0, 0},         {"echo", 1000, 100, 0, 10000, 0, 0},
        {"blast", 1, 1, 0, 10000, 0, 65536},        {"fanout", 1, 100, 100, 10000, 0, 80},
        {"vmotion", 1000, 100, 100, 10000, 500, 0}, {"reconnect", 1000, 0, 0, 60000, 0, 0},
        {"soak", 1000, 100, 100, 60000, 500, 0}};
    for (unsigned i = 0; i < SCENARIOS; i++) {
        struct bench_options o = parsed(defaults[i].name);
        cr_expect_eq(o.scenario, i);
        cr_expect_str_eq(scenario_names[i], defaults[i].name);
        cr_expect_eq(o.vms, defaults[i].vms, "%s", defaults[i].name);
        cr_expect_eq(o.users, defaults[i].users, "%s", defaults[i].name);
        cr_expect_eq(o.rate, defaults[i].rate, "%s", defaults[i].name);
        cr_expect_eq(o.duration_ms, defaults[i].duration_ms, "%s", defaults[i].name);
        cr_expect_eq(o.hold_ms, defaults[i].hold_ms, "%s", defaults[i].name);
        cr_expect_eq(o.chunk, defaults[i].chunk, "%s", defaults[i].name);
    }
    struct bench_options o = parsed("storm");
    char text[SOCK_TEXT];
    sock_addr_format(&o.vspc, text);
    cr_expect_str_eq(text, "127.0.0.1:13370");
    cr_expect_str_eq(o.vspc_text, "127.0.0.1:13370");
    cr_expect_str_eq(o.redis, "127.0.0.1:6379");
    cr_expect_str_eq(o.map_key, "VM:Port");
    cr_expect(o.verify && !o.offer && !o.pid && !o.active_prefix && !o.json && !o.html && !o.restart_command);
    cr_expect(o.threads >= 1 && o.threads <= 64 && !o.first_user_port && !o.last_user_port);
}

Test(bench_options, every_option_is_taken)
{
    struct bench_options o = parsed("vmotion --vspc [::1]:1234 --vms 7 --users 5 --rate 2.5 --duration 90s "
                                    "--hold 250ms --threads 3 --redis /run/redis.sock --active-prefix A: "
                                    "--offer --no-verify --pid 77 --json - --html out.html");
    char text[SOCK_TEXT];
    sock_addr_format(&o.vspc, text);
    cr_expect_str_eq(text, "[::1]:1234");
    cr_expect(o.vms == 7 && o.users == 5 && o.rate == 2.5 && o.duration_ms == 90000 && o.hold_ms == 250);
    cr_expect(o.threads == 3 && o.offer && !o.verify && o.pid == 77);
    cr_expect_str_eq(o.redis, "/run/redis.sock");
    cr_expect_str_eq(o.active_prefix, "A:");
    cr_expect_str_eq(o.json, "-");
    cr_expect_str_eq(o.html, "out.html");
    o = parsed("reconnect --map-key K --restart-command true");
    cr_expect_str_eq(o.map_key, "K");
    cr_expect_str_eq(o.restart_command, "true");
    cr_expect_eq(parsed("blast --chunk 16KiB").chunk, 16384);
    cr_expect_eq(parsed("blast --chunk 7").chunk, 7);
    cr_expect_eq(parsed("vmotion --hold 0").hold_ms, 0);
    cr_expect_eq(parsed("soak --duration 30d").duration_ms, UINT64_C(30) * 86400000);
}

Test(bench_options, defaults_follow_the_number_of_vms)
{
    cr_expect_eq(parsed("echo --vms 5").users, 5);
    cr_expect_eq(parsed("vmotion --vms 99").users, 99);
    cr_expect_eq(parsed("soak --vms 55").users, 55);
    cr_expect_eq(parsed("soak --vms 55").rate, 50);
    cr_expect_eq(parsed("soak --vms 5500").rate, 550);
    cr_expect_eq(parsed("vmotion --vms 55").rate, 5.5);
    cr_expect_eq(parsed("vmotion --vms 5500").rate, 100);
    cr_expect_eq(parsed("fanout --vms 1").users, 100);
    refused("echo --vms 5 --users 6", "--users 6 is more than --vms 5: echo has at most one user a VM");
    refused("soak --users 1001", "is more than --vms 1000");
    cr_expect_eq(parsed("fanout --vms 2 --users 1000").users, 1000);
    refused("blast --vms 1000 --users 101", "more than 100000 users");
}

Test(bench_options, without_redis_users_need_ports)
{
    refused("echo --redis none", "--user-ports FIRST-LAST");
    refused("vmotion --redis none", "--user-ports FIRST-LAST or --users 0");
    cr_expect_null(parsed("storm --redis none").redis);
    cr_expect_null(parsed("vmotion --redis none --users 0").redis);
    struct bench_options o = parsed("echo --user-ports 20000-20999");
    cr_expect_null(o.redis);
    cr_expect(o.first_user_port == 20000 && o.last_user_port == 20999);
    cr_expect_str_eq(parsed("echo --user-ports 1-65535 --redis 127.0.0.1:6380").redis, "127.0.0.1:6380");
}

/* The arguments are right, and what is said about them has this in it. */
static void remarked(const char *text, const char *wanted)
{
    struct outcome *outcome = run(text);
    cr_expect_eq(outcome->code, RETURNED, "%s: %d", text, outcome->code);
    cr_expect(strstr(outcome->err, wanted), "%s: no \"%s\" in: %s", text, wanted, outcome->err);
    free(outcome);
}

Test(bench_options, what_a_scenario_has_no_use_for_is_remarked)
{
    remarked("blast --rate 5",
             "blast makes no use of --rate, which is for storm, echo, fanout, vmotion or soak");
    remarked("storm --hold 5s", "storm makes no use of --hold, which is for vmotion or soak");
    remarked("storm --users 5", "storm makes no use of --users");
    remarked("soak --restart-command true", "which is for reconnect");
    refused("storm --map-key a --active-prefix b", "give one of them");
    refused("fanout --rate 0", "give chunks a second");
    refused("vmotion --rate 0", "give migrations a second");
}

Test(bench_options, values_are_bounded)
{
    static const char *const wrong[] = {"storm --vms 0",
                                        "storm --vms 100001",
                                        "storm --vms 1e3",
                                        "storm --vms -1",
                                        "storm --vms +1",
                                        "storm --vms 5x",
                                        "storm --vms 0x10",
                                        "fanout --users 0",
                                        "echo --users 100001",
                                        "storm --threads 0",
                                        "storm --threads 65",
                                        "storm --pid 0",
                                        "storm --rate -1",
                                        "storm --rate 1000001",
                                        "storm --rate nan",
                                        "storm --rate inf",
                                        "storm --rate 1e5",
                                        "storm --rate .",
                                        "storm --rate 0.0001",
                                        "echo --duration 0",
                                        "echo --duration 10",
                                        "echo --duration 10 s",
                                        "echo --duration 31d",
                                        "echo --duration 1m",
                                        "echo --duration 99999999999999999999d",
                                        "vmotion --hold 31d",
                                        "blast --chunk 0",
                                        "blast --chunk 65KiB",
                                        "blast --chunk 1GiB",
                                        "echo --user-ports 5-4",
                                        "echo --user-ports 0-4",
                                        "echo --user-ports 5",
                                        "echo --user-ports 1-65536",
                                        "storm --vspc 1.2.3.4",
                                        "storm --vspc :1",
                                        "storm --vspc h:0",
                                        "storm --vspc h:65536",
                                        "storm --vspc ::1:80",
                                        "storm --redis here",
                                        "storm --redis h:99999",
                                        "storm --vms"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(wrong[i], "");
    refused("storm --vms 0", "--vms \"0\": give a whole number from 1 to 100000");
    refused("echo --duration 10", "give a whole number with the unit ms, s, min, h or d, from 1ms to 30d");
    refused("storm --vspc x", "give HOST:PORT or [ADDRESS]:PORT");
}

Test(bench_options, wrong_usage_says_what_would_be_right)
{
    refused("", "say which scenario: storm, echo, blast, fanout, vmotion, reconnect or soak");
    refused("strom", "there is no scenario \"strom\": give storm, echo,");
    refused("storm echo", "\"echo\" is one argument too many");
    refused("storm --bogus", "there is no option \"--bogus\"");
    refused("storm -xh", "there is no option \"-x\"");
    refused("storm --vms", "--vms needs a value: N");
    refused("storm --offer=1", "--offer takes no value");
    refused("\x1b[31m", "\"\\x1b[31m\"");
    refused("strom --help", "there is no scenario \"strom\"");
}

Test(bench_options, help_and_version_go_to_standard_output)
{
    static const char *const general[] = {"--help", "-h"}, *const version[] = {"--version", "storm -V"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome *outcome = told(general[i]);
        for (unsigned s = 0; s < SCENARIOS; s++)
            cr_expect_not_null(strstr(outcome->out, scenario_names[s]));
        cr_expect_not_null(strstr(outcome->out, "vspc-bench SCENARIO [options]"));
        free(outcome);
        outcome = told(version[i]);
        cr_expect_str_eq(outcome->out, "vspc-bench " VSPC_VERSION "\n");
        free(outcome);
    }
}

Test(bench_options, help_of_a_scenario_has_its_options_defaults_and_an_example)
{
    char line[64], example[64];
    for (unsigned s = 0; s < SCENARIOS; s++) {
        snprintf(line, sizeof line, s % 2 ? "%s --help" : "--help %s", scenario_names[s]);
        struct outcome *outcome = told(line);
        snprintf(example, sizeof example, "Example:\n  vspc-bench %s --", scenario_names[s]);
        cr_expect_not_null(strstr(outcome->out, example), "%s", outcome->out);
        cr_expect_not_null(strstr(outcome->out, "(127.0.0.1:13370)"));
        bool has_hold = strstr(outcome->out, "--hold"), has_rate = strstr(outcome->out, "--rate R");
        cr_expect_eq(has_hold, s == SCENARIO_VMOTION || s == SCENARIO_SOAK);
        cr_expect_eq(has_rate, s != SCENARIO_BLAST && s != SCENARIO_RECONNECT);
        free(outcome);
    }
    struct outcome *outcome = told("vmotion --users none --help");
    cr_expect_not_null(strstr(outcome->out, "(500ms)"));
    free(outcome);
}

/* The examples of the help are right themselves. */
Test(bench_options, examples_can_be_run)
{
    parsed("storm --vms 5000 --pid 1 --html storm.html");
    parsed("echo --vms 1000 --users 500 --rate 5 --duration 1min");
    parsed("blast --vms 4 --users 2 --chunk 16KiB");
    parsed("fanout --users 1000 --rate 10");
    parsed("vmotion --vms 500 --users 500 --rate 200 --hold 1s");
    parsed("soak --duration 8h --pid 1 --html soak.html");
}

Test(bench_options, a_host_that_does_not_resolve_exits_3)
{
    struct outcome *outcome = run("storm --vspc no-such-host.invalid:13370");
    cr_expect_eq(outcome->code, 3);
    cr_expect_str_empty(outcome->out);
    cr_expect_not_null(strstr(outcome->err, "no-such-host.invalid"), "%s", outcome->err);
    free(outcome);
    struct bench_options o = parsed("storm --vspc localhost:1234");
    cr_expect_eq(sock_addr_port(&o.vspc), 1234);
    cr_expect(sock_addr_is_loopback(&o.vspc));
}
