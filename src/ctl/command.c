#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/mem.h"

enum { HELP_COLUMN = 25 };

void (*complain_first)(void);

static void complain_list(const char *format, va_list args)
{
    /* What was printed before stands before it, also where both go into one file. */
    fflush(stdout);
    if (complain_first)
        complain_first();
    fputs("vspcctl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain_list(format, args);
    va_end(args);
}

void fail(enum ctl_exit code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain_list(format, args);
    va_end(args);
    exit((int)code);
}

void fail_usage(const struct call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain_list(format, args);
    va_end(args);
    fprintf(stderr, "Try 'vspcctl %s --help'.\n", call->command->name);
    exit(CTL_USAGE);
}

void flush_output(void)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        fail(CTL_FAILED, "the output cannot be written%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
}

/* Prints lines, all but the first indented. */
static void print_lines(const char *text, int column)
{
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        printf("%.*s\n", (int)(end - text), text);
        if (*end)
            printf("%*s", column, "");
    }
}

static void print_option(const struct command_option *option)
{
    char letter[] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int column = printf("  %s--%s%s%s", letter, option->name, option->argument ? " " : "",
                        option->argument ? option->argument : "");
    if (column > HELP_COLUMN - 2) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_COLUMN - column, "");
    print_lines(option->help, HELP_COLUMN);
}

static void print_help(const struct command *command)
{
    printf("Usage: vspcctl %s%s%s%s\n\n%s\n", command->name, command->options->name ? " [options]" : "",
           *command->arguments ? " " : "", command->arguments, command->description);
    puts("Options:");
    for (const struct command_option *option = command->options; option->name; option++)
        print_option(option);
    print_option(&(struct command_option){'h', "help", NULL, "prints this"});
}

/* The command's options as getopt_long wants them, each with its place in the list as its value, which is
 * below any letter. */
static void make_getopt(const struct command *command, char letters[2 * COMMAND_OPTIONS_MAX + 8],
                        struct option names[COMMAND_OPTIONS_MAX + 2])
{
    size_t n = 0, at = 0;
    /* Arguments come in their order, so that the first of a text ends the options. */
    letters[at++] = '-';
    for (; command->options[n].name; n++) {
        const struct command_option *option = &command->options[n];
        int has = option->argument ? required_argument : no_argument;
        names[n] = (struct option){option->name, has, NULL, (int)n + 2};
        if (option->letter)
            letters[at++] = option->letter;
        if (option->letter && option->argument)
            letters[at++] = ':';
    }
    names[n++] = (struct option){"help", no_argument, NULL, 'h'};
    names[n] = (struct option){0};
    letters[at++] = 'h';
    letters[at] = 0;
}

/* Keeps what getopt found for an option. Result: false when it is none of the command's. */
static bool take_option(struct call *call, int found)
{
    const struct command_option *options = call->command->options;
    for (int i = 0; options[i].name; i++) {
        if (found != i + 2 && (!options[i].letter || found != options[i].letter))
            continue;
        call->values[i] = options[i].argument ? optarg : "";
        return true;
    }
    return false;
}

static void check_count(const struct call *call)
{
    const struct command *command = call->command;
    if (call->count < command->least)
        fail_usage(call, "%s needs %s", command->name, command->arguments);
    if (call->count > command->most)
        fail_usage(call, *command->arguments ? "%s takes %s, and no more" : "%s takes no arguments%s",
                   command->name, command->arguments);
}

void call_parse(struct call *call, const struct command *command, int argc, char **argv)
{
    char letters[2 * COMMAND_OPTIONS_MAX + 8];
    struct option names[COMMAND_OPTIONS_MAX + 2];
    int found = 0;
    call->command = command;
    call->args = xcalloc((size_t)argc + 1, sizeof *call->args);
    make_getopt(command, letters, names);
    /* Whom getopt's complaints name. */
    argv[0] = xasprintf("vspcctl %s", command->name);
    optind = 0;
    while (!(command->text_at && call->count > command->text_at) &&
           (found = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        if (found == 1) {
            call->args[call->count++] = optarg;
        } else if (found == 'h') {
            print_help(command);
            flush_output();
            exit(CTL_OK);
        } else if (!take_option(call, found)) {
            fprintf(stderr, "Try 'vspcctl %s --help'.\n", command->name);
            exit(CTL_USAGE);
        }
    }
    while (optind < argc)
        call->args[call->count++] = argv[optind++];
    check_count(call);
}

const char *call_option(const struct call *call, const char *name)
{
    const struct command_option *options = call->command->options;
    for (int i = 0; options[i].name; i++)
        if (strcmp(options[i].name, name) == 0)
            return call->values[i];
    /* A command asked for an option that it does not declare. */
    abort();
}

long call_number(const struct call *call, const char *name, long least, long most, long otherwise)
{
    char *end;
    const char *text = call_option(call, name);
    if (!text)
        return otherwise;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || end == text || *end || number < least || number > most)
        fail_usage(call, "--%s wants a number from %ld to %ld", name, least, most);
    return number;
}

char *call_text(const struct call *call, unsigned from)
{
    size_t len = 0;
    for (unsigned i = from; i < call->count; i++)
        len += strlen(call->args[i]) + 1;
    char *text = xmalloc(len + 1), *at = text;
    for (unsigned i = from; i < call->count; i++) {
        if (i > from)
            *at++ = ' ';
        at = stpcpy(at, call->args[i]);
    }
    *at = 0;
    return text;
}
