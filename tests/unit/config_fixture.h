/* Config fixture: a directory of its own for each test that loads configurations, and the two questions that
 * most of them ask: what does this text load to, and what does config_load say against it. For one test
 * program of one thread. */
#ifndef VSPC_TEST_CONFIG_FIXTURE_H
#define VSPC_TEST_CONFIG_FIXTURE_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vspc/config.h"
#include "vspc/mem.h"

static char fixture_dir[64];

static inline void fixture_setup(void)
{
    snprintf(fixture_dir, sizeof fixture_dir, "/tmp/vspc-config-XXXXXX");
    cr_assert_not_null(mkdtemp(fixture_dir));
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void fixture_teardown(void)
{
    nftw(fixture_dir, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* The path of a name in the fixture's directory; the caller frees. */
static inline char *fixture_path(const char *name)
{
    return xasprintf("%s/%s", fixture_dir, name);
}

static inline void fixture_write(const char *name, const void *data, size_t len)
{
    char *path = fixture_path(name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(data, 1, len, file), len);
    cr_assert_eq(fclose(file), 0);
    free(path);
}

static inline void fixture_write_text(const char *name, const char *text)
{
    fixture_write(name, text, strlen(text));
}

static inline void fixture_mkdir(const char *name)
{
    char *path = fixture_path(name);
    cr_assert_eq(mkdir(path, 0755), 0);
    free(path);
}

/* Loads vspc.ini of the fixture with at most one override (NULL: none). */
static inline struct config *fixture_load(const char *override, char **error)
{
    char *path = fixture_path("vspc.ini");
    struct config *config = config_load(path, &override, override ? 1 : 0, error);
    free(path);
    cr_assert_eq(config == NULL, *error != NULL, "either a config or an error");
    return config;
}

/* The config that vspc.ini of the fixture makes; the caller unrefs. */
static inline struct config *fixture_loads(const char *override)
{
    char *error;
    struct config *config = fixture_load(override, &error);
    cr_assert_not_null(config, "refused: %s", error);
    return config;
}

static inline struct config *loads(const char *text)
{
    fixture_write_text("vspc.ini", text);
    return fixture_loads(NULL);
}

static inline struct config *loads_override(const char *override)
{
    char *error;
    struct config *config = config_load(NULL, &override, 1, &error);
    cr_assert_not_null(config, "%s refused: %s", override, error);
    return config;
}

/* Fails the test unless error holds each of the pieces, up to a NULL; frees error. */
static inline void fixture_expect(char *error, va_list pieces)
{
    const char *piece;
    while ((piece = va_arg(pieces, const char *)))
        cr_assert_not_null(strstr(error, piece), "expected \"%s\" in:\n%s", piece, error);
    free(error);
}

/* vspc.ini of the fixture must be refused with an error that holds each of the pieces. */
static inline void __attribute__((sentinel)) fixture_refuses(const char *override, ...)
{
    char *error;
    cr_assert_null(fixture_load(override, &error), "was not refused");
    va_list pieces;
    va_start(pieces, override);
    fixture_expect(error, pieces);
    va_end(pieces);
}

static inline void __attribute__((sentinel)) refuses(const char *text, ...)
{
    char *error;
    fixture_write_text("vspc.ini", text);
    cr_assert_null(fixture_load(NULL, &error), "was not refused:\n%s", text);
    va_list pieces;
    va_start(pieces, text);
    fixture_expect(error, pieces);
    va_end(pieces);
}

static inline void __attribute__((sentinel)) refuses_override(const char *override, ...)
{
    char *error;
    cr_assert_null(config_load(NULL, &override, 1, &error), "was not refused: %s", override);
    va_list pieces;
    va_start(pieces, override);
    fixture_expect(error, pieces);
    va_end(pieces);
}

static inline size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* What config_print writes; the caller frees. */
static inline char *printed(const struct config *config)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    config_print(config, out);
    fclose(out);
    return text;
}

#endif
