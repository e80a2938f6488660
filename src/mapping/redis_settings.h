/* Redis settings: what a configuration means for Redis, computed once.
 *
 * Made from a struct config, of which it keeps a reference; immutable; owned by the Redis writer's thread. */
#ifndef VSPC_REDIS_SETTINGS_H
#define VSPC_REDIS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "vspc/config.h"

/* The hashes of design.md, Redis, in the order in which the script knows them. */
enum redis_map { MAP_PORT, MAP_ENDPOINT, MAP_UUID, MAP_RECORD, MAP_COUNT };

struct redis_settings {
    struct config *config;
    const char *maps[MAP_COUNT]; /* names of the hashes */
    char *record;                /* vspc:node:<node_id> */
    char *endpoint_prefix;       /* an endpoint up to the port: "host:" or "[fd00::7]:" */
    char *where;                 /* of Redis, for messages: "host:port" or the socket's path */
};

/* Takes a reference of its own. */
struct redis_settings *redis_settings_new(struct config *config);
void redis_settings_free(struct redis_settings *settings);

/* Do both write the same things to the same Redis? How one logs in does not matter for that. */
bool redis_settings_same_place(const struct redis_settings *a, const struct redis_settings *b);
bool redis_settings_same_login(const struct redis_settings *a, const struct redis_settings *b);

/* The password to use, read from password_file when that is set. Result: the password of *len bytes, which
 * the caller frees, possibly empty; or NULL with *error saying what is wrong, which the caller frees. */
char *redis_settings_password(const struct redis_settings *settings, size_t *len, char **error);

#endif
