#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complaints.h"
#include "key.h"
#include "lines.h"
#include "vspc/config.h"
#include "vspc/mem.h"
#include "vspc/text.h"

/* Where a value was given. */
struct place {
    const char *file; /* printable; NULL: an override */
    unsigned line;
};

/* One run of config_load. */
struct load {
    struct config *config;
    struct complaints complaints;
    char *set_at[CONFIG_KEYS]; /* the place that counts, for people; NULL: the default */
    bool bad[CONFIG_KEYS];     /* a value was refused: what the key has is not what was wanted */
};

/* One file of the run. */
struct file_load {
    struct load *load;
    struct lines lines;
    unsigned seen[CONFIG_KEYS]; /* the line that has the key; 0: none yet */
};

static size_t key_index(const struct config_key *key)
{
    return (size_t)(key - config_keys);
}

/* A complaint of one key. value is NULL where it says nothing, or must not be shown. */
static void complain(struct load *load, const struct place *place, const char *section, const char *name,
                     const char *value, const char *why)
{
    char *key = xasprintf("%.*s.%.*s", TEXT_QUOTED_BYTES, section, TEXT_QUOTED_BYTES, name);
    struct quoted key_text = printable(key, strlen(key));
    if (!place->file)
        complaints_add(&load->complaints, "-o %s=%s: %s", key_text.s,
                       value ? printable(value, strlen(value)).s : "...", why);
    else if (value)
        complaints_add(&load->complaints, "%s:%u: %s = %s: %s", place->file, place->line, key_text.s,
                       quote(value, strlen(value)).s, why);
    else
        complaints_add(&load->complaints, "%s:%u: %s: %s", place->file, place->line, key_text.s, why);
    free(key);
}

/* A key that is not in the table. Its value is not shown: it may be a password behind a mistyped key. */
static void complain_unknown(struct load *load, const struct place *place, const char *section,
                             const char *name)
{
    char *hint = config_section_exists(section) ? config_key_hint(section, name) : config_section_hint();
    char *why = xasprintf("unknown %s; %s", config_section_exists(section) ? "key" : "section", hint);
    complain(load, place, section, name, NULL, why);
    free(why);
    free(hint);
}

/* Gives a key its value, and remembers where. */
static void assign(struct load *load, const struct place *place, const struct config_key *key,
                   const char *value)
{
    char *why = key->type->parse(key, value, config_key_field(key, load->config));
    if (why) {
        complain(load, place, key->section, key->name, key->secret ? NULL : value, why);
        free(why);
        load->bad[key_index(key)] = true;
        return;
    }
    char **set_at = &load->set_at[key_index(key)];
    free(*set_at);
    *set_at = place->file ? xasprintf("%s:%u", place->file, place->line) : xstrdup("-o");
}

/* inih's handler: one key = value line, which lines_next has let through. */
static int handle_key(void *arg, const char *section, const char *name, const char *value)
{
    struct file_load *file = arg;
    struct load *load = file->load;
    if (!name || !value)
        return 1;
    struct place place = {file->lines.name, file->lines.number};
    const struct config_key *key = config_key_find(section, name);
    if (!key) {
        complain_unknown(load, &place, section, name);
        return 1;
    }
    unsigned *seen = &file->seen[key_index(key)];
    if (*seen) {
        char *why = xasprintf("given twice in this file, first on line %u; remove one", *seen);
        complain(load, &place, section, name, NULL, why);
        free(why);
        return 1;
    }
    *seen = place.line;
    /* A password that holds " ;" would come out short, and Redis' complaint about it would not say why. */
    if (key->secret && *value && strcmp(value, file->lines.value) != 0)
        complain(load, &place, section, name, NULL,
                 "a `;` behind a space begins a comment; move the comment to a line of its own, or the "
                 "password into password_file");
    else
        assign(load, &place, key, value);
    return 1;
}

static void complain_file(struct load *load, const char *path, int err)
{
    complaints_add(&load->complaints, "%s: cannot be read: %s", printable(path, strlen(path)).s,
                   strerror(err));
}

/* Reads one file; a directory can be opened too, and fails when it is read. */
static void load_file(struct load *load, const char *path)
{
    FILE *stream = fopen(path, "re");
    if (!stream) {
        complain_file(load, path, errno);
        return;
    }
    struct quoted name = printable(path, strlen(path));
    struct file_load file = {
        .load = load,
        .lines = {.file = stream, .name = name.s, .complaints = &load->complaints},
    };
    unsigned complaints = load->complaints.count;
    int line = ini_parse_stream(lines_next, &file.lines, handle_key, &file);
    if (file.lines.read_error)
        complain_file(load, path, file.lines.read_error);
    else if (line != 0 && load->complaints.count == complaints)
        complaints_add(&load->complaints, "%s:%d: the inih library cannot read this", name.s, line);
    fclose(stream);
}

/* What conf.d has to offer: *.ini, nothing hidden. */
static int is_ini(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > strlen(".ini") &&
           strcmp(entry->d_name + len - strlen(".ini"), ".ini") == 0;
}

/* By bytes: alphasort would order by the locale. */
static int compare_entries(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Reads conf.d beside the file; there need be none. */
static void load_conf_d(struct load *load, const char *file)
{
    const char *slash = strrchr(file, '/');
    char *dir = xasprintf("%.*sconf.d", slash ? (int)(slash + 1 - file) : 0, file);
    struct dirent **entries;
    int n = scandir(dir, &entries, is_ini, compare_entries);
    if (n < 0 && errno != ENOENT)
        complain_file(load, dir, errno);
    for (int i = 0; i < n; i++) {
        char *path = xasprintf("%s/%s", dir, entries[i]->d_name);
        load_file(load, path);
        free(path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    free(dir);
}

/* Copies a piece of an override without the space around it. */
static char *trimmed(const char *from, size_t len)
{
    static const char space[] = " \t";
    while (len && strchr(space, from[0])) {
        from++;
        len--;
    }
    while (len && strchr(space, from[len - 1]))
        len--;
    return xmemdup0(from, len);
}

/* Applies one section.key=value. The key ends at the first `=` and the section at the first `.`, so a value
 * may hold both. */
static void load_override(struct load *load, const char *text)
{
    size_t key_len = strcspn(text, "=");
    const char *dot = memchr(text, '.', key_len);
    if (!text[key_len] || !dot) {
        complaints_add(&load->complaints,
                       "-o %s: there is no `%s`%s; write -o section.key=value, for example "
                       "-o user.linger=10min",
                       printable(text, key_len).s, text[key_len] ? "." : "=",
                       text[key_len] ? " in front of the `=`" : "");
        return;
    }
    struct place place = {NULL, 0};
    char *section = trimmed(text, (size_t)(dot - text));
    char *name = trimmed(dot + 1, key_len - (size_t)(dot + 1 - text));
    char *value = trimmed(text + key_len + 1, strlen(text + key_len + 1));
    const struct config_key *key = config_key_find(section, name);
    if (key)
        assign(load, &place, key, value);
    else
        complain_unknown(load, &place, section, name);
    free(section);
    free(name);
    free(value);
}

/* A key of the config as a clause: its value, and who gave it. */
static char *describe(const struct load *load, const struct config_key *key)
{
    const char *set_at = load->set_at[key_index(key)];
    char *value = key->type->format(key, config_key_value(key, load->config));
    char *clause =
        xasprintf("%s.%s = %s (%s)", key->section, key->name, value, set_at ? set_at : "the default");
    free(value);
    return clause;
}

/* Complains of two keys of [user] that do not go together, unless one is wrong by itself. */
static void complain_pair(struct load *load, const char *a_name, const char *relation, const char *b_name,
                          const char *right)
{
    const struct config_key *a = config_key_find("user", a_name);
    const struct config_key *b = config_key_find("user", b_name);
    if (load->bad[key_index(a)] || load->bad[key_index(b)])
        return;
    char *a_text = describe(load, a);
    char *b_text = describe(load, b);
    complaints_add(&load->complaints, "%s %s %s: %s", a_text, relation, b_text, right);
    free(a_text);
    free(b_text);
}

/* What no key can check alone. */
static void check_pairs(struct load *load)
{
    const struct config *config = load->config;
    if (config->user.scrollback > config->user.backlog)
        complain_pair(load, "scrollback", "is more than", "backlog",
                      "backlog must be at least as large, because it holds the scrollback");
    if (config->user.first_port + config->user.max_ports > 65536)
        complain_pair(load, "first_port", "leaves no room for", "max_ports",
                      "first_port + max_ports may be at most 65536");
}

/* The defaults that depend on the machine and on other keys. */
static void fill_in(struct config *config)
{
    char host[HOST_NAME_MAX + 1];
    if (gethostname(host, sizeof host) < 0 || !host[0])
        snprintf(host, sizeof host, "localhost");
    host[sizeof host - 1] = 0;
    if (!*config->server.node_id) {
        free(config->server.node_id);
        config->server.node_id = xasprintf("%s:%u", host, sock_addr_port(&config->vm.listen.items[0]));
    }
    if (!*config->server.advertise) {
        char address[SOCK_TEXT];
        sock_addr_host(&config->user.listen, address);
        free(config->server.advertise);
        config->server.advertise = xstrdup(sock_addr_is_loopback(&config->user.listen) ? address : host);
    }
}

/* Every field gets its default by the same way as any other value. */
static struct config *new_config(void)
{
    struct config *config = xcalloc(1, sizeof *config);
    atomic_init(&config->refs, 1);
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        char *why = key->type->parse(key, key->default_text, config_key_field(key, config));
        if (why) {
            fprintf(stderr, "vspc: default of %s.%s: %s\n", key->section, key->name, why);
            abort();
        }
    }
    return config;
}

struct config *config_load(const char *file, const char *const *overrides, size_t n, char **error)
{
    struct load load = {.config = new_config()};
    if (file) {
        load_file(&load, file);
        load_conf_d(&load, file);
    }
    for (size_t i = 0; i < n; i++)
        load_override(&load, overrides[i]);
    check_pairs(&load);
    fill_in(load.config);
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        free(load.set_at[i]);
    *error = complaints_take(&load.complaints);
    if (*error) {
        config_unref(load.config);
        return NULL;
    }
    return load.config;
}
