/* Play: four users of one console, told by a script what to do, and held to what each of them then sees.
 *
 * ann and bob use vspcctl attach on terminals, teo the telnet program on one, and raw a plain socket. After
 * each step everybody must have seen exactly what it says, and the VM have been typed exactly that, and
 * nothing else. */
#ifndef VSPC_TEST_PLAY_H
#define VSPC_TEST_PLAY_H

#include "control.h"
#include "terminal.h"
#include "user.h"
#include "vm.h"

enum play_actor { ANN, BOB, TEO, RAW, PLAY_USERS, VM = PLAY_USERS, OPERATOR };

struct play_person {
    struct terminal *t; /* RAW: none */
    bool is_here;
    long long id;
    char *who; /* as the list of users has it */
};

struct play {
    struct daemon *d;
    struct control_link *link;
    struct vm_client_options opt;
    struct vm_link *vm, *source; /* source: of a migration that has begun */
    struct user *raw;
    struct play_person people[PLAY_USERS];
    uint16_t port;
    unsigned breaks;
    int exit_code; /* of the vspcctl or telnet that ended last */
};

/* Everybody who is here sees first `told`, which is for all but who acts and raw, then `all`, then what is
 * for them alone. In all these, and in what the operator runs, {ann} and so on stand for what that user is
 * called, {=ann} for the same in the list of users, {#ann} for the number there, {uid}, {uuid} and {port} for
 * what they say. */
struct play_step {
    void (*act)(struct play *play, enum play_actor who, const char *text);
    enum play_actor who;
    const char *text;
    const char *told, *all;
    union {
        const char *sees[PLAY_USERS];
        struct {
            const char *ann, *bob, *teo, *raw;
        };
    };
    const char *vm;  /* what it is typed */
    unsigned breaks; /* and how many BREAKs it gets */
    int exit_code;   /* of the vspcctl or telnet that ends */
};

/* A daemon that runs, and a VM web-1; nobody is there. */
struct play play_new(struct daemon *d);
/* Plays the steps. Then the VM says good-bye, and whoever has seen, or been typed, anything more than the
 * steps say fails the test. Frees what the play holds. */
void play_run(struct play *play, const struct play_step *steps, size_t n);

/* What people do: text is what is typed, or an option of attach. */
void types(struct play *play, enum play_actor who, const char *text);
void joins(struct play *play, enum play_actor who, const char *text);
void is_refused(struct play *play, enum play_actor who, const char *text); /* by attach */
void leaves(struct play *play, enum play_actor who, const char *text);     /* by the key */
void ends(struct play *play, enum play_actor who, const char *text);       /* by itself */
void is_killed(struct play *play, enum play_actor who, const char *text);
/* The operator runs vspcctl with the words of the text; or writes it as the configuration, and reloads. */
void runs(struct play *play, enum play_actor who, const char *text);
void reloads(struct play *play, enum play_actor who, const char *text);
/* What the VM does. It departs to another host, and arrives there. */
void prints(struct play *play, enum play_actor who, const char *text);
void disconnects(struct play *play, enum play_actor who, const char *text);
void connects(struct play *play, enum play_actor who, const char *text);
void departs(struct play *play, enum play_actor who, const char *text);
void arrives(struct play *play, enum play_actor who, const char *text);

#endif
