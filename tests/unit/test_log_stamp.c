/* Logs whose lines begin with the time: the same text whatever the pieces in which it comes. */
#include <criterion/criterion.h>
#include <string.h>

#include "logs/log_stamp.h"

TestSuite(log_stamp);

enum { T0 = 1000 };
#define S "1970-01-01T00:00:01.000Z "

/* Renders the text in items of `piece` bytes, with `room` bytes at once. */
static void render(const char *text, size_t piece, size_t room, char *out)
{
    struct log_clock clock = {0};
    struct log_cursor cursor = {0};
    size_t len = strlen(text), n = 0;
    for (size_t at = 0; at < len; at += piece) {
        struct log_item *item = xcalloc(1, sizeof *item + 1);
        bytes_put(&item->data, text + at, len - at < piece ? len - at : piece);
        cursor.at = 0;
        while (cursor.at < item->data.len) {
            size_t made = log_stamp_render(&clock, &cursor, item, T0, (uint8_t *)out + n, room);
            cr_assert_leq(made, room);
            n += made;
        }
        log_item_free(item);
    }
    out[n] = 0;
}

static void expect(const char *text, const char *expected)
{
    char out[1024];
    for (size_t piece = 1; piece <= strlen(text); piece++)
        for (size_t room = LOG_STAMP_LEN + 1; room < 90; room += 7) {
            render(text, piece, room, out);
            cr_assert_str_eq(out, expected, "in pieces of %zu, room for %zu", piece, room);
        }
}

Test(log_stamp, each_line_begins_with_the_time)
{
    expect("one", S "one");
    expect("one\ntwo\n", S "one\n" S "two\n");
    expect("\n\n", S "\n" S "\n");
}

Test(log_stamp, carriage_returns_do_not_hide_the_time)
{
    expect("one\r\ntwo\r\n", S "one\r\n" S "two\r\n");
    expect("one\n\rtwo\n\r", S "one\n" S "two\n");
    expect("\r\n\r\nend\r\n", S "\n" S "\n" S "end\r\n");
    expect("10%\r20%\r\n", S "10%\r20%\r\n");
}

Test(log_stamp, a_line_has_the_time_of_its_first_byte)
{
    static const struct log_mark marks[] = {{0, 1}, {2, 1002}, {5, 86400003}};
    struct log_clock clock = {0};
    struct log_cursor cursor = {0};
    uint8_t out[256];
    struct log_item *item = xcalloc(1, sizeof *item + 1);
    bytes_put(&item->data, "a\nb\nc\nd\n", 8);
    bytes_put(&item->marks, marks, sizeof marks);
    size_t n = log_stamp_render(&clock, &cursor, item, T0, out, sizeof out);
    out[n] = 0;
    cr_assert_str_eq((char *)out, "1970-01-01T00:00:00.001Z a\n1970-01-01T00:00:01.002Z b\n"
                                  "1970-01-01T00:00:01.002Z c\n1970-01-02T00:00:00.003Z d\n");
    log_item_free(item);
}

/* How a partial write is understood. */
Test(log_stamp, less_room_tells_what_is_in_the_first_bytes)
{
    static const char text[] = "first line\r\n\r\nthird\nfo";
    struct log_clock clock = {0};
    struct log_item *item = xcalloc(1, sizeof *item + 1);
    uint8_t whole[256], part[256];
    struct log_cursor all = {0};
    bytes_put(&item->data, text, sizeof text - 1);
    size_t n = log_stamp_render(&clock, &all, item, T0, whole, sizeof whole);
    for (size_t room = 0; room <= n; room++) {
        struct log_cursor first = {0};
        size_t made = log_stamp_render(&clock, &first, item, T0, part, room);
        cr_assert_leq(made, room);
        cr_assert_leq(room - made, LOG_STAMP_LEN);
        cr_assert_arr_eq(part, whole, made);
        cr_assert_leq(first.at, all.at);
    }
    log_item_free(item);
}
