/* Control list: the rows of all consoles, for the command list. Main's.
 *
 * One list is made at a time: its rows are asked of all owners, encoded once as they come, and shared by all
 * who asked before it was begun. Who asks meanwhile gets the next one. */
#ifndef VSPC_CONTROL_LIST_H
#define VSPC_CONTROL_LIST_H

#include "vspc/loop.h"

struct control;
struct control_list;
struct control_request;

enum {
    LISTS_MAX = 8,      /* in memory, with those that somebody still reads */
    LIST_OLD_MS = 3000, /* when there are so many, readers of one that is older than this have to go */
};

struct control_lists {
    struct control_list *all;
    unsigned count;
    struct control_list *making;     /* or NULL */
    struct control_request *waiting; /* for the next one */
    struct loop_timer retry;         /* while there are too many */
};

/* Answers the request, some time, with all rows; or says which worker does not answer. */
void control_list_request(struct control *control, struct control_request *request);
/* Forgets the lists; no client has one any more. Answers that are on their way are freed as they arrive. */
void control_lists_end(struct control *control);

#endif
