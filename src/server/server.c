#include "vspc/server.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "server/server_parts.h"
#include "server/state_dir.h"
#include "vspc/disk.h"
#include "vspc/mem.h"

enum {
    WORKERS_CLOSE_MS = 2000, /* for all workers to close what they own */
    WORKERS_END_MS = 500,    /* for all of them to end their turn */
    WRITER_FLUSH_MS =
        2000, /* for this node's entries to leave Redis, and what the disk is to keep, to be written */
    DISK_START_MS = 2000, /* for the state directory to be locked and the port book to be read at start */
    LOG_FLUSH_MS = 300,
    WORKERS_FREE = 8, /* their descriptors are within ADMISSION_RESERVE; those of more come on top */
};

/* Raises the soft limit of descriptors to the hard one. Result: the limit. */
static int raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 100000000 ? 100000000 : (int)limit.rlim_cur;
}

/* As many as the process may use CPUs, when the configuration does not say. */
static unsigned count_workers(const struct config *config)
{
    cpu_set_t cpus;
    if (config->server.workers)
        return config->server.workers;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    return (unsigned)CPU_COUNT(&cpus);
}

static void on_worker_closed(void *arg)
{
    struct server *server = arg;
    if (--server->workers_open == 0)
        loop_stop(server->loop);
}

static void on_deadline(struct loop_timer *timer)
{
    struct server *server = container_of(timer, struct server, deadline);
    log_warning("Workers did not close in time workers=%u", server->workers_open);
    loop_stop(server->loop);
}

/* First stage of the shutdown: no more VMs come, and the workers close what there is. */
static void begin_stop(struct server *server, int signal_number)
{
    if (server->stopping)
        return;
    server->stopping = true;
    notify_stopping(server->notify);
    log_info("Shutting down signal=%s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    acceptor_stop(server->acceptor);
    server->acceptor = NULL;
    server->workers_open = server->worker_count;
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_close(server->workers[i], server->loop, on_worker_closed, server);
    loop_timer_arm(server->loop, &server->deadline, WORKERS_CLOSE_MS, on_deadline);
}

static void on_hangup_signal(struct server *server)
{
    char *error = NULL;
    char **restart = NULL;
    server_reload(server, &error, &restart);
    for (size_t i = 0; restart && restart[i]; i++)
        free(restart[i]);
    free(restart);
    free(error);
}

static void on_signal(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct server *server = container_of(io, struct server, signals);
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo != SIGHUP)
        begin_stop(server, (int)info.ssi_signo);
    else
        on_hangup_signal(server);
}

static sigset_t watched_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

void server_block_signals(void)
{
    sigset_t set = watched_signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* A limit on the size of files is an error to whoever writes one, not the end. */
    signal(SIGXFSZ, SIG_IGN);
}

/* From here on signals arrive in the loop; threads started later have them blocked. */
static int watch_signals(struct server *server)
{
    sigset_t set = watched_signals();
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : loop_io_add(server->loop, &server->signals, fd, EPOLLIN, on_signal);
}

static int start_workers(struct server *server)
{
    unsigned wanted = count_workers(server->config);
    server->workers = xcalloc(wanted, sizeof(struct worker *));
    while (server->worker_count < wanted) {
        struct worker *worker = worker_start(server->worker_count, server->config, &server->shared);
        if (!worker)
            return -errno;
        server->workers[server->worker_count++] = worker;
    }
    return 0;
}

static void log_ready(const struct server *server, int limit)
{
    const struct config *config = server->config;
    char address[SOCK_TEXT];
    unsigned by_descriptors = (unsigned)atomic_load(&server->shared.admission.left) / ADMISSION_VM;
    unsigned ports = config->user.max_ports;
    sock_addr_format(&config->vm.listen.items[0], address);
    log_info("Ready vm_listen=%s user_ports=%u-%u workers=%u max_vms=%u limited_by=%s descriptors=%d "
             "node_id=%s version=" VSPC_VERSION,
             address, config->user.first_port, config->user.first_port + ports - 1, server->worker_count,
             by_descriptors < ports ? by_descriptors : ports,
             by_descriptors < ports ? "descriptors" : "max_ports", limit, config->server.node_id);
}

/* Milliseconds until then. */
static unsigned time_left(uint64_t deadline_ms)
{
    uint64_t now = clock_ms();
    return now < deadline_ms ? (unsigned)(deadline_ms - now) : 0;
}

/* Takes the state directory for this process. Result: 0, also when there is none; or a negative errno when
 * another process has it. */
static int lock_state_dir(struct server *server)
{
    const char *dir = server->config->server.state_dir;
    if (!dir[0])
        return 0;
    server->state_dir_lock = state_dir_lock(dir, DISK_START_MS);
    return server->state_dir_lock == -EBUSY ? -EBUSY : 0;
}

/* Whether the state directory can keep a port book. */
static bool may_keep_book(const struct server *server)
{
    int lock = server->state_dir_lock;
    return server->config->server.state_dir[0] && lock != -ENOENT && lock != -ENOTDIR && lock != -ETIMEDOUT;
}

/* Reads the port book into the pool, as far as the disk answers. */
static void start_book(struct server *server)
{
    const char *dir = server->config->server.state_dir;
    notify_status(server->notify, "reading the port book");
    server->book = port_book_start(server->disk, dir, server->shared.ports);
    if (port_book_wait_loaded(server->book, time_left(server->disk_deadline_ms)) == -ETIMEDOUT)
        log_warning(
            "The disk does not answer, starting without the port book: VMs get other ports than before "
            "until it has been read state_dir=%s",
            quote(dir, strlen(dir)).s);
}

/* Starts what is kept on disk. Result: 0 or a negative errno. */
static int start_disk(struct server *server)
{
    bool has_logs = server->config->log.directory[0];
    if (!may_keep_book(server) && !has_logs)
        return 0;
    server->disk = disk_start();
    if (!server->disk)
        return -errno;
    if (may_keep_book(server))
        start_book(server);
    if (has_logs)
        server->shared.logs = console_logs_new(server->disk, server->config);
    return 0;
}

/* How many descriptors there are for connections, and what admission keeps for the rest. */
static int admissible(const struct config *config, int limit)
{
    unsigned workers = count_workers(config);
    if (workers > WORKERS_FREE)
        limit -= 2 * (int)(workers - WORKERS_FREE);
    return config->log.directory[0] ? limit - CONSOLE_LOG_FILES : limit;
}

/* Starts everything. Result: 0 or a negative errno; what has started stays for stop_all. */
static int start_all(struct server *server)
{
    struct console_shared *shared = &server->shared;
    int limit = raise_descriptor_limit();
    admission_init(&shared->admission, admissible(server->config, limit));
    shared->directory = directory_new();
    shared->ports = port_pool_new(server->config->user.first_port, server->config->user.max_ports);
    port_pool_set_retention(shared->ports, config_retention_s(server->config));
    peer_rate_init(&shared->refusals);
    int err = watch_signals(server);
    if (!err)
        err = log_start();
    /* Signals wait meanwhile, and there must be time left for the shutdown. */
    server->disk_deadline_ms = clock_ms() + DISK_START_MS;
    /* First of all: where another vspcd has the directory or the address, ours must not touch what is that
     * one's on disk or in Redis. */
    if (!err)
        err = lock_state_dir(server);
    if (err)
        return err;
    server->acceptor = acceptor_new(server->config, shared);
    if (!server->acceptor)
        return -EADDRINUSE;
    err = start_disk(server);
    if (err)
        return err;
    shared->mapping = redis_writer_start(server->config);
    if (!shared->mapping)
        return -errno;
    err = start_workers(server);
    if (err)
        return err;
    server_start_control(server);
    err = acceptor_start(server->acceptor, server->workers, server->worker_count);
    if (err)
        return err;
    log_ready(server, limit);
    notify_ready(server->notify);
    return 0;
}

/* Leaves what is stuck behind: it may still use what would be freed. The next start finds Redis and the state
 * directory as after a kill. */
static void __attribute__((noreturn)) end_with_stuck(const struct server *server, const char *what)
{
    log_error("%s is stuck, not waiting for it", what);
    log_end_writing(LOG_FLUSH_MS);
    _exit(server->exit_code);
}

static void join_workers(struct server *server)
{
    bool stuck = false;
    uint64_t deadline = clock_ms() + WORKERS_END_MS;
    for (unsigned i = 0; i < server->worker_count; i++)
        stuck |= worker_join(server->workers[i], time_left(deadline)) != 0;
    if (stuck)
        end_with_stuck(server, "A worker");
    /* What they have answered to the control socket, which may give rise to more; their own letters are run
     * as they are freed, and nobody answers those any more. */
    loop_timer_disarm(server->loop, &server->deadline);
    loop_stop(server->loop);
    loop_run(server->loop);
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_free(server->workers[i]);
}

/* Waits until all is on disk. Result: whether the disk thread has ended. */
static bool end_disk(struct server *server, uint64_t deadline)
{
    if (server->book && port_book_stop_finish(server->book, time_left(deadline)) == -ETIMEDOUT)
        return false;
    if (disk_stop_finish(server->disk, time_left(deadline)) != 0)
        return false;
    if (server->shared.logs)
        console_logs_free(server->shared.logs);
    return true;
}

/* Both writers have the same time to write what is left. */
static void stop_writers(struct server *server)
{
    uint64_t deadline = clock_ms() + WRITER_FLUSH_MS;
    if (server->book)
        port_book_stop_begin(server->book);
    if (server->shared.logs)
        console_logs_stop(server->shared.logs);
    /* Redis may take all the time there is; the disk thread ends meanwhile. */
    if (server->disk)
        disk_stop_begin(server->disk);
    if (server->shared.mapping)
        redis_writer_stop(server->shared.mapping, WRITER_FLUSH_MS);
    bool stuck = server->disk && !end_disk(server, deadline);
    if (stuck || server->state_dir_lock == -ETIMEDOUT)
        end_with_stuck(server, "The disk");
}

/* The later stages: workers end, then the writers. Whatever is stuck is left behind; the process ends anyway.
 */
static void stop_all(struct server *server)
{
    server->stopping = true;
    notify_stopping(server->notify);
    if (server->acceptor)
        acceptor_stop(server->acceptor);
    server->acceptor = NULL;
    join_workers(server);
    if (server->control)
        control_stop(server->control);
    stop_writers(server);
    log_info("Stopped");
    log_stop(LOG_FLUSH_MS);
    directory_free(server->shared.directory);
    port_pool_free(server->shared.ports);
    config_unref(server->config);
    free(server->workers);
    free(server->owners);
    if (server->state_dir_lock >= 0)
        close(server->state_dir_lock);
    close(server->signals.fd);
    loop_free(server->loop);
    notify_free(server->notify);
}

int server_run(struct config *config, const struct config_source *source)
{
    struct server server = {.config = config, .source = source, .state_dir_lock = -1, .signals.fd = -1};
    log_set_level(config->server.log_level);
    server.loop = loop_new();
    if (!server.loop) {
        log_error("Cannot start: %s", strerror(errno));
        return 1;
    }
    server.notify = notify_new(&server);
    int err = start_all(&server);
    if (err)
        log_error("Cannot start: %s", strerror(-err));
    else
        loop_run(server.loop);
    server.exit_code = err ? 1 : 0;
    stop_all(&server);
    return server.exit_code;
}
