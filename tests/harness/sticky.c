#include "sticky.h"

#include <stdio.h>
#include <stdlib.h>

struct daemon *sticky_daemon(const char *program, struct redis *r, unsigned user_ports)
{
    struct daemon *d = daemon_new(program, user_ports);
    daemon_use_redis(d, r);
    daemon_set(d, "server.node_id", "one");
    daemon_set(d, "user.linger", "0");
    return d;
}

char *sticky_book(const struct daemon *d)
{
    return xasprintf("%s/ports.db", d->state_dir);
}

static uint16_t port_of(struct redis *r, size_t i)
{
    char name[32];
    snprintf(name, sizeof name, "vm-%05zu", i);
    return redis_wait_port(r, "VM:Port", name, SOON);
}

struct fleet *sticky_start(struct redis *r, struct daemon *d, size_t n, uint16_t *ports)
{
    daemon_start(d);
    struct fleet *f = fleet_new(d, n, "vm-", NULL);
    fleet_connect(f, 0, n);
    fleet_wait_identified(f, SOON);
    sticky_note(r, f, ports);
    return f;
}

void sticky_note(struct redis *r, const struct fleet *f, uint16_t *ports)
{
    for (size_t i = 0; i < f->n; i++)
        ports[i] = port_of(r, i);
}

void sticky_expect(struct redis *r, struct fleet *f, const uint16_t *ports)
{
    for (size_t i = f->n; i-- > 0;) {
        fleet_connect(f, i, 1);
        fleet_wait_identified(f, SOON);
    }
    for (size_t i = 0; i < f->n; i++) {
        uint16_t port = port_of(r, i);
        if (port != ports[i])
            env_fail("VM %zu has port %u, not %u", i, port, ports[i]);
    }
}

uint16_t sticky_visit(struct daemon *d, struct redis *r, const char *name)
{
    struct vm_link *vm = vm_start_named(d, name);
    uint16_t port = redis_wait_port(r, "VM:Port", name, SOON);
    vm_stop(vm);
    redis_wait_hget(r, "VM:Port", name, NULL, SOON);
    return port;
}
