/* vspcd's command line, and what keeps it from starting. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

TestSuite(command_line, .timeout = 120);

enum { ARGUMENTS_MAX = 16 };

/* Runs vspcd to its end. Result: what it wrote, which the caller frees, and its exit code. */
static char *run(int *code, ...)
{
    char *argv[ARGUMENTS_MAX] = {VSPCD}, *argument;
    size_t n = 1;
    va_list args;
    va_start(args, code);
    while ((argument = va_arg(args, char *)))
        argv[n++] = argument;
    va_end(args);
    char *path = xasprintf("%s/output", env_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), status;
    cr_assert_geq(fd, 0);
    pid_t pid = env_spawn(argv, fd);
    cr_assert(env_wait_exit(pid, &status, SOON), "vspcd does not end");
    cr_assert(WIFEXITED(status));
    *code = WEXITSTATUS(status);
    close(fd);
    char *output = env_read_file(path, 0, 65536);
    free(path);
    return output;
}

#define EXPECT_RUN(code_, text_, ...)                                                                        \
    do {                                                                                                     \
        int run_code_;                                                                                       \
        char *run_output_ = run(&run_code_, __VA_ARGS__, (char *)NULL);                                      \
        cr_assert_eq(run_code_, code_, "exit code %d: %s", run_code_, run_output_);                          \
        cr_assert_not_null(strstr(run_output_, text_), "without \"%s\": %s", text_, run_output_);            \
        free(run_output_);                                                                                   \
    } while (0)

/* Writes a configuration. Result: its path. */
static const char *config_file(const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/test.ini", env_dir());
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

Test(command_line, help_and_version)
{
    EXPECT_RUN(0, "usage: vspcd", "-h");
    EXPECT_RUN(0, "usage: vspcd", "--help");
    EXPECT_RUN(0, "vspcd " VSPC_VERSION "\n", "-V");
    EXPECT_RUN(0, "vspcd " VSPC_VERSION "\n", "--version");
}

Test(command_line, wrong_usage_exits_2)
{
    EXPECT_RUN(2, "vspcd --help", "--no-such-option");
    EXPECT_RUN(2, "vspcd --help", "-c");
    EXPECT_RUN(2, "unexpected argument 'start'", "start");
}

Test(command_line, a_configuration_is_checked)
{
    EXPECT_RUN(0, "configuration is good", "-t", "-c", config_file(""));
    EXPECT_RUN(0, "configuration is good", "-t", "-c", config_file("[user]\nlinger = 5s\n"), "-o",
               "user.linger=6s");
    EXPECT_RUN(1, "test.ini:2", "-t", "-c", config_file("[user]\nlinger = 5\n"));
    EXPECT_RUN(1, "test.ini:3", "-t", "-c", config_file("[user]\nlinger = 5s\nlingering = 5s\n"));
    EXPECT_RUN(1, "user.linger", "-t", "-c", config_file(""), "-o", "user.linger=long");
    EXPECT_RUN(1, "user.longer", "-t", "-c", config_file(""), "-o", "user.longer=1s");
    EXPECT_RUN(1, "no-such.ini", "-t", "-c", "/nonexistent/no-such.ini");
}

Test(command_line, it_does_not_start_on_a_bad_configuration)
{
    EXPECT_RUN(1, "test.ini:2", "-c", config_file("[vm]\nhandshake_timeout = 0\n"));
    EXPECT_RUN(1, "no-such.ini", "-c", "/nonexistent/no-such.ini");
    EXPECT_RUN(1, env_dir(), "-c", env_dir());
}

Test(command_line, a_port_in_use_is_named)
{
    char listen_key[SOCK_TEXT + 16], address[SOCK_TEXT];
    struct sock_addr addr = env_local(env_ports(1));
    int fd = sock_listen(&addr, false, 1);
    cr_assert_geq(fd, 0);
    sock_addr_format(&addr, address);
    snprintf(listen_key, sizeof listen_key, "vm.listen=%s", address);
    EXPECT_RUN(1, "Cannot listen for VMs: Address already in use address=127.0.0.1:", "-o", listen_key, "-o",
               "redis.enabled=no", "-o", "server.state_dir=");
    close(fd);
}

Test(command_line, an_address_that_is_not_here_is_named)
{
    EXPECT_RUN(1, "Cannot listen for VMs: Cannot assign requested address address=192.0.2.1:13370", "-o",
               "vm.listen=192.0.2.1:13370", "-o", "redis.enabled=no", "-o", "server.state_dir=");
}

Test(command_line, vms_arrive_on_every_listener)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    uint16_t second = env_ports(1), first = d->vm_port;
    daemon_set(d, "vm.listen", "127.0.0.1:%u, 127.0.0.1:%u", first, second);
    daemon_start(d);
    struct vm_link *a = vm_start_named(d, "a");
    d->vm_port = second;
    struct vm_link *b = vm_start_named(d, "b");
    probe_console(probe_port(d, "a"), a);
    probe_console(probe_port(d, "b"), b);
    vm_stop(a);
    vm_stop(b);
    daemon_stop(d);
}

Test(command_line, there_are_as_many_workers_as_asked_for)
{
    unsigned threads = 0;
    for (int workers = 1; workers <= 5; workers += 2) {
        struct daemon *d = daemon_new(VSPCD, 16);
        daemon_set(d, "server.workers", "%d", workers);
        daemon_start(d);
        unsigned now = daemon_usage(d).threads;
        cr_assert(!threads || now == threads + 2, "%u threads with %d workers", now, workers);
        threads = now;
        for (int i = 0; i < 2 * workers; i++) {
            char name[16];
            snprintf(name, sizeof name, "vm-%d", i);
            vm_stop(vm_start_named(d, name));
            probe_port(d, name);
        }
        for (int i = 0; i < workers; i++) {
            char worker[16];
            snprintf(worker, sizeof worker, " worker=%d", i);
            cr_assert_eq(probe_count_lines(d, "VM connected", worker), 2, "VMs at%s", worker);
        }
        daemon_stop(d);
    }
}

Test(command_line, without_a_number_there_is_a_worker_for_each_cpu)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "0");
    probe_run_before(d, "exec taskset -c 0 " VSPCD " \"$@\"");
    daemon_start(d);
    probe_wait_line(d, "Ready", " workers=1 ", SOON);
    daemon_stop(d);
}
