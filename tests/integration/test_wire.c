/* TCP may cut a stream anywhere: every boundary of the handshake, and every byte of what follows, in both
 * directions. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(wire, .timeout = 240);

enum { TN_IAC = 255, DATA = 64 * 1024, CUTS_MAX = 300 };

/* All that a VM sends until it is identified, its options and a line of serial data, as one stream. */
static void put_everything(struct bytes *out, unsigned number)
{
    char name[16], line[32];
    snprintf(name, sizeof name, "cut-%03u", number);
    wire_put_handshake(out, name, number);
    int len = snprintf(line, sizeof line,
                       "\xff\xfb\x2c"
                       "data \xff\xff of %03u",
                       number);
    bytes_put(out, line, (size_t)len);
}

/* What the VM printed is at its user port, once, and what is typed there reaches it. */
static void check_console(struct daemon *d, struct user *vm, unsigned number)
{
    char name[16], line[32];
    snprintf(name, sizeof name, "cut-%03u", number);
    struct user *user = user_connect(probe_port(d, name), USER_RAW);
    int len = snprintf(line, sizeof line, "data \xff of %03u", number);
    user_expect(user, line, (size_t)len, SOON);
    user_send_raw(user, "typed\xff.", 7);
    user_wait_text(vm, "typed\xff\xff.", SOON);
    user_close(user);
}

Test(wire, a_handshake_may_be_cut_at_every_boundary)
{
    struct bytes all[CUTS_MAX] = {0};
    struct user *vms[CUTS_MAX];
    struct daemon *d = daemon_new(VSPCD, CUTS_MAX);
    daemon_set(d, "user.telnet", "never");
    daemon_set(d, "vm.handshake_timeout", "1min");
    daemon_start(d);
    put_everything(&all[0], 0);
    unsigned cuts = (unsigned)all[0].len;
    cr_assert(cuts > 100 && cuts < CUTS_MAX, "%u", cuts);
    for (unsigned i = 1; i < cuts; i++) {
        put_everything(&all[i], i);
        vms[i] = user_connect(d->vm_port, USER_RAW);
        user_send_raw(vms[i], bytes_at(&all[i]), i);
    }
    for (unsigned i = 1; i < cuts; i++) {
        wire_wait_read(vms[i]->fd);
        user_send_raw(vms[i], bytes_at(&all[i]) + i, all[i].len - i);
    }
    for (unsigned i = 1; i < cuts; i++)
        check_console(d, vms[i], i);
    /* And at all of them at once. */
    vms[0] = user_connect(d->vm_port, USER_RAW);
    wire_send_each(vms[0], bytes_at(&all[0]), all[0].len);
    check_console(d, vms[0], 0);
    cr_assert_eq(daemon_count_log(d, "VM disconnected"), 0);
    for (unsigned i = 0; i < cuts; i++) {
        user_close(vms[i]);
        bytes_clear(&all[i]);
    }
    daemon_stop(d);
}

/* Sends data with every 255 doubled, a byte a segment. */
static void send_escaped_each(struct user *peer, const uint8_t *data, size_t len)
{
    struct bytes escaped = {0};
    for (size_t i = 0; i < len; i++) {
        bytes_put(&escaped, data + i, 1);
        if (data[i] == TN_IAC)
            bytes_put(&escaped, data + i, 1);
    }
    wire_send_each(peer, bytes_at(&escaped), escaped.len);
    bytes_clear(&escaped);
}

Test(wire, output_one_byte_a_segment_arrives_whole)
{
    struct bytes handshake = {0};
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "user.scrollback", "256KiB");
    daemon_start(d);
    struct user *vm = user_connect(d->vm_port, USER_RAW);
    wire_put_handshake(&handshake, "vm1", 1);
    user_send_raw(vm, bytes_at(&handshake), handshake.len);
    uint16_t port = probe_port(d, "vm1");
    uint8_t *data = xmalloc(DATA);
    wire_fill(data, DATA, 5);
    struct user *telnet = user_connect(port, USER_TELNET), *raw = user_connect(port, USER_RAW);
    send_escaped_each(vm, data, DATA);
    user_expect(telnet, data, DATA, SOON);
    user_expect(raw, wire_greeting, WIRE_USER_GREETING, SOON);
    user_expect(raw, data, DATA, SOON);
    user_close(telnet);
    user_close(raw);
    user_close(vm);
    free(data);
    bytes_clear(&handshake);
    daemon_stop(d);
}

Test(wire, input_one_byte_a_segment_arrives_whole)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct user *telnet = user_connect(probe_port(d, "vm1"), USER_TELNET);
    uint8_t *data = xmalloc(DATA);
    wire_fill(data, DATA, 6);
    for (size_t at = 0; at < DATA; at += 4096) {
        send_escaped_each(telnet, data + at, 4096);
        vm_expect(vm, data + at, 4096, SOON);
    }
    /* Commands cut in the middle, and in their place. */
    wire_send_each(telnet,
                   "a\xff\xf3"
                   "b\xff\xfa\x18\x01\xff\xff\xff\xf0"
                   "c\xff\xf1"
                   "d",
                   16);
    vm_expect_text(vm, "abcd", SOON);
    cr_assert_eq(vm->breaks, 1);
    user_close(telnet);
    vm_stop(vm);
    free(data);
    daemon_stop(d);
}

/* A user who speaks telnet in one script, cut in two at `cut`. */
static struct user *cut_user(uint16_t port, const char *script, size_t len, size_t cut)
{
    struct user *user = user_connect(port, USER_RAW);
    user_send_raw(user, script, cut);
    wire_wait_read(user->fd);
    user_send_raw(user, script + cut, len - cut);
    return user;
}

Test(wire, a_users_negotiation_may_be_cut_at_every_boundary)
{
    /* A key typed ahead, the answers with BINARY refused, text with everything that telnet escapes. */
    static const char script[] = "k\xff\xfd\x01\xff\xfc\0\xff\xfe\0\xff\xfd\x03\xff\xfb\x03"
                                 "\r\n\xff\xff\r\0.\xff\xfa\x1f\0\x50\0\x18\xff\xf0\xff\xf3!";
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = probe_port(d, "vm1");
    size_t len = sizeof script - 1;
    for (size_t cut = 1; cut < len; cut++) {
        struct user *user = cut_user(port, script, len, cut);
        vm_expect(vm, "k\r\xff\r.!", 6, SOON);
        cr_assert_eq(vm->breaks, cut, "cut at %zu", cut);
        user_close(user);
    }
    vm_stop(vm);
    daemon_stop(d);
}
