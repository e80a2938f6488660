#include "vspc/vmext.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vspc/telnet.h"

/* What this proxy implements, and so what KNOWN-SUBOPTIONS-2 lists. */
static const uint8_t known[] = {
    VMEXT_KNOWN_SUBOPTIONS_1,
    VMEXT_KNOWN_SUBOPTIONS_2,
    VMEXT_UNKNOWN_SUBOPTION_RCVD_1,
    VMEXT_UNKNOWN_SUBOPTION_RCVD_2,
    VMEXT_VMOTION_BEGIN,
    VMEXT_VMOTION_GOAHEAD,
    VMEXT_VMOTION_NOTNOW,
    VMEXT_VMOTION_PEER,
    VMEXT_VMOTION_PEER_OK,
    VMEXT_VMOTION_COMPLETE,
    VMEXT_VMOTION_ABORT,
    VMEXT_DO_PROXY,
    VMEXT_WILL_PROXY,
    VMEXT_WONT_PROXY,
    VMEXT_VC_UUID,
    VMEXT_GET_VC_UUID,
    VMEXT_NAME,
    VMEXT_GET_NAME,
};

/* Appends IAC SB 232 code payload IAC SE. */
static void put_message(struct bytes *out, uint8_t code, const uint8_t *payload, size_t len)
{
    const uint8_t head[] = {TN_IAC, TN_SB, TN_OPT_VMWARE};
    const uint8_t tail[] = {TN_IAC, TN_SE};
    bytes_put(out, head, sizeof head);
    telnet_escape(out, &code, 1);
    telnet_escape(out, payload, len);
    bytes_put(out, tail, sizeof tail);
}

void vmext_put_unknown(struct bytes *out, uint8_t code)
{
    put_message(out, VMEXT_UNKNOWN_SUBOPTION_RCVD_2, &code, 1);
}

void vmext_put_vmotion(struct bytes *out, enum vmext_code code, const struct vmext_cookie *cookie)
{
    uint8_t payload[VMEXT_SEQUENCE_MAX + VMEXT_SECRET_SIZE];
    size_t len = cookie->sequence_len;
    memcpy(payload, cookie->sequence, len);
    if (code == VMEXT_VMOTION_GOAHEAD) {
        memcpy(payload + len, cookie->secret, VMEXT_SECRET_SIZE);
        len += VMEXT_SECRET_SIZE;
    }
    put_message(out, (uint8_t)code, payload, len);
}

void vmext_agreed(struct vmext *v, struct bytes *out)
{
    if (v->asked)
        return;
    v->asked = true;
    put_message(out, VMEXT_KNOWN_SUBOPTIONS_2, known, sizeof known);
    put_message(out, VMEXT_GET_VC_UUID, NULL, 0);
    put_message(out, VMEXT_GET_NAME, NULL, 0);
}

static enum vmext_event take_known(struct vmext *v, const uint8_t *codes, size_t len)
{
    v->known_came = true;
    v->lists_uuid = len && memchr(codes, VMEXT_VC_UUID, len) != NULL;
    return VMEXT_NEWS;
}

/* The 32 hexadecimal digits of a UUID's text are what counts. Result: whether there were just 32. */
static bool parse_uuid(const uint8_t *text, size_t len, uint8_t uuid[UUID_SIZE])
{
    size_t digits = 0;
    memset(uuid, 0, UUID_SIZE);
    for (size_t i = 0; i < len; i++) {
        int value = hex_digit(text[i]);
        if (value < 0)
            continue;
        if (digits == 2 * UUID_SIZE)
            return false;
        uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | value);
        digits++;
    }
    return digits == 2 * UUID_SIZE;
}

static enum vmext_event take_uuid(struct vmext *v, const uint8_t *text, size_t len, const char **why)
{
    uint8_t uuid[UUID_SIZE];
    if (!parse_uuid(text, len, uuid)) {
        if (v->has_uuid || v->identified)
            return VMEXT_NOTHING;
        v->uuid_closed = true;
        return VMEXT_NEWS;
    }
    if (v->has_uuid && memcmp(v->uuid, uuid, UUID_SIZE) == 0)
        return VMEXT_NOTHING;
    if (v->has_uuid && !v->peer) {
        *why = "a second, different UUID";
        return VMEXT_ERROR;
    }
    if (v->has_uuid || v->identified) {
        bool told = v->late_uuid;
        v->late_uuid = true;
        return told ? VMEXT_NOTHING : VMEXT_LATE_UUID;
    }
    memcpy(v->uuid, uuid, UUID_SIZE);
    v->has_uuid = true;
    return VMEXT_NEWS;
}

static enum vmext_event take_name(struct vmext *v, const uint8_t *name, size_t len, const char **why)
{
    if (len > VMEXT_NAME_MAX) {
        *why = "a name of more than 255 bytes";
        return VMEXT_ERROR;
    }
    if (len == 0 && v->identified && !v->has_uuid) {
        *why = "an empty name without a UUID";
        return VMEXT_ERROR;
    }
    if (v->name && v->name_len == len && memcmp(v->name, name, len) == 0)
        return VMEXT_NOTHING;
    free(v->name);
    v->name = xmemdup0(name, len);
    v->name_len = (uint8_t)len;
    return v->identified ? VMEXT_RENAMED : VMEXT_NEWS;
}

static bool label_is_good(const char *label, size_t len)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    if (len == 0 || len > LABEL_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (label[i] == 0 || !strchr(allowed, label[i]))
            return false;
    return true;
}

/* Finds `port=` in a query. Result: whether the query is good; label is "" when it has none. */
static bool parse_label(const char *query, size_t len, char label[LABEL_MAX + 1])
{
    label[0] = 0;
    while (len) {
        const char *amp = memchr(query, '&', len);
        size_t part = amp ? (size_t)(amp - query) : len;
        if (part >= 5 && memcmp(query, "port=", 5) == 0) {
            if (label[0] || !label_is_good(query + 5, part - 5))
                return false;
            memcpy(label, query + 5, part - 5);
            label[part - 5] = 0;
        }
        size_t step = amp ? part + 1 : part;
        query += step;
        len -= step;
    }
    return true;
}

/* Result: NULL when the request is good, with its label; else what to change in the VM. */
static const char *check_proxy(const char *service_uri, const uint8_t *payload, size_t len,
                               char label[LABEL_MAX + 1])
{
    label[0] = 0;
    if (len == 0 || payload[0] != 'S')
        return "set the serial port's direction to Server";
    const char *uri = (const char *)payload + 1;
    size_t uri_len = len - 1;
    const char *mark = uri_len ? memchr(uri, '?', uri_len) : NULL;
    size_t base_len = mark ? (size_t)(mark - uri) : uri_len;
    if (service_uri[0] && (base_len != strlen(service_uri) || memcmp(uri, service_uri, base_len) != 0))
        return "set the serial port's Port URI to the service_uri of this vspcd";
    if (mark && !parse_label(mark + 1, uri_len - base_len - 1, label))
        return "set ?port= in the Port URI to 1 to 32 letters, digits, _ or -";
    return NULL;
}

static enum vmext_event take_do_proxy(struct vmext *v, const char *service_uri, const uint8_t *payload,
                                      size_t len, struct bytes *out, const char **why)
{
    char label[LABEL_MAX + 1];
    v->do_proxy_came = true;
    const char *problem = check_proxy(service_uri, payload, len, label);
    if (v->identified && (problem || strcmp(label, v->label) != 0)) {
        *why = "another DO-PROXY than the one it was identified by";
        return VMEXT_ERROR;
    }
    if (problem) {
        *why = problem;
        v->refused = true;
        put_message(out, VMEXT_WONT_PROXY, NULL, 0);
        return VMEXT_REFUSED;
    }
    memcpy(v->label, label, sizeof label);
    put_message(out, VMEXT_WILL_PROXY, NULL, 0);
    if (v->proxied)
        return VMEXT_NOTHING;
    v->proxied = true;
    return VMEXT_NEWS;
}

/* What a host says about a migration. A PEER too short or too long for any cookie is like one of an unknown
 * cookie. */
static enum vmext_event take_vmotion(struct vmext *v, uint8_t code, const uint8_t *payload, size_t len,
                                     const char **why)
{
    struct vmext_cookie cookie = {0};
    size_t secret = code == VMEXT_VMOTION_PEER ? VMEXT_SECRET_SIZE : 0;
    bool good = len > secret && len - secret <= VMEXT_SEQUENCE_MAX;
    if (good) {
        cookie.sequence_len = (uint8_t)(len - secret);
        memcpy(cookie.sequence, payload, len - secret);
        memcpy(cookie.secret, payload + len - secret, secret);
    } else if (code == VMEXT_VMOTION_BEGIN) {
        *why = "a VMOTION-BEGIN whose sequence is not 1 to 64 bytes long";
        return VMEXT_ERROR;
    }
    if (!v->request)
        v->request = xmalloc(sizeof *v->request);
    *v->request = (struct vmext_request){code, cookie};
    return VMEXT_REQUEST;
}

enum vmext_event vmext_receive(struct vmext *v, const char *service_uri, const uint8_t *message, size_t len,
                               struct bytes *out, const char **why)
{
    if (len == 0)
        return VMEXT_NOTHING;
    uint8_t code = message[0];
    const uint8_t *payload = message + 1;
    len--;
    switch (code) {
    case VMEXT_KNOWN_SUBOPTIONS_1:
        return take_known(v, payload, len);
    case VMEXT_UNKNOWN_SUBOPTION_RCVD_1:
        if (!len || !memchr(payload, VMEXT_GET_VC_UUID, len) || v->has_uuid || v->identified)
            return VMEXT_NOTHING;
        v->uuid_closed = true;
        return VMEXT_NEWS;
    case VMEXT_DO_PROXY:
        return take_do_proxy(v, service_uri, payload, len, out, why);
    case VMEXT_VMOTION_BEGIN:
    case VMEXT_VMOTION_PEER:
    case VMEXT_VMOTION_COMPLETE:
    case VMEXT_VMOTION_ABORT:
        return take_vmotion(v, code, payload, len, why);
    case VMEXT_VC_UUID:
        return take_uuid(v, payload, len, why);
    case VMEXT_NAME:
        return take_name(v, payload, len, why);
    default:
        /* The proxy's own messages, sent back to it, ask for no answer. */
        if (!memchr(known, code, sizeof known))
            vmext_put_unknown(out, code);
        return VMEXT_NOTHING;
    }
}

/* Case (c): neither KNOWN-SUBOPTIONS-1 nor DO-PROXY ever came, and nothing is demanded of the URI. */
static bool is_simple_client(const struct vmext *v, const char *service_uri)
{
    return !v->known_came && !v->do_proxy_came && service_uri[0] == 0;
}

enum vmext_verdict vmext_judge(const struct vmext *v, const char *service_uri, enum vmext_time time)
{
    bool settled = time == VMEXT_SETTLED || time == VMEXT_DEADLINE;
    bool deadline = time == VMEXT_DEADLINE || time == VMEXT_EARLY_DEADLINE;
    enum vmext_verdict not_yet = deadline ? VMEXT_NEVER : VMEXT_WAIT;
    if (v->refused)
        return VMEXT_NEVER;
    if (!v->name)
        return not_yet;
    if (!v->proxied && !(settled && is_simple_client(v, service_uri)))
        return not_yet;
    if (v->has_uuid)
        return VMEXT_IDENTIFIED;
    /* A VM that listed the code will answer, and has until the deadline; another has until it is settled. */
    bool promised = !v->uuid_closed && v->lists_uuid;
    if (!v->uuid_closed && !(promised ? deadline : settled))
        return not_yet;
    if (v->name_len == 0)
        return VMEXT_NAMELESS;
    return promised ? VMEXT_NO_ANSWER : VMEXT_IDENTIFIED;
}

char *vmext_identity(const struct vmext *v, size_t *len)
{
    char *identity = xmalloc(5 + VMEXT_NAME_MAX + 1 + LABEL_MAX + 1);
    size_t n = 5;
    if (v->has_uuid) {
        static const char digits[] = "0123456789abcdef";
        memcpy(identity, "uuid:", 5);
        for (size_t i = 0; i < UUID_SIZE; i++) {
            identity[n++] = digits[v->uuid[i] >> 4];
            identity[n++] = digits[v->uuid[i] & 15];
        }
    } else {
        memcpy(identity, "name:", 5);
        memcpy(identity + n, v->name, v->name_len);
        n += v->name_len;
    }
    if (v->label[0])
        n += (size_t)sprintf(identity + n, ".%s", v->label);
    identity[n] = 0;
    *len = n;
    return identity;
}

void vmext_succeed(struct vmext *v, const struct vmext *source)
{
    v->identified = true;
    /* Also when it has none: what the destination told of itself is not the console's. */
    v->has_uuid = source->has_uuid;
    memcpy(v->uuid, source->uuid, UUID_SIZE);
    memcpy(v->label, source->label, sizeof v->label);
    if (!v->name || (v->name_len == 0 && !source->has_uuid)) {
        free(v->name);
        v->name = xmemdup0(source->name, source->name_len);
        v->name_len = source->name_len;
    }
}

struct vmext vmext_copy_identity(const struct vmext *v)
{
    struct vmext copy = {.has_uuid = v->has_uuid, .name_len = v->name_len};
    memcpy(copy.uuid, v->uuid, UUID_SIZE);
    memcpy(copy.label, v->label, sizeof copy.label);
    copy.name = xmemdup0(v->name, v->name_len);
    return copy;
}

bool vmext_cookie_equal(const struct vmext_cookie *a, const struct vmext_cookie *b)
{
    /* volatile, so that no compiler makes an early way out of it */
    volatile uint8_t differ = a->sequence_len ^ b->sequence_len;
    for (size_t i = 0; i < VMEXT_SEQUENCE_MAX; i++)
        differ |= a->sequence[i] ^ b->sequence[i];
    for (size_t i = 0; i < VMEXT_SECRET_SIZE; i++)
        differ |= a->secret[i] ^ b->secret[i];
    return !differ && a->sequence_len;
}

void vmext_clear(struct vmext *v)
{
    free(v->name);
    free(v->request);
    *v = (struct vmext){0};
}
