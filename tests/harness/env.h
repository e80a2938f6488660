/* Env: what every integration test stands on: a temporary directory, free ports, child processes, waiting.
 *
 * A test's process has one env, made when it is first asked for. When the process ends, also by a failed
 * assertion, its children are killed and its directory is removed; a process that was killed itself takes its
 * children along (PR_SET_PDEATHSIG), and the next test removes its directory. Functions that cannot do their
 * work fail the test. Call all this from the test's first thread. */
#ifndef VSPC_TEST_ENV_H
#define VSPC_TEST_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vspc/loop.h"
#include "vspc/sock.h"

/* How long a condition may take to come true on a loaded machine under a sanitizer, in milliseconds. It
 * bounds waits that end at once when all is well. */
enum { SOON = 30000 };

/* The directory, without a slash behind it; short enough for a socket's path. */
const char *env_dir(void);

/* n consecutive free ports of 127.0.0.1 below the ephemeral range, kept from other tests until this one ends.
 */
uint16_t env_ports(unsigned n);
/* The same again for `from`, kept by nobody any more: for a test that wants another process to be in the way.
 */
struct sock_addr env_local(uint16_t port);

/* Starts a program with its arguments, the last NULL. Its standard input is /dev/null, its output goes to
 * output_fd
 * (-1: this process's). Result: its process id. */
pid_t env_spawn(char *const argv[], int output_fd);
/* Makes a child of this process, forked elsewhere, one that is killed at the end. */
void env_adopt(pid_t pid);
/* Waits for a child to end. Result: true, and *status as of waitpid; false after timeout_ms. */
bool env_wait_exit(pid_t pid, int *status, unsigned timeout_ms);

/* Lets a very short time pass, between two looks at a condition. */
void env_nap(void);

/* Ends the test as failed, with a message and the end of every file that env_show names. */
void env_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* The file is shown when the test fails, and a sanitizer's report in it fails the test. */
void env_show(const char *path);
/* Fails the test if a file that env_show names holds a sanitizer's report. */
void env_check_reports(void);

/* Reads a file, at most max bytes from offset on. Result: fresh memory with a NUL behind; "" when there is
 * none. */
char *env_read_file(const char *path, size_t offset, size_t max);

/* Waits until the condition is true, which is evaluated again and again; fails the test after timeout_ms. */
#define WAIT_FOR(condition, timeout_ms, ...)                                                                 \
    do {                                                                                                     \
        uint64_t wait_deadline_ = clock_ms() + (timeout_ms);                                                 \
        while (!(condition)) {                                                                               \
            if (clock_ms() >= wait_deadline_)                                                                \
                env_fail(__VA_ARGS__);                                                                       \
            env_nap();                                                                                       \
        }                                                                                                    \
    } while (0)

#endif
