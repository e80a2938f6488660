#include <string.h>
#include <time.h>

#include "facts.h"
#include "html.h"
#include "report.h"
#include "report_charts.h"
#include "report_file.h"
#include "units.h"

static const char style[] =
    ":root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b2430;--soft:#5b6673;--line:#dde2e8;"
    "--good:#12733f;--bad:#b3202c;--stop:#8a5a00;--c0:#2166c2;--c1:#d9590b;--c2:#1a8754;--c3:#7a4fd0;"
    "--c4:#c92f3c;--c5:#0d8a9e;--c6:#8a6116;--c7:#c2408f;--c8:#7c8794}\n"
    "@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1b212a;--ink:#e6eaef;--soft:#9aa5b1;"
    "--line:#323b47;--good:#2f9e62;--bad:#e0525d;--stop:#c08a2b;--c0:#6ea8fe;--c1:#ff9a57;--c2:#4fc98a;"
    "--c3:#b197fc;--c4:#ff8087;--c5:#4fd1e0;--c6:#d9b26a;--c7:#f48ccf;--c8:#a3adb8}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1060px;margin:0 auto;padding:24px 16px 40px}\n"
    "h1{font-size:26px;line-height:1.2;margin:0}\n"
    "h2{font-size:17px;margin:28px 0 10px}\n"
    "p{margin:6px 0}\n"
    "footer,.sub{color:var(--soft)}\n"
    ".sub,td,th,dd{overflow-wrap:anywhere}\n"
    ".verdict{display:inline-block;border-radius:6px;padding:3px 12px;margin-right:12px;color:#fff;"
    "font-size:20px;vertical-align:2px}\n"
    ".ok{background:var(--good)}.failed{background:var(--bad)}.interrupted{background:var(--stop)}\n"
    ".why{border-left:4px solid var(--bad);padding-left:12px;margin-top:14px;overflow-wrap:anywhere}\n"
    ".card,figure{background:var(--card);border:1px solid var(--line);border-radius:8px}\n"
    ".card{overflow-x:auto;padding:4px 16px}\n"
    ".tiles,.charts{display:grid;gap:14px}\n"
    ".tiles{grid-template-columns:repeat(auto-fit,minmax(150px,1fr));margin:18px 0 14px}\n"
    ".tiles .card{padding:10px 16px}\n"
    ".tiles "
    "b{display:block;white-space:nowrap;font-size:23px;line-height:1.3;font-variant-numeric:tabular-nums}\n"
    ".tiles span{color:var(--soft);font-size:.87em;line-height:1.35;display:block}\n"
    ".charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}\n"
    "figure{margin:0;padding:12px 14px}\n"
    "figcaption{font-weight:600;margin-bottom:6px}\n"
    "figcaption::first-letter{text-transform:uppercase}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "td,th{padding:6px 0;text-align:left;font-weight:400;vertical-align:top}\n"
    "tr+tr>*,tbody tr>*{border-top:1px solid var(--line)}\n"
    ".facts tr:first-child>*{border-top:0}\n"
    ".facts th,.times thead th{color:var(--soft)}\n"
    ".facts th{width:34%;padding-right:16px}\n"
    ".times th:first-child{padding-right:12px;min-width:150px}\n"
    ".times td,.times thead th+th{text-align:right;white-space:nowrap;padding-left:14px;"
    "font-variant-numeric:tabular-nums}\n"
    ".chart{display:block;width:100%;height:auto}\n"
    "svg text{font-size:12px;fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}\n"
    ".grid{stroke:var(--line)}.axis{stroke:var(--soft)}\n"
    "svg polyline{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}\n"
    "svg circle{fill:currentColor}.dashed{stroke-dasharray:5 3}\n"
    ".s0{color:var(--c0)}.s1{color:var(--c1)}.s2{color:var(--c2)}.s3{color:var(--c3)}.s4{color:var(--c4)}"
    ".s5{color:var(--c5)}.s6{color:var(--c6)}.s7{color:var(--c7)}.s8{color:var(--c8)}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0 "
    "0;padding:0;font-size:.87em}\n"
    ".key{width:18px;height:10px;vertical-align:0}\n"
    "footer{margin-top:28px;font-size:13px}\n"
    "@media (max-width:480px){body{font-size:14px}h1{font-size:22px}.facts th{width:40%}"
    ".times td,.times thead th+th{padding-left:10px}svg text{font-size:14px}}\n"
    "@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;"
    "--good:#12733f;--bad:#b3202c;--stop:#8a5a00;--c0:#2166c2;--c1:#d9590b;--c2:#1a8754;--c3:#7a4fd0;"
    "--c4:#c92f3c;--c5:#0d8a9e;--c6:#8a6116;--c7:#c2408f;--c8:#7c8794}\n"
    "body{font-size:11px;-webkit-print-color-adjust:exact;print-color-adjust:exact}main{padding:0}"
    "figure,tr,.card{break-inside:avoid}h2{break-after:avoid}.charts{grid-template-columns:1fr "
    "1fr}.tiles{grid-template-columns:repeat(5,1fr);gap:8px}.tiles b{font-size:17px}}\n";

/* Opens the page: what it is of, the verdict, and why it failed. */
static void write_head(const struct report *report, FILE *out)
{
    const char *scenario = scenario_names[report->options->scenario];
    const char *class = !report->ok ? "failed" : report->interrupted ? "interrupted" : "ok";
    char took[UNITS_TEXT], when[64] = "";
    time_t began = (time_t)report->started_at;
    struct tm tm;
    if (report->started_at > 0 && gmtime_r(&began, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC, ", &tm);
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
            "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, "
            "initial-scale=1\"/>\n"
            "<title>%s: %s, vspc-bench</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n",
            scenario, facts_verdict(report), style);
    fprintf(out, "<h1><span class=\"verdict %s\">%s</span>%s</h1>\n<p class=\"sub\">%s%s against ", class,
            facts_verdict(report), scenario, when, units_time(took, report->seconds * 1e9));
    html_text(out, report->options->vspc_text);
    fprintf(out, "%s</p>\n", report->interrupted ? ", interrupted" : "");
    if (*report->failure) {
        fputs("<p class=\"why\">", out);
        html_text(out, report->failure);
        fputs("</p>\n", out);
    }
}

static void write_tile(FILE *out, const char *value, const char *text)
{
    fprintf(out, "<div class=\"card\"><b>%s</b><span>", value);
    html_text(out, text);
    fputs("</span></div>\n", out);
}

/* The handful of numbers that are looked for first. */
static void write_tiles(const struct report *report, FILE *out)
{
    const struct histogram *h = &report->tally.latencies[report->main_latency];
    char value[UNITS_TEXT], text[96];
    fputs("<div class=\"tiles\">\n", out);
    write_tile(out, units_count(value, report->vms_identified), "VMs connected at the end");
    if (h->count) {
        snprintf(text, sizeof text, "median, %s", latency_texts[report->main_latency]);
        write_tile(out, units_time(value, (double)histogram_percentile(h, 50)), text);
        snprintf(text, sizeof text, "99th percentile, %s", latency_texts[report->main_latency]);
        write_tile(out, units_time(value, (double)histogram_percentile(h, 99)), text);
    }
    uint64_t wrong = tally_get(&report->tally, COUNT_STREAM_LOST) +
                     tally_get(&report->tally, COUNT_STREAM_DOUBLED) +
                     tally_get(&report->tally, COUNT_STREAM_REORDERED);
    if (tally_get(&report->tally, COUNT_DELIVERED) + wrong)
        write_tile(out, units_count(value, wrong), "bytes lost, doubled or reordered");
    if (report->after.known)
        write_tile(out, units_bytes(value, (double)report->after.rss_kib * 1024), "memory of the server");
    fputs("</div>\n", out);
}

static void write_facts(const char *title, const struct facts *facts, FILE *out)
{
    if (facts->count == 0)
        return;
    fprintf(out, "<h2>%s</h2>\n<div class=\"card\"><table class=\"facts\">\n", title);
    for (unsigned i = 0; i < facts->count; i++) {
        fputs("<tr><th scope=\"row\">", out);
        html_text(out, facts->rows[i].label);
        fputs("</th><td>", out);
        html_text(out, facts->rows[i].value);
        fputs("</td></tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

/* All that was timed. */
static void write_latencies(const struct tally *tally, FILE *out)
{
    bool headed = false;
    for (unsigned i = 0; i < LATENCIES; i++) {
        const struct histogram *h = &tally->latencies[i];
        char text[UNITS_TEXT];
        if (h->count == 0)
            continue;
        if (!headed)
            fputs(
                "<h2>Latencies</h2>\n<div class=\"card\"><table class=\"times\">\n<thead><tr><th></th>"
                "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>count</th></tr></thead>\n"
                "<tbody>\n",
                out);
        headed = true;
        fprintf(out, "<tr><th scope=\"row\">%s</th>", latency_texts[i]);
        for (size_t p = 0; p < FACTS_PERCENTS; p++)
            fprintf(out, "<td>%s</td>", units_time(text, (double)histogram_percentile(h, facts_percents[p])));
        fprintf(out, "<td>%s</td></tr>\n", units_count(text, h->count));
    }
    if (headed)
        fputs("</tbody></table></div>\n", out);
}

int report_write_html(const struct report *report, const char *path)
{
    struct report_file file;
    struct facts facts;
    int err = report_file_open(&file, path);
    if (err)
        return err;
    write_head(report, file.out);
    write_tiles(report, file.out);
    fputs("<div class=\"charts\">\n", file.out);
    unsigned charts = report_charts_write(report, file.out);
    fputs("</div>\n", file.out);
    if (charts == 0)
        fputs("<p class=\"sub\">Nothing was timed that a chart could show.</p>\n", file.out);
    write_latencies(&report->tally, file.out);
    facts_load(&facts, report);
    write_facts("Load", &facts, file.out);
    facts_figures(&facts, report);
    write_facts("Figures", &facts, file.out);
    facts_server(&facts, report);
    write_facts("Server", &facts, file.out);
    facts_settings(&facts, report->options);
    write_facts("Settings", &facts, file.out);
    fputs("<footer>vspc-bench " VSPC_VERSION "</footer>\n</main>\n</body>\n</html>\n", file.out);
    return report_file_close(&file);
}
