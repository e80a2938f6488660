#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vspc/mem.h"

/* Everything of a daemon lives until its test's process ends, which is when all of it is freed at once. */
static struct daemon daemons[8];
static unsigned daemon_count;

static void free_daemons(void)
{
    for (unsigned i = 0; i < daemon_count; i++) {
        struct daemon *d = &daemons[i];
        free(d->config);
        free(d->state_dir);
        free(d->control);
        free(d->log);
        for (size_t j = 0; j < DAEMON_OVERRIDES_MAX; j++)
            free(d->overrides[j]);
    }
}

/* Adds to a sanitizer's options, whatever the caller's are: its report must be in the daemon's log. */
static void add_options(const char *variable, const char *options)
{
    const char *old = getenv(variable);
    char *all = old && *old ? xasprintf("%s:%s", old, options) : xstrdup(options);
    setenv(variable, all, 1);
    free(all);
}

struct daemon *daemon_new(const char *program, unsigned user_ports)
{
    if (daemon_count == sizeof daemons / sizeof *daemons)
        env_fail("too many daemons in one test");
    if (daemon_count == 0) {
        atexit(free_daemons);
        add_options("ASAN_OPTIONS", "log_path=stderr:exitcode=99");
        add_options("TSAN_OPTIONS", "log_path=stderr:exitcode=66");
    }
    const char *dir = env_dir();
    unsigned number = ++daemon_count;
    struct daemon *d = &daemons[number - 1];
    d->program = program;
    d->vm_port = env_ports(1);
    d->first_user_port = env_ports(user_ports);
    d->user_ports = user_ports;
    d->config = xasprintf("%s/vspc%u.ini", dir, number);
    d->state_dir = xasprintf("%s/state%u", dir, number);
    d->log = xasprintf("%s/vspcd%u.log", dir, number);
    daemon_write_config(d, "");
    if (mkdir(d->state_dir, 0700) < 0)
        env_fail("mkdir %s: %s", d->state_dir, strerror(errno));
    env_show(d->log);
    daemon_set(d, "vm.listen", "127.0.0.1:%u", d->vm_port);
    daemon_set(d, "user.first_port", "%u", d->first_user_port);
    daemon_set(d, "user.max_ports", "%u", user_ports);
    daemon_set(d, "server.state_dir", "%s", d->state_dir);
    daemon_set(d, "server.workers", "2");
    d->control = xasprintf("%s/control%u.sock", dir, number);
    daemon_set(d, "control.socket", "%s", d->control);
    daemon_set(d, "redis.enabled", "no");
    return d;
}

void daemon_set(struct daemon *d, const char *key, const char *format, ...)
{
    va_list args;
    char value[1024];
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    size_t len = strlen(key);
    for (size_t i = 0; i < DAEMON_OVERRIDES_MAX; i++) {
        char *old = d->overrides[i];
        if (old && (strncmp(old, key, len) != 0 || old[len] != '='))
            continue;
        free(old);
        d->overrides[i] = xasprintf("%s=%s", key, value);
        return;
    }
    env_fail("more than %d overrides", DAEMON_OVERRIDES_MAX);
}

void daemon_write_config(struct daemon *d, const char *text)
{
    FILE *file = fopen(d->config, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        env_fail("%s: %s", d->config, strerror(errno));
}

void daemon_spawn(struct daemon *d)
{
    char *argv[3 + 2 * DAEMON_OVERRIDES_MAX + 1] = {(char *)d->program, "-c", d->config};
    size_t n = 3;
    for (size_t i = 0; i < DAEMON_OVERRIDES_MAX && d->overrides[i]; i++) {
        argv[n++] = "-o";
        argv[n++] = d->overrides[i];
    }
    if (d->pid)
        env_fail("vspcd is running already");
    int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        env_fail("%s: %s", d->log, strerror(errno));
    daemon_mark_log(d);
    d->pid = env_spawn(argv, log);
    close(log);
}

/* Whether it has ended; it stays to be waited for. */
static bool has_ended(const struct daemon *d)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)d->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == d->pid;
}

void daemon_start(struct daemon *d)
{
    daemon_spawn(d);
    WAIT_FOR(daemon_count_log(d, "Ready") || has_ended(d), SOON, "vspcd is not ready in time");
    if (!daemon_count_log(d, "Ready"))
        env_fail("vspcd ended before it was ready");
}

int daemon_wait_exit(struct daemon *d, unsigned timeout_ms)
{
    int status;
    if (!d->pid)
        env_fail("vspcd is not running");
    uint64_t deadline = clock_ms() + timeout_ms;
    while (!env_wait_exit(d->pid, &status, 0)) {
        /* A thread that this process traces is to be waited for too. */
        if (d->frozen && waitpid(d->frozen, NULL, __WALL | WNOHANG) == d->frozen)
            d->frozen = 0;
        if (clock_ms() >= deadline)
            env_fail("vspcd has not ended after %u ms", timeout_ms);
        env_nap();
    }
    d->pid = d->frozen = 0;
    env_check_reports();
    return status;
}

void daemon_stop(struct daemon *d)
{
    daemon_signal(d, SIGTERM);
    int status = daemon_wait_exit(d, SOON);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        env_fail("vspcd ended with %s %d", WIFEXITED(status) ? "status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void daemon_signal(struct daemon *d, int number)
{
    if (!d->pid || kill(d->pid, number) < 0)
        env_fail("vspcd is not running");
}

void daemon_kill(struct daemon *d)
{
    daemon_signal(d, SIGKILL);
    daemon_wait_exit(d, SOON);
}

/* The id of a thread, by its name; 0: there is none. */
static pid_t find_thread(const struct daemon *d, const char *name)
{
    char path[320], line[32];
    pid_t found = 0;
    snprintf(path, sizeof path, "/proc/%d/task", d->pid);
    snprintf(line, sizeof line, "%s\n", name);
    DIR *tasks = opendir(path);
    struct dirent *entry;
    while (tasks && !found && (entry = readdir(tasks))) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/comm", d->pid, entry->d_name);
        char *comm = env_read_file(path, 0, 64);
        if (strcmp(comm, line) == 0)
            found = atoi(entry->d_name);
        free(comm);
    }
    if (tasks)
        closedir(tasks);
    return found;
}

void daemon_freeze_thread(struct daemon *d, const char *name)
{
    int status;
    pid_t tid = find_thread(d, name);
    if (!tid)
        env_fail("vspcd has no thread named %s", name);
    if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 ||
        waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
        env_fail("thread %s cannot be stopped: %s", name, strerror(errno));
    d->frozen = tid;
}

void daemon_thaw_thread(struct daemon *d)
{
    if (!d->frozen || ptrace(PTRACE_DETACH, d->frozen, NULL, NULL) < 0)
        env_fail("no thread is stopped: %s", strerror(errno));
    d->frozen = 0;
}

unsigned daemon_count_log(struct daemon *d, const char *text)
{
    unsigned count = 0;
    char *log = env_read_file(d->log, d->log_from, 8 * 1024 * 1024);
    for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
        count++;
    free(log);
    return count;
}

void daemon_wait_log(struct daemon *d, const char *text, unsigned timeout_ms)
{
    WAIT_FOR(daemon_count_log(d, text), timeout_ms, "not logged after %u ms: %s", timeout_ms, text);
}

void daemon_mark_log(struct daemon *d)
{
    struct stat st;
    d->log_from = stat(d->log, &st) == 0 ? (size_t)st.st_size : 0;
}

struct sock_addr daemon_vm_addr(const struct daemon *d)
{
    return env_local(d->vm_port);
}

/* The number behind `key` in /proc/<pid>/status. */
static unsigned long status_number(const char *status, const char *key)
{
    const char *found = strstr(status, key);
    return found ? strtoul(found + strlen(key), NULL, 10) : 0;
}

struct daemon_usage daemon_usage(const struct daemon *d)
{
    struct daemon_usage usage = {0};
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", d->pid);
    char *status = env_read_file(path, 0, 16384);
    usage.rss_kib = status_number(status, "\nVmRSS:");
    usage.threads = (unsigned)status_number(status, "\nThreads:");
    free(status);
    snprintf(path, sizeof path, "/proc/%d/stat", d->pid);
    char *stat = env_read_file(path, 0, 4096);
    /* The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th numbers behind it. */
    const char *behind_name = strrchr(stat, ')');
    unsigned long user = 0, system = 0;
    if (!behind_name ||
        sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        env_fail("cannot read %s", path);
    usage.cpu_seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    free(stat);
    snprintf(path, sizeof path, "/proc/%d/fd", d->pid);
    DIR *fds = opendir(path);
    struct dirent *entry;
    while (fds && (entry = readdir(fds)))
        usage.fds += entry->d_name[0] != '.';
    if (fds)
        closedir(fds);
    return usage;
}
