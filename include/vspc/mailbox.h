/* Mailbox: how threads speak to each other.
 *
 * A multi-producer single-consumer lock-free queue of "run this function with this argument", and an eventfd
 * that is written only when the consumer sleeps. Any thread may post; one thread, the owner, takes. What the
 * argument points to belongs to the consumer from the post on. */
#ifndef VSPC_MAILBOX_H
#define VSPC_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <urcu/wfcqueue.h>

struct mailbox {
    struct cds_wfcq_tail tail;
    struct cds_wfcq_head head;
    atomic_bool sleeping;
    int event_fd;
};

/* Result: 0 or a negative errno. */
int mailbox_init(struct mailbox *box);
/* Frees the mailbox; nobody may post any more. What is still queued is run, so that its owner can free it. */
void mailbox_destroy(struct mailbox *box);

/* Any thread: queues fn(arg) and wakes the consumer if it sleeps. Mail of one producer arrives in order. */
void mailbox_post(struct mailbox *box, void (*fn)(void *arg), void *arg);

/* Owner: runs up to max letters and counts them in *ran. Result: true when more may be waiting (look again
 * without sleeping). */
bool mailbox_run(struct mailbox *box, unsigned max, unsigned *ran);

/* Owner: says that it is about to sleep on event_fd. Result: true, sleep; false, mail has come, do not. The
 * eventfd is never read: wait for it edge-triggered. */
bool mailbox_may_sleep(struct mailbox *box);
/* Owner: is awake again, posts need not write the eventfd. */
void mailbox_awake(struct mailbox *box);

#endif
