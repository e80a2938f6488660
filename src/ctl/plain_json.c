#include "plain_json.h"

#include <stdbool.h>

enum { DEPTH_MAX = 3, DIGITS_MAX = 18 };

/* What is still to be read. */
struct cursor {
    const char *at, *end;
};

static bool skip(struct cursor *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

/* A string's inside, behind its first quote; takes the second one. Result: NULL when it is not plain. */
static const char *read_string(struct cursor *cursor, size_t *len)
{
    const char *begin = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != '"') {
        if (*cursor->at < 0x20 || *cursor->at > 0x7e || *cursor->at == '\\')
            return NULL;
        cursor->at++;
    }
    *len = (size_t)(cursor->at - begin);
    return skip(cursor, '"') ? begin : NULL;
}

static json_t *read_number(struct cursor *cursor)
{
    const char *begin = cursor->at;
    json_int_t number = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9' &&
           cursor->at - begin < DIGITS_MAX)
        number = number * 10 + (*cursor->at++ - '0');
    /* No leading zeros; what may follow a member tells that the number has ended. */
    bool is_plain = cursor->at > begin && (*begin != '0' || cursor->at == begin + 1) &&
                    cursor->at < cursor->end && (*cursor->at == ',' || *cursor->at == '}');
    return is_plain ? json_integer(number) : NULL;
}

static json_t *read_object(struct cursor *cursor, unsigned depth);

static json_t *read_value(struct cursor *cursor, unsigned depth)
{
    size_t len;
    if (skip(cursor, '"')) {
        const char *text = read_string(cursor, &len);
        return text ? json_stringn_nocheck(text, len) : NULL;
    }
    return cursor->at < cursor->end && *cursor->at == '{' ? read_object(cursor, depth + 1)
                                                          : read_number(cursor);
}

static bool read_member(struct cursor *cursor, unsigned depth, json_t *object)
{
    size_t len;
    const char *key = skip(cursor, '"') ? read_string(cursor, &len) : NULL;
    if (!key || !skip(cursor, ':'))
        return false;
    json_t *value = read_value(cursor, depth);
    return value && json_object_setn_new_nocheck(object, key, len, value) == 0;
}

static json_t *read_object(struct cursor *cursor, unsigned depth)
{
    json_t *object = depth < DEPTH_MAX && skip(cursor, '{') ? json_object() : NULL;
    bool is_plain = object;
    while (is_plain) {
        is_plain = read_member(cursor, depth, object);
        if (!is_plain || !skip(cursor, ','))
            break;
    }
    if (is_plain && skip(cursor, '}'))
        return object;
    json_decref(object);
    return NULL;
}

json_t *plain_json_read(const char *text, size_t len)
{
    struct cursor cursor = {text, text + len};
    json_t *object = read_object(&cursor, 0);
    if (cursor.at == cursor.end)
        return object;
    json_decref(object);
    return NULL;
}
