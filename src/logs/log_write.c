/* Writing: what is to be in a file, cut where it is rotated, with notes of what is missing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "log_files.h"

enum { NOTE_MAX = 192 };

static uint64_t now_realtime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_stamped(const struct log_files *files)
{
    return files->config->log.timestamps == LOG_TIMESTAMPS_LINE;
}

/* Says what is missing, on a line of its own. Result: its length, 0 when nothing is. */
static size_t make_note(struct log_files *files, const struct log_file *file, char out[NOTE_MAX])
{
    size_t len = 0;
    if (!file->gap)
        return 0;
    if (!is_stamped(files) || file->mid_line) {
        out[len++] = '\r';
        out[len++] = '\n';
    }
    if (is_stamped(files)) {
        log_stamp_format(&files->clock, now_realtime_ms(), out + len);
        len += LOG_STAMP_LEN;
    }
    int n = snprintf(out + len, NOTE_MAX - len, "[vspc: %llu bytes lost here: %s]\r\n",
                     (unsigned long long)file->gap, log_error_text(file->gap_error));
    len += (size_t)n;
    return len < NOTE_MAX ? len : NOTE_MAX - 1;
}

/* What of an item goes into the file next, behind the note. */
struct piece {
    const uint8_t *data;
    size_t len;
    bool is_cut; /* by max_size */
};

static struct piece next_piece(struct log_files *files, const struct log_item *item,
                               struct log_cursor *cursor, uint64_t now_ms, size_t room)
{
    struct piece piece = {.data = files->out};
    if (!item)
        return piece;
    size_t left = item->data.len - cursor->at;
    if (is_stamped(files)) {
        size_t most = room < LOG_OUT ? room : LOG_OUT;
        piece.len = log_stamp_render(&files->clock, cursor, item, now_ms, files->out, most);
        piece.is_cut = cursor->at < item->data.len && most == room;
    } else {
        piece.len = left < room ? left : room;
        if (piece.len)
            piece.data = bytes_at(&item->data) + cursor->at;
        piece.is_cut = piece.len < left;
        cursor->at += piece.len;
    }
    return piece;
}

/* The first n bytes of a piece that begins at the cursor are in the file. */
static void advance(struct log_files *files, struct log_cursor *cursor, const struct log_item *item,
                    uint64_t now_ms, size_t n)
{
    if (is_stamped(files))
        log_stamp_render(&files->clock, cursor, item, now_ms, files->out, n);
    else
        cursor->at += n;
}

/* Cuts at the end of a line, or before the line, which is then the first of the next file; one that is too
 * long for a file is cut anywhere. */
static size_t cut_at_line(const struct piece *piece, bool may_be_empty)
{
    const uint8_t *end = memrchr(piece->data, '\n', piece->len);
    if (end)
        return (size_t)(end - piece->data) + 1;
    return may_be_empty ? 0 : piece->len;
}

/* Writes both, as far as the disk takes them. Result: 0 or a negative errno; *done bytes are written. */
static int write_both(int fd, const char *note, size_t note_len, const uint8_t *data, size_t len,
                      size_t *done)
{
    *done = 0;
    while (*done < note_len + len) {
        size_t of_note = *done < note_len ? *done : note_len, of_data = *done - of_note;
        struct iovec parts[2] = {{(char *)note + of_note, note_len - of_note},
                                 {(uint8_t *)data + of_data, len - of_data}};
        ssize_t n = writev(fd, parts, 2);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            *done += (size_t)n;
    }
    return 0;
}

/* Half a note is no note: takes it back, unless somebody else has changed the file meanwhile. */
static void take_back(const struct log_file *file, size_t n)
{
    struct stat st;
    if (n && fstat(file->fd, &st) == 0 && (uint64_t)st.st_size == file->size + n &&
        ftruncate(file->fd, (off_t)file->size) < 0)
        log_debug("Half a note stays in a console log: %s", strerror(errno));
}

/* The size that the file may have. A rotation that failed is not tried again at once. */
static uint64_t size_max(const struct log_files *files, const struct log_file *file)
{
    size_t max = files->config->log.max_size;
    if (!max || clock_ms() < file->rotate_ms)
        return UINT64_MAX / 2;
    return max > LOG_SIZE_LEAST ? max : LOG_SIZE_LEAST;
}

/* Writes the note, if there is a gap, and the item from the cursor on, up to where the file is to be rotated
 * at most. Result: 0 or the error. */
static int write_some(struct log_files *files, struct log_file *file, const struct log_item *item,
                      struct log_cursor *cursor)
{
    char note[NOTE_MAX];
    size_t done;
    int err = log_file_open(files, file);
    if (err)
        return err;
    uint64_t now_ms = now_realtime_ms(), max = size_max(files, file);
    size_t note_len = make_note(files, file, note);
    cursor->mid_line = file->mid_line && !note_len;
    if (file->size && file->size + note_len >= max) {
        log_file_rotate(files, file);
        return 0;
    }
    struct log_cursor from = *cursor;
    struct piece piece = next_piece(files, item, cursor, now_ms, max - file->size - note_len);
    if (piece.is_cut)
        piece.len = cut_at_line(&piece, file->size + note_len > 0);
    if (piece.is_cut && note_len + piece.len == 0) {
        *cursor = from;
        log_file_rotate(files, file);
        return 0;
    }
    /* Where all goes out, the cursor is right; it may be behind what shows in no byte. */
    err = write_both(file->fd, note, note_len, piece.data, piece.len, &done);
    if (done < note_len) {
        take_back(file, done);
        done = 0;
    }
    size_t of_piece = done > note_len ? done - note_len : 0;
    if (err || piece.is_cut) {
        *cursor = from;
        advance(files, cursor, item, now_ms, of_piece);
    }
    file->size += done;
    if (done)
        file->mid_line = (of_piece ? piece.data[of_piece - 1] : '\n') != '\n';
    if (done >= note_len)
        file->gap = 0;
    atomic_fetch_add_explicit(&files->logs->written, cursor->at - from.at, memory_order_relaxed);
    return err;
}

/* What is missing now is noted when the file can be written. */
static void widen_gap(struct log_file *file, uint64_t bytes, int error)
{
    if (!file->gap)
        file->gap_error = error;
    file->gap += bytes;
}

int log_file_write(struct log_files *files, struct log_file *file, const struct log_item *item)
{
    struct log_cursor cursor = {0};
    size_t len = item ? item->data.len : 0;
    int err = 0;
    if (item && item->lost)
        widen_gap(file, item->lost, LOG_NO_ROOM);
    while (!err && (cursor.at < len || file->gap))
        err = write_some(files, file, item, &cursor);
    if (!err)
        return 0;
    if (cursor.at < len) {
        widen_gap(file, len - cursor.at, err);
        atomic_fetch_add_explicit(&files->logs->lost, len - cursor.at, memory_order_relaxed);
    }
    log_file_close(files, file);
    return err;
}
