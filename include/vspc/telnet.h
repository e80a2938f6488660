/* Telnet: one side's protocol state, over libtelnet.
 *
 * A telnet_stream belongs to the connection it parses for, and moves between threads with it. Callbacks run
 * inside telnet_stream_feed and must only record; whoever feeds decides afterwards. */
#ifndef VSPC_TELNET_H
#define VSPC_TELNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vspc/mem.h"

/* Commands and options by their RFC names; 232 is VMware's. */
enum {
    TN_IAC = 255,
    TN_DONT = 254,
    TN_DO = 253,
    TN_WONT = 252,
    TN_WILL = 251,
    TN_SB = 250,
    TN_AYT = 246,
    TN_BREAK = 243,
    TN_SE = 240,
    TN_OPT_BINARY = 0,
    TN_OPT_ECHO = 1,
    TN_OPT_SGA = 3,
    TN_OPT_CONTROL = 200, /* our own, of the control socket */
    TN_OPT_VMWARE = 232,
};

struct telnet_stream;

/* What a connection records, in the order of the wire. */
struct telnet_handler {
    void (*data)(void *arg, const uint8_t *data, size_t len);
    /* BREAK, AYT and the like. */
    void (*command)(void *arg, uint8_t command);
    /* WILL or WONT that was agreed to (the peer's side of an option changed). */
    void (*peer_option)(void *arg, uint8_t option, bool enabled);
    /* A complete subnegotiation, unescaped. The bytes are valid during the call. */
    void (*subnegotiation)(void *arg, uint8_t option, const uint8_t *data, size_t len);
    /* The bytes are to be sent to the peer. */
    void (*send)(void *arg, const uint8_t *data, size_t len);
};

enum telnet_side {
    TELNET_SIDE_VM,     /* WILL BINARY, SGA, ECHO; DO BINARY, SGA, 232 */
    TELNET_SIDE_USER,   /* WILL BINARY, SGA, ECHO; DO BINARY, SGA */
    TELNET_SIDE_CONTROL /* none, and none agreed to: the refusals go to send all the same */
};

/* Result: a new stream; the handler must outlive it. Nothing is sent before telnet_stream_greet. */
struct telnet_stream *telnet_stream_new(enum telnet_side side, const struct telnet_handler *handler,
                                        void *arg);
void telnet_stream_free(struct telnet_stream *stream);

/* Sends the offers and requests of this side, if it has any. */
void telnet_stream_greet(struct telnet_stream *stream);

/* Parses up to the next command, the end of a subnegotiation (IAC SE) for one, or everything when there is
 * none. *used tells how much that was (at least 1 when len is). Result: 0, or -EPROTO and *why: the stream
 * must not be fed again. */
int telnet_stream_feed(struct telnet_stream *stream, const uint8_t *data, size_t len, size_t *used,
                       const char **why);

/* For a stream that has been greeted and may stay silent for long: gives back what only commands need, and
 * what was agreed is remembered. Does nothing where that is little, or in the middle of a command. Not from a
 * callback. */
void telnet_stream_rest(struct telnet_stream *stream);

/* Appends data to out with each 255 doubled. */
void telnet_escape(struct bytes *out, const uint8_t *data, size_t len);

/* Whether data, read as telnet from its first byte, holds a complete WILL, WONT, DO or DONT. */
bool telnet_has_negotiation(const uint8_t *data, size_t len);

#endif
