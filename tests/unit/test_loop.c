#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vspc/loop.h"
#include "vspc/mailbox.h"
#include "vspc/mem.h"

enum { PRODUCERS = 8, LETTERS = 20000 };

struct letter {
    unsigned producer, number;
};

/* The consumer's: only its thread touches these. */
static unsigned next_number[PRODUCERS];
static unsigned received;
static struct loop *loop;

static void on_letter(void *arg)
{
    struct letter *letter = arg;
    cr_assert_eq(letter->number, next_number[letter->producer]++, "mail of one producer must stay in order");
    free(letter);
    if (++received == PRODUCERS * LETTERS)
        loop_stop(loop);
}

static void *produce(void *arg)
{
    for (unsigned i = 0; i < LETTERS; i++) {
        struct letter *letter = xmalloc(sizeof *letter);
        *letter = (struct letter){(unsigned)(uintptr_t)arg, i};
        loop_post(loop, on_letter, letter);
        /* Now and then the consumer gets to sleep, so that waking it is tried too. */
        if (i % 5000 == 0)
            usleep(1000);
    }
    return NULL;
}

Test(mailbox, every_letter_of_many_producers_arrives_once_and_in_order)
{
    pthread_t thread[PRODUCERS];
    loop = loop_new();
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        cr_assert_eq(thread_start(&thread[i], "producer", produce, (void *)i), 0);
    loop_run(loop);
    for (int i = 0; i < PRODUCERS; i++)
        cr_assert_eq(thread_join(thread[i], 60000), 0);
    cr_assert_eq(received, PRODUCERS * LETTERS);
    loop_free(loop);
}

static unsigned bounces;
static struct loop *ping, *pong;

static void on_pong(void *arg);

static void on_ping(void *arg)
{
    loop_post(ping, on_pong, arg);
}

static void on_pong(void *arg)
{
    if (++bounces < 20000) {
        loop_post(pong, on_ping, arg);
        return;
    }
    loop_stop(ping);
    loop_stop(pong);
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

/* One letter in flight and both sides asleep most of the time: a lost wake-up would hang here. */
Test(mailbox, no_wakeup_is_lost, .timeout = 60)
{
    pthread_t thread;
    ping = loop_new();
    pong = loop_new();
    cr_assert_eq(thread_start(&thread, "pong", run_loop, pong), 0);
    loop_post(pong, on_ping, NULL);
    loop_run(ping);
    cr_assert_eq(thread_join(thread, 60000), 0);
    cr_assert_eq(bounces, 20000);
    loop_free(ping);
    loop_free(pong);
}

static void count(void *arg)
{
    (*(unsigned *)arg)++;
}

Test(mailbox, letters_left_at_the_end_are_run_so_that_they_can_be_freed)
{
    unsigned n = 0;
    loop = loop_new();
    loop_post(loop, count, &n);
    loop_post(loop, count, &n);
    loop_free(loop);
    cr_assert_eq(n, 2);
}

struct test_timer {
    struct loop_timer timer;
    uint64_t due;
};

static uint64_t last_due;
static unsigned fired;

static void on_timer(struct loop_timer *timer)
{
    struct test_timer *t = container_of(timer, struct test_timer, timer);
    cr_assert_geq(t->due, last_due, "timers must fire in the order of their times");
    last_due = t->due;
    fired++;
}

static void on_last(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

Test(loop, timers_fire_in_order_and_disarmed_ones_do_not)
{
    static struct test_timer timers[500];
    struct loop_timer last = {0};
    unsigned armed = 0;
    loop = loop_new();
    srand(7);
    for (int i = 0; i < 500; i++) {
        loop_timer_arm(loop, &timers[i].timer, (uint64_t)rand() % 100, on_timer);
        timers[i].due = timers[i].timer.due_ms;
    }
    for (int i = 0; i < 500; i += 3)
        loop_timer_disarm(loop, &timers[i].timer);
    for (int i = 0; i < 500; i++)
        armed += timers[i].timer.slot != 0;
    loop_timer_arm(loop, &last, 150, on_last);
    loop_run(loop);
    cr_assert_eq(fired, armed);
    loop_free(loop);
}

struct test_io {
    struct loop_io io;
    unsigned events;
};

static struct test_io ios[2];

/* Whichever comes first removes the other one, whose event is in the same batch. */
static void on_io(struct loop_io *io, uint32_t events)
{
    (void)events;
    struct test_io *me = container_of(io, struct test_io, io);
    me->events++;
    loop_io_del(loop, &ios[me == &ios[0]].io);
    loop_io_del(loop, io);
    loop_stop(loop);
}

Test(loop, removed_descriptor_gets_no_event_of_the_same_batch)
{
    int a[2], b[2];
    cr_assert_eq(pipe(a), 0);
    cr_assert_eq(pipe(b), 0);
    cr_assert_eq(write(a[1], "x", 1), 1);
    cr_assert_eq(write(b[1], "x", 1), 1);
    loop = loop_new();
    cr_assert_eq(loop_io_add(loop, &ios[0].io, a[0], EPOLLIN, on_io), 0);
    cr_assert_eq(loop_io_add(loop, &ios[1].io, b[0], EPOLLIN, on_io), 0);
    loop_run(loop);
    cr_assert_eq(ios[0].events + ios[1].events, 1);
    loop_free(loop);
}
