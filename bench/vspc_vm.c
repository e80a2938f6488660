/* vspc-vm: one simulated VM, whose serial port is a command on a pty. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vm_link.h"
#include "vspc/loop.h"

enum {
    BUFFER_MAX = 64 * 1024, /* as much waits either way, then its source is not read */
    RETRY_MIN_MS = 200,
    RETRY_MAX_MS = 5000,
    CONNECT_TIMEOUT_MS = 10000,
    GOODBYE_MS = 2000, /* for the last output to leave, and for the command to end when it is told to */
    CTRL_C = 3,
};

struct simulated_vm {
    const char *vspc;
    struct sock_addr addr;
    struct vm_link link;
    int connecting;       /* a socket on its way, or -1 */
    uint64_t deadline;    /* of clock_ms: to have connected by, or to try again at */
    unsigned retry_ms;    /* the next pause between attempts */
    bool failing;         /* the failure has been told */
    bool started;         /* has been identified once; until then the command's output waits */
    unsigned breaks_told; /* of link.breaks */
    bool break_is_interrupt;
    int pty;
    bool pty_closed; /* the command has let go of it */
    pid_t command;
};

static const char help[] =
    "Usage: vspc-vm [--vspc HOST:PORT] --name NAME [options] [-- COMMAND...]\n"
    "\n"
    "One simulated VM: its serial port is COMMAND on a terminal of its own, by default\n"
    "your shell, connected to a virtual serial port concentrator as an ESXi host would.\n"
    "\n"
    "      --vspc HOST:PORT      the concentrator's VM port (127.0.0.1:13370)\n"
    "      --name NAME           the VM's name\n"
    "      --uuid UUID           the VM's UUID, or `none`; by default made from the name,\n"
    "                            always the same for the same name\n"
    "      --label LABEL         tells the serial ports of one VM apart (?port=LABEL)\n"
    "      --uri URI             the service URI, without the query (vSPC.py)\n"
    "      --break-is-interrupt  a BREAK types Ctrl-C; otherwise it is only reported\n"
    "  -h, --help                prints this\n"
    "  -V, --version             prints the version\n"
    "\n"
    "The VM connects again when the concentrator goes away; what the command prints\n"
    "meanwhile is lost, as on a serial line. vspc-vm ends when COMMAND does, with its exit\n"
    "status; SIGINT and SIGTERM end both. Example:\n"
    "\n"
    "  vspc-vm --name web1 -- /bin/sh -i\n";

static void __attribute__((format(printf, 1, 2), noreturn)) usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vspc-vm: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry `vspc-vm --help`.\n", stderr);
    va_end(args);
    exit(2);
}

/* 32 hex digits, with dashes or blanks between them. Result: 0 or -EINVAL. */
static int parse_uuid(const char *text, uint8_t out[UUID_SIZE])
{
    size_t n = 0;
    for (; *text; text++) {
        int digit = hex_digit(*text);
        if (digit < 0 && (*text == '-' || *text == ' '))
            continue;
        if (digit < 0 || n == 2 * UUID_SIZE)
            return -EINVAL;
        out[n / 2] = (uint8_t)(n % 2 ? out[n / 2] << 4 | digit : digit);
        n++;
    }
    return n == 2 * UUID_SIZE ? 0 : -EINVAL;
}

/* A UUID (RFC 9562, version 8) that is always the same for the same name: FNV-1a, once from either end. */
static void uuid_from_name(const char *name, uint8_t out[UUID_SIZE])
{
    const uint64_t prime = 0x100000001b3;
    uint64_t forward = 0xcbf29ce484222325, backward = forward;
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        forward = (forward ^ (uint8_t)name[i]) * prime;
        backward = (backward ^ (uint8_t)name[len - 1 - i] ^ 0x5a) * prime;
    }
    memcpy(out, &forward, 8);
    memcpy(out + 8, &backward, 8);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

/* HOST:PORT, the host an address or a name. */
static void resolve(const char *text, struct sock_addr *out)
{
    if (sock_addr_port_parse(text, out) == 0)
        return;
    const char *colon = strrchr(text, ':');
    char host[256];
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        usage_error("--vspc %s: give HOST:PORT, such as 127.0.0.1:13370", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int err = getaddrinfo(host, colon + 1, &hints, &found);
    if (err)
        usage_error("--vspc %s: %s", text, gai_strerror(err));
    memset(out, 0, sizeof *out);
    out->len = found->ai_addrlen < sizeof out->in6 ? found->ai_addrlen : sizeof out->in6;
    memcpy(&out->sa, found->ai_addr, out->len);
    freeaddrinfo(found);
}

/* Reads the arguments into vm and opt. Result: index of the command in argv, argc when there is none. */
static int parse_arguments(int argc, char **argv, struct simulated_vm *vm, struct vm_client_options *opt)
{
    static const struct option options[] = {
        {"vspc", required_argument, NULL, 'c'},
        {"name", required_argument, NULL, 'n'},
        {"uuid", required_argument, NULL, 'u'},
        {"label", required_argument, NULL, 'l'},
        {"uri", required_argument, NULL, 's'},
        {"break-is-interrupt", no_argument, NULL, 'b'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *uuid = NULL, *label = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            vm->vspc = optarg;
            break;
        case 'n':
            opt->name = optarg;
            opt->name_len = strlen(optarg);
            break;
        case 'u':
            uuid = optarg;
            break;
        case 'l':
            label = optarg;
            break;
        case 's':
            opt->uri = optarg;
            break;
        case 'b':
            vm->break_is_interrupt = true;
            break;
        case 'V':
            puts("vspc-vm " VSPC_VERSION);
            exit(0);
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            fputs("Try `vspc-vm --help`.\n", stderr);
            exit(2);
        }
    }
    if (!opt->name || opt->name_len == 0 || opt->name_len > 255)
        usage_error("--name NAME is needed, of 1 to 255 bytes");
    if (!uuid)
        uuid_from_name(opt->name, opt->uuid);
    else if (strcmp(uuid, "none") == 0)
        opt->uuid_answer = VM_UUID_UNKNOWN;
    else if (parse_uuid(uuid, opt->uuid) < 0)
        usage_error("--uuid %s: give 32 hexadecimal digits, dashes allowed, or `none`", uuid);
    if (label && (strlen(label) > 32 ||
                  label[strspn(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789_-")] ||
                  !*label))
        usage_error("--label %s: 1 to 32 letters, digits, _ or -", label);
    opt->query = label ? xasprintf("port=%s", label) : NULL;
    resolve(vm->vspc, &vm->addr);
    return optind;
}

/* In the child: the command begins as a login on a serial line would, whatever vspc-vm was started with. */
static void reset_signals(void)
{
    static const int numbers[] = {SIGINT,  SIGQUIT, SIGTERM, SIGHUP, SIGPIPE,
                                  SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD};
    sigset_t none;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Starts the command on a pty. Does not return when that fails. */
static void start_command(struct simulated_vm *vm, char **argv)
{
    const char *shell = getenv("SHELL");
    char *fallback[] = {(char *)(shell && *shell ? shell : "/bin/sh"), NULL};
    vm->command = forkpty(&vm->pty, NULL, NULL, NULL);
    if (vm->command < 0) {
        fprintf(stderr, "vspc-vm: cannot open a terminal: %s\n", strerror(errno));
        exit(1);
    }
    if (vm->command == 0) {
        reset_signals();
        char **command = *argv ? argv : fallback;
        execvp(command[0], command);
        fprintf(stderr, "vspc-vm: %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    fcntl(vm->pty, F_SETFL, O_NONBLOCK);
}

/* The connection, or an attempt at one, has failed: the next attempt comes after a pause. */
static void connection_failed(struct simulated_vm *vm, int error)
{
    if (!vm->failing)
        fprintf(stderr, "vspc-vm: %s: %s; trying again\n", vm->vspc,
                error ? strerror(-error) : "connection closed");
    vm->failing = true;
    vm->deadline = clock_ms() + vm->retry_ms;
    vm->retry_ms = vm->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : vm->retry_ms * 2;
}

static void start_connecting(struct simulated_vm *vm)
{
    vm->connecting = sock_connect(&vm->addr);
    if (vm->connecting < 0) {
        int err = vm->connecting;
        vm->connecting = -1;
        connection_failed(vm, err);
        return;
    }
    vm->deadline = clock_ms() + CONNECT_TIMEOUT_MS;
}

/* The connecting socket has news, or its time is up. */
static void finish_connecting(struct simulated_vm *vm, int err)
{
    int fd = vm->connecting;
    vm->connecting = -1;
    if (err) {
        close(fd);
        connection_failed(vm, err);
        return;
    }
    vm->breaks_told = 0;
    vm_link_adopt(&vm->link, fd);
}

static bool is_identified(const struct simulated_vm *vm)
{
    return vm->link.fd >= 0 && vm_client_is_identified(&vm->link.vm);
}

/* Does what the link's state asks for, after it has been pumped. */
static void after_pump(struct simulated_vm *vm, bool was_identified)
{
    if (vm->link.fd < 0) {
        connection_failed(vm, vm->link.error);
        return;
    }
    if (is_identified(vm) && !was_identified) {
        fprintf(stderr, "vspc-vm: connected to %s\n", vm->vspc);
        vm->started = true;
        vm->failing = false;
        vm->retry_ms = RETRY_MIN_MS;
    }
    for (; vm->breaks_told != vm->link.breaks; vm->breaks_told++) {
        fputs("vspc-vm: BREAK\n", stderr);
        if (vm->break_is_interrupt)
            bytes_put(&vm->link.received, (uint8_t[]){CTRL_C}, 1);
    }
}

static void pump_link(struct simulated_vm *vm)
{
    bool was_identified = is_identified(vm);
    vm_link_pump(&vm->link);
    after_pump(vm, was_identified);
}

/* Reads what the command has printed; without a connection it is lost. Result: false when there is no more.
 */
static bool read_pty(struct simulated_vm *vm)
{
    uint8_t buffer[4096];
    ssize_t n = read(vm->pty, buffer, sizeof buffer);
    if (n <= 0) {
        vm->pty_closed = n == 0 || (errno != EAGAIN && errno != EINTR);
        return false;
    }
    if (is_identified(vm))
        vm_client_send(&vm->link.vm, buffer, (size_t)n);
    return true;
}

static void write_pty(struct simulated_vm *vm)
{
    ssize_t n = write(vm->pty, bytes_at(&vm->link.received), vm->link.received.len);
    if (n > 0)
        bytes_drop(&vm->link.received, (size_t)n);
}

/* The command's status as a shell would give it. */
static int exit_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The command has ended: sends what is left of its output. */
static void say_goodbye(struct simulated_vm *vm)
{
    uint64_t deadline = clock_ms() + GOODBYE_MS;
    while (read_pty(vm))
        ;
    if (vm->link.fd < 0)
        return;
    vm_link_flush(&vm->link, GOODBYE_MS);
    /* Closing with unread input would reset the connection, and take back output that is still on its way. */
    shutdown(vm->link.fd, SHUT_WR);
    vm->link.receive_max = 0;
    while (vm->link.fd >= 0 && clock_ms() < deadline) {
        bytes_clear(&vm->link.received);
        vm_link_step(&vm->link, (unsigned)(deadline - clock_ms()));
    }
}

/* Ends the command and all of its process group. */
static void kill_command(struct simulated_vm *vm)
{
    uint64_t deadline = clock_ms() + GOODBYE_MS;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    kill(-vm->command, SIGHUP);
    kill(-vm->command, SIGTERM);
    /* The hang-up of its terminal reaches what else the session runs in the foreground. */
    close(vm->pty);
    while (waitpid(vm->command, NULL, WNOHANG) == 0) {
        uint64_t now = clock_ms();
        if (now >= deadline) {
            kill(-vm->command, SIGKILL);
            waitpid(vm->command, NULL, 0);
            return;
        }
        struct timespec pause = {.tv_sec = (time_t)((deadline - now) / 1000),
                                 .tv_nsec = (long)((deadline - now) % 1000) * 1000000};
        sigtimedwait(&child, NULL, &pause);
    }
    kill(-vm->command, SIGKILL);
}

/* Milliseconds until something is due, for poll. */
static int next_timeout(const struct simulated_vm *vm)
{
    if (vm->link.fd >= 0)
        return -1;
    uint64_t now = clock_ms();
    return now >= vm->deadline ? 0 : (int)(vm->deadline - now);
}

/* Handles a pending signal. Result: true when vspc-vm is to end, with *status. */
static bool on_signal(struct simulated_vm *vm, int signals, int *status)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info)
        return false;
    if (info.ssi_signo != SIGCHLD) {
        kill_command(vm);
        *status = 0;
        return true;
    }
    if (waitpid(vm->command, status, WNOHANG) != vm->command)
        return false;
    *status = exit_status(*status);
    say_goodbye(vm);
    close(vm->pty);
    return true;
}

/* One turn: waits, and handles what came. Result: as on_signal. */
static bool turn(struct simulated_vm *vm, int signals, int *status)
{
    bool connected = vm->link.fd >= 0;
    bool read_output = vm->started && vm->link.vm.out.len < BUFFER_MAX;
    struct pollfd fds[3] = {
        {.fd = signals, .events = POLLIN},
        {.fd = !vm->pty_closed && (read_output || vm->link.received.len) ? vm->pty : -1,
         .events = (short)((read_output ? POLLIN : 0) | (vm->link.received.len ? POLLOUT : 0))},
        {.fd = connected ? vm->link.fd : vm->connecting,
         .events = connected ? vm_link_events(&vm->link) : POLLOUT},
    };
    if (poll(fds, 3, next_timeout(vm)) < 0 && errno != EINTR)
        return false;
    if (fds[0].revents)
        return on_signal(vm, signals, status);
    if (fds[1].revents & POLLOUT)
        write_pty(vm);
    if (fds[1].revents & ~POLLOUT)
        read_pty(vm);
    if (connected) {
        if (fds[2].revents || vm->link.vm.out.len)
            pump_link(vm);
    } else if (vm->connecting >= 0) {
        if (fds[2].revents)
            finish_connecting(vm, sock_error(vm->connecting));
        else if (next_timeout(vm) == 0)
            finish_connecting(vm, -ETIMEDOUT);
    } else if (next_timeout(vm) == 0) {
        start_connecting(vm);
    }
    return false;
}

int main(int argc, char **argv)
{
    struct simulated_vm vm = {.vspc = "127.0.0.1:13370", .connecting = -1, .retry_ms = RETRY_MIN_MS};
    struct vm_client_options opt = {0};
    int command = parse_arguments(argc, argv, &vm, &opt);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        perror("vspc-vm: signalfd");
        return 1;
    }
    vm_link_init(&vm.link, &opt);
    vm.link.receive_max = BUFFER_MAX;
    start_command(&vm, argv + command);
    int status = 0;
    while (!turn(&vm, signals, &status))
        ;
    vm_link_free(&vm.link);
    if (vm.connecting >= 0)
        close(vm.connecting);
    free((void *)opt.query);
    return status;
}
