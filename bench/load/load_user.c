#include "load_user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utlist.h>

#include "connect.h"
#include "load_vm.h"
#include "vspc/telnet.h"

enum { ASK_MS = 500, READS_A_TURN = 4, RAW_ASKS = 6 /* without an offer of telnet: there will be none */ };
enum parser { IN_DATA, AFTER_IAC, AFTER_VERB, IN_SUB, IN_SUB_AFTER_IAC };

static struct tally *tally_of(struct load_user *user)
{
    return &user->thread->tally;
}

static void set_state(struct load_user *user, enum load_user_state state)
{
    struct load_thread *thread = user->thread;
    if (user->state == LOAD_USER_ARRIVING) {
        DL_DELETE2(thread->arriving, user, prev_arriving, next_arriving);
        thread->users_arriving--;
    }
    user->state = (uint8_t)state;
    if (state == LOAD_USER_ARRIVING) {
        DL_APPEND2(thread->arriving, user, prev_arriving, next_arriving);
        thread->users_arriving++;
    }
    thread->changed(thread);
}

static void lose(struct load_user *user, const char *why)
{
    pace_close(&user->io);
    bytes_clear(&user->out);
    if (user->vm) {
        load_thread_fail(user->thread, "user %" PRIu32 " at port %u was lost: %s", user->number + 1,
                         user->port, why);
        tally_add(tally_of(user), COUNT_USERS_LOST, 1);
    }
    set_state(user, LOAD_USER_LOST);
}

/* Sends what is queued. */
static void push(struct load_user *user)
{
    while (user->out.len) {
        ssize_t n = send(user->io.fd, bytes_at(&user->out), user->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
            break;
        if (n < 0) {
            lose(user, strerror(errno));
            return;
        }
        bytes_drop(&user->out, (size_t)n);
    }
    pace_set(&user->thread->pace, &user->io, EPOLLIN | (user->out.len ? (uint32_t)EPOLLOUT : 0));
}

/* Answers a negotiation as a telnet client that takes BINARY, once for each verb and option. */
static void on_verb(struct load_user *user, uint8_t option)
{
    uint8_t verb = user->verb;
    bool mine = verb == TN_DO || verb == TN_DONT;
    bool known = option == TN_OPT_BINARY || option == TN_OPT_SGA || (option == TN_OPT_ECHO && !mine);
    uint8_t *told = &user->told[verb - TN_WILL];
    if (option > 7 || *told >> option & 1)
        return;
    *told |= (uint8_t)(1u << option);
    uint8_t answer = mine ? TN_WONT : TN_DONT;
    if (known && verb == TN_WILL)
        answer = TN_DO;
    if (known && verb == TN_DO)
        answer = TN_WILL;
    bytes_put(&user->out, (uint8_t[]){TN_IAC, answer, option}, 3);
}

/* Whether he has answered an offer of telnet. Before that he says nothing: whoever is slow and does not begin
 * with his answer is taken for one who does not speak telnet, for good; protocol.md, Users. */
static bool has_answered(const struct load_user *user)
{
    return user->told[0] | user->told[1] | user->told[2] | user->told[3];
}

/* Asks the VM for its line. */
static void ask(struct load_user *user)
{
    uint8_t enq = LOAD_ENQ;
    user->asks = RAW_ASKS;
    bytes_put(&user->out, &enq, 1);
}

/* The VM says whose console this is: what comes next is its stream. */
static void on_vm_line(struct load_user *user, const struct load_line *line)
{
    const struct crew *crew = user->thread->crew;
    char why[80];
    /* One before he has asked is of a replay, which a slow user gets as one who does not speak telnet. */
    if (user->state != LOAD_USER_ARRIVING || user->asks < RAW_ASKS || line->run != crew->run)
        return;
    if (line->number >= crew->options->vms || (user->vm && user->vm->number != line->number)) {
        snprintf(why, sizeof why, "it is the console of VM %" PRIu32 " instead of %" PRIu32, line->number + 1,
                 user->vm ? user->vm->number + 1 : 0);
        lose(user, why);
        return;
    }
    if (!user->vm) {
        user->found = line->number;
    } else if (line->drops != user->vm->drops) {
        return;
    } else {
        stream_check_init(&user->seen, crew->echo ? &user->keys : &user->vm->stream, line->printed);
        tally_add(tally_of(user), COUNT_USERS, 1);
    }
    set_state(user, LOAD_USER_ATTACHED);
}

/* A line that is no part of a stream, with a CR LF at both ends. */
static void on_line(struct load_user *user)
{
    struct load_line line;
    uint64_t n;
    const char *text = user->line + 2;
    user->line[user->line_len - 2] = 0;
    user->in_line = false;
    if (load_line_parse(text, &line)) {
        on_vm_line(user, &line);
    } else if (user->state == LOAD_USER_ATTACHED) {
        if (sscanf(text, "[vspc: %" SCNu64 " bytes skipped]", &n) != 1)
            return;
        stream_check_skip(&user->seen, n);
        tally_add(tally_of(user), COUNT_SKIPPED, n);
    } else if (*text != '[') {
        /* A replay may begin within a line: what has ended that one was no beginning of this. */
        memcpy(user->line, "\r\n", 2);
        user->line_len = 2;
        user->in_line = true;
    }
}

/* Everything that was due by what has arrived has been delivered. */
static void time_deliveries(struct load_user *user, uint64_t now_ns)
{
    size_t count = atomic_load_explicit(&user->marks->count, memory_order_acquire);
    while (user->next_mark < count && user->marks->marks[user->next_mark].end <= user->seen.at)
        tally_time(tally_of(user), LATENCY_DELIVERY, now_ns - user->marks->marks[user->next_mark++].due_ns);
}

/* Echoes have come. */
static void time_echoes(struct load_user *user, uint64_t now_ns)
{
    uint64_t n = user->seen.at > user->echoed ? user->seen.at - user->echoed : 0;
    tally_add(tally_of(user), COUNT_ECHOES, n);
    for (; n; n--, user->echoed++)
        tally_time(tally_of(user), LATENCY_ECHO,
                   now_ns - user->first_due_ns - (user->interval_ns ? user->echoed * user->interval_ns : 0));
    if (!user->ping_pong || user->echoed != user->typed)
        return;
    user->first_due_ns = clock_ns();
    load_user_type(user, 1);
}

/* Bytes of a stream. */
static void on_stream(struct load_user *user, const uint8_t *data, size_t len)
{
    struct stream_check *seen = &user->seen;
    if (len == 0 || user->state != LOAD_USER_ATTACHED || !user->vm)
        return;
    if (!user->thread->crew->options->verify) {
        seen->at += len;
        tally_add(tally_of(user), COUNT_DELIVERED, len);
        return;
    }
    uint64_t before = seen->arrived;
    if (!stream_check_feed(seen, data, len))
        load_thread_fail(user->thread, "what user %" PRIu32 " was sent is not what VM %" PRIu32 " printed",
                         user->number + 1, user->vm->number + 1);
    tally_add(tally_of(user), COUNT_DELIVERED, seen->arrived - before);
}

/* Text: stream, and lines that begin with a CR. */
static void on_text(struct load_user *user, const uint8_t *data, size_t len)
{
    while (len && user->state != LOAD_USER_LOST) {
        if (!user->in_line) {
            const uint8_t *cr = memchr(data, '\r', len);
            size_t run = cr ? (size_t)(cr - data) : len;
            on_stream(user, data, run);
            data += run;
            len -= run;
            user->in_line = cr != NULL;
            user->line_len = 0;
            continue;
        }
        user->line[user->line_len++] = (char)*data++;
        len--;
        if (user->line_len > 2 && user->line[user->line_len - 1] == '\n') {
            on_line(user);
        } else if (user->line_len == USER_LINE_MAX) {
            user->in_line = false; /* no line of anyone's; the check has missed it */
        }
    }
}

/* A byte that is no plain text. */
static void on_byte(struct load_user *user, uint8_t c)
{
    uint8_t parser = user->parser;
    user->parser = IN_DATA;
    if (parser == AFTER_IAC && c == TN_IAC) {
        on_text(user, &c, 1);
    } else if (parser == AFTER_IAC && c >= TN_WILL && c <= TN_DONT) {
        user->verb = c;
        user->parser = AFTER_VERB;
    } else if (parser == AFTER_IAC && c == TN_SB) {
        user->parser = IN_SUB;
    } else if (parser == AFTER_VERB) {
        on_verb(user, c);
    } else if (parser == IN_SUB) {
        user->parser = c == TN_IAC ? IN_SUB_AFTER_IAC : IN_SUB;
    } else if (parser == IN_SUB_AFTER_IAC && c != TN_SE) {
        user->parser = IN_SUB;
    }
}

static void take(struct load_user *user, const uint8_t *data, size_t len)
{
    while (len && user->state != LOAD_USER_LOST) {
        if (user->parser != IN_DATA) {
            on_byte(user, *data++);
            len--;
            continue;
        }
        const uint8_t *iac = memchr(data, TN_IAC, len);
        size_t run = iac ? (size_t)(iac - data) : len;
        on_text(user, data, run);
        if (iac) {
            user->parser = AFTER_IAC;
            run++;
        }
        data += run;
        len -= run;
    }
}

/* What follows from what has been read. */
static void after_read(struct load_user *user)
{
    const struct crew *crew = user->thread->crew;
    struct load_vm *vm = user->vm;
    if (user->state != LOAD_USER_ATTACHED || !vm)
        return;
    uint64_t now_ns = clock_ns();
    if (crew->echo)
        time_echoes(user, now_ns);
    else if (user->marks)
        time_deliveries(user, now_ns);
    if (vm->user != user)
        return;
    if (user->chat_end && user->seen.at >= user->chat_end) {
        tally_time(tally_of(user), LATENCY_DELIVERY, now_ns - user->chat_due_ns);
        user->chat_end = 0;
    }
    if (vm->freezing && user->seen.at > vm->freeze_at) {
        vm->freezing = false;
        tally_time(tally_of(user), LATENCY_FREEZE, now_ns - vm->due_ns - crew->options->hold_ms * 1000000);
    }
    load_vm_settle(vm);
}

static void on_user(struct pace_io *io, uint32_t events)
{
    struct load_user *user = container_of(io, struct load_user, io);
    uint8_t *buffer = user->thread->buffer;
    ssize_t n = LOAD_READ_MAX;
    for (int i = 0; i < READS_A_TURN && n == LOAD_READ_MAX && events & ~(uint32_t)EPOLLOUT; i++) {
        n = recv(io->fd, buffer, LOAD_READ_MAX, MSG_DONTWAIT);
        if (n > 0) {
            take(user, buffer, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            lose(user, n ? strerror(errno) : "the server closed the connection");
            return;
        }
    }
    if (user->state == LOAD_USER_LOST)
        return;
    if (user->asks == 0 && has_answered(user))
        ask(user);
    after_read(user);
    if (user->io.fd >= 0)
        push(user);
}

/* Those who have not heard of their VM yet ask again. */
static void on_ask(struct pace_schedule *schedule, uint64_t due_ns)
{
    struct load_thread *thread = container_of(schedule, struct load_thread, asker);
    struct load_user *user, *next;
    /* A load that is behind has not read what may be there. */
    bool in_time = clock_ns() - due_ns < ASK_MS * UINT64_C(500000);
    DL_FOREACH_SAFE2(thread->arriving, user, next, next_arriving)
    {
        if (!has_answered(user) && (!in_time || ++user->asks < RAW_ASKS))
            continue;
        ask(user);
        push(user);
    }
}

void load_users_init(struct load_thread *thread)
{
    thread->asker = (struct pace_schedule){
        .due_ns = clock_ns(), .interval_ns = ASK_MS * 1000000, .left = UINT64_MAX, .fn = on_ask};
    pace_schedule(&thread->pace, &thread->asker);
}

void load_user_init(struct load_user *user, struct load_thread *thread, uint32_t number, struct load_vm *vm)
{
    *user = (struct load_user){.thread = thread, .number = number, .vm = vm, .io.fd = -1};
    user->keys = (struct stream){.seed = ~((uint64_t)thread->crew->run << 32 | number), .binary = true};
}

void load_user_attach(struct load_user *user, uint16_t port)
{
    struct load_thread *thread = user->thread;
    struct sock_addr to = thread->crew->options->vspc;
    sock_addr_set_port(&to, port);
    user->port = port;
    user->parser = IN_DATA;
    user->in_line = false;
    user->asks = 0;
    memset(user->told, 0, sizeof user->told);
    set_state(user, LOAD_USER_ARRIVING);
    int fd = load_connect(thread, &to);
    user->io = (struct pace_io){fd < 0 ? -1 : fd, EPOLLIN | EPOLLOUT, on_user};
    int err = fd < 0 ? fd : pace_add(&thread->pace, &user->io);
    if (err)
        lose(user, strerror(-err));
}

void load_user_leave(struct load_user *user)
{
    if (user->state != LOAD_USER_ARRIVING && user->state != LOAD_USER_ATTACHED)
        return;
    if (user->state == LOAD_USER_ATTACHED)
        load_user_account(user);
    pace_close(&user->io);
    bytes_clear(&user->out);
    set_state(user, LOAD_USER_DOWN);
}

void load_user_wait(struct load_user *user)
{
    load_user_account(user);
    set_state(user, LOAD_USER_ARRIVING);
}

/* Notes what became of a stream of which `sent` bytes were sent. */
static void account(struct load_user *user, struct stream_check *check, uint64_t sent)
{
    stream_check_finish(check, user->thread->crew->cut_short ? check->end : sent);
    tally_add(tally_of(user), COUNT_STREAM_LOST, check->lost);
    tally_add(tally_of(user), COUNT_STREAM_DOUBLED, check->doubled);
    tally_add(tally_of(user), COUNT_STREAM_REORDERED, check->reordered);
}

void load_user_account(struct load_user *user)
{
    struct load_vm *vm = user->vm;
    if (!vm || !user->thread->crew->options->verify)
        return;
    account(user, &user->seen, user->thread->crew->echo ? user->typed : vm->printed);
    if (vm->typed && vm->user == user) {
        account(user, vm->typed, user->typed);
        stream_check_init(vm->typed, &user->keys, user->typed);
    }
}

void load_user_type(struct load_user *user, size_t len)
{
    uint8_t keys[256], escaped[512];
    size_t n = 0;
    if (len > sizeof keys)
        len = sizeof keys;
    stream_fill(&user->keys, user->typed, keys, len);
    for (size_t i = 0; i < len; i++) {
        escaped[n++] = keys[i];
        if (keys[i] == TN_IAC)
            escaped[n++] = TN_IAC;
    }
    bytes_put(&user->out, escaped, n);
    user->typed += len;
    tally_add(tally_of(user), COUNT_KEYS, len);
    push(user);
}

bool load_user_is_quiet(const struct load_user *user)
{
    const struct load_vm *vm = user->vm;
    if (user->state != LOAD_USER_ATTACHED)
        return true;
    if (user->thread->crew->echo)
        return user->seen.at == user->typed;
    return user->seen.at == vm->printed && (!vm->typed || vm->user != user || vm->typed->at == user->typed);
}

void load_user_free(struct load_user *user)
{
    struct linger at_once = {.l_onoff = 1};
    if (user->io.fd >= 0)
        setsockopt(user->io.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    pace_close(&user->io);
    bytes_clear(&user->out);
}
