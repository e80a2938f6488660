#include "vspc/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vspc/mem.h"

/* The queue itself is in liburcu, which thread sanitizer does not see into: these two tell it what the queue
 * guarantees, that all before a post happens before all after the take. */
#if defined(__SANITIZE_THREAD__)
#define VSPC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VSPC_TSAN 1
#endif
#endif
#ifdef VSPC_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#else
#define __tsan_acquire(addr) ((void)(addr))
#define __tsan_release(addr) ((void)(addr))
#endif

struct letter {
    struct cds_wfcq_node node;
    void (*fn)(void *arg);
    void *arg;
};

int mailbox_init(struct mailbox *box)
{
    cds_wfcq_init(&box->head, &box->tail);
    atomic_init(&box->sleeping, false);
    box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return box->event_fd < 0 ? -errno : 0;
}

void mailbox_destroy(struct mailbox *box)
{
    unsigned ran = 0;
    while (mailbox_run(box, 1024, &ran))
        ;
    cds_wfcq_destroy(&box->head, &box->tail);
    close(box->event_fd);
}

void mailbox_post(struct mailbox *box, void (*fn)(void *arg), void *arg)
{
    struct letter *letter = xmalloc(sizeof *letter);
    letter->fn = fn;
    letter->arg = arg;
    cds_wfcq_node_init(&letter->node);
    __tsan_release(letter);
    cds_wfcq_enqueue(&box->head, &box->tail, &letter->node);
    /* Pairs with the fence in mailbox_may_sleep: either we see the flag or the consumer sees the letter. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&box->sleeping, memory_order_relaxed) &&
        atomic_exchange_explicit(&box->sleeping, false, memory_order_relaxed)) {
        uint64_t one = 1;
        /* Fails only when the counter is full, and then the consumer has been told. */
        ssize_t ignored = write(box->event_fd, &one, sizeof one);
        (void)ignored;
    }
}

bool mailbox_run(struct mailbox *box, unsigned max, unsigned *ran)
{
    for (*ran = 0; *ran < max; ++*ran) {
        struct cds_wfcq_node *node = __cds_wfcq_dequeue_nonblocking(&box->head, &box->tail);
        if (!node)
            return false;
        if (node == CDS_WFCQ_WOULDBLOCK)
            return true;
        struct letter *letter = container_of(node, struct letter, node);
        __tsan_acquire(letter);
        void (*fn)(void *) = letter->fn;
        void *arg = letter->arg;
        free(letter);
        fn(arg);
    }
    return true;
}

bool mailbox_may_sleep(struct mailbox *box)
{
    atomic_store_explicit(&box->sleeping, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (cds_wfcq_empty(&box->head, &box->tail))
        return true;
    atomic_store_explicit(&box->sleeping, false, memory_order_relaxed);
    return false;
}

void mailbox_awake(struct mailbox *box)
{
    atomic_store_explicit(&box->sleeping, false, memory_order_relaxed);
}
