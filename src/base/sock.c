#include "vspc/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sock_addr_parse(const char *text, uint16_t port, struct sock_addr *out)
{
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        out->len = sizeof out->in;
    } else if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1) {
        out->in6.sin6_family = AF_INET6;
        out->len = sizeof out->in6;
    } else {
        return -EINVAL;
    }
    sock_addr_set_port(out, port);
    return 0;
}

int sock_addr_port_parse(const char *text, struct sock_addr *out)
{
    char host[SOCK_TEXT];
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return -EINVAL;
    const char *from = text;
    const char *to = colon;
    if (*from == '[') {
        if (to[-1] != ']')
            return -EINVAL;
        from++;
        to--;
    } else if (memchr(from, ':', (size_t)(to - from))) {
        return -EINVAL;
    }
    size_t len = (size_t)(to - from);
    if (len == 0 || len >= sizeof host)
        return -EINVAL;
    memcpy(host, from, len);
    host[len] = 0;
    char *end;
    errno = 0;
    if (colon[1] < '0' || colon[1] > '9')
        return -EINVAL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || errno || port == 0 || port > 65535)
        return -EINVAL;
    return sock_addr_parse(host, (uint16_t)port, out);
}

uint16_t sock_addr_port(const struct sock_addr *addr)
{
    return ntohs(addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_port : addr->in.sin_port);
}

void sock_addr_set_port(struct sock_addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
    else
        addr->in.sin_port = htons(port);
}

/* The address as 16 bytes, IPv4 as ::ffff:a.b.c.d. */
static void address_bytes(const struct sock_addr *addr, uint8_t out[16])
{
    if (addr->sa.sa_family == AF_INET6) {
        memcpy(out, &addr->in6.sin6_addr, 16);
        return;
    }
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, &addr->in.sin_addr, 4);
}

static bool is_ipv4(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(bytes, mapped, sizeof mapped) == 0;
}

bool sock_addr_is_loopback(const struct sock_addr *addr)
{
    uint8_t bytes[16];
    address_bytes(addr, bytes);
    if (is_ipv4(bytes))
        return bytes[12] == 127;
    return memcmp(bytes, &in6addr_loopback, 16) == 0;
}

bool sock_addr_is_any6(const struct sock_addr *addr)
{
    return addr->sa.sa_family == AF_INET6 && memcmp(&addr->in6.sin6_addr, &in6addr_any, 16) == 0;
}

void sock_addr_host(const struct sock_addr *addr, char out[SOCK_TEXT])
{
    uint8_t bytes[16];
    address_bytes(addr, bytes);
    if (is_ipv4(bytes))
        inet_ntop(AF_INET, bytes + 12, out, SOCK_TEXT);
    else
        inet_ntop(AF_INET6, bytes, out, SOCK_TEXT);
}

void sock_addr_format(const struct sock_addr *addr, char out[SOCK_TEXT])
{
    char host[SOCK_TEXT];
    sock_addr_host(addr, host);
    snprintf(out, SOCK_TEXT, strchr(host, ':') ? "[%.46s]:%u" : "%.46s:%u", host, sock_addr_port(addr));
}

static bool bit_is_set(const uint8_t *bytes, unsigned bit)
{
    return bytes[bit / 8] & (0x80 >> bit % 8);
}

int network_parse(const char *text, struct network *out)
{
    char host[SOCK_TEXT];
    struct sock_addr addr;
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof host)
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = 0;
    if (sock_addr_parse(host, 0, &addr) < 0)
        return -EINVAL;
    unsigned width = addr.sa.sa_family == AF_INET6 ? 128 : 32;
    unsigned long bits = width;
    if (slash) {
        char *end;
        if (slash[1] < '0' || slash[1] > '9')
            return -EINVAL;
        bits = strtoul(slash + 1, &end, 10);
        if (*end || bits > width)
            return -EINVAL;
    }
    address_bytes(&addr, out->addr);
    out->bits = (uint8_t)(128 - width + bits);
    for (unsigned i = out->bits; i < 128; i++)
        if (bit_is_set(out->addr, i))
            return -EDOM;
    return 0;
}

void network_format(const struct network *net, char out[SOCK_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    bool ipv4 = is_ipv4(net->addr) && net->bits >= 96;
    if (ipv4)
        inet_ntop(AF_INET, net->addr + 12, host, sizeof host);
    else
        inet_ntop(AF_INET6, net->addr, host, sizeof host);
    snprintf(out, SOCK_TEXT, "%s/%d", host, ipv4 ? net->bits - 96 : net->bits);
}

static bool network_holds(const struct network *net, const uint8_t bytes[16])
{
    unsigned whole = net->bits / 8;
    if (memcmp(net->addr, bytes, whole) != 0)
        return false;
    unsigned rest = net->bits % 8;
    return rest == 0 || ((net->addr[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool network_list_holds(const struct network_list *list, const struct sock_addr *addr)
{
    if (list->len == 0)
        return true;
    uint8_t bytes[16];
    address_bytes(addr, bytes);
    for (size_t i = 0; i < list->len; i++)
        if (network_holds(&list->items[i], bytes))
            return true;
    return false;
}

/* The kernel counts in seconds and takes 1 to 32,767 of them. */
static int keepalive_seconds(uint64_t keepalive_ms)
{
    uint64_t seconds = (keepalive_ms + 999) / 1000;
    return seconds > 32767 ? 32767 : (int)seconds;
}

int sock_stagger_keepalive(int fd, uint64_t keepalive_ms, uint64_t number)
{
    int most = keepalive_seconds(keepalive_ms);
    int idle = most - (int)(number % (unsigned)(most / 2 + 1));
    if (keepalive_ms == 0)
        return 0;
    return setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0 ? -errno : 0;
}

int sock_set_keepalive(int fd, uint64_t keepalive_ms)
{
    int on = keepalive_ms > 0, interval = 10, count = 3;
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return -errno;
    if (!on)
        return 0;
    int idle = keepalive_seconds(keepalive_ms);
    if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count) < 0)
        return -errno;
    return 0;
}

void sock_tune(int fd, uint64_t keepalive_ms)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (keepalive_ms)
        sock_set_keepalive(fd, keepalive_ms);
}

int sock_listen(const struct sock_addr *addr, bool dual, int backlog)
{
    int one = 1;
    int v6only = !dual;
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (addr->sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    if (bind(fd, &addr->sa, addr->len) < 0 || listen(fd, backlog) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int sock_connect(const struct sock_addr *addr)
{
    return sock_connect_from(NULL, addr);
}

int sock_connect_from(const struct sock_addr *from, const struct sock_addr *to)
{
    int one = 1;
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* The port is chosen when it is known where to: one port serves many destinations. */
    if (from)
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if ((from && bind(fd, &from->sa, from->len) < 0) ||
        (connect(fd, &to->sa, to->len) < 0 && errno != EINPROGRESS)) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

ssize_t sock_send(int fd, const struct iovec *piece, int pieces)
{
    ssize_t n;
    if (pieces == 1) {
        /* A key or a line is one piece as a rule, and this call has less to copy and to check. */
        n = send(fd, piece->iov_base, piece->iov_len, MSG_NOSIGNAL);
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)piece, .msg_iovlen = (size_t)pieces};
        n = sendmsg(fd, &message, MSG_NOSIGNAL);
    }
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return n;
}

int sock_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    return -err;
}
