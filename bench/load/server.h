/* Server: what the operating system says about the process under load. Any thread. */
#ifndef VSPC_BENCH_SERVER_H
#define VSPC_BENCH_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct server_figures {
    bool known;   /* the process was there and could be asked */
    double cpu_s; /* user and system time of all its threads, since it began */
    uint64_t rss_kib;
    unsigned fds; /* 0: we may not look */
};

/* pid 0: not known. */
struct server_figures server_look(int pid);

#endif
