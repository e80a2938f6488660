/* vMotion as users see it: a pause, and nothing else. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"

TestSuite(vmotion, .timeout = 240);

/* A destination of the migration that source has begun. */
static struct vm_link *destination(struct daemon *d, const struct vm_client_options *opt,
                                   const struct vm_link *source)
{
    struct vm_client_options peer = *opt;
    peer.peer = source->vm.migration;
    return vm_start(d, &peer);
}

static void begin(struct vm_link *source)
{
    vm_client_begin(&source->vm, "\1\2\3\xff", 4);
    cr_assert_eq(vm_link_wait(source, VM_EVENT_GOAHEAD, SOON), 0);
}

Test(vmotion, a_console_follows_its_vm_to_whatever_worker)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "3");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *vm = vm_start(d, &opt);
    struct user *user = user_connect(probe_port(d, "vm1"), USER_TELNET);
    for (int i = 0; i < 10; i++) {
        vm_print_text(vm, "before");
        user_expect_text(user, "before", SOON);
        begin(vm);
        user_type(user, "typed");
        struct vm_link *there = destination(d, &opt, vm);
        vm_client_complete(&there->vm);
        vm_client_send(&there->vm, "after", 5);
        cr_assert_eq(vm_link_flush(there, SOON), 0);
        user_expect_text(user, "after", SOON);
        vm_expect_text(there, "typed", SOON);
        cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
        vm_stop(vm);
        vm = there;
    }
    vm_stop(vm);
    user_expect_text(user, "\r\n[vspc: VM disconnected]\r\n", SOON);
    user_close(user);
    daemon_stop(d);
}
