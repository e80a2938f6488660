/* Stream align: the simplest way in which a few bytes of a stream became the few that arrived. Pure. */
#ifndef VSPC_STREAM_ALIGN_H
#define VSPC_STREAM_ALIGN_H

#include "stream.h"

enum {
    ALIGN_GOT_MAX = 64,
    ALIGN_HALF = 64, /* of a long stretch, the first and the last so many are compared */
    ALIGN_SENT_MAX = 2 * ALIGN_HALF + 1,
};

/* What became of them. Of a stretch that is longer than ALIGN_SENT_MAX, all that is between the halves counts
 * as one sent byte. */
struct alignment {
    size_t sent_len;
    bool present[ALIGN_SENT_MAX];       /* which of the sent arrived */
    size_t arrived, reordered, doubled; /* of what was got */
};

/* Compares what was got, at most ALIGN_GOT_MAX bytes, with what was sent from one offset to another. open:
 * more may have been sent than was got; the stretch ends, in sent_len, where it is simplest; it is short. */
void stream_align(const struct stream *stream, const uint8_t *got, size_t got_len, uint64_t from, uint64_t to,
                  bool open, struct alignment *result);
/* Where sent byte number i of an alignment begins; number sent_len is where they end. */
uint64_t stream_align_offset(size_t i, uint64_t from, uint64_t to);

#endif
