#include "mapping/redis_login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/redis_script.h"
#include "vspc/mem.h"

static void send_password(struct redis_conn *conn, const char *username, const char *password,
                          size_t password_len, redis_reply_fn *fn)
{
    const char *words[] = {"AUTH", username, password};
    size_t lens[] = {4, strlen(username), password_len};
    if (username[0]) {
        redis_conn_command(conn, fn, REDIS_LOGIN_AUTH, 3, words, lens);
        return;
    }
    /* Redis before version 6 knows this form only. */
    words[1] = password;
    lens[1] = password_len;
    redis_conn_command(conn, fn, REDIS_LOGIN_AUTH, 2, words, lens);
}

void redis_login_send_script(struct redis_conn *conn, redis_reply_fn *fn)
{
    const char *words[] = {"SCRIPT", "LOAD", redis_script_text};
    redis_conn_words(conn, fn, REDIS_LOGIN_SCRIPT, 3, words);
    redis_conn_push(conn);
}

char *redis_login_send(struct redis_conn *conn, const struct redis_settings *settings, redis_reply_fn *fn)
{
    const struct config *config = settings->config;
    char *error = NULL;
    size_t password_len;
    char *password = redis_settings_password(settings, &password_len, &error);
    if (!password)
        return error;
    if (password_len || config->redis.username[0])
        send_password(conn, config->redis.username, password, password_len, fn);
    free(password);
    if (config->redis.database) {
        char number[16];
        snprintf(number, sizeof number, "%u", config->redis.database);
        const char *words[] = {"SELECT", number};
        redis_conn_words(conn, fn, REDIS_LOGIN_SELECT, 2, words);
    }
    redis_login_send_script(conn, fn);
    /* Last, so that a refusal of the connection itself, which comes unasked, is not taken for the reply to
     * this, which does not matter. */
    char *name = xasprintf("vspc:%s", config->server.node_id);
    const char *words[] = {"CLIENT", "SETNAME", name};
    redis_conn_words(conn, fn, REDIS_LOGIN_NAME, 3, words);
    redis_conn_push(conn);
    free(name);
    return NULL;
}
