#include "ctl_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vspc/mem.h"

enum { ARGUMENTS_MAX = 32, OUTPUT_MAX = 16 * 1024 * 1024 };

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        env_fail("%s: %s", path, strerror(errno));
    return fd;
}

static void become_vspcctl(const struct ctl_run *run, char *const argv[])
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    setenv("LC_ALL", "C", 1);
    dup2(open_file(run->input, O_RDONLY), STDIN_FILENO);
    dup2(open_file(run->output, O_WRONLY | O_APPEND), STDOUT_FILENO);
    dup2(open_file(run->errors, O_WRONLY | O_APPEND), STDERR_FILENO);
    execv(argv[0], argv);
    _exit(127);
}

struct ctl_run *ctl_start(const struct daemon *d, const char *input, size_t input_len, char *const args[])
{
    static unsigned number;
    char *argv[ARGUMENTS_MAX + 1] = {VSPCCTL, "-s", d ? d->control : "/nonexistent/control.sock"};
    size_t n = 3;
    struct ctl_run *run = xcalloc(1, sizeof *run);
    for (size_t i = 0; args[i]; i++) {
        if (n == ARGUMENTS_MAX)
            env_fail("too many arguments");
        argv[n++] = args[i];
    }
    run->input = xasprintf("%s/ctl%u.input", env_dir(), ++number);
    run->output = xasprintf("%s/ctl%u.output", env_dir(), number);
    run->errors = xasprintf("%s/ctl%u.errors", env_dir(), number);
    int fd = open_file(run->input, O_WRONLY | O_CREAT);
    if (input_len && write(fd, input, input_len) != (ssize_t)input_len)
        env_fail("%s: %s", run->input, strerror(errno));
    close(fd);
    close(open_file(run->output, O_WRONLY | O_CREAT));
    close(open_file(run->errors, O_WRONLY | O_CREAT));
    run->pid = fork();
    if (run->pid < 0)
        env_fail("fork: %s", strerror(errno));
    if (run->pid == 0)
        become_vspcctl(run, argv);
    env_adopt(run->pid);
    return run;
}

void ctl_wait_printed(struct ctl_run *run, const char *text, unsigned timeout_ms)
{
    bool found = false;
    uint64_t deadline = clock_ms() + timeout_ms;
    while (!found) {
        char *out = env_read_file(run->output, 0, OUTPUT_MAX);
        found = strstr(out, text);
        if (!found && clock_ms() >= deadline)
            env_fail("vspcctl printed \"%s\" without \"%s\"", out, text);
        free(out);
        env_nap();
    }
}

void ctl_wait(struct ctl_run *run, int code)
{
    int status;
    if (!env_wait_exit(run->pid, &status, SOON))
        env_fail("vspcctl does not end");
    run->pid = 0;
    run->out = env_read_file(run->output, 0, OUTPUT_MAX);
    run->err = env_read_file(run->errors, 0, OUTPUT_MAX);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        env_fail("vspcctl ended with status %#x instead of exit code %d; it printed \"%s\" and \"%s\"",
                 (unsigned)status, code, run->out, run->err);
}

void ctl_end(struct ctl_run *run)
{
    int status;
    if (run->pid) {
        kill(run->pid, SIGKILL);
        env_wait_exit(run->pid, &status, SOON);
    }
    free(run->input);
    free(run->output);
    free(run->errors);
    free(run->out);
    free(run->err);
    free(run);
}

void ctl_expect(const struct daemon *d, int code, const char *text, char *const args[])
{
    struct ctl_run *run = ctl_start(d, NULL, 0, args);
    ctl_wait(run, code);
    const char *printed = code ? run->err : run->out;
    if (!strstr(printed, text))
        env_fail("vspcctl %s printed \"%s\" without \"%s\"", args[0], printed, text);
    ctl_end(run);
}

char *ctl_output(const struct daemon *d, char *const args[])
{
    struct ctl_run *run = ctl_start(d, NULL, 0, args);
    ctl_wait(run, 0);
    char *out = xstrdup(run->out);
    ctl_end(run);
    return out;
}

json_t *ctl_json(const struct daemon *d, char *const args[])
{
    char *out = ctl_output(d, args);
    json_t *value = json_loads(out, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    if (!value)
        env_fail("vspcctl %s printed no JSON: %s", args[0], out);
    free(out);
    return value;
}
