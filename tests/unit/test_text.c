#include <criterion/criterion.h>
#include <string.h>

#include "vspc/text.h"

static void becomes(const char *in, size_t len, const char *expected)
{
    char out[64];
    size_t n = text_utf8(in, len, out);
    cr_expect_eq(n, strlen(expected), "%s", quote(in, len).s);
    cr_expect_eq(memcmp(out, expected, n), 0, "%s", quote(in, len).s);
}

#define BAD "\xef\xbf\xbd"

Test(text, what_is_utf8_stays_and_each_other_byte_is_replaced)
{
    becomes("", 0, "");
    becomes("vm", 2, "vm");
    becomes("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
    becomes("a\xff"
            "b",
            3, "a" BAD "b");
    becomes("\xc3", 1, BAD);
    becomes("\xe2\x82", 2, BAD BAD);
    becomes("\xe2\x82z", 3, BAD BAD "z");
    becomes("\xc0\xaf", 2, BAD BAD);                 /* not the shortest form */
    becomes("\xe0\x9f\xbf", 3, BAD BAD BAD);         /* nor this */
    becomes("\xed\xa0\x80", 3, BAD BAD BAD);         /* a surrogate */
    becomes("\xf4\x90\x80\x80", 4, BAD BAD BAD BAD); /* beyond U+10FFFF */
    becomes("\xf5\x80\x80\x80", 4, BAD BAD BAD BAD);
    becomes("\x80", 1, BAD);
}

Test(text, numbers_have_a_comma_between_thousands)
{
    cr_expect_str_eq(grouped(0).s, "0");
    cr_expect_str_eq(grouped(999).s, "999");
    cr_expect_str_eq(grouped(4012).s, "4,012");
    cr_expect_str_eq(grouped(100000).s, "100,000");
    cr_expect_str_eq(grouped(UINT64_MAX).s, "18,446,744,073,709,551,615");
}
