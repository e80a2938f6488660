/* Console logs: what is in the files, whatever the disk does. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log_fixture.h"

TestSuite(console_log, .timeout = 120);

Test(console_log, holds_every_byte_and_nothing_else)
{
    static const char bytes[] = "a\0\xff\r\n\x1b[2J";
    start_logs("log.file={name}.log");
    struct console_log *log = open_log("vm", 1);
    console_log_put(log, bytes, sizeof bytes);
    console_log_put(log, "", 0);
    console_log_put(log, bytes, sizeof bytes);
    settle();
    console_log_put(log, bytes, sizeof bytes);
    console_log_close(&log);
    stop_logs();
    char *path = path_of("vm.log");
    char *text = env_read_file(path, 0, 1000);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, 3 * (off_t)sizeof bytes);
    cr_assert_eq(st.st_mode & 07777, 0640);
    for (int i = 0; i < 3; i++)
        cr_assert_arr_eq(text + (size_t)i * sizeof bytes, bytes, sizeof bytes);
    free(text);
    free(path);
}

Test(console_log, no_logs_cost_nothing)
{
    struct console_log *log = NULL;
    struct console_log_name name = {.name = "vm", .name_len = 2, .label = ""};
    cr_assert_null(console_log_writer_new(NULL, NULL));
    console_log_name(NULL, &log, &name);
    cr_assert_null(log);
    console_log_put(log, "x", 1);
    cr_assert_null(console_log_path(log));
    console_log_close(&log);
    console_log_writer_free(NULL);
}

Test(console_log, mode_is_as_configured_whatever_the_umask)
{
    struct stat st;
    umask(077);
    start_logs("log.file={name} log.file_mode=0664");
    struct console_log *log = open_log("vm", 1);
    put_text(log, "x");
    console_log_close(&log);
    stop_logs();
    char *path = path_of("vm");
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0664);
    free(path);
}

Test(console_log, renamed_vm_goes_on_in_its_new_file)
{
    start_logs("log.file={name}");
    struct console_log *log = open_log("one", 1);
    put_text(log, "1");
    struct console_log_name name = {.name = "two", .name_len = 3, .label = ""};
    console_log_name(writer, &log, &name);
    put_text(log, "2");
    console_log_name(writer, &log, &name);
    put_text(log, "3");
    char *path = console_log_path(log), *expected = path_of("two");
    cr_assert_str_eq(path, expected);
    console_log_close(&log);
    stop_logs();
    expect_content("one", "1");
    expect_content("two", "23");
    free(path);
    free(expected);
}

Test(console_log, two_of_one_name_have_two_files)
{
    start_logs("log.file={name}");
    struct console_log *a = open_log("vm", 1), *b = open_log("vm", 2), *c = open_log("vm", 0),
                       *d = open_log("vm", 2);
    put_text(a, "a");
    put_text(b, "b");
    put_text(c, "c");
    put_text(d, "d");
    console_log_close(&a);
    a = open_log("vm", 3);
    put_text(a, "e");
    console_log_close(&a);
    console_log_close(&b);
    console_log_close(&c);
    console_log_close(&d);
    stop_logs();
    expect_content("vm", "ae");
    expect_content("vm-00000000000000000000000000000002", "b");
    expect_content("vm-2", "c");
    expect_content("vm-3", "d");
}

Test(console_log, more_files_than_may_be_open)
{
    enum { VMS = 2 * CONSOLE_LOG_FILES + 7, ROUNDS = 4 };
    static struct console_log *all[VMS];
    start_logs("log.file={name}");
    for (int i = 0; i < VMS; i++) {
        char name[16];
        snprintf(name, sizeof name, "vm%d", i);
        all[i] = open_log(name, 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < VMS; i++) {
            char text[32];
            snprintf(text, sizeof text, "%d/%d\n", i, round);
            put_text(all[i], text);
        }
        settle();
        cr_assert_leq(console_logs_figures(logs).open_files, CONSOLE_LOG_FILES);
    }
    for (int i = 0; i < VMS; i++)
        console_log_close(&all[i]);
    stop_logs();
    for (int i = 0; i < VMS; i++) {
        char name[16], text[128];
        snprintf(name, sizeof name, "vm%d", i);
        snprintf(text, sizeof text, "%d/0\n%d/1\n%d/2\n%d/3\n", i, i, i, i);
        expect_content(name, text);
    }
}

Test(console_log, rotates_at_the_end_of_a_line_and_keeps_so_many)
{
    char line[301];
    start_logs("log.file={name} log.max_size=1000B log.keep=2");
    struct console_log *log = open_log("vm", 1);
    for (int i = 0; i < 14; i++) {
        memset(line, 'a' + i, 299);
        strcpy(line + 299, "\n");
        put_text(log, line);
        if (i % 2)
            settle();
    }
    console_log_close(&log);
    stop_logs();
    static const char *const files[] = {"vm", "vm.1", "vm.2"};
    static const char *const first[] = {"mn", "jkl", "ghi"};
    for (int i = 0; i < 3; i++) {
        char *text = content(files[i]);
        cr_assert_eq(strlen(text), 300 * strlen(first[i]), "%s", files[i]);
        for (size_t j = 0; j < strlen(first[i]); j++)
            cr_assert_eq(text[300 * j], first[i][j]);
        free(text);
    }
    cr_assert_not(is_there("vm.3"));
}

Test(console_log, no_file_exceeds_its_size_and_the_bytes_are_all_there)
{
    enum { LEN = 50000, SIZE = 4096 };
    static char text[LEN], back[LEN];
    char keys[128];
    for (int i = 0; i < LEN; i++)
        text[i] = (char)('0' + i % 64);
    snprintf(keys, sizeof keys, "log.file={name} log.max_size=%dB log.keep=20", SIZE);
    start_logs(keys);
    struct console_log *log = open_log("vm", 1);
    for (int at = 0; at < LEN; at += 12500) {
        console_log_put(log, text + at, 12500);
        settle();
    }
    console_log_close(&log);
    stop_logs();
    size_t len = 0;
    for (int i = 20; i >= 0; i--) {
        char name[16];
        snprintf(name, sizeof name, i ? "vm.%d" : "vm", i);
        char *part = content(name);
        cr_assert_leq(strlen(part), SIZE);
        cr_assert_leq(len + strlen(part), LEN);
        memcpy(back + len, part, strlen(part));
        len += strlen(part);
        free(part);
    }
    cr_assert_eq(len, LEN);
    cr_assert_arr_eq(back, text, LEN);
}

Test(console_log, keep_0_keeps_none)
{
    start_logs("log.file={name} log.max_size=1000B log.keep=0");
    struct console_log *log = open_log("vm", 1);
    char line[601];
    memset(line, 'x', 600);
    line[600] = 0;
    for (int i = 0; i < 3; i++) {
        put_text(log, line);
        settle();
    }
    console_log_close(&log);
    stop_logs();
    expect_content("vm", line);
    cr_assert_not(is_there("vm.1"));
}

Test(console_log, rotated_files_are_compressed_and_equal)
{
    enum { LEN = 900000, FILES = 4 };
    static char text[FILES][LEN + 1];
    start_logs("log.file={name} log.max_size=900000B log.keep=3 log.compress=yes");
    char *plain = path_of("vm.1"), *part = path_of("left.gz~");
    FILE *old = fopen(plain, "w");
    fputs("from before", old);
    fclose(old);
    struct console_log *log = open_log("vm", 1);
    /* All at once, so that files which wait to be compressed move on. */
    hold_disk();
    for (int i = 0; i < FILES; i++) {
        for (int j = 0; j < LEN; j++)
            text[i][j] = (char)('a' + (i + j % 1000 * (j % 777)) % 26);
        console_log_put(log, text[i], LEN);
    }
    let_disk_go();
    WAIT_FOR((pump(), is_there("vm.3.gz") && is_there("vm.2.gz") && is_there("vm.1.gz") &&
                          !is_there("vm.1") && !is_there("vm.2") && !is_there("vm.3")),
             SOON, "not compressed");
    console_log_close(&log);
    stop_logs();
    for (int i = 1; i <= 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "vm.%d.gz", i);
        char *back = gzip_content(name);
        cr_assert(strcmp(back, text[FILES - 1 - i]) == 0, "%s differs", name);
        free(back);
    }
    cr_assert_not(is_there("vm.gz~"));
    cr_assert_not(is_there("vm.4"));
    free(plain);
    free(part);
}

Test(console_log, what_a_kill_left_is_removed_and_older_files_move_on)
{
    snprintf(directory, sizeof directory, "%s/logs", env_dir());
    mkdir(directory, 0700);
    static const char *const left[] = {"vm.1", "vm.1.gz", "vm.2.gz", "vm.gz~", "other.gz~"};
    for (size_t i = 0; i < 5; i++) {
        char *path = path_of(left[i]);
        FILE *file = fopen(path, "w");
        fputs(left[i], file);
        fclose(file);
        free(path);
    }
    char line[601];
    memset(line, 'x', 600);
    line[600] = 0;
    start_logs("log.file={name} log.max_size=1000B log.keep=5");
    struct console_log *log = open_log("vm", 1);
    for (int i = 0; i < 2; i++) {
        put_text(log, line);
        settle();
    }
    console_log_close(&log);
    stop_logs();
    expect_content("vm.1", line);
    expect_content("vm.2", "vm.1");
    expect_content("vm.3.gz", "vm.2.gz");
    cr_assert_not(is_there("vm.2.gz"));
    cr_assert_not(is_there("vm.gz~"));
    cr_assert_not(is_there("other.gz~"));
}

/* How many bytes a file may have that this process writes. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

#define TOO_BIG ": File too large]\r\n"

Test(console_log, what_the_disk_refuses_is_noted_where_it_is_missing)
{
    start_logs("log.file={name}");
    struct console_log *log = open_log("vm", 1);
    put_text(log, "before");
    settle();
    limit_files(10);
    put_text(log, "0123456789");
    settle();
    put_text(log, "more");
    settle();
    cr_assert(console_logs_figures(logs).failing);
    /* Half a note fits, and is taken back. */
    limit_files(20);
    console_logs_reopen(logs, NULL, NULL, NULL);
    put_text(log, "yet more");
    settle();
    expect_content("vm", "before0123");
    limit_files(RLIM_INFINITY);
    WAIT_FOR((pump(), !console_logs_figures(logs).failing), SOON, "not written again");
    unsigned long long lost = console_logs_figures(logs).lost_bytes;
    put_text(log, "after");
    console_log_close(&log);
    stop_logs();
    char *expected = xasprintf("before0123\r\n[vspc: %llu bytes lost here" TOO_BIG "after", lost);
    expect_content("vm", expected);
    free(expected);
}

Test(console_log, what_finds_no_room_is_noted_where_it_is_missing)
{
    enum { QUEUE = 65536 };
    static char chunk[10000];
    memset(chunk, 'c', sizeof chunk);
    start_logs("log.file={name} log.queue=64KiB");
    struct console_log *log = open_log("vm", 1), *other = open_log("other", 2);
    hold_disk();
    size_t put = 0;
    for (; put < 20 * sizeof chunk; put += sizeof chunk) {
        console_log_put(log, chunk, sizeof chunk);
        pump();
        cr_assert_leq(console_logs_figures(logs).queued_bytes, QUEUE);
    }
    for (int i = 0; i < 100000; i++)
        put_text(other, "y");
    cr_assert_leq(console_logs_figures(logs).queued_bytes, QUEUE);
    let_disk_go();
    settle();
    put_text(log, "after");
    console_log_close(&log);
    console_log_close(&other);
    stop_logs();
    char *text = content("vm"), *gap = strstr(text, "\r\n[vspc: ");
    unsigned long long lost = 0;
    cr_assert_not_null(gap);
    cr_assert_eq(sscanf(gap, "\r\n[vspc: %llu bytes lost here: the disk did not keep up]\r\nafter", &lost),
                 1);
    cr_assert_eq((size_t)(gap - text) + lost, put);
    cr_assert_str_eq(strstr(text, "]\r\n"), "]\r\nafter");
    free(text);
}

Test(console_log, gap_is_noted_though_nothing_comes_behind_it)
{
    static char chunk[60000];
    start_logs("log.file={name} log.queue=64KiB");
    memset(chunk, 'c', sizeof chunk);
    struct console_log *log = open_log("vm", 1);
    hold_disk();
    console_log_put(log, chunk, sizeof chunk);
    console_log_put(log, chunk, sizeof chunk);
    let_disk_go();
    const char note[] = "\r\n[vspc: 60000 bytes lost here: the disk did not keep up]\r\n";
    char *text = NULL;
    WAIT_FOR((free(text), pump(), text = content("vm"), strlen(text) == sizeof chunk + strlen(note)), SOON,
             "no note");
    cr_assert_str_eq(text + sizeof chunk, note);
    free(text);
    console_log_close(&log);
    stop_logs();
}

Test(console_log, nothing_but_a_regular_file_is_written)
{
    struct stat st;
    snprintf(directory, sizeof directory, "%s/logs", env_dir());
    mkdir(directory, 0700);
    char *link = path_of("link"), *fifo = path_of("fifo"), *dir = path_of("dir");
    char *target = xasprintf("%s/target", env_dir());
    cr_assert_eq(symlink(target, link), 0);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(mkdir(dir, 0700), 0);
    start_logs("log.file={name}");
    struct console_log *all[] = {open_log("link", 1), open_log("fifo", 2), open_log("dir", 3),
                                 open_log("fine", 4)};
    for (int i = 0; i < 4; i++)
        put_text(all[i], "text");
    settle();
    cr_assert_eq(console_logs_figures(logs).lost_bytes, 12);
    expect_content("fine", "text");
    cr_assert_neq(stat(target, &st), 0, "the link was followed");
    cr_assert_eq(unlink(link), 0);
    expect_content("link", "");
    WAIT_FOR((pump(), is_there("link")), SOON, "not written again");
    settle();
    for (int i = 0; i < 4; i++)
        console_log_close(&all[i]);
    stop_logs();
    expect_content("link", "\r\n[vspc: 4 bytes lost here: a symbolic link stands there]\r\n");
    free(link);
    free(fifo);
    free(dir);
    free(target);
}

static void note_done(void *arg)
{
    *(bool *)arg = true;
}

Test(console_log, reopen_goes_on_in_a_new_file)
{
    start_logs("log.file={name}");
    struct console_log *log = open_log("vm", 1);
    char *path = path_of("vm"), *moved = path_of("moved");
    for (int i = 0; i < 3; i++) {
        bool done = false;
        put_text(log, "old");
        settle();
        cr_assert_eq(rename(path, moved), 0);
        put_text(log, "still");
        settle();
        expect_content("moved", "oldstill");
        console_logs_reopen(logs, loop, note_done, &done);
        WAIT_FOR((pump(), done), SOON, "no answer");
        cr_assert_eq(console_logs_figures(logs).open_files, 0);
        cr_assert_not(is_there("vm"));
    }
    put_text(log, "new");
    console_log_close(&log);
    stop_logs();
    expect_content("vm", "new");
    free(path);
    free(moved);
}

Test(console_log, directory_that_is_put_right_later_is_used)
{
    start_logs("log.file={name}");
    struct console_log *log = open_log("vm", 1);
    char *moved = xasprintf("%s/elsewhere", env_dir());
    put_text(log, "one");
    settle();
    cr_assert_eq(rename(directory, moved), 0);
    char *command = xasprintf("rm -r %s", moved);
    cr_assert_eq(system(command), 0);
    console_logs_reopen(logs, NULL, NULL, NULL);
    put_text(log, "two");
    settle();
    cr_assert(console_logs_figures(logs).failing);
    cr_assert_eq(mkdir(directory, 0700), 0);
    WAIT_FOR((pump(), !console_logs_figures(logs).failing), SOON, "not written again");
    put_text(log, "three");
    console_log_close(&log);
    stop_logs();
    expect_content("vm", "\r\n[vspc: 3 bytes lost here: No such file or directory]\r\nthree");
    free(command);
    free(moved);
}

Test(console_log, lines_begin_with_the_time_across_restarts)
{
    for (int i = 0; i < 2; i++) {
        start_logs("log.file={name} log.timestamps=line");
        struct console_log *log = open_log("vm", 1);
        put_text(log, "first\r\nsec");
        settle();
        put_text(log, "ond\r");
        settle();
        put_text(log, "\n");
        settle();
        put_text(log, "unfinished");
        console_log_close(&log);
        stop_logs();
    }
    char *text = content("vm");
    unsigned lines = 0;
    static const char *const expected[] = {"first\r", "second\r", "unfinishedfirst\r", "second\r",
                                           "unfinished"};
    for (char *rest = text, *line; (line = strsep(&rest, "\n")); lines++) {
        int end = 0;
        cr_assert_eq(sscanf(line, "%*4u-%*2u-%*2uT%*2u:%*2u:%*2u.%*3uZ %n", &end), 0);
        cr_assert_eq(end, 25, "%s", line);
        cr_assert_str_eq(line + end, expected[lines]);
    }
    cr_assert_eq(lines, 5);
    free(text);
}

Test(console_log, note_of_a_gap_has_the_time_too)
{
    start_logs("log.file={name} log.timestamps=line");
    struct console_log *log = open_log("vm", 1);
    put_text(log, "half");
    settle();
    limit_files(1);
    put_text(log, " lost\n");
    settle();
    limit_files(RLIM_INFINITY);
    WAIT_FOR((pump(), !console_logs_figures(logs).failing), SOON, "not written again");
    put_text(log, "whole\n");
    console_log_close(&log);
    stop_logs();
    char *text = content("vm"), *note = strstr(text, "Z half\r\n");
    cr_assert_eq(note - text, 23);
    note += 8;
    char *rest = strstr(note, "Z [vspc: 6 bytes lost here: File too large]\r\n2");
    cr_assert_eq(rest - note, 23, "%s", text);
    cr_assert_str_eq(strstr(rest, "\n2") + 1 + 23, "Z whole\n");
    free(text);
}

Test(console_log, reload_applies_to_what_is_put_from_now_on)
{
    start_logs("log.file={name}");
    struct console_log *log = open_log("vm", 1);
    put_text(log, "plain\n");
    settle();
    struct config *config = load_config("log.file={name} log.timestamps=line log.max_size=600B");
    console_logs_reload(logs, config);
    config_unref(config);
    put_text(log, "timed\n");
    settle();
    char *text = content("vm");
    cr_assert_eq(strlen(text), 6 + 25 + 6);
    free(text);
    char line[600];
    memset(line, 'x', sizeof line - 1);
    line[599] = 0;
    put_text(log, line);
    settle();
    cr_assert(is_there("vm.1"));
    console_log_close(&log);
    stop_logs();
}
