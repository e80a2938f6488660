#include "consoles.h"

#include <fnmatch.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "display.h"

enum { GIVE_WAY = 10 }; /* nice value */

struct pattern {
    const char *glob; /* or NULL */
    regex_t regex;
};

/* Thousands of rows are to take no processor from vspcd's users. */
static void give_way(void)
{
    if (getpriority(PRIO_PROCESS, 0) < GIVE_WAY)
        setpriority(PRIO_PROCESS, 0, GIVE_WAY);
}

json_t *consoles_list(struct ctl_conn *conn)
{
    json_t *consoles = json_array();
    give_way();
    if (!ctl_send(conn, ctl_request("list", NULL)))
        fail(CTL_FAILED, "%s", conn->why);
    for (;;) {
        json_t *line = ctl_need(conn, CTL_PATIENCE_MS);
        json_t *console = json_object_get(line, "console");
        if (json_is_object(console))
            json_array_append(consoles, console);
        else if (ctl_is_ok(line)) {
            json_decref(line);
            return consoles;
        } else
            exit((int)ctl_complain(line, NULL));
        json_decref(line);
    }
}

char *console_name(const json_t *console, size_t *len)
{
    const json_t *name = json_object_get(console, "name");
    const char *label = field_text(console, "label");
    size_t name_len = json_string_length(name);
    char *text = xmalloc(name_len + strlen(label) + 2);
    if (name_len)
        memcpy(text, json_string_value(name), name_len);
    text[name_len] = 0;
    if (*label) {
        text[name_len] = '.';
        memcpy(text + name_len + 1, label, strlen(label) + 1);
    }
    *len = name_len + (*label ? 1 + strlen(label) : 0);
    return text;
}

char *console_shown_name(const json_t *console)
{
    size_t len;
    char *name = console_name(console, &len);
    char *safe = shown(name, len);
    free(name);
    return safe;
}

char *console_handle(const json_t *console)
{
    size_t len;
    const char *uuid = field_text(console, "uuid"), *label = field_text(console, "label");
    if (*uuid)
        return xasprintf("%s%s%s", uuid, *label ? "." : "", label);
    return console_name(console, &len);
}

static bool matches_text(const struct pattern *pattern, const char *text, int flags)
{
    return pattern->glob ? fnmatch(pattern->glob, text, flags) == 0
                         : regexec(&pattern->regex, text, 0, NULL, 0) == 0;
}

static bool matches(const struct pattern *patterns, unsigned count, const json_t *console)
{
    size_t len;
    bool found = false;
    if (!count)
        return true;
    char *full = console_name(console, &len);
    for (unsigned i = 0; i < count && !found; i++)
        found = matches_text(&patterns[i], full, 0) ||
                matches_text(&patterns[i], field_text(console, "name"), 0) ||
                matches_text(&patterns[i], field_text(console, "uuid"), FNM_CASEFOLD);
    free(full);
    return found;
}

static void compile(const struct call *call, struct pattern *pattern, const char *text, bool is_regex)
{
    char why[128];
    *pattern = (struct pattern){.glob = is_regex ? NULL : text};
    int err = is_regex ? regcomp(&pattern->regex, text, REG_EXTENDED | REG_NOSUB) : 0;
    if (!err)
        return;
    regerror(err, &pattern->regex, why, sizeof why);
    char *safe = shown(text, strlen(text));
    fail_usage(call, "'%s' is no regular expression: %s", safe, why);
}

static int compare(const void *left, const void *right)
{
    const json_t *a = *(json_t *const *)left, *b = *(json_t *const *)right;
    int order = strcmp(field_text(a, "name"), field_text(b, "name"));
    if (!order)
        order = strcmp(field_text(a, "label"), field_text(b, "label"));
    if (!order)
        order = field_number(a, "port") < field_number(b, "port") ? -1 : 1;
    return order;
}

json_t *consoles_matching(struct ctl_conn *conn, const struct call *call, unsigned first, unsigned end,
                          bool is_regex)
{
    unsigned count = end - first;
    struct pattern *patterns = xcalloc(count, sizeof *patterns);
    for (unsigned i = 0; i < count; i++)
        compile(call, &patterns[i], call->args[first + i], is_regex);
    json_t *all = consoles_list(conn), *console, *found = json_array();
    json_t **rows = xcalloc(json_array_size(all), sizeof(json_t *));
    size_t i, n = 0;
    json_array_foreach(all, i, console) if (matches(patterns, count, console)) rows[n++] = console;
    qsort(rows, n, sizeof(json_t *), compare);
    for (i = 0; i < n; i++)
        json_array_append(found, rows[i]);
    for (i = 0; i < count && is_regex; i++)
        regfree(&patterns[i].regex);
    free(rows);
    free(patterns);
    json_decref(all);
    return found;
}
