#include "mapping/redis_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vspc/mem.h"
#include "vspc/text.h"

enum { PASSWORD_MAX = 4096 };

struct redis_settings *redis_settings_new(struct config *config)
{
    struct redis_settings *settings = xcalloc(1, sizeof *settings);
    const char *advertise = config->server.advertise;
    bool is_ipv6 = strchr(advertise, ':') && advertise[0] != '[';
    settings->config = config_ref(config);
    settings->record = xasprintf("vspc:node:%s", config->server.node_id);
    settings->endpoint_prefix = xasprintf(is_ipv6 ? "[%s]:" : "%s:", advertise);
    if (config->redis.unix_socket[0])
        settings->where = xstrdup(config->redis.unix_socket);
    else
        settings->where = xasprintf("%s:%u", config->redis.host, config->redis.port);
    settings->maps[MAP_PORT] = config->redis.vm_port_map;
    settings->maps[MAP_ENDPOINT] = config->redis.vm_endpoint_map;
    settings->maps[MAP_UUID] = config->redis.vm_uuid_map;
    settings->maps[MAP_RECORD] = settings->record;
    return settings;
}

void redis_settings_free(struct redis_settings *settings)
{
    if (!settings)
        return;
    config_unref(settings->config);
    free(settings->record);
    free(settings->endpoint_prefix);
    free(settings->where);
    free(settings);
}

bool redis_settings_same_place(const struct redis_settings *a, const struct redis_settings *b)
{
    const struct config *ca = a->config;
    const struct config *cb = b->config;
    for (int i = 0; i < MAP_COUNT; i++)
        if (strcmp(a->maps[i], b->maps[i]) != 0)
            return false;
    return ca->redis.enabled == cb->redis.enabled && ca->redis.port == cb->redis.port &&
           ca->redis.database == cb->redis.database && strcmp(ca->redis.host, cb->redis.host) == 0 &&
           strcmp(ca->redis.unix_socket, cb->redis.unix_socket) == 0 &&
           strcmp(ca->redis.active_key_prefix, cb->redis.active_key_prefix) == 0 &&
           strcmp(a->endpoint_prefix, b->endpoint_prefix) == 0;
}

bool redis_settings_same_login(const struct redis_settings *a, const struct redis_settings *b)
{
    return strcmp(a->config->redis.username, b->config->redis.username) == 0 &&
           strcmp(a->config->redis.password, b->config->redis.password) == 0 &&
           strcmp(a->config->redis.password_file, b->config->redis.password_file) == 0;
}

/* Reads a whole small file. Result: its length, or a negative errno. */
static ssize_t read_small_file(const char *path, char *out, size_t max)
{
    struct stat st;
    size_t len = 0;
    /* Not blocking: a named pipe without a writer would hold the thread here. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    ssize_t result = 0;
    if (fstat(fd, &st) < 0)
        result = -errno;
    else if (!S_ISREG(st.st_mode))
        result = -EINVAL;
    while (result == 0) {
        ssize_t n = read(fd, out + len, max - len);
        if (n > 0 && len + (size_t)n < max)
            len += (size_t)n;
        else
            result = n < 0 ? -errno : n > 0 ? -EFBIG : (ssize_t)len;
        if (n == 0)
            break;
    }
    close(fd);
    return result;
}

char *redis_settings_password(const struct redis_settings *settings, size_t *len, char **error)
{
    const struct config *config = settings->config;
    const char *path = config->redis.password_file;
    if (!path[0]) {
        *len = strlen(config->redis.password);
        return xstrdup(config->redis.password);
    }
    char *text = xmalloc(PASSWORD_MAX);
    ssize_t n = read_small_file(path, text, PASSWORD_MAX);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (n > 0) {
        *len = (size_t)n;
        return text;
    }
    *error = xasprintf("cannot read a password from %s: %s", quote(path, strlen(path)).s,
                       n ? strerror((int)-n) : "it is empty");
    free(text);
    return NULL;
}
