/* Options table: what each option is and which scenarios take it, and each scenario with its defaults, for
 * options.c and the help. Main alone; constant. */
#ifndef VSPC_BENCH_OPTIONS_TABLE_H
#define VSPC_BENCH_OPTIONS_TABLE_H

#include <stddef.h>

#include "options.h"

enum option_id {
    OPTION_VSPC,
    OPTION_VMS,
    OPTION_USERS,
    OPTION_RATE,
    OPTION_DURATION,
    OPTION_HOLD,
    OPTION_CHUNK,
    OPTION_THREADS,
    OPTION_REDIS,
    OPTION_MAP_KEY,
    OPTION_ACTIVE_PREFIX,
    OPTION_USER_PORTS,
    OPTION_OFFER,
    OPTION_NO_VERIFY,
    OPTION_RESTART_COMMAND,
    OPTION_PID,
    OPTION_JSON,
    OPTION_HTML,
    OPTION_HELP,
    OPTION_VERSION,
    OPTIONS
};

#define SCENARIO_BIT(kind) (1U << (kind))

struct option_text {
    const char *name;
    const char *argument; /* NULL: takes none */
    unsigned scenarios;   /* bits of those that take it */
    const char *help;     /* lines that fit behind the name; what a scenario's rate means is the scenario's */
};

struct scenario_text {
    const char *summary;     /* one line */
    const char *description; /* what it does and measures; lines */
    const char *example;     /* arguments */
    const char *rate;        /* what --rate means here; NULL: has none */
    const char *needs_rate;  /* what there must be some of a second; NULL: 0 has a meaning */
    double rate_default;
    uint64_t duration_ms, hold_ms; /* 0: has none */
    unsigned vms, users;
    unsigned chunk;    /* 0: has none */
    bool user_each_vm; /* at most one user a VM */
    bool needs_user;   /* nothing is measured without one */
};

extern const struct option_text option_texts[OPTIONS];
extern const struct scenario_text scenario_texts[SCENARIOS];

/* Whether a scenario takes an option. */
static inline bool option_applies(enum option_id id, enum scenario_kind kind)
{
    return option_texts[id].scenarios & SCENARIO_BIT(kind);
}

/* Prints help on standard output: of the program, or of one scenario. */
void options_help(void);
void options_help_scenario(enum scenario_kind kind);

/* Says on standard error what is wrong and that there is help, and exits 2. */
void options_usage_error(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Values. All are usage errors when the text is not what is wanted; `name` is the option's. */
uint64_t options_whole(const char *name, const char *text, uint64_t min, uint64_t max);
/* 0, or from 0.001 to max. */
double options_rate(const char *name, const char *text, double max);
/* Milliseconds: a whole number with its unit, as in vspc.ini. */
uint64_t options_duration(const char *name, const char *text, uint64_t min_ms, uint64_t max_ms);
/* Bytes: a whole number, with the unit KiB or MiB or without. */
uint64_t options_size(const char *name, const char *text, uint64_t min, uint64_t max);
/* FIRST-LAST. */
void options_ports(const char *name, const char *text, uint16_t *first, uint16_t *last);
/* Checks that it is HOST:PORT or [ADDRESS]:PORT. */
void options_host_port(const char *name, const char *text);
/* The same, resolved; a host that has no address exits 3. */
void options_resolve(const char *name, const char *text, struct sock_addr *out);

#endif
