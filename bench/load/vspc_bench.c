/* vspc-bench: load, from the VMs' side and the users', and what became of it. */
#include <stdio.h>
#include <string.h>

#include "run.h"

/* Exit statuses: 0 well, 1 not, 2 usage, 3 not reachable. */
int main(int argc, char **argv)
{
    static void (*const scenarios[SCENARIOS])(struct run *) = {
        [SCENARIO_STORM] = scenario_storm,     [SCENARIO_ECHO] = scenario_echo,
        [SCENARIO_BLAST] = scenario_blast,     [SCENARIO_FANOUT] = scenario_fanout,
        [SCENARIO_VMOTION] = scenario_vmotion, [SCENARIO_RECONNECT] = scenario_reconnect,
        [SCENARIO_SOAK] = scenario_soak,
    };
    static struct run run;
    struct bench_options options;
    options_parse(&options, argc, argv);
    int status = run_start(&run, &options);
    if (status)
        return status;
    scenarios[options.scenario](&run);
    run_conclude(&run);
    progress_end();
    /* Standard output is for a program where it asks for that. */
    bool is_asked_for =
        (options.json && strcmp(options.json, "-") == 0) || (options.html && strcmp(options.html, "-") == 0);
    report_print(&run.report, is_asked_for ? stderr : stdout);
    int err = 0;
    if (options.json)
        err |= report_write_json(&run.report, options.json);
    if (options.html)
        err |= report_write_html(&run.report, options.html);
    status = run.report.ok && !err ? 0 : 1;
    run_end(&run);
    return status;
}
