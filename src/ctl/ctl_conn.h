/* Control connection: requests to vspcd and its answers (vspc-control(7)), one JSON object a line each way.
 *
 * A connection belongs to whoever opened it. Waiting is bounded, but for what is asked to follow. */
#ifndef VSPC_CTL_CTL_CONN_H
#define VSPC_CTL_CTL_CONN_H

#include <jansson.h>
#include <stdbool.h>

#include "command.h"
#include "vspc/mem.h"

enum { CTL_PATIENCE_MS = 15000 }; /* vspcd itself gives up on a request sooner */

struct ctl_conn {
    int fd;
    struct bytes in;
    size_t scanned;  /* bytes of in that are known to hold no newline */
    const char *why; /* what went wrong, a constant */
};

/* Connects. Result: 0 or a negative errno. */
int ctl_connect(struct ctl_conn *conn, const char *path);
/* The same; exits with CTL_NO_SERVER and says what to do when it cannot. */
void ctl_open(struct ctl_conn *conn, const char *path);
void ctl_close(struct ctl_conn *conn);

/* A request of this command, for the caller to add to; name, which may be NULL, is the console's as a person
 * gave it. Exits with CTL_USAGE when it is not UTF-8. */
json_t *ctl_request(const char *command, const char *name);
/* Adds text from the command line. */
void ctl_set_text(json_t *request, const char *key, const char *text);

/* Sends a request, which it frees. Result: false, and why. */
bool ctl_send(struct ctl_conn *conn, json_t *request);
/* The next line; timeout_ms -1: whenever it comes. Result: an object, which the caller frees, or NULL, and
 * why. */
json_t *ctl_read(struct ctl_conn *conn, int timeout_ms);
/* The same; exits with CTL_FAILED when there is none. */
json_t *ctl_need(struct ctl_conn *conn, int timeout_ms);

/* Sends a request and waits for its answer of one line. Result: NULL, and why. */
json_t *ctl_try(struct ctl_conn *conn, json_t *request);
/* The same; exits when that is not ok. */
json_t *ctl_ask(struct ctl_conn *conn, json_t *request);
/* Asks one thing of vspcd on a connection of its own. */
json_t *ctl_ask_once(const char *path, json_t *request);

/* Whether a line is an answer's last, and good. */
bool ctl_is_ok(const json_t *answer);
/* Says on standard error what an answer that is not ok says, about a console of many if about is not NULL
 * (safe to show). Result: what to exit with. */
enum ctl_exit ctl_complain(const json_t *answer, const char *about);

#endif
