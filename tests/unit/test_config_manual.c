/* vspc.ini(5) against the table of keys: what stands there of each key is so. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/key.h"
#include "vspc/mem.h"

/* Where the page is read, line by line. */
struct page {
    char *text;
    char *rest; /* strtok_r's */
};

static struct page page_open(void)
{
    struct page page = {.text = xmalloc(262144)};
    FILE *file = fopen(VSPC_SOURCE "/packaging/man/vspc.ini.5.scd", "r");
    cr_assert_not_null(file);
    page.text[fread(page.text, 1, 262143, file)] = 0;
    fclose(file);
    page.rest = strstr(page.text, "\n# KEYS\n");
    cr_assert_not_null(page.rest);
    return page;
}

/* The next section's or key's heading: "## [server]" or "*workers* = 0". Result: NULL behind the last. */
static const char *next_heading(struct page *page)
{
    char *line;
    while ((line = strtok_r(NULL, "\n", &page->rest)))
        if (strncmp(line, "# ", 2) == 0 && strcmp(line, "# KEYS") != 0)
            return NULL;
        else if (strncmp(line, "## ", 3) == 0 || line[0] == '*')
            return line;
    return NULL;
}

/* A number as a value of this key is written. */
static char *shown(const struct config_key *key, uint64_t number)
{
    unsigned char field[sizeof(uint64_t)];
    uint16_t small = (uint16_t)number;
    uint32_t middle = (uint32_t)number;
    if (key->type->size == sizeof small)
        memcpy(field, &small, sizeof small);
    else if (key->type->size == sizeof middle)
        memcpy(field, &middle, sizeof middle);
    else
        memcpy(field, &number, sizeof number);
    return key->type->format(key, field);
}

/* "Number from 0 to 256." and so on, in fresh memory. */
static char *quantity_form(const struct config_key *key, const char *noun)
{
    char *min = shown(key, key->min), *max = shown(key, key->max);
    char *form = xasprintf("%s from %s to %s.", noun, min, max);
    free(min);
    free(max);
    return form;
}

/* "*auto*, *always* or *never*." */
static char *words_form(const char *const *words)
{
    char *form = xstrdup("");
    for (size_t i = 0; words[i]; i++) {
        char *longer = xasprintf("%s%s*%s*", form, i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
        free(form);
        form = longer;
    }
    char *whole = xasprintf("%s.", form);
    free(form);
    return whole;
}

static char *text_form(const struct config_key *key, const char *what)
{
    const char *empty = key->min && !*what ? ", not empty" : "";
    if (key->max == VALUE_TEXT_MAX)
        return xasprintf("Text%s%s.", what, empty);
    return xasprintf("Text, at most %llu bytes%s%s.", (unsigned long long)key->max, what, empty);
}

/* What the page must say of the key's type and bounds, in fresh memory. */
static char *expected_form(const struct config_key *key)
{
    const struct value_type *type = key->type;
    static const char *const yes_no[] = {"yes", "no", NULL};
    if (type->words)
        return words_form(type->words);
    if (type == &value_bool)
        return words_form(yes_no);
    if (type == &value_unsigned || type == &value_port)
        return quantity_form(key, "Number");
    if (type == &value_duration)
        return quantity_form(key, "Duration");
    if (type == &value_size)
        return quantity_form(key, "Size");
    if (type == &value_file_mode)
        return quantity_form(key, "Permission bits, in octal,");
    if (type == &value_text)
        return text_form(key, "");
    if (type == &value_uri)
        return text_form(key, " without a query");
    if (type == &value_log_file)
        return text_form(key, ", with {uuid}, {uuid32} or {name} in it");
    if (type == &value_address)
        return xstrdup("An address.");
    if (type == &value_networks)
        return xasprintf("Networks, at most %llu.", (unsigned long long)key->max);
    cr_assert_eq(type, &value_listen, "%s.%s is of a type that this test does not know", key->section,
                 key->name);
    return xasprintf("Addresses with ports, with commas between them, at most %llu.",
                     (unsigned long long)key->max);
}

/* The key's heading has been read: type, bounds and what a reload does stand in the next line, and a
 * paragraph follows. */
static void expect_body(struct page *page, const struct config_key *key)
{
    char *form = expected_form(key);
    char *wanted = xasprintf("\t%s %s", form, key->reload ? "Reload." : "Restart.");
    const char *line = strtok_r(NULL, "\n", &page->rest);
    cr_assert_not_null(line);
    cr_expect_str_eq(line, wanted, "%s.%s: the page has '%s' instead of '%s'", key->section, key->name, line,
                     wanted);
    line = strtok_r(NULL, "\n", &page->rest);
    cr_expect(line && line[0] == '\t' && strlen(line) > 10, "%s.%s: the page does not say what it is for",
              key->section, key->name);
    free(wanted);
    free(form);
}

Test(config_manual, has_every_key_in_order_with_default_type_bounds_and_whether_a_reload_applies_it)
{
    struct page page = page_open();
    const char *section = "";
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        const char *heading = next_heading(&page);
        if (strcmp(section, key->section) != 0) {
            section = key->section;
            char *wanted = xasprintf("## [%s]", section);
            cr_assert(heading && strcmp(heading, wanted) == 0, "the page has '%s' instead of '%s'", heading,
                      wanted);
            free(wanted);
            heading = next_heading(&page);
        }
        char *wanted = xasprintf("*%s* =%s%s", key->name, *key->default_text ? " " : "", key->default_text);
        cr_assert(heading && strcmp(heading, wanted) == 0, "%s: the page has '%s' instead of '%s'", section,
                  heading, wanted);
        free(wanted);
        expect_body(&page, key);
    }
    const char *more = next_heading(&page);
    cr_assert_null(more, "the page has '%s' too many", more);
    free(page.text);
}

/* config_each_key is what the sample is compared with; so page and sample agree. */
struct each {
    size_t n;
};

static void expect_row(const char *section, const char *name, const char *default_value, const char *comment,
                       void *arg)
{
    struct each *each = arg;
    (void)comment;
    cr_assert_lt(each->n, (size_t)CONFIG_KEYS);
    const struct config_key *key = &config_keys[each->n++];
    cr_assert_str_eq(section, key->section);
    cr_assert_str_eq(name, key->name);
    cr_assert_str_eq(default_value, key->default_text);
}

Test(config_manual, the_sample_is_compared_with_the_same_table)
{
    struct each each = {0};
    config_each_key(expect_row, &each);
    cr_assert_eq(each.n, (size_t)CONFIG_KEYS);
}
