#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vspc/text.h"

struct terminal *terminal_run(char *const argv[])
{
    env_dir();
    struct terminal *t = xcalloc(1, sizeof *t);
    t->pid = forkpty(&t->fd, NULL, NULL, NULL);
    if (t->pid < 0)
        env_fail("forkpty: %s", strerror(errno));
    if (t->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    env_adopt(t->pid);
    fcntl(t->fd, F_SETFD, FD_CLOEXEC);
    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    return t;
}

struct terminal *terminal_telnet(uint16_t port)
{
    char number[8];
    snprintf(number, sizeof number, "%u", port);
    return terminal_run((char *[]){"telnet", "127.0.0.1", number, NULL});
}

void terminal_close(struct terminal *t)
{
    int status;
    if (t->pid) {
        kill(t->pid, SIGKILL);
        env_wait_exit(t->pid, &status, SOON);
    }
    close(t->fd);
    bytes_clear(&t->screen);
    free(t);
}

/* Reads what there is. Result: false when the program has closed its terminal. */
static bool pump(struct terminal *t)
{
    uint8_t buffer[4096];
    for (;;) {
        ssize_t n = read(t->fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        bytes_put(&t->screen, buffer, (size_t)n);
    }
}

void terminal_resize(struct terminal *t, unsigned columns, unsigned lines)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)lines};
    if (ioctl(t->fd, TIOCSWINSZ, &size) < 0)
        env_fail("TIOCSWINSZ: %s", strerror(errno));
}

void terminal_type(struct terminal *t, const char *keys)
{
    size_t len = strlen(keys);
    while (len) {
        ssize_t n = write(t->fd, keys, len);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = t->fd, .events = POLLOUT};
            if (poll(&ready, 1, SOON) == 0)
                env_fail("a terminal takes no more keys");
            continue;
        }
        if (n < 0)
            env_fail("typing: %s", strerror(errno));
        keys += n;
        len -= (size_t)n;
    }
}

void terminal_wait(struct terminal *t, const char *text, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    size_t len = strlen(text);
    for (;;) {
        bool open = pump(t);
        const uint8_t *found = t->screen.len ? memmem(bytes_at(&t->screen), t->screen.len, text, len) : NULL;
        if (found) {
            bytes_drop(&t->screen, (size_t)(found - bytes_at(&t->screen)) + len);
            return;
        }
        uint64_t now = clock_ms();
        if (!open || now >= deadline)
            env_fail("the terminal%s shows \"%.*s\" without \"%s\"", open ? "" : " is closed and",
                     (int)t->screen.len, t->screen.len ? (const char *)bytes_at(&t->screen) : "", text);
        struct pollfd ready = {.fd = t->fd, .events = POLLIN};
        poll(&ready, 1, (int)(deadline - now));
    }
}

void terminal_expect(struct terminal *t, const char *text, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    size_t len = strlen(text);
    for (;;) {
        bool open = pump(t);
        size_t n = t->screen.len < len ? t->screen.len : len;
        bool differs = n && memcmp(bytes_at(&t->screen), text, n) != 0;
        if (n == len && !differs)
            break;
        uint64_t now = clock_ms();
        if (differs || !open || now >= deadline)
            env_fail("the terminal%s shows %s and not %s", open ? "" : " is closed and",
                     quote(bytes_at(&t->screen), t->screen.len).s, quote(text, len).s);
        struct pollfd ready = {.fd = t->fd, .events = POLLIN};
        poll(&ready, 1, (int)(deadline - now));
    }
    bytes_drop(&t->screen, len);
}

int terminal_wait_exit(struct terminal *t, unsigned timeout_ms)
{
    int status = 0;
    uint64_t deadline = clock_ms() + timeout_ms;
    /* A program that still prints does not end while nobody reads. */
    do {
        pump(t);
        if (env_wait_exit(t->pid, &status, 0)) {
            t->pid = 0;
            return status;
        }
        env_nap();
    } while (clock_ms() < deadline);
    env_fail("a program on a terminal has not ended after %u ms", timeout_ms);
}
