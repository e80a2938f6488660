/* Complaints: what is wrong with a configuration, collected over a whole run so that its author can mend all
 * of it at once. One line a complaint. Owned by whoever declares it; not shared between threads. */
#ifndef VSPC_CONFIG_COMPLAINTS_H
#define VSPC_CONFIG_COMPLAINTS_H

#include "vspc/mem.h"

enum { COMPLAINTS_MAX = 20 }; /* as many are kept; the rest are counted */

/* All zero is none. */
struct complaints {
    struct bytes text;
    unsigned count;
};

/* Adds one line, given without its newline. Text from outside must come through text.h. */
void complaints_add(struct complaints *complaints, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The lines, joined by newlines and without one at the end, in fresh memory; NULL when there is none. Empties
 * the collection. */
char *complaints_take(struct complaints *complaints);

#endif
