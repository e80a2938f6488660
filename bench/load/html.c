#include "html.h"

#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 character at s; 0 when it is none that XML allows. */
static size_t character(const uint8_t *s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *s < 0x80                 ? 1
                 : *s >= 0xc2 && *s < 0xe0 ? 2
                 : *s >= 0xe0 && *s < 0xf0 ? 3
                 : *s < 0xf5               ? 4
                                           : 0;
    if (*s >= 0x80 && *s < 0xc2)
        return 0;
    if (len < 2)
        return len && *s >= 0x20 && *s != 0x7f ? 1 : 0;
    uint32_t code = *s & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
        (code & 0xfffe) == 0xfffe || code < 0xa0)
        return 0;
    return len;
}

void html_text(FILE *out, const char *text)
{
    for (const uint8_t *s = (const uint8_t *)text; *s;) {
        size_t len = character(s);
        if (len == 0)
            fputs("\xef\xbf\xbd", out);
        else if (*s == '&')
            fputs("&amp;", out);
        else if (*s == '<')
            fputs("&lt;", out);
        else if (*s == '>')
            fputs("&gt;", out);
        else if (*s == '"')
            fputs("&quot;", out);
        else if (*s == '\'')
            fputs("&#39;", out);
        else
            fwrite(s, 1, len, out);
        s += len ? len : 1;
    }
}
