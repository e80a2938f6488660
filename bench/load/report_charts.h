/* Report's charts: how long things took, and how the run went on. Main alone. */
#ifndef VSPC_BENCH_REPORT_CHARTS_H
#define VSPC_BENCH_REPORT_CHARTS_H

#include "report.h"

/* Writes what there is to be shown. Result: the number of charts. */
unsigned report_charts_write(const struct report *report, FILE *out);

#endif
