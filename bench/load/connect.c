#include "connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* The address that leaves the choice to the kernel, and those that are tried after it: 127.0.0.2 and so on.
 */
enum { SOURCES = 64 };

/* Connects from the thread's source address. Result: as load_connect. */
static int connect_from(unsigned source, const struct sock_addr *to)
{
    int on = 1;
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = 0;
    if (source) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source)};
        /* The port is chosen when it is known where to: one port serves many destinations. */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            err = -errno;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!err && connect(fd, &to->sa, to->len) < 0 && errno != EINPROGRESS)
        err = -errno;
    if (!err)
        return fd;
    close(fd);
    return err;
}

int load_connect(struct load_thread *thread, const struct sock_addr *to)
{
    bool several = to->sa.sa_family == AF_INET && sock_addr_is_loopback(to);
    for (unsigned tries = 0;; tries++) {
        int fd = connect_from(thread->source, to);
        if ((fd != -EADDRNOTAVAIL && fd != -EADDRINUSE) || !several || tries == SOURCES)
            return fd;
        thread->source = (thread->source + 1) % SOURCES;
    }
}
