#include "mapping/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/loop.h"
#include "vspc/mem.h"

struct resolver {
    atomic_uint refs; /* the asker's and the thread's */
    atomic_bool answered;
    char *host;
    char port[8];
    int status; /* of getaddrinfo; this and list are the thread's until answered */
    struct addrinfo *list;
};

void resolver_drop(struct resolver *resolver)
{
    if (!resolver || atomic_fetch_sub(&resolver->refs, 1) != 1)
        return;
    if (resolver->list)
        freeaddrinfo(resolver->list);
    free(resolver->host);
    free(resolver);
}

static void *ask(void *arg)
{
    struct resolver *resolver = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    resolver->status = getaddrinfo(resolver->host, resolver->port, &hints, &resolver->list);
    atomic_store(&resolver->answered, true);
    resolver_drop(resolver);
    return NULL;
}

struct resolver *resolver_ask(const char *host, uint16_t port)
{
    struct resolver *resolver = xcalloc(1, sizeof *resolver);
    pthread_t thread;
    resolver->host = xstrdup(host);
    snprintf(resolver->port, sizeof resolver->port, "%u", port);
    atomic_init(&resolver->refs, 2);
    int err = thread_start(&thread, "resolver", ask, resolver);
    if (err) {
        free(resolver->host);
        free(resolver);
        errno = -err;
        return NULL;
    }
    pthread_detach(thread);
    return resolver;
}

int resolver_answer(struct resolver *resolver, struct sock_addr *out, size_t max, const char **error)
{
    if (!atomic_load(&resolver->answered))
        return -EAGAIN;
    size_t count = 0;
    for (struct addrinfo *ai = resolver->list; ai && count < max; ai = ai->ai_next) {
        if ((ai->ai_family != AF_INET && ai->ai_family != AF_INET6) || ai->ai_addrlen > sizeof out->in6)
            continue;
        memset(&out[count], 0, sizeof out[count]);
        memcpy(&out[count].sa, ai->ai_addr, ai->ai_addrlen);
        out[count++].len = ai->ai_addrlen;
    }
    if (count)
        return (int)count;
    *error = resolver->status ? gai_strerror(resolver->status) : "the name has no address";
    return -ENOENT;
}
