/* The port book: what becomes of a file that is not as it should be. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "port_book_fixture.h"

TestSuite(port_book_file, .init = setup, .timeout = 120);

/* Starts with a file that cannot be used: it must be set aside, and the book work. */
static void expect_set_aside(void)
{
    start();
    cr_assert_eq(count_aside(), 1);
    cr_assert_eq(take("a"), FIRST);
    expect_port_soon("a", FIRST);
    cr_assert_eq(stop(), 0);
    start();
    cr_assert_eq(take("b"), FIRST + 1);
    cr_assert_eq(take("a"), FIRST);
    cr_assert_eq(stop(), 0);
    cr_assert_eq(count_aside(), 1);
}

Test(port_book_file, text_is_set_aside)
{
    write_file("This is no database, but it is long enough to be taken for one at first sight......\n", 84);
    expect_set_aside();
}

Test(port_book_file, another_programs_database_is_set_aside)
{
    ports_db_run(path, "CREATE TABLE port(port INTEGER PRIMARY KEY, fruit)");
    expect_set_aside();
}

Test(port_book_file, newer_schema_is_set_aside)
{
    ports_db_run(path, PORTS_DB_SCHEMA "PRAGMA user_version=2");
    expect_set_aside();
}

Test(port_book_file, other_columns_are_set_aside)
{
    ports_db_run(path, "PRAGMA application_id=1987276899; PRAGMA user_version=1; CREATE TABLE port(fruit)");
    expect_set_aside();
}

/* It would take two rows for one VM. */
Test(port_book_file, table_without_its_constraints_is_set_aside)
{
    ports_db_run(path, "PRAGMA application_id=1987276899; PRAGMA user_version=1;"
                       "CREATE TABLE port(port INTEGER PRIMARY KEY, identity BLOB, name BLOB,"
                       " last_seen INTEGER, connected INTEGER)");
    expect_set_aside();
}

Test(port_book_file, file_that_is_far_too_big_is_set_aside)
{
    ports_db_run(path, PORTS_DB_SCHEMA);
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    expect_set_aside();
}

/* A book of a hundred VMs, that nobody uses. */
static void make_full_book(void)
{
    start();
    for (int i = 0; i < PORTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "a virtual machine with quite a long name, %d", i);
        cr_assert_eq(take(name), FIRST + i);
    }
    cr_assert_eq(stop(), 0);
}

Test(port_book_file, truncated_file_is_set_aside)
{
    make_full_book();
    cr_assert_eq(truncate(path, 6000), 0);
    expect_set_aside();
}

/* Writes noise over a page, counted from 0. */
static void damage_page(int page)
{
    char noise[4096];
    memset(noise, 0x5a, sizeof noise);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, noise, sizeof noise, page * (off_t)sizeof noise), (ssize_t)sizeof noise);
    close(fd);
}

Test(port_book_file, damaged_page_is_set_aside)
{
    make_full_book();
    damage_page(1);
    expect_set_aside();
}

/* Reading the rows alone would not see it. */
Test(port_book_file, damaged_page_of_the_index_is_set_aside)
{
    make_full_book();
    damage_page(2);
    expect_set_aside();
}

Test(port_book_file, empty_file_is_a_new_book)
{
    write_file("", 0);
    start();
    cr_assert_eq(take("a"), FIRST);
    cr_assert_eq(stop(), 0);
    cr_assert_eq(count_aside(), 0);
    cr_assert_eq(ports_db_port(path, "a"), FIRST);
}

Test(port_book_file, nothing_that_stands_in_the_file_is_believed)
{
    ports_db_run(path,
                 PORTS_DB_SCHEMA "INSERT INTO port VALUES(20000, x'6e616d653a61', x'61', strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(20001, 'text', x'61', strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(20002, x'', x'61', strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(20003, zeroblob(600), x'61', strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(20004, x'01', zeroblob(60000), strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(20005, x'02', x'61', 'yesterday', 1);"
                                 "INSERT INTO port VALUES(20006, x'03', x'61', -9223372036854775808, 1);"
                                 "INSERT INTO port VALUES(20007, x'04', x'61', 9223372036854775807, 'x');"
                                 "INSERT INTO port VALUES(85536, x'05', x'61', strftime('%s'), 1);"
                                 "INSERT INTO port VALUES(-1, x'06', x'61', strftime('%s'), 1);"
                                 "CREATE TRIGGER t AFTER INSERT ON port BEGIN DELETE FROM port; END;");
    start();
    cr_assert_eq(take("a"), FIRST);
    for (int i = 1; i < PORTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        cr_assert_gt(take(name), 0);
    }
    cr_assert_eq(stop(), 0);
    cr_assert_eq(count_aside(), 0);
    cr_assert_eq(ports_db_number(path, "SELECT count(*) FROM port WHERE port BETWEEN 20000 AND 20099"), 100);
    cr_assert_eq(ports_db_number(path, "SELECT max(length(name)) FROM port"), 2);
}

Test(port_book_file, file_that_is_removed_is_written_anew)
{
    start();
    for (int i = 0; i < 2; i++) {
        char name[8];
        snprintf(name, sizeof name, "vm%d", i);
        cr_assert_eq(take(name), FIRST + i);
        expect_port_soon(name, FIRST + i);
        cr_assert_eq(unlink(path), 0);
    }
    cr_assert_eq(take("last"), FIRST + 2);
    expect_soon("SELECT count(*) FROM port", 3);
    cr_assert_eq(stop(), 0);
    cr_assert_eq(ports_db_count(path), 3);
    cr_assert_eq(count_aside(), 0);
}

/* Without it, what was committed since the last checkpoint is nowhere. */
Test(port_book_file, wal_that_is_removed_is_written_anew)
{
    char *wal = xasprintf("%s-wal", path);
    start();
    cr_assert_eq(take("first"), FIRST);
    expect_port_soon("first", FIRST);
    cr_assert_eq(unlink(wal), 0);
    cr_assert_eq(take("last"), FIRST + 1);
    /* Without reading the book, which would make a WAL too. */
    WAIT_FOR(access(wal, F_OK) == 0, SOON, "there is no other WAL");
    cr_assert_eq(stop(), 0);
    cr_assert_eq(ports_db_count(path), 2);
    free(wal);
}

Test(port_book_file, file_that_is_damaged_while_it_is_used_is_set_aside)
{
    make_full_book();
    start();
    /* What another has written, the book must read again, and there it is cut off. */
    ports_db_run(path, "UPDATE port SET last_seen=last_seen-1; PRAGMA wal_checkpoint(TRUNCATE)");
    cr_assert_eq(truncate(path, 8192), 0);
    for (int i = 0; i < PORTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "another %d", i);
        cr_assert_gt(take(name), 0);
    }
    expect_soon("SELECT count(*) FROM port WHERE CAST(name AS TEXT) LIKE 'another%'", PORTS);
    cr_assert_eq(count_aside(), 1);
    cr_assert_eq(stop(), 0);
}
