#include "stream.h"

#include <string.h>

/* A block's number goes through a cipher of 48 bits, six for each of its bytes: multiplications by odd
 * numbers and folds of the upper half onto the lower, each of which can be undone. */
#define BITS_48 ((UINT64_C(1) << 48) - 1)
#define FACTOR_1 UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR_2 UINT64_C(0xd1342543de82ef95)
#define EACH_BYTE UINT64_C(0x0101010101010101)

enum { FOLD = 24, FIRST_CHARACTER = '0', LAST_VALUE = 63, BINARY_LAST = 255 };

/* What the seed makes of the cipher. */
struct cipher {
    uint64_t key_1, key_2;
};

/* A number of which each bit depends on each of the seed's. */
static uint64_t scramble(uint64_t seed)
{
    seed ^= seed >> 32;
    seed *= FACTOR_2;
    seed ^= seed >> 29;
    seed *= FACTOR_1;
    return seed ^ seed >> 32;
}

static struct cipher cipher_of(const struct stream *stream)
{
    return (struct cipher){scramble(stream->seed + FACTOR_1), scramble(stream->seed + FACTOR_2)};
}

/* The 48 bits of a block. */
static inline uint64_t encipher(struct cipher cipher, uint64_t block)
{
    uint64_t x = (block + cipher.key_1) * FACTOR_1 & BITS_48;
    x ^= x >> FOLD;
    x = (x + cipher.key_2) * FACTOR_2 & BITS_48;
    return x ^ x >> FOLD;
}

/* What times an odd number is 1 in 64 bits: each step doubles how many bits are right. */
static inline uint64_t inverse_of(uint64_t factor)
{
    uint64_t x = factor;
    for (int right_bits = 3; right_bits < 64; right_bits *= 2)
        x *= 2 - factor * x;
    return x;
}

static uint64_t decipher(struct cipher cipher, uint64_t x)
{
    x ^= x >> FOLD;
    x = x * inverse_of(FACTOR_2) - cipher.key_2;
    x &= BITS_48;
    x ^= x >> FOLD;
    return (x * inverse_of(FACTOR_1) - cipher.key_1) & BITS_48;
}

/* A block as its eight bytes lie in memory: six bits to each, all at once. */
static inline uint64_t block_word(struct cipher cipher, uint64_t block, bool binary)
{
    uint64_t x = encipher(cipher, block);
    x = (x & UINT64_C(0xffffff000000)) << 8 | (x & UINT64_C(0xffffff));
    x = (x & UINT64_C(0x00fff00000fff000)) << 4 | (x & UINT64_C(0x00000fff00000fff));
    x = (x & UINT64_C(0x0fc00fc00fc00fc0)) << 2 | (x & UINT64_C(0x003f003f003f003f));
    /* 64 where the value is the last one; with the character that makes 0x6f into 0xff. */
    uint64_t last = binary ? (x + EACH_BYTE) & (EACH_BYTE * 64) : 0;
    return (x + EACH_BYTE * FIRST_CHARACTER) | last << 1 | last >> 2;
}

/* Copies the bytes of a block from number `skip` on. Result: how many. */
static size_t block_copy(struct cipher cipher, const struct stream *stream, uint64_t offset, uint8_t *out,
                         size_t len)
{
    uint64_t word = block_word(cipher, offset / STREAM_BLOCK, stream->binary);
    size_t skip = offset % STREAM_BLOCK;
    size_t n = len < STREAM_BLOCK - skip ? len : STREAM_BLOCK - skip;
    memcpy(out, (uint8_t *)&word + skip, n);
    return n;
}

/* Writes whole blocks; `binary` is a constant where it is called. */
static inline void fill_blocks(struct cipher cipher, uint64_t block, bool binary, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = block_word(cipher, block + i, binary);
        memcpy(out + i * STREAM_BLOCK, &word, sizeof word);
    }
}

void stream_fill(const struct stream *stream, uint64_t offset, void *out, size_t len)
{
    struct cipher cipher = cipher_of(stream);
    uint8_t *to = out;
    if (offset % STREAM_BLOCK && len) {
        size_t n = block_copy(cipher, stream, offset, to, len);
        to += n, offset += n, len -= n;
    }
    size_t whole = len / STREAM_BLOCK;
    if (stream->binary)
        fill_blocks(cipher, offset / STREAM_BLOCK, true, to, whole);
    else
        fill_blocks(cipher, offset / STREAM_BLOCK, false, to, whole);
    if (len % STREAM_BLOCK)
        block_copy(cipher, stream, offset + whole * STREAM_BLOCK, to + whole * STREAM_BLOCK,
                   len % STREAM_BLOCK);
}

/* How many of `count` whole blocks are right, up to the first that is not; `binary` as above. */
static inline size_t match_blocks(struct cipher cipher, uint64_t block, bool binary, const uint8_t *data,
                                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word;
        memcpy(&word, data + i * STREAM_BLOCK, sizeof word);
        if (word != block_word(cipher, block + i, binary))
            return i;
    }
    return count;
}

/* How many bytes are right, of those of one block. */
static size_t match_bytes(struct cipher cipher, const struct stream *stream, uint64_t offset,
                          const uint8_t *data, size_t len)
{
    uint8_t right[STREAM_BLOCK];
    size_t n = block_copy(cipher, stream, offset, right, len), i = 0;
    while (i < n && data[i] == right[i])
        i++;
    return i;
}

size_t stream_match(const struct stream *stream, uint64_t offset, const void *data, size_t len)
{
    struct cipher cipher = cipher_of(stream);
    const uint8_t *from = data;
    size_t done = 0;
    if (offset % STREAM_BLOCK && len) {
        size_t n = STREAM_BLOCK - offset % STREAM_BLOCK;
        done = match_bytes(cipher, stream, offset, from, len);
        if (done < n)
            return done;
    }
    uint64_t block = (offset + done) / STREAM_BLOCK;
    size_t whole = (len - done) / STREAM_BLOCK;
    done += STREAM_BLOCK * (stream->binary ? match_blocks(cipher, block, true, from + done, whole)
                                           : match_blocks(cipher, block, false, from + done, whole));
    return done < len ? done + match_bytes(cipher, stream, offset + done, from + done, len - done) : done;
}

uint8_t stream_byte(const struct stream *stream, uint64_t offset)
{
    uint8_t byte;
    block_copy(cipher_of(stream), stream, offset, &byte, 1);
    return byte;
}

bool stream_find(const struct stream *stream, const uint8_t *bytes, uint64_t *offset)
{
    uint8_t value[STREAM_BLOCK];
    for (size_t i = 0; i < STREAM_BLOCK; i++) {
        value[i] = (uint8_t)(bytes[i] - FIRST_CHARACTER);
        if (stream->binary && bytes[i] == BINARY_LAST)
            value[i] = LAST_VALUE;
        else if (value[i] > LAST_VALUE || (stream->binary && value[i] == LAST_VALUE))
            return false;
    }
    uint64_t x;
    memcpy(&x, value, sizeof x);
    x = (x & UINT64_C(0x3f003f003f003f00)) >> 2 | (x & UINT64_C(0x003f003f003f003f));
    x = (x & UINT64_C(0x0fff00000fff0000)) >> 4 | (x & UINT64_C(0x00000fff00000fff));
    x = (x & UINT64_C(0x00ffffff00000000)) >> 8 | (x & UINT64_C(0xffffff));
    *offset = decipher(cipher_of(stream), x) * STREAM_BLOCK;
    return true;
}
