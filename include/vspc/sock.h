/* Sockets: addresses, networks, listeners. Functions without state, any thread. None blocks or asks DNS. */
#ifndef VSPC_SOCK_H
#define VSPC_SOCK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { SOCK_TEXT = 64 }; /* characters that hold any address, port and brackets included */

struct sock_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
};

struct network {
    uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;     /* of the 128 */
};

struct network_list {
    size_t len;
    struct network *items; /* owned */
};

/* "10.0.0.7" or "fd00::7" (no brackets), with a port. Result: 0 or -EINVAL. */
int sock_addr_parse(const char *text, uint16_t port, struct sock_addr *out);
/* "10.0.0.7:80" or "[fd00::7]:80". Result: 0 or -EINVAL. */
int sock_addr_port_parse(const char *text, struct sock_addr *out);
uint16_t sock_addr_port(const struct sock_addr *addr);
void sock_addr_set_port(struct sock_addr *addr, uint16_t port);
bool sock_addr_is_loopback(const struct sock_addr *addr);
bool sock_addr_is_any6(const struct sock_addr *addr);
/* "10.0.0.7:41022" or "[fd00::7]:41022"; an IPv4 address in IPv6 is shown as IPv4. */
void sock_addr_format(const struct sock_addr *addr, char out[SOCK_TEXT]);
/* The address alone, without port and brackets. */
void sock_addr_host(const struct sock_addr *addr, char out[SOCK_TEXT]);

/* "10.0.0.0/8", "fd00::/8", or an address alone. Result: 0; -EINVAL; -EDOM when bits behind the prefix are
 * set (10.0.0.1/8), which is a typing error more often than not. */
int network_parse(const char *text, struct network *out);
/* "10.0.0.0/8" or "fd00::/8", as network_parse reads it. */
void network_format(const struct network *net, char out[SOCK_TEXT]);
/* An empty list holds everybody. */
bool network_list_holds(const struct network_list *list, const struct sock_addr *addr);

/* A listening, non-blocking socket with SO_REUSEADDR. dual: an IPv6 socket takes IPv4 too.
 * Result: a descriptor, or a negative errno. */
int sock_listen(const struct sock_addr *addr, bool dual, int backlog);

/* TCP_NODELAY, and keepalive: probed after keepalive_ms of silence, then 3 times 10 s apart; 0: off. What a
 * listener accepts inherits both from it. */
void sock_tune(int fd, uint64_t keepalive_ms);

/* Changes keepalive. Result: 0 or a negative errno. */
int sock_set_keepalive(int fd, uint64_t keepalive_ms);

/* Where keepalive is on, has silence last only between half of keepalive_ms and all of it, by the
 * connection's number: thousands that came together would else be probed in one moment, which is more than a
 * loopback or veth device's queue takes. Result: 0 or a negative errno. */
int sock_stagger_keepalive(int fd, uint64_t keepalive_ms, uint64_t number);

/* Starts to connect, non-blocking. Result: a descriptor (connected, or on its way: wait for EPOLLOUT and ask
 * sock_error), or a negative errno. */
int sock_connect(const struct sock_addr *addr);
/* The same from an address of this machine, whose port is 0; NULL: whichever the kernel chooses. */
int sock_connect_from(const struct sock_addr *from, const struct sock_addr *to);
/* Sends the pieces (1 at least), one behind the other, in one call. Result: how many bytes the socket took, 0
 * when it is full, or a negative errno. */
ssize_t sock_send(int fd, const struct iovec *piece, int pieces);
/* SO_ERROR: 0 or a negative errno. */
int sock_error(int fd);

#endif
