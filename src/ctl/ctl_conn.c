#include "ctl_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "display.h"
#include "plain_json.h"
#include "table.h"
#include "vspc/loop.h"

enum {
    REQUEST_MAX = 64 * 1024,       /* as vspcd takes them */
    ANSWER_MAX = 64 * 1024 * 1024, /* more is no answer */
    READ_SIZE = 64 * 1024,
    VERSION = 1
};

int ctl_connect(struct ctl_conn *conn, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    *conn = (struct ctl_conn){.fd = -1};
    if (strlen(path) >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path));
    conn->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return -errno;
    if (connect(conn->fd, (struct sockaddr *)&addr, sizeof addr) == 0)
        return 0;
    int err = -errno;
    ctl_close(conn);
    return err;
}

void ctl_open(struct ctl_conn *conn, const char *path)
{
    int err = ctl_connect(conn, path);
    if (!err)
        return;
    char *safe = shown(path, strlen(path));
    if (err == -ENOENT || err == -ECONNREFUSED)
        fail(CTL_NO_SERVER,
             "no vspcd at %s: is it running? [control] socket in vspc.ini says where it listens, -s where to "
             "look",
             safe);
    if (err == -EACCES || err == -EPERM)
        fail(CTL_NO_SERVER,
             "%s: permission denied: join the group vspc ('usermod -aG vspc USER', then log in again), or "
             "use sudo",
             safe);
    if (err == -ENAMETOOLONG)
        fail(CTL_NO_SERVER, "%s is too long for a socket's path: at most 107 bytes", safe);
    fail(CTL_NO_SERVER, "%s: %s", safe, strerror(-err));
}

void ctl_close(struct ctl_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    bytes_clear(&conn->in);
}

void ctl_set_text(json_t *request, const char *key, const char *text)
{
    json_t *value = json_string(text);
    if (!value)
        fail(CTL_USAGE, "the %s is not UTF-8%s", key,
             strcmp(key, "console") == 0 ? "; a console can be named by its UUID too" : "");
    json_object_set_new(request, key, value);
}

json_t *ctl_request(const char *command, const char *name)
{
    json_t *request = json_object();
    json_object_set_new(request, "v", json_integer(VERSION));
    json_object_set_new(request, "command", json_string(command));
    if (name)
        ctl_set_text(request, "console", name);
    return request;
}

bool ctl_send(struct ctl_conn *conn, json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    size_t len = strlen(text), at = 0;
    text[len++] = '\n';
    if (len > REQUEST_MAX)
        fail(CTL_USAGE, "the text is too long: vspcd takes 64 KiB at a time");
    while (at < len) {
        ssize_t n = send(conn->fd, text + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        at += (size_t)n;
    }
    free(text);
    if (at < len)
        conn->why = "vspcd has closed the connection";
    return at == len;
}

/* Waits for bytes and takes them. Result: false, and why. */
static bool fill(struct ctl_conn *conn, uint64_t deadline, bool is_patient)
{
    char buffer[READ_SIZE];
    for (;;) {
        uint64_t now = clock_ms();
        struct pollfd ready = {.fd = conn->fd, .events = POLLIN};
        if (!is_patient && poll(&ready, 1, now < deadline ? (int)(deadline - now) : 0) == 0) {
            conn->why = "vspcd does not answer";
            return false;
        }
        ssize_t n = recv(conn->fd, buffer, sizeof buffer, is_patient ? 0 : MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0) {
            conn->why = "vspcd has closed the connection";
            return false;
        }
        bytes_put(&conn->in, buffer, (size_t)n);
        return true;
    }
}

json_t *ctl_read(struct ctl_conn *conn, int timeout_ms)
{
    uint64_t deadline = clock_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);
    const uint8_t *end = NULL;
    for (;;) {
        if (conn->scanned < conn->in.len)
            end = memchr(bytes_at(&conn->in) + conn->scanned, '\n', conn->in.len - conn->scanned);
        if (end)
            break;
        conn->scanned = conn->in.len;
        if (conn->in.len > ANSWER_MAX) {
            conn->why = "what answers there is no vspcd";
            return NULL;
        }
        if (!fill(conn, deadline, timeout_ms < 0))
            return NULL;
    }
    const char *text = (const char *)bytes_at(&conn->in);
    size_t len = (size_t)((const char *)end - text);
    json_t *line = plain_json_read(text, len);
    /* A VM's name may hold a NUL. */
    if (!line)
        line = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    bytes_drop(&conn->in, len + 1);
    conn->scanned = 0;
    if (json_is_object(line))
        return line;
    json_decref(line);
    conn->why = "what answers there is no vspcd";
    return NULL;
}

json_t *ctl_need(struct ctl_conn *conn, int timeout_ms)
{
    json_t *line = ctl_read(conn, timeout_ms);
    if (!line)
        fail(CTL_FAILED, "%s", conn->why);
    return line;
}

json_t *ctl_try(struct ctl_conn *conn, json_t *request)
{
    return ctl_send(conn, request) ? ctl_read(conn, CTL_PATIENCE_MS) : NULL;
}

json_t *ctl_ask(struct ctl_conn *conn, json_t *request)
{
    json_t *answer = ctl_try(conn, request);
    if (!answer)
        fail(CTL_FAILED, "%s", conn->why);
    if (!ctl_is_ok(answer))
        exit((int)ctl_complain(answer, NULL));
    return answer;
}

json_t *ctl_ask_once(const char *path, json_t *request)
{
    struct ctl_conn conn;
    ctl_open(&conn, path);
    json_t *answer = ctl_ask(&conn, request);
    ctl_close(&conn);
    return answer;
}

bool ctl_is_ok(const json_t *answer)
{
    return json_is_true(json_object_get(answer, "ok"));
}

/* Those that a NAME could mean, to choose from. */
static void print_candidates(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"NAME", false, 8, 0}, {"UUID", false, 8, 0}, {"PORT", true, 0, 0}};
    const json_t *candidates = json_object_get(answer, "candidates"), *console;
    json_int_t count = field_number(answer, "count");
    struct table *table = table_new(columns, 3);
    size_t i;
    json_array_foreach(candidates, i, console)
    {
        char *name = shown_field(console, "name"), *label = shown_field(console, "label");
        table_put(table, xasprintf("%s%s%s", name, *label ? "." : "", label));
        table_put(table, shown_field(console, "uuid"));
        table_put(table, xasprintf("%lld", (long long)field_number(console, "port")));
        free(name);
        free(label);
    }
    table_print(table, stderr, display_columns(), true);
    if (count > (json_int_t)json_array_size(candidates))
        fprintf(stderr, "and %lld more\n", (long long)count - (long long)json_array_size(candidates));
}

enum ctl_exit ctl_complain(const json_t *answer, const char *about)
{
    const char *error = field_text(answer, "error");
    char *message = shown_field(answer, "message"), *holder = shown_field(answer, "holder");
    bool names_holder = *holder && !strstr(message, holder);
    complain("%s%s%s%s%s", about ? about : "", about ? ": " : "",
             *message ? message : "vspcd refused, and did not say why", names_holder ? ": held by " : "",
             names_holder ? holder : "");
    free(message);
    free(holder);
    if (strcmp(error, "no-such-console") == 0)
        return CTL_NO_CONSOLE;
    if (strcmp(error, "ambiguous") == 0) {
        print_candidates(answer);
        return CTL_NO_CONSOLE;
    }
    return strcmp(error, "refused") == 0 ? CTL_REFUSED : CTL_FAILED;
}
