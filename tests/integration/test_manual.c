/* Manual pages: man takes them without a warning, and they name the options that the programs' help names. */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "env.h"
#include "vspc/mem.h"

TestSuite(manual, .timeout = 120);

#define PAGES VSPC_SOURCE "/packaging/man/"

enum { TEXT_MAX = 1024 * 1024, WORD = 64, OPTIONS_MAX = 64 };

/* A program's options, each with its default, "" where there is none. */
struct option_set {
    size_t n;
    char names[OPTIONS_MAX][WORD];
    char defaults[OPTIONS_MAX][WORD];
};

/* Runs a program that only prints. Result: what it printed, which the caller frees. */
static char *output_of(const char *command)
{
    char *path = xasprintf("%s/output", env_dir());
    char *line = xasprintf("%s >%s 2>&1", command, path);
    cr_assert_eq(system(line), 0, "%s", line);
    char *text = env_read_file(path, 0, TEXT_MAX);
    free(line);
    free(path);
    return text;
}

static void put(struct option_set *set, const char *name, const char *default_text)
{
    cr_assert_lt(set->n, (size_t)OPTIONS_MAX);
    snprintf(set->names[set->n], WORD, "%s", name);
    snprintf(set->defaults[set->n++], WORD, "%s", default_text);
}

static const char *find(const struct option_set *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->names[i], name) == 0)
            return set->defaults[i];
    return NULL;
}

static void expect_same_names(const char *what, const struct option_set *help, const struct option_set *page)
{
    for (size_t i = 0; i < help->n; i++)
        cr_expect_not_null(find(page, help->names[i]), "%s: the page does not know --%s", what,
                           help->names[i]);
    for (size_t i = 0; i < page->n; i++)
        cr_expect_not_null(find(help, page->names[i]), "%s: the help does not know --%s", what,
                           page->names[i]);
    cr_expect_gt(help->n, 3);
}

/* The options of a help: "  -c, --config FILE  ..." or "      --import-node-vspc ...", where a description
 * that ends with "(10s)" or "(10s)." has the default. */
static struct option_set help_options(const char *help)
{
    struct option_set set = {0};
    for (const char *line = help; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *at = line + strspn(line, " ");
        char name[WORD], value[WORD] = "";
        if (at == line || *at != '-')
            continue;
        at += at[1] != '-' ? 4 : 0;
        if (sscanf(at, "--%60[a-z-]", name) != 1)
            continue;
        /* Up to the next option or the end of the list. */
        const char *end = line;
        do
            end = strchrnul(end + 1, '\n');
        while (*end && strncmp(end, "\n                  ", 19) == 0);
        const char *open = end[-1] == ')' ? memrchr(line, '(', (size_t)(end - line)) : NULL;
        if (open)
            snprintf(value, sizeof value, "%.*s", (int)(end - open - 2), open + 1);
        put(&set, name, value);
    }
    return set;
}

/* A page's source from a heading to the next of its rank or a higher one, in fresh memory. */
static char *page_section(const char *page, const char *heading)
{
    char *whole = xasprintf("\n%s\n", heading);
    const char *from = strstr(page, whole);
    cr_assert_not_null(from, "the page has no '%s'", heading);
    from += strlen(whole);
    const char *end = strstr(from, "\n# ");
    if (heading[1] == '#' && strstr(from, "\n## ") && (!end || strstr(from, "\n## ") < end))
        end = strstr(from, "\n## ");
    free(whole);
    return end ? xmemdup0(from, (size_t)(end - from)) : xstrdup(from);
}

/* The options that head an entry: "*-c*, *--config* _FILE_". */
static struct option_set listed_options(const char *section)
{
    struct option_set set = {0};
    char name[WORD];
    for (const char *line = section; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *end = strchrnul(line, '\n'), *at = strstr(line, "*--");
        if (strncmp(line, "*-", 2) == 0 && at && at < end && sscanf(at, "*--%60[a-z-]", name) == 1)
            put(&set, name, "");
    }
    return set;
}

static char *read_page(const char *name)
{
    char *path = xasprintf(PAGES "%s.scd", name);
    char *page = env_read_file(path, 0, TEXT_MAX);
    cr_assert_str_not_empty(page, "%s", path);
    free(path);
    return page;
}

static void compare(const char *program, const char *page_name)
{
    char *command = xasprintf("%s --help", program);
    char *help = output_of(command), *page = read_page(page_name);
    char *section = page_section(page, "# OPTIONS");
    struct option_set of_help = help_options(help), of_page = listed_options(section);
    expect_same_names(page_name, &of_help, &of_page);
    free(section);
    free(page);
    free(help);
    free(command);
}

Test(manual, vspcd_has_the_options_of_its_help)
{
    compare(VSPCD, "vspcd.8");
}

Test(manual, vspc_vm_has_the_options_of_its_help)
{
    compare(VSPC_VM, "vspc-vm.1");
}

Test(manual, vspc_bench_has_the_options_of_its_help)
{
    compare(VSPC_BENCH, "vspc-bench.1");
}

/* What a scenario of vspc-bench has beside the options of all: "Options: *--vms* (1000), *--offer*." */
static struct option_set scenario_options(const char *section)
{
    struct option_set set = {0};
    const char *at = strstr(section, "\nOptions: ");
    cr_assert_not_null(at, "no options in: %s", section);
    const char *end = strstr(at, ".\n");
    while ((at = strstr(at, "*--")) && at < end) {
        char name[WORD], value[WORD] = "";
        cr_assert_geq(sscanf(at, "*--%60[a-z-]* (%60[^)])", name, value), 1);
        put(&set, name, value);
        at++;
    }
    return set;
}

/* The options of one scenario: those of all, of which some have a default, and its own. */
static void compare_scenario(const char *page, const char *scenario)
{
    char *command = xasprintf("%s %s --help", VSPC_BENCH, scenario);
    char *heading = xasprintf("## %s", scenario);
    char *help = output_of(command), *section = page_section(page, heading);
    char *common_text = page_section(page, "## Of all scenarios");
    struct option_set of_help = help_options(help), own = scenario_options(section);
    struct option_set all = listed_options(common_text);
    for (size_t i = 0; i < own.n; i++) {
        const char *default_text = find(&of_help, own.names[i]);
        if (default_text)
            cr_expect_str_eq(own.defaults[i], default_text, "%s --%s: the page has (%s), the help (%s)",
                             scenario, own.names[i], own.defaults[i], default_text);
        put(&all, own.names[i], "");
    }
    expect_same_names(scenario, &of_help, &all);
    for (size_t i = 0; i < of_help.n; i++)
        if (!find(&own, of_help.names[i]) && *of_help.defaults[i])
            cr_expect_not_null(strcasestr(common_text, of_help.defaults[i]), "--%s: no default (%s)",
                               of_help.names[i], of_help.defaults[i]);
    free(common_text);
    free(section);
    free(help);
    free(heading);
    free(command);
}

Test(manual, vspc_bench_has_each_scenario_with_its_options_and_defaults)
{
    static const char list[] = "Scenarios:\n";
    char *help = output_of(VSPC_BENCH " --help"), *page = read_page("vspc-bench.1");
    char *scenarios = page_section(page, "# SCENARIOS");
    size_t n = 0, headings = 0;
    for (const char *line = strstr(help, list) + strlen(list); *line == ' '; line = strchr(line, '\n') + 1) {
        char scenario[WORD];
        cr_assert_eq(sscanf(line, "  %60[a-z]", scenario), 1);
        compare_scenario(page, scenario);
        n++;
    }
    for (const char *at = scenarios; (at = strstr(at, "\n## ")); at++)
        headings++;
    cr_assert_eq(headings, n);
    cr_assert_geq(n, 7);
    free(scenarios);
    free(page);
    free(help);
}

Test(manual, pages_have_no_warnings)
{
    glob_t found;
    cr_assert_eq(glob(PAGES "*.scd", 0, NULL, &found), 0);
    cr_assert_eq(found.gl_pathc, 6);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *command =
            xasprintf("scdoc <%s >%s/page && MANWIDTH=80 man --warnings -l %s/page 2>&1 >/dev/null",
                      found.gl_pathv[i], env_dir(), env_dir());
        char *line = xasprintf("{ %s; }", command);
        char *warnings = output_of(line);
        cr_assert_str_empty(warnings, "%s: %s", found.gl_pathv[i], warnings);
        free(warnings);
        free(line);
        free(command);
    }
    globfree(&found);
}
