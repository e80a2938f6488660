/* Control client: one connection to the control socket. Main's.
 *
 *      READING --(a whole line)--> BUSY --(an answer)--> WRITING --(all of it is sent)--> READING
 *                                   |                       |
 *                                   |                       +--(more comes later)--> FOLLOWING --> WRITING
 *                                   +--(lent to a worker, which keeps it)--> GONE
 *      each --(hang-up; STALLED_MS without anybody reading; after an answer that is the last)--> GONE
 *
 * What follows a request is not read before its answer is sent; what is to be written is made 64 KiB at a
 * time, as it is read. So a client holds little memory, whatever it does. */
#ifndef VSPC_CONTROL_CLIENT_H
#define VSPC_CONTROL_CLIENT_H

#include "vspc/console_query.h"
#include "vspc/loop.h"
#include "vspc/mem.h"

struct control;
struct control_request;

enum {
    CLIENT_LINE_MAX = 65536, /* bytes of a request, without the newline */
    CLIENT_PIECE = 65536,    /* an answer's next piece is made up to this size */
};

enum client_state { CLIENT_READING, CLIENT_BUSY, CLIENT_WRITING, CLIENT_FOLLOWING, CLIENT_GONE };

/* What a long answer comes from. */
enum source_state { SOURCE_MORE, SOURCE_LATER, SOURCE_END };
struct control_source {
    /* Puts the next piece into out, which is empty. SOURCE_LATER: nothing now; whoever has more calls
     * control_client_serve.
     */
    enum source_state (*next)(struct control_source *source, struct bytes *out);
    void (*free)(struct control_source *source);
};

struct control_client {
    struct control *control;
    struct control_client *prev, *next;
    enum client_state state;
    struct loop_io io;
    struct loop_timer stalled; /* armed while output waits for the client */
    struct loop_timer go_on;   /* with requests that are here already */
    struct control_peer peer;
    bool in_reserve;                 /* needs no ADMISSION_USER */
    bool is_last;                    /* after this answer it is closed */
    bool has_ended;                  /* says nothing more */
    bool serving;                    /* control_client_serve is on the stack */
    size_t searched;                 /* bytes of in that hold no newline */
    struct bytes in;                 /* read and not taken */
    struct bytes out;                /* made and not sent */
    struct control_source *source;   /* of the rest of the answer, or NULL */
    struct control_request *request; /* BUSY: the one on its way */
};

/* Takes a connection that was just accepted. */
void control_client_new(struct control *control, int fd, bool in_reserve);
/* Closes; the object is freed at the end of the turn. A request on its way finishes without it. */
void control_client_close(struct control_client *client);

/* The answer to the request on its way: a line, with its newline; then what comes from source, unless that is
 * NULL. Sent when control_client_serve is called, or on the stack of it. */
void control_client_answer(struct control_client *client, const void *line, size_t len,
                           struct control_source *source);
/* The next answer is the last one. */
void control_client_end(struct control_client *client);
/* Goes on with what the client is about, as far as it goes now. */
void control_client_serve(struct control_client *client);

/* BUSY: a worker is to have the connection, and what was read behind the request. Result: the descriptor. */
int control_client_lend(struct control_client *client, struct bytes *in);
/* It does not want it: all is as before. */
void control_client_give_back(struct control_client *client, int fd, struct bytes *in);
/* It has kept it. */
void control_client_kept(struct control_client *client);

#endif
