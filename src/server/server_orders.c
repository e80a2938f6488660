#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/server_parts.h"
#include "vspc/mem.h"

/* The keys that have changed and need a restart. */
struct restart_keys {
    char **keys; /* NULL-terminated */
    size_t len;
};

static void note_restart_key(const char *key, void *arg)
{
    struct restart_keys *keys = arg;
    log_warning("Configuration key needs a restart key=%s", key);
    keys->keys = xrealloc(keys->keys, (keys->len + 2) * sizeof(char *));
    keys->keys[keys->len++] = xstrdup(key);
    keys->keys[keys->len] = NULL;
}

/* Logs each line of a config_load error. */
static void log_config_error(const char *error)
{
    for (const char *line = error; *line;) {
        size_t len = strcspn(line, "\n");
        if (len)
            log_error("%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

/* Goes on with another configuration, whose reference passes to the server. */
static void apply(struct server *server, struct config *next)
{
    log_set_level(next->server.log_level);
    acceptor_reload(server->acceptor, next);
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_reload(server->workers[i], next);
    redis_writer_reload(server->shared.mapping, next);
    port_pool_set_retention(server->shared.ports, config_retention_s(next));
    if (server->book)
        port_book_touch(server->book);
    if (server->shared.logs) {
        console_logs_reload(server->shared.logs, next);
        console_logs_reopen(server->shared.logs, NULL, NULL, NULL);
    }
    config_unref(server->config);
    server->config = next;
}

bool server_reload(struct server *server, char **error, char ***restart)
{
    struct restart_keys keys = {0};
    const struct config_source *source = server->source;
    *error = NULL;
    if (server->stopping) {
        *error = xstrdup("vspcd is shutting down");
        return false;
    }
    notify_reloading(server->notify);
    struct config *wanted = config_load(source->file, source->overrides, source->override_count, error);
    if (wanted) {
        struct config *next = config_reload(server->config, wanted, note_restart_key, &keys);
        config_unref(wanted);
        apply(server, next);
        log_info("Configuration reloaded");
        *restart = keys.keys;
    } else {
        log_config_error(*error);
        log_error("Configuration not reloaded, going on with the running one");
    }
    notify_reloaded(server->notify);
    return wanted != NULL;
}

/* What the control socket asks for; arg is the server. */

static const struct config *get_config(void *arg)
{
    return ((struct server *)arg)->config;
}

static bool reload(void *arg, char **error, char ***restart)
{
    return server_reload(arg, error, restart);
}

static void reopen(void *arg, void (*done)(void *done_arg), void *done_arg)
{
    struct server *server = arg;
    if (server->shared.logs)
        console_logs_reopen(server->shared.logs, server->loop, done, done_arg);
    else
        loop_post(server->loop, done, done_arg);
}

static bool is_draining(void *arg)
{
    return atomic_load(&((struct server *)arg)->shared.draining);
}

static void drain(void *arg, bool on)
{
    struct server *server = arg;
    if (server->stopping || is_draining(server) == on)
        return;
    atomic_store(&server->shared.draining, on);
    acceptor_drain(server->acceptor, on);
    if (on)
        log_info("Draining, no new VMs are taken");
    else
        log_info("Draining has ended, VMs are taken again");
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_notice(server->workers[i], on ? "this concentrator is being drained"
                                             : "this concentrator is not drained any more");
}

static uint64_t get_worker_cpu_ns(void *arg, unsigned worker)
{
    return worker_cpu_ns(((struct server *)arg)->workers[worker]);
}

void server_start_control(struct server *server)
{
    server->owners = xcalloc(server->worker_count, sizeof(struct console_owner *));
    for (unsigned i = 0; i < server->worker_count; i++)
        server->owners[i] = worker_owner(server->workers[i]);
    server->control_server = (struct control_server){
        .arg = server,
        .loop = server->loop,
        .shared = &server->shared,
        .owners = server->owners,
        .owner_count = server->worker_count,
        .config = get_config,
        .reload = reload,
        .reopen = reopen,
        .drain = drain,
        .worker_cpu_ns = get_worker_cpu_ns,
        .is_draining = is_draining,
    };
    server->control = control_start(&server->control_server);
}
