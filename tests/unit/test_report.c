/* What vspc-bench reports: the table, the file for machines, the progress line. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <pty.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "env.h"
#include "report_fixture.h"
#include "units.h"

TestSuite(report, .timeout = 60);

/* A path in the test's directory, until the next call. */
static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", env_dir(), name);
    return path;
}

/* Writes the report for machines and reads it back. */
static json_t *written(const struct report *report)
{
    const char *path = path_of("report.json");
    json_error_t error;
    cr_assert_eq(report_write_json(report, path), 0);
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(json, "%d:%d: %s", error.line, error.column, error.text);
    return json;
}

/* What stands at a path of keys: "vms", "lost". */
static json_t *at(json_t *json, const char *first, const char *second)
{
    json_t *value = json_object_get(json, first);
    value = second ? json_object_get(value, second) : value;
    cr_assert_not_null(value, "no %s %s", first, second ? second : "");
    return value;
}

#define EXPECT_INTEGER(json_, first_, second_, n_)                                                           \
    cr_expect_eq(json_integer_value(at(json_, first_, second_)), n_, "%s", #second_)
#define EXPECT_NUMBER(json_, first_, second_, n_)                                                            \
    cr_expect_float_eq(json_number_value(at(json_, first_, second_)), n_, 1e-9, "%s", #second_)

Test(report, json_says_what_was_counted)
{
    struct fixture *f = fixture_make(2);
    json_t *json = written(&f->report);
    cr_expect_str_eq(json_string_value(at(json, "scenario", NULL)), "vmotion");
    cr_expect(json_is_true(at(json, "ok", NULL)));
    cr_expect(json_is_false(at(json, "interrupted", NULL)));
    cr_expect(json_is_null(at(json, "failure", NULL)));
    cr_expect_str_eq(json_string_value(at(json, "version", NULL)), VSPC_VERSION);
    EXPECT_NUMBER(json, "seconds", NULL, 10.25);
    EXPECT_INTEGER(json, "vms", "wanted", 2000);
    EXPECT_INTEGER(json, "vms", "identified", 1999);
    EXPECT_INTEGER(json, "vms", "mapped", 1998);
    EXPECT_INTEGER(json, "vms", "lost", 3);
    EXPECT_INTEGER(json, "streams", "bytes", 5000000);
    EXPECT_INTEGER(json, "streams", "lost", 11);
    EXPECT_INTEGER(json, "streams", "doubled", 12);
    EXPECT_INTEGER(json, "streams", "reordered", 13);
    EXPECT_INTEGER(json, "streams", "skipped", 14);
    EXPECT_NUMBER(json, "server", "cpu_s", 3.25);
    EXPECT_INTEGER(json, "server", "rss_kib", 40000);
    EXPECT_INTEGER(json, "server", "fds", 4100);
    EXPECT_NUMBER(json, "figures", "migrations_per_s", 97.5);
    EXPECT_INTEGER(json, "options", "vms", 2000);
    EXPECT_NUMBER(json, "options", "rate", 12.5);
    EXPECT_NUMBER(json, "options", "hold_s", 0.5);
    cr_expect_str_eq(json_string_value(at(json, "options", "redis")), "127.0.0.1:6379");
    json_decref(json);
    fixture_free(f);
}

Test(report, json_has_the_latencies_that_were_counted_in_microseconds)
{
    struct fixture *f = fixture_make(0);
    json_t *json = written(&f->report), *latencies = at(json, "latency_us", NULL);
    cr_expect_eq(json_object_size(latencies), 2);
    json_t *goahead = at(latencies, "goahead", NULL);
    EXPECT_INTEGER(goahead, "count", NULL, 1000);
    EXPECT_NUMBER(goahead, "max", NULL, 1000.007);
    static const struct {
        const char *key;
        double percent, exact;
    } percentiles[] = {
        {"p50", 50, 500.007}, {"p90", 90, 900.007}, {"p99", 99, 990.007}, {"p999", 99.9, 999.007}};
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        double us = json_number_value(at(goahead, percentiles[i].key, NULL));
        cr_expect_geq(us, percentiles[i].exact - 1e-9);
        cr_expect_leq(us, percentiles[i].exact * (1 + 1.0 / 128));
        cr_expect_float_eq(us * 1000, round(us * 1000), 1e-6, "%s has more than three decimals",
                           percentiles[i].key);
    }
    EXPECT_NUMBER(at(latencies, "freeze", NULL), "max", NULL, 500000);
    json_decref(json);
    fixture_free(f);
}

Test(report, json_numbers_are_written_as_they_were_rounded)
{
    struct fixture *f = fixture_make(0);
    report_figure(&f->report, "third", "a third", "", 1.0 / 3);
    cr_assert_eq(report_write_json(&f->report, path_of("report.json")), 0);
    char *text = env_read_file(path_of("report.json"), 0, 65536);
    cr_expect_not_null(strstr(text, "\"max\": 1000.007,"), "%s", text);
    cr_expect_not_null(strstr(text, "\"third\": 0.333\n"), "%s", text);
    free(text);
    fixture_free(f);
}

Test(report, json_time_line_has_every_moment)
{
    struct fixture *f = fixture_make(7);
    json_t *json = written(&f->report), *moments = at(json, "timeline", NULL);
    cr_assert_eq(json_array_size(moments), 7);
    for (size_t i = 0; i < 7; i++) {
        json_t *moment = json_array_get(moments, i);
        EXPECT_NUMBER(moment, "at_s", NULL, (double)i + 1);
        EXPECT_INTEGER(moment, "completed", NULL, (json_int_t)(100 * (i + 1)));
        EXPECT_NUMBER(moment, "goahead", "p99", 990.007);
        EXPECT_NUMBER(moment, "server", "cpu_s", 1.5 + (double)i);
    }
    json_decref(json);
    fixture_free(f);
}

Test(report, json_tells_failure_and_what_is_not_known)
{
    struct fixture *f = fixture_make(0);
    f->report.ok = false;
    f->report.interrupted = true;
    f->report.after.known = false;
    f->options.redis = NULL;
    snprintf(f->report.failure, sizeof f->report.failure, "VM \"x\" was lost");
    json_t *json = written(&f->report);
    cr_expect(json_is_false(at(json, "ok", NULL)));
    cr_expect(json_is_true(at(json, "interrupted", NULL)));
    cr_expect_str_eq(json_string_value(at(json, "failure", NULL)), "VM \"x\" was lost");
    cr_expect(json_is_null(at(json, "server", NULL)));
    cr_expect(json_is_null(at(json, "options", "redis")));
    json_decref(json);
    fixture_free(f);
}

Test(report, json_stays_json_whatever_it_is_told)
{
    struct fixture *f = fixture_make(0);
    f->options.vspc_text = "\xff\xfe\"\\\n</script>";
    f->options.restart_command = "\x80";
    report_figure(&f->report, "nan", "none", "", NAN);
    report_figure(&f->report, "inf", "without end", "", INFINITY);
    for (unsigned i = 0; i < 2 * REPORT_FIGURES_MAX; i++)
        report_figure(&f->report, "many", "many", "", 1e300);
    json_t *json = written(&f->report);
    cr_expect(json_is_null(at(json, "figures", "nan")));
    cr_expect(json_is_null(at(json, "figures", "inf")));
    cr_expect_str_eq(json_string_value(at(json, "options", "vspc")), "\\xff\\xfe\\\"\\\\\\x0a</script>");
    json_decref(json);
    fixture_free(f);
}

Test(report, a_file_is_replaced_in_whole_or_stays)
{
    struct fixture *f = fixture_make(0);
    const char *path = path_of("kept.json");
    int old = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_eq(write(old, "old", 3), 3);
    cr_assert_eq(report_write_json(&f->report, path), 0);
    /* Who has the old file open still reads it. */
    char three[4] = "";
    cr_expect_eq(pread(old, three, 3, 0), 3);
    cr_expect_str_eq(three, "old");
    close(old);
    cr_expect_lt(report_write_json(&f->report, path_of("none/such.json")), 0);
    cr_expect_lt(report_write_html(&f->report, path_of("none/such.html")), 0);
    glob_t left;
    cr_assert_eq(glob(path_of("*.json*"), 0, NULL, &left), 0);
    cr_expect_eq(left.gl_pathc, 1, "a temporary file was left");
    globfree(&left);
    fixture_free(f);
}

Test(report, what_is_no_file_is_written_to_and_not_replaced)
{
    struct fixture *f = fixture_make(0);
    const char *path = path_of("pipe");
    struct stat st;
    cr_assert_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(report_write_json(&f->report, path), 0);
    char first = 0;
    cr_expect_eq(read(fd, &first, 1), 1);
    cr_expect_eq(first, '{');
    cr_expect(stat(path, &st) == 0 && S_ISFIFO(st.st_mode));
    close(fd);
    fixture_free(f);
}

/* The table. The caller frees. */
static char *table(const struct report *report)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    report_print(report, out);
    fclose(out);
    return text;
}

Test(report, table_begins_with_the_verdict_and_fits_a_terminal)
{
    struct fixture *f = fixture_make(3);
    f->options.restart_command =
        "systemctl restart vspcd@first.service && systemctl restart vspcd@second.service";
    char *text = table(&f->report);
    static const char *const wanted[] = {"OK: vmotion, 10.2 s\n",
                                         "1,999 of 2,000 identified, 1,998 in Redis, 3 lost",
                                         "11 lost, 12 doubled, 13 reordered, 14 skipped",
                                         "p99.9",
                                         "3.25 s, 31.7 % of one CPU",
                                         "39.1 MiB, 20.0 KiB a VM",
                                         "4,100, 2.05 a VM",
                                         "97.5 1/s"};
    cr_expect_eq(strstr(text, wanted[0]), text);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        cr_expect_not_null(strstr(text, wanted[i]), "no \"%s\" in:\n%s", wanted[i], text);
    cr_expect_not_null(strstr(text, latency_texts[LATENCY_FREEZE]));
    cr_expect_null(strstr(text, latency_texts[LATENCY_ECHO]), "nothing was echoed");
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        cr_expect_leq(len, 100, "%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
    free(text);
    fixture_free(f);
}

Test(report, table_says_why_it_failed_and_sends_nothing_to_the_terminal_that_is_no_text)
{
    struct fixture *f = fixture_make(0);
    f->report.ok = false;
    f->report.before.known = false;
    f->options.vspc_text = "\x1b[31mevil:1";
    snprintf(f->report.failure, sizeof f->report.failure, "user 7 read \x1b]0;title\x07");
    char *text = table(&f->report);
    cr_expect_eq(strstr(text, "FAILED: vmotion"), text);
    cr_expect_not_null(strstr(text, "user 7 read \\x1b]0;title"));
    cr_expect_null(strstr(text, "CPU"));
    for (const char *c = text; *c; c++)
        cr_expect(*c == '\n' || (*c >= 0x20 && *c < 0x7f), "0x%02x", (unsigned char)*c);
    free(text);
    fixture_free(f);
}

Test(report, time_line_stays_short_however_long_the_run)
{
    struct fixture *f = fixture_make(0);
    const size_t n = 5 * REPORT_MOMENTS_MAX + 3;
    for (size_t i = 1; i <= n; i++) {
        struct moment m = {.at_s = (double)i, .p50_ns = 100, .p99_ns = 200, .max_ns = i == 777 ? 999 : 300};
        m.counters[COUNT_KEYS] = i;
        report_moment(&f->report, &m);
    }
    const struct report *r = &f->report;
    cr_assert_leq(r->moment_count, REPORT_MOMENTS_MAX);
    cr_assert_geq(r->moment_count, REPORT_MOMENTS_MAX / 2);
    bool peak = false;
    for (size_t i = 0; i < r->moment_count; i++) {
        cr_assert_eq((double)r->moments[i].counters[COUNT_KEYS], r->moments[i].at_s);
        if (i > 0)
            cr_assert_gt(r->moments[i].at_s, r->moments[i - 1].at_s);
        /* All but the last stand for equally long. */
        if (i > 1 && i + 1 < r->moment_count)
            cr_assert_eq(r->moments[i].at_s - r->moments[i - 1].at_s,
                         r->moments[1].at_s - r->moments[0].at_s);
        cr_assert_eq(r->moments[i].p50_ns, 100);
        peak = peak || r->moments[i].max_ns == 999;
    }
    cr_expect(peak, "the longest time was forgotten");
    cr_expect_eq(r->moments[r->moment_count - 1].counters[COUNT_KEYS], n);
    fixture_free(f);
}

/* Has progress shown with `fd` as standard error. */
static void show_progress(int fd)
{
    int kept = dup(STDERR_FILENO);
    cr_assert(kept >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    for (unsigned i = 0; i < 50; i++)
        progress_show("VMs identified in this very long line", 512 + i, 2000, 1234.5, 2.5);
    progress_end();
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

Test(report, progress_fits_the_terminal_and_is_not_shown_too_often)
{
    int master, terminal;
    struct winsize size = {.ws_row = 24, .ws_col = 40};
    cr_assert_eq(openpty(&master, &terminal, NULL, NULL, &size), 0);
    uint64_t start = clock_ms();
    show_progress(terminal);
    uint64_t took_ms = clock_ms() - start;
    char text[4096] = "";
    for (size_t len = 0; !strchr(text, '\n');) {
        ssize_t n = read(master, text + len, sizeof text - 1 - len);
        cr_assert_gt(n, 0);
        len += (size_t)n;
    }
    cr_expect_eq(strstr(text, "\r512 of 2,000 VMs"), text, "%s", text);
    cr_expect_eq(strcspn(text + 1, "\r"), 39, "%s", text);
    unsigned shown = 0;
    for (const char *c = text; (c = strstr(c, " of 2,000")); c++)
        shown++;
    cr_expect_leq(shown, 1 + took_ms / 100);
    close(master);
    close(terminal);
}

Test(report, progress_is_for_terminals_only)
{
    int fd = open(path_of("progress"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    show_progress(fd);
    cr_expect_eq(lseek(fd, 0, SEEK_END), 0);
    close(fd);
}

Test(report, every_counter_and_latency_has_its_own_name)
{
    for (unsigned i = 0; i < COUNTERS; i++) {
        cr_assert(counter_names[i] && counter_texts[i], "counter %u", i);
        for (unsigned j = 0; j < i; j++)
            cr_expect(strcmp(counter_names[i], counter_names[j]) &&
                      strcmp(counter_texts[i], counter_texts[j]));
    }
    for (unsigned i = 0; i < LATENCIES; i++) {
        cr_assert(latency_names[i] && latency_texts[i], "latency %u", i);
        cr_expect_lt(strlen(latency_texts[i]), 30);
        for (unsigned j = 0; j < i; j++)
            cr_expect(strcmp(latency_names[i], latency_names[j]) &&
                      strcmp(latency_texts[i], latency_texts[j]));
    }
}

Test(report, numbers_are_shown_as_people_read_them)
{
    char out[UNITS_TEXT];
    cr_expect_str_eq(units_count(out, 0), "0");
    cr_expect_str_eq(units_count(out, 999), "999");
    cr_expect_str_eq(units_count(out, 1234567), "1,234,567");
    cr_expect_str_eq(units_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
    cr_expect_str_eq(units_time(out, 999), "999 ns");
    cr_expect_str_eq(units_time(out, 1234), "1.23 us");
    cr_expect_str_eq(units_time(out, 999499), "999 us");
    cr_expect_str_eq(units_time(out, 999501), "1.00 ms");
    cr_expect_str_eq(units_time(out, 71.54e9), "71.5 s");
    cr_expect_str_eq(units_time(out, 320e9), "5 min 20 s");
    cr_expect_str_eq(units_time(out, 9000e9), "2 h 30 min");
    cr_expect_str_eq(units_duration(out, 0), "0s");
    cr_expect_str_eq(units_duration(out, 500), "500ms");
    cr_expect_str_eq(units_duration(out, 60000), "1min");
    cr_expect_str_eq(units_duration(out, 90000), "90s");
    cr_expect_str_eq(units_duration(out, UINT64_C(30) * 86400000), "30d");
    cr_expect_str_eq(units_bytes(out, 1023), "1023 B");
    cr_expect_str_eq(units_bytes(out, 1536), "1.50 KiB");
    cr_expect_str_eq(units_bytes(out, 1e18), "888 PiB");
    cr_expect_str_eq(units_number(out, 0), "0");
    cr_expect_str_eq(units_number(out, 0.01234), "0.0123");
    cr_expect_str_eq(units_number(out, 12.34), "12.3");
    cr_expect_str_eq(units_number(out, 1234.5), "1,235");
    cr_expect_str_eq(units_number(out, -1234.5), "-1,235");
    cr_expect_str_eq(units_number(out, NAN), "nan");
}

Test(report, a_process_is_known_while_it_is_there)
{
    struct server_figures before = server_look(getpid());
    cr_assert(before.known);
    cr_expect_gt(before.rss_kib, 100);
    cr_expect_lt(before.rss_kib, UINT64_C(1) << 30);
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    cr_expect_eq(server_look(getpid()).fds, before.fds + 2);
    close(fds[0]);
    close(fds[1]);
    /* CPU time is taken until it is seen. */
    WAIT_FOR(server_look(getpid()).cpu_s > before.cpu_s, SOON, "no CPU time was taken");
    cr_expect_not(server_look(0).known);
    char *argv[] = {(char *)"true", NULL};
    pid_t pid = env_spawn(argv, -1);
    int status;
    cr_assert(env_wait_exit(pid, &status, SOON));
    cr_expect_not(server_look(pid).known);
}
