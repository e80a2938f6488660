/* log: what a console has printed. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_conn.h"
#include "display.h"
#include "follow.h"
#include "scrollback.h"

enum { LINES_DEFAULT = 10 };

static const struct command_option options[] = {
    {'n', "lines", "LINES", "so many lines (10)"},
    {'f', "follow", NULL, "goes on with what the console prints"},
    {0},
};

static int run(const struct call *call)
{
    struct ctl_conn conn;
    struct log_text out;
    unsigned lines = (unsigned)call_number(call, "lines", 0, INT_MAX, LINES_DEFAULT);
    bool follow = call_option(call, "follow");
    log_text_init(&out);
    ctl_open(&conn, call->socket);
    json_t *answer = ctl_ask(&conn, ctl_request("show", call->args[0]));
    const char *path = field_text(json_object_get(answer, "console"), "log");
    if (!*path) {
        scrollback_print(&conn, call->args[0], lines, follow, &out);
    } else {
        int err = follow_file(path, lines, follow, &out);
        char *safe = shown(path, strlen(path));
        if (err == -EACCES)
            fail(CTL_FAILED, "%s: permission denied: use sudo, or have its group read it ([log] file_mode)",
                 safe);
        if (err == -ENOENT)
            fail(CTL_FAILED,
                 "%s is not there: the console has printed nothing since, or vspcd cannot write it ('vspcctl "
                 "stats' tells)",
                 safe);
        if (err)
            fail(CTL_FAILED, "%s: %s", safe, strerror(-err));
        free(safe);
    }
    json_decref(answer);
    ctl_close(&conn);
    return CTL_OK;
}

const struct command log_command = {
    .name = "log",
    .arguments = "NAME",
    .summary = "prints what a console has printed",
    .description = "Prints the last lines of a console's log file, or where [log] is off, of what\n"
                   "vspcd keeps for new users. --follow stays with the log across rotations. To a\n"
                   "terminal, control characters are shown escaped; else bytes are as they were.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .run = run,
};
