/* What happens to bytes when a VM's newer connection takes its console over, or a user ends only its own
 * side. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon.h"
#include "probe.h"
#include "user.h"
#include "vm.h"

/* The old connection has a lot unread when the newer one is identified, as when a host reconnects a VM that
 * prints. */
static void take_over_busy(enum user_kind kind)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_set(d, "server.workers", "1");
    daemon_set(d, "user.backlog", "16MiB");
    daemon_start(d);
    struct vm_client_options opt = vm_options("vm1");
    struct vm_link *old = vm_start(d, &opt);
    struct user *user = user_connect(probe_port(d, "vm1"), kind);
    vm_print_text(old, "ready");
    user_wait_text(user, "ready", SOON);

    struct vm_client_options silent = opt;
    silent.uuid_answer = VM_UUID_SILENT;
    struct vm_link *newer = vm_connect(d, &silent);
    cr_assert_eq(vm_link_wait(newer, VM_EVENT_WILL_PROXY, SOON), 0);
    cr_assert_eq(vm_link_wait(newer, VM_EVENT_ASKED_NAME, SOON), 0);
    cr_assert_eq(vm_link_flush(newer, SOON), 0);

    size_t len = 1024 * 1024;
    uint8_t *data = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    char uuid[VM_UUID_TEXT_LEN + 1];
    vm_uuid_text(opt.uuid, uuid);
    daemon_signal(d, SIGSTOP);
    vm_print(old, data, len);
    vm_client_send_sub(&newer->vm, VM_VC_UUID, uuid, strlen(uuid));
    cr_assert_eq(vm_link_flush(newer, SOON), 0);
    daemon_signal(d, SIGCONT);

    user_expect(user, data, len, SOON);
    cr_assert_eq(vm_link_wait_closed(old, SOON), 0);
    vm_print_text(newer, "from the newer");
    user_expect_text(user, "from the newer", SOON);
    free(data);
    user_close(user);
    vm_stop(old);
    vm_stop(newer);
    daemon_stop(d);
}

Test(takeover, all_that_a_busy_connection_sent_reaches_a_raw_user)
{
    take_over_busy(USER_RAW);
}

Test(takeover, all_that_a_busy_connection_sent_reaches_a_telnet_user)
{
    take_over_busy(USER_TELNET);
}

/* As `printf '...' | nc -N`, socat and ncat do. */
Test(takeover, a_raw_user_who_ended_only_its_own_side_still_gets_the_answer)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct user *user = user_connect(probe_port(d, "vm1"), USER_RAW);
    user_send(user, "uptime\r", 7);
    shutdown(user->fd, SHUT_WR);
    vm_expect_text(vm, "uptime\r", SOON);
    vm_print_text(vm, "up 3 days");
    user_wait_text(user, "up 3 days", SOON);
    double cpu = daemon_usage(d).cpu_seconds;
    user_wait_closed(user, SOON);
    cr_assert_lt(daemon_usage(d).cpu_seconds - cpu, 0.5, "it spins while it waits for the user to go");
    user_close(user);
    vm_stop(vm);
    daemon_stop(d);
}
