/* Top picture: what `top` shows, as text: how vspcd is, and its busiest consoles. */
#ifndef VSPC_CTL_TOP_PICTURE_H
#define VSPC_CTL_TOP_PICTURE_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "ctl_conn.h"

enum top_order { TOP_BY_RATE, TOP_BY_USERS, TOP_BY_NAME, TOP_ORDERS };

struct top_row {
    json_t *console;
    double from_vm, to_vm; /* bytes a second since the sample before */
};

/* Two looks at vspcd, and what has changed between them. All zero is none yet. */
struct top_sample {
    json_t *stats, *version;
    json_t *stats_before; /* NULL: this is the first look */
    double seconds;       /* between the two */
    json_t *consoles;     /* handle -> console, of the look before the last */
    struct top_row *rows;
    size_t len;
    double from_vms, to_vms; /* of all */
    uint64_t at_ms;
};

/* Looks again; exits when vspcd does not answer. */
void top_look(struct top_sample *sample, struct ctl_conn *conn);
void top_free(struct top_sample *sample);

/* Prints it, in at most this many columns and lines; 0: as much as there is. */
void top_print(struct top_sample *sample, FILE *file, enum top_order order, unsigned columns, unsigned lines);
/* "rate" and so on. */
const char *top_order_name(enum top_order order);

#endif
