#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consoles.h"
#include "display.h"
#include "terminal.h"
#include "vspc/loop.h"

enum { QUEUE_MAX = 64 * 1024, READ_SIZE = 16 * 1024 };

/* A line on standard error; the terminal there, if it is one, may be raw. */
static void complain_raw(const char *text)
{
    fprintf(stderr, isatty(STDERR_FILENO) ? "%s\r\n" : "%s\n", text);
}

void session_put_line(struct session *s, const char *text)
{
    if (!s->screen_is_terminal) {
        complain_raw(text);
        return;
    }
    bytes_put(&s->to_screen, "\r\n", 2);
    bytes_put(&s->to_screen, text, strlen(text));
}

void session_end_lines(struct session *s)
{
    if (s->screen_is_terminal)
        bytes_put(&s->to_screen, "\r\n", 2);
}

void session_tell(struct session *s, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        abort();
    char *line = xasprintf("[vspc: %s]", text);
    session_put_line(s, line);
    session_end_lines(s);
    free(line);
    free(text);
}

void session_send(struct session *s, json_t *object)
{
    static const uint8_t begin[] = {TN_IAC, TN_SB, SESSION_OPTION}, end[] = {TN_IAC, TN_SE};
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    bytes_put(&s->to_server, begin, sizeof begin);
    telnet_escape(&s->to_server, (const uint8_t *)text, strlen(text));
    bytes_put(&s->to_server, end, sizeof end);
    free(text);
}

const char *session_access_text(const struct session *s)
{
    if (strcmp(s->now, "exclusive") == 0)
        return "exclusive";
    if (strcmp(s->now, "exclusive-write") == 0)
        return "exclusive write";
    return s->writes ? "read-write" : "read-only";
}

/* The line at the start. Only now is it known what there is to be told. */
static void tell_connected(struct session *s)
{
    char escape[8], *name = console_shown_name(s->console), *uuid = shown_field(s->console, "uuid");
    char *help = s->escape == SESSION_NO_ESCAPE
                     ? xstrdup("")
                     : xasprintf(" Escape is %s, then ? for help.", escape_text(s->escape, escape));
    char *state = shown_field(s->console, "state");
    char *line = xasprintf("Connected to %s%s%s%s, port %lld, %s%s%s.%s", name, *uuid ? " (" : "", uuid,
                           *uuid ? ")" : "", (long long)field_number(s->console, "port"),
                           session_access_text(s), strcmp(state, "connected") == 0 ? "" : "; its VM is ",
                           strcmp(state, "connected") == 0 ? "" : state, help);
    if (s->screen_is_terminal)
        bytes_put(&s->to_screen, line, strlen(line));
    else
        complain_raw(line);
    session_end_lines(s);
    free(line);
    free(state);
    free(help);
    free(uuid);
    free(name);
}

static void take_access(struct session *s, const json_t *object)
{
    snprintf(s->now, sizeof s->now, "%s", field_text(object, "access"));
    s->writes = json_is_true(json_object_get(object, "writes"));
    if (s->is_change_awaited)
        session_tell(s, "%s", session_access_text(s));
    s->is_change_awaited = false;
}

static void on_object(void *arg, uint8_t option, const uint8_t *data, size_t len)
{
    struct session *s = arg;
    json_t *object =
        option == SESSION_OPTION ? json_loadb((const char *)data, len, JSON_ALLOW_NUL, NULL) : NULL;
    json_t *console = json_object_get(object, "console");
    if (console && !s->console) {
        s->console = json_incref(console);
        tell_connected(s);
    } else if (json_object_get(object, "access")) {
        take_access(s, object);
    } else if (json_object_get(object, "notice")) {
        char *text = shown_field(object, "notice");
        session_tell(s, "%s", text);
        free(text);
    } else if (json_object_get(object, "error")) {
        char *message = shown_field(object, "message"), *holder = shown_field(object, "holder");
        session_tell(s, "%s%s%s", *message ? message : "refused", *holder ? ": " : "", holder);
        s->is_change_awaited = false;
        free(holder);
        free(message);
    }
    json_decref(object);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    struct session *s = arg;
    bytes_put(&s->to_screen, data, len);
}

static void on_command(void *arg, uint8_t command)
{
    (void)arg, (void)command;
}

static void on_option(void *arg, uint8_t option, bool enabled)
{
    (void)arg, (void)option, (void)enabled;
}

static void on_send(void *arg, const uint8_t *data, size_t len)
{
    struct session *s = arg;
    bytes_put(&s->to_server, data, len);
}

static const struct telnet_handler handler = {on_data, on_command, on_option, on_object, on_send};

static void feed(struct session *s, const uint8_t *data, size_t len)
{
    while (len && !s->server_closed) {
        size_t used;
        const char *why;
        if (telnet_stream_feed(s->telnet, data, len, &used, &why) < 0) {
            session_tell(s, "vspcd broke the protocol: %s", why);
            s->server_closed = true;
        }
        data += used;
        len -= used;
    }
}

static void read_server(struct session *s)
{
    uint8_t buffer[READ_SIZE];
    ssize_t n = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        s->server_closed = true;
    else
        feed(s, buffer, (size_t)n);
    s->active_ms = clock_ms();
}

static void write_server(struct session *s)
{
    ssize_t n = send(s->fd, bytes_at(&s->to_server), s->to_server.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* That it is closed, reading tells, behind the last that it sent. */
    if (n <= 0)
        return;
    bytes_drop(&s->to_server, (size_t)n);
    s->active_ms = clock_ms();
}

static void read_keys(struct session *s)
{
    uint8_t buffer[READ_SIZE];
    ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        s->keys_ended = true;
    else
        session_keys(s, buffer, (size_t)n);
    s->active_ms = clock_ms();
}

static void write_screen(struct session *s)
{
    ssize_t n = write(s->screen, bytes_at(&s->to_screen), s->to_screen.len);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        fail(CTL_FAILED, "the output cannot be written: %s", strerror(errno));
    if (n > 0)
        bytes_drop(&s->to_screen, (size_t)n);
}

/* How long to wait at most: -1 without end; 0 when standard input has ended and it has been silent since. */
static int patience(const struct session *s)
{
    if (!s->keys_ended || s->server_closed || s->to_server.len || s->to_screen.len)
        return -1;
    uint64_t now = clock_ms(), end = s->active_ms + s->wait_ms;
    return now >= end ? 0 : (int)(end - now);
}

/* One turn: waits for what can go on, and does it. A descriptor of no interest is not polled at all: it could
 * have been hung up. */
static void turn(struct session *s)
{
    bool wants_server = !s->server_closed && s->to_screen.len < QUEUE_MAX;
    bool wants_keys = s->reads_keys && !s->keys_ended && !s->server_closed && s->to_server.len < QUEUE_MAX;
    bool has_keys = s->to_server.len && !s->server_closed;
    struct pollfd fds[] = {
        {.fd = wants_server || has_keys ? s->fd : -1,
         .events = (short)((wants_server ? POLLIN : 0) | (has_keys ? POLLOUT : 0))},
        {.fd = wants_keys ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = s->to_screen.len ? s->screen : -1, .events = POLLOUT},
    };
    int timeout = patience(s);
    int ready = timeout == 0 ? 0 : poll(fds, 3, timeout);
    if (ready == 0 && patience(s) == 0)
        s->left = true;
    if (ready <= 0)
        return;
    if (fds[0].revents & POLLOUT)
        write_server(s);
    /* Hung up while only writing was of interest: what it sent last is read all the same. */
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        read_server(s);
    if (fds[1].revents)
        read_keys(s);
    if (fds[2].revents)
        write_screen(s);
}

bool session_run(struct session *s, struct ctl_conn *conn)
{
    s->fd = conn->fd;
    s->screen = terminal_output();
    s->screen_is_terminal = isatty(STDOUT_FILENO);
    s->telnet = telnet_stream_new(TELNET_SIDE_USER, &handler, s);
    s->active_ms = clock_ms();
    feed(s, bytes_at(&conn->in), conn->in.len);
    while (!s->left && (!s->server_closed || s->to_screen.len))
        turn(s);
    /* What was typed before the key that leaves. */
    if (s->to_server.len && !s->server_closed)
        write_server(s);
    /* The shell's prompt, or a complaint, has a line of its own. */
    if (s->screen_is_terminal)
        bytes_put(&s->to_screen, "\r\n", 2);
    if (s->to_screen.len)
        write_screen(s);
    if (s->screen != STDOUT_FILENO)
        close(s->screen);
    telnet_stream_free(s->telnet);
    bytes_clear(&s->to_server);
    bytes_clear(&s->to_screen);
    json_decref(s->console);
    return s->left;
}
