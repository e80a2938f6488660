#include "table.h"

#include <stdlib.h>

#include "display.h"
#include "vspc/mem.h"

enum { GAP = 2 };

struct table {
    const struct table_column *columns;
    unsigned count;
    char **cells;
    size_t len, cap;
};

struct table *table_new(const struct table_column *columns, unsigned count)
{
    struct table *table = xcalloc(1, sizeof *table);
    table->columns = columns;
    table->count = count;
    return table;
}

void table_put(struct table *table, char *text)
{
    if (table->len == table->cap) {
        table->cap = table->cap ? 2 * table->cap : 256;
        table->cells = xrealloc(table->cells, table->cap * sizeof *table->cells);
    }
    table->cells[table->len++] = text;
}

/* The column behind this one; behind the last it is the first, of the next row. */
static size_t next_column(const struct table *table, size_t column)
{
    return column + 1 == table->count ? 0 : column + 1;
}

/* How wide each column would like to be. */
static void measure(const struct table *table, bool has_titles, unsigned *widths)
{
    for (unsigned i = 0; i < table->count; i++)
        widths[i] = has_titles ? shown_width(table->columns[i].title) : 1;
    for (size_t i = 0, column = 0; i < table->len; i++, column = next_column(table, column)) {
        unsigned width = shown_width(table->cells[i]);
        if (width > widths[column])
            widths[column] = width;
    }
}

/* How wide the row is, with each column as wide as that or, if least, as far cut as it may be. A column of
 * width 0 is not there. */
static unsigned row_width(const struct table *table, const unsigned *widths, bool least)
{
    unsigned total = 0;
    for (unsigned i = 0; i < table->count; i++) {
        unsigned cut = table->columns[i].least;
        if (widths[i])
            total += (total ? GAP : 0) + (least && cut && cut < widths[i] ? cut : widths[i]);
    }
    return total;
}

/* Leaves columns out until the others can be cut enough, or none is to spare. */
static void leave_out(const struct table *table, unsigned columns, unsigned *widths)
{
    while (row_width(table, widths, true) > columns) {
        unsigned spare = 0;
        for (unsigned i = 1; i < table->count; i++)
            if (widths[i] && table->columns[i].spare > table->columns[spare].spare)
                spare = i;
        if (!table->columns[spare].spare)
            return;
        widths[spare] = 0;
    }
}

/* Takes from the widest column that may be cut, until all fit or none can give more. */
static void narrow(const struct table *table, unsigned columns, unsigned *widths)
{
    for (unsigned total = row_width(table, widths, false); total > columns; total--) {
        unsigned widest = table->count;
        for (unsigned i = 0; i < table->count; i++)
            if (table->columns[i].least && widths[i] > table->columns[i].least &&
                (widest == table->count || widths[i] > widths[widest]))
                widest = i;
        if (widest == table->count)
            return;
        widths[widest]--;
    }
}

static void print_spaces(FILE *file, unsigned count)
{
    for (; count; count--)
        putc_unlocked(' ', file);
}

/* A cell, cut or filled to its column's width; the last one of a row has nothing behind it. */
static void print_cell(FILE *file, const char *text, unsigned width, bool is_number, bool is_last)
{
    unsigned has = shown_width(text);
    if (!width)
        return;
    if (has > width) {
        fwrite(text, 1, shown_cut(text, width - 1), file);
        fputc('~', file);
        has = width;
    } else {
        if (is_number)
            print_spaces(file, width - has);
        fputs(text, file);
        if (is_number)
            has = width;
    }
    if (is_last)
        fputc('\n', file);
    else
        print_spaces(file, width - has + GAP);
}

void table_print(struct table *table, FILE *file, unsigned columns, bool has_titles)
{
    unsigned *widths = xcalloc(table->count, sizeof *widths);
    measure(table, has_titles, widths);
    if (columns)
        leave_out(table, columns, widths);
    if (columns)
        narrow(table, columns, widths);
    unsigned last = table->count - 1;
    while (last > 0 && !widths[last])
        last--;
    for (unsigned i = 0; has_titles && i < table->count; i++)
        print_cell(file, table->columns[i].title, widths[i], table->columns[i].is_number, i == last);
    for (size_t i = 0, at = 0; i < table->len; i++, at = next_column(table, at)) {
        print_cell(file, table->cells[i], widths[at], table->columns[at].is_number, at == last);
        free(table->cells[i]);
    }
    free(table->cells);
    free(widths);
    free(table);
}
