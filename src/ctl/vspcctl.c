/* vspcctl: the operator's tool; its own options, and the table of commands. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "display.h"

#define DEFAULT_SOCKET "/run/vspc/control.sock"

static const struct command *const commands[] = {
    &list_command,   &show_command,    &port_command,      &users_command,  &events_command,
    &attach_command, &send_command,    &broadcast_command, &kick_command,   &disconnect_command,
    &log_command,    &stats_command,   &top_command,       &reload_command, &reopen_command,
    &drain_command,  &version_command,
};

enum { COMMANDS = sizeof commands / sizeof(struct command *) };

static void print_help(void)
{
    puts("Usage: vspcctl [-s SOCKET] COMMAND [ARGUMENTS]\n"
         "\n"
         "Sees and steers vspcd, and attaches to consoles. Commands:");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-11s %s\n", commands[i]->name, commands[i]->summary);
    puts("  -s, --socket SOCKET  vspcd's socket (VSPC_SOCKET, " DEFAULT_SOCKET ")\n"
         "  -V, --version        prints vspcctl's version\n"
         "  -h, --help           prints this; 'vspcctl COMMAND --help' tells more");
}

/* Reads what stands before the command. Result: the socket's path; argv[optind] is the command. */
static const char *parse_options(int argc, char **argv)
{
    static const struct option options[] = {{"socket", required_argument, NULL, 's'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *given = getenv("VSPC_SOCKET");
    const char *path = given && *given ? given : DEFAULT_SOCKET;
    int option;
    argv[0] = "vspcctl";
    while ((option = getopt_long(argc, argv, "+s:Vh", options, NULL)) != -1) {
        switch (option) {
        case 's':
            path = optarg;
            break;
        case 'V':
            puts("vspcctl " VSPC_VERSION);
            flush_output();
            exit(CTL_OK);
        case 'h':
            print_help();
            flush_output();
            exit(CTL_OK);
        default:
            fputs("Try 'vspcctl --help'.\n", stderr);
            exit(CTL_USAGE);
        }
    }
    return path;
}

int main(int argc, char **argv)
{
    display_init();
    struct call call = {.socket = parse_options(argc, argv)};
    if (optind == argc)
        fail(CTL_USAGE, "which command? 'vspcctl --help' lists them");
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[optind], commands[i]->name) != 0)
            continue;
        call_parse(&call, commands[i], argc - optind, argv + optind);
        int code = commands[i]->run(&call);
        free(call.args);
        flush_output();
        return code;
    }
    char *name = shown(argv[optind], strlen(argv[optind]));
    fail(CTL_USAGE, "there is no command '%s'; 'vspcctl --help' lists them", name);
}
