#include "ports_db.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "vspc/mem.h"

enum { BUSY_MS = 5000 };

long long ports_db_number(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    long long number = -1;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, BUSY_MS);
        if (sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK && sqlite3_step(query) == SQLITE_ROW)
            number = sqlite3_column_int64(query, 0);
        sqlite3_finalize(query);
    }
    sqlite3_close(db);
    return number;
}

int ports_db_port(const char *path, const char *name)
{
    char *sql = sqlite3_mprintf("SELECT port FROM port WHERE name=CAST(%Q AS BLOB)", name);
    int port = (int)ports_db_number(path, sql);
    sqlite3_free(sql);
    return port;
}

long long ports_db_count(const char *path)
{
    return ports_db_number(path, "SELECT count(*) FROM port");
}

void ports_db_run(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *error = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        env_fail("%s: %s", path, error ? error : sqlite3_errmsg(db));
    sqlite3_close(db);
}
