#include "top_picture.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consoles.h"
#include "display.h"
#include "table.h"
#include "vspc/loop.h"

enum { HEAD_LINES = 8, WORKERS_SHOWN = 8 };

static const struct table_column columns[] = {
    {"NAME", false, 10, 0},    {"STATE", false, 5, 5},  {"PORT", true, 0, 0},    {"USERS", true, 0, 1},
    {"FROM-VM/s", true, 0, 0}, {"TO-VM/s", true, 0, 2}, {"FROM-VM", true, 0, 3}, {"TO-VM", true, 0, 4},
};

/* What has changed a second in a counter, given as it was before. One that went back began anew. */
static double rate(const json_t *now, const json_t *before, const char *key, double seconds)
{
    json_int_t new = field_number(now, key), old = field_number(before, key);
    return before && new >= old &&seconds > 0 ? (double)(new - old) / seconds : 0;
}

void top_look(struct top_sample *sample, struct ctl_conn *conn)
{
    size_t i;
    json_t *console, *seen = json_object();
    json_t *answer = ctl_ask(conn, ctl_request("stats", NULL));
    json_t *stats = json_incref(json_object_get(answer, "stats"));
    json_t *version = ctl_ask(conn, ctl_request("version", NULL));
    json_t *all = consoles_list(conn);
    uint64_t now = clock_ms();
    double seconds = sample->at_ms ? (double)(now - sample->at_ms) / 1000 : 0;
    struct top_row *rows = xcalloc(json_array_size(all), sizeof *rows);
    sample->from_vms = sample->to_vms = 0;
    json_array_foreach(all, i, console)
    {
        char *handle = console_handle(console);
        const json_t *before = json_object_get(sample->consoles, handle);
        rows[i] = (struct top_row){console, rate(console, before, "bytes_from_vm", seconds),
                                   rate(console, before, "bytes_to_vm", seconds)};
        sample->from_vms += rows[i].from_vm;
        sample->to_vms += rows[i].to_vm;
        json_object_set(seen, handle, console);
        free(handle);
    }
    free(sample->rows);
    json_decref(sample->consoles);
    json_decref(sample->stats_before);
    json_decref(sample->version);
    sample->consoles = seen;
    sample->rows = rows;
    sample->len = i;
    sample->at_ms = now;
    sample->stats_before = sample->stats;
    sample->stats = stats;
    sample->seconds = seconds;
    sample->version = version;
    json_decref(all);
    json_decref(answer);
}

void top_free(struct top_sample *sample)
{
    free(sample->rows);
    json_decref(sample->consoles);
    json_decref(sample->stats);
    json_decref(sample->stats_before);
    json_decref(sample->version);
    *sample = (struct top_sample){0};
}

static int by_name(const struct top_row *a, const struct top_row *b)
{
    int order = strcmp(field_text(a->console, "name"), field_text(b->console, "name"));
    return order ? order : strcmp(field_text(a->console, "label"), field_text(b->console, "label"));
}

static int compare_rate(const void *left, const void *right)
{
    const struct top_row *a = left, *b = right;
    double a_rate = a->from_vm + a->to_vm, b_rate = b->from_vm + b->to_vm;
    return a_rate > b_rate ? -1 : a_rate < b_rate ? 1 : by_name(a, b);
}

static int compare_users(const void *left, const void *right)
{
    const struct top_row *a = left, *b = right;
    json_int_t a_users = field_number(a->console, "users"), b_users = field_number(b->console, "users");
    return a_users > b_users ? -1 : a_users < b_users ? 1 : by_name(a, b);
}

static int compare_name(const void *left, const void *right)
{
    return by_name(left, right);
}

static const struct {
    const char *name;
    int (*compare)(const void *left, const void *right);
} orders[TOP_ORDERS] = {
    [TOP_BY_RATE] = {"rate", compare_rate},
    [TOP_BY_USERS] = {"users", compare_users},
    [TOP_BY_NAME] = {"name", compare_name},
};

const char *top_order_name(enum top_order order)
{
    return orders[order].name;
}

/* A line of the head, cut to the width; frees it. */
static void print_line(FILE *file, char *line, unsigned width)
{
    size_t len = width ? shown_cut(line, width) : strlen(line);
    fprintf(file, "%.*s\n", (int)len, line);
    free(line);
}

/* Who answers, and how its consoles are. */
static void print_totals(const struct top_sample *sample, FILE *file, unsigned width)
{
    char from[DISPLAY_SHORT], to[DISPLAY_SHORT], started[DISPLAY_SHORT], clock[DISPLAY_SHORT];
    size_t connected = 0, migrating = 0;
    json_int_t users = 0;
    time_t now = time(NULL);
    struct tm tm;
    for (size_t i = 0; i < sample->len; i++) {
        const char *state = field_text(sample->rows[i].console, "state");
        connected += strcmp(state, "connected") == 0;
        migrating += strcmp(state, "migrating") == 0;
        users += field_number(sample->rows[i].console, "users");
    }
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &tm));
    char *version = shown_field(sample->version, "version"), *node = shown_field(sample->version, "node_id");
    print_line(file,
               xasprintf("%s  vspcd %s  node %s  since %s%s", clock, version, node,
                         time_long(field_text(sample->version, "started"), started),
                         json_is_true(json_object_get(sample->version, "draining")) ? "  DRAINING" : ""),
               width);
    free(version);
    free(node);
    print_line(file,
               xasprintf("Consoles %zu: %zu connected, %zu migrating, %zu without VM   users %lld",
                         sample->len, connected, migrating, sample->len - connected - migrating,
                         (long long)users),
               width);
    print_line(file,
               xasprintf("Bytes a second: %s from VMs, %s to VMs", size_short(sample->from_vms, from),
                         size_short(sample->to_vms, to)),
               width);
}

/* A figure, which may be one of a family, by its label; 0 when there is none. */
static double figure(const json_t *stats, const char *metric, const char *label)
{
    const json_t *value = json_object_get(stats, metric);
    return json_number_value(label ? json_object_get(value, label) : value);
}

/* How busy each worker was, and how long a message to it took. */
static void print_workers(const struct top_sample *sample, FILE *file, unsigned width)
{
    static const char cpu[] = "vspc_worker_cpu_seconds_total", latency[] = "vspc_worker_latency_seconds";
    json_t *workers = json_object_get(sample->stats, latency);
    const char *label;
    json_t *value;
    unsigned shown_workers = 0;
    char *line = xasprintf("Workers %zu:", json_object_size(workers));
    json_object_foreach(workers, label, value)
    {
        double used = figure(sample->stats, cpu, label) - figure(sample->stats_before, cpu, label);
        double percent = sample->stats_before && sample->seconds > 0 ? 100 * used / sample->seconds : 0;
        if (shown_workers++ == WORKERS_SHOWN)
            break;
        char *longer = xasprintf("%s  %.0f%% CPU, %.1f ms", line, percent, 1000 * json_number_value(value));
        free(line);
        line = longer;
    }
    print_line(file, line, width);
}

/* A word for what is off, good or bad. */
static const char *state_text(const json_t *stats, const char *is_enabled, bool is_good, const char *good,
                              const char *bad)
{
    const json_t *enabled = json_object_get(stats, is_enabled);
    if (enabled && json_number_value(enabled) == 0)
        return "off";
    return is_good ? good : bad;
}

/* What vspcd depends on, and what it could run out of. */
static void print_surroundings(const struct top_sample *sample, FILE *file, unsigned width)
{
    char queued[DISPLAY_SHORT], memory[DISPLAY_SHORT];
    const json_t *stats = sample->stats;
    print_line(
        file,
        xasprintf(
            "Redis %s, %.0f waiting   logs %s, %s waiting   descriptors %.0f used, %.0f left   memory %s",
            state_text(stats, "vspc_redis_enabled", figure(stats, "vspc_redis_up", NULL) > 0, "up", "DOWN"),
            figure(stats, "vspc_mapping_queue_length", NULL),
            state_text(stats, "vspc_console_log_enabled",
                       figure(stats, "vspc_console_log_failing", NULL) == 0, "good", "FAILING"),
            size_short(figure(stats, "vspc_console_log_queued_bytes", NULL), queued),
            figure(stats, "vspc_descriptors_used", NULL), figure(stats, "vspc_descriptors_left", NULL),
            size_short(figure(stats, "process_resident_memory_bytes", NULL), memory)),
        width);
}

static void put_row(struct table *table, const struct top_row *row)
{
    char text[DISPLAY_SHORT];
    const json_t *console = row->console;
    table_put(table, console_shown_name(console));
    table_put(table, shown_field(console, "state"));
    table_put(table, xasprintf("%lld", (long long)field_number(console, "port")));
    table_put(table, xasprintf("%lld", (long long)field_number(console, "users")));
    table_put(table, xstrdup(size_short(row->from_vm, text)));
    table_put(table, xstrdup(size_short(row->to_vm, text)));
    table_put(table, xstrdup(size_short((double)field_number(console, "bytes_from_vm"), text)));
    table_put(table, xstrdup(size_short((double)field_number(console, "bytes_to_vm"), text)));
}

void top_print(struct top_sample *sample, FILE *file, enum top_order order, unsigned width, unsigned lines)
{
    qsort(sample->rows, sample->len, sizeof *sample->rows, orders[order].compare);
    print_totals(sample, file, width);
    print_workers(sample, file, width);
    print_surroundings(sample, file, width);
    fputc('\n', file);
    struct table *table = table_new(columns, sizeof columns / sizeof *columns);
    size_t shown_rows = sample->len;
    if (lines && shown_rows + HEAD_LINES > lines)
        shown_rows = lines > HEAD_LINES ? lines - HEAD_LINES : 0;
    for (size_t i = 0; i < shown_rows; i++)
        put_row(table, &sample->rows[i]);
    table_print(table, file, width, true);
}
