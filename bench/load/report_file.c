#include "report_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vspc/mem.h"
#include "vspc/text.h"

/* Says what failed. Result: the error, negative. */
static int complain(const char *path, int error)
{
    fprintf(stderr, "vspc-bench: cannot write %s: %s\n", quote(path, strlen(path)).s, strerror(error));
    return -error;
}

/* Opens a new file beside the path, with the permissions that the path's would have. */
static FILE *open_temporary(struct report_file *file)
{
    file->temporary = xasprintf("%s.XXXXXX", file->path);
    int fd = mkstemp(file->temporary);
    if (fd < 0) {
        int error = errno;
        free(file->temporary);
        file->temporary = NULL;
        errno = error;
        return NULL;
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    return fdopen(fd, "w");
}

int report_file_open(struct report_file *file, const char *path)
{
    struct stat st;
    *file = (struct report_file){.path = path};
    if (strcmp(path, "-") == 0)
        file->out = stdout;
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        file->out = fopen(path, "we");
    else
        file->out = open_temporary(file);
    return file->out ? 0 : complain(path, errno);
}

int report_file_close(struct report_file *file)
{
    int error = 0;
    errno = 0;
    if (fflush(file->out) != 0 || ferror(file->out))
        error = errno ? errno : EIO;
    if (file->out != stdout && fclose(file->out) != 0 && !error)
        error = errno;
    if (file->temporary && !error && rename(file->temporary, file->path) < 0)
        error = errno;
    if (file->temporary && error)
        unlink(file->temporary);
    free(file->temporary);
    return error ? complain(file->path, error) : 0;
}
