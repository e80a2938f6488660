/* Configuration: vspc.ini, read with inih into an immutable struct config.
 *
 * A config is shared by reference: config_load makes it with one reference, every holder that keeps it across
 * messages takes its own, and nobody changes it. Any thread may read one it holds. One table of keys drives
 * parsing, checking, comparing, copying and printing. */
#ifndef VSPC_CONFIG_H
#define VSPC_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vspc/log.h"
#include "vspc/sock.h"

enum telnet_mode { TELNET_MODE_AUTO, TELNET_MODE_ALWAYS, TELNET_MODE_NEVER };
enum user_access { USER_ACCESS_RW, USER_ACCESS_RO };
enum log_timestamps { LOG_TIMESTAMPS_NONE, LOG_TIMESTAMPS_LINE };

/* One or more addresses with ports. */
struct listen_list {
    size_t len;
    struct sock_addr *items; /* owned */
};

/* All strings are owned and never NULL; "" is an empty value. Durations are in milliseconds, sizes in bytes.
 */
struct config {
    atomic_uint refs;
    struct {
        unsigned workers; /* as configured; 0 means one per CPU */
        char *node_id;    /* with its default filled in: <host name>:<first VM port> */
        char *advertise;  /* with its default filled in */
        enum log_level log_level;
        char *state_dir;
    } server;
    struct {
        struct listen_list listen;
        struct network_list allow;
        char *service_uri;
        uint64_t handshake_timeout;
        uint64_t vmotion_timeout;
        uint64_t keepalive; /* 0: off */
    } vm;
    struct {
        struct sock_addr listen; /* port 0 */
        struct network_list allow;
        uint16_t first_port;
        unsigned max_ports;
        uint64_t port_retention; /* 0: no reservation */
        uint64_t linger;         /* 0: ends at once */
        size_t scrollback;
        size_t backlog;
        enum telnet_mode telnet;
        enum user_access mode; /* of those who come by telnet */
        uint64_t keepalive;    /* 0: off */
        uint64_t idle_timeout; /* 0: never */
    } user;
    struct {
        bool enabled;
        char *host;
        uint16_t port;
        char *unix_socket;
        char *username;
        char *password;
        char *password_file;
        unsigned database;
        char *vm_port_map;
        char *vm_endpoint_map;
        char *vm_uuid_map;
        char *active_key_prefix;
    } redis;
    struct {
        char *socket; /* path; "": none */
    } control;
    struct {
        char *directory; /* of the console logs; "": none */
        char *file;      /* name of a console's, with {uuid}, {uuid32} or {name} in it */
        enum log_timestamps timestamps;
        size_t max_size; /* 0: no rotation */
        unsigned keep;   /* rotated files */
        bool compress;   /* these */
        unsigned file_mode;
        size_t queue; /* output that may wait for the disk */
    } log;
};

/* Reads a configuration (design.md, section Configuration): the defaults, then file, then conf.d in file's
 * directory (its *.ini, nothing hidden, in the order of strcmp; there need be none), then the overrides.
 *   file       path of vspc.ini; NULL: only the defaults and the overrides
 *   overrides  n strings `section.key=value`; a later one wins
 *   *error     set to NULL, or on failure to a message for people, which the caller frees: one line an error
 *              without a newline behind the last, each with its place (file:line or -o), the key and what
 *              would be right. The first 20 are in it, the rest are counted.
 *
 * Text may have 170 bytes, so that any value fits into a line of a file. Only an override can hold a list
 * that is longer than such a line.
 *
 * Waits for the disk. Result: a config with one reference, or NULL. */
struct config *config_load(const char *file, const char *const *overrides, size_t n, char **error);

/* Any thread. config_ref returns its argument; config_unref frees with the last reference, and takes NULL. */
struct config *config_ref(struct config *config);
void config_unref(struct config *config);

/* user.port_retention in seconds, rounded up, so that 0 alone means none. */
uint64_t config_retention_s(const struct config *config);

/* What a reload takes over: a new config with wanted's values for every key that SIGHUP applies, and
 * running's for those that need a restart. Calls restart("section.key", arg) for each of the latter that
 * differs. Both arguments keep their references. Result: a config with one reference. */
struct config *config_reload(const struct config *running, struct config *wanted,
                             void (*restart)(const char *key, void *arg), void *arg);

/* Prints every key with its value and its comment, as an ini file that config_load reads back to an equal
 * config. A password is left out. A list longer than a line may be is printed all the same, and refused when
 * it is read: short of that, an allow list would come back empty. */
void config_print(const struct config *config, FILE *out);

/* Calls fn for every known key, in the order of vspc.ini, with what that file has: the default as it is
 * written there and the comment. */
void config_each_key(void (*fn)(const char *section, const char *key, const char *default_value,
                                const char *comment, void *arg),
                     void *arg);

#endif
