#include "vspc/text.h"

#include <stdio.h>
#include <string.h>

static size_t escape(char *out, const uint8_t *in, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    size_t shown = len > TEXT_QUOTED_BYTES ? TEXT_QUOTED_BYTES : len;
    for (size_t i = 0; i < shown; i++) {
        uint8_t c = in[i];
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c >= 0x20 && c < 0x7f) {
            out[n++] = (char)c;
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    if (shown < len) {
        for (int i = 0; i < 3; i++)
            out[n++] = '.';
    }
    return n;
}

struct quoted quote(const void *data, size_t len)
{
    struct quoted q;
    q.s[0] = '"';
    size_t n = 1 + escape(q.s + 1, data, len);
    q.s[n] = '"';
    q.s[n + 1] = 0;
    return q;
}

struct quoted printable(const void *data, size_t len)
{
    struct quoted q;
    q.s[escape(q.s, data, len)] = 0;
    return q;
}

size_t utf8_char_len(const uint8_t *in, size_t len)
{
    uint8_t first = in[0];
    size_t need = first < 0x80   ? 1
                  : first < 0xc2 ? 0
                  : first < 0xe0 ? 2
                  : first < 0xf0 ? 3
                  : first < 0xf5 ? 4
                                 : 0;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (need > len || (need > 1 && (in[1] < low || in[1] > high)))
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

size_t text_utf8(const void *data, size_t len, char *out)
{
    const uint8_t *in = data;
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        size_t have = in[at] ? utf8_char_len(in + at, len - at) : 0;
        memcpy(out + n, have ? (const char *)in + at : "\xef\xbf\xbd", have ? have : 3);
        n += have ? have : 3;
        at += have ? have : 1;
    }
    return n;
}

void uuid_format(const uint8_t uuid[UUID_SIZE], char out[UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = digits[uuid[i] >> 4];
        out[n++] = digits[uuid[i] & 15];
    }
    out[n] = 0;
}

struct grouped grouped(uint64_t n)
{
    struct grouped out;
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out.s[at++] = ',';
        out.s[at++] = digits[i];
    }
    out.s[at] = 0;
    return out;
}

int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
