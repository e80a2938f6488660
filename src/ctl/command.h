/* Command: what vspcctl can do, and one call of it.
 *
 * Each command is a constant struct in a file of its own kind; vspcctl.c holds the table of them, which
 * drives dispatch, help and, through help, completion. A function that cannot do its work says why on
 * standard error and ends the program with the exit code for it; vspcctl is one thread. */
#ifndef VSPC_CTL_COMMAND_H
#define VSPC_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/* What vspcctl exits with. */
enum ctl_exit {
    CTL_OK,
    CTL_FAILED,
    CTL_USAGE,
    CTL_NO_CONSOLE, /* also: several consoles could be meant */
    CTL_REFUSED,    /* somebody else holds it */
    CTL_NO_SERVER
};

enum { COMMAND_OPTIONS_MAX = 12, COMMAND_ANY = 1000000 };

struct command_option {
    char letter;          /* 0: none */
    const char *name;     /* NULL ends the list */
    const char *argument; /* NULL: takes none */
    const char *help;     /* lines */
};

struct call;

struct command {
    const char *name;
    const char *arguments;   /* as in the usage line, "" for none */
    const char *summary;     /* a line for the list of commands */
    const char *description; /* lines for the command's own help */
    const struct command_option *options;
    unsigned least, most; /* how many arguments */
    unsigned text_at; /* what follows this many arguments is text, also where it begins with a dash; 0: none
                       */
    int (*run)(const struct call *call); /* result: what to exit with */
};

struct call {
    const struct command *command;
    const char *socket; /* path */
    char **args;
    unsigned count;
    const char *values[COMMAND_OPTIONS_MAX]; /* of the options: NULL, or what was given, "" for one alone */
};

extern const struct command attach_command, broadcast_command, disconnect_command, drain_command,
    events_command, kick_command, list_command, log_command, port_command, reload_command, reopen_command,
    send_command, show_command, stats_command, top_command, users_command, version_command;

/* Reads a command's own arguments, from argv[0], its name, on. Help is printed and exits 0, what is wrong
 * exits 2. args is argv, reordered. */
void call_parse(struct call *call, const struct command *command, int argc, char **argv);

/* What was given for an option: NULL: nothing. */
const char *call_option(const struct call *call, const char *name);
/* A number given for an option, between least and most (exits 2 when it is not), or otherwise. */
long call_number(const struct call *call, const char *name, long least, long most, long otherwise);
/* The arguments from this one on, with a space between them; the caller frees. */
char *call_text(const struct call *call, unsigned from);

/* Makes all that was printed be seen; exits when it cannot be written. */
void flush_output(void);

/* What puts the terminal right, so that a complaint can be read there; NULL: nothing needs to. */
extern void (*complain_first)(void);

/* Says what is wrong, as a sentence on standard error behind the program's name. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and exits. */
void fail(enum ctl_exit code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
/* The same with 2 and where to find help. */
void fail_usage(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#endif
