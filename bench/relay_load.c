/* relay-load: the load of bench/compare, the same for vspcd and for any relay that answers VMs.
 *
 * Connects VMs and waits until each is identified (and is in Redis, when one is given), then lets users type
 * one key at a time into consoles whose VMs echo. Prints one line: the server's CPU time per handshake and
 * per echo in microseconds, its resident memory per VM in bytes, VMs per second, echoes per second. */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "vm_client.h"
#include "vspc/loop.h"
#include "vspc/sock.h"

enum {
    IN_FLIGHT = 256,  /* connections that are on their way at once */
    SETTLE_MS = 1500, /* users that say nothing are decided to be raw by then */
    TIME_LIMIT_MS = 120000,
    NEGOTIATION = 15, /* bytes a user is greeted with */
};

struct load_vm {
    struct loop_io io;
    struct vm_client client;
    bool identified;
};

struct load_user {
    struct loop_io io;
    unsigned left; /* echoes still to come */
    unsigned greeted;
};

static struct loop *loop;
static struct sock_addr vm_addr, user_addr;
static struct load_vm *vms;
static struct load_user *users;
static size_t vm_count, user_count, vms_started, vms_identified, users_done;
static unsigned next_user_port;
static unsigned echoes_each;
static pid_t server;

static void die(const char *what)
{
    fprintf(stderr, "relay-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* CPU time of the server so far, all threads, in microseconds. */
static double server_cpu_us(void)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(server, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        die("the server's CPU clock");
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Resident memory of the server in bytes. */
static double server_rss(void)
{
    char path[64], line[256];
    double kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtod(line + 6, NULL);
    fclose(file);
    return kib * 1024;
}

static void vm_push(struct load_vm *vm)
{
    while (vm->client.out.len) {
        ssize_t n = send(vm->io.fd, bytes_at(&vm->client.out), vm->client.out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            die("send from a VM");
        vm_client_sent(&vm->client, (size_t)n);
    }
    loop_io_set(loop, &vm->io, EPOLLIN | (vm->client.out.len ? (uint32_t)EPOLLOUT : 0));
}

static void on_vm_event(struct vm_client *client, const struct vm_event *event, void *arg)
{
    (void)arg;
    if (event->type == VM_EVENT_DATA)
        vm_client_send(client, event->data, event->len);
}

static void start_vm(void);

static void on_vm(struct loop_io *io, uint32_t events)
{
    static uint8_t buffer[65536];
    struct load_vm *vm = container_of(io, struct load_vm, io);
    if (events & EPOLLIN) {
        ssize_t n = recv(io->fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            die(n ? "a VM's connection" : "a VM was hung up on");
        vm_client_input(&vm->client, buffer, (size_t)n, on_vm_event, NULL);
    }
    vm_push(vm);
    if (!vm->identified && vm_client_is_identified(&vm->client)) {
        vm->identified = true;
        if (vms_started < vm_count)
            start_vm();
        if (++vms_identified == vm_count)
            loop_stop(loop);
    }
}

static void start_vm(void)
{
    char name[32];
    struct load_vm *vm = &vms[vms_started++];
    int len = snprintf(name, sizeof name, "bench-%05zu", vms_started);
    struct vm_client_options options = {.name = name, .name_len = (size_t)len};
    memcpy(options.uuid, name, (size_t)len);
    vm_client_init(&vm->client, &options);
    vm_client_connected(&vm->client);
    int fd = sock_connect(&vm_addr);
    if (fd < 0 || loop_io_add(loop, &vm->io, fd, EPOLLIN | EPOLLOUT, on_vm) < 0)
        die("connect a VM");
}

static void type_key(struct load_user *user)
{
    if (send(user->io.fd, "k", 1, MSG_NOSIGNAL) != 1)
        die("send from a user");
}

static void start_user(struct load_user *user);

static void on_user(struct loop_io *io, uint32_t events)
{
    char buffer[4096];
    struct load_user *user = container_of(io, struct load_user, io);
    (void)events;
    ssize_t n = recv(io->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == ECONNREFUSED) {
        /* A port that something else on this machine held when the server wanted it. */
        loop_io_del(loop, io);
        close(io->fd);
        start_user(user);
        return;
    }
    if (n <= 0)
        die("a user's connection was closed");
    if (user->greeted < NEGOTIATION) {
        user->greeted += (unsigned)n;
        return;
    }
    if (--user->left > 0)
        type_key(user);
    else if (++users_done == user_count)
        loop_stop(loop);
}

static void start_user(struct load_user *user)
{
    sock_addr_set_port(&user_addr, (uint16_t)next_user_port++);
    user->left = echoes_each;
    int fd = sock_connect(&user_addr);
    if (fd == -ECONNREFUSED) {
        start_user(user);
        return;
    }
    if (fd < 0 || loop_io_add(loop, &user->io, fd, EPOLLIN, on_user) < 0)
        die("connect a user");
}

static void on_settled(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void on_time_limit(struct loop_timer *timer)
{
    (void)timer;
    fprintf(stderr, "relay-load: gave up after %d s: %zu of %zu VMs, %zu of %zu users done\n",
            TIME_LIMIT_MS / 1000, vms_identified, vm_count, users_done, user_count);
    exit(1);
}

/* Waits until Redis has every VM. */
static void wait_mapped(const char *socket_path)
{
    redisContext *redis = redisConnectUnix(socket_path);
    if (!redis || redis->err)
        die("connect to Redis");
    for (;;) {
        redisReply *reply = redisCommand(redis, "HLEN VM:Port");
        if (!reply || reply->type != REDIS_REPLY_INTEGER)
            die("ask Redis");
        long long n = reply->integer;
        freeReplyObject(reply);
        if (n >= (long long)vm_count)
            break;
        usleep(500);
    }
    redisFree(redis);
}

static void run_for(unsigned ms)
{
    struct loop_timer timer = {0};
    loop_timer_arm(loop, &timer, ms, on_settled);
    loop_run(loop);
}

static size_t number(const char *text)
{
    return (size_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fputs(
            "usage: relay-load VM_PORT FIRST_USER_PORT VMS USERS ECHOES_PER_USER SERVER_PID [REDIS_SOCKET]\n",
            stderr);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sock_addr_parse("127.0.0.1", (uint16_t)number(argv[1]), &vm_addr);
    user_addr = vm_addr;
    next_user_port = (unsigned)number(argv[2]);
    vm_count = number(argv[3]);
    user_count = number(argv[4]);
    echoes_each = (unsigned)number(argv[5]);
    server = (pid_t)number(argv[6]);
    vms = xcalloc(vm_count, sizeof *vms);
    users = xcalloc(user_count + 1, sizeof *users);
    loop = loop_new();
    struct loop_timer time_limit = {0};
    loop_timer_arm(loop, &time_limit, TIME_LIMIT_MS, on_time_limit);

    double cpu = server_cpu_us(), rss = server_rss();
    uint64_t start = clock_ms();
    while (vms_started < vm_count && vms_started < IN_FLIGHT)
        start_vm();
    loop_run(loop);
    if (argc > 7)
        wait_mapped(argv[7]);
    uint64_t storm_ms = clock_ms() - start;
    double handshake_us = (server_cpu_us() - cpu) / (double)vm_count;
    run_for(SETTLE_MS);
    double rss_each = (server_rss() - rss) / (double)vm_count;

    for (size_t i = 0; i < user_count; i++)
        start_user(&users[i]);
    run_for(SETTLE_MS);
    cpu = server_cpu_us();
    start = clock_ms();
    for (size_t i = 0; i < user_count; i++)
        type_key(&users[i]);
    loop_run(loop);
    double echoes = (double)user_count * echoes_each;
    double echo_us = (server_cpu_us() - cpu) / echoes;
    double echo_s = (double)(clock_ms() - start) / 1000;
    printf("%.1f %.2f %.0f %.0f %.0f\n", handshake_us, echo_us, rss_each,
           (double)vm_count * 1000 / (double)storm_ms, echoes / echo_s);
    return 0;
}
