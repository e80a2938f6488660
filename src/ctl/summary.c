#include "summary.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "vspc/mem.h"

enum { NAME_COLUMN = 30, VALUE_COLUMN = 12, SPLIT_MAX = 16 };

enum unit { COUNT, BYTES, SECONDS, DATE, YES_NO, UP_DOWN, GOOD_BAD };

/* A figure and how it is called. */
struct line {
    const char *heading; /* in front of the line; NULL: it stands under the one before */
    const char *name;
    const char *metric;
    const char *label; /* of a family of figures: which one; NULL: the only one, or their sum */
    enum unit unit;
    bool is_trouble; /* is left out where it is 0 */
};

static const struct line lines[] = {
    {"VMs", "connected", "vspc_vms", NULL, COUNT, false},
    {NULL, "consoles, also without VM", "vspc_consoles", NULL, COUNT, false},
    {NULL, "not identified yet", "vspc_vms_handshaking", NULL, COUNT, false},
    {NULL, "connections so far", "vspc_vm_connections_total", NULL, COUNT, false},
    {NULL, "printed by them", "vspc_vm_received_bytes_total", NULL, BYTES, false},
    {NULL, "typed into them", "vspc_vm_sent_bytes_total", NULL, BYTES, false},
    {NULL, "taken over while still open", "vspc_takeovers_total", NULL, COUNT, true},
    {NULL, "refused: not in [vm] allow", "vspc_vm_connections_refused_total", "network", COUNT, true},
    {NULL, "refused: no descriptor left", "vspc_vm_connections_refused_total", "descriptors", COUNT, true},
    {NULL, "refused: draining", "vspc_vm_connections_refused_total", "draining", COUNT, true},

    {"Users", "attached by telnet", "vspc_users", "telnet", COUNT, false},
    {NULL, "attached by vspcctl", "vspc_users", "control", COUNT, false},
    {NULL, "have come so far", "vspc_user_connections_total", NULL, COUNT, false},
    {NULL, "sent to them", "vspc_user_sent_bytes_total", NULL, BYTES, false},
    {NULL, "received from them", "vspc_user_received_bytes_total", NULL, BYTES, false},
    {NULL, "skipped, too slow for it", "vspc_user_skipped_bytes_total", NULL, BYTES, true},
    {NULL, "disconnected, too slow", "vspc_users_too_slow_total", NULL, COUNT, true},
    {NULL, "refused", "vspc_users_refused_total", NULL, COUNT, true},

    {"Handshakes", "done", "vspc_handshakes_total", NULL, COUNT, false},
    {NULL, "failed", "vspc_handshakes_failed_total", NULL, COUNT, false},
    {NULL, "  not in time", "vspc_handshakes_failed_total", "timeout", COUNT, true},
    {NULL, "  closed by the host", "vspc_handshakes_failed_total", "hangup", COUNT, true},
    {NULL, "  broke the protocol", "vspc_handshakes_failed_total", "protocol", COUNT, true},
    {NULL, "  spoke TLS", "vspc_handshakes_failed_total", "tls", COUNT, true},
    {NULL, "  another service URI", "vspc_handshakes_failed_total", "uri", COUNT, true},
    {NULL, "  an unknown migration", "vspc_handshakes_failed_total", "cookie", COUNT, true},
    {NULL, "  a newer one was there", "vspc_handshakes_failed_total", "older", COUNT, true},
    {NULL, "  taken over too often", "vspc_handshakes_failed_total", "takeovers", COUNT, true},
    {NULL, "  no user port free", "vspc_handshakes_failed_total", "no_port", COUNT, true},

    {"Migrations", "pending", "vspc_migrations_pending", NULL, COUNT, false},
    {NULL, "done", "vspc_migrations_total", "done", COUNT, false},
    {NULL, "aborted by the host", "vspc_migrations_total", "aborted", COUNT, true},
    {NULL, "not completed in time", "vspc_migrations_total", "timeout", COUNT, true},
    {NULL, "lost with both hosts", "vspc_migrations_total", "lost", COUNT, true},
    {NULL, "refused", "vspc_migrations_total", "refused", COUNT, true},
    {NULL, "replaced, or console ended", "vspc_migrations_total", "replaced", COUNT, true},

    {"Redis", "enabled", "vspc_redis_enabled", NULL, YES_NO, false},
    {NULL, "connection", "vspc_redis_up", NULL, UP_DOWN, false},
    {NULL, "times it came back", "vspc_redis_reconnects_total", NULL, COUNT, false},
    {NULL, "changes waiting", "vspc_mapping_queue_length", NULL, COUNT, false},
    {NULL, "the oldest of them", "vspc_mapping_queue_age_seconds", NULL, SECONDS, true},

    {"Disk", "console logs enabled", "vspc_console_log_enabled", NULL, YES_NO, false},
    {NULL, "console logs", "vspc_console_log_failing", NULL, GOOD_BAD, false},
    {NULL, "written", "vspc_console_log_written_bytes_total", NULL, BYTES, false},
    {NULL, "waiting to be written", "vspc_console_log_queued_bytes", NULL, BYTES, false},
    {NULL, "MISSING in console logs", "vspc_console_log_lost_bytes_total", NULL, BYTES, true},
    {NULL, "open files", "vspc_console_log_open_files", NULL, COUNT, false},

    {"Process", "running since", "process_start_time_seconds", NULL, DATE, false},
    {NULL, "draining", "vspc_draining", NULL, YES_NO, false},
    {NULL, "CPU time", "process_cpu_seconds_total", NULL, SECONDS, false},
    {NULL, "memory", "process_resident_memory_bytes", NULL, BYTES, false},
    {NULL, "descriptors in use", "vspc_descriptors_used", NULL, COUNT, false},
    {NULL, "descriptors left", "vspc_descriptors_left", NULL, COUNT, false},
    {NULL, "control connections", "vspc_control_clients", NULL, COUNT, false},
    {NULL, "lines of its log lost", "vspc_log_lines_lost_total", NULL, COUNT, true},
    {NULL, "events lost", "vspc_events_lost_total", NULL, COUNT, true},
};

enum { LINES = sizeof lines / sizeof *lines };

/* Families whose members stand in one table, and what the version command tells. */
static const char latency[] = "vspc_worker_latency_seconds", peak[] = "vspc_worker_latency_peak_seconds",
                  cpu[] = "vspc_worker_cpu_seconds_total", build[] = "vspc_build_info";

/* What is meaningless where another figure is 0: a connection to Redis, where none is wanted. */
static const char *switch_of(const char *metric)
{
    if (strcmp(metric, "vspc_redis_enabled") == 0 || strcmp(metric, "vspc_console_log_enabled") == 0)
        return NULL;
    if (strncmp(metric, "vspc_redis_", 11) == 0 || strncmp(metric, "vspc_mapping_", 13) == 0)
        return "vspc_redis_enabled";
    return strncmp(metric, "vspc_console_log_", 17) == 0 ? "vspc_console_log_enabled" : NULL;
}

static bool is_off(const json_t *stats, const char *metric)
{
    const char *name = switch_of(metric);
    const json_t *value = name ? json_object_get(stats, name) : NULL;
    return value && json_number_value(value) == 0;
}

/* "1,234,567" */
static char *count_text(double count)
{
    char digits[SPLIT_MAX * 2], text[SPLIT_MAX * 3], *at = text;
    int len = snprintf(digits, sizeof digits, "%.0f", count);
    for (int i = 0; i < len && i < (int)sizeof digits; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = 0;
    return xstrdup(text);
}

static char *value_text(double value, enum unit unit)
{
    char text[DISPLAY_SHORT];
    switch (unit) {
    case COUNT:
        return count_text(value);
    case BYTES:
        return xstrdup(size_long(value, text));
    case SECONDS:
        return xstrdup(duration_long(value, text));
    case DATE:
        return xstrdup(date_long((time_t)value, text));
    case YES_NO:
        return xstrdup(value > 0 ? "yes" : "no");
    case UP_DOWN:
        return xstrdup(value > 0 ? "up" : "DOWN");
    case GOOD_BAD:
        return xstrdup(value > 0 ? "FAILING" : "good");
    }
    return xstrdup("");
}

/* The figure of that name, or of a family the one with this label, or all of them together. Result: false:
 * there is none. */
static bool find(const json_t *stats, const char *metric, const char *label, double *value)
{
    const json_t *found = json_object_get(stats, metric);
    if (label)
        found = json_object_get(found, label);
    *value = json_number_value(found);
    if (json_is_object(found)) {
        const char *key;
        json_t *member;
        json_object_foreach((json_t *)found, key, member) *value += json_number_value(member);
    }
    return found;
}

static void print_value(FILE *file, const char *name, double value, enum unit unit)
{
    char *text = value_text(value, unit);
    fprintf(file, "  %-*s %*s\n", NAME_COLUMN, name, VALUE_COLUMN, text);
    free(text);
}

static void print_line(const json_t *stats, FILE *file, const struct line *line)
{
    double value;
    if (line->heading)
        fprintf(file, "%s%s\n", line == lines ? "" : "\n", line->heading);
    if (find(stats, line->metric, line->label, &value) && (value != 0 || !line->is_trouble) &&
        !is_off(stats, line->metric))
        print_value(file, line->name, value, line->unit);
}

/* How busy the workers have been, and how long a message to one takes, which says how busy it is now. */
static void print_workers(const json_t *stats, FILE *file)
{
    const char *worker;
    json_t *member;
    fprintf(file, "\nWorkers   %*s %*s %*s\n", VALUE_COLUMN, "CPU time", VALUE_COLUMN, "latency",
            VALUE_COLUMN, "last minute");
    json_object_foreach(json_object_get(stats, latency), worker, member)
    {
        static const char *const columns[] = {cpu, latency, peak};
        char *name = shown(worker, strlen(worker));
        fprintf(file, "  %-7s", name);
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            double value;
            find(stats, columns[i], worker, &value);
            char *text = value_text(value, SECONDS);
            fprintf(file, " %*s", VALUE_COLUMN, text);
            free(text);
        }
        fputc('\n', file);
        free(name);
    }
}

static bool is_known(const char *metric)
{
    static const char *const elsewhere[] = {latency, peak, cpu, build};
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(metric, elsewhere[i]) == 0)
            return true;
    for (size_t i = 0; i < LINES; i++)
        if (strcmp(metric, lines[i].metric) == 0)
            return true;
    return false;
}

/* What a newer vspcd counts. */
static void print_others(const json_t *stats, FILE *file)
{
    const char *metric, *heading = "\nOthers\n";
    json_t *value;
    json_object_foreach((json_t *)stats, metric, value)
    {
        double sum;
        if (is_known(metric) || !find(stats, metric, NULL, &sum))
            continue;
        char *name = shown(metric, strlen(metric));
        fprintf(file, "%s  %s %g\n", heading, name, sum);
        heading = "";
        free(name);
    }
}

void summary_print(const json_t *stats, FILE *file)
{
    for (size_t i = 0; i < LINES; i++) {
        if (lines[i].heading && strcmp(lines[i].heading, "Process") == 0)
            print_workers(stats, file);
        print_line(stats, file, &lines[i]);
    }
    print_others(stats, file);
}
