/* vspcctl's quick reader of a list's lines: it reads as jansson does, or leaves it to jansson. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* vspcctl is no library. */
#include "ctl/plain_json.c"

static void reads_alike(const char *text)
{
    json_t *quick = plain_json_read(text, strlen(text));
    json_t *slow = json_loads(text, 0, NULL);
    cr_assert(quick, "%s is plain", text);
    cr_assert(json_equal(quick, slow), "%s", text);
    json_decref(quick);
    json_decref(slow);
}

static void leaves(const char *text)
{
    cr_assert_null(plain_json_read(text, strlen(text)), "%s", text);
}

Test(plain_json, plain_objects_are_read_as_jansson_reads_them)
{
    reads_alike("{\"console\":{\"name\":\"vm 1 {},:\",\"uuid\":\"\",\"port\":20000,\"users\":0,"
                "\"bytes_from_vm\":999999999999999999}}");
    reads_alike("{\"a\":{\"b\":{\"c\":1}},\"d\":\"\"}");
    reads_alike("{\"a\":1,\"a\":2}");
}

Test(plain_json, what_is_not_plain_is_left_to_jansson)
{
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[]",
        "1",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{\"a\":1}}",
        "{\"a\":1} ",
        "{ \"a\":1}",
        "{\"a\":-1}",
        "{\"a\":01}",
        "{\"a\":1.5}",
        "{\"a\":1e5}",
        "{\"a\":9999999999999999999}",
        "{\"a\":true}",
        "{\"a\":null}",
        "{\"a\":[1]}",
        "{\"a\":\"\\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\xc3\xa4\"}",
        "{\"a\":\"",
        "{\"a\":{\"b\":{\"c\":{\"d\":1}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        leaves(texts[i]);
}

Test(plain_json, a_cut_line_is_never_read_beyond_its_end)
{
    static const char whole[] = "{\"console\":{\"name\":\"vm1\",\"port\":20000}}";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        char *cut = strndup(whole, len);
        json_t *read = plain_json_read(cut, len);
        cr_assert_null(read, "%s", cut);
        free(cut);
    }
}
