/* Options: the command line of vspc-bench. */
#ifndef VSPC_BENCH_OPTIONS_H
#define VSPC_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "vspc/sock.h"

enum scenario_kind {
    SCENARIO_STORM,
    SCENARIO_ECHO,
    SCENARIO_BLAST,
    SCENARIO_FANOUT,
    SCENARIO_VMOTION,
    SCENARIO_RECONNECT,
    SCENARIO_SOAK,
    SCENARIOS
};

/* What the server is started and load bounded by; every field has a value after options_parse, the scenario's
 * own default where the command line says nothing. */
struct bench_options {
    enum scenario_kind scenario;
    struct sock_addr vspc; /* where VMs connect */
    const char *vspc_text; /* as given */
    unsigned vms, users;   /* users: in all; blast: of each VM */
    double rate; /* a second; 0: as fast as it goes. storm: VMs; echo: keys of each user; fanout: chunks;
                    vmotion: migrations */
    uint64_t duration_ms;
    uint64_t hold_ms; /* vmotion, soak: from GOAHEAD to the destination's connection */
    unsigned chunk;   /* blast, fanout: bytes that a VM prints at a time */
    unsigned threads;
    const char *redis;                        /* HOST:PORT or the path of a socket, NULL: none */
    const char *map_key;                      /* hash of VM name -> user port */
    const char *active_prefix;                /* NULL, or: one key a VM instead, this and the name */
    uint16_t first_user_port, last_user_port; /* 0: ask Redis */
    bool offer;                               /* VMs open with WILL 232 */
    bool verify;
    int pid;                     /* of the server, 0: not known */
    const char *restart_command; /* NULL: all VMs drop at once */
    const char *json, *html;     /* files, or NULL; "-" is standard output */
};

/* "storm" and so on. */
extern const char *const scenario_names[SCENARIOS];

/* Parses; prints help, version or what is wrong and exits 0 or 2 where that is all there is to do. A host
 * name is resolved; one that cannot be exits 3. The strings are argv's. */
void options_parse(struct bench_options *options, int argc, char **argv);

#endif
