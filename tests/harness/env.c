#include "env.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vspc/mem.h"

enum {
    CHILDREN_MAX = 64,
    SHOWN_MAX = 16,
    SHOWN_BYTES = 16 * 1024,
    PORT_FIRST =
        10000, /* and below the ephemeral range, where the kernel gives ports to outgoing connections */
    PORT_END = 31000,
    BLOCK_PORTS = 16, /* what one env takes at least */
};

#define DIR_PREFIX "/tmp/vspc-test-"

static struct {
    bool ready;
    pid_t owner; /* a forked child must not clean up its parent's things */
    char dir[64];
    pid_t children[CHILDREN_MAX];
    char *shown[SHOWN_MAX];
} env;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Removes what tests have left that were killed before they could. */
static void sweep(void)
{
    const char *prefix = strrchr(DIR_PREFIX, '/') + 1;
    DIR *tmp = opendir("/tmp");
    struct dirent *entry;
    while (tmp && (entry = readdir(tmp))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        pid_t pid = atoi(entry->d_name + strlen(prefix));
        if (pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
            continue;
        char *path = xasprintf("/tmp/%s", entry->d_name);
        remove_tree(path);
        free(path);
    }
    if (tmp)
        closedir(tmp);
}

char *env_read_file(const char *path, size_t offset, size_t max)
{
    struct stat st;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    /* Files of /proc have no size. */
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        size_t left = (size_t)st.st_size > offset ? (size_t)st.st_size - offset : 0;
        max = left < max ? left : max;
    }
    char *text = xmalloc(max + 1);
    while (fd >= 0 && len < max) {
        ssize_t n = pread(fd, text + len, max - len, (off_t)(offset + len));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    text[len] = 0;
    return text;
}

/* Where a sanitizer's report begins in a log, or NULL. */
static const char *find_report(const char *text)
{
    static const char *const marks[] = {"ERROR: AddressSanitizer",      "ERROR: LeakSanitizer",
                                        "WARNING: ThreadSanitizer",     "FATAL: ThreadSanitizer",
                                        "ThreadSanitizer:DEADLYSIGNAL", ": runtime error: "};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const char *found = strstr(text, marks[i]);
        if (found)
            return found;
    }
    return NULL;
}

/* Prints the sanitizers' reports in the shown files. Result: whether there were any. */
static bool print_reports(void)
{
    bool any = false;
    for (size_t i = 0; i < SHOWN_MAX && env.shown[i]; i++) {
        char *text = env_read_file(env.shown[i], 0, 4 * 1024 * 1024);
        const char *report = find_report(text);
        if (report)
            fprintf(stderr, "---- a sanitizer's report in %s:\n%.8000s\n", env.shown[i], report);
        any = any || report;
        free(text);
    }
    return any;
}

static void kill_children(void)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        if (!env.children[i])
            continue;
        kill(env.children[i], SIGKILL);
        /* It has not ended before those of its threads have that this process traces. */
        while (waitpid(env.children[i], NULL, WNOHANG) == 0) {
            waitpid(-1, NULL, WNOHANG | __WALL);
            env_nap();
        }
        env.children[i] = 0;
    }
}

static void clean_up(void)
{
    if (getpid() != env.owner)
        return;
    kill_children();
    bool reported = print_reports();
    remove_tree(env.dir);
    for (size_t i = 0; i < SHOWN_MAX; i++)
        free(env.shown[i]);
    /* The test's verdict is Criterion's no more; what the process exits with is, to the runner of sanitizer
     * builds. */
    if (reported)
        _exit(99);
}

static void env_init(void)
{
    if (env.ready && env.owner == getpid())
        return;
    memset(&env, 0, sizeof env);
    env.ready = true;
    env.owner = getpid();
    sweep();
    snprintf(env.dir, sizeof env.dir, DIR_PREFIX "%d-XXXXXX", getpid());
    if (!mkdtemp(env.dir))
        env_fail("mkdtemp %s: %s", env.dir, strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    atexit(clean_up);
}

const char *env_dir(void)
{
    env_init();
    return env.dir;
}

struct sock_addr env_local(uint16_t port)
{
    struct sock_addr addr;
    sock_addr_parse("127.0.0.1", port, &addr);
    return addr;
}

/* Takes the ports of a block for this process: other envs see that the name is in use until this process
 * ends, which a lock file would not tell. Result: a socket, or -1. */
static int hold_block(unsigned block)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    /* A NUL in front: the abstract namespace, without a file. */
    int len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "vspc-test-ports-%u", block);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        env_fail("socket: %s", strerror(errno));
    if (bind(fd, (struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Whether a program that sets SO_REUSEADDR can listen on the port. */
static bool is_free(uint16_t port)
{
    int one = 1;
    struct sock_addr addr = env_local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        env_fail("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool free_port = bind(fd, &addr.sa, addr.len) == 0 && listen(fd, 1) == 0;
    close(fd);
    return free_port;
}

/* Tries to take n ports from the beginning of a block on. */
static bool hold_ports(unsigned block, unsigned n)
{
    unsigned blocks = (n + BLOCK_PORTS - 1) / BLOCK_PORTS, held = 0, good = 0;
    int *fds = xcalloc(blocks, sizeof *fds);
    while (held < blocks && (fds[held] = hold_block(block + held)) >= 0)
        held++;
    while (held == blocks && good < n && is_free((uint16_t)(PORT_FIRST + block * BLOCK_PORTS + good)))
        good++;
    for (unsigned i = 0; good < n && i < held; i++)
        close(fds[i]);
    free(fds);
    return good == n;
}

uint16_t env_ports(unsigned n)
{
    enum { BLOCKS = (PORT_END - PORT_FIRST) / BLOCK_PORTS };
    unsigned needed = (n + BLOCK_PORTS - 1) / BLOCK_PORTS;
    env_init();
    for (int i = 0; i < 1000 && needed && needed <= BLOCKS; i++) {
        uint32_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            env_fail("getrandom: %s", strerror(errno));
        unsigned block = random % (BLOCKS - needed + 1);
        if (hold_ports(block, n))
            return (uint16_t)(PORT_FIRST + block * BLOCK_PORTS);
    }
    env_fail("no %u consecutive free ports between %d and %d", n, PORT_FIRST, PORT_END);
}

void env_adopt(pid_t pid)
{
    env_init();
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        if (env.children[i])
            continue;
        env.children[i] = pid;
        return;
    }
    env_fail("more than %d children", CHILDREN_MAX);
}

pid_t env_spawn(char *const argv[], int output_fd)
{
    env_init();
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        env_fail("fork: %s", strerror(errno));
    if (pid) {
        env_adopt(pid);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    close(null);
    if (output_fd >= 0) {
        dup2(output_fd, STDOUT_FILENO);
        dup2(output_fd, STDERR_FILENO);
    }
    execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

bool env_wait_exit(pid_t pid, int *status, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    while (waitpid(pid, status, WNOHANG) != pid) {
        if (clock_ms() >= deadline)
            return false;
        env_nap();
    }
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (env.children[i] == pid)
            env.children[i] = 0;
    return true;
}

void env_nap(void)
{
    struct timespec moment = {.tv_nsec = 5000000};
    nanosleep(&moment, NULL);
}

void env_show(const char *path)
{
    env_init();
    for (size_t i = 0; i < SHOWN_MAX; i++) {
        if (env.shown[i] && strcmp(env.shown[i], path) == 0)
            return;
        if (env.shown[i])
            continue;
        env.shown[i] = xstrdup(path);
        return;
    }
    env_fail("more than %d files to show", SHOWN_MAX);
}

void env_check_reports(void)
{
    if (print_reports())
        env_fail("a sanitizer has reported an error");
}

/* Prints the end of a file. */
static void print_end(const char *path)
{
    struct stat st;
    size_t size = stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    char *text = env_read_file(path, size > SHOWN_BYTES ? size - SHOWN_BYTES : 0, SHOWN_BYTES);
    fprintf(stderr, "---- %s:\n%s", path, text);
    free(text);
}

void env_fail(const char *format, ...)
{
    va_list args;
    char text[2048];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < SHOWN_MAX && env.shown[i]; i++)
        print_end(env.shown[i]);
    cr_assert(false, "%s", text);
    abort();
}
