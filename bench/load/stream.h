/* Stream: bytes that say themselves where they belong, so that whoever receives them sees what was lost,
 * doubled or reordered on the way.
 *
 * The byte at an offset is a function of the stream's seed and the offset, and each aligned block of eight is
 * its own number in cipher: bytes are sequence number and checksum at once, at no cost in length, and where a
 * stretch is from is known without a search. Bytes are printable ASCII from '0' to 'o' - never a control
 * character, so that lines of others can be told from them -, and in a binary stream 255 takes the place of
 * 'o', to have telnet's escapes tried. Pure, one thread each. */
#ifndef VSPC_STREAM_H
#define VSPC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream {
    uint64_t seed;
    bool binary;
};

enum {
    STREAM_BLOCK = 8,
    STREAM_WINDOW = 12, /* that many right bytes in a row, a whole block among them, are no coincidence */
    STREAM_ENOUGH = 16, /* that many always have such a window in them */
    STREAM_GAPS_MAX = 32,
};

/* Offsets stay below: far beyond what is ever sent, and a block number has 48 bits. */
#define STREAM_LENGTH_MAX (UINT64_C(1) << 50)

/* Writes the bytes from `offset` to `offset` + len; fast, as it is what a VM prints at full speed. */
void stream_fill(const struct stream *stream, uint64_t offset, void *out, size_t len);
/* How many of the first bytes of `data` are those from `offset` on. As fast. */
size_t stream_match(const struct stream *stream, uint64_t offset, const void *data, size_t len);
/* The byte at an offset. */
uint8_t stream_byte(const struct stream *stream, uint64_t offset);
/* Where STREAM_BLOCK bytes are from if they are a block: any bytes of the right values are one, somewhere
 * below 2 * STREAM_LENGTH_MAX. Result: false when they have a value that the stream never has. */
bool stream_find(const struct stream *stream, const uint8_t *bytes, uint64_t *offset);

/* What has arrived. Every byte that arrives is, when it is known where it belongs, in one of `arrived`,
 * `doubled` and `reordered`; every byte up to `end` that has not is in `lost`, or was announced as skipped.
 *   doubled: had arrived before, or was never sent
 *   reordered: came behind one that it was sent before, and late
 * So a swap of two blocks reorders as many bytes as the first has, and a corrupted byte is one lost and one
 * doubled. Faults less than STREAM_ENOUGH bytes apart are counted as the simplest explanation has it. */
struct stream_check {
    struct stream stream;
    uint64_t at;  /* where the next byte should be from */
    uint64_t end; /* behind the furthest byte that has arrived */
    uint64_t arrived, lost, doubled, reordered, skipped;
    uint64_t run_from; /* bytes from there to `at` came in a row; while at < end they are not counted yet */
    uint8_t pending[512]; /* bytes from a fault on, until it is clear where they belong */
    size_t pending_len;
    size_t searched; /* no window begins in pending before that */
    uint8_t
        early[2 * STREAM_ENOUGH]; /* the last short stretch that belonged nowhere; it may be missing later */
    size_t early_len;
    struct stream_gap {
        uint64_t from, to;
    } gaps[STREAM_GAPS_MAX]; /* what counts as lost, and may still come late; the latest found */
    unsigned gap_count;
};

/* A check of a stream from offset `from` on. */
void stream_check_init(struct stream_check *check, const struct stream *stream, uint64_t from);
/* Takes bytes that arrived. Result: whether all was as it should be, so far as is known yet. */
bool stream_check_feed(struct stream_check *check, const void *data, size_t len);
/* The server says that it has left out the next n bytes. */
void stream_check_skip(struct stream_check *check, uint64_t n);
/* No more will come, and `sent` bytes were sent in all: what is missing up to there is lost. */
void stream_check_finish(struct stream_check *check, uint64_t sent);

#endif
