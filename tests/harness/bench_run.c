#include "bench_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vspc/mem.h"

enum { ARGUMENTS_MAX = 48, OUTPUT_MAX = 1024 * 1024 };

/* Cuts a line into arguments. Result: how many. */
static size_t cut(char *line, char **argv, size_t max)
{
    size_t n = 0;
    for (char *at = line; *at;) {
        char end = *at == '\'' ? '\'' : ' ';
        char *word = *at == '\'' ? at + 1 : at;
        if (n == max)
            env_fail("too many arguments: %s", line);
        argv[n++] = word;
        at = strchrnul(word, end);
        if (*at)
            *at++ = 0;
        at += strspn(at, " ");
    }
    return n;
}

struct bench_run *bench_start(const struct daemon *d, const struct redis *redis, const char *format, ...)
{
    static unsigned number;
    char *argv[ARGUMENTS_MAX + 1] = {VSPC_BENCH}, line[1024], vspc[SOCK_TEXT], where[32];
    struct bench_run *run = xcalloc(1, sizeof *run);
    struct sock_addr addr = daemon_vm_addr(d);
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    run->json = xasprintf("%s/bench%u.json", env_dir(), ++number);
    run->output = xasprintf("%s/bench%u.output", env_dir(), number);
    size_t n = 1 + cut(line, argv + 1, ARGUMENTS_MAX - 6);
    sock_addr_format(&addr, vspc);
    argv[n++] = "--vspc";
    argv[n++] = vspc;
    if (!strstr(format, "--json")) {
        argv[n++] = "--json";
        argv[n++] = run->json;
    }
    if (redis) {
        snprintf(where, sizeof where, "127.0.0.1:%u", redis->port);
        argv[n++] = "--redis";
        argv[n++] = where;
    }
    int fd = open(run->output, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0600);
    if (fd < 0)
        env_fail("%s: %s", run->output, strerror(errno));
    env_show(run->output);
    run->pid = env_spawn(argv, fd);
    close(fd);
    return run;
}

void bench_wait(struct bench_run *run, int code)
{
    int status;
    if (!env_wait_exit(run->pid, &status, 2 * SOON))
        env_fail("vspc-bench does not end");
    env_check_reports();
    run->report = json_load_file(run->json, 0, NULL);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        env_fail("status %x of vspc-bench, not exit code %d", (unsigned)status, code);
    if (code < 2 && access(run->json, F_OK) == 0 && !run->report)
        env_fail("vspc-bench wrote a report that is no JSON");
}

void bench_end(struct bench_run *run)
{
    json_decref(run->report);
    free(run->json);
    free(run->output);
    free(run);
}

/* The value at a path, or NULL. */
static const json_t *find(const struct bench_run *run, const char *path)
{
    const json_t *at = run->report;
    while (at && *path) {
        size_t len = strcspn(path, ".");
        char *key = xmemdup0(path, len);
        at = json_object_get(at, key);
        free(key);
        path += len + (path[len] == '.');
    }
    return at;
}

double bench_number(const struct bench_run *run, const char *path)
{
    const json_t *value = find(run, path);
    if (!json_is_number(value))
        env_fail("no number in the report: %s", path);
    return json_number_value(value);
}

bool bench_bool(const struct bench_run *run, const char *path)
{
    const json_t *value = find(run, path);
    if (!json_is_boolean(value))
        env_fail("neither true nor false in the report: %s", path);
    return json_is_true(value);
}

const char *bench_text(const struct bench_run *run, const char *path)
{
    const json_t *value = find(run, path);
    if (!json_is_string(value) && !json_is_null(value))
        env_fail("no text in the report: %s", path);
    return json_is_string(value) ? json_string_value(value) : "";
}

double bench_count(const struct bench_run *run, const char *latency)
{
    char *path = xasprintf("latency_us.%s.count", latency);
    double count = find(run, path) ? bench_number(run, path) : 0;
    free(path);
    return count;
}

bool bench_has_printed(const struct bench_run *run, const char *text)
{
    char *output = env_read_file(run->output, 0, OUTPUT_MAX);
    bool found = strstr(output, text);
    free(output);
    return found;
}

void bench_expect_well(const struct bench_run *run, const char *const latencies[])
{
    static const char *const zero[] = {"vms.lost", "streams.lost", "streams.doubled", "streams.reordered"};
    double vms = bench_number(run, "vms.wanted");
    if (!bench_bool(run, "ok") || *bench_text(run, "failure"))
        env_fail("not well: %s", bench_text(run, "failure"));
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        if (bench_number(run, zero[i]) != 0)
            env_fail("%s is %g", zero[i], bench_number(run, zero[i]));
    if (bench_number(run, "vms.identified") != vms)
        env_fail("%g of %g VMs were identified", bench_number(run, "vms.identified"), vms);
    if (*bench_text(run, "options.redis") && bench_number(run, "vms.mapped") != vms)
        env_fail("%g of %g VMs were in Redis", bench_number(run, "vms.mapped"), vms);
    for (size_t i = 0; latencies[i]; i++)
        if (bench_count(run, latencies[i]) == 0)
            env_fail("never timed: %s", latencies[i]);
}
