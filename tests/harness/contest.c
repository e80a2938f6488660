#include "contest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void contest_race(struct daemon *d, struct redis *r, int round)
{
    char name[32];
    snprintf(name, sizeof name, "race-%d", round);
    struct vm_client_options opt = vm_options(name);
    struct vm_link *older = vm_connect(d, &opt), *newer = vm_connect(d, &opt);
    if (round % 3 == 1)
        vm_link_identify(older, SOON);
    if (round % 3 == 2)
        vm_link_identify(newer, SOON);
    for (uint64_t from = clock_ms(); older->fd >= 0 && newer->fd >= 0;) {
        vm_link_step(newer, 1);
        vm_link_pump(older);
        if (clock_ms() - from > SOON)
            env_fail("both connections are served in round %d", round);
    }
    if (older->fd >= 0)
        env_fail("the newer connection was closed in round %d", round);
    if (vm_link_identify(newer, SOON) < 0)
        env_fail("neither connection is served in round %d", round);
    if (round % 20 < 3)
        probe_console(redis_wait_port(r, "VM:Port", name, SOON), newer);
    vm_stop(older);
    vm_stop(newer);
}

/* Whether the console behind this port has printed the text, as far as a new user is shown. */
static bool is_printed_at(uint16_t port, const char *text)
{
    bool found = false;
    struct user *user = user_try_connect(port, USER_RAW);
    for (uint64_t from = clock_ms(); user && !found && !user->closed_by_peer && clock_ms() - from < 2000;
         env_nap()) {
        user_pump(user);
        found = user->in.len && memmem(bytes_at(&user->in), user->in.len, text, strlen(text));
    }
    user_close(user);
    return found;
}

void contest_linger(struct daemon *d, struct redis *r, int times, long max_us)
{
    struct sock_addr addr = daemon_vm_addr(d);
    struct vm_link *vm = vm_start_named(d, "flap");
    uint16_t port = redis_wait_port(r, "VM:Port", "flap", SOON);
    unsigned fds = daemon_usage(d).fds;
    srand(1);
    for (int i = 0; i < times; i++) {
        struct user *user = i % 4 == 0 ? user_try_connect(port, USER_RAW) : NULL;
        struct timespec away = {.tv_nsec = rand() % max_us * 1000};
        vm_link_close(vm, i % 2);
        nanosleep(&away, NULL);
        if (vm_link_connect(vm, &addr, SOON) < 0 || vm_link_identify(vm, SOON) < 0)
            env_fail("the VM is not served in round %d", i);
        user_close(user);
        if (i % 4 == 3)
            port = probe_port(d, "flap");
    }
    /* Redis and the log may both still be at a console before the last; the one that the VM prints to counts.
     */
    vm_print_text(vm, "the last one");
    for (uint64_t from = clock_ms();
         !is_printed_at(redis_wait_port(r, "VM:Port", "flap", SOON), "the last one");)
        if (clock_ms() - from > SOON)
            env_fail("the VM is not behind the port that Redis has");
    WAIT_FOR(redis_wait_port(r, "VM:Port", "flap", SOON) == probe_port(d, "flap"), SOON,
             "Redis has another port than the VM");
    probe_console(probe_port(d, "flap"), vm);
    probe_wait_fds(d, fds, SOON);
    vm_stop(vm);
    redis_wait_hget(r, "VM:Port", "flap", NULL, SOON);
}
