/* Who a VM connection is, and what it is told. protocol.md, Option 232 and Who a connection is. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "vm_output.h"
#include "wire.h"

TestSuite(identify, .timeout = 240);

enum { UNKNOWN_1 = 2, DO_PROXY = 70, VC_UUID = 80, NAME = 82 };

#define WILL_PROXY_TEXT "\xff\xfa\xe8\x47\xff\xf0"
#define WONT_PROXY_TEXT "\xff\xfa\xe8\x49\xff\xf0"

/* A VM that says what the test has it say, byte for byte. */
static struct user *say(struct daemon *d, struct bytes *script)
{
    struct user *vm = user_connect(d->vm_port, USER_RAW);
    user_send_raw(vm, bytes_at(script), script->len);
    bytes_clear(script);
    return vm;
}

Test(identify, a_refused_do_proxy_is_answered_logged_once_a_minute_and_closed_after_a_second)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "vm.service_uri", "vspc.example");
    daemon_start(d);
    struct vm_client_options cases[4];
    for (int i = 0; i < 4; i++)
        cases[i] = vm_options("refused");
    cases[0].uri = "vspc.example";
    cases[0].direction = 'C';
    cases[1].uri = "vspc.exampl";
    cases[2].uri = "vspc.example";
    cases[2].query = "port=a/b";
    cases[3].uri = "";
    struct vm_link *vms[4];
    uint64_t begin = clock_ms();
    for (int i = 0; i < 4; i++)
        vms[i] = vm_connect(d, &cases[i]);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(vm_link_wait(vms[i], VM_EVENT_WONT_PROXY, SOON), 0);
        cr_assert_eq(vm_link_wait_closed(vms[i], SOON), 0);
        cr_assert_eq(vms[i]->error, 0, "closed in order");
        cr_assert(!vm_client_has_seen(&vms[i]->vm, VM_EVENT_WILL_PROXY));
    }
    cr_assert_geq(clock_ms() - begin, 990, "it had a second to read the answer");
    daemon_wait_log(d, "VM refused: ", SOON);
    cr_assert_eq(daemon_count_log(d, "VM refused: "), 1, "once a minute a peer");
    cr_assert_eq(daemon_count_log(d, "direction to Server") + daemon_count_log(d, "Port URI"), 1);
    cr_assert_eq(daemon_count_log(d, "VM connected"), 0);
    for (int i = 0; i < 4; i++)
        vm_stop(vms[i]);
    /* With what the line asks for it is served, label and all. */
    cases[2].query = "speed=9600&port=serial-1_B";
    struct vm_link *vm = vm_start(d, &cases[2]);
    daemon_wait_log(d, "label=serial-1_B ", SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(identify, a_simple_client_is_served_unless_a_service_uri_is_demanded)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_client_options opt = vm_options("simple");
    opt.simple = true;
    struct vm_link *vm = vm_start(d, &opt);
    probe_console(probe_port(d, "simple"), vm);
    vm_stop(vm);
    daemon_stop(d);
    daemon_set(d, "vm.service_uri", "vSPC.py");
    daemon_set(d, "vm.handshake_timeout", "1s");
    daemon_start(d);
    vm = vm_connect(d, &opt);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    cr_assert_eq(daemon_count_log(d, "VM connected"), 0);
    daemon_wait_log(d, "did not identify itself", SOON);
    vm_stop(vm);
    daemon_stop(d);
}

Test(identify, a_vm_without_uuid_is_served_by_its_name)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "vm.handshake_timeout", "2s");
    daemon_start(d);
    struct vm_client_options opt = vm_options("silent");
    opt.uuid_answer = VM_UUID_SILENT;
    uint64_t begin = clock_ms();
    struct vm_link *silent = vm_start(d, &opt);
    /* Those that close the question are served at once, or after half a second. */
    opt = vm_options("unknown");
    opt.uuid_answer = VM_UUID_UNKNOWN;
    struct vm_link *unknown = vm_start(d, &opt);
    opt = vm_options("garbage");
    opt.uuid_answer = VM_UUID_GARBAGE;
    struct vm_link *garbage = vm_start(d, &opt);
    opt = vm_options("omits");
    opt.omits_code_80 = true;
    opt.uuid_answer = VM_UUID_SILENT;
    struct vm_link *omits = vm_start(d, &opt);
    probe_console(probe_port(d, "unknown"), unknown);
    probe_console(probe_port(d, "garbage"), garbage);
    probe_console(probe_port(d, "omits"), omits);
    /* One that promised its UUID is waited for. */
    probe_console(probe_port(d, "silent"), silent);
    cr_assert_geq(clock_ms() - begin, 1990);
    cr_assert_eq(daemon_count_log(d, "never told the UUID"), 1);
    cr_assert_eq(daemon_count_log(d, " uuid= "), 4);
    vm_stop(silent);
    vm_stop(unknown);
    vm_stop(garbage);
    vm_stop(omits);
    daemon_stop(d);
}

Test(identify, a_late_uuid_is_ignored_and_a_second_one_is_an_error)
{
    static const char uuid[] = "00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff";
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct bytes script = {0};
    wire_put_start(&script);
    wire_put_sub(&script, NAME, "late", 4);
    struct user *vm = say(d, &script);
    uint16_t port = probe_port(d, "late");
    wire_put_sub(&script, VC_UUID, uuid, strlen(uuid));
    bytes_put(&script, "still here", 10);
    user_send_raw(vm, bytes_at(&script), script.len);
    bytes_clear(&script);
    struct user *user = user_connect(port, USER_TELNET);
    user_expect_text(user, "still here", SOON);
    daemon_wait_log(d, "too late to be identified by it, ignored", SOON);
    user_close(user);
    user_close(vm);

    wire_put_handshake(&script, "twice", 7);
    wire_put_sub(&script, VC_UUID, "01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 07", 47);
    bytes_put(&script, "the same is fine", 16);
    vm = say(d, &script);
    user = user_connect(probe_port(d, "twice"), USER_TELNET);
    user_expect_text(user, "the same is fine", SOON);
    wire_put_sub(&script, VC_UUID, uuid, strlen(uuid));
    user_send_raw(vm, bytes_at(&script), script.len);
    bytes_clear(&script);
    user_wait_closed(vm, SOON);
    daemon_wait_log(d, "a second, different UUID", SOON);
    user_expect_text(user, "\r\n[vspc: VM disconnected]\r\n", SOON);
    user_close(user);
    user_close(vm);
    daemon_stop(d);
}

Test(identify, what_is_not_known_is_said_and_what_may_come_twice_does)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    /* KNOWN-SUBOPTIONS-1 again, and the proxy's own messages sent back, are no reason for an answer. */
    vm_put_known(&vm->vm);
    vm_client_send_sub(&vm->vm, 2, "\x54", 1);
    vm_client_send_sub(&vm->vm, 3, "\x54", 1);
    vm_client_send_sub(&vm->vm, 71, NULL, 0);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    probe_console(probe_port(d, "vm1"), vm);
    cr_assert(!vm_client_has_seen(&vm->vm, VM_EVENT_UNKNOWN));
    /* A code that KNOWN-SUBOPTIONS-2 does not list is answered so. */
    struct bytes script = {0};
    wire_put_handshake(&script, "vm2", 2);
    wire_put_sub(&script, 84, "01 02", 5);
    wire_put_sub(&script, 255, "?", 1);
    struct user *raw = say(d, &script);
    user_wait_text(raw, WILL_PROXY_TEXT, SOON);
    user_wait_text(raw, "\xff\xfa\xe8\x03\x54\xff\xf0\xff\xfa\xe8\x03\xff\xff\xff\xf0", SOON);
    user_close(raw);
    vm_stop(vm);
    daemon_stop(d);
}

Test(identify, serial_data_from_before_identification_is_kept_newest_first)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct bytes script = {0};
    uint8_t early[6000];
    for (size_t i = 0; i < sizeof early; i++)
        early[i] = (uint8_t)('a' + i % 23);
    /* Whoever speaks before it says who it is: all of a little, the newest 4 KiB of much. */
    static const size_t lens[] = {10, 4096, 6000};
    for (size_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "vm%zu", i);
        bytes_put(&script, early, lens[i]);
        wire_put_handshake(&script, name, (unsigned)i);
        bytes_put(&script, "then", 4);
        struct user *vm = say(d, &script), *user = user_connect(probe_port(d, name), USER_TELNET);
        size_t kept = lens[i] < 4096 ? lens[i] : 4096;
        user_expect(user, early + lens[i] - kept, kept, SOON);
        user_expect_text(user, "then", SOON);
        user_close(user);
        user_close(vm);
    }
    daemon_wait_log(d, "was dropped vm=\"vm2\" bytes=1904", SOON);
    cr_assert_eq(daemon_count_log(d, "was dropped"), 1);
    daemon_stop(d);
}
