#include "mapping/redis_error.h"

#include <string.h>

static const struct {
    const char *sign;
    const char *cure;
} cures[] = {
    {"WRONGTYPE", "delete the key of this name that is no hash"},
    {"NOAUTH", "set [redis] password or password_file to what Redis wants"},
    {"WRONGPASS", "correct [redis] username, password or password_file"},
    {"invalid password", "correct [redis] password or password_file"},
    {"invalid username-password", "correct [redis] username, password or password_file"},
    {"without any password configured",
     "clear [redis] password and password_file, or set requirepass in Redis"},
    {"no password is set", "clear [redis] password and password_file, or set requirepass in Redis"},
    {"for 'auth'", "clear [redis] username: Redis before version 6 has no users"},
    {"NOPERM",
     "let the Redis user run AUTH, SELECT, SCRIPT, EVALSHA, EXISTS, TYPE, GET, SET, DEL, HGET, HSET, "
     "HDEL and HSCAN on the keys named in [redis] and on vspc:node:*"},
    {"No permissions", "let the Redis user run the commands and use the keys that [redis] names"},
    {"LOADING", "none needed: Redis is reading its data and will be ready soon"},
    {"READONLY", "point [redis] host and port to the primary; this is a replica"},
    {"MASTERDOWN", "point [redis] host and port to the primary; this is a replica"},
    {"OOM", "raise maxmemory in Redis, or free memory there"},
    {"MISCONF", "free the disk that Redis saves to; its log says more"},
    {"NOREPLICAS", "bring the replicas of Redis back, or lower its min-replicas-to-write"},
    {"BUSY", "a script keeps Redis busy: end it with SCRIPT KILL"},
    {"DENIED", "let Redis accept this host: bind, requirepass or protected-mode in redis.conf"},
    {"max number of clients", "raise maxclients in Redis"},
    {"DB index", "correct [redis] database, or raise databases in redis.conf"},
    {"MOVED", "use a Redis that is not a cluster"},
    {"CROSSSLOT", "use a Redis that is not a cluster"},
    {"CLUSTERDOWN", "use a Redis that is not a cluster"},
    {"SELECT is not allowed in cluster", "use a Redis that is not a cluster"},
    {"unknown command", "allow this command in Redis (rename-command), or use Redis 5 or later"},
};

static bool contains(const char *text, size_t len, const char *sign)
{
    return memmem(text, len, sign, strlen(sign)) != NULL;
}

bool redis_error_is_noscript(const char *text, size_t len)
{
    return contains(text, len, "NOSCRIPT");
}

bool redis_error_is_wrong_type(const char *text, size_t len)
{
    return contains(text, len, "WRONGTYPE");
}

const char *redis_error_cure(const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof cures / sizeof cures[0]; i++)
        if (contains(text, len, cures[i].sign))
            return cures[i].cure;
    return "see the log of Redis";
}
