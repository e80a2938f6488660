/* Control link: a client of the control socket of the daemon under test.
 *
 * Requests are written with ' for ", which is how they are readable in C: control_link_ask(link,
 * "'command':'show','console':'%s'", name). Answers are jansson's, for the caller to json_decref. Functions
 * that do not get what they wait for fail the test. */
#ifndef VSPC_TEST_CONTROL_H
#define VSPC_TEST_CONTROL_H

#include <jansson.h>

#include "daemon.h"
#include "vspc/mem.h"

struct control_link {
    int fd;
    bool closed_by_peer;
    struct bytes in; /* received and not yet taken; when attached: the telnet stream as it came */
};

/* Connects, trying again until somebody serves the daemon's socket. Result: a link, which control_link_close
 * frees. */
struct control_link *control_link_open(const struct daemon *d);
/* Tries to connect once. Result: NULL when nobody serves the socket. */
struct control_link *control_link_try(const char *path);
/* Closes; NULL is fine. */
void control_link_close(struct control_link *link);

/* Sends bytes as they are, waiting for room. */
void control_link_send_raw(struct control_link *link, const void *data, size_t len);
/* Sends one request: {"v":1, and then what the format gives, and }. */
void control_link_send(struct control_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Waits for the next line, which must be a JSON object. */
json_t *control_link_read(struct control_link *link, unsigned timeout_ms);
/* Waits for the last line of an answer; the lines in front of it become its member "lines", an array. */
json_t *control_link_read_answer(struct control_link *link, unsigned timeout_ms);
/* Sends a request and waits for its answer; the last line, as control_link_read_answer gives it. */
json_t *control_link_ask(struct control_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, and it must have succeeded. */
json_t *control_link_must(struct control_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for one whose answer is not looked at. */
void control_link_do(struct control_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, and it must have failed with this error. */
void control_link_refused(struct control_link *link, const char *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Waits until the daemon has closed the connection; what came before is in link->in. */
void control_link_wait_closed(struct control_link *link, unsigned timeout_ms);
/* Reads what there is, without waiting. Result: false when the connection has been closed. */
bool control_link_pump(struct control_link *link);

/* A member of an object in an object and so on, "console.name". The text or number must be there. */
const char *control_text(const json_t *object, const char *path);
json_int_t control_number(const json_t *object, const char *path);
/* The same; NULL when it is not there. */
json_t *control_member(const json_t *object, const char *path);

#endif
