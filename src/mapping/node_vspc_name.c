#include "mapping/node_vspc_name.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* How many bytes the UTF-8 character at `at` takes, 0 when it is none. */
static size_t character_length(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || left < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* Longer than needed, halves of UTF-16, beyond Unicode. */
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) ||
        (first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

static bool is_utf8(const uint8_t *text, size_t len)
{
    size_t at = 0, step = 1;
    while (at < len && step) {
        step = character_length(text + at, len - at);
        at += step;
    }
    return at == len && step;
}

size_t node_vspc_name(const char *name, size_t len, char *out)
{
    const uint8_t *in = (const uint8_t *)name;
    size_t at = 0, n = 0;
    while (at < len) {
        size_t step = character_length(in + at, len - at);
        /* A character above 255 was never a byte. */
        if (step == 0 || in[at] > 0xc3)
            break;
        out[n++] = (char)(step == 1 ? in[at] : (in[at] & 3) << 6 | (in[at + 1] & 0x3f));
        at += step;
    }
    if (at == len && n < len && is_utf8((const uint8_t *)out, n))
        return n;
    memcpy(out, name, len);
    return len;
}
