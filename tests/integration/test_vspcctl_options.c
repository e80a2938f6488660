/* The options of vspcctl's commands, on the real daemon, and what each exit code stands for. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl_run.h"
#include "probe.h"
#include "terminal.h"

TestSuite(vspcctl_options, .timeout = 240);

/* A daemon and two VMs, web-1 and web-2. */
struct site {
    struct daemon *d;
    struct vm_link *web, *other;
};

static struct site set_up(struct daemon *d)
{
    struct site s = {.d = d};
    daemon_start(d);
    s.web = vm_start_named(d, "web-1");
    s.other = vm_start_named(d, "web-2");
    probe_port(d, "web-1");
    probe_port(d, "web-2");
    return s;
}

static void tear_down(struct site *s)
{
    vm_stop(s->web);
    vm_stop(s->other);
    daemon_stop(s->d);
}

/* Somebody who has exclusive access to web-1. */
static struct ctl_run *hold(struct site *s)
{
    struct ctl_run *run = ctl_start(s->d, NULL, 0, CTL("attach", "-w", "-W", "3600", "web-1"));
    daemon_wait_log(s->d, "User access changed", SOON);
    return run;
}

/* vspcctl on a terminal of that size. */
static struct terminal *on_terminal(const struct site *s, const char *size, char *command, char *option)
{
    char *script = xasprintf("stty %s && exec \"$@\"", size);
    struct terminal *t = terminal_run(
        (char *[]){"sh", "-c", script, "sh", VSPCCTL, "-s", s->d->control, command, option, NULL});
    free(script);
    return t;
}

static void expect_exit(struct terminal *t, int code)
{
    int status = terminal_wait_exit(t, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == code, "status %#x", (unsigned)status);
    terminal_close(t);
}

/* A text that stands in what vspcctl printed, which must have ended with this code. */
static void expect_run(struct ctl_run *run, int code, const char *out, const char *err)
{
    ctl_wait(run, code);
    cr_assert(strstr(run->out, out) && strstr(run->err, err), "it printed %s and %s", run->out, run->err);
    ctl_end(run);
}

Test(vspcctl_options, list_prints_names_for_xargs)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct vm_link *odd = vm_start_named(s.d, "a\nb");
    daemon_wait_log(s.d, "VM connected vm=\"a\\x0ab\"", SOON);
    struct ctl_run *run = ctl_start(s.d, NULL, 0, CTL("list", "--null"));
    ctl_wait(run, 0);
    char *raw = env_read_file(run->output, 0, 4096);
    cr_assert_eq(memcmp(raw, "a\nb\0web-1\0web-2", 16), 0);
    free(raw);
    ctl_end(run);
    run = ctl_start(s.d, NULL, 0, CTL("list", "-0", "-r", "^web-1$", "zz"));
    ctl_wait(run, 0);
    cr_assert_str_eq(run->out, "web-1");
    ctl_end(run);
    vm_stop(odd);
    tear_down(&s);
}

Test(vspcctl_options, list_and_users_are_cut_to_the_terminal)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct vm_link *longer = vm_start_named(s.d, "a-name-that-is-much-too-long-for-a-narrow-terminal");
    daemon_wait_log(s.d, "VM connected vm=\"a-name", SOON);
    struct terminal *t = on_terminal(&s, "cols 60 rows 24", "list", NULL);
    terminal_expect(t, "NAME        STATE ", SOON);
    terminal_wait(t, "TO-VM\r\na-name-th~  ", SOON);
    terminal_wait(t, "\r\nweb-1       ", SOON);
    expect_exit(t, 0);
    t = on_terminal(&s, "cols 200 rows 24", "list", "-H");
    terminal_expect(t, "a-name-that-is-much-too-long-for-a-narrow-terminal  ", SOON);
    expect_exit(t, 0);
    vm_stop(longer);
    tear_down(&s);
}

Test(vspcctl_options, users_tells_who_is_held)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct user *user = user_connect(probe_port(s.d, "web-1"), USER_TELNET);
    struct ctl_run *run = hold(&s);
    user_wait_text(user, "has exclusive access]", SOON);
    char *out = ctl_output(s.d, CTL("users", "web-1")), *line = strchrnul(out, '\n');
    cr_assert(strstr(out, "ID ") && strstr(line, "telnet") && strstr(line, "rw (held)"), "%s", out);
    cr_assert(strstr(line, "control") && strstr(line, "exclusive-write  ") && strstr(line, ", process "),
              "%s", out);
    free(out);
    ctl_expect(s.d, 0, "exclusive    ", CTL("show", "web-1"));
    ctl_end(run);
    user_wait_text(user, "you may type again", SOON);
    json_t *none = ctl_json(s.d, CTL("users", "-j", "web-2"));
    cr_assert(json_is_array(none) && json_array_size(none) == 0);
    json_decref(none);
    user_close(user);
    tear_down(&s);
}

Test(vspcctl_options, events_are_one_object_a_line)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct ctl_run *run = hold(&s);
    char *out = ctl_output(s.d, CTL("events", "--json")), *rest = out, *line, *types = xstrdup("");
    while ((line = strsep(&rest, "\n")) && *line) {
        json_t *event = json_loads(line, 0, NULL);
        cr_assert(json_is_object(event), "%s", line);
        char *more = xasprintf("%s %s", types, json_string_value(json_object_get(event, "type")));
        free(types);
        types = more;
        json_decref(event);
    }
    cr_assert_str_eq(types, " vm-up vm-up user-in access");
    free(types);
    free(out);
    ctl_end(run);
    run = ctl_start(s.d, NULL, 0, CTL("events", "--follow"));
    ctl_wait_printed(run, "user-out          web-1  port ", SOON);
    ctl_expect(s.d, 0, "", CTL("disconnect", "web-2"));
    ctl_wait_printed(run, "vm-down           web-2  port ", SOON);
    ctl_end(run);
    tear_down(&s);
}

Test(vspcctl_options, send_breaks_types_and_presses_enter_in_this_order)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    ctl_expect(s.d, 0, "", CTL("send", "-be", "web-1", "a  b", "c"));
    vm_expect_text(s.web, "a  b c\r", SOON);
    cr_assert_eq(s.web->breaks, 1);
    ctl_expect(s.d, 0, "", CTL("send", "-e", "web-1"));
    vm_expect_text(s.web, "\r", SOON);
    ctl_expect(s.d, 2, "goes with --all", CTL("send", "-r", "web-1", "x"));
    tear_down(&s);
}

Test(vspcctl_options, send_all_goes_on_where_one_cannot)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct ctl_run *holder = hold(&s);
    expect_run(ctl_start(s.d, NULL, 0, CTL("send", "--all", "-e", "web-*", "x")), 4,
               "Typed into 1 of 2 consoles.", "vspcctl: web-1: ");
    vm_expect_text(s.other, "x\r", SOON);
    ctl_expect(s.d, 0, "Typed into 2 of 2 consoles.", CTL("send", "-a", "--force", "-r", "^web-.$", "y"));
    vm_expect_text(s.web, "y", SOON);
    vm_expect_text(s.other, "y", SOON);
    ctl_expect(s.d, 0, "", CTL("disconnect", "web-2"));
    vm_link_wait_closed(s.other, SOON);
    expect_run(ctl_start(s.d, NULL, 0, CTL("send", "-af", "*", "z")), 1, "Typed into 1 of 2 consoles.",
               "vspcctl: web-2: ");
    vm_expect_text(s.web, "z", SOON);
    ctl_expect(s.d, 3, "no console matches", CTL("send", "-ar", "^b", "z"));
    ctl_end(holder);
    tear_down(&s);
}

Test(vspcctl_options, broadcast_reaches_those_that_match)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    struct ctl_run *one = ctl_start(s.d, NULL, 0, CTL("attach", "-m", "web-1"));
    struct ctl_run *two = ctl_start(s.d, NULL, 0, CTL("attach", "-m", "web-2"));
    WAIT_FOR(probe_count_lines(s.d, "User connected", "") == 2, SOON, "they do not come");
    ctl_expect(s.d, 0, "Shown to 1 user of 1 console.",
               CTL("broadcast", "--regex", "--", "-2$", "to", "two"));
    ctl_expect(s.d, 0, "Shown to 2 users of 2 consoles.", CTL("broadcast", "web-?", "both \033[2J"));
    ctl_expect(s.d, 3, "no console matches '2$'", CTL("broadcast", "2$", "x"));
    char *first = NULL, *second = NULL;
    WAIT_FOR((free(first), first = env_read_file(one->errors, 0, 4096), strstr(first, "both")), SOON, "%s",
             first);
    WAIT_FOR((free(second), second = env_read_file(two->errors, 0, 4096), strstr(second, "both")), SOON, "%s",
             second);
    cr_assert(!strstr(first, "two") && strstr(second, "[vspc: to two]\n"), "%s", second);
    cr_assert(strstr(first, "[vspc: both ?[2J]\n"), "%s", first);
    free(first);
    free(second);
    ctl_end(one);
    ctl_end(two);
    tear_down(&s);
}

Test(vspcctl_options, attach_has_the_escape_key_that_is_asked_for)
{
    static char *const escapes[][2] = {{"^A", "\x01"}, {"%", "%"}};
    struct site s = set_up(daemon_new(VSPCD, 8));
    for (size_t i = 0; i < 2; i++) {
        struct terminal *t = terminal_run(
            (char *[]){VSPCCTL, "-s", s.d->control, "attach", "-e", escapes[i][0], "web-1", NULL});
        char *told = xasprintf("Escape is %s, then ? for help.\r\n", escapes[i][0]);
        char *keys = xasprintf("\x1d.%s%s.%s.", escapes[i][1], escapes[i][1], escapes[i][1]);
        char *heard = xasprintf("\x1d.%s.", escapes[i][1]);
        terminal_wait(t, told, SOON);
        terminal_type(t, keys);
        vm_expect_text(s.web, heard, SOON);
        expect_exit(t, 0);
        free(told);
        free(keys);
        free(heard);
    }
    struct terminal *t =
        terminal_run((char *[]){VSPCCTL, "-s", s.d->control, "attach", "--escape", "none", "web-1", NULL});
    terminal_wait(t, "read-write.\r\n", SOON);
    terminal_type(t, "\x1d.");
    vm_expect_text(s.web, "\x1d.", SOON);
    terminal_close(t);
    tear_down(&s);
}

/* The file must soon hold this, and nothing else. */
static void expect_file(const char *path, const char *text)
{
    char *got = NULL;
    WAIT_FOR((free(got), got = env_read_file(path, 0, 4096), strcmp(got, text) == 0), SOON, "%s holds %s",
             path, got);
    free(got);
}

Test(vspcctl_options, log_reads_what_vspcd_writes)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    char *path = xasprintf("%s/web-1.log", env_dir()), *old = xasprintf("%s.1", path);
    daemon_set(d, "log.directory", "%s", env_dir());
    daemon_set(d, "log.file", "{name}.log");
    struct site s = set_up(d);
    vm_print_text(s.web, "1\r\n2\r\n\0333\r\n4");
    expect_file(path, "1\r\n2\r\n\0333\r\n4");
    struct ctl_run *run = ctl_start(s.d, NULL, 0, CTL("log", "-n", "2", "--follow", "web-1"));
    ctl_wait_printed(run, "\0333\r\n4", SOON);
    struct terminal *t = on_terminal(&s, "cols 80", "log", "web-1");
    terminal_expect(t, "1\r\n2\r\n\\x1b3\r\n4", SOON);
    expect_exit(t, 0);
    /* What logrotate does. */
    cr_assert_eq(rename(path, old), 0);
    ctl_expect(s.d, 0, "", CTL("reopen"));
    vm_print_text(s.web, "5\r\n");
    ctl_wait_printed(run, "45\r\n", SOON);
    expect_file(old, "1\r\n2\r\n\0333\r\n4");
    expect_file(path, "5\r\n");
    ctl_end(run);
    ctl_expect(s.d, 1, "web-2.log is not there", CTL("log", "web-2"));
    free(old);
    free(path);
    tear_down(&s);
}

Test(vspcctl_options, stats_have_the_same_names_in_json_and_for_prometheus)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    json_t *stats = ctl_json(s.d, CTL("stats", "-j"));
    char *text = ctl_output(s.d, CTL("stats", "-p")), *rest = text;
    size_t families = 0;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char name[128];
        if (sscanf(line, "# TYPE %127s ", name) != 1)
            continue;
        families++;
        cr_assert(json_object_get(stats, name), "stats --json does not print %s", name);
    }
    cr_assert_gt(families, 20);
    cr_assert_eq(json_object_size(stats), families);
    free(text);
    json_decref(stats);
    tear_down(&s);
}

Test(vspcctl_options, top_follows_the_size_of_its_terminal)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    setenv("TERM", "xterm", 1);
    struct terminal *t = on_terminal(&s, "cols 60 rows 20", "top", "-d1");
    terminal_wait(t, "web-2", SOON);
    terminal_wait(t, "sort: rate", SOON);
    /* The end of a line that is too long for 60 columns. */
    terminal_resize(t, 120, 30);
    terminal_wait(t, "memory ", SOON);
    /* The last line is there now. */
    terminal_wait(t, "\033[30", SOON);
    terminal_wait(t, "sort: rate", SOON);
    terminal_type(t, "s");
    terminal_wait(t, "users", SOON);
    terminal_type(t, "p");
    terminal_wait(t, "go on", SOON);
    terminal_type(t, "q");
    expect_exit(t, 0);
    t = on_terminal(&s, "cols 60 rows 20", "top", "-n1");
    terminal_wait(t, "web-1", SOON);
    expect_exit(t, 0);
    tear_down(&s);
}

Test(vspcctl_options, the_socket_is_the_options_then_the_environments)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    char *port = xasprintf("%u\r\n", probe_port(s.d, "web-1"));
    setenv("VSPC_SOCKET", s.d->control, 1);
    struct terminal *t = terminal_run((char *[]){VSPCCTL, "port", "web-1", NULL});
    terminal_expect(t, port, SOON);
    expect_exit(t, 0);
    ctl_expect(NULL, 5, "/nonexistent/control.sock", CTL("port", "web-1"));
    setenv("VSPC_SOCKET", "/nonexistent/other.sock", 1);
    ctl_expect(s.d, 0, "", CTL("port", "web-1"));
    t = terminal_run((char *[]){VSPCCTL, "port", "web-1", NULL});
    terminal_wait(t, "no vspcd at /nonexistent/other.sock", SOON);
    expect_exit(t, 5);
    unsetenv("VSPC_SOCKET");
    free(port);
    tear_down(&s);
}

/* Beyond what other tests see of them: 1 failed, 3 no such console, 4 refused, 5 no server. */
Test(vspcctl_options, exit_codes)
{
    struct site s = set_up(daemon_new(VSPCD, 8));
    static char *const one_console[] = {"show", "port", "users", "attach", "log", "disconnect"};
    for (size_t i = 0; i < sizeof one_console / sizeof *one_console; i++) {
        ctl_expect(s.d, 3, "no console has a name", CTL(one_console[i], "nothing"));
        ctl_expect(s.d, 3, "web-2", CTL(one_console[i], "web"));
        ctl_expect(NULL, 5, "no vspcd at", CTL(one_console[i], "web-1"));
    }
    static char *const none[] = {"list", "events", "stats", "reload", "reopen", "drain", "version"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ctl_expect(NULL, 5, "no vspcd at", CTL(none[i]));
    ctl_expect(s.d, 3, "no console has a name", CTL("kick", "nothing", "1"));
    ctl_expect(NULL, 5, "no vspcd at", CTL("kick", "web-1", "1"));
    ctl_expect(NULL, 5, "no vspcd at", CTL("send", "web-1", "x"));
    ctl_expect(NULL, 5, "no vspcd at", CTL("broadcast", "*", "x"));
    ctl_expect(NULL, 5, "no vspcd at", CTL("top", "-b"));
    ctl_expect(s.d, 0, "", CTL("disconnect", "web-1"));
    vm_link_wait_closed(s.web, SOON);
    ctl_expect(s.d, 1, "there is no VM", CTL("disconnect", "web-1"));
    struct ctl_run *holder = hold(&s);
    ctl_expect(s.d, 4, "has exclusive access", CTL("attach", "web-1"));
    ctl_end(holder);
    daemon_kill(s.d);
    /* A socket that nobody serves any more. */
    ctl_expect(s.d, 5, "no vspcd at", CTL("list"));
    vm_stop(s.web);
    vm_stop(s.other);
}
