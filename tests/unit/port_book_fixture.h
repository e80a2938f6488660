/* What the tests of the port book share: a pool with its book, in this test's directory. */
#ifndef VSPC_TEST_PORT_BOOK_FIXTURE_H
#define VSPC_TEST_PORT_BOOK_FIXTURE_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ports_db.h"
#include "vspc/mem.h"
#include "vspc/port_book.h"

enum { FIRST = 20000, PORTS = 100, A_DAY = 86400 };

static struct disk *disk;
static struct port_pool *pool;
static struct port_book *book;
static char path[128];

static inline void setup(void)
{
    signal(SIGXFSZ, SIG_IGN);
    snprintf(path, sizeof path, "%s/ports.db", env_dir());
}

static inline void start_with(uint16_t first, unsigned count)
{
    pool = port_pool_new(first, count);
    port_pool_set_retention(pool, A_DAY);
    disk = disk_start();
    cr_assert_not_null(disk);
    book = port_book_start(disk, env_dir(), pool);
}

static inline void start(void)
{
    start_with(FIRST, PORTS);
    cr_assert_eq(port_book_wait_loaded(book, SOON), 0);
}

/* Result: as port_book_stop_finish. */
static inline int stop(void)
{
    port_book_stop_begin(book);
    int result = port_book_stop_finish(book, SOON);
    disk_stop_begin(disk);
    cr_assert_eq(disk_stop_finish(disk, SOON), 0);
    port_pool_free(pool);
    return result;
}

static inline int take(const char *vm)
{
    char *identity = xasprintf("name:%s", vm);
    time_t now = time(NULL);
    int port = port_pool_take(pool, identity, strlen(identity), vm, strlen(vm), clock_ms(), now);
    free(identity);
    if (port > 0)
        port_pool_connected(pool, (uint16_t)port, vm, strlen(vm), now);
    return port;
}

static inline void put(int port)
{
    port_pool_disconnected(pool, (uint16_t)port, time(NULL));
    port_pool_put(pool, (uint16_t)port);
}

/* Has that in the file, a number that a query answers, in time. */
static inline void expect_soon(const char *sql, long long number)
{
    WAIT_FOR(ports_db_number(path, sql) == number, SOON, "%s is %lld, not %lld", sql,
             ports_db_number(path, sql), number);
}

/* For longer than changes are gathered, the file holds one row, or cannot be read: the book must have tried
 * in vain meanwhile. */
static inline void expect_nothing_written(void)
{
    for (uint64_t from = clock_ms(); clock_ms() - from < 300; env_nap())
        cr_assert_leq(ports_db_count(path), 1);
}

static inline void expect_port_soon(const char *vm, int port)
{
    WAIT_FOR(ports_db_port(path, vm) == port, SOON, "the book has port %d of %s, not %d",
             ports_db_port(path, vm), vm, port);
}

/* Files that were set aside, without what SQLite keeps beside them. */
static inline unsigned count_aside(void)
{
    unsigned count = 0;
    DIR *dir = opendir(env_dir());
    struct dirent *entry;
    while ((entry = readdir(dir)))
        count += strstr(entry->d_name, "ports.db.damaged-") && !strstr(entry->d_name, "-wal") &&
                 !strstr(entry->d_name, "-shm");
    closedir(dir);
    return count;
}

static inline void write_file(const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    cr_assert(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

#endif
