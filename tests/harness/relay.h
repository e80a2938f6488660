/* Relay: a minimal concentrator that does harm, for tests of programs which must notice.
 *
 * It answers VMs with what it has learnt by heart, opens a user port for each, in the order in which they
 * tell their names, and relays bytes unparsed both ways. It works in a thread of its own, between relay_start
 * and relay_stop, which the test's first thread calls. A queue that grows too long stops the reading of what
 * fills it. */
#ifndef VSPC_TEST_RELAY_H
#define VSPC_TEST_RELAY_H

#include "env.h"

enum relay_harm {
    RELAY_NO_HARM,
    RELAY_DROP,    /* a byte */
    RELAY_SKIP,    /* a byte, with a notice to the users in its place: no harm, but for who does not count */
    RELAY_DOUBLE,  /* a byte */
    RELAY_SWAP,    /* a byte and the next other one */
    RELAY_CORRUPT, /* a byte becomes another */
    RELAY_CLOSE    /* the VM's connection */
};

enum relay_way { RELAY_TO_USERS, RELAY_TO_VM };

/* What a relay does. Harm befalls bytes from '0' to 'o' alone, and none in telnet or in a line that begins
 * with a CR. */
struct relay_plan {
    unsigned consoles; /* VMs at most */
    enum relay_harm harm;
    enum relay_way way;
    uint64_t after;       /* so many such bytes of a console, in that way */
    uint64_t every;       /* so many more, each time; 0: harm is done once in all */
    unsigned ignored_vms; /* the first so many VMs are greeted and never answered */
    bool mute;            /* nothing is sent to users */
};

struct relay;

/* Starts one on free ports. Result: a relay, which relay_stop ends and frees. */
struct relay *relay_start(const struct relay_plan *plan);
void relay_stop(struct relay *relay);

/* Where VMs connect; the user port of the first. */
uint16_t relay_vm_port(const struct relay *relay);
uint16_t relay_first_user_port(const struct relay *relay);
/* How often it has done harm. */
unsigned relay_harmed(const struct relay *relay);

#endif
