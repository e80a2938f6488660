#include "vspc/telnet.h"

#include <errno.h>
#include <libtelnet.h>
#include <stdlib.h>
#include <string.h>

struct telnet_stream {
    telnet_t *telnet;
    const struct telnet_handler *handler;
    void *arg;
    const char *why;          /* set: the stream is broken */
    const uint8_t *chunk_end; /* while feeding: behind the last byte given to libtelnet */
    enum telnet_side side;
    bool plain;     /* libtelnet is known to be outside of any sequence: data need not go through it */
    bool after_iac; /* the last byte fed was an IAC, so an SE that comes first in the next feed ends a message
                     */
};

static const telnet_telopt_t vm_options[] = {
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
    if (s->why)
        return;
    switch (ev->type) {
    case TELNET_EV_DATA:
        s->plain = (const uint8_t *)ev->data.buffer + ev->data.size == s->chunk_end;
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

struct telnet_stream *telnet_stream_new(enum telnet_side side, const struct telnet_handler *handler,
                                        void *arg)
{
    struct telnet_stream *s = xcalloc(1, sizeof *s);
    s->handler = handler;
    s->arg = arg;
    s->side = side;
    s->plain = true;
    s->telnet = telnet_init(side == TELNET_SIDE_VM ? vm_options : user_options, on_event, 0, s);
    if (!s->telnet)
        abort();
    return s;
}

void telnet_stream_free(struct telnet_stream *s)
{
    if (!s)
        return;
    telnet_free(s->telnet);
    free(s);
}

void telnet_stream_greet(struct telnet_stream *s)
{
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_BINARY);
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_SGA);
    telnet_negotiate(s->telnet, TELNET_WILL, TN_OPT_ECHO);
    telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_BINARY);
    telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_SGA);
    if (s->side == TELNET_SIDE_VM)
        telnet_negotiate(s->telnet, TELNET_DO, TN_OPT_VMWARE);
}

/* How much of data to give to libtelnet at once: through the next command (an IAC and the byte behind it).
 * The end of a subnegotiation is one; what libtelnet makes of it is to be looked at before it gets more, as
 * it may begin to inflate, and would do that to all it was given. */
static size_t piece_len(struct telnet_stream *s, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (s->after_iac) {
            s->after_iac = false;
            if (data[at++] != TN_IAC)
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
    size_t run = s->plain ? feed_plain(s, data, len) : 0;
    *used = len;
    if (run < len) {
        size_t piece = piece_len(s, data + run, len - run);
        *used = run + piece;
        s->plain = false;
        s->chunk_end = data + run + piece;
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
