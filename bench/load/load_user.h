/* Load user: one user of a load: attached to a VM's user port with telnet, reads what the VM prints and
 * checks it, and types a stream of his own. All belongs to its thread.
 *
 *      DOWN --(load_user_attach)--> ARRIVING --(the VM's line)--> ATTACHED --(load_user_leave)--> DOWN
 *      any --(anything else)--> LOST
 *
 * While ARRIVING, once he has answered the offer of telnet, he types ENQ every half second, which his VM
 * answers with a load_line: what comes behind the first of this run and of the VM's present connection is its
 * stream from the offset that the line names, and the server lets him type to it. What came before is of
 * earlier runs, or was cut by a VM that hung up. */
#ifndef VSPC_BENCH_LOAD_USER_H
#define VSPC_BENCH_LOAD_USER_H

#include "crew.h"
#include "stream.h"
#include "vspc/mem.h"

enum { USER_LINE_MAX = 300 };

enum load_user_state { LOAD_USER_DOWN, LOAD_USER_ARRIVING, LOAD_USER_ATTACHED, LOAD_USER_LOST };

/* When chunks of a stream were due; written before the job that reads it, but for `count`. */
struct delivery_marks {
    struct {
        uint64_t end, due_ns;
    } * marks;
    _Atomic size_t count; /* those that have been printed */
    size_t cap;
};

struct load_user {
    struct load_thread *thread;
    struct load_vm *vm; /* whose console it is to be; NULL: he is to find out whose */
    uint32_t found;     /* whose it is, when vm is NULL and he is ATTACHED */
    uint32_t number;
    uint16_t port;
    uint8_t state;  /* enum load_user_state */
    uint8_t parser; /* of telnet */
    uint8_t verb;
    bool in_line;      /* between a CR and the end of its line */
    uint8_t asks;      /* RAW_ASKS: he has asked for the line; fewer: how often it was too early */
    uint8_t told[4];   /* WILL, WONT, DO, DONT: options that were answered */
    uint16_t line_len; /* of line */
    char line[USER_LINE_MAX];
    struct pace_io io;
    struct load_user *next_arriving, *prev_arriving;
    struct stream keys; /* what he types */
    uint64_t typed, echoed;
    uint64_t first_due_ns,
        interval_ns; /* key i was due at first_due_ns + i * interval_ns; interval 0: the only one */
    struct bytes out;
    struct stream_check seen;
    const struct delivery_marks *marks; /* NULL: deliveries are not timed */
    size_t next_mark;
    uint64_t chat_end, chat_due_ns; /* soak: what he waits for; 0: nothing */
    bool ping_pong;                 /* types the next key when the echo of the last has come */
};

/* Prepares a thread for users. */
void load_users_init(struct load_thread *thread);
/* A user who is down. vm NULL: he only finds out whose console a port is. */
void load_user_init(struct load_user *user, struct load_thread *thread, uint32_t number, struct load_vm *vm);
void load_user_free(struct load_user *user);

/* Connects to the port, and waits for the VM's line. */
void load_user_attach(struct load_user *user, uint16_t port);
/* Hangs up. In ARRIVING or ATTACHED, or LOST, where it does nothing. */
void load_user_leave(struct load_user *user);
/* Stays, but waits for his VM's line again: it has gone, and what he types meanwhile is lost. In ATTACHED. */
void load_user_wait(struct load_user *user);
/* Notes what became of his streams. In ATTACHED. */
void load_user_account(struct load_user *user);
/* Types the next len bytes of his stream. In ATTACHED. */
void load_user_type(struct load_user *user, size_t len);

/* Whether all that his VM has printed and all that he typed has arrived; only where the VM is the same
 * thread's, or does nothing at the moment. */
bool load_user_is_quiet(const struct load_user *user);

#endif
