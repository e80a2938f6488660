/* Summary: vspcd's figures as a person reads them: under headings, with names and units of every day. */
#ifndef VSPC_CTL_SUMMARY_H
#define VSPC_CTL_SUMMARY_H

#include <jansson.h>
#include <stdio.h>

/* stats: as vspc-control(7) has it. What it is not, and figures that a vspcd of another version lacks, are
 * passed over; those that it has and this vspcctl does not know come last, under their own names. */
void summary_print(const json_t *stats, FILE *file);

#endif
