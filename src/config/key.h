/* Keys: the one table that knows every configuration key. Parsing, checking, comparing, copying and printing
 * all walk it, so a new key is a new row and a field in struct config. Constant, any thread. */
#ifndef VSPC_CONFIG_KEY_H
#define VSPC_CONFIG_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "value.h"
#include "vspc/config.h"

struct config_key {
    const char *section;
    const char *name;
    const struct value_type *type;
    size_t offset;            /* of the field in struct config */
    const char *default_text; /* read as if it stood in a file; node_id and advertise are filled in later */
    uint64_t min, max;        /* what they bound is the type's business */
    bool reload;              /* SIGHUP applies it; otherwise it needs a restart */
    bool secret;              /* neither printed nor shown in an error */
    const char *comment;      /* one line of why, as in vspc.ini */
};

enum { CONFIG_KEYS = 44 };
extern const struct config_key config_keys[CONFIG_KEYS];

/* Result: the row, or NULL. */
const struct config_key *config_key_find(const char *section, const char *name);
bool config_section_exists(const char *section);

/* What to write instead of a section, or of a key of an existing section, that does not exist: a clause in
 * fresh memory. */
char *config_section_hint(void);
char *config_key_hint(const char *section, const char *name);

/* The key's field in a config. */
void *config_key_field(const struct config_key *key, struct config *config);
const void *config_key_value(const struct config_key *key, const struct config *config);

/* Whether the key has the same value in both. */
bool config_key_equal(const struct config_key *key, const struct config *a, const struct config *b);

#endif
