/* Redis errors: which ones there are, and what an operator does about each. Pure functions, any thread. */
#ifndef VSPC_REDIS_ERROR_H
#define VSPC_REDIS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* Redis does not know the script (any more). */
bool redis_error_is_noscript(const char *text, size_t len);
bool redis_error_is_wrong_type(const char *text, size_t len);

/* What the operator should do about an error reply, a sentence's half to stand behind "cure:". Errors of a
 * command that ran inside a script come wrapped, differently in each version of Redis, so they are recognised
 * by content. */
const char *redis_error_cure(const char *text, size_t len);

#endif
