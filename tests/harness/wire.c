#include "wire.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vspc/mem.h"

enum { IAC = 255, DO = 253, WILL = 251, SB = 250, SE = 240 };
enum { OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3, OPT_AUTHENTICATION = 37, OPT_VMWARE = 232 };
enum { KNOWN_SUBOPTIONS_1 = 0, DO_PROXY = 70, VC_UUID = 80, NAME = 82 };

const uint8_t wire_greeting[WIRE_VM_GREETING] = {IAC, WILL, OPT_BINARY, IAC, WILL, OPT_SGA,
                                                 IAC, WILL, OPT_ECHO,   IAC, DO,   OPT_BINARY,
                                                 IAC, DO,   OPT_SGA,    IAC, DO,   OPT_VMWARE};

/* A question to the kernel about one TCP socket. */
struct diag_request {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

/* Fills in the question about the other end of a connection over IPv4. Result: false when it is none. */
static bool ask_about_peer(int fd, struct diag_request *request)
{
    struct sock_addr here = {.len = sizeof here.in6}, there = {.len = sizeof there.in6};
    if (getsockname(fd, &here.sa, &here.len) < 0 || getpeername(fd, &there.sa, &there.len) < 0 ||
        here.sa.sa_family != AF_INET)
        return false;
    memset(request, 0, sizeof *request);
    request->head.nlmsg_len = sizeof *request;
    request->head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    request->head.nlmsg_flags = NLM_F_REQUEST;
    request->body.sdiag_family = AF_INET;
    request->body.sdiag_protocol = IPPROTO_TCP;
    request->body.idiag_states = ~0u;
    request->body.id.idiag_sport = there.in.sin_port;
    request->body.id.idiag_dport = here.in.sin_port;
    request->body.id.idiag_src[0] = there.in.sin_addr.s_addr;
    request->body.id.idiag_dst[0] = here.in.sin_addr.s_addr;
    request->body.id.idiag_cookie[0] = request->body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return true;
}

/* How many bytes the other end has received and its process has not read. Result: -1 when the kernel does not
 * say: there is no such socket any more, or no way to ask. */
static long unread_by_peer(int fd)
{
    static int diag = -1;
    struct diag_request request;
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer;
    if (diag < 0)
        diag = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (diag < 0 || !ask_about_peer(fd, &request) || send(diag, &request, sizeof request, 0) < 0 ||
        recv(diag, &answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
        return -1;
    if (answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return -1;
    const struct inet_diag_msg *msg = NLMSG_DATA(&answer.head);
    return msg->idiag_rqueue;
}

/* Whether all that was sent has arrived, and been read as far as the kernel tells. */
static bool is_read(int fd)
{
    int unsent = 0;
    return ioctl(fd, SIOCOUTQ, &unsent) < 0 || (unsent == 0 && unread_by_peer(fd) <= 0);
}

void wire_wait_read(int fd)
{
    uint64_t deadline = clock_ms() + SOON;
    for (unsigned i = 0; !is_read(fd); i++) {
        if (clock_ms() >= deadline)
            env_fail("what was sent is not read");
        if (i < 1000)
            sched_yield();
        else
            env_nap();
    }
}

void wire_send_each(struct user *peer, const void *data, size_t len)
{
    int one = 1;
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (size_t i = 0; i < len; i++) {
        user_send_raw(peer, (const uint8_t *)data + i, 1);
        wire_wait_read(peer->fd);
    }
}

/* Appends bytes with each 255 doubled. */
static void put_escaped(struct bytes *out, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes_put(out, data + i, 1);
        if (data[i] == IAC)
            bytes_put(out, data + i, 1);
    }
}

void wire_put_sub(struct bytes *out, uint8_t code, const void *payload, size_t len)
{
    bytes_put(out, (uint8_t[]){IAC, SB, OPT_VMWARE}, 3);
    put_escaped(out, &code, 1);
    put_escaped(out, payload, len);
    bytes_put(out, (uint8_t[]){IAC, SE}, 2);
}

/* Appends everything up to DO-PROXY; the codes of KNOWN-SUBOPTIONS-1 are the caller's. */
static void put_opening(struct bytes *out, const uint8_t *codes, size_t len)
{
    static const uint8_t verbs[] = {IAC, WILL, OPT_AUTHENTICATION, IAC, DO,   OPT_BINARY, IAC, DO,   OPT_SGA,
                                    IAC, DO,   OPT_ECHO,           IAC, WILL, OPT_BINARY, IAC, WILL, OPT_SGA,
                                    IAC, WILL, OPT_VMWARE};
    bytes_put(out, verbs, sizeof verbs);
    wire_put_sub(out, KNOWN_SUBOPTIONS_1, codes, len);
    wire_put_sub(out, DO_PROXY, "SvSPC.py", 8);
}

void wire_put_start(struct bytes *out)
{
    static const uint8_t codes[] = {0, 1, 2, 3, 70, 71, 73, 82, 83};
    put_opening(out, codes, sizeof codes);
}

void wire_put_handshake(struct bytes *out, const char *name, unsigned number)
{
    static const uint8_t codes[] = {0, 1, 2, 3, 70, 71, 73, 80, 81, 82, 83};
    char uuid[64];
    snprintf(uuid, sizeof uuid, "01 23 45 67 89 ab cd ef-fe dc ba 98 %02x %02x %02x %02x", number >> 24 & 255,
             number >> 16 & 255, number >> 8 & 255, number & 255);
    put_opening(out, codes, sizeof codes);
    wire_put_sub(out, VC_UUID, uuid, strlen(uuid));
    wire_put_sub(out, NAME, name, strlen(name));
}

void wire_fill(uint8_t *out, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        out[i] = seed >> 30 ? (uint8_t)(seed >> 16) : IAC;
    }
}
