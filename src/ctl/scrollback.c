#include "scrollback.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "display.h"
#include "session.h"
#include "vspc/telnet.h"

enum { SILENT_MS = 300, KEPT_MAX = 64 * 1024 * 1024, READ_SIZE = 64 * 1024 };

struct scrollback {
    struct bytes kept; /* until it is known which lines are the last */
    bool is_live;      /* they have been printed: the rest goes straight out */
    struct log_text *out;
};

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct scrollback *s = arg;
    if (s->is_live)
        log_text_write(s->out, (const char *)data, len);
    else
        bytes_put(&s->kept, data, len);
}

static void on_command(void *arg, uint8_t command)
{
    (void)arg, (void)command;
}

static void on_option(void *arg, uint8_t option, bool enabled)
{
    (void)arg, (void)option, (void)enabled;
}

/* Notices go to people alone, and who reads a log wants the log. */
static void on_object(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    (void)arg, (void)option, (void)data, (void)len;
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
    struct scrollback s = {.out = out};
    struct telnet_stream *telnet = telnet_stream_new(TELNET_SIDE_USER, &handler, &s);
    json_t *request = ctl_request("attach", name);
    json_object_set_new(request, "access", json_string("ro"));
    json_object_set_new(request, "as", json_string("vspcctl log"));
    json_decref(ctl_ask(conn, request));
    feed(telnet, bytes_at(&conn->in), conn->in.len);
    /* Nothing says where the replay ends, but that it comes at once. */
    while (s.kept.len < KEPT_MAX && read_more(conn, telnet, SILENT_MS))
        ;
    const char *data = (const char *)bytes_at(&s.kept);
    size_t from = s.kept.len ? log_text_last(data, s.kept.len, lines) : 0;
    if (s.kept.len)
        log_text_write(out, data + from, s.kept.len - from);
    bytes_clear(&s.kept);
    s.is_live = true;
    while (follow) {
        fflush(stdout);
        read_more(conn, telnet, -1);
    }
    log_text_flush(out);
    telnet_stream_free(telnet);
}
