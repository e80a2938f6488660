/* vspcctl attach, on a terminal and in scripts, with the real daemon. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "ctl_run.h"
#include "probe.h"
#include "terminal.h"

TestSuite(vspcctl_attach, .timeout = 240);

enum { PASTE = 2 * 1024 * 1024 };

struct scene {
    struct daemon *d;
    struct vm_link *vm;
};

static struct scene set_up(void)
{
    struct scene s = {.d = daemon_new(VSPCD, 8)};
    daemon_start(s.d);
    s.vm = vm_start_named(s.d, "web-1");
    probe_port(s.d, "web-1");
    return s;
}

static void tear_down(struct scene *s)
{
    vm_stop(s->vm);
    if (s->d->pid)
        daemon_stop(s->d);
}

/* vspcctl attach on a terminal, with one more option or NULL, once it is connected. */
static struct terminal *attach(struct scene *s, char *option)
{
    struct terminal *t =
        terminal_run((char *[]){VSPCCTL, "-s", s->d->control, "attach", "web-1", option, NULL});
    terminal_wait(t, "Connected to web-1 (", SOON);
    terminal_wait(t, "then ? for help.", SOON);
    return t;
}

static bool is_cooked(const struct terminal *t)
{
    struct termios mode;
    cr_assert_eq(tcgetattr(t->fd, &mode), 0);
    return (mode.c_lflag & ICANON) && (mode.c_lflag & ECHO) && (mode.c_lflag & ISIG) &&
           (mode.c_oflag & OPOST);
}

/* It must end so, and leave its terminal as it was. */
static void expect_end(struct terminal *t, int status)
{
    int got = terminal_wait_exit(t, SOON);
    cr_assert_eq(got, status, "it ended with status %#x", (unsigned)got);
    cr_assert(is_cooked(t), "the terminal is still raw");
    terminal_close(t);
}

Test(vspcctl_attach, what_is_typed_and_printed_comes_through)
{
    struct scene s = set_up();
    struct terminal *t = attach(&s, NULL);
    cr_assert(!is_cooked(t));
    vm_print_text(s.vm, "login: ");
    terminal_wait(t, "login: ", SOON);
    terminal_type(t, "root\r\x03\x1a\xff\x1d\x1d");
    vm_expect_text(s.vm, "root\r\x03\x1a\xff\x1d", SOON);
    terminal_type(t, "\x1d"
                     "b");
    WAIT_FOR(vm_link_pump(s.vm) == 0 && s.vm->breaks == 1, SOON, "no BREAK");
    terminal_type(t, "\x1d.");
    expect_end(t, 0);
    tear_down(&s);
}

Test(vspcctl_attach, exclusive_access_is_an_event_and_the_usual_one_is_not)
{
    struct scene s = set_up();
    ctl_expect(s.d, 0, "", CTL("attach", "--wait", "0", "web-1"));
    char *events = ctl_output(s.d, CTL("events"));
    cr_assert(strstr(events, "user-in") && !strstr(events, "access"), "%s", events);
    free(events);
    ctl_expect(s.d, 0, "", CTL("attach", "--wait", "0", "--exclusive", "web-1"));
    ctl_expect(s.d, 0, ")  exclusive\n", CTL("events"));
    tear_down(&s);
}

Test(vspcctl_attach, a_signal_leaves_the_terminal_as_it_was)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    struct scene s = set_up();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct terminal *t = attach(&s, NULL);
        kill(t->pid, signals[i]);
        int status = terminal_wait_exit(t, SOON);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signals[i], "status %#x", (unsigned)status);
        cr_assert(is_cooked(t), "signal %d leaves the terminal raw", signals[i]);
        terminal_close(t);
    }
    tear_down(&s);
}

Test(vspcctl_attach, a_stop_lends_the_terminal_to_the_shell)
{
    struct scene s = set_up();
    struct terminal *t = attach(&s, NULL);
    int status;
    kill(t->pid, SIGTSTP);
    WAIT_FOR(waitpid(t->pid, &status, WUNTRACED | WNOHANG) == t->pid, SOON, "it does not stop");
    cr_assert(WIFSTOPPED(status) && is_cooked(t));
    kill(t->pid, SIGCONT);
    WAIT_FOR(!is_cooked(t), SOON, "the terminal does not become raw again");
    terminal_type(t, "\x1d.");
    expect_end(t, 0);
    tear_down(&s);
}

Test(vspcctl_attach, the_end_of_the_server_ends_it_with_1)
{
    struct scene s = set_up();
    struct terminal *t = attach(&s, NULL);
    daemon_kill(s.d);
    terminal_wait(t, "vspcd has closed the connection", SOON);
    expect_end(t, 1 << 8);
    vm_link_wait_closed(s.vm, SOON);
    tear_down(&s);
}

Test(vspcctl_attach, a_script_types_and_leaves_when_it_is_silent)
{
    struct scene s = set_up();
    struct ctl_run *run = ctl_start(s.d, "uname\n\x1d.", 8, CTL("attach", "--wait", "3", "web-1"));
    vm_expect_text(s.vm, "uname\n\x1d.", SOON);
    vm_print_text(s.vm, "Linux\xff\r\n");
    ctl_wait(run, 0);
    cr_assert_str_eq(run->out, "Linux\xff\r\n");
    cr_assert(strstr(run->err, "Connected to web-1") && !strstr(run->err, "Escape"), "%s", run->err);
    ctl_end(run);
    tear_down(&s);
}

/* A shell's command on a terminal, in which vspcctl stands for itself with the daemon's socket. */
static struct terminal *run_shell(struct scene *s, const char *command)
{
    char *script = xasprintf("vspcctl() { %s -s '%s' \"$@\"; }; %s", VSPCCTL, s->d->control, command);
    struct terminal *t = terminal_run((char *[]){"/bin/sh", "-c", script, NULL});
    free(script);
    return t;
}

Test(vspcctl_attach, output_that_is_no_terminal_gets_what_the_vm_prints_alone)
{
    struct scene s = set_up();
    char *path = xasprintf("%s/printed", env_dir());
    char *command = xasprintf("vspcctl attach web-1 >%s", path);
    struct terminal *t = run_shell(&s, command);
    terminal_wait(t, "then ? for help.\r\n", SOON);
    terminal_type(t, "\x1d?");
    terminal_wait(t, "this help\r\n", SOON);
    terminal_type(t, "\x1dw");
    terminal_wait(t, "[vspc: user ", SOON);
    vm_print_text(s.vm, "hello\r\n");
    char *printed = NULL;
    WAIT_FOR((free(printed), printed = env_read_file(path, 0, 4096)) && strlen(printed) >= 7, SOON, "%s",
             printed);
    cr_assert_str_eq(printed, "hello\r\n");
    terminal_type(t, "\x1d.");
    expect_end(t, 0);
    free(printed);
    free(command);
    free(path);
    tear_down(&s);
}

Test(vspcctl_attach, a_full_disk_ends_what_would_print_on)
{
    struct scene s = set_up();
    static const char *const commands[] = {"events -f", "top -b", "log -f web-1", "--help", "list --help"};
    vm_print_text(s.vm, "hello\r\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *command = xasprintf("vspcctl %s >/dev/full", commands[i]);
        struct terminal *t = run_shell(&s, command);
        terminal_wait(t, "cannot be written: No space left", SOON);
        expect_end(t, 1 << 8);
        free(command);
    }
    tear_down(&s);
}

Test(vspcctl_attach, columns_fit_a_narrow_terminal)
{
    struct scene s = set_up();
    struct terminal *t = run_shell(&s, "stty cols 40 && vspcctl list && vspcctl list | cat");
    terminal_wait(t, "NAME   STATE       PORT  USERS  SINCE\r\nweb-1  connected  ", SOON);
    terminal_wait(t, "NAME   UUID  ", SOON);
    expect_end(t, 0);
    tear_down(&s);
}

Test(vspcctl_attach, a_large_paste_loses_nothing)
{
    struct scene s = set_up();
    char *paste = xmalloc(PASTE);
    for (size_t i = 0; i < PASTE; i++)
        paste[i] = (char)(i * 2654435761u >> 13);
    struct ctl_run *run = ctl_start(s.d, paste, PASTE, CTL("attach", "web-1"));
    vm_expect(s.vm, paste, PASTE, SOON);
    ctl_wait(run, 0);
    ctl_end(run);
    free(paste);
    tear_down(&s);
}

Test(vspcctl_attach, a_monitor_watches_until_it_is_ended)
{
    struct scene s = set_up();
    struct ctl_run *run = ctl_start(s.d, "unheard", 7, CTL("attach", "--monitor", "--wait", "0", "web-1"));
    vm_print_text(s.vm, "one");
    ctl_wait_printed(run, "one", SOON);
    vm_print_text(s.vm, "two");
    ctl_wait_printed(run, "onetwo", SOON);
    ctl_end(run);
    ctl_expect(s.d, 0, "", CTL("send", "web-1", "heard"));
    vm_expect_text(s.vm, "heard", SOON);
    tear_down(&s);
}

Test(vspcctl_attach, top_fills_the_terminal_and_gives_it_back)
{
    struct scene s = set_up();
    setenv("TERM", "xterm", 1);
    struct terminal *t = terminal_run((char *[]){VSPCCTL, "-s", s.d->control, "top", NULL});
    terminal_wait(t, "Consoles 1:", SOON);
    terminal_wait(t, "web-1", SOON);
    terminal_type(t, "q");
    expect_end(t, 0);
    t = terminal_run((char *[]){VSPCCTL, "-s", s.d->control, "top", NULL});
    terminal_wait(t, "web-1", SOON);
    kill(t->pid, SIGTERM);
    expect_end(t, 0);
    /* One that cannot place text is told so, and stays as it was. */
    setenv("TERM", "dumb", 1);
    t = terminal_run((char *[]){VSPCCTL, "-s", s.d->control, "top", NULL});
    terminal_wait(t, "this terminal (TERM=dumb) cannot show it", SOON);
    expect_end(t, 1 << 8);
    tear_down(&s);
}
