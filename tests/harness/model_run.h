/* Model run: random sequences of events, and how often each was tried in each state. */
#ifndef VSPC_TEST_MODEL_RUN_H
#define VSPC_TEST_MODEL_RUN_H

#include "model_event.h"

/* Runs sequences against that program (VSPCD): as many as VSPC_MODEL_RUNS says, else `runs`, else (0) for ms
 * milliseconds. The seed of the first is VSPC_MODEL_SEED, else random; it is printed, and so is each event's
 * count in each state. all: every event must have happened in each of its states. */
void model_run(const char *program, unsigned runs, unsigned ms, bool all);

#endif
