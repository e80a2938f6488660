#include "access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "console_event.h"
#include "user_control.h"

static const char *const names[] = {
    [ACCESS_RW] = "rw",
    [ACCESS_RO] = "ro",
    [ACCESS_EXCLUSIVE_WRITE] = "exclusive-write",
    [ACCESS_EXCLUSIVE] = "exclusive",
    [ACCESS_FALLBACK] = "fallback",
};

const char *console_access_name(enum console_access access)
{
    return names[access];
}

bool console_access_parse(const char *name, enum console_access *access)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            *access = (enum console_access)i;
            return true;
        }
    }
    return false;
}

enum console_access access_of(const struct user_conn *user)
{
    const struct console *console = user->console;
    if (console->holder == user)
        return console->holder_excludes ? ACCESS_EXCLUSIVE : ACCESS_EXCLUSIVE_WRITE;
    return user->wants_write ? ACCESS_RW : ACCESS_RO;
}

int access_check(const struct console *console, const struct user_conn *user, enum console_access access,
                 bool force)
{
    if (!console->holder || console->holder == user || force)
        return 0;
    if (!user && console->holder_excludes)
        return -EBUSY;
    return access == ACCESS_RO || access == ACCESS_FALLBACK ? 0 : -EBUSY;
}

/* What a transition was, for those who are told of it. */
struct transition {
    const struct user_conn *by;     /* whose access it was about, and who knows; NULL: the configuration's */
    const struct user_conn *before; /* the holder there was, or NULL */
    bool is_forced;                 /* `by` took the hold from it */
};

/* What the user is told, or false: nothing. */
static bool sentence_for(const struct user_conn *user, const struct transition *t, bool changed, char *out,
                         size_t size)
{
    char who[EVENT_WHO] = "";
    if (t->is_forced && user == t->before) {
        user_conn_who(t->by, who);
        snprintf(out, size, "read-only: %s has taken write access", who);
        return true;
    }
    if (!changed || user == t->by)
        return false;
    if (user->writes && t->before) {
        user_conn_who(t->before, who);
        snprintf(out, size, "you may type again: %s no longer has exclusive access", who);
    } else if (user->writes) {
        snprintf(out, size, "you may type");
    } else if (user->console->holder) {
        user_conn_who(user->console->holder, who);
        snprintf(out, size, "read-only: %s has exclusive access", who);
    } else {
        snprintf(out, size, "read-only");
    }
    return true;
}

/* Makes every user's right to type follow from what there is now, and tells whom that concerns. */
static void settle(struct console *console, const struct transition *t)
{
    char text[EVENT_WHO + 64];
    struct user_conn *user;
    bool new_holder = console->holder != t->before;
    DL_FOREACH(console->users, user)
    {
        bool writes = user->wants_write && (!console->holder || console->holder == user);
        bool changed = writes != user->writes;
        user->writes = writes;
        if (changed || new_holder)
            user->told_read_only = false;
        if (user->attached && (changed || new_holder || user == t->by))
            user_control_tell_access(user);
        if (sentence_for(user, t, changed, text, sizeof text))
            user_output_notice(user, text);
    }
}

static void tell_change(struct user_conn *user, const struct transition *t)
{
    char who[EVENT_WHO], from[EVENT_WHO] = "", keys[2 * sizeof(struct quoted) + 64], detail[EVENT_DETAIL];
    const char *name = console_access_name(access_of(user));
    user_conn_who(user, who);
    if (t->is_forced)
        user_conn_who(t->before, from);
    snprintf(keys, sizeof keys, " user=%s access=%s taken_from=%s", quote(who, strlen(who)).s, name,
             quote(from, strlen(from)).s);
    snprintf(detail, sizeof detail, "%s%s%.*s", name, t->is_forced ? ", taken from " : "", EVENT_DETAIL - 40,
             from);
    console_event(user->console, &(struct console_event){
                                     .type = EVENT_ACCESS,
                                     .rate = &user->console->owner->users,
                                     .sentence = "User access changed",
                                     .keys = keys,
                                     .who = who,
                                     .detail = detail,
                                 });
}

void access_change(struct user_conn *user, enum console_access access, bool force)
{
    struct console *console = user->console;
    enum console_access had = access_of(user);
    struct transition t = {.by = user, .before = console->holder};
    t.is_forced = force && console->holder && console->holder != user;
    if (t.is_forced)
        console->holder->wants_write = false;
    if (t.is_forced || console->holder == user)
        console->holder = NULL;
    user->wants_write = access != ACCESS_RO;
    if (access == ACCESS_EXCLUSIVE || access == ACCESS_EXCLUSIVE_WRITE) {
        console->holder = user;
        console->holder_excludes = access == ACCESS_EXCLUSIVE;
    }
    settle(console, &t);
    if (t.is_forced || access_of(user) != had)
        tell_change(user, &t);
}

void access_begin(struct user_conn *user)
{
    user->wants_write = user->console->owner->config->user.mode == USER_ACCESS_RW;
    user->writes = user->wants_write && !user->console->holder;
}

void access_left(struct console *console, const struct user_conn *user)
{
    if (console->holder != user)
        return;
    console->holder = NULL;
    if (console->state == CONSOLE_ENDED)
        return;
    settle(console, &(struct transition){.by = user, .before = user});
    console_flush_users(console);
}

void access_reload(struct console *console)
{
    struct user_conn *user;
    bool changed = false;
    DL_FOREACH(console->users, user)
    {
        bool wants = console->owner->config->user.mode == USER_ACCESS_RW;
        changed |= !user->attached && user->wants_write != wants;
        if (!user->attached)
            user->wants_write = wants;
    }
    if (changed)
        settle(console, &(struct transition){.before = console->holder});
}

void access_tell_read_only(struct user_conn *user)
{
    char who[EVENT_WHO], text[EVENT_WHO + 64] = "read-only";
    const struct user_conn *holder = user->console->holder;
    if (user->told_read_only || user->state != USER_TELNET)
        return;
    user->told_read_only = true;
    if (holder) {
        user_conn_who(holder, who);
        snprintf(text, sizeof text, "read-only: %s has exclusive access", who);
    }
    user_output_notice(user, text);
}
