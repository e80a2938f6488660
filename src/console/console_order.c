#include "console_order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "access.h"
#include "user_control.h"
#include "vm_conn.h"

struct console_order *console_order_new(enum console_order_type type, struct directory_entry *entry,
                                        const struct console_query *query)
{
    struct console_order *order = xcalloc(1, sizeof *order);
    order->query = *query;
    order->entry = entry;
    order->type = type;
    order->fd = -1;
    return order;
}

void console_order_free(struct console_order *order)
{
    if (order->fd >= 0)
        close(order->fd);
    bytes_clear(&order->text);
    free(order->answer);
    free(order->log);
    free(order->users);
    free(order);
}

void console_order_fill_show(struct console_order *order, const struct console *console)
{
    const struct directory_entry *entry = console->entry;
    struct quoted identity = printable(entry->identity, entry->identity_len);
    console_fill_row(console, &order->row);
    snprintf(order->identity, sizeof order->identity, "%s", identity.s);
    order->worker = console->owner->worker;
    free(order->log);
    order->log = console_log_path(console->log);
    order->scrollback = (size_t)(console->ring.end - console_replay_from(console));
    if (console->vm)
        sock_addr_format(&console->vm->peer, order->peer_text);
    if (console->holder)
        user_conn_who(console->holder, order->holder);
    else
        order->holder[0] = 0;
}

static const char *kind_of(const struct user_conn *user)
{
    if (user->attached)
        return "control";
    if (user->state == USER_UNDECIDED)
        return "undecided";
    return user->state == USER_TELNET ? "telnet" : "raw";
}

static int list_users(struct console_order *order, const struct console *console)
{
    struct user_conn *user;
    order->users = xcalloc(console->user_count, sizeof *order->users);
    DL_FOREACH(console->users, user)
    {
        struct user_row *row = &order->users[order->user_count++];
        *row = (struct user_row){
            .id = user->id,
            .kind = kind_of(user),
            .access = access_of(user),
            .writes = user->writes,
            .since = user->since,
            .bytes_to_user = user->sent_bytes,
            .bytes_from_user = user->received_bytes,
            .behind = console->ring.end - user->cursor,
        };
        user_conn_who(user, row->who);
        size_t len = strlen(row->who);
        if (user->attached)
            snprintf(row->who + len, sizeof row->who - len, ", process %d", (int)user->attached->peer.pid);
    }
    return 0;
}

static int send_input(const struct console_order *order, struct console *console)
{
    if (!console_has_vm(console))
        return -ENOTCONN;
    if (console->holder && !order->force)
        return -EBUSY;
    if (console->input.len >= INPUT_HIGH)
        return -EAGAIN;
    if (order->is_break)
        console_input_break(console);
    console_input(console, bytes_at(&order->text), order->text.len);
    console_flush_input(console);
    return 0;
}

static int kick(const struct console_order *order, struct console *console)
{
    char text[EVENT_WHO + 32];
    struct user_conn *user;
    DL_FOREACH(console->users, user)
    {
        if (user->id != order->user)
            continue;
        int len = snprintf(text, sizeof text, "disconnected by ");
        control_peer_who(&order->peer, text + len);
        user_output_last_word(user, text);
        user_conn_close_for(user, text);
        return 0;
    }
    return -ESRCH;
}

static int disconnect(struct console *console)
{
    if (!console->vm)
        return -ENOTCONN;
    vm_conn_hang_up(console->vm);
    return 0;
}

static int obey(struct console_order *order, struct console *console)
{
    switch (order->type) {
    case ORDER_SHOW:
        console_order_fill_show(order, console);
        return 0;
    case ORDER_USERS:
        return list_users(order, console);
    case ORDER_SEND:
        return send_input(order, console);
    case ORDER_NOTICE:
        order->reached = console_notice(console, (const char *)bytes_at(&order->text));
        return 0;
    case ORDER_KICK:
        return kick(order, console);
    case ORDER_DISCONNECT:
        return disconnect(console);
    case ORDER_ATTACH:
        return user_control_attach(console, order);
    }
    return -EINVAL;
}

/* Letter: an order has arrived at its console's worker. */
static void on_order(void *arg)
{
    struct console_order *order = arg;
    struct directory_entry *entry = order->entry;
    struct console_owner *owner = entry->owner;
    struct console *console = entry->console;
    directory_unpin(owner->shared->directory, entry);
    if (!console)
        directory_release(owner->shared->directory, entry);
    order->entry = NULL;
    order->result = -ENOENT;
    if (console && console_is_shown(console)) {
        /* Before, as what is ordered may end the console. */
        console_fill_row(console, &order->row);
        if (console->holder)
            user_conn_who(console->holder, order->holder);
        order->result = obey(order, console);
    }
    console_query_answer(&order->query);
}

void console_order_post(struct console_order *order)
{
    struct console_owner *owner = order->entry->owner;
    loop_post(owner->loop, on_order, order);
}
