#include "user_port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vspc/loop.h"

enum {
    LOOK_AGAIN_US = 2000,
    LOG_MAX = 64 << 20, /* bytes of the log that are read */
};

/* Result: a port, 0 when there is none yet, or a negative errno. */
static int ask_redis(struct user_port_source *source, const char *name)
{
    if (!source->redis)
        source->redis = redisConnectUnix(source->redis_socket);
    if (!source->redis || source->redis->err)
        return -ECONNREFUSED;
    redisReply *reply = redisCommand(source->redis, "HGET VM:Port %s", name);
    if (!reply)
        return -ECONNRESET;
    long port = reply->type == REDIS_REPLY_STRING ? strtol(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    return port > 0 && port <= UINT16_MAX ? (int)port : 0;
}

/* Result: 0 or a negative errno. */
static int read_log(struct user_port_source *source)
{
    char piece[65536];
    size_t n;
    FILE *file = fopen(source->log_file, "r");
    if (!file)
        return -errno;
    bytes_clear(&source->log);
    while (source->log.len < LOG_MAX && (n = fread(piece, 1, sizeof piece, file)) > 0)
        bytes_put(&source->log, piece, n);
    fclose(file);
    /* For strtol, which would read on. */
    bytes_put(&source->log, "", 1);
    return 0;
}

/* The port in the line that told of the VM's connection, or 0. */
static int find_in_log(const struct user_port_source *source, const char *name)
{
    char head[512];
    int len = snprintf(head, sizeof head, "VM connected vm=\"%s\" ", name);
    const char *log = (const char *)bytes_at(&source->log);
    if (!log)
        return 0;
    const char *line = memmem(log, source->log.len, head, (size_t)len);
    if (!line)
        return 0;
    const char *end = memchr(line, '\n', source->log.len - (size_t)(line - log));
    const char *port = end ? memmem(line, (size_t)(end - line), " port=", 6) : NULL;
    long number = port ? strtol(port + 6, NULL, 10) : 0;
    return number > 0 && number <= UINT16_MAX ? (int)number : 0;
}

/* Reads the log anew only for a VM that it did not know yet. */
static int look_in_log(struct user_port_source *source, const char *name)
{
    int port = find_in_log(source, name);
    if (port)
        return port;
    int err = read_log(source);
    return err ? err : find_in_log(source, name);
}

int user_port_find(struct user_port_source *source, const char *name, unsigned timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    for (;;) {
        int port = source->redis_socket ? ask_redis(source, name) : look_in_log(source, name);
        if (port)
            return port;
        if (clock_ms() >= deadline)
            return -ETIMEDOUT;
        usleep(LOOK_AGAIN_US);
    }
}

void user_port_close(struct user_port_source *source)
{
    if (source->redis)
        redisFree(source->redis);
    source->redis = NULL;
    bytes_clear(&source->log);
}
