#include "migration.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "vm_output.h"
#include "wire.h"

static const uint8_t unknown_peer[] = {IAC, SB, OPT_VMWARE, VM_UNKNOWN_SUBOPTION_RCVD_2, VM_VMOTION_PEER,
                                       IAC, SE};

void move_begin(struct vm_link *source, const void *sequence, size_t len)
{
    vm_client_begin(&source->vm, sequence, len);
    if (vm_link_wait(source, VM_EVENT_GOAHEAD, SOON) < 0)
        env_fail("BEGIN is not answered GOAHEAD");
}

struct vm_link *move_connect(struct daemon *d, const struct vm_client_options *opt,
                             const struct vm_link *source)
{
    struct vm_client_options there = *opt;
    there.peer = source->vm.migration;
    return vm_connect(d, &there);
}

static void wait_peer_ok(struct vm_link *destination)
{
    if (vm_link_wait(destination, VM_EVENT_PEER_OK, SOON) < 0)
        env_fail("PEER is not answered PEER-OK");
}

struct vm_link *move_join(struct daemon *d, const struct vm_client_options *opt, const struct vm_link *source)
{
    struct vm_link *there = move_connect(d, opt, source);
    wait_peer_ok(there);
    return there;
}

struct vm_link *move_join_late(struct daemon *d, const struct vm_client_options *opt,
                               const struct vm_link *source)
{
    struct vm_client_options offers = *opt;
    offers.offers = true;
    struct vm_link *there = move_connect(d, &offers, source);
    /* Keeps the client from bringing the cookie by itself. */
    there->vm.proxy_sent = true;
    if (vm_link_wait(there, VM_EVENT_ASKED_NAME, SOON) < 0 ||
        vm_link_wait(there, VM_EVENT_ASKED_UUID, SOON) < 0 || vm_link_flush(there, SOON) < 0)
        env_fail("a destination is not asked who it is");
    wire_wait_read(there->fd);
    there->vm.proxy_sent = false;
    vm_put_proxy(&there->vm);
    wait_peer_ok(there);
    return there;
}

void move_complete(struct vm_link *destination)
{
    vm_client_complete(&destination->vm);
    if (vm_link_flush(destination, SOON) < 0)
        env_fail("a destination cannot say COMPLETE");
}

struct user *move_forge(struct daemon *d, const void *payload, size_t len)
{
    static const uint8_t verbs[] = {IAC, DO, OPT_BINARY, IAC, DO, OPT_SGA, IAC, WILL, OPT_VMWARE};
    static const uint8_t codes[] = {0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83};
    struct bytes script = {0};
    bytes_put(&script, verbs, sizeof verbs);
    wire_put_sub(&script, VM_KNOWN_SUBOPTIONS_1, codes, sizeof codes);
    wire_put_sub(&script, VM_VMOTION_PEER, payload, len);
    struct user *peer = user_connect(d->vm_port, USER_RAW);
    user_send_raw(peer, bytes_at(&script), script.len);
    bytes_clear(&script);
    return peer;
}

size_t move_payload(const struct vm_link *source, uint8_t out[VM_SEQUENCE_MAX + VM_SECRET_MAX])
{
    const struct vm_migration *migration = source->vm.migration;
    memcpy(out, migration->sequence, migration->sequence_len);
    memcpy(out + migration->sequence_len, migration->secret, migration->secret_len);
    return (size_t)migration->sequence_len + migration->secret_len;
}

/* Whether the last that came is the answer to an unknown cookie. */
static bool ends_refused(const struct user *peer)
{
    size_t len = sizeof unknown_peer;
    return peer->in.len >= len && memcmp(bytes_at(&peer->in) + peer->in.len - len, unknown_peer, len) == 0;
}

void move_expect_refusal(struct user *peer, struct bytes *all)
{
    WAIT_FOR((user_pump(peer), ends_refused(peer)), SOON, "an unknown cookie is not refused");
    user_wait_closed(peer, SOON);
    if (!ends_refused(peer))
        env_fail("a refused peer was told something more");
    if (all)
        bytes_put(all, bytes_at(&peer->in), peer->in.len);
    user_close(peer);
}

static uint8_t stream_byte(const struct stream *s, uint64_t i)
{
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15 + s->seed;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9;
    x ^= x >> 32;
    return x & 3 ? (uint8_t)(x >> 8) : IAC;
}

void stream_next(struct stream *s, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = stream_byte(s, s->sent++);
}

void stream_check(struct stream *s, const uint8_t *data, size_t len, const char *who)
{
    for (size_t i = 0; i < len; i++, s->received++) {
        if (s->received >= s->sent)
            env_fail("%s received %zu bytes more than the %llu that were sent: %s", who, len - i,
                     (unsigned long long)s->sent, quote(data + i, len - i).s);
        if (data[i] != stream_byte(s, s->received))
            env_fail("%s received something else at byte %llu of %llu: %s", who,
                     (unsigned long long)s->received, (unsigned long long)s->sent,
                     quote(data + i, len - i).s);
    }
}

void stream_take_vm(struct stream *s, struct vm_link *vm)
{
    vm_link_pump(vm);
    if (vm->received.len)
        stream_check(s, bytes_at(&vm->received), vm->received.len, "a VM");
    bytes_clear(&vm->received);
}

void stream_take_user(struct stream *s, struct user *user)
{
    user_pump(user);
    if (user->in.len)
        stream_check(s, bytes_at(&user->in), user->in.len,
                     user->kind == USER_RAW ? "a raw user" : "a telnet user");
    bytes_clear(&user->in);
}
