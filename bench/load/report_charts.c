#include "report_charts.h"

#include <math.h>

#include "chart.h"

enum { POINTS_A_DECADE = 40, DECADES_MAX = 20 };

/* The latencies, each over its percentiles up to the last event. */
static bool write_distribution(const struct report *report, FILE *out)
{
    struct chart chart = {
        .title = "How long things took", .y_label = "latency", .x = CHART_X_PERCENTILE, .y = CHART_Y_TIME};
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = &report->tally.latencies[i];
        if (h->count == 0)
            continue;
        struct chart_line *line = chart_line(&chart, latency_texts[i], i, POINTS_A_DECADE * DECADES_MAX);
        double end = log10((double)h->count);
        /* Not from the very shortest on, which would take most of the scale. */
        for (unsigned p = POINTS_A_DECADE / 20; p < POINTS_A_DECADE * end; p++) {
            double x = (double)p / POINTS_A_DECADE;
            chart_point(line, x, (double)histogram_percentile(h, 100 * (1 - pow(10, -x))));
        }
        chart_point(line, end, (double)h->max_ns);
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

/* How much of the main counter there was a second. */
static bool write_rate(const struct report *report, FILE *out)
{
    enum counter counter = report->main_counter;
    char title[64];
    snprintf(title, sizeof title, "%s a second", counter_texts[counter]);
    bool bytes = counter == COUNT_PRINTED || counter == COUNT_DELIVERED;
    struct chart chart = {.title = title, .y_label = "a second", .y = bytes ? CHART_Y_BYTES : CHART_Y_NUMBER};
    struct chart_line *line = chart_line(&chart, title, 0, report->moment_count);
    for (size_t i = 1; i < report->moment_count; i++) {
        const struct moment *a = &report->moments[i - 1], *b = &report->moments[i];
        chart_point(line, b->at_s,
                    ((double)b->counters[counter] - (double)a->counters[counter]) / (b->at_s - a->at_s));
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

/* The main latency's percentiles, moment by moment. */
static bool write_latency(const struct report *report, FILE *out)
{
    char title[64];
    snprintf(title, sizeof title, "%s, over time", latency_texts[report->main_latency]);
    struct chart chart = {.title = title, .y_label = "latency", .y = CHART_Y_TIME};
    struct chart_line *max = chart_line(&chart, "maximum", 8, report->moment_count),
                      *p99 = chart_line(&chart, "99th percentile", 1, report->moment_count),
                      *p50 = chart_line(&chart, "median", 0, report->moment_count);
    for (size_t i = 0; i < report->moment_count; i++) {
        const struct moment *m = &report->moments[i];
        bool any = m->max_ns > 0;
        chart_point(max, m->at_s, any ? (double)m->max_ns : NAN);
        chart_point(p99, m->at_s, any ? (double)m->p99_ns : NAN);
        chart_point(p50, m->at_s, any ? (double)m->p50_ns : NAN);
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

/* The share of a CPU that the server took. */
static bool write_cpu(const struct report *report, FILE *out)
{
    struct chart chart = {.title = "Server's CPU time", .y_label = "% of one CPU", .y = CHART_Y_NUMBER};
    struct chart_line *line = chart_line(&chart, "CPU", 0, report->moment_count);
    for (size_t i = 1; i < report->moment_count; i++) {
        const struct moment *a = &report->moments[i - 1], *b = &report->moments[i];
        bool known = a->server.known && b->server.known && b->server.cpu_s >= a->server.cpu_s;
        chart_point(line, b->at_s,
                    known ? (b->server.cpu_s - a->server.cpu_s) / (b->at_s - a->at_s) * 100 : NAN);
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

static bool write_memory(const struct report *report, FILE *out)
{
    struct chart chart = {.title = "Server's memory", .y_label = "resident", .y = CHART_Y_BYTES};
    struct chart_line *line = chart_line(&chart, "memory", 0, report->moment_count);
    for (size_t i = 0; i < report->moment_count; i++) {
        const struct moment *m = &report->moments[i];
        chart_point(line, m->at_s, m->server.known ? (double)m->server.rss_kib * 1024 : NAN);
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

static bool write_descriptors(const struct report *report, FILE *out)
{
    struct chart chart = {.title = "Server's descriptors", .y_label = "open", .y = CHART_Y_NUMBER};
    struct chart_line *line = chart_line(&chart, "descriptors", 0, report->moment_count);
    for (size_t i = 0; i < report->moment_count; i++) {
        const struct moment *m = &report->moments[i];
        chart_point(line, m->at_s, m->server.known && m->server.fds ? (double)m->server.fds : NAN);
    }
    bool any = chart_write(&chart, out);
    chart_free(&chart);
    return any;
}

unsigned report_charts_write(const struct report *report, FILE *out)
{
    unsigned n = 0;
    n += write_distribution(report, out);
    n += write_latency(report, out);
    n += write_rate(report, out);
    n += write_cpu(report, out);
    n += write_memory(report, out);
    n += write_descriptors(report, out);
    return n;
}
