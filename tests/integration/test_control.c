/* The control socket's protocol: what each command answers, and what it says to what is no request. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "fleet.h"
#include "user.h"
#include "vm.h"

TestSuite(control, .timeout = 240);

static struct daemon *start(void)
{
    struct daemon *d = daemon_new(VSPCD, 64);
    daemon_start(d);
    return d;
}

/* Waits until show says this of the console. */
static void wait_text(struct control_link *link, const char *console, const char *path, const char *text)
{
    bool is_so = false;
    WAIT_FOR(({
                 json_t *answer = control_link_must(link, "'command':'show','console':'%s'", console);
                 is_so = strcmp(control_text(answer, path), text) == 0;
                 json_decref(answer);
                 is_so;
             }),
             SOON, "%s of %s does not become %s", path, console, text);
}

Test(control, version_tells_who_is_running)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    json_t *answer = control_link_must(link, "'command':'version','id':[7,null]");
    cr_assert_eq(control_number(answer, "pid"), d->pid);
    cr_assert_eq(control_number(answer, "v"), 1);
    cr_assert_str_eq(control_text(answer, "version"), VSPC_VERSION);
    cr_assert_eq(strlen(control_text(answer, "started")), strlen("2026-01-01T00:00:00Z"));
    cr_assert(json_is_false(control_member(answer, "draining")));
    json_t *id = json_pack("[i, n]", 7);
    cr_assert(json_equal(control_member(answer, "id"), id));
    json_decref(id);
    json_decref(answer);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, what_is_no_request_is_answered_with_what_would_be_right)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    static const char *const no_requests[] = {
        "",
        "garbage",
        "[]",
        "7",
        "\"list\"",
        "{\"v\":1",
        "{\"v\":1,\"v\":1,\"command\":\"version\"}",
        "{\"command\":\"version\"}",
        "{\"v\":\"1\",\"command\":\"version\"}",
        "{\"v\":1}",
        "{\"v\":1,\"command\":7}",
        "{\"v\":1,\"command\":\"\"}",
        "{\"v\":1,\"command\":\"lists\"}",
        "\xff\xfe\x00",
    };
    for (size_t i = 0; i < sizeof no_requests / sizeof *no_requests; i++) {
        control_link_send_raw(link, no_requests[i], strlen(no_requests[i]));
        control_link_send_raw(link, "\n", 1);
        json_t *answer = control_link_read(link, SOON);
        cr_assert_str_eq(control_text(answer, "error"), "usage", "%s", no_requests[i]);
        cr_assert(json_is_false(control_member(answer, "ok")));
        json_decref(answer);
    }
    control_link_send_raw(link, "{\"v\":2,\"id\":1}\n", 15);
    json_t *answer = control_link_read(link, SOON);
    cr_assert_str_eq(control_text(answer, "error"), "version");
    cr_assert_eq(control_number(answer, "id"), 1);
    json_decref(answer);
    control_link_do(link, "'command':'version'");
    control_link_close(link);
    daemon_stop(d);
}

Test(control, fields_that_are_unknown_missing_or_of_another_type_are_refused)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    control_link_refused(link, "usage", "'command':'list','console':'vm1'");
    control_link_refused(link, "usage", "'command':'show'");
    control_link_refused(link, "usage", "'command':'show','console':7");
    control_link_refused(link, "usage", "'command':'show','console':'a\\u0000b'");
    control_link_refused(link, "usage", "'command':'send','console':'vm1'");
    control_link_refused(link, "usage", "'command':'send','console':'vm1','enter':1");
    control_link_refused(link, "usage", "'command':'broadcast','console':'vm1'");
    control_link_refused(link, "usage", "'command':'kick','console':'vm1'");
    control_link_refused(link, "usage", "'command':'kick','console':'vm1','user':'1'");
    control_link_refused(link, "usage", "'command':'kick','console':'vm1','user':-1");
    control_link_refused(link, "usage", "'command':'attach','console':'vm1','access':'all'");
    control_link_refused(link, "usage", "'command':'attach','console':'vm1','as':'%080d'", 0);
    control_link_refused(link, "usage", "'command':'events','follow':'yes'");
    control_link_refused(link, "usage", "'command':'stats','format':'xml'");
    control_link_refused(link, "usage", "'command':'drain','off':0");
    control_link_close(link);
    daemon_stop(d);
}

Test(control, requests_sent_together_are_answered_in_their_order)
{
    enum { REQUESTS = 2000 };
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct bytes all = {0};
    for (int i = 0; i < REQUESTS; i++) {
        static const char *const commands[] = {"version", "list", "show\",\"console\":\"x", "nothing"};
        char *line = xasprintf("{\"v\":1,\"id\":%d,\"command\":\"%s\"}\n", i, commands[i % 4]);
        bytes_put(&all, line, strlen(line));
        free(line);
    }
    /* They fit into what the socket holds, also while no answer is read. */
    control_link_send_raw(link, bytes_at(&all), all.len);
    for (int i = 0; i < REQUESTS; i++) {
        json_t *answer = control_link_read_answer(link, SOON);
        cr_assert_eq(control_number(answer, "id"), i);
        json_decref(answer);
    }
    bytes_clear(&all);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, a_console_is_found_by_its_whole_name_or_the_beginning_of_it)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct vm_link *web = vm_start_named(d, "web"), *web2 = vm_start_named(d, "web2"),
                   *db = vm_start_named(d, "db");
    json_t *answer = control_link_must(link, "'command':'show','console':'web'");
    cr_assert_str_eq(control_text(answer, "console.name"), "web");
    cr_assert_str_eq(control_text(answer, "console.state"), "connected");
    json_decref(answer);
    answer = control_link_must(link, "'command':'show','console':'d'");
    cr_assert_str_eq(control_text(answer, "console.name"), "db");
    json_decref(answer);
    answer = control_link_ask(link, "'command':'show','console':'we','id':'x'");
    cr_assert_str_eq(control_text(answer, "error"), "ambiguous");
    cr_assert_str_eq(control_text(answer, "id"), "x");
    cr_assert_eq(control_number(answer, "count"), 2);
    cr_assert_eq(json_array_size(control_member(answer, "candidates")), 2);
    json_decref(answer);
    control_link_refused(link, "no-such-console", "'command':'users','console':'webs'");
    vm_stop(web);
    vm_stop(web2);
    vm_stop(db);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, ambiguity_shows_twenty_candidates_and_counts_all)
{
    enum { VMS = 50 };
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct fleet *f = fleet_new(d, VMS, "vm-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    json_t *answer = control_link_ask(link, "'command':'kick','console':'vm-','user':1");
    cr_assert_str_eq(control_text(answer, "error"), "ambiguous");
    cr_assert_eq(control_number(answer, "count"), VMS);
    cr_assert_eq(json_array_size(control_member(answer, "candidates")), 20);
    json_decref(answer);
    answer = control_link_must(link, "'command':'list'");
    cr_assert_eq(control_number(answer, "count"), VMS);
    cr_assert_eq(json_array_size(control_member(answer, "lines")), VMS);
    json_decref(answer);
    fleet_free(f);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, what_is_sent_is_typed_and_what_is_broadcast_is_seen)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    json_t *answer = control_link_must(link, "'command':'show','console':'vm1'");
    struct user *user = user_connect((uint16_t)control_number(answer, "console.port"), USER_TELNET);
    json_decref(answer);
    control_link_do(link, "'command':'send','console':'vm1','text':'ls\\u0000\xc3\xa4','enter':true");
    vm_expect(vm, "ls\0\xc3\xa4\r", 6, SOON);
    answer = control_link_must(link, "'command':'broadcast','console':'vm1','text':'\xc3\xa4 \\u001b[2J'");
    cr_assert_eq(control_number(answer, "users"), 1);
    json_decref(answer);
    user_wait_text(user, "[vspc: \xc3\xa4 ?[2J]", SOON);
    control_link_refused(link, "failed", "'command':'kick','console':'vm1','user':999999");
    control_link_do(link, "'command':'disconnect','console':'vm1'");
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    wait_text(link, "vm1", "console.state", "disconnected");
    control_link_refused(link, "failed", "'command':'disconnect','console':'vm1'");
    control_link_refused(link, "failed", "'command':'send','console':'vm1','text':'x'");
    vm_stop(vm);
    user_close(user);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, what_changes_something_is_in_the_log_with_who_did_it)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct vm_link *vm = vm_start_named(d, "v\"m");
    char *line = xasprintf("Control command command=kick vm=\"v\\\"m\" uid=%d pid=%d result=failed",
                           (int)getuid(), (int)getpid());
    control_link_refused(link, "failed", "'command':'kick','console':'v','user':77");
    daemon_wait_log(d, line, SOON);
    control_link_refused(link, "no-such-console", "'command':'disconnect','console':'other'");
    daemon_wait_log(d, "command=disconnect vm=\"other\"", SOON);
    daemon_wait_log(d, "result=no-such-console", SOON);
    json_decref(control_link_must(link, "'command':'show','console':'v'"));
    control_link_do(link, "'command':'reopen'");
    daemon_wait_log(d, "command=reopen", SOON);
    cr_assert_eq(daemon_count_log(d, "command=show"), 0);
    free(line);
    vm_stop(vm);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, reload_answers_what_needs_a_restart_and_what_is_wrong)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    daemon_write_config(d, "[user]\nlinger = 1min\n[log]\nqueue = 1MiB\n[server]\nnode_id = other\n");
    json_t *answer = control_link_must(link, "'command':'reload'");
    json_t *restart = json_pack("[s]", "server.node_id");
    cr_assert(json_equal(control_member(answer, "restart"), restart), "%s", json_dumps(answer, 0));
    json_decref(restart);
    json_decref(answer);
    daemon_wait_log(d, "Configuration reloaded", SOON);
    daemon_write_config(d, "[user]\nlinger = tomorrow\n");
    answer = control_link_ask(link, "'command':'reload'");
    cr_assert_str_eq(control_text(answer, "error"), "failed");
    cr_assert(strstr(control_text(answer, "message"), "linger"));
    json_decref(answer);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, a_drained_vspcd_refuses_vms_keeps_those_it_has_and_takes_them_again)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    json_t *answer = control_link_must(link, "'command':'show','console':'vm1'");
    struct user *user = user_connect((uint16_t)control_number(answer, "console.port"), USER_TELNET);
    json_decref(answer);
    /* One who is not yet known to speak telnet could not be told. */
    vm_print_text(vm, "here ");
    user_expect_text(user, "here ", SOON);
    control_link_do(link, "'command':'drain'");
    user_wait_text(user, "[vspc: this concentrator is being drained]", SOON);
    struct user *refused = NULL;
    WAIT_FOR(({
                 user_close(refused);
                 !(refused = user_try_connect(d->vm_port, USER_RAW));
             }),
             SOON, "hosts can still connect");
    answer = control_link_must(link, "'command':'version'");
    cr_assert(json_is_true(control_member(answer, "draining")));
    json_decref(answer);
    vm_print_text(vm, "still here");
    user_wait_text(user, "still here", SOON);
    control_link_do(link, "'command':'drain'");
    control_link_do(link, "'command':'drain','off':true");
    user_close(user_connect(d->vm_port, USER_RAW));
    struct vm_link *other = vm_start_named(d, "vm2");
    vm_stop(other);
    vm_stop(vm);
    user_close(user);
    control_link_close(link);
    daemon_stop(d);
}

Test(control, a_drained_vspcd_stops_in_order)
{
    struct daemon *d = start();
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'drain'");
    daemon_stop(d);
    control_link_wait_closed(link, SOON);
    control_link_close(link);
}
