#include "facts.h"

#include <stdarg.h>
#include <string.h>

#include "units.h"

const double facts_percents[FACTS_PERCENTS] = {50, 90, 99, 99.9, 100};

/* Adds a row, cut where it is too long. */
static void __attribute__((format(printf, 3, 4)))
add(struct facts *facts, const char *label, const char *format, ...)
{
    if (facts->count == FACTS_MAX)
        return;
    struct fact *row = &facts->rows[facts->count++];
    snprintf(row->label, sizeof row->label, "%s", label);
    va_list args;
    va_start(args, format);
    vsnprintf(row->value, sizeof row->value, format, args);
    va_end(args);
}

const char *facts_verdict(const struct report *report)
{
    return !report->ok ? "FAILED" : report->interrupted ? "INTERRUPTED" : "OK";
}

void facts_settings(struct facts *facts, const struct bench_options *o)
{
    char n[UNITS_TEXT];
    *facts = (struct facts){0};
    add(facts, "server", "%s", o->vspc_text);
    add(facts, "Redis", "%s", o->redis ? o->redis : "none");
    add(facts, "VMs", "%s", units_count(n, o->vms));
    if (o->users)
        add(facts, o->scenario == SCENARIO_BLAST ? "users of each" : "users", "%s", units_count(n, o->users));
    if (o->rate > 0)
        add(facts, "rate", "%s a second", units_number(n, o->rate));
    if (o->duration_ms)
        add(facts, "duration", "%s", units_duration(n, o->duration_ms));
    if (o->hold_ms)
        add(facts, "hold", "%s", units_duration(n, o->hold_ms));
    if (o->chunk)
        add(facts, "chunk", "%s bytes", units_count(n, o->chunk));
    if (o->first_user_port)
        add(facts, "user ports", "%u-%u", o->first_user_port, o->last_user_port);
    if (o->restart_command)
        add(facts, "restart command", "%s", o->restart_command);
    if (o->offer)
        add(facts, "offer", "yes");
    if (!o->verify)
        add(facts, "verify", "no");
    add(facts, "threads", "%u", o->threads);
    add(facts, "vspc-bench", "%s", VSPC_VERSION);
}

void facts_load(struct facts *facts, const struct report *r)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT];
    *facts = (struct facts){0};
    if (r->options->redis)
        add(facts, "VMs", "%s of %s identified, %s in Redis, %s lost", units_count(a, r->vms_identified),
            units_count(b, r->vms_wanted), units_count(c, r->vms_mapped), units_count(d, r->vms_lost));
    else
        add(facts, "VMs", "%s of %s identified, %s lost", units_count(a, r->vms_identified),
            units_count(b, r->vms_wanted), units_count(d, r->vms_lost));
    uint64_t delivered = tally_get(&r->tally, COUNT_DELIVERED);
    uint64_t lost = tally_get(&r->tally, COUNT_STREAM_LOST),
             doubled = tally_get(&r->tally, COUNT_STREAM_DOUBLED),
             reordered = tally_get(&r->tally, COUNT_STREAM_REORDERED),
             skipped = tally_get(&r->tally, COUNT_SKIPPED);
    if (delivered + lost + doubled + reordered + skipped) {
        add(facts, "Streams", "%s delivered", units_bytes(a, (double)delivered));
        add(facts, "Bytes of streams", "%s lost, %s doubled, %s reordered, %s skipped", units_count(a, lost),
            units_count(b, doubled), units_count(c, reordered), units_count(d, skipped));
    }
    uint64_t errors = tally_get(&r->tally, COUNT_PROTOCOL_ERRORS);
    if (errors)
        add(facts, "Protocol errors", "%s", units_count(a, errors));
}

void facts_server(struct facts *facts, const struct report *r)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];
    *facts = (struct facts){0};
    if (!r->before.known || !r->after.known)
        return;
    double cpu_s = r->after.cpu_s - r->before.cpu_s, vms = (double)r->vms_identified;
    if (r->seconds > 0)
        add(facts, "Server's CPU", "%s, %s %% of one CPU", units_time(a, cpu_s * 1e9),
            units_number(b, cpu_s / r->seconds * 100));
    else
        add(facts, "Server's CPU", "%s", units_time(a, cpu_s * 1e9));
    units_bytes(a, (double)r->after.rss_kib * 1024);
    if (vms > 0)
        add(facts, "Server's memory", "%s, %s a VM", a,
            units_bytes(b, (double)r->after.rss_kib * 1024 / vms));
    else
        add(facts, "Server's memory", "%s", a);
    if (r->after.fds == 0)
        return;
    units_count(a, r->after.fds);
    if (vms > 0)
        add(facts, "Server's descriptors", "%s, %s a VM", a, units_number(b, r->after.fds / vms));
    else
        add(facts, "Server's descriptors", "%s", a);
}

/* A figure in its unit; times and bytes in the one that fits. */
static void add_figure(struct facts *facts, const struct figure *f)
{
    char n[UNITS_TEXT];
    if (strcmp(f->unit, "us") == 0)
        add(facts, f->text, "%s", units_time(n, f->value * 1e3));
    else if (strcmp(f->unit, "B") == 0)
        add(facts, f->text, "%s", units_bytes(n, f->value));
    else if (strcmp(f->unit, "B/s") == 0)
        add(facts, f->text, "%s/s", units_bytes(n, f->value));
    else
        add(facts, f->text, "%s%s%s", units_number(n, f->value), *f->unit ? " " : "", f->unit);
}

void facts_figures(struct facts *facts, const struct report *r)
{
    *facts = (struct facts){0};
    for (unsigned i = 0; i < r->figure_count; i++)
        add_figure(facts, &r->figures[i]);
}
