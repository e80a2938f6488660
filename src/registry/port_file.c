#include "port_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vspc/mem.h"

#define APPLICATION_ID "1987276899" /* "vspc" */

enum {
    VERSION = 1,           /* of the schema */
    BUSY_MS = 1000,        /* how long another program that reads or writes the file is waited for */
    SIZE_MAX_MIB = 256,    /* 65,535 rows of the longest kind take less */
    WAL_MAX_MIB = 32,      /* it takes a program that does not end its reading to make it grow so */
    VALUE_MAX = 65536,     /* bytes of anything in it */
    NAMES_TRIED_MAX = 100, /* for a file set aside */
};

/* Identities and names are any bytes. A row is 16 bytes and those, so that a VM costs some 100 bytes. */
#define TABLE                                                                                                \
    "CREATE TABLE port(port INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, name BLOB NOT NULL,"         \
    " last_seen INTEGER NOT NULL, connected INTEGER NOT NULL)"
static const char schema[] = "BEGIN IMMEDIATE;" TABLE ";"
                             "PRAGMA application_id=" APPLICATION_ID ";"
                             "PRAGMA user_version=1;"
                             "COMMIT;";

/* WAL, so that an operator may read the file while vspcd writes, and a commit costs one fsync. FULL, because
 * NORMAL would lose the last transactions when the machine crashes, and a VM could meet another's port; with
 * the changes of 50 ms in one transaction there are at most some 20 a second. The WAL is copied back every
 * 1 MiB, so that a small disk suffices; the cache is small, as every row is written and none is looked up. */
static const char settings[] = "PRAGMA journal_mode=WAL;"
                               "PRAGMA synchronous=FULL;"
                               "PRAGMA wal_autocheckpoint=256;"
                               "PRAGMA journal_size_limit=4194304;"
                               "PRAGMA cache_size=-512;";

/* Records what SQLite has to say. Result: the negative errno. */
static int fail(struct port_file *file, int code)
{
    int reason = sqlite3_system_errno(file->db);
    if ((code & 0xff) != SQLITE_IOERR && (code & 0xff) != SQLITE_CANTOPEN)
        snprintf(file->error, sizeof file->error, "%s", sqlite3_errstr(code));
    else if (reason)
        snprintf(file->error, sizeof file->error, "%s: %s", sqlite3_errstr(code), strerror(reason));
    else
        snprintf(file->error, sizeof file->error, "%s (SQLite's code %d)", sqlite3_errstr(code), code);
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_ERROR: /* tables or columns are missing */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_SCHEMA:
        return -EUCLEAN;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return -EROFS;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
        return -EBUSY;
    default:
        return -EIO;
    }
}

static int damaged(struct port_file *file, const char *what)
{
    snprintf(file->error, sizeof file->error, "%s", what);
    return -EUCLEAN;
}

static int execute(struct port_file *file, const char *sql)
{
    int code = sqlite3_exec(file->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : fail(file, sqlite3_extended_errcode(file->db));
}

/* Asks for one number. */
static int ask(struct port_file *file, const char *sql, int64_t *number)
{
    sqlite3_stmt *question;
    int code = sqlite3_prepare_v2(file->db, sql, -1, &question, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(question);
        *number = sqlite3_column_int64(question, 0);
        sqlite3_finalize(question);
    }
    return code == SQLITE_ROW ? 0 : fail(file, sqlite3_extended_errcode(file->db));
}

/* Looks through the whole file for damage. */
static int check_pages(struct port_file *file)
{
    sqlite3_stmt *question;
    int err = 0;
    int code = sqlite3_prepare_v2(file->db, "PRAGMA quick_check(1)", -1, &question, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(question);
    if (code != SQLITE_ROW) {
        err = fail(file, sqlite3_extended_errcode(file->db));
    } else {
        const char *text = (const char *)sqlite3_column_text(question, 0);
        if (!text || strcmp(text, "ok") != 0)
            err = damaged(file, text ? text : "its check fails");
    }
    sqlite3_finalize(question);
    return err;
}

/* Whose database is this, and is it whole? *empty: it has just been made. */
static int check(struct port_file *file, bool *empty)
{
    int64_t id = 0, version = 0, things = 0, ours = 0;
    int err = ask(file, "PRAGMA application_id", &id);
    if (!err)
        err = ask(file, "PRAGMA user_version", &version);
    if (!err)
        err = ask(file, "SELECT count(*) FROM sqlite_schema", &things);
    if (err)
        return err;
    *empty = id == 0 && version == 0 && things == 0;
    if (*empty)
        return 0;
    if (id != atoll(APPLICATION_ID))
        return damaged(file, "it is another program's database");
    if (version != VERSION)
        return damaged(file, version > VERSION ? "a newer vspcd wrote it" : "it has no version");
    /* Another table may take two rows for one port. */
    err = ask(file, "SELECT count(*) FROM sqlite_schema WHERE name='port' AND sql='" TABLE "'", &ours);
    if (err)
        return err;
    return ours == 1 ? check_pages(file) : damaged(file, "its table is not vspcd's");
}

/* Opens with these flags, and asks who wrote it. */
static int open_as(struct port_file *file, const char *name, int flags, bool *empty)
{
    int code = sqlite3_open_v2(name, &file->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (code != SQLITE_OK)
        return fail(file, file->db ? sqlite3_extended_errcode(file->db) : code);
    sqlite3_extended_result_codes(file->db, 1);
    sqlite3_busy_timeout(file->db, BUSY_MS);
    sqlite3_limit(file->db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
    /* Nothing in the file may run by itself. */
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    int err = check(file, empty);
    file->read_only = sqlite3_db_readonly(file->db, "main") != 0;
    return err;
}

/* Makes the open file ready to be written. */
static int prepare(struct port_file *file, bool empty)
{
    static const char put[] = "INSERT OR REPLACE INTO port VALUES(?1,?2,?3,?4,?5)";
    static const char erase[] = "DELETE FROM port WHERE port=?1";
    int err = execute(file, settings);
    if (!err && empty)
        err = execute(file, schema);
    if (err)
        return err;
    if (sqlite3_prepare_v2(file->db, put, -1, &file->put, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(file->db, erase, -1, &file->erase, NULL) != SQLITE_OK)
        return fail(file, sqlite3_extended_errcode(file->db));
    return 0;
}

/* Notes which file the path leads to, which is made if there is none. */
static int identify(struct port_file *file)
{
    struct stat st;
    int fd = open(file->path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0640);
    int err = fd < 0 ? -errno : 0;
    /* Closed before SQLite opens it: closing would let go of SQLite's locks. */
    if (fd >= 0)
        close(fd);
    if (stat(file->path, &st) < 0) {
        err = err ? err : -errno;
        snprintf(file->error, sizeof file->error, "%s", strerror(-err));
        return err;
    }
    file->device = st.st_dev;
    file->inode = st.st_ino;
    if (!S_ISREG(st.st_mode)) {
        snprintf(file->error, sizeof file->error, "it is not a file");
        return -EIO;
    }
    return st.st_size > (off_t)SIZE_MAX_MIB * 1024 * 1024 ? damaged(file, "it is far too big") : 0;
}

/* The path as a URI, as SQLite takes it; the caller frees. */
static char *make_uri(const char *path, const char *query)
{
    struct bytes uri = {0};
    char code[4];
    bytes_put(&uri, "file:", 5);
    for (; *path; path++) {
        snprintf(code, sizeof code, "%%%02x", (unsigned char)*path);
        bool plain = *path == '/' || *path == '.' || (*path >= '0' && *path <= '9') ||
                     (*path >= 'A' && *path <= 'Z') || (*path >= 'a' && *path <= 'z');
        bytes_put(&uri, plain ? path : code, plain ? 1 : 3);
    }
    bytes_put(&uri, query, strlen(query) + 1);
    return (char *)uri.data;
}

/* Looks at the WAL. Result: 0 or a negative errno. */
static int stat_wal(const struct port_file *file, struct stat *st)
{
    char *path = xasprintf("%s-wal", file->path);
    int err = stat(path, st) == 0 ? 0 : -errno;
    free(path);
    return err;
}

/* The size of the WAL in bytes; -1 when it is not known. */
static off_t wal_size(const struct port_file *file)
{
    struct stat st;
    int err = stat_wal(file, &st);
    return !err ? st.st_size : err == -ENOENT ? 0 : -1;
}

/* The inode of the WAL, 0 when there is none. */
static ino_t wal_inode(const struct port_file *file)
{
    struct stat st;
    return stat_wal(file, &st) == 0 ? st.st_ino : 0;
}

/* Opens the file for reading alone, where SQLite cannot make or enlarge what it keeps beside it, as on a disk
 * that is full or read-only. With what is there already the WAL is read too; else the file is opened as one
 * that nobody changes, and what a vspcd that was killed left in the WAL is missing. Result: whether it can be
 * read. */
static bool open_to_read(struct port_file *file)
{
    static const char *const ways[] = {"?readonly_shm=1", "?immutable=1"};
    for (int i = 0; i < 2; i++) {
        bool empty = false;
        char *uri = make_uri(file->path, ways[i]);
        port_file_close(file);
        int err = open_as(file, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, &empty);
        free(uri);
        file->lacks_wal = i == 1 && wal_size(file) != 0;
        if (!err && !empty)
            return true;
    }
    return false;
}

int port_file_open(struct port_file *file)
{
    bool empty = true;
    char why[PORT_FILE_ERROR];
    int err = identify(file);
    file->lacks_wal = false;
    if (err)
        return err;
    err = open_as(file, file->path, SQLITE_OPEN_READWRITE, &empty);
    bool is_readable = !err && !empty;
    if (!err && file->read_only)
        err = fail(file, SQLITE_READONLY);
    if (!err)
        err = prepare(file, empty);
    if (!err)
        return 0;
    /* What can be read is better than nothing, but says no more about damage than has been seen. */
    memcpy(why, file->error, sizeof why);
    if (err != -EUCLEAN && err != -EBUSY && (is_readable || open_to_read(file))) {
        file->read_only = true;
        err = 0;
    } else {
        port_file_close(file);
    }
    memcpy(file->error, why, sizeof why);
    return err;
}

void port_file_close(struct port_file *file)
{
    sqlite3_finalize(file->put);
    sqlite3_finalize(file->erase);
    file->put = file->erase = NULL;
    file->wal_inode = 0;
    sqlite3_close(file->db);
    file->db = NULL;
}

bool port_file_is_there(const struct port_file *file)
{
    struct stat st;
    return stat(file->path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode &&
           (!file->wal_inode || file->wal_inode == wal_inode(file));
}

/* What SQLite keeps beside a database, and the database, which goes last: without it the others mean nothing,
 * and with it they are looked for. */
static const char *const suffixes[] = {"-wal", "-shm", ""};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

/* A name beside the file that does not exist yet; the caller frees. NULL when there are too many. */
static char *spare_name(const struct port_file *file)
{
    char when[32], *name = NULL;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &utc);
    for (int i = 1; i <= NAMES_TRIED_MAX; i++) {
        struct stat st;
        free(name);
        name = i == 1 ? xasprintf("%s.damaged-%s", file->path, when)
                      : xasprintf("%s.damaged-%s-%d", file->path, when, i);
        if (lstat(name, &st) < 0 && errno == ENOENT)
            return name;
    }
    free(name);
    return NULL;
}

int port_file_set_aside(struct port_file *file, char **name)
{
    int err = 0;
    *name = spare_name(file);
    if (!*name)
        return -EEXIST;
    for (int i = 0; i < SUFFIXES && !err; i++) {
        char *from = xasprintf("%s%s", file->path, suffixes[i]);
        char *to = xasprintf("%s%s", *name, suffixes[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            err = -errno;
        free(from);
        free(to);
    }
    if (!err)
        return 0;
    free(*name);
    *name = NULL;
    return err;
}

void port_file_remove_traces(const struct port_file *file)
{
    for (int i = 0; i < SUFFIXES; i++) {
        char *path = xasprintf("%s%s", file->path, suffixes[i]);
        if (*suffixes[i])
            unlink(path);
        free(path);
    }
}

int port_file_read(struct port_file *file, struct port_pool *pool, unsigned *restored)
{
    /* What is longer is not even read. */
    static const char query[] =
        "SELECT port, identity, name, last_seen, connected FROM port WHERE port BETWEEN 1 AND 65535"
        " AND typeof(identity)='blob' AND length(identity)<=?1 AND typeof(name)='blob' AND length(name)<=?2"
        " AND typeof(last_seen)='integer' ORDER BY last_seen";
    sqlite3_stmt *rows;
    time_t now = time(NULL);
    int code = sqlite3_prepare_v2(file->db, query, -1, &rows, NULL);
    *restored = 0;
    if (code != SQLITE_OK)
        return fail(file, sqlite3_extended_errcode(file->db));
    sqlite3_bind_int(rows, 1, PORT_IDENTITY_MAX);
    sqlite3_bind_int(rows, 2, PORT_NAME_MAX);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        struct port_record record = {
            .port = (uint16_t)sqlite3_column_int(rows, 0),
            .connected = sqlite3_column_int(rows, 4) != 0,
            .last_seen = sqlite3_column_int64(rows, 3),
            .identity = (char *)sqlite3_column_blob(rows, 1),
            .identity_len = (size_t)sqlite3_column_bytes(rows, 1),
            .name = (char *)sqlite3_column_blob(rows, 2),
            .name_len = (size_t)sqlite3_column_bytes(rows, 2),
        };
        *restored += port_pool_restore(pool, &record, now);
    }
    int err = code == SQLITE_DONE ? 0 : fail(file, sqlite3_extended_errcode(file->db));
    sqlite3_finalize(rows);
    return err;
}

/* Writes one row, or deletes it. Result: SQLite's. */
static int write_row(struct port_file *file, const struct port_record *record)
{
    sqlite3_stmt *statement = record->identity ? file->put : file->erase;
    sqlite3_bind_int(statement, 1, record->port);
    if (record->identity) {
        sqlite3_bind_blob(statement, 2, record->identity, (int)record->identity_len, SQLITE_STATIC);
        sqlite3_bind_blob(statement, 3, record->name, (int)record->name_len, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 4, record->last_seen);
        sqlite3_bind_int(statement, 5, record->connected);
    }
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code;
}

/* As long as another program is within one transaction, the WAL cannot be begun anew, and would grow until
 * the disk is full. */
static int check_wal(struct port_file *file)
{
    const off_t most = (off_t)WAL_MAX_MIB * 1024 * 1024;
    int err = 0;
    if (wal_size(file) > most)
        err = execute(file, "PRAGMA wal_checkpoint(TRUNCATE)");
    if (!err && wal_size(file) > most) {
        snprintf(file->error, sizeof file->error,
                 "another program reads it for so long that its WAL has %d MiB", WAL_MAX_MIB);
        err = -EBUSY;
    }
    return err;
}

int port_file_write(struct port_file *file, struct port_pool *pool)
{
    struct port_record record;
    unsigned count = 0;
    int code = SQLITE_DONE;
    if (!port_pool_next_change(pool, &record))
        return 0;
    int err = check_wal(file);
    if (!err)
        err = execute(file, "BEGIN IMMEDIATE");
    if (err) {
        port_record_clear(&record);
        return err;
    }
    do {
        code = write_row(file, &record);
        port_record_clear(&record);
    } while (code == SQLITE_DONE && ++count < PORT_FILE_BATCH && port_pool_next_change(pool, &record));
    if (code != SQLITE_DONE)
        return fail(file, sqlite3_extended_errcode(file->db));
    err = execute(file, "COMMIT");
    if (!err && !file->wal_inode)
        file->wal_inode = wal_inode(file);
    return err ? err : count == PORT_FILE_BATCH;
}

int port_file_expire(struct port_file *file, const struct port_terms *terms, time_t before)
{
    static const char query[] = "DELETE FROM port WHERE port NOT BETWEEN ?1 AND ?2 AND last_seen<?3";
    sqlite3_stmt *rows;
    if (sqlite3_prepare_v2(file->db, query, -1, &rows, NULL) != SQLITE_OK)
        return fail(file, sqlite3_extended_errcode(file->db));
    sqlite3_bind_int(rows, 1, terms->first);
    sqlite3_bind_int(rows, 2, terms->last);
    sqlite3_bind_int64(rows, 3, before);
    int code = sqlite3_step(rows);
    sqlite3_finalize(rows);
    return code == SQLITE_DONE ? 0 : fail(file, sqlite3_extended_errcode(file->db));
}
