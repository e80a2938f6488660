#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/stats.h"
#include "vspc/mem.h"

struct text {
    struct bytes bytes;
    const char *family; /* whose HELP and TYPE stand there */
};

static void put_value(const struct stat_value *value, void *arg)
{
    struct text *text = arg;
    char *head = xstrdup("");
    if (!text->family || strcmp(text->family, value->metric) != 0) {
        free(head);
        head = xasprintf("# HELP %s %s.\n# TYPE %s %s\n", value->metric, value->help, value->metric,
                         value->is_level ? "gauge" : "counter");
        text->family = value->metric;
    }
    /* As many digits as a byte count of a long life needs, and no more than a clock gives. */
    char *line = xasprintf("%s%s%s%s%s %.16g\n", head, value->metric, value->label[0] ? "{" : "",
                           value->label, value->label[0] ? "}" : "", value->value);
    bytes_put(&text->bytes, line, strlen(line));
    free(line);
    free(head);
}

char *stats_prometheus(struct control *control)
{
    struct text text = {0};
    stats_each(control, put_value, &text);
    char *whole = xmemdup0(bytes_at(&text.bytes), text.bytes.len);
    bytes_clear(&text.bytes);
    return whole;
}
