#include "vspc/telnet.h"

#include <errno.h>
#include <libtelnet.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS = 4 };

struct telnet_stream {
    telnet_t *telnet; /* NULL: at rest, made again when the next command comes */
    const struct telnet_handler *handler;
    void *arg;
    const char *why; /* set: the stream is broken */
    uint8_t side;    /* enum telnet_side */
    /* Where in the peer's stream we are; all 0 is outside of any sequence, where what holds no IAC is data.
     */
    bool after_iac;
    uint8_t command; /* a command whose option is the next byte, or 0 */
    bool in_sub;
    bool had_sub;  /* libtelnet has a buffer for subnegotiations, which it never gives back */
    bool is_muted; /* libtelnet is told what was before */
    /* What the peer said last about its own side of each of vm_options, and about ours; 0: nothing yet. */
    uint8_t its_word[OPTIONS], our_word[OPTIONS];
};

static const telnet_telopt_t vm_options[OPTIONS + 1] = {
    {TN_OPT_BINARY, TELNET_WILL, TELNET_DO},
    {TN_OPT_SGA, TELNET_WILL, TELNET_DO},
    {TN_OPT_ECHO, TELNET_WILL, TELNET_DONT},
    {TN_OPT_VMWARE, TELNET_WONT, TELNET_DO},
    {-1, 0, 0},
};

static const telnet_telopt_t user_options[] = {
    {TN_OPT_BINARY, TELNET_WILL, TELNET_DO},
    {TN_OPT_SGA, TELNET_WILL, TELNET_DO},
    {TN_OPT_ECHO, TELNET_WILL, TELNET_DONT},
    {-1, 0, 0},
};

static const telnet_telopt_t control_options[] = {{-1, 0, 0}};

static const telnet_telopt_t *const options[] = {
    [TELNET_SIDE_VM] = vm_options,
    [TELNET_SIDE_USER] = user_options,
    [TELNET_SIDE_CONTROL] = control_options,
};

/* libtelnet's complaints are warnings to it. A subnegotiation without end is not: what follows would be taken
 * for data. Its message is how to know it, as libtelnet 0.21 leaves the error's code unset. Compression,
 * which it would simply start to inflate, ends a stream by an event of its own. */
static void note_error(struct telnet_stream *s, const telnet_event_t *ev)
{
    if (s->why)
        return;
    if (strstr(ev->error.msg, "size limit"))
        s->why = "subnegotiation is too long";
    else if (ev->type == TELNET_EV_ERROR)
        s->why = "broken telnet stream";
    else if (s->side == TELNET_SIDE_VM)
        s->why = "malformed telnet sequence";
}

static void on_event(telnet_t *telnet, telnet_event_t *ev, void *arg)
{
    (void)telnet;
    struct telnet_stream *s = arg;
    if (s->why || s->is_muted)
        return;
    switch (ev->type) {
    case TELNET_EV_DATA:
        s->handler->data(s->arg, (const uint8_t *)ev->data.buffer, ev->data.size);
        break;
    case TELNET_EV_SEND:
        s->handler->send(s->arg, (const uint8_t *)ev->data.buffer, ev->data.size);
        break;
    case TELNET_EV_IAC:
        s->handler->command(s->arg, ev->iac.cmd);
        break;
    case TELNET_EV_WILL:
    case TELNET_EV_WONT:
        s->handler->peer_option(s->arg, ev->neg.telopt, ev->type == TELNET_EV_WILL);
        break;
    case TELNET_EV_SUBNEGOTIATION:
        s->handler->subnegotiation(s->arg, ev->sub.telopt, (const uint8_t *)ev->sub.buffer, ev->sub.size);
        break;
    case TELNET_EV_COMPRESS:
        s->why = "telnet compression was not agreed to";
        break;
    case TELNET_EV_WARNING:
    case TELNET_EV_ERROR:
        note_error(s, ev);
        break;
    default:
        break;
    }
}

static void make_telnet(struct telnet_stream *s)
{
    s->telnet = telnet_init(options[s->side], on_event, 0, s);
    if (!s->telnet)
        abort();
}

struct telnet_stream *telnet_stream_new(enum telnet_side side, const struct telnet_handler *handler,
                                        void *arg)
{
    struct telnet_stream *s = xcalloc(1, sizeof *s);
    s->handler = handler;
    s->arg = arg;
    s->side = (uint8_t)side;
    make_telnet(s);
    return s;
}

static void free_telnet(struct telnet_stream *s)
{
    if (s->telnet)
        telnet_free(s->telnet);
    s->telnet = NULL;
}

void telnet_stream_free(struct telnet_stream *s)
{
    if (!s)
        return;
    free_telnet(s);
    free(s);
}

void telnet_stream_greet(struct telnet_stream *s)
{
    if (s->side == TELNET_SIDE_CONTROL)
        return;
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_BINARY);
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_SGA);
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_ECHO);
    telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_BINARY);
    telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_SGA);
    if (s->side == TELNET_SIDE_VM)
        telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_VMWARE);
}

static bool is_outside(const struct telnet_stream *s)
{
    return !s->after_iac && !s->command && !s->in_sub;
}

void telnet_stream_rest(struct telnet_stream *s)
{
    if (!s->had_sub || !is_outside(s))
        return;
    free_telnet(s);
    s->had_sub = false;
}

static void hear_again(struct telnet_stream *s, uint8_t word, size_t i)
{
    const char command[] = {(char)TN_IAC, (char)word, (char)vm_options[i].telopt};
    if (word)
        telnet_recv(s->telnet, command, sizeof command);
}

/* Brings libtelnet to where it was before the stream came to rest. As neither side of an option is ever asked
 * for again, its state follows from our greeting and the last that the peer said about it. */
static void wake(struct telnet_stream *s)
{
    make_telnet(s);
    s->is_muted = true;
    telnet_stream_greet(s);
    for (size_t i = 0; i < OPTIONS; i++) {
        hear_again(s, s->its_word[i], i);
        hear_again(s, s->our_word[i], i);
    }
    s->is_muted = false;
}

/* The byte behind a command that takes one. Result: whether that is all of the command. */
static bool take_option(struct telnet_stream *s, uint8_t option)
{
    uint8_t command = s->command;
    s->command = 0;
    if (command == TN_SB) {
        s->in_sub = s->had_sub = true;
        return false;
    }
    for (size_t i = 0; i < OPTIONS; i++)
        if (vm_options[i].telopt == option)
            (command == TN_WILL || command == TN_WONT ? s->its_word : s->our_word)[i] = command;
    return true;
}

/* How much of data to give to libtelnet at once: to the end of the next command, which for a subnegotiation
 * is IAC SE or whatever stands in its place. What libtelnet makes of it is to be looked at before it gets
 * more, as it may begin to inflate, and would do that to all it was given. */
static size_t piece_len(struct telnet_stream *s, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (s->command) {
            if (take_option(s, data[at++]))
                return at;
        } else if (s->after_iac) {
            uint8_t byte = data[at++];
            s->after_iac = false;
            if (byte == TN_IAC)
                continue;
            /* Any command ends a subnegotiation; one that is not SE, libtelnet takes for the next. */
            bool ends_sub = s->in_sub;
            s->in_sub = false;
            if (byte >= TN_SB)
                s->command = byte;
            if (ends_sub || byte < TN_SB)
                return at;
        } else {
            const uint8_t *iac = memchr(data + at, TN_IAC, len - at);
            if (!iac)
                return len;
            at = (size_t)(iac - data) + 1;
            s->after_iac = true;
        }
    }
    return len;
}

/* Gives the handler what needs no parser, outside of any sequence: data without an IAC, and pairs of IAC,
 * each of which is one byte of it. Result: how much of data that was. */
static size_t feed_plain(const struct telnet_stream *s, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        const uint8_t *iac = memchr(data + at, TN_IAC, len - at);
        size_t run = iac ? (size_t)(iac - data) - at : len - at;
        bool pair = at + run + 1 < len && data[at + run + 1] == TN_IAC;
        if (run || pair)
            s->handler->data(s->arg, data + at, pair ? run + 1 : run);
        at += pair ? run + 2 : run;
        if (iac && !pair)
            break;
    }
    return at;
}

int telnet_stream_feed(struct telnet_stream *s, const uint8_t *data, size_t len, size_t *used,
                       const char **why)
{
    size_t run = is_outside(s) ? feed_plain(s, data, len) : 0;
    *used = len;
    if (run < len) {
        /* Before the piece is looked at: what it says is not what was before. */
        if (!s->telnet)
            wake(s);
        size_t piece = piece_len(s, data + run, len - run);
        *used = run + piece;
        telnet_recv(s->telnet, (const char *)data + run, piece);
    }
    *why = s->why;
    return s->why ? -EPROTO : 0;
}

void telnet_escape(struct bytes *out, const uint8_t *data, size_t len)
{
    while (len) {
        const uint8_t *iac = memchr(data, TN_IAC, len);
        size_t run = iac ? (size_t)(iac - data) + 1 : len;
        bytes_put(out, data, run);
        if (iac)
            bytes_put(out, iac, 1);
        data += run;
        len -= run;
    }
}

bool telnet_has_negotiation(const uint8_t *data, size_t len)
{
    bool in_sb = false;
    for (size_t i = 0; i + 1 < len; i++) {
        if (data[i] != TN_IAC)
            continue;
        uint8_t command = data[++i];
        if (in_sb)
            in_sb = command != TN_SE;
        else if (command == TN_SB)
            in_sb = true;
        else if (command >= TN_WILL && command <= TN_DONT) {
            if (i + 1 < len)
                return true;
            i++;
        }
    }
    return false;
}
