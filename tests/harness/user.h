/* User: someone on a console's user port, raw or telnet, over a plain socket.
 *
 * A telnet user answers the concentrator's negotiation as a telnet client does and unescapes what it
 * receives; a raw one never says a telnet byte. Functions that do not get what they wait for fail the test.
 */
#ifndef VSPC_TEST_USER_H
#define VSPC_TEST_USER_H

#include "env.h"
#include "vspc/mem.h"

enum user_kind { USER_RAW, USER_TELNET };

struct user {
    enum user_kind kind;
    int fd; /* -1: closed */
    bool closed_by_peer;
    struct bytes in;          /* received and not yet taken; a telnet user's without telnet */
    struct bytes negotiation; /* a telnet user's: the verbs and options that came, two bytes each */
    uint8_t parser, verb;
    uint8_t answered[4][32]; /* a bit for each option, for each of WILL, WONT, DO, DONT */
    bool refuses_binary;     /* a test may set this before anything has been read */
};

/* Connects to a user port of 127.0.0.1, trying again until somebody listens; a telnet user also answers the
 * offer, as a telnet client does at once, or else it would soon be taken for a raw one. Result: a user, which
 * user_close frees. */
struct user *user_connect(uint16_t port, enum user_kind kind);
/* Tries to connect once, and says nothing yet. Result: NULL when nobody listens there. */
struct user *user_try_connect(uint16_t port, enum user_kind kind);
/* Waits until a telnet user has answered the whole offer. */
void user_answer_offer(struct user *user, unsigned timeout_ms);
/* Closes (NULL is fine), in order or with a reset. */
void user_close(struct user *user);
void user_reset(struct user *user);

/* Sends; a telnet user's 255 is doubled. */
void user_send(struct user *user, const void *data, size_t len);
void user_type(struct user *user, const char *text);
/* Sends bytes as they are. */
void user_send_raw(struct user *user, const void *data, size_t len);

/* The next bytes received must be exactly these; takes them. */
void user_expect(struct user *user, const void *data, size_t len, unsigned timeout_ms);
void user_expect_text(struct user *user, const char *text, unsigned timeout_ms);
/* The next bytes a raw user receives must be the concentrator's offer to speak telnet, which `telnet = auto`
 * sends to all: WILL BINARY, SGA and ECHO, DO BINARY and SGA, each once, in any order. Takes it. */
void user_expect_offer(struct user *user, unsigned timeout_ms);
/* Waits until the text has come, whatever else did before it; takes all up to its end. */
void user_wait_text(struct user *user, const char *text, unsigned timeout_ms);
/* Waits until the concentrator has closed the connection. */
void user_wait_closed(struct user *user, unsigned timeout_ms);
/* Waits until a telnet user has been sent this verb and option. */
void user_wait_negotiation(struct user *user, uint8_t verb, uint8_t option, unsigned timeout_ms);

/* Reads what there is, without waiting. Result: false when the connection has been closed. */
bool user_pump(struct user *user);

#endif
