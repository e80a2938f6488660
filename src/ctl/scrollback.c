#include "scrollback.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "display.h"
#include "session.h"
#include "vspc/telnet.h"

enum { READ_SIZE = 64 * 1024 };

struct scrollback {
    struct log_text *out;
    unsigned lines;
    bool follows;
    size_t left;       /* bytes of it that have not come yet */
    struct bytes kept; /* those that have, until it is known which lines are the last */
    bool is_live;      /* they have been printed: the rest goes straight out */
};

/* All of it is here. */
static void print_last(struct scrollback *s)
{
    const char *data = (const char *)bytes_at(&s->kept);
    size_t from = s->kept.len ? log_text_last(data, s->kept.len, s->lines) : 0;
    if (s->kept.len)
        log_text_write(s->out, data + from, s->kept.len - from);
    bytes_clear(&s->kept);
    s->is_live = true;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct scrollback *s = arg;
    size_t kept = s->is_live ? 0 : len < s->left ? len : s->left;
    if (kept)
        bytes_put(&s->kept, data, kept);
    s->left -= kept;
    if (!s->is_live && s->left == 0)
        print_last(s);
    if (s->follows && len > kept)
        log_text_write(s->out, (const char *)data + kept, len - kept);
}

static void on_command(void *arg, uint8_t command)
{
    (void)arg, (void)command;
}

static void on_option(void *arg, uint8_t option, bool enabled)
{
    (void)arg, (void)option, (void)enabled;
}

/* How much will be sent again. Notices go to people alone, and who reads a log wants the log. */
static void on_object(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    struct scrollback *s = arg;
    json_t *object =
        option == SESSION_OPTION ? json_loadb((const char *)data, len, JSON_ALLOW_NUL, NULL) : NULL;
    const json_t *size = json_object_get(json_object_get(object, "console"), "scrollback");
    if (json_is_integer(size) && json_integer_value(size) >= 0 && !s->is_live) {
        s->left = (size_t)json_integer_value(size);
        if (s->left == 0)
            print_last(s);
    }
    json_decref(object);
}

static void on_send(void *arg, const uint8_t *data, size_t len)
{
    (void)arg, (void)data, (void)len;
}

static const struct telnet_handler handler = {on_data, on_command, on_option, on_object, on_send};

static void feed(struct telnet_stream *telnet, const uint8_t *data, size_t len)
{
    size_t used;
    const char *why;
    for (; len; data += used, len -= used)
        if (telnet_stream_feed(telnet, data, len, &used, &why) < 0)
            fail(CTL_FAILED, "vspcd broke the protocol: %s", why);
}

/* Reads once, for at most timeout_ms (-1: without end). Result: false when nothing came. */
static bool read_more(struct ctl_conn *conn, struct telnet_stream *telnet, int timeout_ms)
{
    uint8_t buffer[READ_SIZE];
    struct pollfd ready = {.fd = conn->fd, .events = POLLIN};
    if (poll(&ready, 1, timeout_ms) == 0)
        return false;
    ssize_t n = recv(conn->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        fail(CTL_FAILED, "vspcd has closed the connection");
    if (n > 0)
        feed(telnet, buffer, (size_t)n);
    return true;
}

void scrollback_print(struct ctl_conn *conn, const char *name, unsigned lines, bool follow,
                      struct log_text *out)
{
    struct scrollback s = {.out = out, .lines = lines, .follows = follow};
    struct telnet_stream *telnet = telnet_stream_new(TELNET_SIDE_USER, &handler, &s);
    json_t *request = ctl_request("attach", name);
    json_object_set_new(request, "access", json_string("ro"));
    json_object_set_new(request, "as", json_string("vspcctl log"));
    json_decref(ctl_ask(conn, request));
    feed(telnet, bytes_at(&conn->in), conn->in.len);
    while (!s.is_live && read_more(conn, telnet, CTL_PATIENCE_MS))
        ;
    /* A stuck worker; or who lagged was spared the rest. */
    if (!s.is_live)
        print_last(&s);
    while (s.follows) {
        flush_output();
        read_more(conn, telnet, -1);
    }
    log_text_flush(out);
    telnet_stream_free(telnet);
}
