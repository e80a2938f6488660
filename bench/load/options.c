#include "options.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options_table.h"
#include "units.h"
#include "vspc/text.h"

enum {
    COUNT_MAX = 100000, /* VMs, and users */
    RATE_MAX = 1000000,
    THREADS_MAX = 64,
    CHUNK_MAX = 65536,
    CHUNKS_MAX = 50000000, /* of a fanout, which remembers when each was due */
    SOAK_RATE = 50,        /* by default, where VMs are few */
    VMOTION_RATE = 100,    /* by default, where there are VMs enough */
    PID_MAX = 4194304,     /* of any Linux */
    LONG_OPTION = 256,     /* the first value of getopt_long that is no character */
};

static const uint64_t duration_max_ms = UINT64_C(30) * 86400000;

const char *const scenario_names[SCENARIOS] = {"storm",   "echo",      "blast", "fanout",
                                               "vmotion", "reconnect", "soak"};

/* What the command line says, not looked into yet. */
struct command_line {
    const char *scenario;       /* NULL: none */
    const char *given[OPTIONS]; /* NULL: not given; "" for what takes no value */
};

/* "storm, echo or soak", of those in bits. */
static const char *list_scenarios(unsigned bits, char *out, size_t size)
{
    size_t len = 0;
    *out = 0;
    for (unsigned i = 0; i < SCENARIOS; i++)
        if (bits & SCENARIO_BIT(i)) {
            const char *between = len == 0 ? "" : bits >> (i + 1) ? ", " : " or ";
            len += (size_t)snprintf(out + len, size - len, "%s%s", between, scenario_names[i]);
        }
    return out;
}

/* The scenario that the text names. */
static enum scenario_kind find_scenario(const char *text)
{
    char list[128];
    for (unsigned i = 0; text && i < SCENARIOS; i++)
        if (strcmp(scenario_names[i], text) == 0)
            return (enum scenario_kind)i;
    list_scenarios(SCENARIO_BIT(SCENARIOS) - 1, list, sizeof list);
    if (!text)
        options_usage_error("say which scenario: %s", list);
    options_usage_error("there is no scenario %s: give %s", quote(text, strlen(text)).s, list);
}

/* What getopt_long did not understand: `argument`, or of a group of letters the one in optopt. */
static void __attribute__((noreturn)) unknown_option(int result, const char *argument)
{
    char letter[] = {'-', (char)optopt, 0};
    if (result == ':')
        options_usage_error("--%s needs a value: %s", option_texts[optopt - LONG_OPTION].name,
                            option_texts[optopt - LONG_OPTION].argument);
    if (optopt >= LONG_OPTION)
        options_usage_error("--%s takes no value", option_texts[optopt - LONG_OPTION].name);
    if (optopt)
        argument = letter;
    options_usage_error("there is no option %s, or more than one that begins so",
                        quote(argument, strlen(argument)).s);
}

/* Takes the command line apart. */
static void read_arguments(struct command_line *line, int argc, char **argv)
{
    struct option longs[OPTIONS + 1] = {{0}};
    for (int i = 0; i < OPTIONS; i++)
        longs[i] = (struct option){.name = option_texts[i].name,
                                   .has_arg = option_texts[i].argument ? required_argument : no_argument,
                                   .val = LONG_OPTION + i};
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":hV", longs, NULL)) != -1;) {
        if (c == 'h')
            c = LONG_OPTION + OPTION_HELP;
        else if (c == 'V')
            c = LONG_OPTION + OPTION_VERSION;
        if (c < LONG_OPTION)
            unknown_option(c, argv[optind - 1]);
        line->given[c - LONG_OPTION] = optarg ? optarg : "";
    }
    line->scenario = argv[optind];
    if (line->scenario && argv[optind + 1])
        options_usage_error("%s is one argument too many: give SCENARIO [options]",
                            quote(argv[optind + 1], strlen(argv[optind + 1])).s);
}

/* Tells what the scenario has no use for, and forgets it; that is no reason not to run it. */
static void check_applies(struct command_line *line, enum scenario_kind kind)
{
    char list[128];
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (!line->given[i] || option_applies((enum option_id)i, kind))
            continue;
        fprintf(stderr, "vspc-bench: %s makes no use of --%s, which is for %s\n", scenario_names[kind],
                option_texts[i].name, list_scenarios(option_texts[i].scenarios, list, sizeof list));
        line->given[i] = NULL;
    }
}

/* Half of the CPUs that the process may use; the server has the others. */
static unsigned default_threads(void)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    unsigned half = (unsigned)CPU_COUNT(&cpus) / 2;
    return half < 1 ? 1 : half > THREADS_MAX ? THREADS_MAX : half;
}

/* Refuses a rate that leaves the time that there is too short, or too long. */
static void check_rate(const struct bench_options *o)
{
    double seconds = (double)o->duration_ms / 1e3, n = o->rate * seconds;
    char duration[UNITS_TEXT];
    units_duration(duration, o->duration_ms);
    if (o->scenario == SCENARIO_STORM && o->rate > 0 && n < o->vms)
        options_usage_error("--vms %u at --rate %g take %.1f s, but --duration is %s: give more of it, or a "
                            "higher rate",
                            o->vms, o->rate, o->vms / o->rate, duration);
    if (o->scenario == SCENARIO_FANOUT && n > CHUNKS_MAX)
        options_usage_error("--rate %g for --duration %s makes more than %d chunks: give less of one",
                            o->rate, duration, CHUNKS_MAX);
}

/* How many VMs and users, and with which load. */
static void take_load(struct bench_options *o, const char *const *given)
{
    const struct scenario_text *scenario = &scenario_texts[o->scenario];
    if (given[OPTION_VMS])
        o->vms = (unsigned)options_whole("vms", given[OPTION_VMS], 1, COUNT_MAX);
    if (given[OPTION_USERS])
        o->users = (unsigned)options_whole("users", given[OPTION_USERS], scenario->needs_user, COUNT_MAX);
    else if (scenario->user_each_vm && o->users > o->vms)
        o->users = o->vms;
    if (scenario->user_each_vm && o->users > o->vms)
        options_usage_error("--users %u is more than --vms %u: %s has at most one user a VM", o->users,
                            o->vms, scenario_names[o->scenario]);
    if (o->scenario == SCENARIO_BLAST && (uint64_t)o->vms * o->users > COUNT_MAX)
        options_usage_error("--vms %u times --users %u is more than %d users: in blast each VM has its own",
                            o->vms, o->users, COUNT_MAX);
    if (given[OPTION_RATE])
        o->rate = options_rate("rate", given[OPTION_RATE], RATE_MAX);
    else if (o->scenario == SCENARIO_VMOTION)
        o->rate = o->vms < 10 * VMOTION_RATE ? o->vms / 10.0 : VMOTION_RATE;
    else if (o->scenario == SCENARIO_SOAK)
        o->rate = o->vms > 10 * SOAK_RATE ? o->vms / 10.0 : SOAK_RATE;
    if (o->rate == 0 && scenario->needs_rate)
        options_usage_error("--rate 0 would do nothing in %s: give %s a second", scenario_names[o->scenario],
                            scenario->needs_rate);
    if (given[OPTION_DURATION])
        o->duration_ms = options_duration("duration", given[OPTION_DURATION], 1, duration_max_ms);
    check_rate(o);
    if (given[OPTION_HOLD])
        o->hold_ms = options_duration("hold", given[OPTION_HOLD], 0, duration_max_ms);
    if (given[OPTION_CHUNK])
        o->chunk = (unsigned)options_size("chunk", given[OPTION_CHUNK], 1, CHUNK_MAX);
    if (given[OPTION_THREADS])
        o->threads = (unsigned)options_whole("threads", given[OPTION_THREADS], 1, THREADS_MAX);
    /* But where other threads read what a VM prints, one without a VM has nothing to do. */
    if (o->threads > o->vms && o->scenario != SCENARIO_BLAST && o->scenario != SCENARIO_FANOUT)
        o->threads = o->vms;
    if (given[OPTION_PID])
        o->pid = (int)options_whole("pid", given[OPTION_PID], 1, PID_MAX);
}

/* Where VMs, users and Redis are. */
static void take_places(struct bench_options *o, const char *const *given)
{
    if (given[OPTION_USER_PORTS]) {
        options_ports("user-ports", given[OPTION_USER_PORTS], &o->first_user_port, &o->last_user_port);
        if (!given[OPTION_REDIS])
            o->redis = NULL;
    }
    if (given[OPTION_REDIS])
        o->redis = strcmp(given[OPTION_REDIS], "none") == 0 ? NULL : given[OPTION_REDIS];
    if (given[OPTION_REDIS] && o->redis && *o->redis != '/')
        options_host_port("redis", o->redis);
    if (!o->redis && !o->first_user_port && o->users > 0)
        options_usage_error("--redis none leaves users without the ports of their VMs: "
                            "give --user-ports FIRST-LAST%s",
                            scenario_texts[o->scenario].needs_user ? "" : " or --users 0");
    if (given[OPTION_MAP_KEY] && given[OPTION_ACTIVE_PREFIX])
        options_usage_error("--map-key and --active-prefix are two places for the same: give one of them");
    if (given[OPTION_MAP_KEY])
        o->map_key = given[OPTION_MAP_KEY];
    o->active_prefix = given[OPTION_ACTIVE_PREFIX];
    if (given[OPTION_VSPC])
        o->vspc_text = given[OPTION_VSPC];
    options_resolve("vspc", o->vspc_text, &o->vspc);
}

void options_parse(struct bench_options *options, int argc, char **argv)
{
    struct command_line line = {0};
    read_arguments(&line, argc, argv);
    if (line.given[OPTION_VERSION]) {
        puts("vspc-bench " VSPC_VERSION);
        exit(0);
    }
    if (line.given[OPTION_HELP] && !line.scenario) {
        options_help();
        exit(0);
    }
    enum scenario_kind kind = find_scenario(line.scenario);
    if (line.given[OPTION_HELP]) {
        options_help_scenario(kind);
        exit(0);
    }
    check_applies(&line, kind);
    const struct scenario_text *scenario = &scenario_texts[kind];
    *options = (struct bench_options){
        .scenario = kind,
        .vspc_text = "127.0.0.1:13370",
        .vms = scenario->vms,
        .users = scenario->users,
        .rate = scenario->rate_default,
        .duration_ms = scenario->duration_ms,
        .hold_ms = scenario->hold_ms,
        .chunk = scenario->chunk,
        .threads = default_threads(),
        .redis = "127.0.0.1:6379",
        .map_key = "VM:Port",
        .offer = line.given[OPTION_OFFER],
        .verify = !line.given[OPTION_NO_VERIFY],
        .restart_command = line.given[OPTION_RESTART_COMMAND],
        .json = line.given[OPTION_JSON],
        .html = line.given[OPTION_HTML],
    };
    take_load(options, line.given);
    take_places(options, line.given);
}
