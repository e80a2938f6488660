/* Control: the control socket (vspc-control(7)), served by main's loop.
 *
 * All functions are main's. What it needs of the daemon comes in struct control_server; it changes nothing
 * itself. */
#ifndef VSPC_CONTROL_H
#define VSPC_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include "vspc/config.h"
#include "vspc/console_owner.h"
#include "vspc/loop.h"

struct control;

/* What the control socket may ask of the daemon. */
struct control_server {
    void *arg; /* of all functions */
    struct loop *loop;
    struct console_shared *shared;
    struct console_owner **owners; /* a worker each */
    unsigned owner_count;
    const struct config *(*config)(void *arg); /* the running one */
    /* As SIGHUP does. Result: true; *restart then has the keys that need a restart, NULL-terminated, or is
     * NULL. False: *error says why. The caller frees both, and every key. */
    bool (*reload)(void *arg, char **error, char ***restart);
    /* Reopens the console logs, then calls done(done_arg) in loop. */
    void (*reopen)(void *arg, void (*done)(void *done_arg), void *done_arg);
    void (*drain)(void *arg, bool on);
    uint64_t (*worker_cpu_ns)(void *arg, unsigned worker);
    bool (*is_draining)(void *arg);
};

/* Listens on [control] socket, if there is one; what is wrong with that is one warning, and it goes on
 * without. Also receives shared->events, so it comes before anybody can tell any. *server must outlive it.
 * Result: the control, never NULL. */
struct control *control_start(const struct control_server *server);
/* Stops listening, and removes the socket; closes the clients. What is on its way from workers is awaited by
 * nobody: to be called when they have ended and their letters have been run. */
void control_stop(struct control *control);

#endif
