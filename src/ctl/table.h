/* Table: rows of text in columns, as wide as they need to be and as narrow as the terminal. */
#ifndef VSPC_CTL_TABLE_H
#define VSPC_CTL_TABLE_H

#include <stdbool.h>
#include <stdio.h>

struct table_column {
    const char *title;
    bool is_number; /* stands at the right */
    unsigned least; /* may be cut to this many columns where room is short; 0: never cut */
    unsigned spare; /* where that is not enough, those with the largest are left out first; 0: never */
};

struct table;

/* columns: must outlive it. */
struct table *table_new(const struct table_column *columns, unsigned count);
/* The next cell, row by row. text, made by shown where it is from outside, is the table's from now on. */
void table_put(struct table *table, char *text);
/* Prints it, at most columns wide (0: as wide as it gets) as far as columns may be cut and left out, the
 * titles first if has_titles; frees it. */
void table_print(struct table *table, FILE *file, unsigned columns, bool has_titles);

#endif
