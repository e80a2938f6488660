/* HTML: text inside a page that is well-formed XML too. Functions without state, any thread. */
#ifndef VSPC_HTML_H
#define VSPC_HTML_H

#include <stdio.h>

/* Writes text from outside, for an element's content or a quoted attribute: what means something to HTML is
 * escaped, and a byte that is no UTF-8 or stands for a control character becomes U+FFFD. */
void html_text(FILE *out, const char *text);

#endif
