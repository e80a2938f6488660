/* Notify: tells systemd how the daemon does (sd_notify(3)): ready, reloading, stopping, a line of status, and
 * that it still turns. Main's.
 *
 * The watchdog is fed only when every worker and the acceptor have read a letter, and main has read that they
 * did: it has systemd restart a vspcd of which a part has stopped for good. Threads that wait for others (for
 * Redis, a disk, the reader of the log) are not asked: users are served while those wait.
 *
 * All of it is nothing where nobody listens: without NOTIFY_SOCKET in the environment, or built without
 * libsystemd. Every function takes NULL. */
#ifndef VSPC_NOTIFY_H
#define VSPC_NOTIFY_H

struct notify;
struct server;

/* Result: NULL when nobody listens. server must outlive it. */
struct notify *notify_new(struct server *server);
/* Says what it is doing: a short text. */
void notify_status(struct notify *notify, const char *text);
/* All is started: says so, and from now on how many VMs there are, and feeds the watchdog if there is one. */
void notify_ready(struct notify *notify);
/* Round the reading of the configuration, once ready. */
void notify_reloading(struct notify *notify);
void notify_reloaded(struct notify *notify);
/* Before the acceptor ends, as letters are posted to it. Says so, and nothing any more. Again: nothing. */
void notify_stopping(struct notify *notify);
/* When all loops have been freed, with the letters in them. */
void notify_free(struct notify *notify);

#endif
