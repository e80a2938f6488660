/* Stats: all figures of the daemon, gathered when somebody asks. Main's. */
#ifndef VSPC_STATS_H
#define VSPC_STATS_H

#include <jansson.h>

struct control;

/* One value. Those of one metric come one behind the other. */
struct stat_value {
    const char *metric; /* Prometheus' name */
    const char *label;  /* `name="value"`, or "" */
    const char *help;   /* a sentence without a full stop */
    int is_level;       /* a gauge, not a counter */
    double value;
};

typedef void stat_fn(const struct stat_value *value, void *arg);

/* Calls fn for each. */
void stats_each(struct control *control, stat_fn *fn, void *arg);

/* An object: a number for each metric; for one with labels an object of them, by the label's value. */
json_t *stats_json(struct control *control);
/* prometheus.c: the text format, in fresh memory. */
char *stats_prometheus(struct control *control);

#endif
