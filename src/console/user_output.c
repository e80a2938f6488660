/* What a user is sent: replies, notices, and the console's output from the user's place in the ring on. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <utlist.h>

#include "user_control.h"

enum {
    PIECES = 16,       /* of one send; more follow when there is room */
    COPY_SIZE = 65536, /* of a send, for output that needs escapes */
    COPY_BELOW =
        8192, /* a stretch without a 255 that is shorter than this is copied with what is around it */
    SENDS_A_FLUSH = 8, /* then others have their turn */
};

/* Takes the first notice off the list. */
static void drop_notice(struct user_conn *user)
{
    struct user_notice *first = user->notices;
    DL_DELETE(user->notices, first);
    user->notice_count--;
    free(first);
}

/* The user's stream in the order in which it is sent: what it owes, then replies and notices, then what was
 * skipped, then output. */
struct outgoing {
    struct iovec piece[PIECES];
    uint8_t kind[PIECES];   /* enum piece_kind */
    size_t doubled[PIECES]; /* of PIECE_ESCAPED: how many 255s have a second */
    int len;
    size_t copied_len;
    char skipped[96]; /* the line of PIECE_SKIPPED */
    uint8_t copied[COPY_SIZE];
};

enum piece_kind {
    PIECE_OWED, /* the second 255 of a pair */
    PIECE_CONTROL,
    PIECE_SKIPPED,
    PIECE_OUTPUT, /* bytes of the ring, as they are */
    PIECE_ESCAPED /* bytes of the ring, copied with each 255 doubled */
};

static void put_piece(struct outgoing *out, enum piece_kind kind, const void *data, size_t len)
{
    out->piece[out->len] = (struct iovec){(void *)data, len};
    out->doubled[out->len] = 0;
    out->kind[out->len++] = (uint8_t)kind;
}

/* Copies a short stretch of output, and the 255 behind it if there is one, twice. Result: false when it does
 * not fit any more. */
static bool copy_escaped(struct outgoing *out, const uint8_t *data, size_t run, bool iac)
{
    size_t len = run + (iac ? 2 : 0);
    bool joins = out->len && out->kind[out->len - 1] == PIECE_ESCAPED;
    if (out->copied_len + len > COPY_SIZE || (!joins && out->len == PIECES))
        return false;
    if (!joins)
        put_piece(out, PIECE_ESCAPED, out->copied + out->copied_len, 0);
    memcpy(out->copied + out->copied_len, data, run);
    if (iac)
        memset(out->copied + out->copied_len + run, TN_IAC, 2);
    out->copied_len += len;
    out->doubled[out->len - 1] += iac;
    out->piece[out->len - 1].iov_len += len;
    return true;
}

/* Output for a telnet user: each 255 is followed by another. Long stretches without one go as they stand in
 * the ring, those with many are copied: a piece for each would be two for a byte. Result: false when it did
 * not all fit. */
static bool put_escaped(struct outgoing *out, const uint8_t *data, size_t len)
{
    while (len) {
        const uint8_t *iac = memchr(data, TN_IAC, len);
        size_t run = iac ? (size_t)(iac - data) : len;
        if (run >= COPY_BELOW) {
            if (out->len == PIECES)
                return false;
            put_piece(out, PIECE_OUTPUT, data, run);
        } else {
            if (!copy_escaped(out, data, run, iac != NULL))
                return false;
            run += iac != NULL;
        }
        data += run;
        len -= run;
    }
    return true;
}

static const uint8_t escape_byte = TN_IAC;

static bool sends_output(const struct user_conn *user)
{
    return user->state != USER_UNDECIDED;
}

/* Notices that all output before them has been sent for go with the replies. */
static void release_notices(struct user_conn *user)
{
    while (user->notices && user->notices->at <= user->cursor) {
        bytes_put(&user->control, user->notices->line, user->notices->len);
        drop_notice(user);
    }
}

/* One line of our own, as this user is shown it. */
static void put_line(const struct user_conn *user, struct bytes *out, const char *text)
{
    size_t len = strnlen(text, USER_NOTICE_MAX);
    if (user->attached) {
        user_control_put_notice(out, text, len);
    } else {
        bytes_put(out, "\r\n[vspc: ", strlen("\r\n[vspc: "));
        bytes_put(out, text, len);
        bytes_put(out, "]\r\n", strlen("]\r\n"));
    }
}

/* How much was skipped, before any output. */
static void put_skipped(struct outgoing *out, const struct user_conn *user)
{
    char text[64];
    struct bytes line = {0};
    snprintf(text, sizeof text, "%llu bytes skipped", (unsigned long long)user->skipped);
    put_line(user, &line, text);
    assert(line.len <= sizeof out->skipped);
    memcpy(out->skipped, bytes_at(&line), line.len);
    put_piece(out, PIECE_SKIPPED, out->skipped, line.len);
    bytes_clear(&line);
}

/* Everything the user is to be sent next, as far as it fits. */
static void gather(struct user_conn *user, struct outgoing *out)
{
    const struct ring *ring = &user->console->ring;
    struct iovec data[2];
    out->len = 0;
    out->copied_len = 0;
    if (user->attached && user->control.len < USER_ANSWERS_MAX)
        user_control_put_access(user, &user->control);
    release_notices(user);
    if (user->owes_escape)
        put_piece(out, PIECE_OWED, &escape_byte, 1);
    if (user->control.len)
        put_piece(out, PIECE_CONTROL, bytes_at(&user->control), user->control.len);
    if (!sends_output(user))
        return;
    if (user->skipped)
        put_skipped(out, user);
    int pieces = ring_read(ring, user->cursor, user->notices ? user->notices->at : ring->end, data);
    for (int i = 0; i < pieces; i++) {
        if (user->state == USER_TELNET && !put_escaped(out, data[i].iov_base, data[i].iov_len))
            break;
        if (user->state != USER_TELNET)
            put_piece(out, PIECE_OUTPUT, data[i].iov_base, data[i].iov_len);
    }
}

/* The socket took n bytes of escaped output: a 255 counts when its first byte went, and owes its second. */
static void escaped_sent(struct user_conn *user, const uint8_t *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        const uint8_t *iac = memchr(data + at, TN_IAC, n - at);
        size_t run = iac ? (size_t)(iac - data) - at + 1 : n - at;
        user->cursor += run;
        at += iac ? run + 1 : run;
        user->owes_escape = at > n;
    }
}

/* The socket took n bytes of what was gathered. */
static void sent(struct user_conn *user, const struct outgoing *out, size_t n)
{
    for (int i = 0; i < out->len && n; i++) {
        size_t len = out->piece[i].iov_len;
        size_t taken = n < len ? n : len;
        n -= taken;
        switch ((enum piece_kind)out->kind[i]) {
        case PIECE_OWED:
            user->owes_escape = false;
            break;
        case PIECE_CONTROL:
            bytes_drop(&user->control, taken);
            break;
        case PIECE_SKIPPED:
            /* However long the socket took nothing, it is one line; from now on its number stands. */
            user->skipped = 0;
            bytes_put(&user->control, out->skipped + taken, len - taken);
            break;
        case PIECE_OUTPUT:
            user->cursor += taken;
            break;
        case PIECE_ESCAPED:
            if (taken == len)
                user->cursor += len - out->doubled[i];
            else
                escaped_sent(user, out->piece[i].iov_base, taken);
            break;
        }
    }
}

void user_output_reply(struct user_conn *user, const void *data, size_t len)
{
    bytes_put(&user->control, data, len);
}

bool user_output_is_up_to_date(const struct user_conn *user)
{
    return !user->owes_escape && !user->control.len && !user->skipped && !user->notices &&
           !(user->attached && user->attached->owes_access) &&
           (!sends_output(user) || user->cursor == user->console->ring.end);
}

void user_output_clear(struct user_conn *user)
{
    user->owes_escape = false;
    user->skipped = 0;
    bytes_clear(&user->control);
    if (user->attached)
        user->attached->owes_access = false;
    while (user->notices)
        drop_notice(user);
}

/* Nobody will get what is printed from now on. */
static void set_deaf(struct user_conn *user)
{
    user->deaf = true;
    user_output_clear(user);
    user->cursor = user->console->ring.end;
}

void user_output_flush(struct user_conn *user)
{
    struct outgoing out;
    if (user->state == USER_CLOSED)
        return;
    if (user->deaf)
        set_deaf(user);
    for (int i = 0; i < SENDS_A_FLUSH; i++) {
        gather(user, &out);
        if (out.len == 0)
            break;
        ssize_t n = sock_send(user->io.fd, out.piece, out.len);
        if (n < 0) {
            /* Reading finds out too, behind what the user typed before. */
            set_deaf(user);
            break;
        }
        size_t wanted = 0;
        for (int j = 0; j < out.len; j++)
            wanted += out.piece[j].iov_len;
        sent(user, &out, (size_t)n);
        user->sent_bytes += (uint64_t)n;
        figure_add(&user->console->owner->figures, FIGURE_BYTES_TO_USERS, (uint64_t)n);
        if (n < (ssize_t)wanted)
            break;
    }
    user_conn_set_interest(user);
}

void user_output_make_room(struct user_conn *user, size_t n)
{
    struct console_owner *owner = user->console->owner;
    const struct config *config = owner->config;
    uint64_t end = user->console->ring.end;
    if (end - user->cursor + n <= config->user.backlog)
        return;
    user_output_flush(user);
    if (user->state == USER_CLOSED || end - user->cursor + n <= config->user.backlog || user->cursor == end)
        return;
    if (user->state == USER_RAW || user->state == USER_SILENT) {
        figure_add(&owner->figures, FIGURE_USERS_TOO_SLOW, 1);
        user_conn_close_for(user, "it does not read, and raw users cannot be told of skipped bytes");
        return;
    }
    size_t kept = config->user.scrollback ? config->user.scrollback : config->user.backlog / 2;
    kept = kept > n ? kept - n : 0;
    if (end - user->cursor <= kept)
        return;
    uint64_t to = end - kept;
    /* One that is undecided waits for us; it is as if it had come later. */
    if (user->state == USER_TELNET) {
        user->skipped += to - user->cursor;
        figure_add(&owner->figures, FIGURE_BYTES_SKIPPED, to - user->cursor);
    }
    user->cursor = to;
}

bool user_output_notice(struct user_conn *user, const char *text)
{
    struct bytes line = {0};
    if (user->state != USER_TELNET || user->deaf || user->notice_count >= USER_NOTICES_MAX ||
        user->control.len >= USER_ANSWERS_MAX)
        return false;
    put_line(user, &line, text);
    struct user_notice *notice = xmalloc(sizeof *notice + line.len);
    notice->at = user->console->ring.end;
    notice->len = line.len;
    memcpy(notice->line, bytes_at(&line), line.len);
    bytes_clear(&line);
    DL_APPEND(user->notices, notice);
    user->notice_count++;
    return true;
}

void user_output_last_word(struct user_conn *user, const char *text)
{
    if (user->state != USER_TELNET)
        return;
    put_line(user, &user->control, text);
    user_output_flush(user);
}
