/* Console owner: all that one worker's thread owns: VM connections, consoles, user listeners, users.
 *
 * Every function is called in the thread of owner->loop, except where it says "letter": such a function is
 * posted to that loop with its argument. */
#ifndef VSPC_CONSOLE_OWNER_H
#define VSPC_CONSOLE_OWNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vspc/admission.h"
#include "vspc/config.h"
#include "vspc/console_log.h"
#include "vspc/directory.h"
#include "vspc/event.h"
#include "vspc/figures.h"
#include "vspc/log.h"
#include "vspc/loop.h"
#include "vspc/mapping.h"
#include "vspc/peer_rate.h"
#include "vspc/port_pool.h"

enum { READ_SIZE = 65536 }; /* bytes read from a VM at once */

/* What all workers share, each behind its own interface. */
struct console_shared {
    struct directory *directory;
    struct port_pool *ports;
    struct admission admission;
    struct peer_rate refusals;        /* WONT-PROXY lines */
    struct log_second vm_refusals;    /* for want of ports or descriptors, or by an allow list */
    struct log_second user_refusals;  /* likewise */
    atomic_uint_fast64_t attachments; /* VM connections that were given their console so far */
    struct redis_writer *mapping;
    atomic_uint_fast64_t users; /* that have come so far, who are numbered by it */
    struct console_logs *logs;  /* NULL: none */
    struct event_sink events;
    struct figures acceptor_figures; /* the acceptor's */
    atomic_bool draining;            /* new VMs are refused, migrations answered with NOTNOW */
};

struct console_owner {
    unsigned worker; /* its number, for log lines */
    struct loop *loop;
    struct config *config; /* the current one; a reference */
    struct console_shared *shared;
    struct console *consoles;         /* all of them */
    struct vm_handshake *handshaking; /* of VM connections without a console */
    struct figures figures;
    struct console_log_writer *log_writer;
    bool closing;             /* shutting down: what arrives is closed */
    struct log_rate failures; /* VM connections that broke the protocol or never spoke */
    struct log_rate takeovers;
    struct log_rate renames;
    struct log_rate migrations;
    struct log_rate ignored;   /* what a host says about a migration and has no effect */
    struct log_rate vms;       /* that come and go, and consoles that end */
    struct log_rate users;     /* who come and go, and their access */
    uint8_t buffer[READ_SIZE]; /* what one readiness event reads */
};

/* A VM socket that the acceptor deals to a worker, in a list of those of one turn. */
struct vm_arrival {
    struct vm_arrival *next;
    struct console_owner *owner; /* set in the first of the list */
    int fd;                      /* ADMISSION_VM descriptors are taken for it */
    struct sock_addr peer;       /* host it came from */
    uint64_t number;             /* counts the acceptor's connections */
};

/* Before the thread runs; takes its own reference to config. */
void console_owner_init(struct console_owner *owner, unsigned worker, struct loop *loop,
                        struct config *config, struct console_shared *shared);
/* After the thread has ended and console_owner_close was called. */
void console_owner_destroy(struct console_owner *owner);

/* Letter: takes a list of arrivals, which is freed. */
void console_owner_arrivals(void *arg);

/* Any thread: asks the owner of an entry from directory_pick_lingering to end that console. */
void console_owner_give_way(struct directory_entry *entry);

/* Goes on with another configuration, whose reference passes to the owner. Lengths of time apply to what is
 * already there too. */
void console_owner_reload(struct console_owner *owner, struct config *config);

/* One line to every telnet and control user of every console; text is printable. */
void console_owner_notice(struct console_owner *owner, const char *text);

/* Shutdown: tells the users, closes everything, posts the removals; from now on arrivals are closed. */
void console_owner_close(struct console_owner *owner);

#endif
