#include "mapping/redis_script.h"

#include <string.h>

/* KEYS: the maps in the order of enum redis_map, then one key a step when active keys are written.
 * ARGV: this node's endpoint up to the port, then four for each step:
 *   d  field  endpoint  uuid-key    remove, where the field is still that endpoint's
 *   w  field  port      uuid-key    write, whoever has the field
 *   f  field  port      uuid-key    fill, where the field is absent or our own
 * An empty uuid-key is none. Result: was our record there (0, 1), the number of fields that others have, then
 * the number of each map whose key is not a hash: such a key is left out, and the other maps are served.
 *
 * Writes are gathered into one HSET a map, as long as no other step comes between: a storm of new VMs is
 * nothing but writes. What is unpacked is bounded by REDIS_CALL_STEPS.
 *
 * Where the endpoint of a field is missing, though it should be there, someone deleted VM:Endpoint; then the
 * port tells whether anybody else has come since. */
const char redis_script_text[] =
    "local usable, wrong, had_record = {}, {}, 0\n"
    "for n = 1, 4 do\n"
    "  local kind = redis.call('TYPE', KEYS[n])\n"
    "  kind = kind.ok or kind\n"
    "  usable[n] = kind == 'hash' or kind == 'none'\n"
    "  if not usable[n] then wrong[#wrong + 1] = n end\n"
    "  if n == 4 and kind == 'hash' then had_record = 1 end\n"
    "end\n"
    "local function get(n, field)\n"
    "  return usable[n] and redis.call('HGET', KEYS[n], field)\n"
    "end\n"
    "local function put(n, field, value)\n"
    "  if usable[n] then redis.call('HSET', KEYS[n], field, value) end\n"
    "end\n"
    "local function del(n, field)\n"
    "  if usable[n] then redis.call('HDEL', KEYS[n], field) end\n"
    "end\n"
    "\n"
    "local function remove(field, endpoint, uuid, active)\n"
    "  if not usable[2] then return end\n"
    "  local current, mine = get(2, field)\n"
    "  if current then\n"
    "    mine = current == endpoint\n"
    "  else\n"
    "    local shown = get(1, field)\n"
    "    mine = not shown or shown == string.match(endpoint, ':(%d+)$')\n"
    "  end\n"
    "  if mine then\n"
    "    del(1, field)\n"
    "    del(2, field)\n"
    "    if uuid ~= '' and get(3, uuid) == field then del(3, uuid) end\n"
    "    if active then redis.call('DEL', active) end\n"
    "  end\n"
    "  del(4, field)\n"
    "end\n"
    "\n"
    "local gathered = {{}, {}, {}, {}}\n"
    "local function gather(n, field, value)\n"
    "  local list = gathered[n]\n"
    "  list[#list + 1] = field\n"
    "  list[#list + 1] = value\n"
    "end\n"
    "local function write_gathered()\n"
    "  for n = 1, 4 do\n"
    "    if usable[n] and #gathered[n] > 0 then redis.call('HSET', KEYS[n], unpack(gathered[n])) end\n"
    "    gathered[n] = {}\n"
    "  end\n"
    "end\n"
    "local function write(field, endpoint, port, uuid, active)\n"
    "  gather(1, field, port)\n"
    "  gather(2, field, endpoint)\n"
    "  gather(4, field, endpoint)\n"
    "  if uuid ~= '' then gather(3, uuid, field) end\n"
    "  if active then redis.call('SET', active, port) end\n"
    "end\n"
    "\n"
    "local foreign = 0\n"
    "local function fill(field, endpoint, port, uuid, active)\n"
    "  local shown, current, recorded = get(1, field), get(2, field), get(4, field)\n"
    "  local own\n"
    "  if current then\n"
    "    own = current == endpoint or current == recorded\n"
    "  else\n"
    "    own = not shown or shown == port or recorded\n"
    "  end\n"
    "  if not own then\n"
    "    foreign = foreign + 1\n"
    "    return\n"
    "  end\n"
    "  if shown ~= port then put(1, field, port) end\n"
    "  if current ~= endpoint then put(2, field, endpoint) end\n"
    "  if recorded ~= endpoint then put(4, field, endpoint) end\n"
    "  local known = uuid ~= '' and get(3, uuid)\n"
    "  if uuid ~= '' and known ~= field then\n"
    "    local there = known and get(2, known)\n"
    "    if not there or there == get(4, known) then put(3, uuid, field) end\n"
    "  end\n"
    "  if active and redis.pcall('GET', active) ~= port then redis.call('SET', active, port) end\n"
    "end\n"
    "\n"
    "local key = 5\n"
    "for i = 2, #ARGV, 4 do\n"
    "  local kind, field, value, uuid = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]\n"
    "  local active = KEYS[key]\n"
    "  if kind ~= 'w' then write_gathered() end\n"
    "  if kind == 'd' then\n"
    "    remove(field, value, uuid, active)\n"
    "  elseif kind == 'w' then\n"
    "    write(field, ARGV[1] .. value, value, uuid, active)\n"
    "  else\n"
    "    fill(field, ARGV[1] .. value, value, uuid, active)\n"
    "  end\n"
    "  key = key + 1\n"
    "end\n"
    "write_gathered()\n"
    "return {had_record, foreign, unpack(wrong)}\n";

/* Appends `<sign><number>\r\n`. */
static void put_head(struct bytes *out, char sign, size_t number)
{
    char text[24];
    char *at = text + sizeof text;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    *--at = sign;
    bytes_put(out, at, (size_t)(text + sizeof text - at));
}

/* Appends one argument, made of two pieces; counted by length, so that any bytes are safe. */
static void put_joined(struct bytes *out, const char *a, size_t a_len, const char *b, size_t b_len)
{
    put_head(out, '$', a_len + b_len);
    bytes_put(out, a, a_len);
    bytes_put(out, b, b_len);
    bytes_put(out, "\r\n", 2);
}

static void put_arg(struct bytes *out, const char *data, size_t len)
{
    put_joined(out, data, len, NULL, 0);
}

/* The beginning that every step has: its active key, its kind and its field. */
static void begin_step(struct redis_call *call, const struct redis_settings *settings, char kind,
                       const char *field, size_t field_len)
{
    const char *prefix = settings->config->redis.active_key_prefix;
    if (call->steps++ == 0) {
        put_arg(&call->args, settings->endpoint_prefix, strlen(settings->endpoint_prefix));
        call->arg_count = 1;
    }
    if (prefix[0]) {
        put_joined(&call->keys, prefix, strlen(prefix), field, field_len);
        call->key_count++;
    }
    put_arg(&call->args, &kind, 1);
    put_arg(&call->args, field, field_len);
    call->arg_count += 4;
}

void redis_call_add(struct redis_call *call, const struct redis_settings *settings, enum mapping_step step,
                    const char *field, size_t field_len, const struct mapping_entry *entry)
{
    static const char kinds[] = {[MAPPING_REMOVE] = 'd', [MAPPING_WRITE] = 'w', [MAPPING_FILL] = 'f'};
    char port[8];
    char *at = port + sizeof port;
    unsigned rest = entry->port;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    size_t port_len = (size_t)(port + sizeof port - at);

    begin_step(call, settings, kinds[step], field, field_len);
    if (step == MAPPING_REMOVE)
        put_joined(&call->args, settings->endpoint_prefix, strlen(settings->endpoint_prefix), at, port_len);
    else
        put_arg(&call->args, at, port_len);
    char uuid[MAPPING_UUID_KEY];
    put_arg(&call->args, uuid, mapping_uuid_key(entry, uuid));
}

void redis_call_add_stale(struct redis_call *call, const struct redis_settings *settings, const char *field,
                          size_t field_len, const char *endpoint, size_t endpoint_len, const char *uuid_key,
                          size_t uuid_key_len)
{
    begin_step(call, settings, 'd', field, field_len);
    put_arg(&call->args, endpoint, endpoint_len);
    put_arg(&call->args, uuid_key, uuid_key_len);
}

void redis_call_send(struct redis_call *call, const struct redis_settings *settings, const char *sha,
                     struct redis_conn *conn, redis_reply_fn *fn, uint64_t tag)
{
    struct bytes head = {0};
    char count[16];
    size_t keys = MAP_COUNT + call->key_count;
    put_head(&head, '*', 3 + keys + call->arg_count);
    put_arg(&head, "EVALSHA", 7);
    put_arg(&head, sha, strlen(sha));
    char *at = count + sizeof count;
    for (size_t rest = keys; rest; rest /= 10)
        *--at = (char)('0' + rest % 10);
    put_arg(&head, at, (size_t)(count + sizeof count - at));
    for (int i = 0; i < MAP_COUNT; i++)
        put_arg(&head, settings->maps[i], strlen(settings->maps[i]));
    redis_conn_raw(conn, bytes_at(&head), head.len);
    if (call->keys.len)
        redis_conn_raw(conn, bytes_at(&call->keys), call->keys.len);
    redis_conn_raw(conn, bytes_at(&call->args), call->args.len);
    redis_conn_expect(conn, fn, tag);
    bytes_clear(&head);
    /* The buffers stay for the next call. */
    call->keys.head = call->keys.len = call->args.head = call->args.len = 0;
    call->key_count = call->arg_count = call->steps = 0;
}

void redis_call_clear(struct redis_call *call)
{
    bytes_clear(&call->keys);
    bytes_clear(&call->args);
    *call = (struct redis_call){0};
}

bool redis_result_parse(const redisReply *reply, struct redis_result *out)
{
    *out = (struct redis_result){0};
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 || reply->elements > 2 + MAP_COUNT)
        return false;
    for (size_t i = 0; i < reply->elements; i++)
        if (reply->element[i]->type != REDIS_REPLY_INTEGER || reply->element[i]->integer < 0)
            return false;
    out->had_record = reply->element[0]->integer != 0;
    out->foreign = (unsigned)reply->element[1]->integer;
    for (size_t i = 2; i < reply->elements; i++) {
        long long number = reply->element[i]->integer;
        if (number < 1 || number > MAP_COUNT)
            return false;
        out->wrong_types |= 1u << (number - 1);
    }
    return true;
}
