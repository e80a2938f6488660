#include "lines.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "vspc/text.h"

enum line_kind { LINE_END, LINE_EMPTY, LINE_KEY, LINE_SECTION };

/* isspace as inih uses it. */
static bool is_space(char c)
{
    return isspace((unsigned char)c);
}

static char *skip_space(char *text)
{
    while (is_space(*text))
        text++;
    return text;
}

static void strip_end(char *text)
{
    size_t len = strlen(text);
    while (len && is_space(text[len - 1]))
        text[--len] = 0;
}

/* Complains of the present line, which inih shall not see. Says nothing of what the line holds, which may be
 * a password. */
static enum line_kind refuse(const struct lines *lines, const char *what)
{
    complaints_add(lines->complaints, "%s:%u: %s", lines->name, lines->number, what);
    return LINE_EMPTY;
}

/* Reads up to the next newline, keeping what fits. Result: how long the line is, or -1 at the end of the
 * file. */
static long read_line(struct lines *lines, bool *nul)
{
    size_t len = 0;
    int c;
    *nul = false;
    while ((c = getc(lines->file)) != EOF && ++lines->bytes_read <= LINES_FILE_MAX) {
        if (c == '\n')
            break;
        if (len < sizeof lines->text - 1)
            lines->text[len] = (char)c;
        len++;
        *nul = *nul || c == 0;
    }
    if (c == EOF && ferror(lines->file))
        lines->read_error = errno;
    if (c == EOF && len == 0)
        return -1;
    lines->text[len < sizeof lines->text - 1 ? len : sizeof lines->text - 1] = 0;
    return (long)len;
}

/* Takes off the byte order mark that some editors put at the start, and the CR of a CRLF. */
static size_t strip_marks(struct lines *lines, size_t len)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    if (len > LINES_TEXT_MAX + LINES_MARKS)
        return len;
    if (len && lines->text[len - 1] == '\r')
        lines->text[--len] = 0;
    if (lines->number == 1 && len >= sizeof mark && memcmp(lines->text, mark, sizeof mark) == 0) {
        len -= sizeof mark;
        memmove(lines->text, lines->text + sizeof mark, len + 1);
    }
    return len;
}

/* A [section] line; of a section that does not exist, this is the one complaint. */
static enum line_kind check_section(struct lines *lines)
{
    char *name = lines->text + 1;
    char *end = strchr(name, ']');
    lines->in_section = true;
    lines->skipping = true;
    if (!end)
        return refuse(lines, "a section is written [name]; the closing bracket is missing");
    char behind = *skip_space(end + 1);
    if (behind && behind != ';')
        refuse(lines, "nothing but a comment may stand behind [section]; a key takes a line of its own");
    *end = 0;
    lines->skipping = !config_section_exists(name);
    if (lines->skipping) {
        char *hint = config_section_hint();
        complaints_add(lines->complaints, "%s:%u: unknown section %s: %s", lines->name, lines->number,
                       quote(name, strlen(name)).s, hint);
        free(hint);
        return LINE_EMPTY;
    }
    end[0] = ']';
    end[1] = 0;
    return LINE_SECTION;
}

/* A line that must be key = value. inih would take the first of `=` and `:`, so that a forgotten `=` in front
 * of VM:Port made a key of its own. */
static enum line_kind check_key(struct lines *lines)
{
    char *text = lines->text;
    size_t len = strcspn(text, "=:;");
    if (text[len] != '=')
        return refuse(lines, "neither [section] nor key = value nor a comment (; or # in front)");
    if (len == 0)
        return refuse(lines, "the key in front of = is missing");
    if (!lines->in_section)
        return refuse(lines, "a key must stand below its [section], and here is none yet");
    if (lines->skipping)
        return LINE_EMPTY;
    strip_end(text);
    lines->value = skip_space(text + len + 1);
    return LINE_KEY;
}

static enum line_kind next_kind(struct lines *lines)
{
    bool nul;
    long read = read_line(lines, &nul);
    if (read < 0)
        return LINE_END;
    lines->number++;
    if (lines->bytes_read > LINES_FILE_MAX) {
        complaints_add(lines->complaints, "%s: larger than 1 MiB, which no configuration is", lines->name);
        return LINE_END;
    }
    size_t len = strip_marks(lines, (size_t)read);
    if (len > LINES_TEXT_MAX)
        return refuse(lines, "longer than 190 bytes; shorten the comment, or move it to a line of its own");
    if (nul)
        return refuse(lines, "holds a NUL byte; the file must be text (ASCII or UTF-8)");
    char first = *skip_space(lines->text);
    if (!first || first == ';' || first == '#')
        return LINE_EMPTY;
    if (is_space(lines->text[0]))
        return refuse(lines,
                      "starts with a space; a key, and all of its value, stands at the start of a line");
    return first == '[' ? check_section(lines) : check_key(lines);
}

char *lines_next(char *out, int size, void *arg)
{
    struct lines *lines = arg;
    lines->value = NULL;
    enum line_kind kind = next_kind(lines);
    if (kind == LINE_END)
        return NULL;
    const char *text = kind == LINE_EMPTY ? "" : lines->text;
    /* An inih built with a shorter line than it comes with. */
    if (size < 2 || strlen(text) + 2 > (size_t)size) {
        refuse(lines, "longer than this inih library takes");
        text = "";
    }
    snprintf(out, (size_t)size, "%s\n", text);
    return out;
}
