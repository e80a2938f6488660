#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"

/* Written before the handlers are there, and read by them. */
static struct termios saved, raw;
static volatile sig_atomic_t is_raw;

void terminal_restore(void)
{
    if (!is_raw)
        return;
    is_raw = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* Restores at once, whatever the program is waiting for: tcsetattr may be called here. */
static void on_signal(int number)
{
    int err = errno;
    bool was_raw = is_raw;
    terminal_restore();
    if (number == SIGTSTP) {
        raise(SIGSTOP);
        is_raw = was_raw;
        if (was_raw)
            tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    } else {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = err;
}

bool terminal_raw(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGABRT, SIGTSTP};
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return false;
    raw = saved;
    cfmakeraw(&raw);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER};
        sigaction(numbers[i], &action, NULL);
    }
    /* A background process may put its terminal right too. */
    signal(SIGTTOU, SIG_IGN);
    atexit(terminal_restore);
    complain_first = terminal_restore;
    is_raw = 1;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    return true;
}

int terminal_output(void)
{
    struct stat st;
    int fd = -1;
    /* Another open file of the same terminal or pipe: O_NONBLOCK on standard output itself would be shared
     * with the shell. */
    if (fstat(STDOUT_FILENO, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
        fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? STDOUT_FILENO : fd;
}
