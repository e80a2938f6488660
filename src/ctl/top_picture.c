#include "top_picture.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consoles.h"
#include "display.h"
#include "table.h"
#include "vspc/loop.h"

enum { HEAD_LINES = 6 };

static const struct table_column columns[] = {
    {"NAME", false, 10},    {"STATE", false, 5},  {"PORT", true, 0},    {"USERS", true, 0},
    {"FROM-VM/s", true, 0}, {"TO-VM/s", true, 0}, {"FROM-VM", true, 0}, {"TO-VM", true, 0},
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
    json_t *stats = ctl_ask(conn, ctl_request("stats", NULL));
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
    json_decref(sample->stats);
    json_decref(sample->version);
    sample->consoles = seen;
    sample->rows = rows;
    sample->len = i;
    sample->at_ms = now;
    sample->stats = stats;
    sample->version = version;
    json_decref(all);
}

void top_free(struct top_sample *sample)
{
    free(sample->rows);
    json_decref(sample->consoles);
    json_decref(sample->stats);
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
    fputc('\n', file);
    struct table *table = table_new(columns, sizeof columns / sizeof *columns);
    size_t shown_rows = sample->len;
    if (lines && shown_rows + HEAD_LINES > lines)
        shown_rows = lines > HEAD_LINES ? lines - HEAD_LINES : 0;
    for (size_t i = 0; i < shown_rows; i++)
        put_row(table, &sample->rows[i]);
    table_print(table, file, width, true);
}
