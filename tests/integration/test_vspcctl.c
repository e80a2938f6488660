/* vspcctl's commands, on the real daemon. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ctl_run.h"
#include "probe.h"

TestSuite(vspcctl, .timeout = 240);

/* A daemon and a VM of this name. */
static struct daemon *start(const char *name, struct vm_link **vm)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    *vm = vm_start_named(d, name);
    probe_port(d, name);
    return d;
}

static void stop(struct daemon *d, struct vm_link *vm)
{
    vm_stop(vm);
    daemon_stop(d);
}

/* A text of an object that is the only one of an array, or the object itself. */
static const char *text_of(const json_t *value, const char *key)
{
    const json_t *object = json_is_array(value) ? json_array_get(value, 0) : value;
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "no %s", key);
    return text;
}

static json_int_t number_of(const json_t *value, const char *key)
{
    const json_t *object = json_is_array(value) ? json_array_get(value, 0) : value;
    const json_t *number = json_object_get(object, key);
    cr_assert(json_is_integer(number), "no %s", key);
    return json_integer_value(number);
}

Test(vspcctl, list_tells_what_a_console_is_and_has_done)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    uint16_t port = probe_port(d, "web-1");
    struct user *user = user_connect(port, USER_TELNET);
    vm_print_text(vm, "hello");
    user_expect_text(user, "hello", SOON);
    user_type(user, "hi!");
    vm_expect_text(vm, "hi!", SOON);
    json_t *list = ctl_json(d, CTL("list", "--json"));
    cr_assert_eq(json_array_size(list), 1);
    cr_assert_eq(json_object_size(json_array_get(list, 0)), 9);
    cr_assert_str_eq(text_of(list, "name"), "web-1");
    cr_assert_eq(strlen(text_of(list, "uuid")), 36);
    cr_assert_str_eq(text_of(list, "label"), "");
    cr_assert_str_eq(text_of(list, "state"), "connected");
    cr_assert_eq(number_of(list, "port"), port);
    cr_assert_eq(number_of(list, "users"), 1);
    cr_assert_eq(strlen(text_of(list, "since")), 20);
    cr_assert_eq(number_of(list, "bytes_from_vm"), 5);
    cr_assert_eq(number_of(list, "bytes_to_vm"), 3);
    json_decref(list);
    user_close(user);
    stop(d, vm);
}

Test(vspcctl, list_takes_globs_and_expressions_for_names_labels_and_uuids)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct vm_link *db = vm_start_named(d, "db-1");
    probe_port(d, "db-1");
    json_t *one = ctl_json(d, CTL("list", "--json", "db-1"));
    char *uuid = xasprintf("%.8s*", text_of(one, "uuid"));
    char *out = ctl_output(d, CTL("list", "-H"));
    cr_assert(strncmp(out, "db-1 ", 5) == 0 && strstr(out, "\nweb-1 "), "%s", out);
    free(out);
    ctl_expect(d, 0, "NAME", CTL("list"));
    char *const *const patterns[] = {CTL("list", "-H", "db*"), CTL("list", "-H", uuid),
                                     CTL("list", "-H", "-r", "^d.-[0-9]$"),
                                     CTL("list", "-H", "nothing", "[de]b-1")};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        out = ctl_output(d, patterns[i]);
        cr_assert(strncmp(out, "db-1 ", 5) == 0 && !strstr(out, "web-1"), "%zu: %s", i, out);
        free(out);
    }
    json_t *none = ctl_json(d, CTL("list", "--json", "nothing"));
    cr_assert_eq(json_array_size(none), 0);
    struct ctl_run *run = ctl_start(d, NULL, 0, CTL("list", "nothing"));
    ctl_wait(run, 0);
    cr_assert(strstr(run->err, "no console matches"), "%s", run->err);
    ctl_end(run);
    ctl_expect(d, 2, "no regular expression", CTL("list", "-r", "["));
    json_decref(none);
    json_decref(one);
    free(uuid);
    vm_stop(db);
    stop(d, vm);
}

Test(vspcctl, a_name_from_outside_steers_no_terminal)
{
    struct vm_link *vm;
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    vm = vm_start_named(d, "\033]0;x\007\n\xff\xe2\x80\xae");
    daemon_wait_log(d, "VM connected", SOON);
    struct ctl_run *runs[] = {
        ctl_start(d, NULL, 0, CTL("list")),         ctl_start(d, NULL, 0, CTL("list", "--json")),
        ctl_start(d, NULL, 0, CTL("events")),       ctl_start(d, NULL, 0, CTL("top", "-b", "-n", "1")),
        ctl_start(d, NULL, 0, CTL("show", "\033")), ctl_start(d, NULL, 0, CTL("events", "--json"))};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        ctl_wait(runs[i], 0);
        cr_assert(strstr(runs[i]->out, "]0;x"), "%zu: %s", i, runs[i]->out);
        cr_assert_null(strpbrk(runs[i]->out, "\033\007"), "%zu: %s", i, runs[i]->out);
        cr_assert_null(strstr(runs[i]->out, "\xe2\x80\xae"), "%zu: %s", i, runs[i]->out);
        ctl_end(runs[i]);
    }
    stop(d, vm);
}

Test(vspcctl, a_console_goes_by_name_uuid_and_beginning)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct vm_link *other = vm_start_named(d, "web-10");
    probe_port(d, "web-10");
    char *port = xasprintf("%u\n", probe_port(d, "web-1"));
    json_t *show = ctl_json(d, CTL("show", "--json", "web-1"));
    char *uuid = xstrdup(text_of(show, "uuid")), *beginning = xasprintf("%.18s", uuid);
    char *const names[] = {"web-1", uuid, beginning};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *out = ctl_output(d, CTL("port", names[i]));
        cr_assert_str_eq(out, port, "%s", names[i]);
        free(out);
    }
    ctl_expect(d, 0, uuid, CTL("show", "web-1"));
    ctl_expect(d, 3, "web-10", CTL("port", "web"));
    ctl_expect(d, 3, uuid, CTL("port", "web"));
    ctl_expect(d, 3, "begins with nothing", CTL("port", "nothing"));
    json_decref(show);
    free(beginning);
    free(uuid);
    free(port);
    vm_stop(other);
    stop(d, vm);
}

Test(vspcctl, send_types_presses_enter_and_breaks)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    ctl_expect(d, 0, "", CTL("send", "web-1", "rm", "-rf", "--all", "x"));
    vm_expect_text(vm, "rm -rf --all x", SOON);
    ctl_expect(d, 0, "", CTL("send", "--enter", "web-1", "l\xc3\xb6s"));
    vm_expect_text(vm, "l\xc3\xb6s\r", SOON);
    ctl_expect(d, 0, "", CTL("send", "web-1", "--break"));
    WAIT_FOR(vm_link_pump(vm) == 0 && vm->breaks == 1, SOON, "no BREAK");
    ctl_expect(d, 3, "vspcctl: ", CTL("send", "nothing", "x"));
    stop(d, vm);
}

Test(vspcctl, send_all_types_into_those_that_match)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct vm_link *web = vm_start_named(d, "web-2"), *db = vm_start_named(d, "db");
    probe_port(d, "web-2");
    probe_port(d, "db");
    ctl_expect(d, 0, "Typed into 2 of 2 consoles.", CTL("send", "--all", "web-*", "ls"));
    vm_expect_text(vm, "ls", SOON);
    vm_expect_text(web, "ls", SOON);
    ctl_expect(d, 0, "Typed into 1 of 1 console.", CTL("send", "-a", "d?", "!"));
    vm_expect_text(db, "!", SOON);
    ctl_expect(d, 3, "no console matches 'x*'", CTL("send", "--all", "x*", "ls"));
    vm_stop(web);
    vm_stop(db);
    stop(d, vm);
}

Test(vspcctl, broadcast_and_kick_reach_users)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct user *user = user_connect(probe_port(d, "web-1"), USER_TELNET);
    user_answer_offer(user, SOON);
    /* Until vspcd knows it to be one that can be told. */
    vm_print_text(vm, ".");
    user_expect_text(user, ".", SOON);
    json_t *users = ctl_json(d, CTL("users", "--json", "web-1"));
    cr_assert_eq(json_array_size(users), 1);
    cr_assert_str_eq(text_of(users, "kind"), "telnet");
    cr_assert_str_eq(text_of(users, "access"), "rw");
    ctl_expect(d, 0, "telnet", CTL("users", "web-1"));
    ctl_expect(d, 0, "Shown to 1 user of 1 console.", CTL("broadcast", "*", "back", "at", "ten"));
    user_wait_text(user, "[vspc: back at ten]", SOON);
    char *id = xasprintf("%lld", (long long)number_of(users, "id"));
    ctl_expect(d, 1, "vspcctl: ", CTL("kick", "web-1", "999999"));
    ctl_expect(d, 2, "ID is a number", CTL("kick", "web-1", "bob"));
    ctl_expect(d, 0, "", CTL("kick", "web-1", id));
    user_wait_closed(user, SOON);
    free(id);
    json_decref(users);
    user_close(user);
    stop(d, vm);
}

Test(vspcctl, what_is_wrong_for_every_console_is_said_once)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct vm_link *other = vm_start_named(d, "web-2");
    probe_port(d, "web-2");
    char text[2000] = {0};
    memset(text, 'x', sizeof text - 1);
    struct ctl_run *run = ctl_start(d, NULL, 0, CTL("broadcast", "*", text));
    ctl_wait(run, 2);
    const char *said = strstr(run->err, "at most");
    cr_assert(said && !strstr(said + 1, "at most"), "%s", run->err);
    ctl_end(run);
    vm_stop(other);
    stop(d, vm);
}

Test(vspcctl, disconnect_closes_the_vms_connection_alone)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    ctl_expect(d, 0, "", CTL("disconnect", "web-1"));
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    ctl_expect(d, 0, "disconnected since", CTL("show", "web-1"));
    ctl_expect(d, 1, "vspcctl: ", CTL("send", "web-1", "x"));
    stop(d, vm);
}

Test(vspcctl, events_tell_what_has_happened_and_what_happens)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    ctl_expect(d, 0, "vm-up             web-1  port ", CTL("events"));
    struct ctl_run *follow = ctl_start(d, NULL, 0, CTL("events", "-f", "--json"));
    ctl_wait_printed(follow, "vm-up", SOON);
    struct vm_link *other = vm_start_named(d, "web-2");
    ctl_wait_printed(follow, "web-2", SOON);
    vm_stop(other);
    ctl_wait_printed(follow, "vm-down", SOON);
    ctl_end(follow);
    stop(d, vm);
}

Test(vspcctl, stats_are_readable_json_and_prometheus)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    vm_print_text(vm, "hello");
    struct user *user = user_connect(probe_port(d, "web-1"), USER_TELNET);
    user_wait_text(user, "hello", SOON);
    char *out = ctl_output(d, CTL("stats"));
    static const char *const wanted[] = {
        "VMs\n",      "\nUsers\n",   "\nHandshakes\n", "\nMigrations\n", "\nRedis\n", "\nDisk\n",
        "\nWorkers ", "\nProcess\n", " 5 B\n",         "by telnet ",     " us",       "MiB\n"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        cr_assert(strstr(out, wanted[i]), "%s is not in: %s", wanted[i], out);
    /* Every figure has a name for people, and what troubles nobody is not there. */
    cr_assert(!strstr(out, "vspc_") && !strstr(out, "Others") && !strstr(out, "MISSING"), "%s", out);
    free(out);
    user_close(user);
    json_t *stats = ctl_json(d, CTL("stats", "--json"));
    cr_assert(json_is_object(stats));
    ctl_expect(d, 0, "# TYPE vspc_descriptors_left gauge", CTL("stats", "--prometheus"));
    ctl_expect(d, 2, "do not go together", CTL("stats", "--prometheus", "--json"));
    json_decref(stats);
    stop(d, vm);
}

Test(vspcctl, reload_applies_names_restarts_and_tells_what_is_wrong)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    daemon_write_config(d, "[vm]\nkeepalive = 61s\n");
    ctl_expect(d, 0, "has been read again", CTL("reload"));
    daemon_write_config(d, "[server]\nnode_id = other\n");
    ctl_expect(d, 0, "node_id needs a restart", CTL("reload"));
    daemon_write_config(d, "[server]\nworkers = many\n");
    ctl_expect(d, 1, "workers", CTL("reload"));
    ctl_expect(d, 0, "", CTL("reopen"));
    stop(d, vm);
}

Test(vspcctl, drain_refuses_vms_until_it_is_off)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    ctl_expect(d, 0, "refused from now on", CTL("drain"));
    ctl_expect(d, 0, "draining", CTL("version"));
    ctl_expect(d, 0, "welcome again", CTL("drain", "--off"));
    char *version = ctl_output(d, CTL("version"));
    cr_assert(strstr(version, "vspcd " VSPC_VERSION ", process ") && !strstr(version, "draining"), "%s",
              version);
    free(version);
    user_close(user_connect(d->vm_port, USER_RAW));
    vm_stop(vm_start_named(d, "web-2"));
    stop(d, vm);
}

Test(vspcctl, top_prints_pictures_to_a_pipe)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct ctl_run *top = ctl_start(d, NULL, 0, CTL("top", "--batch", "-n", "2", "-d", "1"));
    ctl_wait_printed(top, "Consoles 1: 1 connected", SOON);
    vm_print_text(vm, "hello");
    ctl_wait(top, 0);
    cr_assert(strstr(top->out, "Workers 2:") && strstr(top->out, "Redis") && strstr(top->out, "\nweb-1 "),
              "%s", top->out);
    ctl_end(top);
    ctl_expect(d, 2, "--batch", CTL("top"));
    stop(d, vm);
}

Test(vspcctl, log_prints_the_scrollback_where_there_is_no_log)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    struct user *user = user_connect(probe_port(d, "web-1"), USER_TELNET);
    vm_print_text(vm, "one\r\ntwo\r\n\033[1mthree\xff\r\nlogin: ");
    user_wait_text(user, "login: ", SOON);
    struct ctl_run *run = ctl_start(d, NULL, 0, CTL("log", "-n", "2", "web-1"));
    ctl_wait(run, 0);
    cr_assert_str_eq(run->out, "\033[1mthree\xff\r\nlogin: ");
    ctl_end(run);
    run = ctl_start(d, NULL, 0, CTL("log", "-f", "web-1"));
    ctl_wait_printed(run, "one\r\n", SOON);
    vm_print_text(vm, "root");
    ctl_wait_printed(run, "login: root", SOON);
    ctl_end(run);
    user_close(user);
    stop(d, vm);
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

Test(vspcctl, log_ends_with_the_scrollback_although_the_vm_prints_on)
{
    struct vm_link *vm;
    struct daemon *d = start("web-1", &vm);
    ctl_expect(d, 0, "", CTL("log", "web-1"));
    struct ctl_run *run = ctl_start(d, NULL, 0, CTL("log", "web-1"));
    WAIT_FOR((vm_print_text(vm, "more\r\n"), has_ended(run->pid)), SOON, "log does not end");
    ctl_wait(run, 0);
    ctl_end(run);
    stop(d, vm);
}

/* A file of a test, and what is written to it. */
static void write_file(const char *path, const char *mode, const char *text)
{
    FILE *file = fopen(path, mode);
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

Test(vspcctl, log_follows_the_log_file_through_rotation_and_truncation)
{
    struct vm_link *vm;
    struct daemon *d = daemon_new(VSPCD, 8);
    char *path = xasprintf("%s/web-1.log", env_dir()), *old = xasprintf("%s.1", path);
    daemon_set(d, "log.directory", "%s", env_dir());
    daemon_set(d, "log.file", "{name}.log");
    daemon_start(d);
    vm = vm_start_named(d, "web-1");
    ctl_expect(d, 0, path, CTL("show", "web-1"));
    ctl_expect(d, 1, "has printed nothing", CTL("log", "web-1"));
    /* The test is the one that writes, so that it knows what stands where. */
    write_file(path, "w", "1\n2\n3\n4\n");
    struct ctl_run *run = ctl_start(d, NULL, 0, CTL("log", "-n", "3", "web-1"));
    ctl_wait(run, 0);
    cr_assert_str_eq(run->out, "2\n3\n4\n");
    ctl_end(run);
    run = ctl_start(d, NULL, 0, CTL("log", "-n1", "-f", "web-1"));
    ctl_wait_printed(run, "4\n", SOON);
    write_file(path, "a", "5\n");
    ctl_wait_printed(run, "4\n5\n", SOON);
    cr_assert_eq(rename(path, old), 0);
    write_file(old, "a", "6\n");
    write_file(path, "w", "7 in the new one\n");
    ctl_wait_printed(run, "4\n5\n6\n7 in the new one\n", SOON);
    write_file(path, "w", "8\n");
    ctl_wait_printed(run, "7 in the new one\n8\n", SOON);
    ctl_end(run);
    free(old);
    free(path);
    stop(d, vm);
}
