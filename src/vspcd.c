/* vspcd: the daemon's command line. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vspc/import.h"
#include "vspc/mem.h"
#include "vspc/server.h"

#define DEFAULT_FILE "/etc/vspc/vspc.ini"

static const char usage[] =
    "usage: vspcd [-c FILE] [-o SECTION.KEY=VALUE]... [-t]\n"
    "       vspcd [-c FILE] [-o SECTION.KEY=VALUE]... --import-node-vspc [PREFIX]\n"
    "       vspcd -V | -h\n"
    "\n"
    "Virtual serial port concentrator for VMware vSphere: takes the serial ports of VMs,\n"
    "gives each a telnet port, and tells through Redis which port is whose.\n"
    "\n"
    "  -c, --config FILE           configuration (default: " DEFAULT_FILE " if it exists);\n"
    "                              conf.d/*.ini beside it is read after it\n"
    "  -o, --option SECTION.KEY=VALUE\n"
    "                              overrides one key; may be given again\n"
    "  -t, --test                  check the configuration and exit 0 or 1\n"
    "      --import-node-vspc [PREFIX]\n"
    "                              store in state_dir the ports that node-vspc saved in\n"
    "                              Redis under PREFIX<VM name> (default: " IMPORT_PREFIX "),\n"
    "                              and exit; vspcd must be stopped\n"
    "  -V, --version               print the version and exit\n"
    "  -h, --help                  print this and exit\n"
    "\n"
    "Runs in the foreground and logs to standard error. SIGHUP reads the configuration\n"
    "again; SIGTERM and SIGINT shut down. Exits 0 after a shutdown, 1 when it cannot\n"
    "start, 2 on wrong usage; --import-node-vspc exits 0 when it is done, 1 when it failed.\n";

enum { OPTION_IMPORT = 256 }; /* has no letter */

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"option", required_argument, NULL, 'o'},
    {"test", no_argument, NULL, 't'},
    {"import-node-vspc", optional_argument, NULL, OPTION_IMPORT},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct arguments {
    struct config_source source;
    const char **overrides;
    bool test;
    const char *import_prefix; /* NULL: no import */
};

/* The prefix given with --import-node-vspc: behind its =, or as the next word, or the usual one. */
static const char *take_prefix(int argc, char **argv)
{
    if (optarg)
        return optarg;
    return optind < argc && argv[optind][0] != '-' ? argv[optind++] : IMPORT_PREFIX;
}

/* Result: -1 to go on, or the code to exit with. */
static int parse_arguments(int argc, char **argv, struct arguments *args)
{
    int option;
    args->overrides = xcalloc((size_t)argc, sizeof(char *));
    args->source.overrides = args->overrides;
    while ((option = getopt_long(argc, argv, "c:o:tVh", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            args->source.file = optarg;
            break;
        case 'o':
            args->overrides[args->source.override_count++] = optarg;
            break;
        case 't':
            args->test = true;
            break;
        case OPTION_IMPORT:
            args->import_prefix = take_prefix(argc, argv);
            break;
        case 'V':
            puts("vspcd " VSPC_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs("Try 'vspcd --help'.\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "vspcd: unexpected argument '%s'\nTry 'vspcd --help'.\n", argv[optind]);
        return 2;
    }
    if (args->test && args->import_prefix) {
        fputs("vspcd: -t and --import-node-vspc do not go together\nTry 'vspcd --help'.\n", stderr);
        return 2;
    }
    if (!args->source.file && access(DEFAULT_FILE, F_OK) == 0)
        args->source.file = DEFAULT_FILE;
    return -1;
}

/* Started without them, a socket would get the number of standard error, and log lines. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Does what the arguments ask for. Result: the code to exit with. */
static int run(const struct arguments *args)
{
    char *error = NULL;
    /* An import may be interrupted. */
    if (!args->import_prefix)
        server_block_signals();
    struct config *config =
        config_load(args->source.file, args->source.overrides, args->source.override_count, &error);
    if (!config) {
        fprintf(stderr, "%s%s", error, error[0] && error[strlen(error) - 1] != '\n' ? "\n" : "");
        free(error);
        return 1;
    }
    if (!args->test && !args->import_prefix)
        return server_run(config, &args->source);
    int code = 0;
    if (args->test)
        puts("configuration is good");
    else
        code = import_node_vspc(config, args->import_prefix);
    config_unref(config);
    return code;
}

int main(int argc, char **argv)
{
    struct arguments args = {0};
    open_standard_descriptors();
    int code = parse_arguments(argc, argv, &args);
    if (code < 0)
        code = run(&args);
    free(args.overrides);
    return code;
}
