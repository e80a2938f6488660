/* Console event: what has happened to a console, told in one place to all who want to know: the log, at info,
 * and the control socket's list of events. */
#ifndef VSPC_CONSOLE_EVENT_H
#define VSPC_CONSOLE_EVENT_H

#include "console.h"
#include "vspc/event.h"

/* Texts are printable; NULL is "". */
struct console_event {
    enum event_type type;
    struct log_rate *rate; /* one of the owner's, as this is what a peer could do again and again */
    const char *sentence;  /* how the line in the log begins */
    const char *keys;      /* further " key=value" of that line */
    const char *who;       /* the user, or where the host connects from */
    const char *detail;    /* why, or what changed */
};

/* Tells. What the rate does not allow is in neither place, but counted in both. While the owner closes
 * everything nothing is told: that is one line for all. */
void console_event(struct console *console, const struct console_event *event);

#endif
