/* User connection: one person or program attached to a console. Belongs to the console's worker. It came by
 * the console's user port, or by the control socket (user_control.h), which makes it one more TELNET user,
 * but with notices as JSON, without negotiation and without a limit on its silence.
 *
 *      user_conn_new --> UNDECIDED (telnet = auto) --(WILL, WONT, DO or DONT)--> TELNET
 *                  |          \--(500 ms)--> SILENT (raw so far, has sent nothing) --(an answer)--> TELNET
 *                  |          \                 \--(anything else)--> RAW
 *                  |           \--(500 ms, had sent something)--> RAW
 *                  |--(telnet = always, control)--> TELNET        (telnet = never) --> RAW
 *      any --(hang-up, too slow and raw, idle, console ends)--> CLOSED
 */
#ifndef VSPC_USER_CONN_H
#define VSPC_USER_CONN_H

#include "console.h"
#include "vspc/telnet.h"

enum user_state { USER_UNDECIDED, USER_SILENT, USER_RAW, USER_TELNET, USER_CLOSED };

enum {
    USER_DECIDE_MS = 500,
    USER_READ_SIZE = 16384,
    USER_HELD_MAX = 4096,    /* bytes held back while undecided; then it is not read until decided */
    USER_NOTICE_MAX = 1024,  /* bytes of a notice's text; what is longer is cut */
    USER_NOTICES_MAX = 64,   /* notices that may wait behind output for a user that does not read */
    USER_ANSWERS_MAX = 4096, /* bytes that may wait when an AYT is answered or a notice is made */
    USER_REPLIES_MAX = 16384,
    USER_HANGUP_MS = 2000, /* how long the last input of one who hung up waits for a VM that does not read */
};

/* A line that waits until the output before it has been sent. */
struct user_notice {
    struct user_notice *prev, *next;
    uint64_t at; /* position in the console's ring */
    size_t len;
    char line[];
};

struct attached;

struct user_conn {
    uint64_t id; /* of all users there ever were */
    struct console *console;
    struct user_conn *prev, *next; /* in console->users */
    struct loop_io io;
    struct loop_timer timer;      /* the decision, then idle_timeout */
    struct sock_addr peer;        /* unless attached */
    struct attached *attached;    /* user_control.h: came by the control socket; else NULL */
    struct telnet_stream *telnet; /* in UNDECIDED, SILENT and TELNET */
    uint64_t cursor;              /* position in the console's ring of the next byte to send */
    struct bytes control;         /* replies, and notices whose turn has come: sent before any output */
    struct user_notice *notices;
    unsigned notice_count;
    struct bytes held; /* input that waits for the decision */
    uint64_t skipped;  /* bytes before the cursor that the user is to be told of, before any output */
    uint64_t last_input_ms;
    time_t since; /* when it came */
    uint64_t received_bytes, sent_bytes;
    uint64_t hung_up_ms; /* when it was seen to hang up while not being read, or 0 */
    enum user_state state;
    bool wants_write;    /* access.h: asked to type, not only to watch */
    bool writes;         /* access.h: what it types goes to the VM */
    bool told_read_only; /* since its access last changed, that what it types does not */
    bool spoke;          /* sent anything so far */
    bool after_cr;       /* its last byte was a CR, so an LF or NUL may belong to it */
    bool peer_binary;    /* it agreed to send BINARY */
    bool owes_escape;    /* the second 255 of a pair is to be sent before anything else */
    bool deaf;           /* its socket takes nothing any more; what it typed is still read to the end */
    bool ended;          /* will send no more; what it asked for may still be on its way */
    const char *error;   /* recorded by the parser */
};

/* Takes an accepted socket, for which ADMISSION_USER is taken. */
void user_conn_new(struct console *console, int fd, const struct sock_addr *peer);
/* A user of which only the console, io.fd and attached are set joins the console and its loop. Result: 0, or
 * a negative errno and it is closed. */
int user_conn_start(struct user_conn *user, enum telnet_mode mode);
/* What the user sent; may close it. */
void user_conn_take(struct user_conn *user, const uint8_t *data, size_t len);
/* What other users and the log call it: its address, or what it calls itself and its uid. */
void user_conn_who(const struct user_conn *user, char out[EVENT_WHO]);
/* Closes and frees. */
void user_conn_close(struct user_conn *user);

/* The same, with the reason in the log. */
void user_conn_close_for(struct user_conn *user, const char *why);
/* Reads it or not, as console->users_paused says. */
void user_conn_set_interest(struct user_conn *user);
/* (Re)arms idle_timeout. */
void user_conn_arm_idle(struct user_conn *user);

/* user_output.c: sends what the socket takes. */
void user_output_flush(struct user_conn *user);
/* user_output.c: would n more bytes put the user further behind than `backlog`? Then it skips, or, raw, is
 * closed. */
void user_output_make_room(struct user_conn *user, size_t n);
/* user_output.c: queues one line for a telnet user, behind all output so far; flush sends it. Result: whether
 * the user will see it. */
bool user_output_notice(struct user_conn *user, const char *text);
/* user_output.c: the same ahead of output that has not been sent, for who is about to be closed. */
void user_output_last_word(struct user_conn *user, const char *text);
/* user_output.c: queues an answer, ahead of output that has not been sent; flush sends it. */
void user_output_reply(struct user_conn *user, const void *data, size_t len);
/* user_output.c: whether everything the user may have now has been sent. */
bool user_output_is_up_to_date(const struct user_conn *user);
/* user_output.c: forgets what is queued. */
void user_output_clear(struct user_conn *user);

/* user_input.c: takes what the user sent, by its state. Result: 0, or -EPROTO and user->error. */
int user_input(struct user_conn *user, const uint8_t *data, size_t len);
/* user_input.c: the time to decide has come. */
void user_input_decide(struct user_conn *user);
/* user_input.c: no more will come; what is held back is taken for raw. */
void user_input_end(struct user_conn *user);
/* user_input.c: how a new user's stream begins. */
void user_input_begin(struct user_conn *user, enum telnet_mode mode);

#endif
