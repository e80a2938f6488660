/* Control parts: what the files of the control socket share. Main's. */
#ifndef VSPC_CONTROL_PARTS_H
#define VSPC_CONTROL_PARTS_H

#include <time.h>

#include "control/control_client.h"
#include "control/control_list.h"
#include "control/control_socket.h"
#include "control/event_list.h"
#include "control/loop_probe.h"
#include "vspc/control.h"
#include "vspc/log.h"

struct control {
    const struct control_server *server;
    struct control_socket socket;
    struct loop_io listener;
    struct loop_timer rest; /* of the listener, when no descriptor was left */
    struct control_client *clients;
    unsigned client_count;
    unsigned in_reserve;              /* clients that need no ADMISSION_USER */
    unsigned forsaken;                /* requests without an answer whose clients have gone */
    struct control_request *requests; /* not answered yet, or whose answers are on their way */
    struct control_lists lists;
    struct event_list *events;
    struct loop_probes *probes;
    struct log_second refusals;
    time_t started;
};

/* A client has gone; it was one of those in reserve, or not. */
void control_client_left(struct control *control, struct control_client *client);

#endif
