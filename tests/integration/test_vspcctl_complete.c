/* Completion in bash, typed at on a terminal. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "terminal.h"

TestSuite(vspcctl_complete, .timeout = 120);

/* A bash that completes vspcctl, and shows the arguments that it is then called with. */
static struct terminal *start_bash(const struct daemon *d)
{
    char *rc = xasprintf("%s/bashrc", env_dir());
    FILE *file = fopen(rc, "w");
    cr_assert(file);
    fprintf(file,
            "PS1='ready> '\nexport VSPC_SOCKET=%s\nPATH=%.*s:$PATH\nbind 'set bell-style none'\n"
            "bind 'set enable-bracketed-paste off'\n. %s/packaging/completion/vspcctl\n"
            "try() { printf 'got:'; printf '<%%q>' \"$@\"; echo; }\ncomplete -F _vspcctl try\n",
            d->control, (int)(strrchr(VSPCCTL, '/') - VSPCCTL), VSPCCTL, VSPC_SOURCE);
    fclose(file);
    struct terminal *t = terminal_run((char *[]){"bash", "--noprofile", "--rcfile", rc, "-i", NULL});
    terminal_wait(t, "ready> ", SOON);
    free(rc);
    return t;
}

static void expect_completed(struct terminal *t, const char *typed, const char *got)
{
    terminal_type(t, typed);
    terminal_wait(t, "got:", SOON);
    terminal_wait(t, got, SOON);
    terminal_wait(t, "ready> ", SOON);
}

Test(vspcctl_complete, commands_options_and_names_complete)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *plain = vm_start_named(d, "web-1");
    struct vm_link *odd = vm_start_named(d, "it's $(touch pwned) \"x\"");
    struct vm_link *lines = vm_start_named(d, "line\nbreak");
    struct vm_link *colon = vm_start_named(d, "rack:7");
    probe_port(d, "web-1");
    probe_port(d, "rack:7");
    struct terminal *t = start_bash(d);
    expect_completed(t, "try att\tx\r", "<attach><x>");
    expect_completed(t, "try attach --exclusive-\t\r", "<attach><--exclusive-write>");
    expect_completed(t, "try show we\t\r", "<show><web-1>");
    expect_completed(t, "try show it\t\r", "<show><it\\'s\\ \\$\\(touch\\ pwned\\)\\ \\\"x\\\">");
    expect_completed(t, "try show rack:\t\r", "<show><rack:7>");
    expect_completed(t, "try show \"we\t\r", "<show><web-1>");
    expect_completed(t, "try show \"it\t\r", "<show><it\\'s\\ \\$\\(touch\\ pwned\\)\\ \\\"x\\\">");
    expect_completed(t, "try show 'it\t\r", "<show><it\\'s\\ \\$\\(touch\\ pwned\\)\\ \\\"x\\\">");
    expect_completed(t, "try show line\t\r", "<show><$'line\\nbreak'>");
    terminal_close(t);
    vm_stop(plain);
    vm_stop(odd);
    vm_stop(colon);
    vm_stop(lines);
    daemon_stop(d);
}
