/* Redis log-in: what is said first on a connection. Used by a session, in the Redis writer's thread. */
#ifndef VSPC_REDIS_LOGIN_H
#define VSPC_REDIS_LOGIN_H

#include "mapping/redis_conn.h"
#include "mapping/redis_settings.h"

/* The tags with which fn is called. The reply to NAME does not matter; an error for any other ends the
 * log-in, and with the reply to SCRIPT, which is the script's SHA1, it is complete. */
enum redis_login_tag { REDIS_LOGIN_AUTH, REDIS_LOGIN_SELECT, REDIS_LOGIN_SCRIPT, REDIS_LOGIN_NAME };

/* Sends user and password, the database's number, the script and our name. Result: NULL, or what is wrong
 * with password_file, which the caller frees; nothing was sent then. */
char *redis_login_send(struct redis_conn *conn, const struct redis_settings *settings, redis_reply_fn *fn);

/* Sends the script alone. */
void redis_login_send_script(struct redis_conn *conn, redis_reply_fn *fn);

#endif
