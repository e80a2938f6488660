/* Names come from outside: any bytes of them are served, and none reaches a log line or a terminal raw. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "redis.h"
#include "user.h"
#include "vm.h"
#include "wire.h"

TestSuite(names, .timeout = 240);

/* Every line of the log is whole, and holds nothing but printable ASCII. */
static void check_log(struct daemon *d)
{
    char *log = env_read_file(d->log, 0, 8 * 1024 * 1024);
    size_t len = strlen(log);
    cr_assert(len && log[len - 1] == '\n', "the log does not end in a line");
    for (char *line = log; *line;) {
        char *end = strchr(line, '\n');
        cr_assert(strncmp(line, "20", 2) == 0 && strstr(line, "Z "), "no line of the log: %.100s", line);
        for (const char *c = line; c < end; c++)
            cr_assert(*c >= ' ' && *c < 127, "byte %d in the log", *c);
        line = end + 1;
    }
    free(log);
}

struct name_case {
    const void *name;
    size_t len;
};

Test(names, any_bytes_are_a_name_and_the_redis_field_is_exactly_those)
{
    char controls[200], high[255], longest[255];
    for (size_t i = 0; i < sizeof controls; i++)
        controls[i] = (char)(1 + i % 31);
    memset(high, 0xff, sizeof high);
    memset(longest, 'n', sizeof longest);
    const struct name_case cases[] = {
        {"../../etc/x", 11},
        {"a\r\nHSET b", 9},
        {controls, sizeof controls},
        {high, sizeof high},
        {longest, 255},
        {"\xc3\x28\xff\xfe", 4},
        {"a\0b", 3},
        {"\0", 1},
        {"*1\r\n$8\r\nFLUSHALL\r\n", 17},
        {"%s%n%d", 6},
        {" ", 1},
        {"\"\\\" port=1 ", 11},
        {"\xff\xf0\xff\xfa", 4},
        {"vm1 (993329f5-f353-4383-9a29-be60143f20d8)", 42},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    struct vm_link *vms[CASES];
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 32);
    daemon_use_redis(d, redis);
    daemon_start(d);
    for (size_t i = 0; i < CASES; i++) {
        struct vm_client_options opt = vm_options("x");
        opt.name = cases[i].name;
        opt.name_len = cases[i].len;
        opt.uuid[0] = (uint8_t)i;
        opt.uuid_answer = i % 2 ? VM_UUID_TEXT : VM_UUID_UNKNOWN;
        vms[i] = vm_start(d, &opt);
    }
    redis_wait_hlen(redis, "VM:Port", CASES, SOON);
    for (size_t i = 0; i < CASES; i++) {
        char *port = redis_hget(redis, "VM:Port", cases[i].name, cases[i].len);
        cr_assert_not_null(port, "name %zu has no port", i);
        probe_console((uint16_t)atoi(port), vms[i]);
        /* Who asks is told the name, escaped. */
        struct user *user = user_connect((uint16_t)atoi(port), USER_TELNET);
        char *answer = xasprintf("[vspc: %s, VM connected, ", printable(cases[i].name, cases[i].len).s);
        user_send_raw(user, "\xff\xf6", 2);
        user_wait_text(user, answer, SOON);
        user_close(user);
        free(answer);
        free(port);
    }
    /* Renamed, each to the next one's name backwards. */
    for (size_t i = 0; i < CASES; i++) {
        char other[256];
        size_t len = cases[i].len;
        for (size_t j = 0; j < len; j++)
            other[j] = ((const char *)cases[i].name)[len - 1 - j];
        other[len] = '!';
        if (len == 255)
            continue;
        vm_client_rename(&vms[i]->vm, other, len + 1);
        cr_assert_eq(vm_link_flush(vms[i], SOON), 0);
        char *port = NULL;
        WAIT_FOR((port = redis_hget(redis, "VM:Port", other, len + 1)), SOON, "name %zu is not renamed", i);
        free(port);
    }
    redis_wait_hlen(redis, "VM:Port", CASES, SOON);
    for (size_t i = 0; i < CASES; i++)
        vm_stop(vms[i]);
    redis_wait_hlen(redis, "VM:Port", 0, SOON);
    daemon_stop(d);
    check_log(d);
}

/* Connects a VM, and waits until it is refused for its name. */
static void refused(struct daemon *d, const struct vm_client_options *opt, const char *why)
{
    daemon_mark_log(d);
    struct vm_link *vm = vm_connect(d, opt);
    cr_assert_eq(vm_link_wait_closed(vm, SOON), 0);
    daemon_wait_log(d, why, SOON);
    cr_assert_eq(daemon_count_log(d, "VM connected"), 0);
    vm_stop(vm);
}

Test(names, a_name_that_is_too_long_or_says_nothing_is_refused)
{
    static char text[VM_NAME_MAX];
    struct redis *redis = redis_start();
    struct daemon *d = daemon_new(VSPCD, 8);
    daemon_use_redis(d, redis);
    daemon_start(d);
    memset(text, '\r', sizeof text);
    struct vm_client_options opt = vm_options("x");
    opt.name = text;
    opt.name_len = 256;
    refused(d, &opt, "a name of more than 255 bytes");
    opt.name_len = 65535 < VM_NAME_MAX ? 65535 : VM_NAME_MAX;
    refused(d, &opt, opt.name_len > 16000 ? "subnegotiation is too long" : "a name of more than 255 bytes");
    opt.name_len = 0;
    opt.uuid_answer = VM_UUID_UNKNOWN;
    refused(d, &opt, "an empty name and no UUID");
    opt.uuid_answer = VM_UUID_GARBAGE;
    refused(d, &opt, "an empty name and no UUID");

    /* With a UUID, that is the name. */
    daemon_mark_log(d);
    opt.uuid_answer = VM_UUID_TEXT;
    for (uint8_t i = 0; i < UUID_SIZE; i++)
        opt.uuid[i] = (uint8_t)(0x10 * i + i);
    struct vm_link *vm = vm_start(d, &opt);
    uint16_t port = redis_wait_port(redis, "VM:Port", "00112233-4455-6677-8899-aabbccddeeff", SOON);
    probe_console(port, vm);
    /* It may get a name, and lose it again. */
    vm_client_rename(&vm->vm, "named", 5);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    cr_assert_eq(redis_wait_port(redis, "VM:Port", "named", SOON), port);
    vm_client_rename(&vm->vm, "", 0);
    cr_assert_eq(vm_link_flush(vm, SOON), 0);
    cr_assert_eq(redis_wait_port(redis, "VM:Port", "00112233-4455-6677-8899-aabbccddeeff", SOON), port);
    redis_wait_hlen(redis, "VM:Port", 1, SOON);
    vm_stop(vm);
    daemon_stop(d);
    check_log(d);
}
