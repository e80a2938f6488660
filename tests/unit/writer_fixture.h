/* Writer fixture: a Redis writer with a private redis-server, and VMs for it.
 *
 * For tests of src/mapping; one server and one writer a test. */
#ifndef VSPC_TEST_WRITER_FIXTURE_H
#define VSPC_TEST_WRITER_FIXTURE_H

#include <signal.h>

#include "mapping/redis_writer.h"
#include "redis_server.h"

#define NODE "node1"
#define RECORD "vspc:node:" NODE
#define UUID_1 "01010101-0101-0101-0101-010101010101"
#define UUID_2 "02020202-0202-0202-0202-020202020202"

static struct server redis;
static struct redis_writer *writer;
static uint64_t next_number = 1;

/* A configuration for a server, with further `section.key=value`s, the last NULL. */
static inline struct config *config_for(uint16_t port, const char *const *more)
{
    const char *overrides[24];
    size_t n = 0;
    char port_text[32];
    snprintf(port_text, sizeof port_text, "redis.port=%u", port);
    overrides[n++] = port_text;
    overrides[n++] = "server.node_id=" NODE;
    overrides[n++] = "server.advertise=host1";
    while (more && *more && n < 24)
        overrides[n++] = *more++;
    char *error = NULL;
    struct config *config = config_load(NULL, overrides, n, &error);
    cr_assert(config, "%s", error);
    return config;
}

static inline void writer_begin_at(uint16_t port, const char *const *more)
{
    struct config *config = config_for(port, more);
    writer = redis_writer_start(config);
    cr_assert(writer);
    config_unref(config);
}
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void writer_begin(void)
{
    writer_begin_at(redis.port, NULL);
}

static inline int writer_end(unsigned timeout_ms)
{
    int result = redis_writer_stop(writer, timeout_ms);
    writer = NULL;
    return result;
}

/* A writer that looks after Redis often. */
static inline void hurry(void)
{
    redis_writer_set_pace(writer, (struct redis_pace){.retry_ms = 200, .look_ms = 200, .check_ms = 600});
}

/* A VM whose identity comes from its UUID, all of whose bytes are `uuid`; 0: none, the name counts. */
static inline size_t identity_of(char out[64], int uuid, const char *name)
{
    return (size_t)(uuid ? snprintf(out, 64, "uuid:%02x", uuid) : snprintf(out, 64, "name:%s", name));
}

static inline void publish_labelled(int uuid, const char *name, const char *label, uint16_t port)
{
    char identity[64];
    struct mapping_vm vm = {.identity = identity,
                            .identity_len = identity_of(identity, uuid, name),
                            .number = next_number++,
                            .name = name,
                            .name_len = strlen(name),
                            .has_uuid = uuid != 0,
                            .label = label,
                            .port = port};
    memset(vm.uuid, uuid, UUID_SIZE);
    mapping_publish(writer, &vm);
}

static inline void publish(int uuid, const char *name, uint16_t port)
{
    publish_labelled(uuid, name, "", port);
}

static inline void leave(int uuid, const char *name)
{
    char identity[64];
    size_t len = identity_of(identity, uuid, name);
    mapping_remove(writer, identity, len, next_number++);
}

/* n VMs, called <prefix>0 and so on, on ports from 20000. */
static inline void publish_many(const char *prefix, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%u", prefix, i);
        publish(0, name, (uint16_t)(20000 + i));
    }
}

static inline void leave_many(const char *prefix, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%u", prefix, i);
        leave(0, name);
    }
}

static inline bool has_length(const char *map, long long n)
{
    return number_of(&redis, "HLEN", map) == n;
}

/* Nothing of anybody is left. */
static inline void expect_empty(void)
{
    cr_expect_eq(number_of(&redis, "DBSIZE"), 0, "Redis is not empty");
}

static inline void fixture_start(void)
{
    signal(SIGPIPE, SIG_IGN);
    server_start(&redis);
}

static inline void fixture_end(void)
{
    if (writer)
        writer_end(100);
    server_stop(&redis);
}

#endif
