/* The control socket under clients that mean harm: what they ask for in a loop, or leave behind, is bounded.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "user.h"
#include "vm.h"

TestSuite(control_attack, .timeout = 240);

static struct daemon *start(const char *workers)
{
    struct daemon *d = daemon_new(VSPCD, 16);
    daemon_set(d, "server.workers", "%s", workers);
    daemon_set(d, "log.directory", "%s", env_dir());
    daemon_start(d);
    return d;
}

static bool is_readable(const struct control_link *link)
{
    struct pollfd ready = {.fd = link->fd, .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

/* The answer says that something does not answer. */
static void expect_failed(struct control_link *link, const char *who)
{
    json_t *answer = control_link_read_answer(link, SOON);
    cr_assert_str_eq(control_text(answer, "error"), "failed");
    cr_assert(strstr(control_text(answer, "message"), who), "%s", control_text(answer, "message"));
    json_decref(answer);
}

Test(control_attack, a_reopening_that_the_disk_does_not_get_done_is_answered)
{
    struct daemon *d = start("2");
    struct control_link *link = control_link_open(d);
    daemon_freeze_thread(d, "disk");
    control_link_send(link, "'command':'reopen'");
    expect_failed(link, "the disk does not answer");
    control_link_do(link, "'command':'reload'");
    daemon_thaw_thread(d);
    control_link_do(link, "'command':'reopen'");
    control_link_close(link);
    daemon_stop(d);
}

Test(control_attack, who_waits_for_the_next_list_does_not_wait_for_a_stuck_worker_twice)
{
    struct daemon *d = start("2");
    struct control_link *links[2] = {control_link_open(d), control_link_open(d)},
                        *later = control_link_open(d);
    daemon_freeze_thread(d, "worker-0");
    for (int i = 0; i < 2; i++) {
        control_link_send(links[i], "'command':'list'");
        control_link_do(later, "'command':'version'");
    }
    control_link_send(later, "'command':'show','console':'vm1'");
    expect_failed(later, "does not answer");
    for (int i = 0; i < 2; i++) {
        cr_assert(is_readable(links[i]), "the answer to an earlier request comes later");
        expect_failed(links[i], "does not answer");
        control_link_close(links[i]);
    }
    control_link_close(later);
    daemon_thaw_thread(d);
    daemon_stop(d);
}

Test(control_attack, who_hangs_up_with_requests_on_their_way_is_still_counted)
{
    static const char reopen[] = "{\"v\":1,\"command\":\"reopen\"}\n";
    struct daemon *d = start("2");
    bool is_refused = false;
    daemon_freeze_thread(d, "disk");
    uint64_t deadline = clock_ms() + SOON;
    for (unsigned i = 1; !is_refused && clock_ms() < deadline; i++) {
        struct control_link *link = control_link_open(d);
        control_link_send_raw(link, reopen, sizeof reopen - 1);
        if (i % 128 == 0) {
            struct control_link *asking = control_link_open(d);
            control_link_send(asking, "'command':'version'");
            json_t *answer = control_link_read(asking, SOON);
            is_refused = json_is_false(control_member(answer, "ok"));
            json_decref(answer);
            control_link_close(asking);
        }
        control_link_close(link);
    }
    cr_assert(is_refused, "any number of requests is taken from clients that have gone");
    daemon_thaw_thread(d);
    bool is_served = false;
    WAIT_FOR(({
                 struct control_link *link = control_link_open(d);
                 control_link_send(link, "'command':'version'");
                 json_t *answer = control_link_read(link, SOON);
                 is_served = json_is_true(control_member(answer, "ok"));
                 json_decref(answer);
                 control_link_close(link);
                 is_served;
             }),
             SOON, "nobody is served when the requests are done");
    daemon_stop(d);
}

Test(control_attack, drains_and_reloads_do_not_queue_up_at_a_stuck_worker)
{
    enum { ROUNDS = 20 };
    struct daemon *d = start("1");
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct user *user = user_connect(d->first_user_port, USER_TELNET);
    user_answer_offer(user, SOON);
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'broadcast','console':'vm1','text':'begin'");
    user_wait_text(user, "[vspc: begin]\r\n", SOON);
    daemon_freeze_thread(d, "worker-0");
    for (int i = 0; i < ROUNDS; i++) {
        control_link_do(link, "'command':'drain'");
        control_link_do(link, "'command':'drain','off':true");
        control_link_do(link, "'command':'reload'");
    }
    daemon_thaw_thread(d);
    control_link_do(link, "'command':'broadcast','console':'vm1','text':'end'");
    user_expect_text(user, "\r\n[vspc: this concentrator is not drained any more]\r\n\r\n[vspc: end]\r\n",
                     SOON);
    control_link_close(link);
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}

Test(control_attack, access_that_is_changed_in_a_loop_is_refused_for_a_while)
{
    static const char change[] = "\xff\xfa\xc8{\"access\":\"exclusive\",\"force\":true}\xff\xf0"
                                 "\xff\xfa\xc8{\"access\":\"rw\"}\xff\xf0";
    struct daemon *d = start("2");
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct control_link *link = control_link_open(d);
    control_link_do(link, "'command':'attach','console':'vm1'");
    for (int i = 0; i < 40; i++)
        control_link_send_raw(link, change, sizeof change - 1);
    WAIT_FOR(({
                 control_link_pump(link);
                 memmem(bytes_at(&link->in), link->in.len, "32 times a second", 17);
             }),
             SOON, "a user may change its access without end");
    WAIT_FOR(({
                 bytes_clear(&link->in);
                 control_link_send_raw(link, change, sizeof change - 1);
                 struct pollfd ready = {.fd = link->fd, .events = POLLIN};
                 poll(&ready, 1, SOON);
                 control_link_pump(link);
                 memmem(bytes_at(&link->in), link->in.len, "\"exclusive\", \"writes\": true", 27) ||
                     memmem(bytes_at(&link->in), link->in.len, "\"rw\", \"writes\": true", 20);
             }),
             SOON, "it may never change it again");
    control_link_close(link);
    vm_stop(vm);
    daemon_stop(d);
}

/* VM: reads, and says whether all users have gone. */
static bool is_left_alone(struct control_link *link, struct vm_link *vm)
{
    json_t *answer = control_link_must(link, "'command':'show','console':'vm1'");
    bool alone = control_number(answer, "console.users") == 0;
    json_decref(answer);
    vm_link_pump(vm);
    return alone;
}

Test(control_attack, what_newcomers_bring_for_a_vm_that_does_not_read_is_bounded)
{
    static const char line[] = "{\"v\":1,\"command\":\"attach\",\"console\":\"vm1\"}\n";
    static char text[16000]; /* is read at once, so all of it comes along */
    enum { COMERS = 600, MOST = 6000000 };
    struct daemon *d = start("2");
    struct vm_link *vm = vm_start_named(d, "vm1");
    int small = 65536;
    setsockopt(vm->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    memset(text, 'x', sizeof text);
    memcpy(text, line, sizeof line - 1);
    for (int i = 0; i < COMERS; i++) {
        struct control_link *link = control_link_open(d);
        control_link_send_raw(link, text, sizeof text);
        json_decref(control_link_read_answer(link, SOON));
        control_link_close(link);
    }
    struct control_link *link = control_link_open(d);
    WAIT_FOR(is_left_alone(link, vm), SOON, "the users have not gone");
    bool is_sent = false;
    WAIT_FOR(({
                 vm_link_pump(vm);
                 json_t *answer = control_link_ask(link, "'command':'send','console':'vm1','text':'END'");
                 is_sent = json_is_true(control_member(answer, "ok"));
                 json_decref(answer);
                 is_sent;
             }),
             SOON, "the VM's input does not flow");
    WAIT_FOR(({
                 vm_link_pump(vm);
                 vm->received.len > 3 &&
                     memcmp(bytes_at(&vm->received) + vm->received.len - 3, "END", 3) == 0;
             }),
             SOON, "the last that was typed does not come");
    cr_assert_lt(vm->received.len, MOST, "%zu of %zu bytes were kept for a VM that did not read",
                 vm->received.len, COMERS * sizeof text);
    control_link_close(link);
    vm_stop(vm);
    daemon_stop(d);
}

/* --- What is random. --- */

static uint64_t seed;

static unsigned pick(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % n);
}

static void begin_seed(void)
{
    const char *given = getenv("VSPC_TEST_SEED");
    if (given)
        seed = strtoull(given, NULL, 10);
    else
        cr_assert_eq(getrandom(&seed, sizeof seed, 0), (ssize_t)sizeof seed);
    fprintf(stderr, "VSPC_TEST_SEED=%llu\n", (unsigned long long)seed);
}

/* Some JSON, of any type, or what is none. */
static void put_value(struct bytes *out)
{
    static const char *const values[] = {
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1",
        "1.5",
        "1e400",
        "9223372036854775807",
        "99999999999999999999",
        "\"\"",
        "\"vm1\"",
        "\"vm\"",
        "\"rw\"",
        "\"exclusive\"",
        "\"ro\"",
        "\"\\u0000\"",
        "\"\\u001b[2J\"",
        "\"\\ud800\"",
        "\"\xff\"",
        "[]",
        "{}",
        "{\"a\":1,\"a\":2}",
        "[[[[[[[[[[[[]]]]]]]]]]]]",
        "\"prometheus\"",
    };
    unsigned which = pick(sizeof values / sizeof *values + 2);
    if (which < sizeof values / sizeof *values) {
        bytes_put(out, values[which], strlen(values[which]));
        return;
    }
    /* Nested more deeply than any reader goes, and very long. */
    unsigned len = pick(8000);
    char *many = xmalloc(len + 2);
    memset(many, which % 2 ? '[' : 'x', len + 2);
    if (which % 2 == 0)
        many[0] = many[len + 1] = '"';
    bytes_put(out, many, len + 2);
    free(many);
}

static void put_request(struct bytes *out)
{
    static const char *const commands[] = {"list",   "show",       "users",  "send",    "broadcast",
                                           "kick",   "disconnect", "attach", "events",  "stats",
                                           "reload", "reopen",     "drain",  "version", "none"};
    static const char *const fields[] = {"console", "text",  "access",  "as",     "format",
                                         "enter",   "break", "force",   "recent", "follow",
                                         "off",     "user",  "command", "v",      "id"};
    char *head = xasprintf("{\"v\":1,\"command\":\"%s\"", commands[pick(sizeof commands / sizeof *commands)]);
    bytes_put(out, head, strlen(head));
    free(head);
    if (pick(4))
        bytes_put(out, ",\"console\":\"vm1\"", 16);
    for (unsigned n = pick(3); n; n--) {
        char *field = xasprintf(",\"%s\":", fields[pick(sizeof fields / sizeof *fields)]);
        bytes_put(out, field, strlen(field));
        put_value(out);
        free(field);
    }
    bytes_put(out, "}\n", 2);
}

/* What an attached client may say. */
static void put_stream(struct bytes *out)
{
    static const char *const pieces[] = {
        "\xff\xfa\xc8{\"access\":\"exclusive\",\"force\":true}\xff\xf0",
        "\xff\xfa\xc8{\"replay\":true}\xff\xf0",
        "\xff\xfa\xc8{\"access\":\"ro\"}\xff\xf0",
        "\xff\xfa\xc8{\"access\":\"rw\"}\xff\xf0",
        "\xff\xfa\xc8[[[[[[[[[[[\xff\xf0",
        "\xff\xfa\xc8",
        "\xff\xf3",
        "\xff\xf6",
        "\xff\xfd\x01",
        "\xff",
        "typed",
    };
    const char *piece = pieces[pick(sizeof pieces / sizeof *pieces)];
    bytes_put(out, piece, strlen(piece));
}

/* One client: asks, or attaches and goes on, cut anywhere; reads or not; hangs up. */
static struct control_link *attack(const struct daemon *d)
{
    struct control_link *link = control_link_open(d);
    struct bytes out = {0};
    if (pick(2)) {
        for (unsigned n = 1 + pick(6); n; n--)
            put_request(&out);
    } else {
        static const char line[] = "{\"v\":1,\"command\":\"attach\",\"console\":\"vm1\",\"force\":true}\n";
        bytes_put(&out, line, sizeof line - 1);
        for (unsigned n = pick(200); n; n--)
            put_stream(&out);
    }
    size_t len = pick(3) ? out.len : pick((unsigned)out.len + 1);
    /* It may be told to go at any time. */
    send(link->fd, bytes_at(&out), len, MSG_DONTWAIT | MSG_NOSIGNAL);
    bytes_clear(&out);
    if (pick(2))
        control_link_pump(link);
    if (pick(4) == 0)
        shutdown(link->fd, SHUT_WR);
    return link;
}

/* One of them has closed the VM's connection, or has vspcd drained. */
static struct vm_link *come_back(const struct daemon *d, struct vm_link *vm)
{
    struct vm_client_options opt = vm_options("vm1");
    struct sock_addr addr = daemon_vm_addr(d);
    bool is_there = false;
    WAIT_FOR(({
                 struct control_link *link = control_link_open(d);
                 control_link_do(link, "'command':'drain','off':true");
                 control_link_close(link);
                 vm_link_close(vm, true);
                 vm_stop(vm);
                 vm = xmalloc(sizeof *vm);
                 vm_link_init(vm, &opt);
                 is_there = vm_link_connect(vm, &addr, SOON) == 0 && vm_link_identify(vm, SOON) == 0;
                 is_there;
             }),
             SOON, "the VM is not taken any more");
    return vm;
}

Test(control_attack, random_clients_break_nothing_and_shutting_down_among_them_is_in_order)
{
    enum { CLIENTS = 1500, AT_ONCE = 64, PRINT = 4096 };
    static struct control_link *links[AT_ONCE];
    static char output[PRINT];
    begin_seed();
    struct daemon *d = start("2");
    struct vm_link *vm = vm_start_named(d, "vm1"), *other = vm_start_named(d, "vm\033[2J\xff");
    memset(output, 0xff, sizeof output);
    for (int i = 0; i < CLIENTS; i++) {
        unsigned at = pick(AT_ONCE);
        control_link_close(links[at]);
        links[at] = attack(d);
        if (vm_link_send(vm, output, pick(PRINT), 1) == -ECONNRESET)
            vm = come_back(d, vm);
    }
    daemon_stop(d);
    cr_assert_lt(access(d->control, F_OK), 0, "the socket is still there");
    for (int i = 0; i < AT_ONCE; i++)
        control_link_close(links[i]);
    vm_link_close(vm, true);
    vm_link_close(other, true);
    vm_stop(vm);
    vm_stop(other);
}
