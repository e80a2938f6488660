#include "connect.h"

#include <arpa/inet.h>
#include <errno.h>

/* The address that leaves the choice to the kernel, and those that are tried after it: 127.0.0.2 and so on.
 */
enum { SOURCES = 64 };

int load_connect(struct load_thread *thread, const struct sock_addr *to)
{
    bool several = to->sa.sa_family == AF_INET && sock_addr_is_loopback(to);
    for (unsigned tries = 0;; tries++) {
        struct sock_addr from = {.len = sizeof from.in};
        from.in.sin_family = AF_INET;
        from.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + thread->source);
        int fd = sock_connect_from(thread->source ? &from : NULL, to);
        if ((fd != -EADDRNOTAVAIL && fd != -EADDRINUSE) || !several || tries == SOURCES)
            return fd;
        thread->source = (thread->source + 1) % SOURCES;
    }
}
