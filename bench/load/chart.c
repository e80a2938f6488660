#include "chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "html.h"
#include "units.h"
#include "vspc/mem.h"

/* In the units of the picture, which the page scales. */
enum { WIDTH = 480, HEIGHT = 264, LEFT = 62, RIGHT = 18, TOP = 28, BOTTOM = 42, TICKS_MAX = 24 };

struct axis {
    double low, high;
    bool log;
    unsigned tick_count;
    struct tick {
        double at;
        char text[UNITS_TEXT];
    } ticks[TICKS_MAX];
    const char *label;
};

struct chart_line *chart_line(struct chart *chart, const char *label, unsigned style, size_t room)
{
    if (chart->line_count == CHART_LINES_MAX)
        abort();
    struct chart_line *line = &chart->lines[chart->line_count++];
    *line = (struct chart_line){
        .label = label, .style = style, .points = xcalloc(room + 1, sizeof *line->points), .room = room};
    return line;
}

void chart_point(struct chart_line *line, double x, double y)
{
    if (line->count < line->room)
        line->points[line->count++] = (struct chart_point){x, isfinite(y) ? y : NAN};
}

void chart_free(struct chart *chart)
{
    for (unsigned i = 0; i < chart->line_count; i++)
        free(chart->lines[i].points);
    chart->line_count = 0;
}

/* Adds a mark to an axis; its text is still to be set. */
static struct tick *add_tick(struct axis *axis, double at)
{
    static struct tick none;
    if (axis->tick_count == TICKS_MAX)
        return &none;
    axis->ticks[axis->tick_count] = (struct tick){.at = at};
    return &axis->ticks[axis->tick_count++];
}

/* The least of 1, 2 and 5 times a power of ten that is at least `value`. */
static double nice(double value)
{
    double power = pow(10, floor(log10(value)));
    static const double steps[] = {1, 2, 5};
    for (unsigned i = 0; i < 3; i++)
        if (value <= steps[i] * power * 1.000001)
            return steps[i] * power;
    return 10 * power;
}

/* "0.5", "20", "1,500". */
static void tick_number(char out[UNITS_TEXT], double value)
{
    if (value < 1000)
        snprintf(out, UNITS_TEXT, "%g", value);
    else
        units_number(out, value);
}

/* Marks from 0 on, in steps that are nice numbers of a unit. */
static void mark_linear(struct axis *axis, double unit, unsigned about)
{
    double step = nice(axis->high / unit / about);
    unsigned n = (unsigned)floor(axis->high / unit / step + 1e-6);
    for (unsigned i = 0; i <= n; i++)
        tick_number(add_tick(axis, i * step * unit)->text, i * step);
}

/* Times on a log scale, from one nice number to another. */
static void mark_times(struct axis *axis)
{
    static const char *const names[] = {"ns", "us", "ms", "s"};
    axis->low = nice(axis->low / 2.5);
    axis->high = nice(axis->high);
    axis->log = true;
    if (axis->high <= axis->low)
        axis->high = nice(axis->low * 1.1);
    bool all = log10(axis->high / axis->low) < 2.1;
    double at = axis->low;
    while (at <= axis->high * 1.001) {
        bool decade = fabs(log10(at) - round(log10(at))) < 1e-6;
        unsigned unit = 0;
        double shown = at;
        for (; shown > 999.9 && unit < 3; unit++)
            shown /= 1000;
        if (all || decade)
            snprintf(add_tick(axis, at)->text, UNITS_TEXT, "%g %s", shown, names[unit]);
        at = nice(at * 1.1);
    }
}

/* 0, 50, 90, 99, 99.9 and so on, as far as there is something. */
static void mark_percentiles(struct axis *axis)
{
    axis->label = "percentile";
    snprintf(add_tick(axis, 0)->text, UNITS_TEXT, "0");
    snprintf(add_tick(axis, log10(2))->text, UNITS_TEXT, "50");
    for (int nines = 1; nines <= axis->high; nines++) {
        struct tick *tick = add_tick(axis, nines);
        /* Where they stand close, only every other has room for its text. */
        if (axis->high < 6 || nines < 4 || nines % 2 == 0)
            snprintf(tick->text, UNITS_TEXT, "%.*f", nines > 2 ? nines - 2 : 0, 100 * (1 - pow(10, -nines)));
    }
}

static void mark_seconds(struct axis *axis)
{
    static const struct {
        double s;
        const char *label;
    } units[] = {{86400, "days since the run began"},
                 {3600, "hours since the run began"},
                 {60, "minutes since the run began"},
                 {1, "seconds since the run began"}};
    unsigned i = 0;
    while (units[i].s > 1 && axis->high < 2 * units[i].s)
        i++;
    axis->label = units[i].label;
    mark_linear(axis, units[i].s, 6);
}

static void mark_bytes(struct axis *axis)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double unit = 1;
    unsigned i = 0;
    for (; i < 4 && axis->high >= unit * 1024; i++)
        unit *= 1024;
    mark_linear(axis, unit, 4);
    for (unsigned t = 1; t < axis->tick_count; t++) {
        size_t len = strlen(axis->ticks[t].text);
        snprintf(axis->ticks[t].text + len, UNITS_TEXT - len, " %s", names[i]);
    }
}

/* Finds what the axes must hold. Result: false when there is no point. */
static bool measure(const struct chart *chart, struct axis *x, struct axis *y)
{
    bool any = false;
    *x = (struct axis){.high = chart->x == CHART_X_PERCENTILE ? 1 : 1e-3};
    *y = (struct axis){.low = INFINITY};
    for (unsigned i = 0; i < chart->line_count; i++)
        for (size_t p = 0; p < chart->lines[i].count; p++) {
            const struct chart_point *point = &chart->lines[i].points[p];
            if (isnan(point->y))
                continue;
            any = true;
            x->high = fmax(x->high, point->x);
            y->low = fmin(y->low, fmax(point->y, CHART_TIME_MIN));
            y->high = fmax(y->high, fmax(point->y, CHART_TIME_MIN * (chart->y == CHART_Y_TIME)));
        }
    return any;
}

/* Lays the axes out. */
static void mark(const struct chart *chart, struct axis *x, struct axis *y)
{
    if (chart->x == CHART_X_PERCENTILE)
        mark_percentiles(x);
    else
        mark_seconds(x);
    y->label = chart->y_label;
    if (chart->y == CHART_Y_TIME) {
        mark_times(y);
        return;
    }
    y->low = 0;
    y->high = y->high > 0 ? y->high * 1.08 : 1;
    if (chart->y == CHART_Y_BYTES)
        mark_bytes(y);
    else
        mark_linear(y, 1, 4);
}

/* Where a value stands between the ends of an axis, 0 to 1. */
static double place(const struct axis *axis, double value)
{
    if (axis->log)
        return log(fmax(value, axis->low) / axis->low) / log(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

static double place_x(const struct axis *axis, double value)
{
    return LEFT + place(axis, value) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const struct axis *axis, double value)
{
    return HEIGHT - BOTTOM - place(axis, value) * (HEIGHT - TOP - BOTTOM);
}

/* Draws marks, their texts and the labels of both axes. */
static void write_axes(const struct axis *x, const struct axis *y, FILE *out)
{
    for (unsigned i = 0; i < y->tick_count; i++) {
        double at = place_y(y, y->ticks[i].at);
        fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                WIDTH - RIGHT, at, at);
        fprintf(out, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%s</text>\n", LEFT - 6, at + 4,
                y->ticks[i].text);
    }
    for (unsigned i = 0; i < x->tick_count; i++) {
        double at = place_x(x, x->ticks[i].at);
        fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at,
                HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4);
        fprintf(out, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">%s</text>\n", at, HEIGHT - BOTTOM + 17,
                x->ticks[i].text);
    }
    fprintf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, WIDTH - RIGHT,
            HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    fprintf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6,
            x->label);
    fputs("<text x=\"4\" y=\"13\">", out);
    html_text(out, y->label);
    fputs("</text>\n", out);
}

/* Draws a line, in as many pieces as it has; a piece of one point is a dot. */
static void write_line(const struct chart_line *line, const struct axis *x, const struct axis *y, FILE *out)
{
    const struct chart_point *points = line->points;
    for (size_t from = 0, to; from < line->count; from = to + 1) {
        for (to = from; to < line->count && !isnan(points[to].y); to++)
            ;
        if (to == from)
            continue;
        fprintf(out, "<g class=\"s%u%s\"><title>", line->style % CHART_STYLES,
                line->style < CHART_STYLES ? "" : " dashed");
        html_text(out, line->label);
        if (to - from == 1)
            fprintf(out, "</title><circle r=\"2.5\" cx=\"%.1f\" cy=\"%.1f\"/></g>\n",
                    place_x(x, points[from].x), place_y(y, points[from].y));
        else {
            fputs("</title><polyline points=\"", out);
            for (size_t i = from; i < to; i++)
                fprintf(out, "%s%.1f,%.1f", i > from ? " " : "", place_x(x, points[i].x),
                        place_y(y, points[i].y));
            fputs("\"/></g>\n", out);
        }
    }
}

/* Names the lines, when there are several. */
static void write_legend(const struct chart *chart, FILE *out)
{
    if (chart->line_count < 2)
        return;
    fputs("<ul class=\"legend\">", out);
    for (unsigned i = 0; i < chart->line_count; i++) {
        const struct chart_line *line = &chart->lines[i];
        fprintf(out,
                "<li><svg class=\"key\" viewBox=\"0 0 18 10\" aria-hidden=\"true\"><g class=\"s%u%s\">"
                "<polyline points=\"0,5 18,5\"/></g></svg> ",
                line->style % CHART_STYLES, line->style < CHART_STYLES ? "" : " dashed");
        html_text(out, line->label);
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

bool chart_write(const struct chart *chart, FILE *out)
{
    struct axis x, y;
    if (!measure(chart, &x, &y))
        return false;
    mark(chart, &x, &y);
    fputs("<figure><figcaption>", out);
    html_text(out, chart->title);
    fprintf(out, "</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
            WIDTH, HEIGHT);
    html_text(out, chart->title);
    fputs("\">\n", out);
    write_axes(&x, &y, out);
    for (unsigned i = 0; i < chart->line_count; i++)
        write_line(&chart->lines[i], &x, &y, out);
    fputs("</svg>\n", out);
    write_legend(chart, out);
    fputs("</figure>\n", out);
    return true;
}
