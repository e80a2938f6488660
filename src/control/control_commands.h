/* Control commands: the table of all that can be asked. Main's. */
#ifndef VSPC_CONTROL_COMMANDS_H
#define VSPC_CONTROL_COMMANDS_H

#include "control/control_request.h"
#include "vspc/console_query.h"

enum { COMMAND_FIELDS = 6 };

struct control_command {
    const char *name;
    void (*run)(struct control_request *request);
    const char *fields[COMMAND_FIELDS]; /* that it knows, beside v, command and id; NULL: no more */
    unsigned required;                  /* so many of them, from the first on, must be there */
    enum console_order_type order;      /* of a command to one console */
    bool changes;                       /* something, and is logged */
};

/* Result: NULL when there is no such command. */
const struct control_command *control_command_find(const char *name);
/* Checks the request's members against the table. Result: NULL, or what is wrong, in fresh memory. */
char *control_command_check(const struct control_command *command, const json_t *body);

/* control_console.c: finds the console that the request names, and gives its owner the command's order. */
void control_console_run(struct control_request *request);

#endif
