/* The whole way once: a VM connects, is found in Redis, and is talked to by every kind of user. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "daemon.h"
#include "fleet.h"
#include "redis.h"
#include "terminal.h"
#include "user.h"
#include "vm.h"

TestSuite(first_light, .timeout = 240);

Test(first_light, a_vm_is_in_redis_and_its_users_see_and_type)
{
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, redis);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    uint16_t port = redis_wait_port(redis, "VM:Port", "vm1", SOON);
    cr_assert(port >= d->first_user_port && port < d->first_user_port + d->user_ports);

    struct user *raw = user_connect(port, USER_RAW);
    struct user *telnet = user_connect(port, USER_TELNET);
    vm_print(vm, "login: \xff", 8);
    user_expect_offer(raw, SOON);
    user_expect(raw, "login: \xff", 8, SOON);
    user_expect(telnet, "login: \xff", 8, SOON);
    user_type(raw, "root\n");
    vm_expect_text(vm, "root\n", SOON);
    user_send(telnet, "\xff\xff!", 3);
    vm_expect(vm, "\xff\xff!", 3, SOON);

    user_close(raw);
    user_close(telnet);
    vm_stop(vm);
    daemon_stop(d);
    redis_wait_hget(redis, "VM:Port", "vm1", NULL, SOON);
}

Test(first_light, the_telnet_program_sees_and_types)
{
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, redis);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    struct terminal *t = terminal_telnet(redis_wait_port(redis, "VM:Port", "vm1", SOON));
    terminal_wait(t, "Escape character", SOON);
    vm_print_text(vm, "hello from the VM");
    terminal_wait(t, "hello from the VM", SOON);
    terminal_type(t, "ls -l");
    vm_expect_text(vm, "ls -l", SOON);
    terminal_type(t, "\x1d");
    terminal_wait(t, "telnet>", SOON);
    terminal_type(t, "quit\n");
    terminal_wait_exit(t, SOON);
    terminal_close(t);
    vm_stop(vm);
    daemon_stop(d);
}

Test(first_light, vspc_vm_puts_a_shell_on_a_serial_port)
{
    char vspc[SOCK_TEXT];
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, redis);
    daemon_start(d);
    struct sock_addr addr = daemon_vm_addr(d);
    sock_addr_format(&addr, vspc);
    struct terminal *vm =
        terminal_run((char *[]){VSPC_VM, "--vspc", vspc, "--name", "shell", "--", "sh", "-c",
                                "read line; echo \"heard $line\"; read line; exit 7", NULL});
    struct user *user = user_connect(redis_wait_port(redis, "VM:Port", "shell", SOON), USER_TELNET);
    user_type(user, "one\r");
    user_wait_text(user, "heard one\r\n", SOON);

    /* The concentrator may go away; the command runs on. */
    daemon_stop(d);
    user_wait_closed(user, SOON);
    user_close(user);
    terminal_wait(vm, "trying again", SOON);
    daemon_start(d);
    user = user_connect(redis_wait_port(redis, "VM:Port", "shell", SOON), USER_TELNET);
    user_type(user, "two\r");
    int status = terminal_wait_exit(vm, SOON);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", (unsigned)status);
    redis_wait_hget(redis, "VM:Port", "shell", NULL, SOON);
    terminal_close(vm);
    user_close(user);
    daemon_stop(d);
}

Test(first_light, a_fleet_is_identified_and_found_in_redis)
{
    enum { VMS = 300 };
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, VMS);
    daemon_use_redis(d, redis);
    daemon_start(d);
    struct fleet *f = fleet_new(d, VMS, "fleet-", NULL);
    fleet_connect(f, 0, VMS);
    fleet_wait_identified(f, SOON);
    redis_wait_hlen(redis, "VM:Port", VMS, SOON);
    fleet_drop(f, 0, VMS / 2, true);
    redis_wait_hlen(redis, "VM:Port", VMS - VMS / 2, SOON);
    fleet_connect(f, 0, VMS / 2);
    fleet_wait_identified(f, SOON);
    redis_wait_hlen(redis, "VM:Port", VMS, SOON);
    cr_assert_gt(daemon_usage(d).fds, 2 * VMS);
    fleet_free(f);
    daemon_stop(d);
}

Test(first_light, a_killed_vspcd_starts_again_on_its_ports)
{
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_start(d);
    struct vm_link *vm = vm_start_named(d, "vm1");
    daemon_kill(d);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    vm_stop(vm);
    daemon_start(d);
    vm = vm_start_named(d, "vm1");
    daemon_stop(d);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    vm_stop(vm);
}
