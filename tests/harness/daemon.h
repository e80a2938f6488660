/* Daemon: the real vspcd, run by a test.
 *
 * A daemon has ports, a configuration and a state directory of its own, which stay the same when it is
 * started again. Its standard error is kept in a file, which is shown when the test fails. Functions that do
 * not get what they wait for, or find a sanitizer's report, fail the test. */
#ifndef VSPC_TEST_DAEMON_H
#define VSPC_TEST_DAEMON_H

#include "env.h"

enum { DAEMON_OVERRIDES_MAX = 48 };

struct daemon {
    const char *program;
    pid_t pid; /* 0: not running */
    uint16_t vm_port;
    uint16_t first_user_port;
    unsigned user_ports;
    char *config; /* path of its vspc.ini, empty unless the test writes to it */
    char *state_dir;
    char *control;   /* path of its control socket */
    pid_t frozen;    /* a thread's id, or 0 */
    char *log;       /* path of what it has written to standard error, since the first start */
    size_t log_from; /* where the log functions begin to look: the last start, or daemon_mark_log */
    char *overrides[DAEMON_OVERRIDES_MAX];
};

/* Makes a daemon that is not running. program: VSPCD. user_ports: how many there are to be. Without Redis,
 * until the test sets redis.enabled. Nobody needs to free it. */
struct daemon *daemon_new(const char *program, unsigned user_ports);

/* Sets a key, as with -o: daemon_set(d, "user.linger", "%ums", 50). In force from the next start on. */
void daemon_set(struct daemon *d, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes the configuration file; keys that daemon_set sets win over it. */
void daemon_write_config(struct daemon *d, const char *text);

/* Starts it and waits until it has logged that it is ready. */
void daemon_start(struct daemon *d);
/* Starts it without waiting, for when it is not going to be ready. */
void daemon_spawn(struct daemon *d);
/* SIGTERM; it must exit with 0, and within the 5 s of design.md plus what a loaded machine needs. */
void daemon_stop(struct daemon *d);
/* Waits until it ends by itself. Result: its status, as of waitpid. */
int daemon_wait_exit(struct daemon *d, unsigned timeout_ms);
void daemon_signal(struct daemon *d, int number);
/* kill -9, and waits until it is gone. */
void daemon_kill(struct daemon *d);

/* Stops one thread of it, by its name, as one that waits for a disk that does not answer; and lets it go on.
 * It may end meanwhile. */
void daemon_freeze_thread(struct daemon *d, const char *name);
void daemon_thaw_thread(struct daemon *d);

/* The log functions take a text, not a pattern. */
void daemon_wait_log(struct daemon *d, const char *text, unsigned timeout_ms);
unsigned daemon_count_log(struct daemon *d, const char *text);
/* What has been logged up to now does not count any more. */
void daemon_mark_log(struct daemon *d);

/* Where hosts connect. */
struct sock_addr daemon_vm_addr(const struct daemon *d);

struct daemon_usage {
    size_t rss_kib;
    double cpu_seconds; /* user and system */
    unsigned fds;
    unsigned threads;
};
struct daemon_usage daemon_usage(const struct daemon *d);

#endif
