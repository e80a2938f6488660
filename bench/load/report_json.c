#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "report.h"
#include "report_file.h"
#include "vspc/text.h"

/* Text as a JSON string, escaped where it is no UTF-8; null for NULL. */
static json_t *text(const char *s)
{
    if (!s)
        return json_null();
    json_t *string = json_string(s);
    return string ? string : json_string(printable(s, strlen(s)).s);
}

/* A number with at most three decimals; null for what is none. */
static json_t *number(double value)
{
    if (!isfinite(value))
        return json_null();
    return json_real(fabs(value) < 1e15 ? round(value * 1000) / 1000 : value);
}

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *counted(const struct tally *tally, enum counter counter)
{
    return count(tally_get(tally, counter));
}

static json_t *microseconds(uint64_t ns)
{
    return number((double)ns / 1000);
}

static json_t *percentile(const struct histogram *h, double percent)
{
    return microseconds(histogram_percentile(h, percent));
}

static json_t *vms(const struct report *r)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "wanted", count(r->vms_wanted), "identified",
                     count(r->vms_identified), "mapped", count(r->vms_mapped), "lost", count(r->vms_lost));
}

static json_t *streams(const struct tally *t)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "bytes", counted(t, COUNT_DELIVERED), "lost",
                     counted(t, COUNT_STREAM_LOST), "doubled", counted(t, COUNT_STREAM_DOUBLED), "reordered",
                     counted(t, COUNT_STREAM_REORDERED), "skipped", counted(t, COUNT_SKIPPED));
}

/* What was timed at least once. */
static json_t *latencies(const struct tally *tally)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = &tally->latencies[i];
        if (h->count)
            json_object_set_new(all, latency_names[i],
                                json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "p50", percentile(h, 50), "p90",
                                          percentile(h, 90), "p99", percentile(h, 99), "p999",
                                          percentile(h, 99.9), "max", percentile(h, 100), "count",
                                          count(h->count)));
    }
    return all;
}

/* cpu_s: of what was measured. */
static json_t *server(const struct server_figures *figures, double cpu_s)
{
    if (!figures->known)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "cpu_s", number(cpu_s), "rss_kib", count(figures->rss_kib), "fds",
                     count(figures->fds));
}

static json_t *figures(const struct report *r)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < r->figure_count; i++)
        json_object_set_new(all, r->figures[i].key, number(r->figures[i].value));
    return all;
}

/* What a run would need to be repeated. */
static json_t *settings(const struct bench_options *o)
{
    json_t *all = json_pack("{s:o, s:o, s:o, s:o, s:o}", "vspc", text(o->vspc_text), "vms", count(o->vms),
                            "users", count(o->users), "threads", count(o->threads), "redis", text(o->redis));
    json_object_set_new(all, "map_key", text(o->map_key));
    json_object_set_new(all, "active_prefix", text(o->active_prefix));
    json_object_set_new(all, "rate", number(o->rate));
    json_object_set_new(all, "duration_s", number((double)o->duration_ms / 1000));
    json_object_set_new(all, "hold_s", number((double)o->hold_ms / 1000));
    json_object_set_new(all, "chunk", count(o->chunk));
    if (o->first_user_port)
        json_object_set_new(all, "user_ports", json_pack("[ii]", o->first_user_port, o->last_user_port));
    json_object_set_new(all, "offer", json_boolean(o->offer));
    json_object_set_new(all, "verify", json_boolean(o->verify));
    json_object_set_new(all, "pid", o->pid ? json_integer(o->pid) : json_null());
    json_object_set_new(all, "restart_command", text(o->restart_command));
    return all;
}

/* The time line: counters that ever counted, the main latency, and the server as it was then. */
static json_t *timeline(const struct report *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->moment_count; i++) {
        const struct moment *m = &r->moments[i];
        json_t *one = json_pack("{s:o}", "at_s", number(m->at_s));
        for (unsigned c = 0; c < COUNTERS; c++)
            if (r->moments[r->moment_count - 1].counters[c])
                json_object_set_new(one, counter_names[c], count(m->counters[c]));
        if (m->max_ns)
            json_object_set_new(one, latency_names[r->main_latency],
                                json_pack("{s:o, s:o, s:o}", "p50", microseconds(m->p50_ns), "p99",
                                          microseconds(m->p99_ns), "max", microseconds(m->max_ns)));
        if (m->server.known)
            json_object_set_new(one, "server", server(&m->server, m->server.cpu_s));
        json_array_append_new(all, one);
    }
    return all;
}

int report_write_json(const struct report *r, const char *path)
{
    struct report_file file;
    int err = report_file_open(&file, path);
    if (err)
        return err;
    bool known = r->before.known && r->after.known;
    json_t *all =
        json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o}", "scenario", scenario_names[r->options->scenario],
                  "ok", r->ok, "seconds", number(r->seconds), "vms", vms(r), "streams", streams(&r->tally),
                  "latency_us", latencies(&r->tally), "server",
                  known ? server(&r->after, r->after.cpu_s - r->before.cpu_s) : json_null());
    json_object_set_new(all, "failure", text(*r->failure ? r->failure : NULL));
    json_object_set_new(all, "interrupted", json_boolean(r->interrupted));
    json_object_set_new(all, "figures", figures(r));
    json_object_set_new(all, "options", settings(r->options));
    json_object_set_new(all, "timeline", timeline(r));
    json_object_set_new(all, "version", text(VSPC_VERSION));
    /* With 15 digits a number of three decimals is written as it was rounded. */
    json_dumpf(all, file.out, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(all);
    fputc('\n', file.out);
    return report_file_close(&file);
}
