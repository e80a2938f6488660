#include "console_event.h"

#include <stdio.h>
#include <string.h>

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* Whether the console is in another state than before. */
static bool changes_state(enum event_type type)
{
    return type == EVENT_VM_UP || type == EVENT_VM_DOWN || type == EVENT_MIGRATION_BEGUN ||
           type == EVENT_MIGRATION_DONE || type == EVENT_MIGRATION_FAILED;
}

static void log_event(const struct console *console, const struct console_event *event, unsigned suppressed)
{
    char not_logged[40] = "";
    if (suppressed)
        snprintf(not_logged, sizeof not_logged, " not_logged_before=%u", suppressed);
    log_info("%s vm=%s%s port=%u%s", event->sentence, quote(console->name, console->name_len).s,
             text_or_empty(event->keys), console->port, not_logged);
}

static void tell_event(const struct console *console, const struct console_event *what)
{
    struct event_sink *sink = &console->owner->shared->events;
    if (!event_wanted(sink))
        return;
    struct event *event = xcalloc(1, sizeof *event);
    event->type = what->type;
    event->has_uuid = console_uuid(console, event->uuid);
    event->port = console->port;
    event->name_len = console->name_len;
    memcpy(event->name, console->name, console->name_len);
    snprintf(event->label, sizeof event->label, "%s", console_label(console));
    snprintf(event->who, sizeof event->who, "%s", text_or_empty(what->who));
    snprintf(event->detail, sizeof event->detail, "%s", text_or_empty(what->detail));
    event_tell(sink, event);
}

void console_event(struct console *console, const struct console_event *event)
{
    struct console_owner *owner = console->owner;
    unsigned suppressed;
    if (owner->closing)
        return;
    if (changes_state(event->type))
        console->since = time(NULL);
    if (!log_rate_allows(event->rate, loop_now(owner->loop), &suppressed)) {
        event_lose(&owner->shared->events, 1);
        return;
    }
    /* Who has read the line finds the event in the list. */
    tell_event(console, event);
    log_event(console, event, suppressed);
}
