/* The two ways of a byte through a console: the VM's output to the users, the users' input to the VM. */
#include <sys/epoll.h>
#include <utlist.h>

#include "access.h"
#include "vm_conn.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* How many bytes of output the user who is furthest behind has not been sent. */
static size_t furthest_behind(const struct console *console)
{
    const struct user_conn *user;
    size_t most = 0;
    DL_FOREACH(console->users, user)
    {
        most = larger(most, (size_t)(console->ring.end - user->cursor));
    }
    return most;
}

void console_make_room(struct console *console, size_t n)
{
    const struct config *config = console->owner->config;
    struct user_conn *user, *next;
    DL_FOREACH_SAFE(console->users, user, next)
    {
        user_output_make_room(user, n);
    }
    console->keep = config->user.scrollback;
    if (console->users)
        console->keep = larger(console->keep, furthest_behind(console) + n);
}

void console_output(struct console *console, const uint8_t *data, size_t len)
{
    console->bytes_from_vm += len;
    figure_add(&console->owner->figures, FIGURE_BYTES_FROM_VMS, len);
    ring_append(&console->ring, data, len, console->keep);
    if (console->log)
        console_log_put(console->log, data, len);
}

void console_flush_users(struct console *console)
{
    struct user_conn *user, *next;
    DL_FOREACH_SAFE(console->users, user, next)
    {
        /* One that waits for room in its socket is flushed when there is some. */
        if (!(user->io.events & (uint32_t)EPOLLOUT))
            user_output_flush(user);
    }
    size_t normal = larger(console->owner->config->user.scrollback, READ_SIZE);
    if (console->ring.cap > 2 * normal && furthest_behind(console) == 0)
        ring_shrink(&console->ring, normal);
}

uint64_t console_replay_from(const struct console *console)
{
    const struct ring *ring = &console->ring;
    size_t scrollback = console->owner->config->user.scrollback;
    return ring->end - ring->start > scrollback ? ring->end - scrollback : ring->start;
}

unsigned console_notice(struct console *console, const char *text)
{
    struct user_conn *user, *next;
    unsigned reached = 0;
    DL_FOREACH(console->users, user)
    {
        reached += user_output_notice(user, text);
    }
    DL_FOREACH_SAFE(console->users, user, next)
    {
        user_output_flush(user);
    }
    return reached;
}

static enum figure users_figure(const struct user_conn *user)
{
    return user->attached ? FIGURE_USERS_CONTROL : FIGURE_USERS_TELNET;
}

void console_user_joined(struct console *console, struct user_conn *user)
{
    DL_APPEND(console->users, user);
    console->user_count++;
    figure_add(&console->owner->figures, users_figure(user), 1);
    if (console->state == CONSOLE_LINGERING && console->user_count == 1)
        directory_linger(console->owner->shared->directory, console->entry, console->lingering_since_ms,
                         true);
}

void console_user_left(struct console *console, struct user_conn *user)
{
    DL_DELETE(console->users, user);
    console->user_count--;
    figure_sub(&console->owner->figures, users_figure(user), 1);
    access_left(console, user);
    if (console->user_count)
        return;
    ring_shrink(&console->ring, console->owner->config->user.scrollback);
    if (console->state == CONSOLE_LINGERING)
        directory_linger(console->owner->shared->directory, console->entry, console->lingering_since_ms,
                         false);
}

void console_input(struct console *console, const uint8_t *data, size_t len)
{
    if (console_has_vm(console) && console->input.len < INPUT_MAX)
        telnet_escape(&console->input, data, len);
}

void console_input_break(struct console *console)
{
    static const uint8_t mark[] = {TN_IAC, TN_BREAK};
    if (console_has_vm(console) && console->input.len < INPUT_MAX)
        bytes_put(&console->input, mark, sizeof mark);
}

/* Reads users, or not. */
static void set_users_paused(struct console *console, bool paused)
{
    struct user_conn *user, *next;
    console->users_paused = paused;
    DL_FOREACH_SAFE(console->users, user, next)
    {
        user_conn_set_interest(user);
    }
}

void console_flush_input(struct console *console)
{
    if (console->vm)
        vm_conn_flush(console->vm);
    if (!console->users_paused && console->input.len >= INPUT_HIGH)
        set_users_paused(console, true);
}

void console_input_taken(struct console *console)
{
    if (console->users_paused && console->input.len <= INPUT_LOW)
        set_users_paused(console, false);
}
