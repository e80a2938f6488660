/* Console query: what the control socket asks of the workers' consoles.
 *
 * Everything here is a letter and its answer. A caller makes a query with the function of its kind, which
 * posts it to the owner's loop; the answer comes as query->done(query) in reply_to, exactly once, also while
 * shutting down, and the query is then the caller's to free with the function of its kind. */
#ifndef VSPC_CONSOLE_QUERY_H
#define VSPC_CONSOLE_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "vspc/console_owner.h"
#include "vspc/event.h"
#include "vspc/mem.h"

enum { CONSOLE_NAME_MAX = 255, QUERY_MATCHES = 20, QUERY_WHO_MAX = 64 };

/* What a console's list row says. Text is as the VM sent it. */
struct console_row {
    char name[CONSOLE_NAME_MAX];
    uint8_t name_len;
    bool has_uuid;
    uint8_t uuid[UUID_SIZE];
    char label[LABEL_MAX + 1];
    const char *state; /* "connected", "migrating", "disconnected"; constant text */
    uint16_t port;
    unsigned users;
    time_t since; /* when it came into this state */
    uint64_t bytes_from_vm, bytes_to_vm;
};

/* The head of every query. */
struct console_query {
    struct loop *reply_to;
    void (*done)(struct console_query *query);
    void *arg; /* the caller's */
};

/* --- All consoles of one owner. --- */

struct console_list {
    struct console_query query;
    struct console_owner *owner;
    struct console_row *rows; /* the answer; those that have a user port */
    size_t len;
    size_t cap; /* rows there is memory for */
};

/* query: the caller's three fields. Frees nothing of it. */
void console_list_ask(struct console_owner *owner, const struct console_query *query);
void console_list_free(struct console_list *list);

/* --- The consoles of one owner that a person means. --- */

/* How well a console matches. A name comes before a UUID, whose beginning may look like a word. */
enum console_rank { MATCH_NONE, MATCH_UUID_BEGINNING, MATCH_NAME_BEGINNING, MATCH_WHOLE };

struct console_match {
    struct directory_entry *entry; /* pinned, until an order brings it back or console_unpin */
    struct console_row row;
};

struct console_find {
    struct console_query query;
    struct console_owner *owner;
    size_t text_len;
    char text[CONSOLE_NAME_MAX + 1 + LABEL_MAX + 1]; /* what the person gave */
    /* The answer: those that match best. */
    enum console_rank rank;
    struct console_match matches[QUERY_MATCHES];
    unsigned len;
    unsigned count; /* how many there are, also beyond QUERY_MATCHES */
};

/* text: a name or a UUID, with `.label` behind it where the console has a label, or the beginning of either;
 * at most sizeof find.text bytes, longer ones and "" match nothing. A UUID is as good in any case, with or
 * without dashes, spaces and braces. */
void console_find_ask(struct console_owner *owner, const char *text, size_t len,
                      const struct console_query *query);
/* Unpins what is still pinned (entry not NULL). */
void console_find_free(struct console_find *find);

/* --- One order to one console. --- */

enum console_order_type {
    ORDER_SHOW,
    ORDER_USERS,
    ORDER_SEND,
    ORDER_NOTICE,
    ORDER_KICK,
    ORDER_DISCONNECT,
    ORDER_ATTACH,
};

/* What a user asks for. */
enum console_access {
    ACCESS_RW,              /* types, together with others */
    ACCESS_RO,              /* watches */
    ACCESS_EXCLUSIVE_WRITE, /* nobody else may type */
    ACCESS_EXCLUSIVE,       /* the same, and nobody new may attach */
    ACCESS_FALLBACK,        /* as RW, and content to watch while somebody has exclusive access */
};
/* "rw", "ro", "exclusive-write", "exclusive", "fallback". */
const char *console_access_name(enum console_access access);
/* Result: false when it is no such name. */
bool console_access_parse(const char *name, enum console_access *access);

/* Who is at the other end of the control socket. */
struct control_peer {
    uid_t uid;
    pid_t pid;
    char as[QUERY_WHO_MAX + 1]; /* what it calls itself, printable; "": nothing */
};

struct user_row {
    uint64_t id;
    const char *kind; /* "telnet", "raw", "undecided", "control"; constant text */
    char who[EVENT_WHO];
    enum console_access access;
    bool writes;
    time_t since;
    uint64_t bytes_to_user, bytes_from_user, behind;
};

struct console_order {
    struct console_query query;
    struct directory_entry *entry; /* pinned by the caller; unpinned by the owner */
    enum console_order_type type;
    /* What it needs. */
    /* SEND: typed; NOTICE: printable, NUL-terminated, cut to 1 KiB; ATTACH: read, but not yet taken. */
    struct bytes text;
    char *answer;  /* ATTACH: the line the client gets in front of its stream, owned; NULL: the shortest */
    int fd;        /* ATTACH: the connection, non-blocking; -1 when the owner has kept it */
    bool is_break; /* SEND: a BREAK first */
    bool force;    /* SEND, ATTACH */
    uint64_t user; /* KICK */
    enum console_access access;
    struct control_peer peer;
    /* The answer: 0; -ENOENT, the console has ended; -EBUSY, holder has it; -ENOTCONN, there is no VM;
     * -EAGAIN, the VM does not read what is typed; -ESRCH, no such user; -EMFILE, no descriptor is left. */
    int result;
    char holder[EVENT_WHO]; /* who has exclusive access, "": nobody */
    unsigned reached;       /* NOTICE: users that see it */
    struct console_row row; /* of every order with result 0 */
    /* SHOW, ATTACH */
    char identity[4 * (CONSOLE_NAME_MAX + LABEL_MAX) + 16]; /* printable */
    unsigned worker;
    char peer_text[SOCK_TEXT]; /* where the VM's host connects from, or "" */
    size_t scrollback;
    char *log; /* path, or NULL */
    /* USERS */
    struct user_row *users;
    size_t user_count;
};

/* What other users and the log call it. */
void control_peer_who(const struct control_peer *peer, char out[EVENT_WHO]);

/* An order of this kind, for the caller to fill in and post. */
struct console_order *console_order_new(enum console_order_type type, struct directory_entry *entry,
                                        const struct console_query *query);
void console_order_post(struct console_order *order);
/* Frees what it holds; closes fd unless that is -1. */
void console_order_free(struct console_order *order);

/* Gives back a pin without an order. */
void console_unpin(struct directory_entry *entry);

#endif
