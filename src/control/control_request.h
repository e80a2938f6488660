/* Control request: one request of a client, from its line to its answer. Main's.
 *
 * It is answered once. Then it lives on while answers of workers to it are on their way, and it is freed with
 * the last of them: so a worker that answers late, a client that hangs up and a control socket that is closed
 * are all the same to whoever is asked. */
#ifndef VSPC_CONTROL_REQUEST_H
#define VSPC_CONTROL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "control/control_client.h"

struct control_command;

enum { CONTROL_ANSWER_MS = 5000 }; /* for workers, and the disk */

struct control_request {
    struct control *control;       /* NULL: the control socket is closed */
    struct control_client *client; /* NULL: it has gone, or has its answer */
    struct control_request *prev, *next;
    struct control_request *next_waiting; /* for a list */
    const struct control_command *command;
    json_t *body;
    struct control_peer peer;
    bool is_answered;
    unsigned pending;            /* answers on their way */
    struct loop_timer timeout;   /* for them */
    struct console_find **finds; /* of each owner, while the console is looked for */
    struct console_row row;      /* of the console, when it was found */
};

/* Takes a client's line; answers it at once, or some time later. */
void control_request_begin(struct control_client *client, const char *line, size_t len);
/* Answers a line that is too long, and ends the connection. */
void control_request_too_long(struct control_client *client);
/* The client has gone. */
void control_request_forsake(struct control_request *request);
/* The control socket is closed: the request goes on by itself, or is freed. */
void control_request_abandon(struct control_request *request);
/* One of the answers on their way has come; ends the request if it was the last. */
void control_request_arrived(struct control_request *request);

/* Answers, with ok and these members (of which it takes the reference; NULL: none). */
void control_request_succeed(struct control_request *request, json_t *members);
/* Answers with an error of vspc-control(7), members likewise, and a sentence. */
void control_request_fail(struct control_request *request, const char *error, json_t *members,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The line of a successful answer, with its newline, in fresh memory. */
char *control_request_line(struct control_request *request, json_t *members);
/* Answers successfully with this text and what comes from source. */
void control_request_answer(struct control_request *request, const char *text, struct control_source *source);

/* A member of the request, which is NULL or false or 0 when it is not there. */
const char *control_request_text(const struct control_request *request, const char *member, size_t *len);
bool control_request_flag(const struct control_request *request, const char *member);

#endif
