#include "model.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <utlist.h>

#include "probe.h"
#include "wire.h"

static const char *const labels[MODEL_CONSOLES] = {"serial1", "serial2", NULL};

struct model *model_new(const char *program)
{
    struct model *m = xcalloc(1, sizeof *m);
    m->redis = redis_start();
    m->daemon = daemon_new(program, 4 * MODEL_CONSOLES);
    daemon_use_redis(m->daemon, m->redis);
    daemon_set(m->daemon, "server.workers", "3");
    daemon_set(m->daemon, "server.node_id", "model");
    daemon_set(m->daemon, "vm.handshake_timeout", "10min");
    daemon_set(m->daemon, "user.scrollback", "%dB", MODEL_SCROLLBACK);
    daemon_start(m->daemon);
    m->path = xasprintf("%s/history", env_dir());
    env_show(m->path);
    return m;
}

/* Forgets refused connections that have been closed. */
static void bury(struct model *m)
{
    struct model_conn *conn, *next;
    DL_FOREACH_SAFE(m->doomed, conn, next)
    {
        model_conn_pump(conn);
        if (conn->fd >= 0)
            continue;
        DL_DELETE(m->doomed, conn);
        model_conn_free(conn);
    }
}

void model_free(struct model *m)
{
    WAIT_FOR((bury(m), !m->doomed), SOON, "a refused connection is not closed");
    daemon_stop(m->daemon);
    freeReplyObject(redis_ask(m->redis, "FLUSHALL"));
    redis_stop(m->redis);
    free(m->path);
    free(m);
}

unsigned model_random(struct model *m, unsigned n)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((m->random >> 33) % n);
}

void model_note(struct model *m, const struct model_console *c, const char *format, ...)
{
    va_list args;
    fprintf(m->history, "%3u ", m->step);
    if (c)
        fprintf(m->history, "console %u: ", c->index);
    va_start(args, format);
    vfprintf(m->history, format, args);
    va_end(args);
    fputc('\n', m->history);
    fflush(m->history);
}

size_t model_chunk(struct model *m, uint8_t out[MODEL_CHUNK_MAX])
{
    int n = snprintf((char *)out, MODEL_CHUNK_MAX, "<%u>", ++m->chunk);
    size_t len = (size_t)n + model_random(m, model_random(m, 4) ? 24 : MODEL_CHUNK_MAX - (unsigned)n);
    wire_fill(out + n, len - (size_t)n, m->chunk);
    return len;
}

void model_begin(struct model *m, uint64_t seed)
{
    m->seed = m->random = seed;
    m->sequence++;
    m->step = m->chunk = m->dead_count = 0;
    m->history = fopen(m->path, "w");
    if (!m->history)
        env_fail("cannot write %s", m->path);
    model_note(m, NULL, "VSPC_MODEL_SEED=%llu", (unsigned long long)seed);
    model_set_times(m, false, false);
    for (unsigned i = 0; i < MODEL_CONSOLES; i++) {
        struct model_console *c = &m->consoles[i];
        *c = (struct model_console){.index = i, .label = labels[i]};
        /* The first two are two serial ports of one VM. */
        snprintf(c->name, sizeof c->name, "vm%u-%s", m->sequence, labels[i] ? "a" : "b");
        struct vm_client_options opt = vm_options(c->name);
        memcpy(c->uuid, opt.uuid, UUID_SIZE);
    }
}

/* Everybody goes. */
static void leave(struct model_console *c)
{
    struct model_conn *conn, *next_conn;
    struct model_user *user, *next;
    DL_FOREACH_SAFE(c->users, user, next)
    {
        DL_DELETE(c->users, user);
        model_user_free(user);
    }
    DL_FOREACH_SAFE(c->strangers, conn, next_conn)
    {
        DL_DELETE(c->strangers, conn);
        model_conn_free(conn);
    }
    if (c->current)
        model_conn_free(c->current);
    if (c->destination)
        model_conn_free(c->destination);
    bytes_clear(&c->kept);
    bytes_clear(&c->output);
    *c = (struct model_console){.index = c->index};
}

void model_end(struct model *m)
{
    model_note(m, NULL, "all leave");
    for (unsigned i = 0; i < MODEL_CONSOLES; i++)
        leave(&m->consoles[i]);
    model_set_times(m, true, true);
    redis_wait_hlen(m->redis, "VM:Port", 0, SOON);
    bury(m);
    env_check_reports();
    fclose(m->history);
}

void model_set_times(struct model *m, bool short_migration, bool short_linger)
{
    char *text = xasprintf("[vm]\nvmotion_timeout = %s\n[user]\nlinger = %s\n",
                           short_migration ? "1ms" : "10min", short_linger ? "1ms" : "10min");
    daemon_write_config(m->daemon, text);
    free(text);
    probe_reload(m->daemon);
}

/* The console as Redis calls it. */
static char *field_of(const struct model_console *c)
{
    return c->label ? xasprintf("%s.%s", c->name, c->label) : xstrdup(c->name);
}

/* What is wrong in Redis, or NULL. */
static const char *find_fault(struct model *m)
{
    long long connected = 0;
    for (unsigned i = 0; i < MODEL_CONSOLES; i++) {
        struct model_console *c = &m->consoles[i];
        if (!c->exists || (!c->current && !c->phase))
            continue;
        connected++;
        char *field = field_of(c), *value = redis_hget(m->redis, "VM:Port", field, strlen(field));
        unsigned long port = value ? strtoul(value, NULL, 10) : 0;
        free(value);
        free(field);
        if (!port || (c->port && port != c->port))
            return c->name;
        c->port = (uint16_t)port;
    }
    if (redis_number(m->redis, "HLEN VM:Port") != connected)
        return "the number of ports";
    return redis_number(m->redis, "HLEN VM:UUID") != connected ? "the number of UUIDs" : NULL;
}

void model_check_mapping(struct model *m)
{
    const char *fault;
    WAIT_FOR(!(fault = find_fault(m)), SOON, "Redis has not what it should: %s", fault);
}

void model_stop(struct model *m)
{
    siginfo_t info;
    model_note(m, NULL, "vspcd is stopped");
    daemon_signal(m->daemon, SIGSTOP);
    if (waitid(P_PID, (id_t)m->daemon->pid, &info, WSTOPPED) < 0)
        env_fail("vspcd does not stop");
}

void model_go_on(struct model *m)
{
    for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++) {
        if (c->current)
            model_conn_pump(c->current);
        if (c->destination)
            model_conn_pump(c->destination);
    }
    daemon_signal(m->daemon, SIGCONT);
}

void model_output(struct model_console *c, const void *data, size_t len)
{
    struct model_user *user;
    if (!len)
        return;
    bytes_put(&c->output, data, len);
    DL_FOREACH(c->users, user)
    {
        bytes_put(&user->want, data, len);
    }
}

void model_notice(struct model_console *c, const char *text)
{
    struct model_user *user;
    char *line = xasprintf("\r\n[vspc: %s]\r\n", text);
    DL_FOREACH(c->users, user)
    {
        bytes_put(&user->want, line, strlen(line));
    }
    free(line);
}

void model_input(struct model_console *c, const struct bytes *input)
{
    if (c->current && c->phase != MODEL_FROZEN)
        model_append(&c->current->want, input);
    else if (c->phase)
        model_append(&c->kept, input);
}

void model_release(struct model_console *c, struct model_conn *conn)
{
    model_append(&conn->want, &c->kept);
    bytes_clear(&c->kept);
    model_append(&conn->want_control, &conn->owed);
    bytes_clear(&conn->owed);
    conn->vm.frozen = false;
}

void model_retire(struct model_console *c, struct model_conn *conn)
{
    if (!conn)
        return;
    if (c->current == conn)
        c->current = NULL;
    if (c->destination == conn)
        c->destination = NULL;
    conn->must_close = true;
    conn->role = MODEL_CLOSED;
    bytes_clear(&conn->owed);
    DL_APPEND(c->strangers, conn);
}

void model_forget(struct model *m, struct model_console *c)
{
    m->dead[m->dead_count++ % MODEL_DEAD] = c->cookie;
    model_retire(c, c->destination);
    c->phase = MODEL_NO_MIGRATION;
}

void model_disconnected(struct model_console *c)
{
    bytes_clear(&c->kept);
    c->phase = MODEL_NO_MIGRATION;
    model_notice(c, "VM disconnected");
}

void model_attached(struct model_console *c, struct model_conn *conn)
{
    c->current = conn;
    conn->role = MODEL_CURRENT;
    snprintf(c->name, sizeof c->name, "%s", conn->name);
    if (conn->number > c->number)
        c->number = conn->number;
    model_release(c, conn);
    model_output(c, bytes_at(&conn->early), conn->early.len);
    bytes_clear(&conn->early);
}
