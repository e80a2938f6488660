#include "control/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control/control_parts.h"

/* Whoever is told the values. */
struct listener {
    stat_fn *fn;
    void *arg;
};

static void tell(const struct listener *to, int is_level, const char *metric, double value, const char *help)
{
    to->fn(&(struct stat_value){metric, "", help, is_level, value}, to->arg);
}

static void tell_worker(const struct listener *to, int is_level, const char *metric, unsigned worker,
                        double value, const char *help)
{
    char label[32];
    snprintf(label, sizeof label, "worker=\"%u\"", worker);
    to->fn(&(struct stat_value){metric, label, help, is_level, value}, to->arg);
}

/* What the threads have counted. */
static void tell_figures(const struct control_server *server, const struct listener *to)
{
    const char *help = "";
    for (enum figure which = 0; which < FIGURES; which++) {
        const struct figure_name *name = &figure_names[which];
        uint64_t sum = figure_read(&server->shared->acceptor_figures, which);
        for (unsigned i = 0; i < server->owner_count; i++)
            sum += figure_read(&server->owners[i]->figures, which);
        help = name->help ? name->help : help;
        to->fn(&(struct stat_value){name->metric, name->label, help, name->is_level, (double)sum}, to->arg);
    }
}

static void tell_mapping(const struct console_shared *shared, const struct listener *to)
{
    struct mapping_figures figures = mapping_figures(shared->mapping);
    tell(to, 1, "vspc_mapping_queue_length", (double)figures.queue_length,
         "Changes that Redis has not been sent yet");
    tell(to, 1, "vspc_mapping_queue_age_seconds", (double)figures.oldest_age_ms / 1000,
         "Age of the oldest change that Redis has not been sent yet");
    tell(to, 1, "vspc_redis_enabled", figures.is_enabled, "Whether Redis is to be told of VMs");
    tell(to, 1, "vspc_redis_up", figures.is_up, "Whether Redis is connected and has all VMs of this node");
    tell(to, 0, "vspc_redis_reconnects_total", (double)figures.reconnects,
         "Times that Redis came back after it had been away");
}

static void tell_logs(struct console_logs *logs, const struct listener *to)
{
    struct console_log_figures figures = {0};
    if (logs)
        figures = console_logs_figures(logs);
    tell(to, 1, "vspc_console_log_enabled", logs != NULL, "Whether there are console logs");
    tell(to, 1, "vspc_console_log_queued_bytes", (double)figures.queued_bytes,
         "Output that waits to be written to console logs");
    tell(to, 0, "vspc_console_log_written_bytes_total", (double)figures.written_bytes,
         "Output written to console logs");
    tell(to, 0, "vspc_console_log_lost_bytes_total", (double)figures.lost_bytes,
         "Output that is missing in console logs");
    tell(to, 1, "vspc_console_log_open_files", figures.open_files, "Console logs that are open");
    tell(to, 1, "vspc_console_log_failing", figures.failing,
         "Whether the last write of some console log failed");
}

static void tell_workers(struct control *control, const struct listener *to)
{
    const struct control_server *server = control->server;
    for (unsigned i = 0; i < server->owner_count; i++)
        tell_worker(to, 1, "vspc_worker_latency_seconds", i,
                    (double)loop_probes_last(control->probes, i) / 1e9,
                    "How long the last message to a worker took to be read");
    for (unsigned i = 0; i < server->owner_count; i++)
        tell_worker(to, 1, "vspc_worker_latency_peak_seconds", i,
                    (double)loop_probes_peak(control->probes, i) / 1e9,
                    "The longest that a message to a worker took in the last minute");
    for (unsigned i = 0; i < server->owner_count; i++)
        tell_worker(to, 0, "vspc_worker_cpu_seconds_total", i,
                    (double)server->worker_cpu_ns(server->arg, i) / 1e9, "Processor time of a worker");
}

/* Result: 0 when it cannot be known. */
static double resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void tell_process(const struct control *control, const struct listener *to)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    tell(to, 0, "process_cpu_seconds_total",
         (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
             (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
         "Processor time of all threads, user and system");
    tell(to, 1, "process_resident_memory_bytes", resident_bytes(), "Resident memory");
    tell(to, 1, "process_start_time_seconds", (double)control->started,
         "When vspcd started, in seconds since 1970");
}

void stats_each(struct control *control, stat_fn *fn, void *arg)
{
    const struct control_server *server = control->server;
    struct console_shared *shared = server->shared;
    const struct listener to = {fn, arg};
    int left = atomic_load_explicit(&shared->admission.left, memory_order_relaxed);
    tell_figures(server, &to);
    tell_mapping(shared, &to);
    tell_logs(shared->logs, &to);
    tell(&to, 0, "vspc_log_lines_lost_total", (double)log_lines_lost(),
         "Lines of vspcd's own log that nobody read in time");
    tell(&to, 0, "vspc_events_lost_total", (double)event_list_lost(control->events),
         "Events that could not be kept");
    tell(&to, 1, "vspc_descriptors_used", shared->admission.total - left,
         "File descriptors taken by VMs and users");
    tell(&to, 1, "vspc_descriptors_left", left, "File descriptors left for VMs and users");
    tell(&to, 1, "vspc_control_clients", control->client_count, "Connections to the control socket");
    tell(&to, 1, "vspc_draining", server->is_draining(server->arg), "Whether new VMs are refused");
    tell_workers(control, &to);
    tell_process(control, &to);
    fn(&(struct stat_value){"vspc_build_info", "version=\"" VSPC_VERSION "\"", "What is running, in a label",
                            1, 1},
       arg);
}

static json_t *number(double value)
{
    return value < 9e15 && (double)(json_int_t)value == value ? json_integer((json_int_t)value)
                                                              : json_real(value);
}

static void put_json(const struct stat_value *value, void *arg)
{
    json_t *stats = arg;
    const char *quoted = strchr(value->label, '"');
    if (!quoted) {
        json_object_set_new(stats, value->metric, number(value->value));
        return;
    }
    json_t *family = json_object_get(stats, value->metric);
    if (!family) {
        family = json_object();
        json_object_set_new(stats, value->metric, family);
    }
    char *key = xmemdup0(quoted + 1, strcspn(quoted + 1, "\""));
    json_object_set_new(family, key, number(value->value));
    free(key);
}

json_t *stats_json(struct control *control)
{
    json_t *stats = json_object();
    stats_each(control, put_json, stats);
    return stats;
}
