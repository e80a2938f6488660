/* Consoles' rows as JSON, whatever bytes the VM sent. */
#include <criterion/criterion.h>
#include <string.h>

#include "control/control_json.h"
#include "vspc/console_json.h"

/* The row of a console with this name, read back. */
static json_t *read_back(const void *name, size_t len)
{
    struct console_row row = {.name_len = (uint8_t)len,
                              .has_uuid = true,
                              .label = "con-1",
                              .state = "connected",
                              .port = 20000,
                              .users = 3,
                              .since = 1795392463,
                              .bytes_from_vm = 9007199254740993};
    char text[CONTROL_ROW_MAX];
    json_error_t error;
    memcpy(row.name, name, len);
    size_t n = control_row_write(&row, text);
    cr_assert_leq(n, sizeof text);
    json_t *object = json_loadb(text, n, 0, &error);
    cr_assert(object, "%s: %.*s", error.text, (int)n, text);
    json_t *slowly = console_json_row(&row);
    cr_assert(json_equal(object, slowly), "%s", json_dumps(slowly, 0));
    json_decref(slowly);
    return object;
}

static void check_name(const void *name, size_t len, const char *shown)
{
    json_t *row = read_back(name, len);
    cr_assert_str_eq(json_string_value(json_object_get(row, "name")), shown);
    json_t *text = console_json_text(name, len);
    cr_assert_str_eq(json_string_value(text), shown);
    json_decref(text);
    json_decref(row);
}

Test(control_json, a_row_has_all_its_members)
{
    json_t *row = read_back("vm1", 3);
    json_t *wanted = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:I, s:i}", "name", "vm1", "uuid",
                               "00000000-0000-0000-0000-000000000000", "label", "con-1", "state", "connected",
                               "port", 20000, "users", 3, "since", "2026-11-23T00:07:43Z", "bytes_from_vm",
                               (json_int_t)9007199254740993, "bytes_to_vm", 0);
    cr_assert(json_equal(row, wanted), "%s", json_dumps(row, 0));
    json_decref(wanted);
    json_decref(row);
}

Test(control_json, text_is_kept_as_far_as_it_is_utf_8)
{
    check_name("", 0, "");
    check_name("a \"quoted\\\" name", 16, "a \"quoted\\\" name");
    check_name("\t\x1b[2J\x7f\n", 7, "\t\x1b[2J\x7f\n");
    check_name("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 11, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
    check_name("\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf");
}

#define NO "\xef\xbf\xbd"

Test(control_json, what_is_no_utf_8_stands_as_a_replacement_for_each_byte)
{
    check_name("a\0b", 3, "a" NO "b");
    check_name("\xff\xfe", 2, NO NO);
    check_name("\x80", 1, NO);
    check_name("\xc3", 1, NO);
    check_name("\xc3(", 2, NO "(");
    check_name("\xe2\x82", 2, NO NO);
    check_name("\xc0\xaf", 2, NO NO);               /* longer than need be */
    check_name("\xe0\x80\xaf", 3, NO NO NO);        /* the same */
    check_name("\xed\xa0\x80", 3, NO NO NO);        /* a surrogate */
    check_name("\xf4\x90\x80\x80", 4, NO NO NO NO); /* beyond Unicode */
    check_name("\xf8\x88\x80\x80\x80", 5, NO NO NO NO NO);
}

Test(control_json, any_name_fits)
{
    for (int c = 0; c < 256; c++) {
        char name[CONSOLE_NAME_MAX];
        memset(name, c, sizeof name);
        json_decref(read_back(name, sizeof name));
    }
}

Test(control_json, an_event_has_all_its_members)
{
    struct event event = {.type = EVENT_USER_IN,
                          .time = {1795392463, 7000000},
                          .port = 20000,
                          .name_len = 3,
                          .name = "vm1",
                          .who = "127.0.0.1:4711",
                          .detail = "telnet"};
    char text[CONTROL_EVENT_MAX];
    json_t *object = json_loadb(text, control_event_write(&event, text), 0, NULL);
    json_t *wanted = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "time", "2026-11-23T00:07:43.007Z",
                               "type", "user-in", "name", "vm1", "uuid", "", "label", "", "port", 20000,
                               "who", "127.0.0.1:4711", "detail", "telnet");
    cr_assert(json_equal(object, wanted), "%s", json_dumps(object, 0));
    json_decref(wanted);
    json_decref(object);
}
