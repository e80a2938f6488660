#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "value.h"
#include "vspc/config.h"
#include "vspc/mem.h"
#include "vspc/sock.h"
#include "vspc/text.h"

/* Walks a comma-separated list. Copies the next entry, without the spaces around it, into fresh memory and
 * moves *rest behind it. Result: NULL at the end. An empty text has no entries, but "a," has two. */
static char *next_entry(const char **rest)
{
    const char *from = *rest;
    if (!from)
        return NULL;
    size_t len = strcspn(from, ",");
    *rest = from[len] ? from + len + 1 : NULL;
    while (len && (*from == ' ' || *from == '\t')) {
        from++;
        len--;
    }
    while (len && (from[len - 1] == ' ' || from[len - 1] == '\t'))
        len--;
    return xmemdup0(from, len);
}

/* The sentence for an entry that is wrong; an empty one comes from a comma too many. */
static char *entry_hint(const char *entry, const char *what, const char *right)
{
    if (!*entry)
        return xasprintf("has an empty entry, a comma too many; %s", right);
    return xasprintf("%s is not %s: %s", quote(entry, strlen(entry)).s, what, right);
}

/* Turns ::ffff:10.0.0.7 into 10.0.0.7: the same peer, and what every other part of the program shows. */
static void unmap(struct sock_addr *addr)
{
    if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
        return;
    char text[SOCK_TEXT];
    sock_addr_host(addr, text);
    sock_addr_parse(text, sock_addr_port(addr), addr);
}

static char *add_listener(const struct config_key *key, const char *entry, struct listen_list *list)
{
    struct sock_addr addr;
    if (sock_addr_port_parse(entry, &addr) < 0)
        return entry_hint(entry, "an address with a port",
                          "write 0.0.0.0:13370 or [::]:13370, comma-separated, with numbers, not host names");
    unmap(&addr);
    char text[SOCK_TEXT], other[SOCK_TEXT];
    sock_addr_format(&addr, text);
    for (size_t i = 0; i < list->len; i++) {
        sock_addr_format(&list->items[i], other);
        if (strcmp(text, other) == 0)
            return xasprintf("names %s twice", text);
    }
    if (list->len >= key->max)
        return xasprintf("may name at most %llu addresses", (unsigned long long)key->max);
    list->items = xrealloc(list->items, (list->len + 1) * sizeof *list->items);
    list->items[list->len++] = addr;
    return NULL;
}

static void clear_listen(void *field)
{
    struct listen_list *list = field;
    free(list->items);
}

static char *parse_listen(const struct config_key *key, const char *text, void *field)
{
    if (!*text)
        return xstrdup("may not be empty: write at least one address with a port, such as 0.0.0.0:13370");
    struct listen_list list = {0};
    char *why = NULL;
    char *entry;
    while (!why && (entry = next_entry(&text))) {
        why = add_listener(key, entry, &list);
        free(entry);
    }
    if (why) {
        clear_listen(&list);
        return why;
    }
    clear_listen(field);
    *(struct listen_list *)field = list;
    return NULL;
}

/* The bytes of a list's items in fresh memory, also where there are none. */
static void *copy_items(const void *items, size_t size)
{
    return xmemdup0(items, size);
}

/* Joins two pieces of a list; frees the first. */
static char *append(char *list, const char *entry)
{
    char *longer = xasprintf("%s%s%s", list, *list ? ", " : "", entry);
    free(list);
    return longer;
}

static char *format_listen(const struct config_key *key, const void *field)
{
    (void)key;
    const struct listen_list *list = field;
    char *text = xstrdup("");
    for (size_t i = 0; i < list->len; i++) {
        char entry[SOCK_TEXT];
        sock_addr_format(&list->items[i], entry);
        text = append(text, entry);
    }
    return text;
}

static void copy_listen(void *to, const void *from)
{
    struct listen_list *copy = to;
    const struct listen_list *list = from;
    copy->len = list->len;
    copy->items = copy_items(list->items, list->len * sizeof *list->items);
}

/* One address for all user ports, whose numbers come from first_port and max_ports. */
static char *parse_address(const struct config_key *key, const char *text, void *field)
{
    (void)key;
    struct sock_addr addr;
    if (sock_addr_parse(text, 0, &addr) < 0)
        return xstrdup("must be one numeric address without port or brackets, such as 127.0.0.1, 0.0.0.0 or "
                       "::; the ports are first_port and those after it");
    unmap(&addr);
    *(struct sock_addr *)field = addr;
    return NULL;
}

static char *format_address(const struct config_key *key, const void *field)
{
    (void)key;
    char text[SOCK_TEXT];
    sock_addr_host(field, text);
    return xstrdup(text);
}

static void mask(struct network *network)
{
    for (unsigned bit = network->bits; bit < 128; bit++)
        network->addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static char *add_network(const struct config_key *key, const char *entry, struct network_list *list)
{
    struct network network;
    int err = network_parse(entry, &network);
    if (err == -EDOM) {
        char right[SOCK_TEXT];
        mask(&network);
        network_format(&network, right);
        return xasprintf("%s has bits set behind its prefix: write %s, or the address alone",
                         quote(entry, strlen(entry)).s, right);
    }
    if (err < 0)
        return entry_hint(entry, "a network", "write 10.0.0.0/8, fd00::/8 or an address, comma-separated");
    if (list->len >= key->max)
        return xasprintf("may name at most %llu networks", (unsigned long long)key->max);
    list->items = xrealloc(list->items, (list->len + 1) * sizeof *list->items);
    list->items[list->len++] = network;
    return NULL;
}

static void clear_networks(void *field)
{
    struct network_list *list = field;
    free(list->items);
}

/* An empty text is an empty list, which holds everybody; an empty entry in a list is refused, because a list
 * emptied by mistake would open the door. */
static char *parse_networks(const struct config_key *key, const char *text, void *field)
{
    struct network_list list = {0};
    const char *rest = *text ? text : NULL;
    char *why = NULL;
    char *entry;
    while (!why && (entry = next_entry(&rest))) {
        why = add_network(key, entry, &list);
        free(entry);
    }
    if (why) {
        clear_networks(&list);
        return why;
    }
    clear_networks(field);
    *(struct network_list *)field = list;
    return NULL;
}

static char *format_networks(const struct config_key *key, const void *field)
{
    (void)key;
    const struct network_list *list = field;
    char *text = xstrdup("");
    for (size_t i = 0; i < list->len; i++) {
        char entry[SOCK_TEXT];
        network_format(&list->items[i], entry);
        text = append(text, entry);
    }
    return text;
}

static void copy_networks(void *to, const void *from)
{
    struct network_list *copy = to;
    const struct network_list *list = from;
    copy->len = list->len;
    copy->items = copy_items(list->items, list->len * sizeof *list->items);
}

const struct value_type value_listen = {.size = sizeof(struct listen_list),
                                        .parse = parse_listen,
                                        .format = format_listen,
                                        .copy = copy_listen,
                                        .clear = clear_listen};
const struct value_type value_address = {
    .size = sizeof(struct sock_addr), .parse = parse_address, .format = format_address};
const struct value_type value_networks = {.size = sizeof(struct network_list),
                                          .parse = parse_networks,
                                          .format = format_networks,
                                          .copy = copy_networks,
                                          .clear = clear_networks};
