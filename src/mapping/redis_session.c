#include "mapping/redis_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/leftovers.h"
#include "mapping/redis_conn.h"
#include "mapping/redis_error.h"
#include "mapping/redis_login.h"
#include "mapping/redis_script.h"
#include "vspc/log.h"
#include "vspc/mem.h"
#include "vspc/text.h"

enum {
    CALLS_IN_FLIGHT = 4,
    GATHER_MS = 5, /* between calls that are not full */
    CURSOR_MAX = 24,
    SHA_LEN = 40,
};
static const char SCAN_COUNT[] = "512";

/* CONNECTING -> GREETING (log-in, the script) -> FIRST_SCAN (of what this node left in Redis) -> WRITING.
 * WRITING -> GREETING when Redis has lost the script. Each may go to ENDED. */
enum phase { PHASE_CONNECTING, PHASE_GREETING, PHASE_FIRST_SCAN, PHASE_WRITING, PHASE_ENDED };

/* A reconciliation is the scans, then the removals, then one look at every field by the script. */
enum scan { SCAN_NONE, SCAN_RECORD, SCAN_UUIDS };

struct redis_session {
    struct loop *loop;
    const struct redis_settings *settings;
    struct mapping_state *state;
    const struct redis_pace *pace;
    const struct redis_session_events *events;
    void *owner;
    struct redis_conn *conn;
    enum phase phase;
    struct loop_timer flush, look;
    char sha[SHA_LEN + 1];

    struct redis_call call; /* being built */
    unsigned calls_in_flight;
    uint64_t last_call_ms;
    uint64_t acknowledged;                    /* the last call that Redis has executed */
    bool expects_record[2 * CALLS_IN_FLIGHT]; /* by call number: was our record there before? */
    bool script_lost;                         /* replies are only counted until all are in */

    enum scan scan;
    char cursor[CURSOR_MAX];
    struct leftovers *leftovers;
    bool reconciling;
    bool reconcile_again;
    bool settled;    /* the second reconciliation, some seconds after the connection, was begun */
    bool ready;      /* the first is done */
    size_t to_cover; /* fields that were waiting when its scans were done and still do */
    uint64_t goal;   /* the last call that belongs to this reconciliation; 0: none yet */
    uint64_t last_check_ms;
    unsigned wrong, wrong_seen; /* maps whose keys are no hashes: known, and seen in this reconciliation */
    unsigned foreign, foreign_seen; /* fields that another node has, likewise */
    bool withdrawing;
};

static void pump(struct redis_session *s);
static void reconcile(struct redis_session *s);

static void end(struct redis_session *s, enum redis_session_end why, const char *error, const char *cure)
{
    if (s->phase == PHASE_ENDED)
        return;
    s->phase = PHASE_ENDED;
    loop_timer_disarm(s->loop, &s->flush);
    loop_timer_disarm(s->loop, &s->look);
    s->events->ended(s->owner, why, error, cure);
}

/* Ends the session for an error reply. */
static void refused(struct redis_session *s, const redisReply *reply)
{
    end(s, REDIS_REFUSED, reply->str, redis_error_cure(reply->str, reply->len));
}

static void bad_reply(struct redis_session *s)
{
    end(s, REDIS_LOST, "Redis sent a reply of a kind that does not belong to the command", NULL);
}

/* Notes maps whose keys are not hashes; each is logged when it is found. */
static void note_wrong_types(struct redis_session *s, unsigned maps)
{
    for (unsigned i = 0; i < MAP_COUNT; i++)
        if (maps & ~s->wrong & (1u << i))
            log_error("A Redis key is not a hash, so that map cannot be served; delete it key=%s "
                      "cure=\"redis-cli -n %u DEL %s\"",
                      quote(s->settings->maps[i], strlen(s->settings->maps[i])).s,
                      s->settings->config->redis.database,
                      printable(s->settings->maps[i], strlen(s->settings->maps[i])).s);
    s->wrong |= maps;
    s->wrong_seen |= maps;
}

static void forget_healed_types(struct redis_session *s)
{
    unsigned healed = s->wrong & ~s->wrong_seen;
    for (unsigned i = 0; i < MAP_COUNT; i++)
        if (healed & (1u << i))
            log_info("A Redis key is served again key=%s",
                     quote(s->settings->maps[i], strlen(s->settings->maps[i])).s);
    s->wrong = s->wrong_seen;
}

static void on_greeting(void *owner, redisReply *reply, uint64_t tag)
{
    struct redis_session *s = owner;
    if (reply->type == REDIS_REPLY_ERROR && tag != REDIS_LOGIN_NAME) {
        refused(s, reply);
        return;
    }
    if (tag != REDIS_LOGIN_SCRIPT)
        return;
    if (reply->type != REDIS_REPLY_STRING || reply->len != SHA_LEN) {
        bad_reply(s);
        return;
    }
    memcpy(s->sha, reply->str, SHA_LEN);
    s->phase = PHASE_FIRST_SCAN;
    s->settled = false;
    redis_session_repace(s);
    reconcile(s);
}

/* When Redis has lost the script (SCRIPT FLUSH), waits for the replies that are still to come and then starts
 * over with loading it. Result: true when the reply at hand does not count. */
static bool starting_over(struct redis_session *s)
{
    if (!s->script_lost)
        return false;
    if (redis_conn_waiting(s->conn) > 0)
        return true;
    s->script_lost = false;
    s->calls_in_flight = 0;
    s->scan = SCAN_NONE;
    s->reconciling = false;
    leftovers_clear(s->leftovers);
    mapping_state_forget(s->state);
    s->phase = PHASE_GREETING;
    redis_login_send_script(s->conn, on_greeting);
    return true;
}

static void on_open(void *owner)
{
    struct redis_session *s = owner;
    char *error = redis_login_send(s->conn, s->settings, on_greeting);
    s->phase = PHASE_GREETING;
    if (error)
        end(s, REDIS_REFUSED, error, "write the password of Redis into a file that vspcd may read");
    free(error);
}

static void on_lost(void *owner, const char *error)
{
    end(owner, REDIS_LOST, error, NULL);
}

static void on_slow(void *owner, const char *error)
{
    struct redis_session *s = owner;
    s->events->slow(s->owner, error);
}

/* Is the reconciliation at its end? Then what comes after it, comes now. */
static void look_for_end(struct redis_session *s)
{
    if (s->phase != PHASE_WRITING || s->script_lost)
        return;
    if (s->reconciling && s->scan == SCAN_NONE && s->to_cover == 0 && leftovers_count(s->leftovers) == 0 &&
        mapping_state_unchecked(s->state) == 0 && s->acknowledged >= s->goal) {
        s->reconciling = false;
        if (s->goal)
            forget_healed_types(s);
        if (s->foreign != s->foreign_seen)
            log_info("VM names that another node has published since are left to it names=%u",
                     s->foreign_seen);
        s->foreign = s->foreign_seen;
        if (!s->ready && !s->withdrawing) {
            s->ready = true;
            s->events->ready(s->owner);
        }
        if (s->reconcile_again)
            reconcile(s);
    }
    if (s->withdrawing && !s->reconciling && s->calls_in_flight == 0 &&
        mapping_state_changed(s->state) == 0) {
        s->withdrawing = false;
        s->events->withdrawn(s->owner);
    }
}

static void on_call(void *owner, redisReply *reply, uint64_t number)
{
    struct redis_session *s = owner;
    struct redis_result result;
    s->calls_in_flight--;
    if (reply->type == REDIS_REPLY_ERROR && redis_error_is_noscript(reply->str, reply->len))
        s->script_lost = true;
    if (starting_over(s))
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        refused(s, reply);
        return;
    }
    if (!redis_result_parse(reply, &result)) {
        bad_reply(s);
        return;
    }
    s->acknowledged = number;
    mapping_state_acknowledge(s->state, number);
    note_wrong_types(s, result.wrong_types);
    s->foreign_seen += result.foreign;
    if (s->expects_record[number % (2 * CALLS_IN_FLIGHT)] && !result.had_record && !s->wrong) {
        log_warning("This node's entries have gone from Redis and are written again record=%s",
                    quote(s->settings->record, strlen(s->settings->record)).s);
        reconcile(s);
    }
    pump(s);
}

static void add_step(void *arg, enum mapping_step step, const char *field, size_t field_len,
                     const struct mapping_entry *entry)
{
    struct redis_session *s = arg;
    redis_call_add(&s->call, s->settings, step, field, field_len, entry);
}

/* How many fields there are to tell Redis about. */
static size_t waiting(const struct redis_session *s)
{
    size_t count = mapping_state_changed(s->state) + mapping_state_unchecked(s->state);
    return s->scan == SCAN_NONE ? count + leftovers_count(s->leftovers) : count;
}

/* Sends one call with what is to be told next: removals of leftovers first. */
static void send_call(struct redis_session *s)
{
    size_t before = waiting(s);
    bool expects_record = !s->reconciling && mapping_state_sent(s->state) > s->foreign;
    uint64_t number = mapping_state_begin_call(s->state);
    while (s->scan == SCAN_NONE && s->call.steps < REDIS_CALL_STEPS) {
        const struct leftover *old = leftovers_take(s->leftovers);
        if (!old)
            break;
        /* A VM may have come for it while the scan went on. */
        if (!mapping_state_cares(s->state, old->field, old->field_len))
            redis_call_add_stale(&s->call, s->settings, old->field, old->field_len, old->endpoint,
                                 old->endpoint_len, old->uuid_key, old->uuid_key_len);
    }
    mapping_state_take(s->state, REDIS_CALL_STEPS - s->call.steps, add_step, s);
    size_t covered = before - waiting(s);
    if (s->call.steps == 0) {
        s->to_cover -= covered < s->to_cover ? covered : s->to_cover;
        return;
    }
    if (s->to_cover) {
        s->to_cover -= covered < s->to_cover ? covered : s->to_cover;
        s->goal = number;
    }
    s->expects_record[number % (2 * CALLS_IN_FLIGHT)] = expects_record;
    s->calls_in_flight++;
    s->last_call_ms = clock_ms();
    redis_call_send(&s->call, s->settings, s->sha, s->conn, on_call, number);
}

static void on_flush(struct loop_timer *timer)
{
    pump(container_of(timer, struct redis_session, flush));
}

/* Should fewer changes than fill a call wait for more to come? They do while a call is in flight, and for a
 * moment after the last one: so a storm of VMs costs few calls, and a single VM is in Redis at once. */
static bool gathers(struct redis_session *s)
{
    if (s->calls_in_flight)
        return true;
    uint64_t since = clock_ms() - s->last_call_ms;
    if (since >= GATHER_MS)
        return false;
    if (s->flush.slot == 0)
        loop_timer_arm(s->loop, &s->flush, GATHER_MS - since, on_flush);
    return true;
}

/* Tells Redis what there is to tell. */
static void pump(struct redis_session *s)
{
    if (s->phase != PHASE_WRITING || s->script_lost)
        return;
    while (s->calls_in_flight < CALLS_IN_FLIGHT) {
        size_t count = waiting(s);
        if (count == 0 || (count < REDIS_CALL_STEPS && gathers(s)))
            break;
        send_call(s);
    }
    redis_conn_push(s->conn);
    look_for_end(s);
}

void redis_session_wake(struct redis_session *s)
{
    if (s->phase == PHASE_WRITING && s->flush.slot == 0)
        loop_timer_arm(s->loop, &s->flush, 0, on_flush);
}

static void on_scan(void *owner, redisReply *reply, uint64_t tag);

static void send_scan(struct redis_session *s)
{
    enum redis_map map = s->scan == SCAN_RECORD ? MAP_RECORD : MAP_UUID;
    const char *words[] = {"HSCAN", s->settings->maps[map], s->cursor, "COUNT", SCAN_COUNT};
    redis_conn_words(s->conn, on_scan, map, 5, words);
    redis_conn_push(s->conn);
}

static void scan_begin(struct redis_session *s, enum scan scan)
{
    s->scan = scan;
    strcpy(s->cursor, "0");
    send_scan(s);
}

/* A map has been scanned as far as it goes: on to the next part. */
static void scan_end(struct redis_session *s)
{
    if (s->scan == SCAN_RECORD && leftovers_count(s->leftovers)) {
        scan_begin(s, SCAN_UUIDS);
        return;
    }
    s->scan = SCAN_NONE;
    s->phase = PHASE_WRITING;
    mapping_state_recheck(s->state);
    s->to_cover = waiting(s);
    pump(s);
}

/* Is it [cursor, [field, value, ...]]? */
static bool is_scan_reply(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len == 0 ||
        reply->element[0]->len >= CURSOR_MAX || reply->element[1]->type != REDIS_REPLY_ARRAY ||
        reply->element[1]->elements % 2)
        return false;
    for (size_t i = 0; i < reply->element[1]->elements; i++)
        if (reply->element[1]->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

static void on_scan(void *owner, redisReply *reply, uint64_t map)
{
    struct redis_session *s = owner;
    if (starting_over(s))
        return;
    if (reply->type == REDIS_REPLY_ERROR && redis_error_is_wrong_type(reply->str, reply->len)) {
        note_wrong_types(s, 1u << map);
        scan_end(s);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        refused(s, reply);
        return;
    }
    if (!is_scan_reply(reply)) {
        bad_reply(s);
        return;
    }
    const redisReply *pairs = reply->element[1];
    for (size_t i = 0; i < pairs->elements; i += 2) {
        const redisReply *key = pairs->element[i];
        const redisReply *value = pairs->element[i + 1];
        if (map == MAP_UUID)
            leftovers_add_uuid(s->leftovers, key->str, key->len, value->str, value->len);
        else if (!mapping_state_cares(s->state, key->str, key->len))
            leftovers_add(s->leftovers, key->str, key->len, value->str, value->len);
    }
    memcpy(s->cursor, reply->element[0]->str, reply->element[0]->len + 1);
    if (leftovers_full(s->leftovers) && map == MAP_RECORD) {
        s->reconcile_again = true;
        scan_end(s);
    } else if (strcmp(s->cursor, "0") == 0) {
        scan_end(s);
    } else {
        send_scan(s);
    }
}

/* Begins to make Redis agree with the state; when that goes on already, once more behind it. */
static void reconcile(struct redis_session *s)
{
    if (s->reconciling || s->phase < PHASE_FIRST_SCAN || s->script_lost) {
        s->reconcile_again = true;
        return;
    }
    s->reconciling = true;
    s->reconcile_again = false;
    s->goal = 0;
    s->to_cover = 0;
    s->wrong_seen = 0;
    s->foreign_seen = 0;
    s->last_check_ms = clock_ms();
    scan_begin(s, SCAN_RECORD);
}

static void on_look_reply(void *owner, redisReply *reply, uint64_t expected)
{
    struct redis_session *s = owner;
    if (starting_over(s))
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        refused(s, reply);
    } else if (reply->type != REDIS_REPLY_INTEGER) {
        bad_reply(s);
    } else if (reply->integer < (long long)expected) {
        log_warning("Entries of this node have gone from Redis and are written again maps_left=%lld",
                    reply->integer);
        reconcile(s);
    }
}

/* Looks after Redis from time to time, which also finds out that it has gone. */
static void on_look(struct loop_timer *timer)
{
    struct redis_session *s = container_of(timer, struct redis_session, look);
    redis_session_repace(s);
    if (s->phase != PHASE_WRITING || s->reconciling || s->script_lost)
        return;
    if (!s->settled || s->wrong || clock_ms() - s->last_check_ms >= s->pace->check_ms) {
        s->settled = true;
        reconcile(s);
        return;
    }
    if (redis_conn_waiting(s->conn) > 0)
        return;
    bool have_fields = mapping_state_sent(s->state) > s->foreign;
    const char *words[] = {"EXISTS", s->settings->maps[MAP_PORT], s->settings->maps[MAP_ENDPOINT],
                           s->settings->record};
    redis_conn_words(s->conn, on_look_reply, have_fields ? 3 : 0, 4, words);
    redis_conn_push(s->conn);
}

void redis_session_repace(struct redis_session *s)
{
    if (s->phase > PHASE_GREETING && s->phase < PHASE_ENDED)
        loop_timer_arm(s->loop, &s->look, s->pace->look_ms, on_look);
}

void redis_session_withdraw(struct redis_session *s)
{
    s->withdrawing = true;
    if (s->phase == PHASE_FIRST_SCAN || s->phase == PHASE_WRITING)
        reconcile(s);
}

struct redis_session *redis_session_open(struct loop *loop, const struct redis_settings *settings,
                                         struct mapping_state *state, const struct redis_pace *pace,
                                         const struct redis_session_events *events, void *owner)
{
    static const struct redis_conn_events conn_events = {.open = on_open, .lost = on_lost, .slow = on_slow};
    struct redis_session *s = xcalloc(1, sizeof *s);
    s->loop = loop;
    s->settings = settings;
    s->state = state;
    s->pace = pace;
    s->events = events;
    s->owner = owner;
    s->leftovers = leftovers_new();
    s->conn = redis_conn_open(loop, settings, &conn_events, s);
    return s;
}

void redis_session_close(struct redis_session *s)
{
    if (!s)
        return;
    s->phase = PHASE_ENDED;
    loop_timer_disarm(s->loop, &s->flush);
    loop_timer_disarm(s->loop, &s->look);
    redis_conn_close(s->conn);
    s->conn = NULL;
    leftovers_free(s->leftovers);
    s->leftovers = NULL;
    redis_call_clear(&s->call);
    loop_free_later(s->loop, s);
}
