#include "vspc/import.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/state_dir.h"
#include "vspc/loop.h"
#include "vspc/mem.h"
#include "vspc/node_vspc.h"
#include "vspc/port_book.h"
#include "vspc/text.h"

enum {
    NAME_MAX_BYTES = 255,                    /* the longest name that a VM can send */
    NAME_KEPT_BYTES = 2 * TEXT_QUOTED_BYTES, /* of a name that is longer: enough to show that it is */
    NAMED_MAX = 10,                          /* saved ports told one by one, for each reason to skip them */
    PROGRESS_MS = 1000,
    DISK_TIMEOUT_MS = 30000,
};

/* Why a saved port is not taken. */
enum skip {
    SKIP_NO_STRING,
    SKIP_EMPTY,
    SKIP_NO_PORT,
    SKIP_NO_NAME,
    SKIP_LONG_NAME,
    SKIP_OUT_OF_RANGE,
    SKIP_WANTED_TWICE,
    SKIP_KNOWN_VM,
    SKIP_KNOWN_PORT,
    SKIP_COUNT,
    SKIP_NOT = SKIP_COUNT, /* it is taken */
};

static const char *const skip_texts[SKIP_COUNT] = {
    [SKIP_NO_STRING] = "not a string in Redis",
    [SKIP_EMPTY] = "without a value, or expired meanwhile",
    [SKIP_NO_PORT] = "not a port number",
    [SKIP_NO_NAME] = "without a VM name",
    [SKIP_LONG_NAME] = "with a name of more than 255 bytes",
    [SKIP_OUT_OF_RANGE] = "outside user ports", /* the range comes behind it */
    [SKIP_WANTED_TWICE] = "with a port that another VM has too",
    [SKIP_KNOWN_VM] = "of a VM that is in the port book already",
    [SKIP_KNOWN_PORT] = "with a port that is in the port book already",
};

/* A key of Redis. */
struct saved_port {
    char *name;
    size_t name_len;
    int port; /* as of node_vspc.h */
};

struct import {
    const struct config *config;
    const char *prefix;
    struct saved_port *saved;
    size_t count, room;
    uint64_t told_ms; /* when progress was last told */
    unsigned imported;
    unsigned skipped[SKIP_COUNT];
    bool taken[65536]; /* ports, by this import */
};

/* A line on standard error. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;
    char text[4096];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "vspcd: %s\n", text);
}

static void keep_saved(void *arg, const char *name, size_t name_len, int port)
{
    struct import *import = arg;
    if (name_len > NAME_KEPT_BYTES)
        name_len = NAME_KEPT_BYTES;
    if (import->count == import->room) {
        import->room = import->room ? 2 * import->room : 1024;
        import->saved = xrealloc(import->saved, import->room * sizeof *import->saved);
    }
    import->saved[import->count++] = (struct saved_port){xmemdup0(name, name_len), name_len, port};
}

/* Whether it is time for another line of progress. */
static bool progress_is_due(struct import *import)
{
    uint64_t now = clock_ms();
    if (now - import->told_ms < PROGRESS_MS)
        return false;
    import->told_ms = now;
    return true;
}

static void tell_read(void *arg, uint64_t keys)
{
    struct import *import = arg;
    if (progress_is_due(import))
        say("read %s saved ports, in about %s keys of Redis", grouped(import->count).s, grouped(keys).s);
}

static int compare_names(const struct saved_port *left, const struct saved_port *right)
{
    size_t len = left->name_len < right->name_len ? left->name_len : right->name_len;
    int order = memcmp(left->name, right->name, len);
    if (order == 0 && left->name_len != right->name_len)
        order = left->name_len < right->name_len ? -1 : 1;
    return order;
}

static int compare_saved(const void *a, const void *b)
{
    const struct saved_port *left = a, *right = b;
    int order = compare_names(left, right);
    /* Of one name with two values a port goes first, the others are none. */
    return order ? order : (left->port < right->port) - (left->port > right->port);
}

/* In the order of their names, so that the same saved ports always come to the same, and each name once:
 * Redis may tell of a key more than once. */
static void sort_saved(struct import *import)
{
    size_t kept = 0;
    if (import->count)
        qsort(import->saved, import->count, sizeof *import->saved, compare_saved);
    for (size_t i = 0; i < import->count; i++) {
        if (kept && compare_names(&import->saved[kept - 1], &import->saved[i]) == 0)
            free(import->saved[i].name);
        else
            import->saved[kept++] = import->saved[i];
    }
    import->count = kept;
}

static const char *skip_text(const struct import *import, enum skip skip, char out[128])
{
    unsigned first = import->config->user.first_port;
    if (skip == SKIP_OUT_OF_RANGE)
        snprintf(out, 128, "%s %u-%u", skip_texts[skip], first, first + import->config->user.max_ports - 1);
    else
        snprintf(out, 128, "%s", skip_texts[skip]);
    return out;
}

/* Counts one that is not taken, and tells of it when it is one of the first. */
static void count_skip(struct import *import, const struct saved_port *saved, enum skip skip)
{
    char text[128], port[16] = "";
    if (import->skipped[skip]++ >= NAMED_MAX)
        return;
    if (saved->port > 0)
        snprintf(port, sizeof port, " %d", saved->port);
    say("not imported: %s%s: %s%s", quote(saved->name, saved->name_len).s, port,
        skip_text(import, skip, text),
        import->skipped[skip] == NAMED_MAX ? " (the rest of these is only counted)" : "");
}

/* What is against a saved port in itself, whatever the port book holds. */
static enum skip find_fault(const struct import *import, const struct saved_port *saved)
{
    const struct config *config = import->config;
    if (saved->port == NODE_VSPC_NO_STRING)
        return SKIP_NO_STRING;
    if (saved->port == NODE_VSPC_EMPTY)
        return SKIP_EMPTY;
    if (saved->port < 0)
        return SKIP_NO_PORT;
    if (saved->name_len == 0)
        return SKIP_NO_NAME;
    if (saved->name_len > NAME_MAX_BYTES)
        return SKIP_LONG_NAME;
    unsigned port = (unsigned)saved->port, first = config->user.first_port;
    return port < first || port - first >= config->user.max_ports ? SKIP_OUT_OF_RANGE : SKIP_NOT;
}

/* Puts one into the pool, if what the pool has allows it. */
static enum skip save(struct import *import, struct port_pool *pool, const struct saved_port *saved)
{
    enum skip skip = find_fault(import, saved);
    if (skip != SKIP_NOT)
        return skip;
    int err = port_pool_save(pool, saved->name, saved->name_len, (uint16_t)saved->port, time(NULL));
    if (err == -EEXIST)
        return SKIP_KNOWN_VM;
    if (err)
        return import->taken[saved->port] ? SKIP_WANTED_TWICE : SKIP_KNOWN_PORT;
    import->taken[saved->port] = true;
    return SKIP_NOT;
}

static void save_all(struct import *import, struct port_pool *pool)
{
    for (size_t i = 0; i < import->count; i++) {
        enum skip skip = save(import, pool, &import->saved[i]);
        if (skip == SKIP_NOT)
            import->imported++;
        else
            count_skip(import, &import->saved[i], skip);
        if (progress_is_due(import))
            say("imported %s saved ports; %s are left", grouped(import->imported).s,
                grouped(import->count - i - 1).s);
    }
}

/* Stores what was read in the port book. Result: whether it is on the disk. */
static bool store(struct import *import)
{
    const struct config *config = import->config;
    const char *dir = config->server.state_dir;
    struct port_pool *pool = port_pool_new(config->user.first_port, config->user.max_ports);
    port_pool_set_retention(pool, config_retention_s(config));
    struct disk *disk = disk_start();
    if (!disk) {
        say("cannot open the port book in %s: %s", quote(dir, strlen(dir)).s, strerror(errno));
        port_pool_free(pool);
        return false;
    }
    struct port_book *book = port_book_start(disk, dir, pool);
    /* Into a pool that lacks what the book holds, a port could come that is another VM's. */
    int unread = port_book_wait_loaded(book, DISK_TIMEOUT_MS);
    if (!unread)
        save_all(import, pool);
    else
        say("the port book in %s cannot be read%s; nothing is imported", quote(dir, strlen(dir)).s,
            unread == -ETIMEDOUT ? " in time" : "");
    port_book_stop_begin(book);
    int err = port_book_stop_finish(book, DISK_TIMEOUT_MS);
    if (err && !unread)
        say("not all could be written to the port book in %s; put that right and import again",
            quote(dir, strlen(dir)).s);
    /* The thread that is stuck in the disk still uses all this. */
    if (err == -ETIMEDOUT)
        _exit(1);
    disk_stop_begin(disk);
    if (disk_stop_finish(disk, DISK_TIMEOUT_MS) != 0)
        _exit(1);
    port_pool_free(pool);
    return !unread && !err;
}

static void tell_summary(const struct import *import)
{
    char text[128];
    const char *before = "; skipped: ";
    printf("imported %s of %s saved ports", grouped(import->imported).s, grouped(import->count).s);
    for (enum skip skip = 0; skip < SKIP_COUNT; skip++) {
        if (!import->skipped[skip])
            continue;
        printf("%s%s %s", before, grouped(import->skipped[skip]).s, skip_text(import, skip, text));
        before = ", ";
    }
    putchar('\n');
    if (import->count == 0)
        say("no key begins with %s: is that the prefix, and [redis] database %u the right one?",
            quote(import->prefix, strlen(import->prefix)).s, import->config->redis.database);
}

/* Whether there is a state directory of ours, in which a port stays reserved. */
static bool check_config(const struct config *config)
{
    const char *dir = config->server.state_dir;
    struct stat st;
    if (!dir[0]) {
        say("[server] state_dir is empty, so there is no port book to import into");
        return false;
    }
    if (config->user.port_retention == 0) {
        say("[user] port_retention is 0, so no port is kept for a VM");
        return false;
    }
    if (stat(dir, &st) < 0 || access(dir, W_OK | X_OK) < 0) {
        say("cannot write to state_dir %s: %s", quote(dir, strlen(dir)).s, strerror(errno));
        return false;
    }
    /* What root leaves there, vspcd under its own user could not write. */
    if (geteuid() == 0 && st.st_uid != 0) {
        const struct passwd *owner = getpwuid(st.st_uid);
        say("state_dir %s belongs to user %s (%u): import as that user", quote(dir, strlen(dir)).s,
            owner ? owner->pw_name : "?", st.st_uid);
        return false;
    }
    return true;
}

/* With the state directory locked. Result: whether all went well. */
static bool run(struct import *import, struct config *config)
{
    const struct node_vspc_sink sink = {keep_saved, tell_read, import};
    say("reading the saved ports from Redis");
    import->told_ms = clock_ms();
    char *error = node_vspc_read(config, import->prefix, &sink);
    if (error) {
        say("%s; nothing is imported", error);
        free(error);
        return false;
    }
    sort_saved(import);
    return store(import);
}

int import_node_vspc(struct config *config, const char *prefix)
{
    if (!prefix[0] || strlen(prefix) > NODE_VSPC_PREFIX_MAX) {
        say("the prefix of the keys must have 1 to %d bytes", NODE_VSPC_PREFIX_MAX);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    log_set_level(LOG_LEVEL_WARNING);
    if (!check_config(config))
        return 1;
    int lock = state_dir_lock(config->server.state_dir, DISK_TIMEOUT_MS);
    if (lock == -ETIMEDOUT)
        _exit(1);
    if (lock < 0) {
        if (lock == -EBUSY)
            say("stop that vspcd first, then import");
        return 1;
    }
    struct import *import = xcalloc(1, sizeof *import);
    import->config = config;
    import->prefix = prefix;
    bool done = run(import, config);
    if (done)
        tell_summary(import);
    for (size_t i = 0; i < import->count; i++)
        free(import->saved[i].name);
    free(import->saved);
    free(import);
    close(lock);
    return done ? 0 : 1;
}
