/* Admission: one count of the descriptors that connections may use. A VM takes 2 (its socket and its user
 * port), a user 1. Any thread. */
#ifndef VSPC_ADMISSION_H
#define VSPC_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>

enum {
    ADMISSION_RESERVE = 64, /* descriptors kept for the daemon itself, and to refuse with */
    ADMISSION_VM = 2,
    ADMISSION_USER = 1,
};

struct admission {
    atomic_int left;
    int total; /* never changes */
};

/* limit: how many descriptors the process may have. */
void admission_init(struct admission *admission, int limit);
/* Result: whether there were n left; then they are taken. */
bool admission_take(struct admission *admission, int n);
void admission_give(struct admission *admission, int n);

#endif
