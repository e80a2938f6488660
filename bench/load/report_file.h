/* Report file: a file that is there in whole or not at all.
 *
 * Main alone. Errors are said on standard error, once. */
#ifndef VSPC_BENCH_REPORT_FILE_H
#define VSPC_BENCH_REPORT_FILE_H

#include <stdio.h>

struct report_file {
    FILE *out;        /* to write to */
    const char *path; /* "-": standard output */
    char *temporary;  /* owned; beside path; NULL: none, path is no file to be replaced */
};

/* Opens for writing; path must stay. What is there already stays until report_file_close; what is no regular
 * file (/dev/stderr, a pipe) is written to as it is. Result: 0 or a negative errno. */
int report_file_open(struct report_file *file, const char *path);
/* Ends writing. Result: 0, and the file stands under its path; or a negative errno, and it does not. */
int report_file_close(struct report_file *file);

#endif
