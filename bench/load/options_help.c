#include <stdio.h>
#include <string.h>

#include "options_table.h"
#include "units.h"

#define BIT(name) SCENARIO_BIT(SCENARIO_##name)

enum {
    HELP_COLUMN = 27,
    WITH_USERS = BIT(ECHO) | BIT(BLAST) | BIT(FANOUT) | BIT(VMOTION) | BIT(SOAK),
    ALL = SCENARIO_BIT(SCENARIOS) - 1,
};

const struct option_text option_texts[OPTIONS] = {
    [OPTION_VSPC] = {"vspc", "HOST:PORT", ALL, "where VMs connect"},
    [OPTION_VMS] = {"vms", "N", ALL, "how many VMs"},
    [OPTION_USERS] = {"users", "N", WITH_USERS, "how many users; in blast, of each VM"},
    [OPTION_RATE] = {"rate", "R", BIT(STORM) | BIT(ECHO) | BIT(FANOUT) | BIT(VMOTION) | BIT(SOAK),
                     "how much a second; the scenario's help says of what"},
    [OPTION_DURATION] = {"duration", "D", ALL,
                         "how long: 500ms, 10s, 5min, 2h, 1d; in storm and\nreconnect, at most"},
    [OPTION_HOLD] = {"hold", "D", BIT(VMOTION) | BIT(SOAK),
                     "how long a VM is nowhere: from GOAHEAD until its\ndestination connects"},
    [OPTION_CHUNK] = {"chunk", "N", BIT(BLAST) | BIT(FANOUT), "bytes printed at a time, at most 64KiB"},
    [OPTION_THREADS] = {"threads", "N", ALL, "threads of the load"},
    [OPTION_REDIS] = {"redis", "HOST:PORT|none", ALL,
                      "where the server says which port is whose; also the\npath of a socket"},
    [OPTION_MAP_KEY] = {"map-key", "KEY", ALL, "the hash there: VM name -> user port"},
    [OPTION_ACTIVE_PREFIX] = {"active-prefix", "PREFIX", ALL,
                              "instead of it one key a VM: PREFIX and the name"},
    [OPTION_USER_PORTS] =
        {"user-ports", "FIRST-LAST", WITH_USERS,
         "where users connect; Redis is not asked, and not\nwatched either unless --redis is given"},
    [OPTION_OFFER] = {"offer", NULL, ALL, "VMs offer VMware's extension before they are asked"},
    [OPTION_NO_VERIFY] = {"no-verify", NULL, WITH_USERS, "does not check what is read byte by byte"},
    [OPTION_RESTART_COMMAND] =
        {"restart-command", "CMD", BIT(RECONNECT),
         "restarts the server with this shell command; without,\nthe VMs drop their connections themselves"},
    [OPTION_PID] = {"pid", "PID", ALL, "the server's process: CPU, memory, descriptors"},
    [OPTION_JSON] = {"json", "FILE", ALL, "writes the report for machines; - is standard output"},
    [OPTION_HTML] = {"html", "FILE", ALL, "writes the report as a page with charts"},
    [OPTION_HELP] = {"help", NULL, ALL, "prints this"},
    [OPTION_VERSION] = {"version", NULL, ALL, "prints the version"},
};

const struct scenario_text scenario_texts[SCENARIOS] = {
    [SCENARIO_STORM] =
        {
            .summary = "all VMs connect, at once or at a rate",
            .description = "All VMs connect, as after a restart of the server or of a rack of hosts, and\n"
                           "go through VMware's handshake. Measures how long each takes until it is\n"
                           "identified and until Redis says which port it has, and what a VM costs.\n",
            .example = "--vms 5000 --pid $(pidof vspcd) --html storm.html",
            .rate = "VMs that connect a second; 0: as fast as it goes,\n512 on their way at once",
            .vms = 1000,
            .duration_ms = 60000,
        },
    [SCENARIO_ECHO] =
        {
            .summary = "users type, and wait for the echo of each key",
            .description =
                "Users type into consoles whose VMs send every key back. Measures the round trip\n"
                "of a keystroke: user, server, VM, server, user. With --users 0 the VMs are held,\n"
                "and what the server costs meanwhile is measured.\n",
            .example = "--vms 1000 --users 500 --rate 5 --duration 1min",
            .rate = "keys a second of each user; 0: each types on as\nsoon as the echo has come",
            .vms = 1000,
            .users = 100,
            .user_each_vm = true,
            .duration_ms = 10000,
        },
    [SCENARIO_BLAST] =
        {
            .summary = "VMs print as fast as they can",
            .description = "VMs print as fast as the server takes it, and users read. Measures the bytes\n"
                           "that come through a second, and that each is there, once, and in order.\n",
            .example = "--vms 4 --users 2 --chunk 16KiB",
            .vms = 1,
            .users = 1,
            .duration_ms = 10000,
            .chunk = 65536,
        },
    [SCENARIO_FANOUT] =
        {
            .summary = "many users watch one VM",
            .description = "A VM prints at a steady rate, and many users watch. Measures how long it takes\n"
                           "until each of them has read it, and that none misses a byte.\n",
            .example = "--users 1000 --rate 10",
            .rate = "chunks that a VM prints a second",
            .needs_rate = "chunks",
            .vms = 1,
            .users = 100,
            .needs_user = true,
            .rate_default = 100,
            .duration_ms = 10000,
            .chunk = 80,
        },
    [SCENARIO_VMOTION] =
        {
            .summary = "VMs migrate between hosts while users work",
            .description =
                "VMs migrate from host to host, as DRS moves them, while users type and read.\n"
                "Measures how long the server's answers keep a VM down, and that no byte is lost,\n"
                "doubled or reordered on the way.\n",
            .example = "--vms 500 --users 500 --rate 200 --hold 1s",
            .rate = "migrations a second; as it is a tenth of the VMs, at\nmost 100",
            .needs_rate = "migrations",
            .vms = 1000,
            .users = 100,
            .user_each_vm = true,
            .duration_ms = 10000,
            .hold_ms = 500,
        },
    [SCENARIO_RECONNECT] =
        {
            .summary = "all VMs lose their connections, and come back",
            .description = "All VMs lose their connections at one moment and come back, as hosts do: either\n"
                           "because the server restarts, or because the load drops them. Measures how long\n"
                           "it takes until each is identified again, and in Redis again.\n",
            .example = "--vms 2000 --restart-command 'systemctl restart vspcd'",
            .vms = 1000,
            .duration_ms = 60000,
        },
    [SCENARIO_SOAK] =
        {
            .summary = "a bit of everything, for as long as you like",
            .description =
                "VMs come, go and migrate, users come, go and type, for hours or days. Holds that\n"
                "nothing is lost, and that memory and descriptors of the server stay level.\n",
            .example = "--duration 8h --pid $(pidof vspcd) --html soak.html",
            .rate = "events a second; as it is a tenth of the VMs, at\nleast 50",
            .vms = 1000,
            .users = 100,
            .user_each_vm = true,
            .needs_rate = "events",
            .duration_ms = 60000,
            .hold_ms = 500,
        },
};

/* Prints an option, what it does behind it, and its default, if there is one. */
static void print_option(enum option_id id, const char *help, const char *default_text)
{
    const struct option_text *option = &option_texts[id];
    int column = printf("  --%s%s%s", option->name, option->argument ? " " : "",
                        option->argument ? option->argument : "");
    printf("%*s", HELP_COLUMN - column, "");
    for (const char *line = help; line;) {
        const char *end = strchrnul(line, '\n');
        printf("%.*s", (int)(end - line), line);
        line = *end ? end + 1 : NULL;
        if (line)
            printf("\n%*s", HELP_COLUMN, "");
    }
    printf(*default_text ? " (%s)\n" : "%s\n", default_text);
}

void options_help(void)
{
    fputs("Usage: vspc-bench SCENARIO [options]\n"
          "\n"
          "Puts a virtual serial port concentrator under load, from the side of its VMs and\n"
          "of their users, checks what comes through, and reports how long it took.\n"
          "\n"
          "Scenarios:\n",
          stdout);
    for (unsigned i = 0; i < SCENARIOS; i++)
        printf("  %-11s %s\n", scenario_names[i], scenario_texts[i].summary);
    puts("\nOptions:");
    for (unsigned i = 0; i < OPTIONS; i++)
        print_option((enum option_id)i, option_texts[i].help, "");
    fputs("\n"
          "`vspc-bench SCENARIO --help` tells more of a scenario, its options and their\n"
          "defaults. Exit status: 0 when all was well, 1 when not, 2 for wrong usage, 3\n"
          "when there is nothing to put under load.\n",
          stdout);
}

/* An option's default in a scenario; "": none, or its help tells. */
static const char *default_text(enum option_id id, const struct scenario_text *s, char out[UNITS_TEXT])
{
    *out = 0;
    switch (id) {
    case OPTION_VSPC:
        return "127.0.0.1:13370";
    case OPTION_REDIS:
        return "127.0.0.1:6379";
    case OPTION_MAP_KEY:
        return "VM:Port";
    case OPTION_THREADS:
        return "half of the CPUs";
    case OPTION_VMS:
        snprintf(out, UNITS_TEXT, "%u", s->vms);
        break;
    case OPTION_USERS:
        snprintf(out, UNITS_TEXT, "%u", s->users);
        break;
    case OPTION_RATE:
        if (s->rate_default > 0 || !s->needs_rate)
            snprintf(out, UNITS_TEXT, "%g", s->rate_default);
        break;
    case OPTION_DURATION:
        return units_duration(out, s->duration_ms);
    case OPTION_HOLD:
        return units_duration(out, s->hold_ms);
    case OPTION_CHUNK:
        snprintf(out, UNITS_TEXT, s->chunk % 1024 ? "%u" : "%uKiB",
                 s->chunk % 1024 ? s->chunk : s->chunk / 1024);
        break;
    default:
        break;
    }
    return out;
}

void options_help_scenario(enum scenario_kind kind)
{
    const struct scenario_text *scenario = &scenario_texts[kind];
    char text[UNITS_TEXT];
    printf("Usage: vspc-bench %s [options]\n\n%s\nOptions (and defaults):\n", scenario_names[kind],
           scenario->description);
    for (unsigned i = 0; i < OPTIONS; i++) {
        enum option_id id = (enum option_id)i;
        const char *help = option_texts[i].help;
        if (id == OPTION_RATE)
            help = scenario->rate;
        else if (id == OPTION_USERS && scenario->user_each_vm)
            help = "how many users, at most one a VM";
        else if (id == OPTION_USERS)
            help = kind == SCENARIO_BLAST ? "how many users of each VM" : "how many users";
        if (option_applies(id, kind))
            print_option(id, help, default_text(id, scenario, text));
    }
    printf("\nExample:\n  vspc-bench %s %s\n", scenario_names[kind], scenario->example);
}
