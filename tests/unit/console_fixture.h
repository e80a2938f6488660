/* Console fixture: a worker's console_owner in a loop thread, with VMs, users and clients of the control
 * socket on real sockets, and the questions and orders that the control socket would post, asked and awaited.
 */
#ifndef VSPC_TEST_CONSOLE_FIXTURE_H
#define VSPC_TEST_CONSOLE_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "user.h"
#include "vm.h"
#include "vspc/console_query.h"

enum { FIXTURE_PORTS = 8 };

struct fixture {
    struct console_shared shared;
    struct console_owner owner;
    struct loop *loop; /* the owner's */
    pthread_t thread;
    struct loop *main; /* where answers come; runs while a question is awaited */
    struct config *config;
    int listener;
    struct sock_addr addr;
    uint64_t number; /* of the last VM connection */
    uint16_t first_port;
    struct event *events;
};

static struct fixture fx;

static inline void *fixture_run(void *arg)
{
    loop_run(arg);
    return NULL;
}

/* The configuration with one more override, or NULL. */
static inline struct config *fixture_config(const char *override)
{
    char port[64], ports[64], *error = NULL;
    snprintf(port, sizeof port, "user.first_port=%u", fx.first_port);
    snprintf(ports, sizeof ports, "user.max_ports=%u", FIXTURE_PORTS);
    const char *overrides[] = {port, ports, "redis.enabled=no", "server.advertise=here", override};
    struct config *config = config_load(NULL, overrides, override ? 5 : 4, &error);
    cr_assert(config, "%s", error);
    return config;
}

static inline void fixture_take_event(struct event_sink *sink, struct event *event)
{
    struct fixture *f =
        container_of(container_of(sink, struct console_shared, events), struct fixture, shared);
    event->next = NULL;
    struct event **last = &f->events;
    while (*last)
        last = &(*last)->next;
    *last = event;
}

static inline void fixture_begin_with(const char *override)
{
    memset(&fx, 0, sizeof fx);
    env_dir();
    log_set_level(LOG_LEVEL_ERROR);
    fx.first_port = env_ports(FIXTURE_PORTS + 1);
    fx.addr = env_local((uint16_t)(fx.first_port + FIXTURE_PORTS));
    fx.listener = sock_listen(&fx.addr, false, 16);
    fx.config = fixture_config(override);
    admission_init(&fx.shared.admission, 200);
    fx.shared.directory = directory_new();
    fx.shared.ports = port_pool_new(fx.first_port, FIXTURE_PORTS);
    peer_rate_init(&fx.shared.refusals);
    fx.shared.mapping = redis_writer_start(fx.config);
    fx.main = loop_new();
    fx.loop = loop_new();
    fx.shared.events.loop = fx.main;
    fx.shared.events.take = fixture_take_event;
    console_owner_init(&fx.owner, 0, fx.loop, fx.config, &fx.shared);
    cr_assert_eq(thread_start(&fx.thread, "worker-0", fixture_run, fx.loop), 0);
}

static inline void fixture_begin(void)
{
    fixture_begin_with(NULL);
}

static inline void fixture_on_close(void *arg)
{
    (void)arg;
    console_owner_close(&fx.owner);
    loop_stop(fx.loop);
}

/* Ends all, and holds that nothing is left: no pin, no console, no descriptor. */
static inline void fixture_end(void)
{
    loop_post(fx.loop, fixture_on_close, NULL);
    pthread_join(fx.thread, NULL);
    loop_free(fx.loop);
    redis_writer_stop(fx.shared.mapping, 2000);
    loop_free(fx.main);
    while (fx.events) {
        struct event *event = fx.events;
        fx.events = event->next;
        free(event);
    }
    cr_assert_eq(directory_pins(fx.shared.directory), 0);
    cr_assert_eq(directory_count(fx.shared.directory), 0);
    cr_assert_eq(atomic_load(&fx.shared.admission.left), 200 - ADMISSION_RESERVE);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_CONSOLES), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_VMS), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_HANDSHAKING), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_MIGRATING), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_USERS_TELNET), 0);
    cr_assert_eq(figure_read(&fx.owner.figures, FIGURE_USERS_CONTROL), 0);
    directory_free(fx.shared.directory);
    port_pool_free(fx.shared.ports);
    console_owner_destroy(&fx.owner);
    config_unref(fx.config);
    close(fx.listener);
}

/* A VM that is on its way to the worker. */
static inline struct vm_link *fixture_connect(const struct vm_client_options *opt)
{
    struct vm_link *vm = xmalloc(sizeof *vm);
    struct vm_arrival *arrival = xcalloc(1, sizeof *arrival);
    vm_link_init(vm, opt);
    cr_assert_eq(vm_link_connect(vm, &fx.addr, SOON), 0);
    arrival->owner = &fx.owner;
    arrival->number = ++fx.number;
    arrival->peer.len = sizeof arrival->peer.in6;
    arrival->fd = accept4(fx.listener, &arrival->peer.sa, &arrival->peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(arrival->fd, 0);
    cr_assert(admission_take(&fx.shared.admission, ADMISSION_VM));
    loop_post(fx.loop, console_owner_arrivals, arrival);
    return vm;
}

static inline struct vm_link *fixture_vm(const char *name, const char *label)
{
    struct vm_client_options opt = vm_options(name);
    opt.query = label;
    struct vm_link *vm = fixture_connect(&opt);
    cr_assert_eq(vm_link_identify(vm, SOON), 0);
    return vm;
}

static inline void fixture_done(struct console_query *query)
{
    *(bool *)query->arg = true;
    loop_stop(fx.main);
}

/* How a question of the control socket begins. */
static inline struct console_query fixture_query(bool *done)
{
    *done = false;
    return (struct console_query){.reply_to = fx.main, .done = fixture_done, .arg = done};
}

static inline void fixture_await(const bool *done)
{
    while (!*done)
        loop_run(fx.main);
}

static struct console_find *found;
static struct console_list *listed;

static inline void fixture_found(struct console_query *query)
{
    found = container_of(query, struct console_find, query);
    fixture_done(query);
}

static inline void fixture_listed(struct console_query *query)
{
    listed = container_of(query, struct console_list, query);
    fixture_done(query);
}

/* Result: the answer; console_find_free frees it. */
static inline struct console_find *fixture_find(const char *text)
{
    bool done;
    struct console_query query = fixture_query(&done);
    query.done = fixture_found;
    console_find_ask(&fx.owner, text, strlen(text), &query);
    fixture_await(&done);
    return found;
}

/* Result: the answer; console_list_free frees it. */
static inline struct console_list *fixture_list(void)
{
    bool done;
    struct console_query query = fixture_query(&done);
    query.done = fixture_listed;
    console_list_ask(&fx.owner, &query);
    fixture_await(&done);
    return listed;
}

/* An order to the console that is called so, which must be one. */
static inline struct console_order *fixture_order(enum console_order_type type, const char *name)
{
    struct console_query none = {0};
    struct console_find *find = fixture_find(name);
    cr_assert_eq(find->count, 1, "%u consoles are called %s", find->count, name);
    struct console_order *order = console_order_new(type, find->matches[0].entry, &none);
    find->matches[0].entry = NULL;
    console_find_free(find);
    return order;
}

/* Posts the order and waits for its answer. Result: the order's. */
static inline int fixture_obey(struct console_order *order)
{
    bool done;
    order->query = fixture_query(&done);
    console_order_post(order);
    fixture_await(&done);
    return order->result;
}

/* The same where nothing but the result is of interest; frees. */
static inline int fixture_result(struct console_order *order)
{
    int result = fixture_obey(order);
    console_order_free(order);
    return result;
}

/* The consoles of that name, when there are users or not as given. */
static inline unsigned fixture_users(const char *name)
{
    struct console_order *order = fixture_order(ORDER_SHOW, name);
    cr_assert_eq(fixture_obey(order), 0);
    unsigned users = order->row.users;
    console_order_free(order);
    return users;
}

/* One that attaches by the control socket, who is called so. Result: its end of the connection, or NULL:
 * *result says why, and *holder who. */
static inline struct user *fixture_try_attach(const char *name, const char *as, enum console_access access,
                                              bool force, int *result, char holder[EVENT_WHO])
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct console_order *order = fixture_order(ORDER_ATTACH, name);
    order->fd = pair[0];
    order->access = access;
    order->force = force;
    order->peer = (struct control_peer){.uid = 1000, .pid = 4711};
    snprintf(order->peer.as, sizeof order->peer.as, "%s", as);
    *result = fixture_obey(order);
    cr_assert_eq(order->fd == -1, *result == 0, "the connection is the worker's, or comes back");
    if (holder)
        memcpy(holder, order->holder, EVENT_WHO);
    console_order_free(order);
    if (*result) {
        close(pair[1]);
        return NULL;
    }
    struct user *user = xcalloc(1, sizeof *user);
    user->kind = USER_RAW;
    user->fd = pair[1];
    return user;
}

static inline struct user *fixture_attach(const char *name, const char *as, enum console_access access)
{
    int result;
    struct user *user = fixture_try_attach(name, as, access, false, &result, NULL);
    cr_assert_eq(result, 0, "%s cannot attach: %s", as, strerror(-result));
    return user;
}

/* The next the client is sent must be such an object. */
static inline void fixture_expect_json(struct user *user, const char *json)
{
    char *frame = xasprintf("\xff\xfa\xc8%s\xff\xf0", json);
    user_expect_text(user, frame, SOON);
    free(frame);
}

/* Sends a request. */
static inline void fixture_ask(struct user *user, const char *json)
{
    char *frame = xasprintf("\xff\xfa\xc8%s\xff\xf0", json);
    user_send_raw(user, frame, strlen(frame));
    free(frame);
}

#endif
