/* Lines: what inih reads a file through. It counts the lines, and holds back those that inih would misread in
 * silence: too long, indented, with NUL bytes, `name: value`, text behind a [section]. inih sees an empty
 * line instead. One thread, for the reading of one file. */
#ifndef VSPC_CONFIG_LINES_H
#define VSPC_CONFIG_LINES_H

#include <stdbool.h>
#include <stdio.h>

#include "complaints.h"

enum {
    LINES_TEXT_MAX = 190,         /* bytes of a line; inih cuts at 200 */
    LINES_MARKS = 4,              /* room for what is not text: a byte order mark and a CR */
    LINES_FILE_MAX = 1024 * 1024, /* bytes of a file, so that /dev/zero has an end */
};

/* All zero but file, name and complaints is at the start. */
struct lines {
    FILE *file;
    const char *name; /* for complaints; printable */
    struct complaints *complaints;
    unsigned number;   /* of the last line read, from 1 */
    size_t bytes_read; /* of the file */
    int read_error;    /* an errno; 0: none */
    bool in_section;   /* a [section] has been seen */
    bool skipping;     /* the section does not exist: its keys are not looked at */
    const char *value; /* of the last key = value line, with its inline comment, in text */
    char text[LINES_TEXT_MAX + LINES_MARKS + 1];
};

/* An ini_reader for ini_parse_stream, with a struct lines as its stream. */
char *lines_next(char *out, int size, void *lines);

#endif
