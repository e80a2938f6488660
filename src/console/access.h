/* Access: which of a console's users may type.
 *
 * Belongs to the console. A user asks to type or only to watch (user->wants_write), and at most one user of a
 * console, its holder, has exclusive access. Whether what a user types goes to the VM (user->writes) follows:
 * it asks to, and nobody else is the holder.
 *
 *      RO <---(asks)---> RW <---(asks)---> EXCLUSIVE_WRITE, EXCLUSIVE: the holder
 *       ^                                          |
 *       +----------(asks; another's force)---------+
 *
 * A user who comes by a user port wants what [user] mode says, and never holds. FALLBACK is a way to ask for
 * RW, no access of its own. While there is a holder, others are refused RW and the exclusive modes, and under
 * EXCLUSIVE nobody new may attach by the control socket. One transition function tells all whom it concerns.
 */
#ifndef VSPC_ACCESS_H
#define VSPC_ACCESS_H

#include "user_conn.h"
#include "vspc/console_query.h"

/* What the user has now; never FALLBACK. */
enum console_access access_of(const struct user_conn *user);

/* Whether a user, or NULL for one that is yet to come, may have that access. Result: 0, or -EBUSY: the holder
 * is in the way. */
int access_check(const struct console *console, const struct user_conn *user, enum console_access access,
                 bool force);
/* What the user has from now on, after access_check; by force a holder loses its hold, and only watches.
 * console_flush_users sends what users are told. */
void access_change(struct user_conn *user, enum console_access access, bool force);

/* A user has come by the user port. */
void access_begin(struct user_conn *user);
/* A user who is gone from the console's list held, perhaps. */
void access_left(struct console *console, const struct user_conn *user);
/* [user] mode may have changed. console_flush_users sends what users are told. */
void access_reload(struct console *console);

/* Tells a user, who may not type, why that is; once for each change of its access. */
void access_tell_read_only(struct user_conn *user);

#endif
