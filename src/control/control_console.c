/* Commands to one console: the way to it, and the answers that come back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control_commands.h"
#include "control/control_json.h"
#include "control/control_parts.h"
#include "vspc/console_json.h"

static void on_timeout(struct loop_timer *timer)
{
    struct control_request *request = container_of(timer, struct control_request, timeout);
    control_request_fail(request, "failed", NULL, "a worker of vspcd does not answer");
}

/* What people type may be UTF-8; what would move their cursor becomes a question mark. */
static void put_notice(struct bytes *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        bool is_c1 = c == 0xc2 && i + 1 < len && (uint8_t)text[i + 1] < 0xa0;
        if (is_c1)
            i++;
        bytes_put(out, c < 0x20 || c == 0x7f || is_c1 ? "?" : &text[i], 1);
    }
    bytes_put(out, "", 1);
}

/* What the order types or shows. */
static void put_text(struct console_order *order, const struct control_request *request)
{
    size_t len;
    const char *text = control_request_text(request, "text", &len);
    if (order->type == ORDER_NOTICE) {
        put_notice(&order->text, text, len);
        return;
    }
    if (text)
        bytes_put(&order->text, text, len);
    if (control_request_flag(request, "enter"))
        bytes_put(&order->text, "\r", 1);
}

static void name_peer(struct control_peer *peer, const struct control_request *request)
{
    size_t len;
    const char *as = control_request_text(request, "as", &len);
    *peer = request->peer;
    if (as)
        snprintf(peer->as, sizeof peer->as, "%.*s", QUERY_WHO_MAX, printable(as, len).s);
}

/* What others are told when the console is somebody's. */
static json_t *holder_json(const struct console_order *order)
{
    return order->holder[0] ? console_json_text(order->holder, strlen(order->holder)) : json_null();
}

static json_t *show_json(const struct control_request *request, const struct console_order *order)
{
    const struct config *config = request->control->server->config(request->control->server->arg);
    return json_pack("{s:o}", "console", console_json_show(order, config->server.advertise));
}

static json_t *users_json(const struct console_order *order)
{
    json_t *users = json_array();
    for (size_t i = 0; i < order->user_count; i++)
        json_array_append_new(users, control_user_json(&order->users[i]));
    return json_pack("{s:o}", "users", users);
}

static void fail_order(struct control_request *request, const struct console_order *order)
{
    switch (order->result) {
    case -ENOENT:
        control_request_fail(request, "no-such-console", NULL, "the console has just ended");
        return;
    case -EBUSY:
        control_request_fail(request, "refused", json_pack("{s:o}", "holder", holder_json(order)),
                             "%s has exclusive access", order->holder);
        return;
    case -ENOTCONN:
        control_request_fail(request, "failed", NULL, "there is no VM, the console is disconnected");
        return;
    case -EAGAIN:
        control_request_fail(request, "failed", NULL, "the VM does not read what is typed");
        return;
    case -ESRCH:
        control_request_fail(request, "failed", NULL, "the console has no user with this number");
        return;
    case -EMFILE:
        control_request_fail(request, "failed", NULL, "vspcd has no file descriptor left");
        return;
    default:
        control_request_fail(request, "failed", NULL, "%s", strerror(-order->result));
    }
}

/* A connection that was lent to a worker comes back, or has been kept. */
static void on_attach(struct control_request *request, struct console_order *order)
{
    struct control_client *client = request->client;
    if (!client)
        return;
    if (order->fd < 0) {
        control_client_kept(client);
        return;
    }
    control_client_give_back(client, order->fd, &order->text);
    order->fd = -1;
}

static void on_order(struct console_query *query)
{
    struct console_order *order = container_of(query, struct console_order, query);
    struct control_request *request = query->arg;
    if (order->type == ORDER_ATTACH)
        on_attach(request, order);
    if (!request->is_answered) {
        if (order->result < 0)
            fail_order(request, order);
        else if (order->type == ORDER_SHOW)
            control_request_succeed(request, show_json(request, order));
        else if (order->type == ORDER_USERS)
            control_request_succeed(request, users_json(order));
        else if (order->type == ORDER_NOTICE)
            control_request_succeed(request, json_pack("{s:i}", "users", (int)order->reached));
        else
            control_request_succeed(request, NULL);
    }
    console_order_free(order);
    control_request_arrived(request);
}

/* Posts the command's order to the console that was meant. */
static void give_order(struct control_request *request, struct console_match *match)
{
    struct console_query query = {
        .reply_to = request->control->server->loop, .done = on_order, .arg = request};
    struct console_order *order = console_order_new(request->command->order, match->entry, &query);
    const char *access = control_request_text(request, "access", NULL);
    match->entry = NULL;
    request->row = match->row;
    request->pending++;
    put_text(order, request);
    name_peer(&order->peer, request);
    order->is_break = control_request_flag(request, "break");
    order->force = control_request_flag(request, "force");
    order->user = (uint64_t)json_integer_value(json_object_get(request->body, "user"));
    if (order->type == ORDER_ATTACH) {
        order->access = ACCESS_RW;
        if (access)
            console_access_parse(access, &order->access);
        /* From here on the worker has the connection, so nothing can be said on it before it answers. */
        loop_timer_disarm(request->control->server->loop, &request->timeout);
        order->answer = control_request_line(request, NULL);
        order->fd = control_client_lend(request->client, &order->text);
    }
    console_order_post(order);
}

/* What was asked for, for a message. */
static const char *wanted(const struct control_request *request)
{
    const char *text = control_request_text(request, "console", NULL);
    return *text ? text : "nothing";
}

static void fail_ambiguous(struct control_request *request, enum console_rank rank, unsigned count)
{
    json_t *candidates = json_array();
    for (unsigned i = 0; request->finds[i]; i++) {
        const struct console_find *find = request->finds[i];
        for (unsigned j = 0;
             find->rank == rank && j < find->len && json_array_size(candidates) < QUERY_MATCHES; j++)
            json_array_append_new(candidates, console_json_row(&find->matches[j].row));
    }
    json_t *members = json_pack("{s:o, s:i}", "candidates", candidates, "count", (int)count);
    control_request_fail(request, "ambiguous", members,
                         "%u consoles have a name or UUID that begins with %.300s", count, wanted(request));
}

/* All owners have answered: is there one console that is meant? */
static void choose(struct control_request *request)
{
    enum console_rank rank = MATCH_UUID_BEGINNING;
    unsigned count = 0;
    struct console_match *match = NULL;
    for (unsigned i = 0; request->finds[i]; i++)
        if (request->finds[i]->rank > rank)
            rank = request->finds[i]->rank;
    for (unsigned i = 0; request->finds[i]; i++) {
        struct console_find *find = request->finds[i];
        if (find->rank != rank)
            continue;
        count += find->count;
        match = &find->matches[0];
    }
    if (count == 0)
        control_request_fail(request, "no-such-console", NULL,
                             "no console has a name or UUID that begins with %.300s", wanted(request));
    else if (count > 1)
        fail_ambiguous(request, rank, count);
    else if (request->command->order == ORDER_ATTACH && !request->client)
        control_request_fail(request, "failed", NULL, "the client has gone");
    else
        give_order(request, match);
}

static void on_find(struct console_query *query)
{
    struct console_find *find = container_of(query, struct console_find, query);
    struct control_request *request = query->arg;
    unsigned at = 0;
    while (request->finds[at])
        at++;
    request->finds[at] = find;
    /* This one stays pending until the order, if there is one, is. */
    if (request->pending == 1 && !request->is_answered)
        choose(request);
    control_request_arrived(request);
}

void control_console_run(struct control_request *request)
{
    const struct control_server *server = request->control->server;
    struct console_query query = {.reply_to = server->loop, .done = on_find, .arg = request};
    size_t len;
    unsigned stuck;
    const char *text = control_request_text(request, "console", &len);
    if (loop_probes_stuck(request->control->probes, &stuck)) {
        control_request_fail(request, "failed", NULL, "worker %u of vspcd does not answer", stuck);
        return;
    }
    request->finds = xcalloc(server->owner_count + 1, sizeof(struct console_find *));
    request->pending = server->owner_count;
    loop_timer_arm(server->loop, &request->timeout, CONTROL_ANSWER_MS, on_timeout);
    for (unsigned i = 0; i < server->owner_count; i++)
        console_find_ask(server->owners[i], text, len, &query);
}
