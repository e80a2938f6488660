/* vmotion-load: how long VMs stand still when many of them migrate.
 *
 * Connects VMs, attaches users to some, then begins migrations by the clock, whether or not earlier ones have
 * ended, and prints how long each step took. Exits 1 when a migration failed. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "moving_vm.h"
#include "user_port.h"
#include "vspc/loop.h"

enum {
    IN_FLIGHT = 256,  /* connections that are on their way at once */
    CONNECT_S = 60,   /* until all VMs are there */
    SETTLE_MS = 1500, /* users that say nothing are decided to be raw by then */
    LAST_S = 10,      /* until what was begun has ended */
    PORT_MS = 10000,  /* until a VM has its user port */
    VMS_MAX = 100000,
    RATE_MAX = 100000,
    SECONDS_MAX = 3600,
    HOLD_MAX_MS = 5000,
};

struct settings {
    unsigned long port, vms, rate, seconds, hold, users, talkers;
    struct user_port_source source;
};

static const char usage_text[] =
    "usage: vmotion-load [options]\n"
    "\n"
    "  --port PORT      vspcd's VM port on 127.0.0.1 (13370)\n"
    "  --vms N          VMs to connect (5000)\n"
    "  --rate N         migrations to begin a second (100)\n"
    "  --seconds N      for how long (30)\n"
    "  --hold MS        from GOAHEAD to the destination's connection (500)\n"
    "  --users N        VMs that have a user, who types while his VM is on its way (500; 0 without source)\n"
    "  --talkers N      percentage of the VMs that print a line a second (0)\n"
    "  --redis SOCKET   Redis, which knows the user ports\n"
    "  --log FILE       or vspcd's log, which does too\n"
    "  --help\n";

static struct settings settings = {
    .port = 13370, .vms = 5000, .rate = 100, .seconds = 30, .hold = 500, .users = 500};
static struct pace pace;
static struct moving_fleet fleet;
static struct moving_vm *vms;
static size_t started, next_to_move, next_to_talk, without_vm;
static struct pace_schedule migrations, lines;

static void die(const char *what)
{
    fprintf(stderr, "vmotion-load: %s\n", what);
    exit(1);
}

static void name_of(size_t i, char name[32])
{
    snprintf(name, 32, "bench-%05zu", i + 1);
}

/* More VMs, as those on their way arrive. */
static void start_vms(void)
{
    char name[32];
    while (started < settings.vms && fleet.connecting < IN_FLIGHT) {
        name_of(started, name);
        moving_vm_start(&vms[started++], &fleet, name);
    }
    if (fleet.connecting == 0)
        pace_stop(&pace);
}

/* Does nothing: while users settle, the numbers do not matter. */
static void ignore_change(void)
{
}

static void stop_when_all_ended(void)
{
    if (migrations.left == 0 && fleet.pending == 0)
        pace_stop(&pace);
}

static bool run_for(uint64_t ms)
{
    return pace_run(&pace, clock_ns() + ms * 1000000);
}

/* Any VM that rests: the one that has not moved for longest. */
static void begin_migration(struct pace_schedule *schedule, uint64_t due_ns)
{
    (void)schedule;
    for (size_t tries = 0; tries < settings.vms; tries++) {
        struct moving_vm *vm = &vms[next_to_move];
        next_to_move = (next_to_move + 1) % settings.vms;
        if (vm->state == MOVING_RESTING) {
            moving_vm_begin(vm, due_ns);
            return;
        }
    }
    without_vm++;
    stop_when_all_ended();
}

/* The i-th of `count` VMs that lie evenly among all; not at even places only, which would all be with one
 * worker: vspcd deals connections to its workers in turn. */
static struct moving_vm *spread(size_t i, size_t count)
{
    size_t step = settings.vms / count;
    return &vms[i * settings.vms / count + (step > 1 ? i % 2 : 0)];
}

static size_t talkers(void)
{
    return settings.vms * settings.talkers / 100;
}

static void print_line(struct pace_schedule *schedule, uint64_t due_ns)
{
    static const char line[] = "Jan  1 00:00:00 bench systemd[1]: Started Session 42 of User root.\r\n";
    (void)schedule;
    (void)due_ns;
    moving_vm_print(spread(next_to_talk, talkers()), line, sizeof line - 1);
    next_to_talk = (next_to_talk + 1) % talkers();
}

static void connect_vms(void)
{
    fleet.changed = start_vms;
    start_vms();
    if (!run_for(CONNECT_S * 1000) || fleet.figures.failed)
        die(fleet.figures.failed ? fleet.figures.first_failure : "not all VMs could connect in time");
}

static void attach_users(void)
{
    char name[32];
    fleet.changed = ignore_change;
    for (size_t i = 0; i < settings.users; i++) {
        struct moving_vm *vm = spread(i, settings.users);
        name_of((size_t)(vm - vms), name);
        int port = user_port_find(&settings.source, name, PORT_MS);
        if (port < 0)
            die(strerror(-port));
        moving_vm_attach(vm, (uint16_t)port);
    }
    run_for(SETTLE_MS);
    if (fleet.figures.failed)
        die(fleet.figures.first_failure);
}

static void migrate(void)
{
    uint64_t start = clock_ns();
    fleet.changed = stop_when_all_ended;
    samples_clear(&pace.turns);
    migrations = (struct pace_schedule){.due_ns = start,
                                        .interval_ns = 1000000000 / settings.rate,
                                        .left = settings.rate * settings.seconds,
                                        .fn = begin_migration};
    pace_schedule(&pace, &migrations);
    if (talkers()) {
        lines = (struct pace_schedule){.due_ns = start,
                                       .interval_ns = 1000000000 / talkers(),
                                       .left = talkers() * (settings.seconds + LAST_S),
                                       .fn = print_line};
        pace_schedule(&pace, &lines);
    }
    run_for((settings.seconds + LAST_S) * 1000);
    fleet.changed = ignore_change;
    for (size_t i = 0; i < settings.vms; i++)
        if (vms[i].state >= MOVING_ASKED && vms[i].state <= MOVING_COMPLETED)
            moving_vm_give_up(&vms[i], "the migration did not end");
}

/* Whose the 99th percentile is: vspcd's, or this program's, which began late and read late. */
static void print_verdict(struct moving_figures *f)
{
    double goahead = (double)samples_percentile(&f->goahead, 99) / 1e6;
    double ours = (double)samples_percentile(&f->ours, 99) / 1e6;
    if (f->ours.len == 0)
        printf("The kernel does not tell when bytes arrive: how much is this program's is not known.\n");
    else if (ours * 2 > goahead)
        printf("GOAHEAD's 99th percentile is limited by this program, or by the CPU it did not get: late and "
               "unread took %.3f of %.3f ms. What vspcd needed is in BEGIN sent to GOAHEAD arrived.\n",
               ours, goahead);
    else
        printf("GOAHEAD's 99th percentile is vspcd's: late and unread took %.3f of %.3f ms.\n", ours,
               goahead);
}

static void report(const double load_before[3])
{
    struct moving_figures *f = &fleet.figures;
    double load[3] = {0};
    getloadavg(load, 1);
    printf("%lu VMs, %lu with a user, %zu print a line a second; %lu migrations a second for %lu s, "
           "held %lu ms each; load average %.1f before, %.1f after\n\n",
           settings.vms, settings.users, talkers(), settings.rate, settings.seconds, settings.hold,
           load_before[0], load[0]);
    printf("| ms | number | median | 90%% | 99%% | 99.9%% | longest |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    samples_print_row(&f->goahead, "GOAHEAD: BEGIN due to GOAHEAD read");
    samples_print_row(&f->late, "of that, BEGIN sent late");
    samples_print_row(&f->answer, "of that, BEGIN sent to GOAHEAD arrived");
    samples_print_row(&f->unread, "of that, GOAHEAD not yet read");
    samples_print_row(&f->peer_ok, "PEER sent to PEER-OK read");
    samples_print_row(&f->key, "COMPLETE sent to the user's key at the destination");
    samples_print_row(&f->pause, "pause without hold: BEGIN due to the source's end");
    samples_print_row(&f->key_pause, "pause without hold: BEGIN due to the user's key");
    samples_print_row(&pace.turns, "turns of this program's loop");
    printf("\n%zu begun, %zu completed, %zu failed", f->begun, f->completed, f->failed + without_vm);
    if (f->failed)
        printf("; the first: %s", f->first_failure);
    if (without_vm)
        printf("; %zu found no VM at rest", without_vm);
    printf("\n");
    print_verdict(f);
}

/* A number of at most max; exits when it is none. */
static unsigned long number(const char *text, unsigned long least, unsigned long max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || *text == '-' || n < least || n > max) {
        fprintf(stderr, "vmotion-load: %s: a number from %lu to %lu is wanted\n", text, least, max);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"vms", required_argument, NULL, 'v'},
        {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"hold", required_argument, NULL, 'H'},
        {"users", required_argument, NULL, 'u'},
        {"talkers", required_argument, NULL, 't'},
        {"redis", required_argument, NULL, 'R'},
        {"log", required_argument, NULL, 'L'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'p')
            settings.port = number(optarg, 1, UINT16_MAX);
        else if (c == 'v')
            settings.vms = number(optarg, 1, VMS_MAX);
        else if (c == 'r')
            settings.rate = number(optarg, 1, RATE_MAX);
        else if (c == 's')
            settings.seconds = number(optarg, 1, SECONDS_MAX);
        else if (c == 'H')
            settings.hold = number(optarg, 0, HOLD_MAX_MS);
        else if (c == 'u')
            settings.users = number(optarg, 0, VMS_MAX);
        else if (c == 't')
            settings.talkers = number(optarg, 0, 100);
        else if (c == 'R')
            settings.source.redis_socket = optarg;
        else if (c == 'L')
            settings.source.log_file = optarg;
        else {
            fputs(usage_text, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
    }
    if (optind < argc) {
        fputs(usage_text, stderr);
        exit(2);
    }
    if (!settings.source.redis_socket && !settings.source.log_file)
        settings.users = 0;
    if (settings.users > settings.vms)
        settings.users = settings.vms;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    double load[3] = {0};
    parse(argc, argv);
    getloadavg(load, 1);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (pace_init(&pace) < 0)
        die("no epoll or timer descriptor");
    fleet.pace = &pace;
    sock_addr_parse("127.0.0.1", (uint16_t)settings.port, &fleet.vm_addr);
    fleet.user_addr = fleet.vm_addr;
    fleet.hold_ns = settings.hold * 1000000;
    moving_fleet_init(&fleet);
    vms = xcalloc(settings.vms, sizeof *vms);

    connect_vms();
    attach_users();
    migrate();
    report(load);

    for (size_t i = 0; i < settings.vms; i++)
        moving_vm_free(&vms[i]);
    free(vms);
    user_port_close(&settings.source);
    pace_destroy(&pace);
    return fleet.figures.failed || without_vm;
}
