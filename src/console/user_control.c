#include "user_control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "console_order.h"
#include "vspc/console_json.h"

enum {
    REQUEST_MAX = 4096,    /* bytes of a client's JSON */
    REQUEST_DEPTH = 8,     /* of which jansson is not asked to go deeper */
    CHANGES_A_SECOND = 32, /* of one user's access: each is told to all others */
};

void control_peer_who(const struct control_peer *peer, char out[EVENT_WHO])
{
    if (peer->as[0])
        snprintf(out, EVENT_WHO, "%s (uid %u)", peer->as, (unsigned)peer->uid);
    else
        snprintf(out, EVENT_WHO, "uid %u", (unsigned)peer->uid);
}

/* Appends IAC SB 200 JSON IAC SE, and gives the object's reference back. */
static void put_object(struct bytes *out, json_t *object)
{
    static const uint8_t head[] = {TN_IAC, TN_SB, TN_OPT_CONTROL}, tail[] = {TN_IAC, TN_SE};
    char *text = json_dumps(object, JSON_ENSURE_ASCII);
    json_decref(object);
    if (!text)
        return;
    bytes_put(out, head, sizeof head);
    bytes_put(out, text, strlen(text));
    bytes_put(out, tail, sizeof tail);
    free(text);
}

void user_control_put_notice(struct bytes *out, const char *text, size_t len)
{
    put_object(out, json_pack("{s:s%}", "notice", text, len));
}

/* Who has exclusive access, or null. */
static json_t *holder_json(const struct console *console)
{
    char who[EVENT_WHO];
    if (!console->holder)
        return json_null();
    user_conn_who(console->holder, who);
    return json_string(who);
}

void user_control_tell_access(struct user_conn *user)
{
    user->attached->owes_access = true;
}

void user_control_put_access(const struct user_conn *user, struct bytes *out)
{
    struct attached *attached = user->attached;
    if (!attached->owes_access)
        return;
    attached->owes_access = false;
    put_object(out, json_pack("{s:s,s:b,s:o}", "access", console_access_name(access_of(user)), "writes",
                              user->writes, "holder", holder_json(user->console)));
}

/* Answers a request that is not granted. */
static void refuse(struct user_conn *user, const char *error, const char *message)
{
    struct bytes line = {0};
    put_object(&line, json_pack("{s:s,s:s,s:o}", "error", error, "message", message, "holder",
                                holder_json(user->console)));
    user_output_reply(user, bytes_at(&line), line.len);
    bytes_clear(&line);
}

void user_control_record(struct attached *attached, uint8_t option, const uint8_t *data, size_t len)
{
    if (option != TN_OPT_CONTROL)
        return;
    free(attached->request);
    /* What is too long is cut, and so no JSON any more. */
    attached->request = xmemdup0(data, len < REQUEST_MAX ? len : REQUEST_MAX);
}

static bool changes_too_fast(struct user_conn *user)
{
    struct attached *attached = user->attached;
    uint64_t now = loop_now(user->console->owner->loop);
    if (now - attached->changes_since_ms >= 1000) {
        attached->changes_since_ms = now;
        attached->changes = 0;
    }
    return ++attached->changes > CHANGES_A_SECOND;
}

/* Result: NULL, or what is wrong with the request. */
static const char *take_access(struct user_conn *user, const json_t *request)
{
    const json_t *name = json_object_get(request, "access"), *force = json_object_get(request, "force");
    enum console_access access;
    if (!json_is_string(name) || !console_access_parse(json_string_value(name), &access))
        return "access is rw, ro, exclusive, exclusive-write or fallback";
    if (force && !json_is_boolean(force))
        return "force is true or false";
    if (json_object_size(request) != (force ? 2 : 1))
        return "beside access there may be force, and nothing else";
    if (changes_too_fast(user))
        refuse(user, "refused", "access may be changed 32 times a second");
    else if (access_check(user->console, user, access, json_is_true(force)) == 0)
        access_change(user, access, json_is_true(force));
    else
        refuse(user, "refused", "somebody else has exclusive access");
    console_flush_users(user->console);
    return NULL;
}

/* Goes back to where a new user starts. The second half of a pair that was begun is still owed, and goes
 * first; one who lags behind that has it all before itself. */
static void replay(struct user_conn *user)
{
    uint64_t from = console_replay_from(user->console);
    if (from < user->cursor)
        user->cursor = from;
}

static const char *take_request(struct user_conn *user, const json_t *request)
{
    if (json_object_get(request, "access"))
        return take_access(user, request);
    if (!json_is_true(json_object_get(request, "replay")) || json_object_size(request) != 1)
        return "a request is an object with access, or with replay, which is true";
    replay(user);
    return NULL;
}

/* Whether no bracket of the text is nested deeper than REQUEST_DEPTH. */
static bool is_shallow(const char *text)
{
    int depth = 0;
    for (; *text && depth <= REQUEST_DEPTH; text++)
        depth += (*text == '{' || *text == '[') - (*text == '}' || *text == ']');
    return depth <= REQUEST_DEPTH;
}

void user_control_take(struct user_conn *user)
{
    char *text = user->attached->request;
    user->attached->request = NULL;
    json_t *request = is_shallow(text) ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *wrong = "it is no JSON object of at most 4 KiB";
    if (json_is_object(request))
        wrong = take_request(user, request);
    if (wrong)
        refuse(user, "usage", wrong);
    json_decref(request);
    free(text);
}

/* What the client gets in front of the stream: the line that answers it, and then its access and console. */
static void greet(struct user_conn *user, const struct console_order *order)
{
    static const char ok[] = "{\"v\": 1, \"ok\": true}\n";
    const char *answer = order->answer ? order->answer : ok;
    json_t *console = console_json_show(order, user->console->owner->config->server.advertise);
    user_output_reply(user, answer, strlen(answer));
    user_control_put_access(user, &user->control);
    put_object(&user->control, json_pack("{s:o}", "console", console));
}

int user_control_attach(struct console *console, struct console_order *order)
{
    struct admission *admission = &console->owner->shared->admission;
    if (access_check(console, NULL, order->access, order->force) < 0)
        return -EBUSY;
    if (!admission_take(admission, ADMISSION_USER))
        return -EMFILE;
    struct user_conn *user = xcalloc(1, sizeof *user);
    user->console = console;
    user->io.fd = order->fd;
    user->attached = xcalloc(1, sizeof *user->attached);
    user->attached->peer = order->peer;
    /* That it types or watches is no change of its access; to hold is. */
    user->wants_write = order->access != ACCESS_RO;
    order->fd = -1;
    if (user_conn_start(user, TELNET_MODE_ALWAYS) < 0)
        return -EMFILE;
    access_change(user, order->access, order->force);
    console_order_fill_show(order, console);
    greet(user, order);
    console_flush_users(console);
    if (order->text.len)
        user_conn_take(user, bytes_at(&order->text), order->text.len);
    return 0;
}

void user_control_free(struct attached *attached)
{
    if (!attached)
        return;
    free(attached->request);
    free(attached);
}
