/* Server parts: what the files of the server share. Main's. */
#ifndef VSPC_SERVER_PARTS_H
#define VSPC_SERVER_PARTS_H

#include "server/notify.h"
#include "vspc/acceptor.h"
#include "vspc/control.h"
#include "vspc/port_book.h"
#include "vspc/server.h"

struct server {
    struct loop *loop;
    struct config *config;
    const struct config_source *source;
    struct console_shared shared;
    int state_dir_lock;        /* or as of state_dir_lock */
    uint64_t disk_deadline_ms; /* of DISK_START_MS */
    struct disk *disk;         /* NULL: nothing is kept on disk */
    struct port_book *book;    /* NULL: there is none */
    struct acceptor *acceptor; /* NULL when stopping */
    struct worker **workers;
    struct console_owner **owners; /* a worker's each */
    unsigned worker_count;
    unsigned workers_open; /* have not reported that they closed everything */
    struct control_server control_server;
    struct control *control;
    struct notify *notify; /* NULL: systemd does not listen */
    bool stopping;
    int exit_code;
    struct loop_io signals;
    struct loop_timer deadline;
};

/* server_orders.c: what can be ordered while the daemon runs. */

/* Reads the configuration again and goes on with it; logs what came of it. Result: true; *restart then has
 * the keys that need a restart, NULL-terminated, or is NULL. False: *error says why. The caller frees both,
 * and every key. */
bool server_reload(struct server *server, char **error, char ***restart);
/* Serves the control socket. */
void server_start_control(struct server *server);

#endif
