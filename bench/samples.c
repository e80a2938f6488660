#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

#include "vspc/mem.h"

void samples_add(struct samples *s, uint64_t ns)
{
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->ns = xrealloc(s->ns, s->cap * sizeof *s->ns);
    }
    s->ns[s->len++] = ns;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The sample of that rank, when they are sorted. */
static uint64_t ranked(const struct samples *s, double percent)
{
    double exact = (double)s->len * percent / 100;
    size_t rank = (size_t)exact;
    if ((double)rank < exact)
        rank++;
    return s->ns[rank ? rank - 1 : 0];
}

uint64_t samples_percentile(struct samples *s, double percent)
{
    if (s->len == 0)
        return 0;
    qsort(s->ns, s->len, sizeof *s->ns, by_size);
    return ranked(s, percent);
}

void samples_print_row(struct samples *s, const char *name)
{
    static const double percents[] = {50, 90, 99, 99.9, 100};
    printf("| %s | %zu |", name, s->len);
    if (s->len)
        qsort(s->ns, s->len, sizeof *s->ns, by_size);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        if (s->len)
            printf(" %.3f |", (double)ranked(s, percents[i]) / 1e6);
        else
            printf(" |");
    printf("\n");
}

void samples_clear(struct samples *s)
{
    free(s->ns);
    *s = (struct samples){0};
}
