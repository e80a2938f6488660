/* vspcctl's help, its manual page and its completion: they fit, and agree. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_run.h"
#include "vspc/mem.h"

TestSuite(vspcctl_help, .timeout = 120);

enum { PAGE_MAX = 1024 * 1024, COMMANDS_MAX = 40, WORD = 64 };

/* The commands that the list of commands names. */
static size_t read_commands(char names[COMMANDS_MAX][WORD])
{
    size_t n = 0;
    char *help = ctl_output(NULL, CTL("--help"));
    for (char *line = help; line && n < COMMANDS_MAX; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "  %63[a-z] ", names[n]) == 1 && line[2] != ' ' && line[2] != '-')
            n++;
    }
    free(help);
    cr_assert_gt(n, 10);
    return n;
}

static void expect_fits(const char *what, const char *text)
{
    size_t lines = 0;
    for (const char *line = text; *line; lines++) {
        const char *end = strchrnul(line, '\n');
        cr_assert_leq(end - line, 80, "%s: a line of %zu columns: %.*s", what, (size_t)(end - line),
                      (int)(end - line), line);
        line = *end ? end + 1 : end;
    }
    cr_assert_leq(lines, 24, "%s has %zu lines", what, lines);
}

/* The options that a help names, "--json" and so on, each with a space in front, sorted as they come; but
 * --help, which all have. */
static char *help_options(const char *help)
{
    char *list = xstrdup(""), word[WORD];
    for (const char *line = strstr(help, "Options:"); line; line = strchr(line + 1, '\n')) {
        const char *option = line + (*line == '\n');
        option += strncmp(option, "  -", 3) == 0 && option[3] != '-' ? 6 : 0;
        option += strncmp(option, "      --", 8) == 0 ? 6 : 0;
        if (sscanf(option, "--%60[a-z-]", word) != 1 || strcmp(word, "help") == 0)
            continue;
        char *longer = xasprintf("%s --%s", list, word);
        free(list);
        list = longer;
    }
    return list;
}

/* The same of a section of the manual page's source. */
static char *page_options(const char *page, const char *command)
{
    char *title = xasprintf("\n## %s", command), *list = xstrdup(""), word[WORD];
    const char *section = strstr(page, title);
    while (section && section[strlen(title)] != ' ' && section[strlen(title)] != '\n')
        section = strstr(section + 1, title);
    cr_assert_not_null(section, "vspcctl(1) says nothing of %s", command);
    const char *end = strstr(section + 1, "\n#");
    for (const char *line = section + 1; line < end; line = strchr(line, '\n') + 1) {
        const char *option = strncmp(line, "*-", 2) == 0 ? strstr(line, "*--") : NULL;
        if (!option || option > strchr(line, '\n') || sscanf(option, "*--%60[a-z-]", word) != 1)
            continue;
        char *longer = xasprintf("%s --%s", list, word);
        free(list);
        list = longer;
    }
    free(title);
    return list;
}

Test(vspcctl_help, every_help_fits_a_terminal)
{
    char names[COMMANDS_MAX][WORD];
    size_t n = read_commands(names);
    char *help = ctl_output(NULL, CTL("--help"));
    expect_fits("--help", help);
    free(help);
    for (size_t i = 0; i < n; i++) {
        help = ctl_output(NULL, CTL(names[i], "--help"));
        expect_fits(names[i], help);
        free(help);
    }
}

Test(vspcctl_help, every_help_names_the_options_that_the_manual_page_does)
{
    char names[COMMANDS_MAX][WORD];
    size_t n = read_commands(names);
    char *page = env_read_file(VSPC_SOURCE "/packaging/man/vspcctl.1.scd", 0, PAGE_MAX);
    for (size_t i = 0; i < n; i++) {
        char *help = ctl_output(NULL, CTL(names[i], "--help"));
        char *of_help = help_options(help), *of_page = page_options(page, names[i]);
        cr_assert_str_eq(of_help, of_page, "%s: help has%s, the page%s", names[i], of_help, of_page);
        free(of_help);
        free(of_page);
        free(help);
    }
    size_t sections = 0;
    for (const char *at = page; (at = strstr(at, "\n## ")); at++)
        sections++;
    cr_assert_eq(sections, n, "the page has %zu commands, the help %zu", sections, n);
    free(page);
}

Test(vspcctl_help, wrong_usage_exits_2_and_says_where_help_is)
{
    ctl_expect(NULL, 2, "vspcctl --help", CTL("fly"));
    ctl_expect(NULL, 2, "vspcctl --help", CTL("--fly"));
    ctl_expect(NULL, 2, "vspcctl list --help", CTL("list", "--fly"));
    ctl_expect(NULL, 2, "needs NAME", CTL("show"));
    ctl_expect(NULL, 2, "takes NAME, and no more", CTL("show", "a", "b"));
    ctl_expect(NULL, 2, "takes no arguments", CTL("reload", "now"));
    ctl_expect(NULL, 2, "Give TEXT", CTL("send", "a"));
    ctl_expect(NULL, 2, "a number from", CTL("log", "a", "-n", "x"));
    ctl_expect(NULL, 2, "do not go together", CTL("attach", "-m", "-x", "a"));
    ctl_expect(NULL, 2, "--escape", CTL("attach", "--escape", "abc", "a"));
}

Test(vspcctl_help, without_a_server_it_exits_5_and_says_where_it_looked)
{
    ctl_expect(NULL, 5, "no vspcd at /nonexistent/control.sock: is it running?", CTL("list"));
    struct ctl_run *run = ctl_start(NULL, NULL, 0, CTL("version"));
    ctl_wait(run, 5);
    cr_assert_str_eq(run->out, "vspcctl " VSPC_VERSION "\n");
    ctl_end(run);
    ctl_expect(NULL, 0, "vspcctl " VSPC_VERSION "\n", CTL("--version"));
}
