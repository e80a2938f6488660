#include "vspc/config.h"

#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "lines.h"
#include "vspc/mem.h"

enum { COMMENT_COLUMN = 30 }; /* where the comments stand, as in vspc.ini */

struct config *config_ref(struct config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

/* The last holder sees all that the others did before they let go. */
void config_unref(struct config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        if (config_keys[i].type->clear)
            config_keys[i].type->clear(config_key_field(&config_keys[i], config));
    free(config);
}

uint64_t config_retention_s(const struct config *config)
{
    return (config->user.port_retention + 999) / 1000;
}

static void copy_key(const struct config_key *key, struct config *to, const struct config *from)
{
    void *field = config_key_field(key, to);
    const void *value = config_key_value(key, from);
    if (key->type->copy)
        key->type->copy(field, value);
    else
        memcpy(field, value, key->type->size);
}

static void tell_restart(const struct config_key *key, void (*restart)(const char *key, void *arg), void *arg)
{
    char *name = xasprintf("%s.%s", key->section, key->name);
    restart(name, arg);
    free(name);
}

/* Keys that bound each other (scrollback and backlog, first_port and max_ports) are alike in whether a reload
 * takes them, so a result that mixes two valid configs is valid. */
struct config *config_reload(const struct config *running, struct config *wanted,
                             void (*restart)(const char *key, void *arg), void *arg)
{
    struct config *config = xcalloc(1, sizeof *config);
    atomic_init(&config->refs, 1);
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        copy_key(key, config, key->reload ? wanted : running);
        if (!key->reload && !config_key_equal(key, running, wanted))
            tell_restart(key, restart, arg);
    }
    return config;
}

/* One line when it fits, with the comment in front when it does not. */
static void print_key(const struct config_key *key, const char *value, FILE *out)
{
    char *line = xasprintf("%s =%s%s", key->name, *value ? " " : "", value);
    size_t len = strlen(line) < COMMENT_COLUMN - 1 ? COMMENT_COLUMN - 1 : strlen(line);
    if (len + strlen(" ; ") + strlen(key->comment) <= LINES_TEXT_MAX)
        fprintf(out, "%-*s ; %s\n", COMMENT_COLUMN - 1, line, key->comment);
    else
        fprintf(out, "; %s\n%s\n", key->comment, line);
    free(line);
}

/* A secret that is set leaves a comment, so that nobody takes the print for the whole. */
void config_print(const struct config *config, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(section, key->section) != 0) {
            fprintf(out, "%s[%s]\n", *section ? "\n" : "", key->section);
            section = key->section;
        }
        char *value = key->type->format(key, config_key_value(key, config));
        if (key->secret && *value)
            fprintf(out, "; %s is set, and left out here\n", key->name);
        else
            print_key(key, value, out);
        free(value);
    }
}

void config_each_key(void (*fn)(const char *section, const char *key, const char *default_value,
                                const char *comment, void *arg),
                     void *arg)
{
    for (size_t i = 0; i < CONFIG_KEYS; i++)
        fn(config_keys[i].section, config_keys[i].name, config_keys[i].default_text, config_keys[i].comment,
           arg);
}
