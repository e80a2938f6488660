/* Model: what consoles, their VMs and their users must do, as the protocol has it, beside a vspcd that does
 * it.
 *
 * A model has a few consoles. model_event.h changes the model and does the same to vspcd; model_settle waits
 * until all that must come has come everywhere, and finds whatever else came. Each event is noted in words in
 * a file that is shown when the test fails. Test's first thread. */
#ifndef VSPC_TEST_MODEL_H
#define VSPC_TEST_MODEL_H

#include <stdio.h>

#include "model_peer.h"
#include "redis.h"

enum { MODEL_CONSOLES = 3, MODEL_USERS = 3, MODEL_STRANGERS = 2, MODEL_DEAD = 16, MODEL_SCROLLBACK = 4096 };

/* In a migration: whether the source waits, runs on, or is gone. */
enum model_phase { MODEL_NO_MIGRATION, MODEL_FROZEN, MODEL_RESUMED, MODEL_ORPHANED };

struct model_console {
    unsigned index;
    const char *label; /* or NULL */
    uint8_t uuid[UUID_SIZE];
    char name[64]; /* as users and Redis see it */
    bool exists;
    uint16_t port;
    struct model_conn *current, *destination, *strangers;
    struct model_user *users;
    enum model_phase phase;
    struct vm_migration cookie;
    struct bytes kept;   /* input that waits for whoever wins */
    struct bytes output; /* since the console exists */
    unsigned number;     /* of the newest connection that it had */
    unsigned takeovers;  /* from connections that were open */
    uint64_t takeover_ms, refusal_ms;
    bool recount; /* a user has gone without a word */
    bool swamped; /* so much input waits that users may not be read */
};

struct model {
    struct daemon *daemon;
    struct redis *redis;
    struct model_console consoles[MODEL_CONSOLES];
    struct model_conn *doomed; /* refused, some of sequences before */
    struct vm_migration dead[MODEL_DEAD];
    unsigned dead_count;
    uint64_t seed, random; /* of this sequence */
    unsigned sequence, step, chunk;
    char *path; /* of the history */
    FILE *history;
};

/* A model with a vspcd (program: VSPCD) and a redis-server of its own. */
struct model *model_new(const char *program);
/* Everything must be gone from vspcd, and it must end. Frees. */
void model_free(struct model *m);
/* Begins and ends a sequence; in between, vspcd knows nothing of VMs. */
void model_begin(struct model *m, uint64_t seed);
void model_end(struct model *m);

/* 0 to n - 1. */
unsigned model_random(struct model *m, unsigned n);
/* Notes what happens, about a console or NULL. */
void model_note(struct model *m, const struct model_console *c, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Some bytes of all values that were not there before. Result: their number. */
enum { MODEL_CHUNK_MAX = 320 };
size_t model_chunk(struct model *m, uint8_t out[MODEL_CHUNK_MAX]);

/* Users see output, or a notice. */
void model_output(struct model_console *c, const void *data, size_t len);
void model_notice(struct model_console *c, const char *text);
/* Input in the form of the wire: to the VM, kept, or dropped. */
void model_input(struct model_console *c, const struct bytes *input);
/* Kept input and answers go to a connection, which runs. */
void model_release(struct model_console *c, struct model_conn *conn);
/* The migration has ended: its cookie is dead, its destination goes. */
void model_forget(struct model *m, struct model_console *c);
/* A connection that is the console's no longer: it is to be closed. */
void model_retire(struct model_console *c, struct model_conn *conn);
/* The VM is gone for good. */
void model_disconnected(struct model_console *c);
/* The console has this connection now. */
void model_attached(struct model_console *c, struct model_conn *conn);

/* Waits until all has come that must, makes sure that vspcd has seen all, and that nothing else came. */
void model_settle(struct model *m);
/* The first half alone: what must come has come. */
void model_wait(struct model *m);
/* vspcd stands still, and finds all that happens until it goes on at once. */
void model_stop(struct model *m);
void model_go_on(struct model *m);
/* Redis has exactly what it should. */
void model_check_mapping(struct model *m);
/* Lengths of time, of migrations and of consoles without a VM: very short, or never in this test. */
void model_set_times(struct model *m, bool short_migration, bool short_linger);

#endif
