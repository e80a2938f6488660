#include "report.h"

#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "units.h"
#include "vspc/mem.h"
#include "vspc/text.h"

enum { LABEL_COLUMN = 30, LINE = 96, MINUTES_MAX = 60 };

void report_free(struct report *report)
{
    free(report->moments);
    report->moments = NULL;
    report->moment_count = 0;
}

void report_figure(struct report *report, const char *key, const char *text, const char *unit, double value)
{
    if (report->figure_count < REPORT_FIGURES_MAX)
        report->figures[report->figure_count++] = (struct figure){key, text, unit, value};
}

/* The mean of two times of which the first stands for `weight` moments; of a moment without any, the other.
 */
static uint64_t mean(uint64_t a, uint64_t b, unsigned weight)
{
    if (a == 0 || b == 0)
        return a + b;
    return (uint64_t)(((double)a * weight + (double)b) / (weight + 1));
}

/* Makes one moment of two that follow each other, the earlier standing for `weight` of the later: the later's
 * counters, the mean of the percentiles, the longest time. */
static struct moment joined(const struct moment *earlier, const struct moment *later, unsigned weight)
{
    struct moment both = *later;
    both.p50_ns = mean(earlier->p50_ns, later->p50_ns, weight);
    both.p99_ns = mean(earlier->p99_ns, later->p99_ns, weight);
    if (both.max_ns < earlier->max_ns)
        both.max_ns = earlier->max_ns;
    return both;
}

/* Makes one moment of each two. */
static void halve(struct report *report)
{
    for (size_t i = 0; i < REPORT_MOMENTS_MAX / 2; i++)
        report->moments[i] = joined(&report->moments[2 * i], &report->moments[2 * i + 1], 1);
    report->moment_count = REPORT_MOMENTS_MAX / 2;
    report->moments_each *= 2;
}

void report_moment(struct report *report, const struct moment *moment)
{
    if (!report->moments) {
        report->moments = xcalloc(REPORT_MOMENTS_MAX, sizeof *report->moments);
        report->moments_each = report->moments_last = 1;
    }
    if (report->moment_count && report->moments_last < report->moments_each) {
        struct moment *last = &report->moments[report->moment_count - 1];
        *last = joined(last, moment, report->moments_last++);
        return;
    }
    if (report->moment_count == REPORT_MOMENTS_MAX)
        halve(report);
    report->moments[report->moment_count++] = *moment;
    report->moments_last = 1;
}

/* Prints settings one behind the other, in lines that fit. */
static void print_settings(const struct bench_options *options, FILE *out)
{
    struct facts facts;
    facts_settings(&facts, options);
    int column = 0;
    for (unsigned i = 0; i < facts.count; i++) {
        const struct fact *row = &facts.rows[i];
        struct quoted value = printable(row->value, strlen(row->value));
        int len = (int)(strlen(row->label) + strlen(value.s)) + 1;
        if (column > 0 && column + 2 + len > LINE)
            column = 0, fputs(",\n", out);
        column += fprintf(out, "%s%s %s", column > 0 ? ", " : "", row->label, value.s);
    }
    fputs("\n\n", out);
}

/* Prints a line each, the values below one another. */
static void print_facts(const struct facts *facts, FILE *out)
{
    size_t width = LABEL_COLUMN - 2;
    for (unsigned i = 0; i < facts->count; i++)
        width = strlen(facts->rows[i].label) > width ? strlen(facts->rows[i].label) : width;
    for (unsigned i = 0; i < facts->count; i++)
        fprintf(out, "%-*s  %s\n", (int)width, facts->rows[i].label, facts->rows[i].value);
}

/* Prints what was timed, a line each; nothing when nothing was. */
static void print_latencies(const struct tally *tally, FILE *out)
{
    bool headed = false;
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = &tally->latencies[i];
        char text[UNITS_TEXT];
        if (h->count == 0)
            continue;
        if (!headed)
            fprintf(out, "\n%-*s%10s%10s%10s%10s%10s%12s\n", LABEL_COLUMN, "", "p50", "p90", "p99", "p99.9",
                    "max", "count");
        headed = true;
        fprintf(out, "%-*s", LABEL_COLUMN, latency_texts[i]);
        for (size_t p = 0; p < FACTS_PERCENTS; p++)
            fprintf(out, "%10s", units_time(text, (double)histogram_percentile(h, facts_percents[p])));
        fprintf(out, "%12s\n", units_count(text, h->count));
    }
}

/* Prints what the server took at the start, each minute (of a long run at MINUTES_MAX moments) and at the
 * end. */
static void print_minutes(const struct report *report, FILE *out)
{
    char when[UNITS_TEXT], memory[UNITS_TEXT], cpu[UNITS_TEXT];
    double end_s = report->moment_count ? report->moments[report->moment_count - 1].at_s : 0;
    double step_s = end_s / MINUTES_MAX > 60 ? end_s / MINUTES_MAX : 60, next_s = 0;
    if (report->options->scenario != SCENARIO_SOAK || !report->before.known)
        return;
    fprintf(out, "\n%-*s%12s%12s%14s\n", LABEL_COLUMN, "Server, after", "CPU", "memory", "descriptors");
    for (size_t i = 0; i < report->moment_count; i++) {
        const struct moment *m = &report->moments[i];
        if (!m->server.known || (m->at_s < next_s && i + 1 < report->moment_count))
            continue;
        next_s = m->at_s + step_s - 0.5;
        fprintf(out, "%-*s%12s%12s%14u\n", LABEL_COLUMN, units_time(when, m->at_s * 1e9),
                units_time(cpu, m->server.cpu_s * 1e9), units_bytes(memory, (double)m->server.rss_kib * 1024),
                m->server.fds);
    }
}

void report_print(const struct report *report, FILE *out)
{
    struct facts facts;
    char took[UNITS_TEXT];
    fprintf(out, "%s: %s, %s", facts_verdict(report), scenario_names[report->options->scenario],
            units_time(took, report->seconds * 1e9));
    if (!report->ok && report->interrupted)
        fputs(", interrupted", out);
    fputs("\n", out);
    if (*report->failure)
        fprintf(out, "%s\n", printable(report->failure, strlen(report->failure)).s);
    print_settings(report->options, out);
    facts_load(&facts, report);
    print_facts(&facts, out);
    print_latencies(&report->tally, out);
    facts_server(&facts, report);
    if (facts.count)
        fputs("\n", out);
    print_facts(&facts, out);
    facts_figures(&facts, report);
    if (facts.count)
        fputs("\n", out);
    print_facts(&facts, out);
    print_minutes(report, out);
}
