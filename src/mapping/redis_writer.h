/* Redis writer, the private side: what tests may set. */
#ifndef VSPC_REDIS_WRITER_H
#define VSPC_REDIS_WRITER_H

#include "mapping/redis_session.h"
#include "vspc/mapping.h"

/* Any thread: changes how often the writer looks after Redis. */
void redis_writer_set_pace(struct redis_writer *writer, struct redis_pace pace);

#endif
