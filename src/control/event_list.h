/* Event list: the last events of all consoles, for the command events. Main's.
 *
 * Receives an event sink. Readers go through it at their own pace; one that is more than EVENTS_KEPT behind
 * has lost some, and is told how many. */
#ifndef VSPC_EVENT_LIST_H
#define VSPC_EVENT_LIST_H

#include "control/control_client.h"
#include "vspc/event.h"

enum { EVENTS_KEPT = 1000 };

struct event_list;

/* From here on sink's events come here. news(arg) is called in loop when there are some that a reader who has
 * read all does not know. */
struct event_list *event_list_new(struct event_sink *sink, struct loop *loop, void (*news)(void *arg),
                                  void *arg);
/* Events that are on their way are freed as they arrive. */
void event_list_free(struct event_list *list);

/* How many events were lost on their way here. */
uint64_t event_list_lost(const struct event_list *list);

/* The source of the lines that answer the command events: those that are kept, if recent, and if follow is
 * set those that come; else a last line. */
struct control_source *event_list_read(struct event_list *list, bool recent, bool follow);

#endif
