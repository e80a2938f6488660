#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "pace.h"
#include "report.h"
#include "units.h"

enum { PAUSE_NS = 100000000, LINE_MAX_COLUMNS = 200 };

/* Of main, the only thread that shows progress. */
static struct {
    uint64_t next_ns; /* not before then */
    size_t shown;     /* characters in the line */
} progress;

/* Columns of the terminal. */
static size_t width(void)
{
    struct winsize size;
    size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    return columns < LINE_MAX_COLUMNS ? columns : LINE_MAX_COLUMNS;
}

/* "512 of 1,000 VMs identified, 51 %, 1,234 a second, 2.5 s left". */
static void compose(char out[256], const char *what, uint64_t done, uint64_t total, double rate, double eta_s)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];
    size_t len;
    if (total)
        len = (size_t)snprintf(out, 256, "%s of %s %s, %u %%", units_count(a, done), units_count(b, total),
                               what, (unsigned)((double)done * 100 / (double)total));
    else
        len = (size_t)snprintf(out, 256, "%s %s", units_count(a, done), what);
    if (rate > 0 && len < 256)
        len += (size_t)snprintf(out + len, 256 - len, ", %s a second", units_number(a, rate));
    if (eta_s > 0 && len < 256)
        snprintf(out + len, 256 - len, ", %s left", units_time(a, eta_s * 1e9));
}

void progress_show(const char *what, uint64_t done, uint64_t total, double rate, double eta_s)
{
    char line[256], padded[LINE_MAX_COLUMNS + 1];
    uint64_t now = clock_ns();
    if (now < progress.next_ns || !isatty(STDERR_FILENO))
        return;
    progress.next_ns = now + PAUSE_NS;
    compose(line, what, done, total, rate, eta_s);
    /* One column stays free: a full line makes some terminals begin the next. */
    size_t len = strlen(line), columns = width() - 1;
    if (len > columns)
        len = columns;
    size_t end = progress.shown > len ? progress.shown : len;
    if (end > columns)
        end = columns;
    memset(padded, ' ', end);
    memcpy(padded, line, len);
    padded[end] = 0;
    fprintf(stderr, "\r%s", padded);
    fflush(stderr);
    progress.shown = len;
}

void progress_end(void)
{
    if (progress.shown)
        fputc('\n', stderr);
    progress.shown = 0;
    progress.next_ns = 0;
}
