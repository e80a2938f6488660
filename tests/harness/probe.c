#include "probe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LOG_MAX = 8 * 1024 * 1024 };

/* Calls fn for each line of the log that holds both texts. Result: how many there are. */
static unsigned each_line(struct daemon *d, const char *a, const char *b,
                          void (*fn)(const char *line, void *arg), void *arg)
{
    unsigned count = 0;
    char *log = env_read_file(d->log, d->log_from, LOG_MAX);
    char *rest = log, *line;
    while ((line = strsep(&rest, "\n"))) {
        /* The last one may still be written. */
        if (!rest || !strstr(line, a) || !strstr(line, b))
            continue;
        count++;
        if (fn)
            fn(line, arg);
    }
    free(log);
    return count;
}

static void take_port(const char *line, void *arg)
{
    const char *port = strstr(line, " port=");
    if (port)
        *(unsigned long *)arg = strtoul(port + strlen(" port="), NULL, 10);
}

uint16_t probe_port(struct daemon *d, const char *vm)
{
    unsigned long port = 0;
    char *text = xasprintf("VM connected vm=\"%s\"", vm);
    WAIT_FOR(each_line(d, text, "", take_port, &port), SOON, "not logged: %s", text);
    free(text);
    return (uint16_t)port;
}

unsigned probe_count_lines(struct daemon *d, const char *a, const char *b)
{
    return each_line(d, a, b, NULL, NULL);
}

void probe_wait_line(struct daemon *d, const char *a, const char *b, unsigned timeout_ms)
{
    WAIT_FOR(probe_count_lines(d, a, b), timeout_ms, "no line in the log with \"%s\" and \"%s\"", a, b);
}

/* A text that was not there before. */
static const char *fresh_text(char out[32])
{
    static unsigned count;
    snprintf(out, 32, "<probe %u>", ++count);
    return out;
}

void probe_console(uint16_t port, struct vm_link *vm)
{
    char text[32];
    struct user *user = user_connect(port, USER_TELNET);
    probe_delay(vm, user);
    user_type(user, fresh_text(text));
    vm_expect_text(vm, text, SOON);
    user_close(user);
}

uint64_t probe_delay(struct vm_link *vm, struct user *user)
{
    char text[32];
    uint64_t start = clock_ms();
    vm_print_text(vm, fresh_text(text));
    user_wait_text(user, text, SOON);
    return clock_ms() - start;
}

unsigned probe_wait_fds(struct daemon *d, unsigned most, unsigned timeout_ms)
{
    unsigned fds;
    WAIT_FOR((fds = daemon_usage(d).fds) <= most, timeout_ms, "vspcd has %u descriptors, not %u", fds, most);
    return fds;
}

static redisReply *get_all(struct redis *r, const char *key)
{
    redisReply *reply = redis_ask(r, "HGETALL %s", key);
    if (reply->type != REDIS_REPLY_ARRAY)
        env_fail("HGETALL %s: %s", key, reply->str ? reply->str : "no hash");
    return reply;
}

/* The value of a field in the reply to HGETALL, or NULL. */
static const char *value_of(const redisReply *all, const char *field)
{
    for (size_t i = 0; i + 1 < all->elements; i += 2)
        if (strcmp(all->element[i]->str, field) == 0)
            return all->element[i + 1]->str;
    return NULL;
}

struct maps {
    redisReply *ports, *endpoints, *uuids, *record;
};

/* What is wrong with the maps, or NULL. */
static const char *find_fault(const struct maps *maps, size_t own, size_t others)
{
    if (maps->ports->elements != 2 * (own + others))
        return "the number of fields in VM:Port";
    if (maps->endpoints->elements != 2 * (own + others))
        return "the number of fields in VM:Endpoint";
    if (maps->uuids->elements != 2 * (own + others))
        return "the number of fields in VM:UUID";
    if (maps->record->elements != 2 * own)
        return "the number of fields in the node's record";
    for (size_t i = 0; i < maps->record->elements; i += 2) {
        const char *field = maps->record->element[i]->str;
        const char *recorded = maps->record->element[i + 1]->str;
        const char *port = value_of(maps->ports, field), *endpoint = value_of(maps->endpoints, field);
        const char *colon = strrchr(recorded, ':');
        if (!endpoint || strcmp(endpoint, recorded) != 0)
            return "VM:Endpoint, which is not the record's";
        if (!port || !colon || strcmp(port, colon + 1) != 0)
            return "VM:Port, which is not the endpoint's";
    }
    for (size_t i = 1; i < maps->uuids->elements; i += 2)
        if (!value_of(maps->ports, maps->uuids->element[i]->str))
            return "VM:UUID, which names a VM that is not there";
    return NULL;
}

static const char *look(struct redis *r, const char *record, size_t own, size_t others)
{
    struct maps maps = {get_all(r, "VM:Port"), get_all(r, "VM:Endpoint"), get_all(r, "VM:UUID"),
                        get_all(r, record)};
    const char *fault = find_fault(&maps, own, others);
    freeReplyObject(maps.ports);
    freeReplyObject(maps.endpoints);
    freeReplyObject(maps.uuids);
    freeReplyObject(maps.record);
    return fault;
}

void probe_wait_maps(struct redis *r, const char *node_id, size_t own, size_t others, unsigned timeout_ms)
{
    const char *fault;
    char *record = xasprintf("vspc:node:%s", node_id);
    WAIT_FOR(!(fault = look(r, record, own, others)), timeout_ms,
             "Redis does not hold %zu VMs of node %s and %zu others as it should: wrong is %s (%lld ports, "
             "%lld of the node)",
             own, node_id, others, fault, redis_number(r, "HLEN VM:Port"),
             redis_number(r, "HLEN %s", record));
    free(record);
}

static void reload(struct daemon *d, const char *outcome)
{
    daemon_mark_log(d);
    daemon_signal(d, SIGHUP);
    daemon_wait_log(d, outcome, SOON);
}

void probe_reload(struct daemon *d)
{
    reload(d, "Configuration reloaded\n");
}

void probe_reload_refused(struct daemon *d)
{
    reload(d, "Configuration not reloaded");
}

void probe_run_before(struct daemon *d, const char *command)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/vspcd.sh", env_dir());
    FILE *file = fopen(path, "w");
    if (!file || fprintf(file, "#!/bin/sh\n%s\nexec %s \"$@\"\n", command, d->program) < 0 ||
        fclose(file) != 0 || chmod(path, 0700) != 0)
        env_fail("cannot write %s", path);
    d->program = path;
}
