/* One console, two vspcctl attach on terminals, a telnet user and a raw one, and every way in which the right
 * to type goes from one to another. */
#include <criterion/criterion.h>

#include "play.h"

TestSuite(vspcctl_modes, .timeout = 240);

#define ESC "\x1d"
#define SAYS(text) "\r\n[vspc: " text "]\r\n"
#define CONNECTED(access)                                                                                    \
    "Connected to web-1 ({uuid}), port {port}, " access ". Escape is ^], then ? for help.\r\n"
#define TELNET "Trying 127.0.0.1...\r\nConnected to 127.0.0.1.\r\nEscape character is '^]'.\r\n"
#define HOLDS(who) SAYS("read-only: " who " has exclusive access")
#define FREE(who) SAYS("you may type again: " who " no longer has exclusive access")
#define TAKEN(who) SAYS("read-only: " who " has taken write access")
#define REFUSED(who) "vspcctl: " who " has exclusive access\r\n"
#define IN_THE_WAY(who) SAYS("somebody else has exclusive access: " who)

/* Plays it on a console of its own. */
#define PLAY(steps) play(steps, sizeof(steps) / sizeof *(steps))
static void play(const struct play_step *steps, size_t n)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct play play = play_new(d);
    play_run(&play, steps, n);
}

Test(vspcctl_modes, all_type_together_and_some_only_watch)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, ANN, .ann = CONNECTED("read-write")},
        {joins, BOB, "--monitor", .bob = CONNECTED("read-only")},
        {prints, VM, "$ ", .all = "$ "},
        {types, ANN, "a\r", .vm = "a\r"},
        {types, TEO, "t", .vm = "t"},
        {types, RAW, "r", .vm = "r"},
        {types, BOB, "unheard", .bob = SAYS("read-only")},
        {types, BOB, ESC "r", .bob = SAYS("read-write")},
        {types, BOB, "b", .vm = "b"},
        {types, ANN, ESC "r", .ann = SAYS("read-only")},
        {types, ANN, ESC "b", .ann = SAYS("read-only")},
        {types, BOB, ESC "r", .bob = SAYS("read-only")},
        {types, BOB, ESC "f", .bob = SAYS("read-write")},
        {types, ANN, ESC "r", .ann = SAYS("read-write")},
        {types, ANN, ESC "f", .ann = SAYS("read-write")},
        {types, ANN, "a" ESC "b", .vm = "a", .breaks = 1},
        {types, BOB, "b", .vm = "b"},
        {leaves, BOB, .bob = "\r\n"},
        {prints, VM, "still", .all = "still"},
    };
    PLAY(steps);
}

Test(vspcctl_modes, keys_behind_the_escape_key)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, ANN, "--exclusive-write", .ann = CONNECTED("exclusive write"), .teo = HOLDS("{ann}")},
        {prints, VM, "login: ", .all = "login: "},
        {joins, BOB, "--fallback", .bob = CONNECTED("read-only") "login: "},
        {types, BOB, ESC "b", .bob = HOLDS("{ann}")},
        {types, ANN, ESC "b", .breaks = 1},
        {types, ANN, ESC ESC, .vm = ESC},
        {types, BOB, ESC "w",
         .bob = "\r\n[vspc: user {#teo}: {=teo}, telnet, rw]"
                "\r\n[vspc: user {#raw}: {=raw}, raw, rw]"
                "\r\n[vspc: user {#ann}: {=ann}, control, exclusive-write]"
                "\r\n[vspc: user {#bob}: {=bob}, control, rw]\r\n"},
        {types, BOB, ESC "l", .bob = "login: "},
        {types, BOB, ESC "?",
         .bob = "\r\n[vspc: behind ^] these keys are for vspcctl:"
                "\r\n  .  leave"
                "\r\n  b  send a BREAK"
                "\r\n  r  read-only, on and off"
                "\r\n  f  take write access by force"
                "\r\n  w  who is here"
                "\r\n  l  show again what was printed last"
                "\r\n  ?  this help"
                "\r\n  ^] itself, to the console]\r\n"},
        {types, BOB, ESC "x", .bob = SAYS("no such key; ? is for help")},
        {types, BOB, ESC "r", .bob = SAYS("read-only")},
        {types, BOB, ESC "r", .bob = SAYS("read-only")},
        {types, BOB, ESC "f", .bob = SAYS("read-write"), .ann = TAKEN("{bob}"), .teo = FREE("{ann}")},
        {types, BOB, "b" ESC ESC ESC "b", .vm = "b" ESC, .breaks = 1},
        {leaves, BOB, .bob = "\r\n"},
        {leaves, ANN, .ann = "\r\n"},
    };
    PLAY(steps);
}

Test(vspcctl_modes, exclusive_write_access_lets_others_watch)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, BOB, .bob = CONNECTED("read-write")},
        {joins, ANN, "--exclusive-write", .ann = CONNECTED("exclusive write"), .told = HOLDS("{ann}")},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
        {types, TEO, "unheard", .teo = HOLDS("{ann}")},
        {types, RAW, "unheard", .vm = ""},
        {types, ANN, "a", .vm = "a"},
        {prints, VM, "$ ", .all = "$ "},
        {runs, OPERATOR, "send web-1 unheard", .exit_code = 4},
        {runs, OPERATOR, "send --force web-1 heard", .vm = "heard"},
        {leaves, BOB, .bob = "\r\n"},
        {is_refused, BOB, .bob = REFUSED("{ann}"), .exit_code = 4},
        {is_refused, BOB, "--exclusive-write", .bob = REFUSED("{ann}"), .exit_code = 4},
        {joins, BOB, "--monitor", .bob = CONNECTED("read-only") "$ "},
        {leaves, BOB, .bob = "\r\n"},
        {joins, BOB, "--fallback", .bob = CONNECTED("read-only") "$ "},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
        {types, ANN, ESC "r", .ann = SAYS("read-only"), .told = FREE("{ann}")},
        {types, ANN, "unheard", .ann = SAYS("read-only")},
        {types, BOB, "b", .vm = "b"},
        {types, TEO, "t", .vm = "t"},
        {types, RAW, "r", .vm = "r"},
        {types, ANN, ESC "r", .ann = SAYS("exclusive write"), .told = HOLDS("{ann}")},
        {types, ANN, "a", .vm = "a"},
        {types, RAW, "unheard", .vm = ""},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
    };
    PLAY(steps);
}

Test(vspcctl_modes, exclusive_access_keeps_newcomers_out)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, BOB, .bob = CONNECTED("read-write")},
        {joins, ANN, "--exclusive", .ann = CONNECTED("exclusive"), .told = HOLDS("{ann}")},
        {types, BOB, ESC "r", .bob = SAYS("read-only")},
        {types, BOB, ESC "r", .bob = IN_THE_WAY("{ann}")},
        {prints, VM, "$ ", .all = "$ "},
        {leaves, BOB, .bob = "\r\n"},
        {is_refused, BOB, .bob = REFUSED("{ann}"), .exit_code = 4},
        {is_refused, BOB, "--monitor", .bob = REFUSED("{ann}"), .exit_code = 4},
        {is_refused, BOB, "--fallback", .bob = REFUSED("{ann}"), .exit_code = 4},
        {is_refused, BOB, "--exclusive", .bob = REFUSED("{ann}"), .exit_code = 4},
        {is_killed, TEO, .all = ""},
        {joins, TEO, .teo = TELNET "$ " HOLDS("{ann}")},
        {joins, BOB, "-xf", .bob = CONNECTED("exclusive") "$ ", .ann = TAKEN("{bob}")},
        {types, ANN, "unheard", .ann = HOLDS("{bob}")},
        {types, BOB, "b", .vm = "b"},
        {leaves, ANN, .ann = "\r\n"},
        {is_refused, ANN, "--monitor", .ann = REFUSED("{bob}"), .exit_code = 4},
        {leaves, BOB, .bob = "\r\n", .teo = FREE("{bob}")},
        {joins, ANN, .ann = CONNECTED("read-write") "$ "},
        {types, TEO, "t", .vm = "t"},
        {types, ANN, "a", .vm = "a"},
    };
    PLAY(steps);
}

Test(vspcctl_modes, force_takes_write_access_from_either_side)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, ANN, "--exclusive-write", .ann = CONNECTED("exclusive write"), .teo = HOLDS("{ann}")},
        {joins, BOB, "-wf", .bob = CONNECTED("exclusive write"), .ann = TAKEN("{bob}")},
        {types, TEO, "unheard", .teo = HOLDS("{bob}")},
        {types, ANN, "unheard", .ann = HOLDS("{bob}")},
        {types, ANN, ESC "r", .ann = IN_THE_WAY("{bob}")},
        {types, BOB, "b", .vm = "b"},
        {types, ANN, ESC "f", .ann = SAYS("exclusive write"), .bob = TAKEN("{ann}")},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
        {types, TEO, "unheard", .teo = HOLDS("{ann}")},
        {types, ANN, "a", .vm = "a"},
        {types, BOB, ESC "f", .bob = SAYS("exclusive write"), .ann = TAKEN("{bob}")},
        {types, BOB, "b", .vm = "b"},
        {types, BOB, ESC "r", .bob = SAYS("read-only"), .teo = FREE("{bob}")},
        {types, ANN, "unheard", .ann = SAYS("read-only")},
        {types, RAW, "r", .vm = "r"},
        {types, ANN, ESC "r", .ann = SAYS("exclusive write"), .teo = HOLDS("{ann}")},
        {leaves, BOB, .bob = "\r\n"},
        /* Without wanting it for himself alone. */
        {joins, BOB, "--force", .bob = CONNECTED("read-write"), .ann = TAKEN("{bob}"), .teo = FREE("{ann}")},
        {types, TEO, "t", .vm = "t"},
        {types, BOB, "b", .vm = "b"},
        {types, ANN, "unheard", .ann = SAYS("read-only")},
    };
    PLAY(steps);
}

Test(vspcctl_modes, whoever_goes_lets_go)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, BOB, .bob = CONNECTED("read-write")},
        {joins, ANN, "--exclusive-write", .ann = CONNECTED("exclusive write"), .told = HOLDS("{ann}")},
        {leaves, ANN, .ann = "\r\n", .told = FREE("{ann}")},
        {types, BOB, "b", .vm = "b"},
        {joins, ANN, "--exclusive", .ann = CONNECTED("exclusive"), .told = HOLDS("{ann}")},
        {is_killed, ANN, .told = FREE("{ann}")},
        {types, TEO, "t", .vm = "t"},
        {joins, ANN, "--exclusive", .ann = CONNECTED("exclusive"), .told = HOLDS("{ann}")},
        {runs, OPERATOR, "kick web-1 {#ann}", .ann = SAYS("disconnected by {uid}"), .bob = FREE("{ann}"),
         .teo = FREE("{ann}")},
        {ends, ANN, .ann = "\r\nvspcctl: vspcd has closed the connection\r\n", .exit_code = 1},
        {types, RAW, "r", .vm = "r"},
        {runs, OPERATOR, "kick web-1 {#ann}", .exit_code = 1},
        {runs, OPERATOR, "kick web-1 {#teo}", .teo = SAYS("disconnected by {uid}")},
        {ends, TEO, .teo = "Connection closed by foreign host.\r\n"},
        {types, BOB, "b", .vm = "b"},
    };
    PLAY(steps);
}

Test(vspcctl_modes, the_configuration_makes_users_of_the_port_read_only)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, ANN, .ann = CONNECTED("read-write")},
        {reloads, OPERATOR, "[user]\nmode = ro\n", .teo = SAYS("read-only")},
        {types, TEO, "unheard", .teo = SAYS("read-only")},
        {types, RAW, "unheard", .vm = ""},
        {types, ANN, "a", .vm = "a"},
        {types, ANN, ESC "r", .ann = SAYS("read-only")},
        {types, ANN, ESC "f", .ann = SAYS("read-write")},
        {reloads, OPERATOR, "[user]\nmode = maybe\n", .exit_code = 1},
        {types, RAW, "unheard", .vm = ""},
        {reloads, OPERATOR, "[user]\nmode = rw\n", .teo = SAYS("you may type")},
        {types, TEO, "t", .vm = "t"},
        {types, RAW, "r", .vm = "r"},
        /* In the middle of somebody's exclusive access, whose end is when it shows. */
        {joins, BOB, "--exclusive-write", .bob = CONNECTED("exclusive write"), .told = HOLDS("{bob}")},
        {reloads, OPERATOR, "[user]\nmode = ro\n", .told = ""},
        {leaves, BOB, .bob = "\r\n", .ann = FREE("{bob}")},
        {types, TEO, "unheard", .teo = SAYS("read-only")},
        {joins, BOB, "--exclusive-write", .bob = CONNECTED("exclusive write"), .ann = HOLDS("{bob}")},
        {types, TEO, "unheard", .teo = HOLDS("{bob}")},
        {reloads, OPERATOR, "[user]\nmode = rw\n", .told = ""},
        {types, RAW, "unheard", .vm = ""},
        {leaves, BOB, .bob = "\r\n", .told = FREE("{bob}")},
        {types, RAW, "r", .vm = "r"},
        {types, TEO, "t", .vm = "t"},
    };
    PLAY(steps);
}

Test(vspcctl_modes, access_outlives_migrations_and_reconnects)
{
    static const struct play_step steps[] = {
        {joins, TEO, .teo = TELNET},
        {joins, RAW, .raw = ""},
        {joins, BOB, .bob = CONNECTED("read-write")},
        {joins, ANN, "--exclusive-write", .ann = CONNECTED("exclusive write"), .told = HOLDS("{ann}")},
        {departs, VM, .all = ""},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
        {types, TEO, "unheard", .teo = HOLDS("{ann}")},
        {types, RAW, "unheard", .vm = ""},
        {types, ANN, "kept", .vm = ""},
        {arrives, VM, .vm = "kept"},
        {prints, VM, "there ", .all = "there "},
        {types, ANN, ESC "b", .breaks = 1},
        /* It goes to somebody else while the VM is between its hosts. */
        {departs, VM, .all = ""},
        {types, BOB, ESC "f", .bob = SAYS("read-write"), .ann = TAKEN("{bob}"), .teo = FREE("{ann}")},
        {types, ANN, "unheard", .ann = SAYS("read-only")},
        {types, BOB, "b", .vm = ""},
        {arrives, VM, .vm = "b"},
        {types, RAW, "r", .vm = "r"},
        {disconnects, VM, .told = SAYS("VM disconnected")},
        {types, ANN, ESC "f", .ann = SAYS("exclusive write"), .told = HOLDS("{ann}")},
        {types, BOB, "unheard", .bob = HOLDS("{ann}")},
        {connects, VM, .told = SAYS("VM connected")},
        {types, TEO, "unheard", .teo = HOLDS("{ann}")},
        {types, ANN, "a", .vm = "a"},
        {disconnects, VM, .told = SAYS("VM disconnected")},
        {leaves, ANN, .ann = "\r\n", .told = FREE("{ann}")},
        {connects, VM, .told = SAYS("VM connected")},
        {types, TEO, "t", .vm = "t"},
        {types, BOB, "b", .vm = "b"},
    };
    PLAY(steps);
}
