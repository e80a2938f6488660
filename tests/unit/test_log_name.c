/* Names of console logs: whatever a VM calls itself, its file is in the directory, and its own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "logs/log_name.h"

TestSuite(log_name);

#define UUID_TEXT_1 "00000000-0000-0000-0000-0000000000a1"
#define UUID32_1 "000000000000000000000000000000a1"

static const char *make(const char *pattern, const char *name, size_t len, bool has_uuid, const char *label,
                        unsigned copy)
{
    static char out[LOG_NAME_MAX + 1];
    struct console_log_name who = {name, len, has_uuid, {[UUID_SIZE - 1] = 0xa1}, label};
    size_t made = log_name_make(out, pattern, &who, copy);
    cr_assert_eq(made, strlen(out));
    cr_assert_leq(made, LOG_NAME_MAX);
    return out;
}

Test(log_name, placeholders_are_who_the_console_is)
{
    cr_assert_str_eq(make("{uuid}.log", "vm", 2, true, "", 0), UUID_TEXT_1 ".log");
    cr_assert_str_eq(make("{uuid}.log", "vm", 2, true, "com1", 0), UUID_TEXT_1 ".com1.log");
    cr_assert_str_eq(make("{uuid32}", "vm", 2, true, "", 0), UUID32_1);
    cr_assert_str_eq(make("a-{name}-{uuid32}.txt", "vm", 2, true, "", 0), "a-vm-" UUID32_1 ".txt");
    cr_assert_str_eq(make("{name}.log", "vm", 2, true, "com1", 0), "vm.com1.log");
    cr_assert_str_eq(make("{uuid}.log", "vm", 2, false, "", 0), "vm.log");
    cr_assert_str_eq(make("{uuid32}.log", "vm", 2, false, "a", 0), "vm.a.log");
}

Test(log_name, copies_are_told_apart)
{
    cr_assert_str_eq(make("{name}.log", "vm", 2, true, "", 1), "vm-" UUID32_1 ".log");
    cr_assert_str_eq(make("{name}.log", "vm", 2, true, "", 2), "vm-2.log");
    cr_assert_str_eq(make("{name}.log", "vm", 2, false, "", 1), "vm.log");
    cr_assert_str_eq(make("{name}.log", "vm", 2, false, "", 17), "vm-17.log");
    cr_assert_str_eq(make("{name}{name}", "vm", 2, false, "", 3), "vm-3vm");
}

Test(log_name, hostile_names_stay_in_the_directory)
{
    static const struct {
        const char *name;
        size_t len;
        const char *file;
    } table[] = {
        {"..", 2, "%2E..log"},
        {".", 1, "%2E.log"},
        {".bashrc", 7, "%2Ebashrc.log"},
        {"../../etc/passwd", 16, "%2E.%2F..%2Fetc%2Fpasswd.log"},
        {"/", 1, "%2F.log"},
        {"a/b", 3, "a%2Fb.log"},
        {"a\0b", 3, "a%00b.log"},
        {"a\nb", 3, "a%0Ab.log"},
        {"%2F", 3, "%252F.log"},
        {"a b", 3, "a%20b.log"},
        {"~", 1, "%7E.log"},
        {"-rf", 3, "-rf.log"},
        {"\x1b[2J", 4, "%1B%5B2J.log"},
        {"\xc3\xa4", 2, "%C3%A4.log"},
        {"web_1.example-2", 15, "web_1.example-2.log"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_assert_str_eq(make("{name}.log", table[i].name, table[i].len, true, "", 0), table[i].file);
}

Test(log_name, no_name_is_another_consoles_rotated_file)
{
    cr_assert_str_eq(make("{name}", "vm.1", 4, true, "", 0), "vm%2E1");
    cr_assert_str_eq(make("{name}", "vm.12.gz", 8, true, "", 0), "vm%2E12.gz");
    cr_assert_str_eq(make("{name}", "10.0.0.1", 8, true, "", 0), "10.0.0%2E1");
    cr_assert_str_eq(make("{uuid32}", "vm", 2, true, "1", 0), UUID32_1 "%2E1");
    cr_assert_str_eq(make("{name}.gz~", "vm", 2, true, "", 0), "vm.gz%7E");
    cr_assert_str_eq(make("{name}", "vm1", 3, true, "", 0), "vm1");
    cr_assert_str_eq(make("{name}", "1", 1, true, "", 0), "1");
    cr_assert_str_eq(make("{name}", "vm.gz", 5, true, "", 0), "vm.gz");
}

Test(log_name, long_names_are_cut_and_still_differ)
{
    char name[255], first[LOG_NAME_MAX + 1];
    memset(name, 0xff, sizeof name);
    snprintf(first, sizeof first, "%s", make("{name}.log", name, sizeof name, true, "com1", 0));
    cr_assert_eq(strlen(first), LOG_NAME_PLAIN);
    cr_assert_str_eq(first + strlen(first) - 4, ".log");
    cr_assert_eq(first[strlen(first) - 13], '~');
    name[254] = 'a';
    cr_assert_str_neq(make("{name}.log", name, sizeof name, true, "com1", 0), first);
    name[254] = (char)0xff;
    cr_assert_str_neq(make("{name}.log", name, sizeof name, true, "com2", 0), first);
    cr_assert_str_eq(make("{name}.log", name, sizeof name, true, "com1", 0), first);
    cr_assert_leq(strlen(make("{name}.log", name, sizeof name, true, "com1", 1)), LOG_NAME_MAX);
}

/* As long as the configuration takes them. */
Test(log_name, long_patterns_are_no_danger)
{
    char pattern[121], name[255];
    memset(name, '/', sizeof name);
    for (int places = 1; places <= 20; places++) {
        size_t len = 0;
        for (int i = 0; i < places; i++)
            len += (size_t)sprintf(pattern + len, "{name}");
        memset(pattern + len, '.', 120 - len);
        pattern[120] = 0;
        for (unsigned copy = 0; copy < 3; copy++) {
            const char *made =
                make(pattern, name, sizeof name, true, "12345678901234567890123456789012", copy);
            cr_assert_null(strchr(made, '/'));
            cr_assert_eq(made[0], '%');
        }
    }
}
