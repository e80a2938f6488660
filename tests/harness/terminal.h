/* Terminal: a program on a pty, typed to and read as a person would: the real telnet, or vspc-vm.
 *
 * Functions that do not get what they wait for fail the test. */
#ifndef VSPC_TEST_TERMINAL_H
#define VSPC_TEST_TERMINAL_H

#include "env.h"
#include "vspc/mem.h"

struct terminal {
    pid_t pid; /* 0: has ended */
    int fd;
    struct bytes screen; /* what it printed and was not yet taken */
};

/* Starts a program with its arguments, the last NULL. Result: a terminal, which terminal_close frees. */
struct terminal *terminal_run(char *const argv[]);
/* The telnet program, on a user port of 127.0.0.1. */
struct terminal *terminal_telnet(uint16_t port);
/* Ends the program, if it still runs. */
void terminal_close(struct terminal *t);

/* The program is told that its terminal has this size now. */
void terminal_resize(struct terminal *t, unsigned columns, unsigned lines);
void terminal_type(struct terminal *t, const char *keys);
/* Waits until the text has been printed; takes all up to its end. */
void terminal_wait(struct terminal *t, const char *text, unsigned timeout_ms);
/* The next that it prints must be exactly this; takes it. */
void terminal_expect(struct terminal *t, const char *text, unsigned timeout_ms);
/* Waits until the program ends. Result: its status, as of waitpid. */
int terminal_wait_exit(struct terminal *t, unsigned timeout_ms);

#endif
