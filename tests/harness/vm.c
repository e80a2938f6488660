#include "vm.h"

#include <stdlib.h>
#include <string.h>

struct vm_client_options vm_options(const char *name)
{
    struct vm_client_options opt = {.name = name, .name_len = strlen(name)};
    uint32_t hash = 2166136261;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619;
    for (size_t i = 0; i < UUID_SIZE; i++) {
        hash = hash * 1664525 + 1013904223;
        opt.uuid[i] = (uint8_t)(hash >> 24);
    }
    return opt;
}

struct vm_link *vm_connect(const struct daemon *d, const struct vm_client_options *opt)
{
    struct sock_addr addr = daemon_vm_addr(d);
    struct vm_link *vm = xmalloc(sizeof *vm);
    vm_link_init(vm, opt);
    int err = vm_link_connect(vm, &addr, SOON);
    if (err)
        env_fail("a VM cannot connect to vspcd: %s", strerror(-err));
    return vm;
}

struct vm_link *vm_start(const struct daemon *d, const struct vm_client_options *opt)
{
    struct vm_link *vm = vm_connect(d, opt);
    int err = vm_link_identify(vm, SOON);
    if (err)
        env_fail("VM %.*s is not identified: %s", (int)opt->name_len, (const char *)opt->name,
                 strerror(-err));
    return vm;
}

struct vm_link *vm_start_named(const struct daemon *d, const char *name)
{
    struct vm_client_options opt = vm_options(name);
    return vm_start(d, &opt);
}

void vm_stop(struct vm_link *vm)
{
    if (vm->vm.errors)
        env_fail("vspcd broke the protocol %u times, first: %s (%u)", vm->vm.errors, vm->vm.error,
                 vm->vm.error_code);
    vm_link_free(vm);
    free(vm);
}

void vm_print(struct vm_link *vm, const void *data, size_t len)
{
    int err = vm_link_send(vm, data, len, SOON);
    if (err)
        env_fail("a VM cannot send: %s", strerror(-err));
}

void vm_print_text(struct vm_link *vm, const char *text)
{
    vm_print(vm, text, strlen(text));
}

void vm_expect(struct vm_link *vm, const void *data, size_t len, unsigned timeout_ms)
{
    char *got = xmalloc(len);
    int err = vm_link_read(vm, got, len, timeout_ms);
    size_t have = vm->received.len < len ? vm->received.len : len;
    if (err) {
        if (have)
            memcpy(got, bytes_at(&vm->received), have);
        env_fail("a VM received only %s instead of %s: %s", quote(got, have).s, quote(data, len).s,
                 strerror(-err));
    }
    if (memcmp(got, data, len) != 0)
        env_fail("a VM received %s instead of %s", quote(got, len).s, quote(data, len).s);
    free(got);
}

void vm_expect_text(struct vm_link *vm, const char *text, unsigned timeout_ms)
{
    vm_expect(vm, text, strlen(text), timeout_ms);
}
