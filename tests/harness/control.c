#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct control_link *control_link_try(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    env_dir();
    if (strlen(path) >= sizeof addr.sun_path)
        env_fail("a socket's path is too long: %s", path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        env_fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        close(fd);
        return NULL;
    }
    struct control_link *link = xcalloc(1, sizeof *link);
    link->fd = fd;
    return link;
}

struct control_link *control_link_open(const struct daemon *d)
{
    struct control_link *link;
    WAIT_FOR((link = control_link_try(d->control)), SOON, "nobody serves the control socket %s", d->control);
    return link;
}

void control_link_close(struct control_link *link)
{
    if (!link)
        return;
    close(link->fd);
    bytes_clear(&link->in);
    free(link);
}

void control_link_send_raw(struct control_link *link, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(link->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = link->fd, .events = POLLOUT};
            if (poll(&ready, 1, SOON) == 0)
                env_fail("the control socket cannot be written: nobody reads");
            continue;
        }
        /* A daemon that closes meanwhile is noticed by whoever reads. */
        if (n < 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

static void send_request(struct control_link *link, const char *format, va_list args)
{
    /* The quotes of the format, and not those of its arguments. */
    char *quoted = xstrdup(format);
    for (char *c = quoted; *c; c++)
        if (*c == '\'')
            *c = '"';
    char *members = NULL;
    int len = vasprintf(&members, quoted, args);
    if (len < 0)
        env_fail("out of memory");
    char *line = xasprintf("{\"v\":1,%s}\n", members);
    control_link_send_raw(link, line, strlen(line));
    free(line);
    free(members);
    free(quoted);
}

void control_link_send(struct control_link *link, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    send_request(link, format, args);
    va_end(args);
}

bool control_link_pump(struct control_link *link)
{
    uint8_t buffer[65536];
    for (int i = 0; i < 16 && !link->closed_by_peer; i++) {
        ssize_t n = recv(link->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            link->closed_by_peer = true;
        else
            bytes_put(&link->in, buffer, (size_t)n);
    }
    return !link->closed_by_peer;
}

/* Takes the next line, if it is there. */
static json_t *take_line(struct control_link *link)
{
    const char *from = (const char *)bytes_at(&link->in);
    const char *newline = link->in.len ? memchr(from, '\n', link->in.len) : NULL;
    if (!newline)
        return NULL;
    json_error_t error;
    size_t len = (size_t)(newline - from);
    json_t *object = json_loadb(from, len, 0, &error);
    if (!json_is_object(object))
        env_fail("the control socket said what is no JSON object: %s: %.*s", error.text, (int)len, from);
    bytes_drop(&link->in, len + 1);
    return object;
}

json_t *control_link_read(struct control_link *link, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    json_t *object;
    while (!(object = take_line(link))) {
        if (link->closed_by_peer)
            env_fail("the control socket was closed instead of an answer");
        uint64_t now = clock_ms();
        if (now >= deadline)
            env_fail("the control socket does not answer");
        struct pollfd ready = {.fd = link->fd, .events = POLLIN};
        poll(&ready, 1, (int)(deadline - now));
        control_link_pump(link);
    }
    return object;
}

json_t *control_link_read_answer(struct control_link *link, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    json_t *lines = json_array();
    for (;;) {
        uint64_t now = clock_ms();
        json_t *line = control_link_read(link, now < deadline ? (unsigned)(deadline - now) : 0);
        if (json_object_get(line, "ok")) {
            json_object_set_new(line, "lines", lines);
            return line;
        }
        json_array_append_new(lines, line);
    }
}

static json_t *ask(struct control_link *link, const char *format, va_list args)
{
    send_request(link, format, args);
    return control_link_read_answer(link, SOON);
}

json_t *control_link_ask(struct control_link *link, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *answer = ask(link, format, args);
    va_end(args);
    return answer;
}

/* Fails the test unless the request has succeeded. */
static json_t *must(struct control_link *link, const char *format, va_list args)
{
    json_t *answer = ask(link, format, args);
    if (!json_is_true(json_object_get(answer, "ok")))
        env_fail("the control socket refused %s: %s", format, json_dumps(answer, 0));
    return answer;
}

json_t *control_link_must(struct control_link *link, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *answer = must(link, format, args);
    va_end(args);
    return answer;
}

void control_link_do(struct control_link *link, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_decref(must(link, format, args));
    va_end(args);
}

void control_link_refused(struct control_link *link, const char *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *answer = ask(link, format, args);
    va_end(args);
    if (!json_is_false(json_object_get(answer, "ok")) || strcmp(control_text(answer, "error"), error) != 0)
        env_fail("the control socket should have answered %s with the error %s: %s", format, error,
                 json_dumps(answer, 0));
    if (!control_text(answer, "message")[0])
        env_fail("the control socket gave no message for %s", format);
    json_decref(answer);
}

void control_link_wait_closed(struct control_link *link, unsigned timeout_ms)
{
    WAIT_FOR(!control_link_pump(link), timeout_ms, "the control socket does not close the connection");
}

json_t *control_member(const json_t *object, const char *path)
{
    char key[64];
    while (object) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof key)
            env_fail("a member's name is too long: %s", path);
        memcpy(key, path, len);
        key[len] = 0;
        json_t *member = json_object_get(object, key);
        if (!path[len])
            return member;
        path += len + 1;
        object = member;
    }
    return NULL;
}

const char *control_text(const json_t *object, const char *path)
{
    const char *text = json_string_value(control_member(object, path));
    if (!text)
        env_fail("no text %s in %s", path, json_dumps(object, 0));
    return text;
}

json_int_t control_number(const json_t *object, const char *path)
{
    const json_t *number = control_member(object, path);
    if (!json_is_integer(number))
        env_fail("no number %s in %s", path, json_dumps(object, 0));
    return json_integer_value(number);
}
