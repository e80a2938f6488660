/* top: a live view. */
#include <curses.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "top_picture.h"
#include "vspc/loop.h"

enum { DELAY_MAX_S = 3600, COUNT_MAX = 1000000, KEY_WAIT_MS = 250 };

static const struct command_option options[] = {
    {'d', "delay", "SECONDS", "between two looks (2)"},
    {'b', "batch", NULL, "prints pictures as text, one behind the other"},
    {'n', "count", "COUNT", "ends after so many pictures"},
    {0},
};

struct view {
    struct top_sample sample;
    enum top_order order;
    bool is_paused, is_left;
};

static volatile sig_atomic_t is_ended;

static void on_signal(int number)
{
    is_ended = number;
}

static void draw(struct view *view)
{
    char *text = NULL;
    size_t len;
    FILE *memory = open_memstream(&text, &len);
    if (!memory)
        abort();
    top_print(&view->sample, memory, view->order, (unsigned)COLS, LINES > 1 ? (unsigned)LINES - 1 : 1);
    fclose(memory);
    erase();
    int line = 0;
    for (char *at = text, *end; *at && line < LINES - 1; at = end + (*end != 0), line++) {
        end = strchrnul(at, '\n');
        mvaddnstr(line, 0, at, (int)(end - at));
    }
    attron(A_REVERSE);
    mvprintw(LINES - 1, 0, " q quit  p %s  s sort: %s ", view->is_paused ? "go on" : "pause",
             top_order_name(view->order));
    attroff(A_REVERSE);
    refresh();
    free(text);
}

static void take_key(struct view *view, int key)
{
    if (key == 'q' || key == 'Q')
        view->is_left = true;
    else if (key == 'p')
        view->is_paused = !view->is_paused;
    else if (key == 's')
        view->order = (view->order + 1) % TOP_ORDERS;
    if (key != ERR)
        draw(view);
}

static void leave_screen(void)
{
    if (!isendwin())
        endwin();
}

/* Begins with the terminal. One that is not known or cannot place text would get pages of blanks. */
static void open_screen(void)
{
    const char *term = getenv("TERM");
    bool is_known = newterm(NULL, stdout, stdin);
    char *place = is_known ? tigetstr("cup") : NULL;
    if (place && (intptr_t)place != -1)
        return;
    if (is_known)
        reset_shell_mode();
    fail(CTL_FAILED, "this terminal (TERM=%s) cannot show it; there is --batch", term ? term : "");
}

/* Takes the whole terminal until it is left. */
static void show_live(struct view *view, struct ctl_conn *conn, uint64_t delay_ms, long count)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    open_screen();
    atexit(leave_screen);
    complain_first = leave_screen;
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    timeout(KEY_WAIT_MS);
    uint64_t next = 0;
    while (!view->is_left && !is_ended && count) {
        if (clock_ms() >= next && !view->is_paused) {
            next = clock_ms() + delay_ms;
            top_look(&view->sample, conn);
            draw(view);
            if (count > 0)
                count--;
        }
        take_key(view, getch());
    }
    endwin();
}

/* To a pipe or a file: nobody presses keys. */
static void show_batch(struct view *view, struct ctl_conn *conn, uint64_t delay_ms, long count)
{
    while (count) {
        top_look(&view->sample, conn);
        top_print(&view->sample, stdout, view->order, 0, 0);
        putchar('\n');
        flush_output();
        if (count > 0 && --count == 0)
            break;
        usleep((useconds_t)(delay_ms * 1000));
    }
}

static int run(const struct call *call)
{
    struct ctl_conn conn;
    struct view view = {0};
    uint64_t delay_ms = (uint64_t)call_number(call, "delay", 1, DELAY_MAX_S, 2) * 1000;
    long count = call_number(call, "count", 1, COUNT_MAX, -1);
    bool is_batch = call_option(call, "batch");
    if (!is_batch && (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)))
        fail_usage(call, "top wants a terminal; to a pipe, use --batch");
    ctl_open(&conn, call->socket);
    if (is_batch)
        show_batch(&view, &conn, delay_ms, count);
    else
        show_live(&view, &conn, delay_ms, count);
    top_free(&view.sample);
    ctl_close(&conn);
    return CTL_OK;
}

const struct command top_command = {
    .name = "top",
    .arguments = "",
    .summary = "shows the busiest consoles, live",
    .description = "Shows the busiest consoles, and how workers, Redis and the disk do, live.\n"
                   "Keys: q quits, p pauses, s sorts by rate, users or name.\n",
    .options = options,
    .run = run,
};
