#include "log_name.h"

#include <stdio.h>
#include <string.h>

enum {
    NAME_BYTES = 255,                          /* the longest that a VM sends */
    TEXT_MAX = 3 * NAME_BYTES + 1 + LABEL_MAX, /* a placeholder's */
    UUID32 = 2 * UUID_SIZE,
    MARK_MAX = 1 + UUID32, /* of a copy */
    HASH_TEXT = 9,         /* ~ and 8 digits */
};

enum place { PLACE_UUID, PLACE_UUID32, PLACE_NAME, PLACES };

static const char *const place_texts[PLACES] = {"{uuid}", "{uuid32}", "{name}"};

/* Which placeholder begins here; PLACES: none. */
static enum place place_at(const char *at)
{
    enum place place = 0;
    while (place < PLACES && strncmp(at, place_texts[place], strlen(place_texts[place])) != 0)
        place++;
    return place;
}

/* How long the text of each placeholder may be. */
static size_t share_of(const char *pattern)
{
    size_t literal = 0, places = 0;
    for (const char *at = pattern; *at;) {
        enum place place = place_at(at);
        places += place < PLACES;
        literal += place == PLACES;
        at += place < PLACES ? strlen(place_texts[place]) : 1;
    }
    size_t share = places && literal < LOG_NAME_PLAIN ? (LOG_NAME_PLAIN - literal) / places : 0;
    return share > HASH_TEXT ? share : HASH_TEXT;
}

static size_t put_escaped(char *out, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '%';
    out[1] = digits[c >> 4];
    out[2] = digits[c & 15];
    return 3;
}

static bool is_safe(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static size_t put_name(char *out, const struct console_log_name *who)
{
    size_t len = 0;
    for (size_t i = 0; i < who->name_len && i < NAME_BYTES; i++) {
        uint8_t c = (uint8_t)who->name[i];
        if (is_safe(c) && !(c == '.' && i == 0))
            out[len++] = (char)c;
        else
            len += put_escaped(out + len, c);
    }
    return len;
}

static size_t put_uuid32(char *out, const uint8_t uuid[UUID_SIZE])
{
    for (size_t i = 0; i < UUID_SIZE; i++)
        sprintf(out + 2 * i, "%02x", uuid[i]);
    return UUID32;
}

/* FNV-1a. */
static uint32_t hash(const char *text, size_t len)
{
    uint32_t h = 2166136261;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)text[i]) * 16777619;
    return h;
}

/* A placeholder's text, of at most `share` bytes. */
static size_t put_place(char *out, enum place place, size_t share, const struct console_log_name *who)
{
    char text[TEXT_MAX + 1], end[HASH_TEXT + 1];
    size_t len;
    if (place == PLACE_NAME || !who->has_uuid) {
        len = put_name(text, who);
    } else if (place == PLACE_UUID32) {
        len = put_uuid32(text, who->uuid);
    } else {
        uuid_format(who->uuid, text);
        len = strlen(text);
    }
    if (who->label[0])
        len += (size_t)snprintf(text + len, 2 + LABEL_MAX, ".%s", who->label);
    if (len <= share) {
        memcpy(out, text, len);
        return len;
    }
    snprintf(end, sizeof end, "~%08x", hash(text, len));
    memcpy(out, text, share - HASH_TEXT);
    memcpy(out + share - HASH_TEXT, end, HASH_TEXT);
    return share;
}

static size_t put_mark(char *out, const struct console_log_name *who, unsigned copy)
{
    if (copy > 1)
        return (size_t)sprintf(out, "-%u", copy);
    if (!who->has_uuid)
        return 0;
    out[0] = '-';
    return 1 + put_uuid32(out + 1, who->uuid);
}

/* Which byte makes the name end like a file that a rotation makes. Result: its place, or len. */
static size_t find_suffix(const char *name, size_t len)
{
    size_t end = len;
    if (name[len - 1] == '~')
        return len - 1;
    if (len > 3 && memcmp(name + len - 3, ".gz", 3) == 0)
        end -= 3;
    size_t at = end;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    return at < end && at > 0 && name[at - 1] == '.' ? at - 1 : len;
}

size_t log_name_make(char out[LOG_NAME_MAX + 1], const char *pattern, const struct console_log_name *who,
                     unsigned copy)
{
    size_t len = 0, share = share_of(pattern);
    for (const char *at = pattern; *at && len < LOG_NAME_MAX - MARK_MAX;) {
        enum place place = place_at(at);
        if (place == PLACES) {
            out[len++] = *at++;
            continue;
        }
        len += put_place(out + len, place, share, who);
        if (copy)
            len += put_mark(out + len, who, copy);
        copy = 0;
        at += strlen(place_texts[place]);
    }
    size_t at = find_suffix(out, len);
    if (at < len) {
        char c = out[at];
        memmove(out + at + 3, out + at + 1, len - at - 1);
        len += put_escaped(out + at, (uint8_t)c) - 1;
    }
    out[len] = 0;
    return len;
}
