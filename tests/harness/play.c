#include "play.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "ctl_run.h"
#include "migration.h"
#include "probe.h"
#include "vspc/text.h"
#include "wire.h"

enum { WORDS_MAX = 15 };

static const char *const names[PLAY_USERS] = {"ann", "bob", "teo", "raw"};

/* What a placeholder stands for. Result: its length in the text, 0: it is none. */
static size_t placeholder(const struct play *play, const char *text, struct bytes *out)
{
    char value[256] = "", uuid[UUID_TEXT];
    const char *end = strchr(text, '}');
    const char *name = text + 1 + (text[1] == '#' || text[1] == '=');
    size_t len = end ? (size_t)(end - name) : 0;
    if (*text != '{' || !end)
        return 0;
    for (size_t i = 0; i < PLAY_USERS; i++) {
        if (strlen(names[i]) != len || strncmp(names[i], name, len) != 0)
            continue;
        const struct play_person *person = &play->people[i];
        if (text[1] == '#')
            snprintf(value, sizeof value, "%lld", person->id);
        else
            snprintf(value, sizeof value, "%.*s",
                     (int)(text[1] == '=' ? strlen(person->who) : strcspn(person->who, ",")), person->who);
    }
    uuid_format(play->opt.uuid, uuid);
    if (strncmp(name, "uuid}", 5) == 0)
        snprintf(value, sizeof value, "%s", uuid);
    if (strncmp(name, "port}", 5) == 0)
        snprintf(value, sizeof value, "%u", play->port);
    if (strncmp(name, "uid}", 4) == 0)
        snprintf(value, sizeof value, "uid %u", (unsigned)getuid());
    cr_assert(*value, "nobody knows %s", text);
    bytes_put(out, value, strlen(value));
    return (size_t)(end - text) + 1;
}

static void expand(const struct play *play, const char *text, struct bytes *out)
{
    while (text && *text) {
        size_t used = placeholder(play, text, out);
        if (!used)
            bytes_put(out, text, 1);
        text += used ? used : 1;
    }
}

/* --- What people do. --- */

void types(struct play *play, enum play_actor who, const char *text)
{
    if (who != RAW) {
        terminal_type(play->people[who].t, text);
        return;
    }
    user_type(play->raw, text);
    /* Raw users are told nothing, so that there is nothing else to wait for. */
    wire_wait_read(play->raw->fd);
}

void prints(struct play *play, enum play_actor who, const char *text)
{
    (void)who;
    vm_print_text(play->vm, text);
}

/* Whether the list of users has somebody whose member of this name ends so, and who was not there before. */
static bool is_listed(struct play *play, enum play_actor who, const char *key, const char *text)
{
    json_t *answer = control_link_must(play->link, "'command':'users','console':'web-1'"), *user;
    struct play_person *person = &play->people[who];
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(answer, "users"), i, user)
    {
        const char *value = control_text(user, key);
        size_t len = strlen(value), wanted = strlen(text);
        if (len < wanted || strcmp(value + len - wanted, text) != 0 ||
            control_number(user, "id") <= person->id)
            continue;
        found = true;
        person->id = control_number(user, "id");
        free(person->who);
        person->who = xstrdup(control_text(user, "who"));
    }
    json_decref(answer);
    return found;
}

/* vspcctl attach, with one more option or NULL. */
static void attach(struct play *play, enum play_actor who, const char *option)
{
    struct play_person *person = &play->people[who];
    char *copy = option ? xstrdup(option) : NULL;
    /* What others are told of who that is. */
    setenv("SUDO_USER", names[who], 1);
    person->t = terminal_run((char *[]){VSPCCTL, "-s", play->d->control, "attach", "web-1", copy, NULL});
    unsetenv("SUDO_USER");
    free(copy);
}

static bool is_raw(const struct terminal *t)
{
    struct termios mode;
    cr_assert_eq(tcgetattr(t->fd, &mode), 0);
    return !(mode.c_lflag & (ICANON | ECHO)) && !(mode.c_oflag & OPOST);
}

void joins(struct play *play, enum play_actor who, const char *text)
{
    struct play_person *person = &play->people[who];
    char process[32] = "";
    if (who == RAW) {
        play->raw = user_connect(play->port, USER_RAW);
        user_expect_offer(play->raw, SOON);
    } else if (who == TEO) {
        person->t = terminal_telnet(play->port);
    } else {
        attach(play, who, text);
        snprintf(process, sizeof process, ", process %d", (int)person->t->pid);
    }
    WAIT_FOR(is_listed(play, who, *process ? "who" : "kind",
                       *process     ? process
                       : who == RAW ? "raw"
                                    : "telnet"),
             SOON, "%s does not come", names[who]);
    if (person->t)
        WAIT_FOR(is_raw(person->t), SOON, "the terminal of %s does not become raw", names[who]);
    person->is_here = true;
}

void is_refused(struct play *play, enum play_actor who, const char *text)
{
    attach(play, who, text);
    ends(play, who, text);
}

void ends(struct play *play, enum play_actor who, const char *text)
{
    (void)text;
    struct play_person *person = &play->people[who];
    int status = terminal_wait_exit(person->t, SOON);
    cr_assert(WIFEXITED(status), "%s ended with status %#x", names[who], (unsigned)status);
    play->exit_code = WEXITSTATUS(status);
    cr_assert(!is_raw(person->t), "the terminal of %s is still raw", names[who]);
    person->is_here = false;
}

void leaves(struct play *play, enum play_actor who, const char *text)
{
    terminal_type(play->people[who].t, "\x1d.");
    ends(play, who, text);
}

void is_killed(struct play *play, enum play_actor who, const char *text)
{
    (void)text;
    int status;
    struct play_person *person = &play->people[who];
    kill(person->t->pid, SIGKILL);
    cr_assert(env_wait_exit(person->t->pid, &status, SOON));
    person->t->pid = 0;
    person->is_here = false;
}

void runs(struct play *play, enum play_actor who, const char *text)
{
    (void)who;
    char *args[WORDS_MAX + 1] = {NULL}, *rest;
    size_t n = 0;
    struct bytes line = {0};
    expand(play, text, &line);
    char *words = xmemdup0(bytes_at(&line), line.len);
    for (char *word = strtok_r(words, " ", &rest); word && n < WORDS_MAX; word = strtok_r(NULL, " ", &rest))
        args[n++] = word;
    struct ctl_run *run = ctl_start(play->d, NULL, 0, args);
    int status;
    cr_assert(env_wait_exit(run->pid, &status, SOON) && WIFEXITED(status));
    play->exit_code = WEXITSTATUS(status);
    run->pid = 0;
    ctl_end(run);
    free(words);
    bytes_clear(&line);
}

void reloads(struct play *play, enum play_actor who, const char *text)
{
    daemon_write_config(play->d, text);
    runs(play, who, "reload");
    /* A worker that answers has the new configuration: it came before the question. */
    control_link_do(play->link, "'command':'show','console':'web-1'");
}

/* --- What the VM does. --- */

void disconnects(struct play *play, enum play_actor who, const char *text)
{
    (void)who, (void)text;
    vm_stop(play->vm);
    play->vm = NULL;
}

void connects(struct play *play, enum play_actor who, const char *text)
{
    (void)who, (void)text;
    play->vm = vm_start(play->d, &play->opt);
    play->breaks = 0;
}

void departs(struct play *play, enum play_actor who, const char *text)
{
    (void)who, (void)text;
    move_begin(play->vm, "\1\2\3\4", 4);
    play->source = play->vm;
}

void arrives(struct play *play, enum play_actor who, const char *text)
{
    (void)who, (void)text;
    play->vm = move_join(play->d, &play->opt, play->source);
    move_complete(play->vm);
    cr_assert_eq(vm_link_wait_closed(play->source, SOON), 0);
    cr_assert_eq(play->source->received.len, 0, "the source was typed something after it had departed");
    vm_stop(play->source);
    play->source = NULL;
    play->breaks = 0;
}

/* --- The play. --- */

struct play play_new(struct daemon *d)
{
    struct play play = {.d = d, .opt = vm_options("web-1")};
    play.vm = vm_start(play.d, &play.opt);
    play.port = probe_port(play.d, "web-1");
    play.link = control_link_open(play.d);
    return play;
}

/* The user must have seen what the step says, and nothing before it. */
static void check_sight(struct play *play, const struct play_step *step, enum play_actor who, bool was_here)
{
    struct play_person *person = &play->people[who];
    struct bytes text = {0};
    bool stays = was_here && person->is_here;
    expand(play, stays && who != RAW && who != step->who ? step->told : NULL, &text);
    expand(play, stays ? step->all : NULL, &text);
    expand(play, step->sees[who], &text);
    bytes_put(&text, "", 1);
    if (who == RAW && play->raw)
        user_expect_text(play->raw, (const char *)bytes_at(&text), SOON);
    else if (person->t)
        terminal_expect(person->t, (const char *)bytes_at(&text), SOON);
    bytes_clear(&text);
    if (person->is_here || !person->t)
        return;
    cr_assert_eq(person->t->screen.len, 0, "%s sees something more at the end", names[who]);
    terminal_close(person->t);
    person->t = NULL;
}

static void play_step(struct play *play, const struct play_step *step)
{
    bool was_here[PLAY_USERS];
    for (enum play_actor i = 0; i < PLAY_USERS; i++)
        was_here[i] = play->people[i].is_here;
    play->exit_code = 0;
    step->act(play, step->who, step->text);
    cr_assert_eq(play->exit_code, step->exit_code, "it exits with %d", play->exit_code);
    for (enum play_actor i = 0; i < PLAY_USERS; i++)
        check_sight(play, step, i, was_here[i]);
    if (step->vm && *step->vm)
        vm_expect_text(play->vm, step->vm, SOON);
    play->breaks += step->breaks;
    if (play->vm)
        WAIT_FOR((vm_link_pump(play->vm), play->vm->breaks >= play->breaks), SOON, "no BREAK");
}

/* How much the user has been shown beyond what it was to see. */
static size_t unseen(const struct play *play, enum play_actor who)
{
    const struct terminal *t = play->people[who].t;
    return who == RAW ? play->raw->in.len : t ? t->screen.len : 0;
}

void play_run(struct play *play, const struct play_step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct play_step *step = &steps[i];
        /* The last of these lines tells where a play has failed. */
        fprintf(stderr, "step %zu: %s %s\n", i, step->who < PLAY_USERS ? names[step->who] : "",
                step->text ? quote(step->text, strlen(step->text)).s : "");
        play_step(play, step);
    }
    play_step(play, &(struct play_step){prints, VM, "good-bye", .all = "good-bye"});
    cr_assert_eq(play->vm->breaks, play->breaks);
    cr_assert_eq(play->vm->received.len, 0, "the VM was typed something more");
    for (enum play_actor i = 0; i < PLAY_USERS; i++) {
        cr_assert_eq(unseen(play, i), 0, "%s sees something more", names[i]);
        if (play->people[i].t)
            terminal_close(play->people[i].t);
        free(play->people[i].who);
    }
    user_close(play->raw);
    control_link_close(play->link);
    vm_stop(play->vm);
    daemon_stop(play->d);
}
