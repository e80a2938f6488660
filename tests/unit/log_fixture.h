/* What the tests of console logs share: logs in this test's directory, a worker's writer whose loop the test
 * runs, and a disk thread that can be held up. */
#ifndef VSPC_TEST_LOG_FIXTURE_H
#define VSPC_TEST_LOG_FIXTURE_H

#include <criterion/criterion.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "env.h"
#include "vspc/console_log.h"
#include "vspc/mem.h"

static struct disk *disk;
static struct console_logs *logs;
static struct console_log_writer *writer;
static struct loop *loop;
static char directory[128];

static inline struct config *load_config(const char *keys)
{
    const char *overrides[16];
    char *all = xstrdup(keys), *error, *rest = all;
    size_t n = 0;
    char *log_directory = xasprintf("log.directory=%s", directory);
    overrides[n++] = log_directory;
    while (rest && *rest)
        overrides[n++] = strsep(&rest, " ");
    struct config *config = config_load(NULL, overrides, n, &error);
    cr_assert_not_null(config, "%s", error);
    free(log_directory);
    free(all);
    return config;
}

/* keys: "log.keep=2 log.compress=yes". */
static inline void start_logs(const char *keys)
{
    signal(SIGXFSZ, SIG_IGN);
    snprintf(directory, sizeof directory, "%s/logs", env_dir());
    mkdir(directory, 0700);
    struct config *config = load_config(keys);
    disk = disk_start();
    logs = console_logs_new(disk, config);
    loop = loop_new();
    writer = console_log_writer_new(logs, loop);
    config_unref(config);
}

/* One turn of the worker's loop. */
static inline void pump(void)
{
    loop_stop(loop);
    loop_run(loop);
}

/* All that was put is on disk, or given up. */
static inline void settle(void)
{
    WAIT_FOR((pump(), console_logs_figures(logs).queued_bytes == 0), SOON, "the queue is not emptied");
}

/* Every log must have been closed. */
static inline void stop_logs(void)
{
    console_log_writer_free(writer);
    console_logs_stop(logs);
    disk_stop_begin(disk);
    cr_assert_eq(disk_stop_finish(disk, SOON), 0);
    console_logs_free(logs);
    loop_free(loop);
}

/* A VM's log, with a UUID whose last byte is this number; 0: it has none. */
static inline struct console_log *open_log(const char *vm, uint8_t number)
{
    struct console_log *log = NULL;
    struct console_log_name name = {
        .name = vm, .name_len = strlen(vm), .has_uuid = number, .uuid[UUID_SIZE - 1] = number, .label = ""};
    console_log_name(writer, &log, &name);
    return log;
}

static inline void put_text(struct console_log *log, const char *text)
{
    console_log_put(log, text, strlen(text));
}

static inline char *path_of(const char *name)
{
    return xasprintf("%s/%s", directory, name);
}

/* A file's bytes; "" when there is none. */
static inline char *content(const char *name)
{
    char *path = path_of(name), *text = env_read_file(path, 0, 64 << 20);
    free(path);
    return text;
}

static inline bool is_there(const char *name)
{
    struct stat st;
    char *path = path_of(name);
    bool found = lstat(path, &st) == 0;
    free(path);
    return found;
}

static inline void expect_content(const char *name, const char *expected)
{
    char *text = content(name);
    cr_assert(strcmp(text, expected) == 0, "%s holds %s instead of %s", name, quote(text, strlen(text)).s,
              quote(expected, strlen(expected)).s);
    free(text);
}

/* A compressed file's text. */
static inline char *gzip_content(const char *name)
{
    char *path = path_of(name);
    char *text = xcalloc(1, (4 << 20) + 1);
    gzFile file = gzopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    cr_assert_geq(gzread(file, text, 4 << 20), 0, "%s", path);
    cr_assert_eq(gzclose(file), Z_OK, "%s is damaged", path);
    free(path);
    return text;
}

static sem_t held, release;

static inline void hold_letter(void *arg)
{
    (void)arg;
    sem_post(&held);
    sem_wait(&release);
}

/* The disk does not answer from now on, until let_disk_go. */
static inline void hold_disk(void)
{
    sem_init(&held, 0, 0);
    sem_init(&release, 0, 0);
    loop_post(disk_loop(disk), hold_letter, NULL);
    sem_wait(&held);
}

static inline void let_disk_go(void)
{
    sem_post(&release);
}

#endif
