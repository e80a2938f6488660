/* stats, reload, reopen, drain, version: vspcd itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_conn.h"
#include "display.h"
#include "summary.h"

static const struct command_option no_options[] = {{0}};
static const struct command_option stats_options[] = {
    {'j', "json", NULL, "prints one JSON object"},
    {'p', "prometheus", NULL, "prints Prometheus' text format"},
    {0},
};
static const struct command_option drain_options[] = {
    {'o', "off", NULL, "ends it: new VMs are welcome again"}, {0}};

static int stats(const struct call *call)
{
    bool is_text = call_option(call, "prometheus");
    if (is_text && call_option(call, "json"))
        fail_usage(call, "--json and --prometheus do not go together");
    json_t *request = ctl_request("stats", NULL);
    if (is_text)
        json_object_set_new(request, "format", json_string("prometheus"));
    json_t *answer = ctl_ask_once(call->socket, request);
    const json_t *figures = json_object_get(answer, "stats");
    if (is_text)
        fputs(field_text(answer, "text"), stdout);
    else if (call_option(call, "json"))
        print_json(figures);
    else
        summary_print(figures, stdout);
    json_decref(answer);
    return CTL_OK;
}

static int reload(const struct call *call)
{
    size_t i;
    json_t *key;
    json_t *answer = ctl_ask_once(call->socket, ctl_request("reload", NULL));
    puts("The configuration has been read again.");
    json_array_foreach(json_object_get(answer, "restart"), i, key)
    {
        print_shown(stdout, json_string_value(key) ? json_string_value(key) : "", json_string_length(key));
        puts(" needs a restart");
    }
    json_decref(answer);
    return CTL_OK;
}

static int reopen(const struct call *call)
{
    json_decref(ctl_ask_once(call->socket, ctl_request("reopen", NULL)));
    return CTL_OK;
}

static int drain(const struct call *call)
{
    bool off = call_option(call, "off");
    json_t *request = ctl_request("drain", NULL);
    if (off)
        json_object_set_new(request, "off", json_true());
    json_decref(ctl_ask_once(call->socket, request));
    puts(off ? "New VMs are welcome again."
             : "New VMs and migrations are refused from now on; 'vspcctl drain --off' ends that.");
    return CTL_OK;
}

static int version(const struct call *call)
{
    char text[DISPLAY_SHORT];
    puts("vspcctl " VSPC_VERSION);
    json_t *answer = ctl_ask_once(call->socket, ctl_request("version", NULL));
    char *number = shown_field(answer, "version"), *node = shown_field(answer, "node_id");
    printf("vspcd %s, process %lld, node %s, since %s%s\n", number, (long long)field_number(answer, "pid"),
           node, time_long(field_text(answer, "started"), text),
           json_is_true(json_object_get(answer, "draining")) ? ", draining" : "");
    free(number);
    free(node);
    json_decref(answer);
    return CTL_OK;
}

const struct command stats_command = {
    .name = "stats",
    .arguments = "",
    .summary = "prints vspcd's figures",
    .description = "Prints what vspcd has counted since it was started, and how it is: VMs, users,\n"
                   "handshakes, migrations, Redis, the disk, workers, the process. What counts\n"
                   "troubles is left out where it is 0, unless as JSON or for Prometheus.\n",
    .options = stats_options,
    .run = stats,
};

const struct command reload_command = {
    .name = "reload",
    .arguments = "",
    .summary = "has vspcd read its configuration again",
    .description = "Has vspcd read its configuration again, as SIGHUP does, and names the keys that\n"
                   "need a restart. A bad configuration changes nothing, and is told.\n",
    .options = no_options,
    .run = reload,
};

const struct command reopen_command = {
    .name = "reopen",
    .arguments = "",
    .summary = "has vspcd reopen the console logs (logrotate)",
    .description = "Has vspcd close and reopen the console logs. When vspcctl ends, the old files\n"
                   "are written no more: compress them, remove them.\n",
    .options = no_options,
    .run = reopen,
};

const struct command drain_command = {
    .name = "drain",
    .arguments = "",
    .summary = "refuses new VMs and migrations, tells users",
    .description = "Has vspcd refuse new VMs and answer migrations with NOTNOW, and tells the users,\n"
                   "before maintenance. VMs that are connected stay.\n",
    .options = drain_options,
    .run = drain,
};

const struct command version_command = {
    .name = "version",
    .arguments = "",
    .summary = "prints the versions of vspcctl and vspcd",
    .description = "Prints the version of vspcctl, and of the vspcd that runs: its version, process,\n"
                   "node, and since when.\n",
    .options = no_options,
    .run = version,
};
