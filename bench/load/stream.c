#include "stream.h"

#include <string.h>

/* A block's number goes through a cipher of 48 bits, six for each of its bytes: multiplications by odd
 * numbers and folds of the upper half onto the lower, each of which can be undone. */
#define BITS_48 ((UINT64_C(1) << 48) - 1)
#define FACTOR_1 UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR_2 UINT64_C(0xd1342543de82ef95)
#define EACH_BYTE UINT64_C(0x0101010101010101)

enum { FOLD = 24, FIRST_CHARACTER = '0', LAST_VALUE = 63, BINARY_LAST = 255, CHUNK = 4096, WIDE_MIN = 256 };

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Four numbers at once, in vector registers where there are some. */
enum { LANES = 4 };
typedef uint64_t lanes __attribute__((vector_size(LANES * sizeof(uint64_t))));

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

/* Makes of each block's number its 48 bits. */
static ALWAYS_INLINE void encipher(struct cipher cipher, lanes *block)
{
    lanes x = (*block + cipher.key_1) * FACTOR_1 & BITS_48;
    x ^= x >> FOLD;
    x = (x + cipher.key_2) * FACTOR_2 & BITS_48;
    *block = x ^ x >> FOLD;
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

/* Writes the bytes from a block's beginning on; `binary` is a constant where it is called. */
static ALWAYS_INLINE void fill_blocks(struct cipher cipher, uint64_t block, bool binary, uint8_t *out,
                                      size_t len)
{
    lanes numbers = {block, block + 1, block + 2, block + 3};
    while (len) {
        lanes x = numbers;
        encipher(cipher, &x);
        /* Six bits to each byte, all at once. */
        x = (x & UINT64_C(0xffffff000000)) << 8 | (x & UINT64_C(0xffffff));
        x = (x & UINT64_C(0x00fff00000fff000)) << 4 | (x & UINT64_C(0x00000fff00000fff));
        x = (x & UINT64_C(0x0fc00fc00fc00fc0)) << 2 | (x & UINT64_C(0x003f003f003f003f));
        /* 64 where the value is the last one; with the character that makes 0x6f into 0xff. */
        lanes last = (x + EACH_BYTE) & (EACH_BYTE * 64);
        x += EACH_BYTE * FIRST_CHARACTER;
        x |= binary ? last << 1 | last >> 2 : last & 0;
        if (len < sizeof x) {
            memcpy(out, &x, len);
            return;
        }
        memcpy(out, &x, sizeof x);
        out += sizeof x;
        len -= sizeof x;
        numbers += LANES;
    }
}

/* The same for either kind. */
static ALWAYS_INLINE void fill_any(struct cipher cipher, uint64_t block, bool binary, uint8_t *out,
                                   size_t len)
{
    if (binary)
        fill_blocks(cipher, block, true, out, len);
    else
        fill_blocks(cipher, block, false, out, len);
}

static void fill(struct cipher cipher, uint64_t block, bool binary, uint8_t *out, size_t len)
{
    fill_any(cipher, block, binary, out, len);
}

#ifdef __x86_64__
/* With wide registers it is twice as fast. */
__attribute__((target("avx2"))) static void fill_wide(struct cipher cipher, uint64_t block, bool binary,
                                                      uint8_t *out, size_t len)
{
    fill_any(cipher, block, binary, out, len);
}
#endif

void stream_fill(const struct stream *stream, uint64_t offset, void *out, size_t len)
{
    struct cipher cipher = cipher_of(stream);
    uint64_t block = offset / STREAM_BLOCK;
    uint8_t *to = out;
    size_t skip = offset % STREAM_BLOCK;
    if (skip && len) {
        uint8_t whole[STREAM_BLOCK];
        size_t n = len < STREAM_BLOCK - skip ? len : STREAM_BLOCK - skip;
        fill(cipher, block, stream->binary, whole, sizeof whole);
        memcpy(to, whole + skip, n);
        block++;
        to += n;
        len -= n;
    }
#ifdef __x86_64__
    if (len > WIDE_MIN && __builtin_cpu_supports("avx2")) {
        fill_wide(cipher, block, stream->binary, to, len);
        return;
    }
#endif
    fill(cipher, block, stream->binary, to, len);
}

size_t stream_match(const struct stream *stream, uint64_t offset, const void *data, size_t len)
{
    uint8_t right[CHUNK];
    const uint8_t *from = data;
    size_t done = 0, n, i = 0;
    for (; done < len; done += n) {
        n = len - done < CHUNK ? len - done : CHUNK;
        stream_fill(stream, offset + done, right, n);
        if (memcmp(right, from + done, n) == 0)
            continue;
        while (right[i] == from[done + i])
            i++;
        return done + i;
    }
    return len;
}

uint8_t stream_byte(const struct stream *stream, uint64_t offset)
{
    uint8_t byte;
    stream_fill(stream, offset, &byte, 1);
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
