#include "key.h"

#include <stdlib.h>
#include <string.h>

#include "vspc/mem.h"

#define FIELD(field) offsetof(struct config, field)
#define TEN_YEARS (UINT64_C(3650) * 24 * 60 * 60 * 1000)
#define GIB (UINT64_C(1024) * 1024 * 1024)
#define RELOAD .reload = true

enum { UNIX_SOCKET_MAX = 107 }; /* sun_path without its NUL; see unix(7) */

/* A row is: section, name, type, field, default, min, max, comment, and what is special. */
#define KEY(section_, name_, type_, default_, min_, max_, comment_, ...)                                     \
    {                                                                                                        \
        .section = #section_, .name = #name_, .type = &value_##type_, .offset = FIELD(section_.name_),       \
        .default_text = default_, .min = min_, .max = max_, .comment = comment_, __VA_ARGS__                 \
    }

/* clang-format off */
const struct config_key config_keys[] = {
    KEY(server, workers, unsigned, "0", 0, 256,
        "0 = one per CPU that the process may use"),
    KEY(server, node_id, text, "", 0, VALUE_TEXT_MAX,
        "this node's name in Redis; empty = <host name>:<first VM port>"),
    KEY(server, advertise, text, "", 0, VALUE_TEXT_MAX,
        "host name or address that users should use; empty = host name (the listen address if that is loopback)"),
    KEY(server, log_level, log_level, "info", 0, 0,
        "error, warning, info, debug", RELOAD),
    KEY(server, state_dir, text, "/var/lib/vspc", 0, VALUE_TEXT_MAX,
        "port book; empty = keep nothing on disk; missing or unwritable is a warning"),

    KEY(vm, listen, listen, "0.0.0.0:13370", 1, 16,
        "where ESXi hosts connect; comma-separated; [::]:13370 for IPv6"),
    KEY(vm, allow, networks, "", 0, 64,
        "networks that may connect, comma-separated (10.0.0.0/8, fd00::/8); empty = all", RELOAD),
    KEY(vm, service_uri, uri, "", 0, VALUE_TEXT_MAX,
        "the Port URI that VMs must carry (a query after ? is allowed); empty accepts any", RELOAD),
    KEY(vm, handshake_timeout, duration, "10s", 1, TEN_YEARS,
        "a connection that has not identified itself by then is closed", RELOAD),
    KEY(vm, vmotion_timeout, duration, "5min", 1, TEN_YEARS,
        "a migration neither completed nor aborted by then is abandoned", RELOAD),
    KEY(vm, keepalive, duration, "60s", 0, TEN_YEARS,
        "a silent host is probed after at most this, then 3 times 10 s apart", RELOAD),

    KEY(user, listen, address, "127.0.0.1", 0, 0,
        "address of the user ports; 0.0.0.0 or :: opens every console, without password, to all who can reach it"),
    KEY(user, allow, networks, "", 0, 64,
        "networks that may connect; empty = all", RELOAD),
    KEY(user, first_port, port, "20000", 1, 65535,
        "the lowest user port; from 32768 up they would meet the ports of outgoing connections"),
    KEY(user, max_ports, unsigned, "10000", 1, 65535,
        "how many user ports there are, one a console; the last is first_port + max_ports - 1"),
    KEY(user, port_retention, duration, "30d", 0, TEN_YEARS,
        "a VM gets its old user port back for this long after it was last seen", RELOAD),
    KEY(user, linger, duration, "10min", 0, TEN_YEARS,
        "how long a console stays open for its users after its VM has gone", RELOAD),
    KEY(user, scrollback, size, "16KiB", 0, GIB,
        "replayed to a new user; memory is taken only as output comes; 0 replays nothing", RELOAD),
    KEY(user, backlog, size, "256KiB", 1024, GIB,
        "how far behind a slow user may fall before output is skipped for that user", RELOAD),
    KEY(user, telnet, telnet, "auto", 0, 0,
        "auto: a peer that never answers telnet negotiation is served raw; always; never", RELOAD),
    KEY(user, keepalive, duration, "60s", 0, TEN_YEARS,
        "a silent user is probed after this, then 3 times 10 s apart; 0 = never", RELOAD),
    KEY(user, idle_timeout, duration, "0", 0, TEN_YEARS,
        "a user that types nothing for this long is disconnected; 0 = never", RELOAD),
    KEY(user, mode, access, "rw", 0, 0,
        "rw: whoever comes by telnet may type; ro: only watch, and vspcctl types", RELOAD),

    KEY(redis, enabled, bool, "yes", 0, 0,
        "no: nothing is published, and only the log says which port is whose", RELOAD),
    KEY(redis, host, text, "127.0.0.1", 1, VALUE_TEXT_MAX,
        "host name or address of the Redis that all nodes share", RELOAD),
    KEY(redis, port, port, "6379", 1, 65535,
        "its TCP port", RELOAD),
    KEY(redis, unix_socket, text, "", 0, UNIX_SOCKET_MAX,
        "used instead of host and port when set", RELOAD),
    KEY(redis, username, text, "", 0, VALUE_TEXT_MAX,
        "an ACL user of Redis 6 or later; empty = Redis' default user", RELOAD),
    KEY(redis, password, text, "", 0, VALUE_TEXT_MAX,
        "empty = none; one that holds a space and a semicolon goes into password_file", RELOAD, .secret = true),
    KEY(redis, password_file, text, "", 0, VALUE_TEXT_MAX,
        "read instead of password when set", RELOAD),
    KEY(redis, database, unsigned, "0", 0, INT32_MAX,
        "number of the database, as in SELECT", RELOAD),
    KEY(redis, vm_port_map, text, "VM:Port", 1, VALUE_TEXT_MAX,
        "hash: field -> user port, while the VM is connected", RELOAD),
    KEY(redis, vm_endpoint_map, text, "VM:Endpoint", 1, VALUE_TEXT_MAX,
        "hash: field -> advertise:port", RELOAD),
    KEY(redis, vm_uuid_map, text, "VM:UUID", 1, VALUE_TEXT_MAX,
        "hash: VM UUID (8-4-4-4-12, lower case)[.label] -> field", RELOAD),
    KEY(redis, active_key_prefix, text, "", 0, VALUE_TEXT_MAX,
        "set to Active:VM:Port to also write one key per VM (prefix directly followed by field), as node-vspc 1.x did", RELOAD),

    KEY(control, socket, text, "/run/vspc/control.sock", 0, UNIX_SOCKET_MAX,
        "where vspcctl finds vspcd, mode 0660, group vspc; empty = none"),

    KEY(log, directory, text, "", 0, VALUE_TEXT_MAX,
        "one file a console, with all that its VM prints; empty = none"),
    KEY(log, file, log_file, "{uuid}.log", 1, 120,
        "its name: {uuid}, {uuid32} (no dashes: what OpenStack Nova reads), {name} (made safe)"),
    KEY(log, timestamps, timestamps, "none", 0, 0,
        "line: each line begins with the time; none: the file is what the VM printed", RELOAD),
    KEY(log, max_size, size, "0", 0, GIB,
        "a larger file is rotated, to file.1 and so on; 0 = never", RELOAD),
    KEY(log, keep, unsigned, "5", 0, 1000,
        "so many rotated files of a console are kept; 0 = none", RELOAD),
    KEY(log, compress, bool, "no", 0, 0,
        "yes: rotated files are compressed with gzip", RELOAD),
    KEY(log, file_mode, file_mode, "0640", 0400, 0777,
        "permissions of new files", RELOAD),
    KEY(log, queue, size, "16MiB", 64 * 1024, GIB,
        "output that may wait for a slow disk, of all consoles; more is left out, and noted in the file", RELOAD),
};
/* clang-format on */

const struct config_key *config_key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        if (strcmp(config_keys[i].section, section) == 0 && strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

bool config_section_exists(const char *section)
{
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        if (strcmp(config_keys[i].section, section) == 0)
            return true;
    return false;
}

/* How many letters to add, drop or change to get from one word to the other. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LETTERS = 32 }; /* more than any key has; what lies behind makes no key nearer */
    size_t a_len = strnlen(a, LETTERS), b_len = strnlen(b, LETTERS);
    size_t row[LETTERS + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t drop = row[j] + 1, add = row[j - 1] + 1;
            row[j] = drop < add ? drop : add;
            if (change < row[j])
                row[j] = change;
        }
    }
    return row[b_len];
}

char *config_section_hint(void)
{
    char *hint = xstrdup("the sections are");
    const char *last = "";
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        if (strcmp(config_keys[i].section, last) == 0)
            continue;
        char *longer = xasprintf("%s%s %s", hint, *last ? "," : "", config_keys[i].section);
        free(hint);
        hint = longer;
        last = config_keys[i].section;
    }
    return hint;
}

/* A key that exists in another section stands in the wrong place; otherwise it is a typing error. */
char *config_key_hint(const char *section, const char *name)
{
    const struct config_key *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->name, name) == 0)
            return xasprintf("it belongs to section %s", key->section);
        size_t distance = edit_distance(name, key->name);
        if (strcmp(key->section, section) == 0 && distance < nearest_distance) {
            nearest = key;
            nearest_distance = distance;
        }
    }
    return nearest ? xasprintf("the nearest known key is %s", nearest->name) : config_section_hint();
}

void *config_key_field(const struct config_key *key, struct config *config)
{
    return (char *)config + key->offset;
}

const void *config_key_value(const struct config_key *key, const struct config *config)
{
    return (const char *)config + key->offset;
}

/* Equal is what is written equally, so that no type needs a comparison of its own. */
bool config_key_equal(const struct config_key *key, const struct config *a, const struct config *b)
{
    char *a_text = key->type->format(key, config_key_value(key, a));
    char *b_text = key->type->format(key, config_key_value(key, b));
    bool equal = strcmp(a_text, b_text) == 0;
    free(a_text);
    free(b_text);
    return equal;
}
