/* Values: how each type of configuration value is read from text, written back, copied and freed. Functions
 * without state, any thread. What a type writes, it reads back to the same value. */
#ifndef VSPC_CONFIG_VALUE_H
#define VSPC_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

struct config_key;

/* The longest text value: `active_key_prefix = ` and this many bytes make a full line. */
enum { VALUE_TEXT_MAX = 170 };

struct value_type {
    size_t size;              /* of the field in struct config */
    const char *const *words; /* of an enum: what each value is called, by its number; the last NULL */

    /* Reads text, which has no space at either end, into the field and frees what was there. Result: NULL, or
     * a sentence in fresh memory that says what would be right; the field is then as it was. */
    char *(*parse)(const struct config_key *key, const char *text, void *field);

    /* The value as parse reads it, in fresh memory. */
    char *(*format)(const struct config_key *key, const void *field);

    /* Copies into a field that is all zero. NULL: the bytes are all there is. */
    void (*copy)(void *to, const void *from);

    /* Frees what the field owns. NULL: nothing. */
    void (*clear)(void *field);
};

/* Scalars; what min and max of the key bound is said behind each. */
extern const struct value_type value_bool;       /* bool: yes, no */
extern const struct value_type value_log_level;  /* enum log_level */
extern const struct value_type value_telnet;     /* enum telnet_mode */
extern const struct value_type value_access;     /* enum user_access */
extern const struct value_type value_timestamps; /* enum log_timestamps */
extern const struct value_type value_unsigned;   /* unsigned: the number */
extern const struct value_type value_port;       /* uint16_t: the number */
extern const struct value_type value_duration;   /* uint64_t: milliseconds */
extern const struct value_type value_size;       /* size_t: bytes */
extern const struct value_type value_text;       /* char *, owned: its length */
extern const struct value_type value_uri;        /* char *, owned: its length; text without a query */
extern const struct value_type value_log_file;   /* char *, owned: its length; a pattern for file names */
extern const struct value_type value_file_mode;  /* unsigned: permission bits, in octal */

/* Addresses and networks; min and max bound the number of entries. */
extern const struct value_type value_listen;   /* struct listen_list */
extern const struct value_type value_address;  /* struct sock_addr, port 0 */
extern const struct value_type value_networks; /* struct network_list */

#endif
