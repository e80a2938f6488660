#include "import_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

enum { ARGUMENTS_MAX = 8, OUTPUT_MAX = 1024 * 1024 };

/* Where an import's output goes; the caller frees. */
static char *output_path(void)
{
    return xasprintf("%s/import", env_dir());
}

pid_t import_start(struct daemon *d, char *const arguments[])
{
    char *argv[4 + 2 * DAEMON_OVERRIDES_MAX + ARGUMENTS_MAX] = {(char *)d->program, "-c", d->config};
    size_t n = 3;
    for (size_t i = 0; i < DAEMON_OVERRIDES_MAX && d->overrides[i]; i++) {
        argv[n++] = "-o";
        argv[n++] = d->overrides[i];
    }
    for (size_t i = 0; arguments[i] && i < ARGUMENTS_MAX; i++)
        argv[n++] = arguments[i];
    char *path = output_path();
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0600);
    if (fd < 0)
        env_fail("%s: %s", path, strerror(errno));
    env_show(path);
    pid_t pid = env_spawn(argv, fd);
    close(fd);
    free(path);
    return pid;
}

char *import_output(void)
{
    char *path = output_path();
    char *output = env_read_file(path, 0, OUTPUT_MAX);
    free(path);
    return output;
}

bool import_has_written(const char *text)
{
    char *output = import_output();
    bool found = strstr(output, text);
    free(output);
    return found;
}

void import_expect_exit(pid_t pid, int code)
{
    int status;
    if (!env_wait_exit(pid, &status, SOON))
        env_fail("the import does not end");
    env_check_reports();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        env_fail("status %x of the import, not exit code %d", (unsigned)status, code);
}

void import_with(struct daemon *d, char *const arguments[], int code, const char *text)
{
    import_expect_exit(import_start(d, arguments), code);
    if (!import_has_written(text))
        env_fail("the import does not say: %s", text);
}

void import_ports(struct daemon *d, int code, const char *text)
{
    import_with(d, (char *[]){"--import-node-vspc", NULL}, code, text);
}

void import_save_bytes(struct redis *r, const char *prefix, const void *name, size_t len, const char *value)
{
    freeReplyObject(redis_ask(r, "SETEX %s%b 86400 %s", prefix, name, len, value));
}

void import_save(struct redis *r, const char *name, unsigned port)
{
    char value[8];
    snprintf(value, sizeof value, "%u", port);
    import_save_bytes(r, SAVED_PREFIX, name, strlen(name), value);
}

void import_expect_port_bytes(struct daemon *d, struct redis *r, const void *name, size_t len, unsigned port)
{
    char value[8];
    struct vm_client_options opt = vm_options("x");
    opt.name = name;
    opt.name_len = len;
    /* A UUID of its own. */
    for (size_t i = 0; i < len; i++)
        opt.uuid[i % 4] = (uint8_t)(opt.uuid[i % 4] * 31 + ((const uint8_t *)name)[i]);
    struct vm_link *vm = vm_start(d, &opt);
    snprintf(value, sizeof value, "%u", port);
    redis_wait_hget_bytes(r, "VM:Port", name, len, value, SOON);
    probe_console((uint16_t)port, vm);
    vm_stop(vm);
}

void import_expect_port(struct daemon *d, struct redis *r, const char *name, unsigned port)
{
    import_expect_port_bytes(d, r, name, strlen(name), port);
}

struct daemon *import_daemon(const char *program, struct redis *r, unsigned user_ports)
{
    struct daemon *d = daemon_new(program, user_ports);
    daemon_use_redis(d, r);
    daemon_set(d, "user.linger", "0");
    return d;
}

bool import_has_book(const struct daemon *d)
{
    char *path = xasprintf("%s/ports.db", d->state_dir);
    bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}
