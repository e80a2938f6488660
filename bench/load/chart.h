/* Chart: lines over two axes, as inline SVG without scripts.
 *
 * Main alone. A chart owns its lines. Colours are the page's: the line of style n has the class "n". */
#ifndef VSPC_CHART_H
#define VSPC_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CHART_LINES_MAX = 16, CHART_STYLES = 9 };

enum chart_x {
    CHART_X_SECONDS,
    CHART_X_PERCENTILE, /* log10(1 / (1 - p)): as much room for the last percent as for all before */
};
enum chart_y {
    CHART_Y_TIME, /* nanoseconds, on a log scale; below CHART_TIME_MIN is drawn as that */
    CHART_Y_NUMBER,
    CHART_Y_BYTES,
};

enum { CHART_TIME_MIN = 100 };

struct chart_point {
    double x, y; /* y NAN: the line is broken here */
};

struct chart_line {
    const char *label;
    unsigned style; /* from CHART_STYLES on: the same colours, dashed */
    struct chart_point *points;
    size_t count, room;
};

struct chart {
    const char *title;
    const char *y_label; /* what is on the axis that goes up */
    enum chart_x x;
    enum chart_y y;
    struct chart_line lines[CHART_LINES_MAX];
    unsigned line_count;
};

/* Adds a line with room for so many points. label must stay. */
struct chart_line *chart_line(struct chart *chart, const char *label, unsigned style, size_t room);
/* Adds a point, to the right of those before; beyond the room it is left out. */
void chart_point(struct chart_line *line, double x, double y);
/* Writes the chart with its title and a legend. Result: false, and nothing is written, when it has no point.
 */
bool chart_write(const struct chart *chart, FILE *out);
/* Frees the lines. */
void chart_free(struct chart *chart);

#endif
