/* Facts: what a report says in words and numbers, for its table and its page alike.
 *
 * Pure functions, any thread. Text may come from the command line: whoever shows it escapes it. */
#ifndef VSPC_BENCH_FACTS_H
#define VSPC_BENCH_FACTS_H

#include "report.h"

enum { FACT_LABEL = 64, FACT_VALUE = 192, FACTS_MAX = REPORT_FIGURES_MAX };

/* What is told of each latency. */
enum { FACTS_PERCENTS = 5 };
extern const double facts_percents[FACTS_PERCENTS];

struct facts {
    unsigned count;
    struct fact {
        char label[FACT_LABEL], value[FACT_VALUE];
    } rows[FACTS_MAX];
};

/* "OK", "FAILED", "INTERRUPTED". */
const char *facts_verdict(const struct report *report);
/* What was run against what. */
void facts_settings(struct facts *facts, const struct bench_options *options);
/* VMs and streams. */
void facts_load(struct facts *facts, const struct report *report);
/* The server's process; none when it is not known. */
void facts_server(struct facts *facts, const struct report *report);
/* The scenario's figures. */
void facts_figures(struct facts *facts, const struct report *report);

#endif
