/* The page that vspc-bench writes: well-formed, whole by itself, and safe with any text. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "env.h"
#include "report_fixture.h"

TestSuite(report_html, .timeout = 60);

enum { DEPTH_MAX = 32, NAME_MAX_LEN = 32, PAGE_MAX = 4 << 20 };

/* The page. The caller frees. */
static char *page_of(const struct report *report)
{
    char path[256];
    snprintf(path, sizeof path, "%s/report.html", env_dir());
    cr_assert_eq(report_write_html(report, path), 0);
    return env_read_file(path, 0, PAGE_MAX);
}

/* Checks text up to `end` for what may not stand there as it is. Result: where it ends. */
static const char *check_text(const char *at, char end)
{
    for (; *at && *at != end; at++) {
        cr_assert(*at != '<', "< in: %.60s", at);
        if (*at == '&') {
            size_t len = strspn(at + 1, "#0123456789abcdefghijklmnopqrstuvwxyz");
            cr_assert(len > 0 && at[1 + len] == ';', "& in: %.60s", at);
        }
        cr_assert((unsigned char)*at >= 0x20 || *at == '\n', "0x%02x in the page", (unsigned char)*at);
    }
    return at;
}

/* Checks a tag's attributes. Result: where they end: at > or />. */
static const char *check_attributes(const char *at)
{
    while (*at == ' ' || *at == '\n') {
        at += strspn(at, " \n");
        size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789");
        cr_assert(len > 0 && at[len] == '=' && at[len + 1] == '"', "attribute: %.60s", at);
        at = check_text(at + len + 2, '"');
        cr_assert_eq(*at, '"');
        at++;
    }
    return at;
}

/* Checks that all tags are closed in order, attributes quoted and entities whole. */
static void check_well_formed(const char *page)
{
    char open[DEPTH_MAX][NAME_MAX_LEN];
    unsigned depth = 0, closed = 0;
    const char *at = page;
    cr_assert_eq(strncmp(at, "<!DOCTYPE html>\n", 16), 0);
    for (at += 16; *at;) {
        at = *at == '<' ? at : check_text(at, '<');
        if (!*at)
            break;
        bool end = at[1] == '/';
        const char *name = at + 1 + end;
        size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
        cr_assert(len > 0 && len < NAME_MAX_LEN, "tag: %.60s", at);
        at = name + len;
        if (end) {
            cr_assert(depth > 0 && strlen(open[depth - 1]) == len, "%.60s", name);
            cr_assert_eq(strncmp(open[--depth], name, len), 0, "%s closed by %.20s", open[depth], name);
            closed++;
        } else {
            at = check_attributes(at);
            cr_assert_lt(depth, DEPTH_MAX);
            if (*at == '/')
                at++;
            else
                snprintf(open[depth++], NAME_MAX_LEN, "%.*s", (int)len, name);
        }
        cr_assert_eq(*at++, '>', "tag %.60s", name);
    }
    cr_assert_eq(depth, 0, "%s is not closed", depth ? open[depth - 1] : "");
    cr_assert_gt(closed, 20);
}

/* Checks that the page needs nothing but itself, and that its charts have numbers. */
static void check_self_contained(const char *page)
{
    static const char *const forbidden[] = {
        "<script", "<link",   "<img", "<iframe", "src=",  "href=", "url(",  "@import",
        "=\"nan",  "=\"-nan", ",nan", ",-nan",   "\"inf", ",inf",  "https:"};
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        cr_expect_null(strstr(page, forbidden[i]), "%s in the page", forbidden[i]);
    const char *http = strstr(page, "http:");
    cr_assert_not_null(http);
    cr_expect_eq(strncmp(http, "http://www.w3.org/1999/xhtml", 28), 0);
    cr_expect_null(strstr(http + 1, "http:"), "only the name space");
}

/* Checks a report's page. Result: the number of its charts. */
static unsigned check(const struct report *report)
{
    char *page = page_of(report);
    unsigned charts = 0;
    check_well_formed(page);
    check_self_contained(page);
    for (const char *at = page; (at = strstr(at, "<figure>")); at++)
        charts++;
    free(page);
    return charts;
}

Test(report_html, page_is_well_formed_and_shows_the_run)
{
    struct fixture *f = fixture_make(60);
    cr_expect_eq(check(&f->report), 6);
    char *page = page_of(&f->report);
    static const char *const wanted[] = {
        ">OK</span>vmotion", "vspc.example:13370",  "migrations a second", "prefers-color-scheme:dark",
        "@media print",      "1,999 of 2,000 iden", "99.9</text>",         "2026-09-21"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        cr_expect_not_null(strstr(page, wanted[i]), "no %s", wanted[i]);
    free(page);
    fixture_free(f);
}

Test(report_html, time_line_may_have_no_moment_or_few)
{
    static const unsigned charts[] = {1, 4, 6}; /* a rate needs two moments */
    for (size_t moments = 0; moments < 3; moments++) {
        struct fixture *f = fixture_make(moments);
        cr_expect_eq(check(&f->report), charts[moments], "%zu moments", moments);
        fixture_free(f);
    }
}

Test(report_html, a_run_of_nothing_has_a_page)
{
    struct bench_options options = {.vspc_text = "x:1"};
    struct report *r = xcalloc(1, sizeof *r);
    r->options = &options;
    cr_expect_eq(check(r), 0);
    free(r);
}

Test(report_html, moments_may_coincide_go_back_or_know_nothing)
{
    struct fixture *f = fixture_make(3);
    struct moment same = f->report.moments[2], none = {.at_s = 4}, late = {.at_s = 2600000};
    same.counters[COUNT_COMPLETED] += 5;
    report_moment(&f->report, &same);
    report_moment(&f->report, &none);
    late.counters[COUNT_COMPLETED] = UINT64_MAX;
    late.p50_ns = late.p99_ns = late.max_ns = UINT64_MAX;
    late.server =
        (struct server_figures){.known = true, .cpu_s = 1e12, .rss_kib = UINT64_MAX / 1024, .fds = 1};
    report_moment(&f->report, &late);
    tally_time(&f->report.tally, LATENCY_ECHO, 0);
    tally_time(&f->report.tally, LATENCY_DELIVERY, UINT64_MAX);
    cr_expect_eq(check(&f->report), 6);
    fixture_free(f);
}

Test(report_html, text_from_outside_is_escaped)
{
    struct fixture *f = fixture_make(3);
    f->report.ok = false;
    f->options.vspc_text = "\"><script>alert(1)</script>";
    f->options.restart_command = "a && b > '/c' \xff\xc0\x80\xed\xa0\x80 \x1b[m\x7f \xe2\x82\xac";
    report_figure(&f->report, "k", "<b>&amp;", "<i>", 5);
    snprintf(f->report.failure, sizeof f->report.failure, "<img src=x onerror=y>");
    char *page = page_of(&f->report);
    check_well_formed(page);
    static const char *const wanted[] = {"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
                                         "&lt;b&gt;&amp;amp;",
                                         "5.00 &lt;i&gt;",
                                         "&lt;img src=x onerror=y&gt;",
                                         "a &amp;&amp; b &gt; &#39;/c&#39; \xef\xbf\xbd",
                                         "\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        cr_expect_not_null(strstr(page, wanted[i]), "no %s", wanted[i]);
    cr_expect_null(strstr(page, "<script"));
    cr_expect_null(strchr(page, '\xff'));
    cr_expect_null(strchr(page, '\xc0'));
    cr_expect_null(strchr(page, '\xed'));
    free(page);
    fixture_free(f);
}
