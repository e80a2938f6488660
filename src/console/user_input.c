/* What a user sends: telnet or raw, and how that is found out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "user_control.h"

/* The one gate to the VM for what users type. */
static void typed(struct user_conn *user, const uint8_t *data, size_t len)
{
    if (!len)
        return;
    if (user->writes)
        console_input(user->console, data, len);
    else
        access_tell_read_only(user);
}

static void typed_break(struct user_conn *user)
{
    if (user->writes)
        console_input_break(user->console);
    else
        access_tell_read_only(user);
}

/* Telnet data on its way to the VM. Unless the user sends BINARY, CR NUL and CR LF mean CR. */
static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct user_conn *user = arg;
    size_t start = 0;
    for (size_t i = 0; i < len && !user->peer_binary; i++) {
        if (user->after_cr && (data[i] == '\n' || data[i] == 0)) {
            typed(user, data + start, i - start);
            start = i + 1;
        }
        user->after_cr = data[i] == '\r';
    }
    typed(user, data + start, len - start);
}

static void answer_ayt(struct user_conn *user)
{
    const struct console *console = user->console;
    char line[sizeof(struct quoted) + 128];
    if (user->control.len >= USER_ANSWERS_MAX)
        return;
    int len = snprintf(line, sizeof line, "\r\n[vspc: %s, VM %s, %u users]\r\n",
                       printable(console->name, console->name_len).s,
                       console_has_vm(console) ? "connected" : "disconnected", console->user_count);
    user_output_reply(user, line, (size_t)len);
}

static void on_command(void *arg, uint8_t command)
{
    struct user_conn *user = arg;
    if (command == TN_BREAK)
        typed_break(user);
    else if (command == TN_AYT && !user->attached)
        answer_ayt(user);
}

static void on_peer_option(void *arg, uint8_t option, bool enabled)
{
    struct user_conn *user = arg;
    if (option != TN_OPT_BINARY)
        return;
    user->peer_binary = enabled;
    user->after_cr = false;
}

static void on_subnegotiation(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    struct user_conn *user = arg;
    if (user->attached)
        user_control_record(user->attached, option, data, len);
}

static void on_send(void *arg, const uint8_t *data, size_t len)
{
    struct user_conn *user = arg;
    /* There is no negotiation by the control socket, not even to refuse. */
    if (!user->attached)
        user_output_reply(user, data, len);
}

static const struct telnet_handler handler = {on_data, on_command, on_peer_option, on_subnegotiation,
                                              on_send};

static int parse_telnet(struct user_conn *user, const uint8_t *data, size_t len)
{
    while (len) {
        size_t used;
        if (telnet_stream_feed(user->telnet, data, len, &used, &user->error) < 0)
            return -EPROTO;
        if (user->attached && user->attached->request)
            user_control_take(user);
        data += used;
        len -= used;
    }
    return 0;
}

/* What a new user cannot know. */
static void tell_how_it_is(struct user_conn *user)
{
    if (!console_has_vm(user->console))
        user_output_notice(user, "VM disconnected");
    if (user->console->holder && !user->attached)
        access_tell_read_only(user);
}

/* The user is known to speak telnet; what was held back is parsed. */
static int become_telnet(struct user_conn *user)
{
    struct bytes held = user->held;
    user->held = (struct bytes){0};
    user->state = USER_TELNET;
    int err = held.len ? parse_telnet(user, bytes_at(&held), held.len) : 0;
    bytes_clear(&held);
    if (!err)
        tell_how_it_is(user);
    return err;
}

/* The user is known not to speak telnet; what was held back goes to the VM as it is. */
static void become_raw(struct user_conn *user)
{
    user->state = USER_RAW;
    typed(user, bytes_at(&user->held), user->held.len);
    bytes_clear(&user->held);
    telnet_stream_free(user->telnet);
    user->telnet = NULL;
}

/* While undecided, what means the same either way goes to the VM at once. A 255, and an LF or NUL behind a
 * CR, wait, and so does all behind them: the order must not change. All waits while the VM does not read. */
static int input_undecided(struct user_conn *user, const uint8_t *data, size_t len)
{
    size_t plain = 0;
    while (!user->held.len && !user->console->users_paused && plain < len) {
        uint8_t c = data[plain];
        if (c == TN_IAC || (user->after_cr && (c == '\n' || c == 0)))
            break;
        user->after_cr = c == '\r';
        plain++;
    }
    typed(user, data, plain);
    bytes_put(&user->held, data + plain, len - plain);
    if (telnet_has_negotiation(bytes_at(&user->held), user->held.len))
        return become_telnet(user);
    return 0;
}

/* A user that was taken for raw for its silence, and whose first bytes may be the answers of a slow link. */
static int input_silent(struct user_conn *user, const uint8_t *data, size_t len)
{
    bytes_put(&user->held, data, len);
    const uint8_t *held = bytes_at(&user->held);
    if (held[0] != TN_IAC || (user->held.len > 1 && (held[1] < TN_WILL || held[1] > TN_DONT)))
        become_raw(user);
    else if (user->held.len >= 3)
        return become_telnet(user);
    return 0;
}

int user_input(struct user_conn *user, const uint8_t *data, size_t len)
{
    user->spoke = true;
    switch (user->state) {
    case USER_UNDECIDED:
        return input_undecided(user, data, len);
    case USER_SILENT:
        return input_silent(user, data, len);
    case USER_TELNET:
        return parse_telnet(user, data, len);
    case USER_RAW:
        typed(user, data, len);
        break;
    case USER_CLOSED:
        break;
    }
    return 0;
}

void user_input_decide(struct user_conn *user)
{
    if (user->state == USER_UNDECIDED && !user->spoke)
        user->state = USER_SILENT;
    else
        user_input_end(user);
}

void user_input_end(struct user_conn *user)
{
    if (user->state == USER_UNDECIDED || user->state == USER_SILENT)
        become_raw(user);
}

void user_input_begin(struct user_conn *user, enum telnet_mode mode)
{
    user->state = mode == TELNET_MODE_NEVER    ? USER_RAW
                  : mode == TELNET_MODE_ALWAYS ? USER_TELNET
                                               : USER_UNDECIDED;
    if (mode == TELNET_MODE_NEVER)
        return;
    user->telnet = telnet_stream_new(user->attached ? TELNET_SIDE_CONTROL : TELNET_SIDE_USER, &handler, user);
    /* What a client of the control socket types is what it means. */
    user->peer_binary = user->attached;
    telnet_stream_greet(user->telnet);
    if (mode == TELNET_MODE_ALWAYS)
        tell_how_it_is(user);
}
