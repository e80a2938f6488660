/* Log gzip: rotated files are compressed, one behind the other, a few milliseconds of the disk thread at a
 * time. What is not whole has a name that ends in LOG_GZIP_PART, whoever kills vspcd; where compressing
 * fails, the file stays as it is. The disk thread's own. */
#ifndef VSPC_LOG_GZIP_H
#define VSPC_LOG_GZIP_H

#include "log_files.h"

#define LOG_GZIP_PART ".gz~"

struct gzip_job;

/* The file `name`.`number` is to be compressed. */
void log_gzip_add(struct log_files *files, const char *name, unsigned number);
/* It has another number now; 0: it is gone. */
void log_gzip_renumber(struct log_files *files, const char *name, unsigned from, unsigned to);
/* Goes on with what is to be done. */
void log_gzip_step(struct log_files *files);
/* Gives up what is not done. */
void log_gzip_stop(struct log_files *files);

#endif
