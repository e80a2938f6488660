/* The control socket under clients that are broken, slow, many, or gone. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "fleet.h"
#include "user.h"
#include "vm.h"

TestSuite(control_survival, .timeout = 240);

static struct daemon *start(unsigned ports)
{
    struct daemon *d = daemon_new(VSPCD, ports);
    daemon_start(d);
    return d;
}

/* Their list is more than a socket holds. */
enum { VMS = 1000 };
#define PREFIX                                                                                               \
    "a-name-that-is-long-enough-for-a-list-of-a-thousand-rows-to-be-more-than-the-buffers-of-a-socket-hold-" \
    "on-both-of-its-sides-together-"

static struct fleet *start_fleet(struct daemon *d)
{
    struct fleet *f = fleet_new(d, VMS, PREFIX, NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    return f;
}

/* Somebody else is served, and no client is left that has gone. */
static void check_serves(struct daemon *d, unsigned clients)
{
    struct control_link *link = control_link_open(d);
    json_int_t n = 0;
    WAIT_FOR(({
                 json_t *answer = control_link_must(link, "'command':'stats'");
                 n = control_number(answer, "stats.vspc_control_clients");
                 json_decref(answer);
                 n == clients + 1;
             }),
             SOON, "%d control clients instead of %u", (int)n, clients + 1);
    control_link_close(link);
}

/* As long as it goes at once. */
static void send_unread(struct control_link *link, const char *line)
{
    while (send(link->fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
}

Test(control_survival, a_megabyte_without_a_newline_is_answered_and_closed)
{
    struct daemon *d = start(8);
    struct control_link *link = control_link_open(d);
    char *garbage = xmalloc(1 << 20);
    memset(garbage, 'x', 1 << 20);
    control_link_send_raw(link, garbage, 1 << 20);
    json_t *answer = control_link_read(link, SOON);
    cr_assert_str_eq(control_text(answer, "error"), "usage");
    json_decref(answer);
    control_link_wait_closed(link, SOON);
    control_link_close(link);
    free(garbage);
    check_serves(d, 0);
    daemon_stop(d);
}

Test(control_survival, the_longest_line_is_a_request_and_one_more_byte_is_too_much)
{
    enum { LONGEST = 65536 };
    struct daemon *d = start(8);
    for (size_t len = LONGEST; len <= LONGEST + 1; len++) {
        struct control_link *link = control_link_open(d);
        char *line = xmalloc(len + 1);
        memset(line, ' ', len);
        memcpy(line, "{\"v\":1,\"command\":\"version\"}", 27);
        line[len] = '\n';
        control_link_send_raw(link, line, len + 1);
        json_t *answer = control_link_read(link, SOON);
        cr_assert_eq(json_is_true(control_member(answer, "ok")), len == LONGEST);
        json_decref(answer);
        free(line);
        control_link_close(link);
    }
    check_serves(d, 0);
    daemon_stop(d);
}

Test(control_survival, requests_come_in_pieces_of_any_size)
{
    static const char line[] = "{\"v\":1,\"command\":\"version\",\"id\":\"pieces\"}\n";
    struct daemon *d = start(8);
    struct control_link *link = control_link_open(d);
    for (size_t i = 0; i < sizeof line - 1; i++)
        control_link_send_raw(link, &line[i], 1);
    json_t *answer = control_link_read(link, SOON);
    cr_assert_str_eq(control_text(answer, "id"), "pieces");
    json_decref(answer);
    control_link_close(link);
    daemon_stop(d);
}

Test(control_survival, a_client_that_says_no_more_gets_its_answers)
{
    struct daemon *d = start(8);
    struct control_link *link = control_link_open(d);
    control_link_send(link, "'command':'list'");
    control_link_send(link, "'command':'version'");
    control_link_send_raw(link, "{\"v\":1,\"comm", 12);
    shutdown(link->fd, SHUT_WR);
    json_decref(control_link_read_answer(link, SOON));
    json_decref(control_link_read_answer(link, SOON));
    control_link_wait_closed(link, SOON);
    cr_assert_eq(link->in.len, 0);
    control_link_close(link);
    check_serves(d, 0);
    daemon_stop(d);
}

Test(control_survival, clients_hang_up_in_every_state)
{
    static const char *const requests[] = {
        "",
        "{\"v\":1,\"comm",
        "{\"v\":1,\"command\":\"list\"}\n",
        "{\"v\":1,\"command\":\"show\",\"console\":\"a-name\"}\n",
        "{\"v\":1,\"command\":\"show\",\"console\":\"" PREFIX "00001\"}\n",
        "{\"v\":1,\"command\":\"reopen\"}\n",
        "{\"v\":1,\"command\":\"events\",\"follow\":true}\n",
        "{\"v\":1,\"command\":\"attach\",\"console\":\"" PREFIX "00002\"}\n",
        "{\"v\":1,\"command\":\"list\"}\n{\"v\":1,\"command\":\"list\"}\n{\"v\":1,\"command\":\"list\"}\n",
    };
    struct daemon *d = start(VMS);
    struct fleet *f = start_fleet(d);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
            struct control_link *link = control_link_open(d);
            control_link_send_raw(link, requests[i], strlen(requests[i]));
            /* Some at once, others when there is an answer. */
            if (round % 2 && i >= 2) {
                struct pollfd ready = {.fd = link->fd, .events = POLLIN};
                poll(&ready, 1, SOON);
            }
            control_link_close(link);
        }
    }
    check_serves(d, 0);
    fleet_free(f);
    daemon_stop(d);
}

Test(control_survival, what_a_client_asked_for_is_done_when_it_has_hung_up)
{
    struct daemon *d = start(8);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct control_link *link = control_link_open(d);
    control_link_send(link, "'command':'send','console':'vm1','text':'done'");
    control_link_close(link);
    vm_expect_text(vm, "done", SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_survival, one_that_never_reads_is_disconnected_and_holds_up_nobody)
{
    struct daemon *d = start(VMS);
    struct fleet *f = start_fleet(d);
    /* More of them than lists are kept. */
    struct control_link *deaf[12];
    for (size_t i = 0; i < sizeof deaf / sizeof *deaf; i++) {
        deaf[i] = control_link_open(d);
        send_unread(deaf[i], "{\"v\":1,\"command\":\"list\"}\n");
        struct pollfd ready = {.fd = deaf[i]->fd, .events = POLLIN};
        cr_assert_eq(poll(&ready, 1, SOON), 1, "no list while others do not read theirs");
    }
    struct control_link *link = control_link_open(d);
    for (int i = 0; i < 20; i++) {
        json_t *answer = control_link_must(link, "'command':'list'");
        cr_assert_eq(control_number(answer, "count"), VMS);
        json_decref(answer);
    }
    size_t rss = daemon_usage(d).rss_kib;
    cr_assert_lt(rss, 600 * 1024, "%zu KiB", rss);
    for (size_t i = 0; i < sizeof deaf / sizeof *deaf; i++) {
        struct pollfd gone = {.fd = deaf[i]->fd, .events = POLLRDHUP};
        cr_assert_eq(poll(&gone, 1, SOON), 1, "a client that never reads is still connected");
        control_link_close(deaf[i]);
    }
    control_link_close(link);
    check_serves(d, 0);
    fleet_free(f);
    daemon_stop(d);
}

Test(control_survival, who_asks_while_a_list_is_made_gets_the_next_one)
{
    enum { DEAF = 6 };
    struct daemon *d = start(VMS);
    struct fleet *f = start_fleet(d);
    struct control_link *deaf[DEAF], *link = control_link_open(d);
    for (int i = 0; i < DEAF; i++) {
        deaf[i] = control_link_open(d);
        control_link_do(deaf[i], "'command':'version'");
        control_link_send(deaf[i], "'command':'list'");
        control_link_send(link, "'command':'list'");
        json_decref(control_link_read_answer(link, SOON));
    }
    /* It did not have to wait until they were disconnected. */
    for (int i = 0; i < DEAF; i++) {
        struct pollfd gone = {.fd = deaf[i]->fd, .events = POLLRDHUP};
        cr_assert_eq(poll(&gone, 1, 0), 0);
        control_link_close(deaf[i]);
    }
    control_link_close(link);
    fleet_free(f);
    daemon_stop(d);
}

Test(control_survival, five_hundred_clients_at_once_are_served)
{
    enum { CLIENTS = 500 };
    struct daemon *d = start(8);
    struct vm_link *vm = vm_start_named(d, "vm1");
    static struct control_link *links[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        links[i] = control_link_open(d);
        if (i % 2)
            control_link_send(links[i], "'command':'list','id':%d", i);
        else
            control_link_send(links[i], "'command':'show','console':'vm1','id':%d", i);
    }
    for (int i = 0; i < CLIENTS; i++) {
        json_t *answer = control_link_read_answer(links[i], SOON);
        cr_assert(json_is_true(control_member(answer, "ok")));
        cr_assert_eq(control_number(answer, "id"), i);
        json_decref(answer);
    }
    check_serves(d, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        control_link_close(links[i]);
    check_serves(d, 0);
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_survival, more_clients_than_there_is_room_for_are_told_so)
{
    enum { CLIENTS = 1024 };
    struct daemon *d = start(8);
    static struct control_link *links[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        links[i] = control_link_open(d);
    struct control_link *link = control_link_open(d);
    json_t *answer = control_link_read(link, SOON);
    cr_assert_str_eq(control_text(answer, "error"), "failed");
    json_decref(answer);
    control_link_wait_closed(link, SOON);
    control_link_close(link);
    control_link_do(links[CLIENTS - 1], "'command':'version'");
    for (int i = 0; i < CLIENTS; i++)
        control_link_close(links[i]);
    check_serves(d, 0);
    daemon_stop(d);
}

Test(control_survival, a_stuck_worker_is_told_of_and_its_late_answers_are_dropped)
{
    struct daemon *d = start(8);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct control_link *asking = control_link_open(d), *listing = control_link_open(d),
                        *hung_up = control_link_open(d);
    daemon_freeze_thread(d, "worker-0");
    control_link_send(asking, "'command':'show','console':'vm1'");
    control_link_send(listing, "'command':'list'");
    control_link_send(hung_up, "'command':'disconnect','console':'vm1'");
    control_link_close(hung_up);
    struct control_link *links[] = {asking, listing};
    for (int i = 0; i < 2; i++) {
        json_t *answer = control_link_read_answer(links[i], SOON);
        cr_assert_str_eq(control_text(answer, "error"), "failed");
        json_decref(answer);
        control_link_do(links[i], "'command':'version'");
    }
    daemon_thaw_thread(d);
    bool is_listed = false;
    WAIT_FOR(({
                 json_t *answer = control_link_ask(listing, "'command':'list'");
                 is_listed = json_is_true(control_member(answer, "ok"));
                 json_decref(answer);
                 is_listed;
             }),
             SOON, "no list after the worker has come to itself");
    control_link_close(asking);
    control_link_close(listing);
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_survival, shutting_down_with_requests_in_every_state_is_in_order)
{
    struct daemon *d = start(8);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct control_link *links[60];
    for (int i = 0; i < 60; i++) {
        links[i] = control_link_open(d);
        if (i % 3 == 0)
            send_unread(links[i], "{\"v\":1,\"command\":\"list\"}\n");
        else if (i % 3 == 1)
            send_unread(links[i], "{\"v\":1,\"command\":\"show\",\"console\":\"vm1\"}\n");
        else
            control_link_send(links[i], "'command':'events','follow':true");
    }
    daemon_stop(d);
    for (int i = 0; i < 60; i++) {
        control_link_wait_closed(links[i], SOON);
        control_link_close(links[i]);
    }
    cr_assert_lt(access(d->control, F_OK), 0);
    vm_stop(vm);
}
