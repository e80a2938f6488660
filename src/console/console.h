/* Console: what lives on while VM connections come and go: identity, user port, scrollback, users.
 *
 * Belongs to one console_owner from console_new to console_end, and never changes threads.
 *
 *      console_new --> OPENING --(user port open)--> CONNECTED <--(a VM attaches)-- LINGERING
 *                         |                              |                            ^  |
 *                         |                              +------(the VM is lost)------+  |
 *                         +--(no port within 1 s)----------> ENDED <---------------------+
 *                                    (linger over, asked to give way, shutdown)
 *
 * Between console_new and its first CONNECTED nobody but its VM connection knows of it.
 * While a migration is pending (migration.h) the console is CONNECTED, also where its VM connection is gone.
 */
#ifndef VSPC_CONSOLE_H
#define VSPC_CONSOLE_H

#include "ring.h"
#include "vspc/console_owner.h"
#include "vspc/mem.h"

enum console_state { CONSOLE_OPENING, CONSOLE_CONNECTED, CONSOLE_LINGERING, CONSOLE_ENDED };

/* Input towards the VM: users are not read while this much (escaped) waits, until it is half of that. */
enum { INPUT_HIGH = 16384, INPUT_LOW = INPUT_HIGH / 2 };
/* What those add who have just come, before they can be made to wait, is bounded too: what exceeds this is
 * dropped. */
enum { INPUT_MAX = 1048576 };

struct vm_conn;
struct user_conn;
struct migration;

struct console {
    struct console_owner *owner;
    struct directory_entry *entry;
    struct console *prev, *next; /* in owner->consoles */
    enum console_state state;
    uint16_t port;               /* user port, 0 while OPENING */
    struct loop_io listener;     /* on that port */
    struct loop_timer timer;     /* OPENING: next try; LINGERING: the end */
    struct loop_timer rest;      /* of a listener that found no descriptor */
    struct vm_conn *vm;          /* set in OPENING, and in CONNECTED except between two hosts */
    struct migration *migration; /* one that is pending, or NULL; only in CONNECTED */
    uint64_t number;             /* of the newest VM connection that was attached */
    uint64_t attachment;         /* which one of all consoles' that was: the number of its mapping updates */
    char *name;                  /* of the last VM connection, its UUID when empty; owned */
    uint8_t name_len;
    uint8_t label_len; /* the label is the end of entry->identity */
    uint8_t open_tries;
    bool users_paused;       /* the VM does not read, so the users are not read */
    bool input_mid_escape;   /* the VM has the first byte of an escape, input starts with the second */
    struct bytes input;      /* what users typed and the VM has not taken, escaped as it goes out */
    struct console_log *log; /* NULL: none is kept */
    struct ring ring;
    size_t keep; /* how much ring_append must keep; set by console_make_room */
    struct user_conn *users;
    unsigned user_count;
    struct user_conn *holder; /* access.h: who has exclusive access, or NULL */
    bool holder_excludes;     /* and nobody new may attach */
    time_t since;             /* when it was last connected, disconnected, or a migration began or ended */
    uint64_t bytes_from_vm;   /* serial data */
    uint64_t bytes_to_vm;     /* input as it was sent */
    unsigned takeovers;       /* in the 10 s that began at takeovers_since_ms */
    uint64_t takeovers_since_ms;
    uint64_t refuse_until_ms; /* too many takeovers: newcomers are refused until then */
    uint64_t lingering_since_ms;
};

/* A console without VM and user port for a directory entry that is the owner's. */
struct console *console_new(struct console_owner *owner, struct directory_entry *entry);

/* Makes conn the console's VM connection, or closes it: when it is older than the current one, when the
 * identity is taken over too often, when there is no user port. Result: whether conn is attached. */
bool console_attach(struct console *console, struct vm_conn *conn);
/* The VM connection is gone, or about to be closed by the caller. May end the console. */
void console_vm_lost(struct console *console);
/* The VM is gone, and no migration is pending any more. May end the console. */
void console_disconnected(struct console *console);
/* What was typed and not sent goes to another VM connection: whole, as half an escape is no use to it. */
void console_keep_whole_input(struct console *console);
/* The VM may have another name. */
void console_renamed(struct console *console);

/* Ends the console: users, listener, mapping, port and directory entry. Does not touch a VM connection: the
 * caller closes that. */
void console_end(struct console *console);
/* Letter: a struct directory_entry, pinned, whose console should end if it still lingers. */
void console_give_way(void *arg);

/* The console's label, or "". */
const char *console_label(const struct console *console);
/* The VM's UUID. Result: whether it has one. */
bool console_uuid(const struct console *console, uint8_t uuid[UUID_SIZE]);

/* console_port.c: listens on the port that is the VM's, or a free one; ports that something else holds are
 * passed over. Result: 0, or a negative errno, -EAGAIN when no port is free. */
int console_port_open(struct console *console);
/* console_port.c: closes it, if it is open; the port is free again. */
void console_port_close(struct console *console);
/* console_port.c: tells the port pool, and through it the port book, that the VM is connected, and its name.
 */
void console_port_connected(const struct console *console);
/* console_port.c: a line in the log about a user or VM that cannot be served, at most once a second. */
void console_log_refusal(struct console_owner *owner, struct log_second *second, const char *what,
                         const struct sock_addr *peer);

/* Whether users have a VM to talk to, be it between two hosts. */
static inline bool console_has_vm(const struct console *console)
{
    return console->vm || console->migration;
}

/* Up to n bytes of output are about to come: users who would be further behind than `backlog` skip or go. */
void console_make_room(struct console *console, size_t n);
/* The VM printed: records, within what console_make_room announced. */
void console_output(struct console *console, const uint8_t *data, size_t len);
/* Sends users what was recorded. */
void console_flush_users(struct console *console);

/* A user typed: queues for the VM; without a VM it is dropped. console_flush_input sends. */
void console_input(struct console *console, const uint8_t *data, size_t len);
void console_input_break(struct console *console);
void console_flush_input(struct console *console);
/* The VM took input: lets users type again when there is room. */
void console_input_taken(struct console *console);

/* The position where a new user starts: at most `scrollback` bytes back. */
uint64_t console_replay_from(const struct console *console);
/* A user came or went. */
void console_user_joined(struct console *console, struct user_conn *user);
void console_user_left(struct console *console, struct user_conn *user);

/* One line to every telnet and control user; text is printable. Result: how many will see it. */
unsigned console_notice(struct console *console, const char *text);

/* Applies the owner's new configuration to what runs. */
void console_reload(struct console *console);

#endif
