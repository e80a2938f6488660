#include "vspc/console_owner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "console.h"
#include "user_conn.h"
#include "vm_conn.h"

void console_owner_init(struct console_owner *owner, unsigned worker, struct loop *loop,
                        struct config *config, struct console_shared *shared)
{
    memset(owner, 0, sizeof *owner);
    owner->worker = worker;
    owner->loop = loop;
    owner->config = config_ref(config);
    owner->shared = shared;
    owner->log_writer = console_log_writer_new(shared->logs, loop);
    owner->failures = (struct log_rate){.burst = 10, .window_ms = 1000};
    owner->takeovers = (struct log_rate){.burst = 5, .window_ms = 10000};
    owner->renames = (struct log_rate){.burst = 10, .window_ms = 1000};
    owner->migrations = (struct log_rate){.burst = 200, .window_ms = 1000};
    owner->ignored = (struct log_rate){.burst = 10, .window_ms = 1000};
    /* A fleet of that many VMs that comes at once is logged line by line, also where one worker has all of
     * it; who comes and goes without end has 1,000 lines a second. */
    owner->vms = (struct log_rate){.burst = 10000, .window_ms = 10000};
    owner->users = (struct log_rate){.burst = 200, .window_ms = 1000};
}

void console_owner_destroy(struct console_owner *owner)
{
    console_log_writer_free(owner->log_writer);
    config_unref(owner->config);
    owner->config = NULL;
}

void console_owner_arrivals(void *arg)
{
    struct vm_arrival *arrival = arg, *next;
    struct console_owner *owner = arrival->owner;
    for (; arrival; arrival = next) {
        next = arrival->next;
        if (owner->closing) {
            close(arrival->fd);
            admission_give(&owner->shared->admission, ADMISSION_VM);
        } else {
            vm_conn_new(owner, arrival->fd, &arrival->peer, arrival->number);
        }
        free(arrival);
    }
}

void console_owner_give_way(struct directory_entry *entry)
{
    struct console_owner *owner = entry->owner;
    loop_post(owner->loop, console_give_way, entry);
}

void console_owner_reload(struct console_owner *owner, struct config *config)
{
    struct console *console, *next;
    struct vm_handshake *handshake;
    config_unref(owner->config);
    owner->config = config;
    DL_FOREACH(owner->handshaking, handshake)
    {
        vm_conn_reload(handshake->conn);
    }
    DL_FOREACH_SAFE(owner->consoles, console, next)
    {
        console_reload(console);
    }
}

void console_owner_notice(struct console_owner *owner, const char *text)
{
    struct console *console;
    DL_FOREACH(owner->consoles, console)
    {
        console_notice(console, text);
    }
}

void console_owner_close(struct console_owner *owner)
{
    struct console *console, *next;
    struct vm_handshake *handshake, *next_handshake;
    owner->closing = true;
    DL_FOREACH_SAFE(owner->handshaking, handshake, next_handshake)
    {
        vm_conn_close(handshake->conn);
    }
    DL_FOREACH_SAFE(owner->consoles, console, next)
    {
        struct vm_conn *vm = console->vm;
        if (vm)
            vm_conn_read_last(vm);
        console_notice(console, "shutting down");
        console_end(console);
        if (vm) {
            vm->console = NULL;
            vm_conn_close(vm);
        }
    }
}
