/* Stored passwords of the directory: RFC 2307 and OpenLDAP schemes. Checking is slow on purpose for some of
 * them: call it from a helper thread. */
#ifndef PROV_DIRECTORY_PASSWORD_H
#define PROV_DIRECTORY_PASSWORD_H

#include "common/base/err.h"
#include "common/base/span.h"

enum { PASSWORD_LIMIT = 1024 }; /* bytes of a password or of a stored value */

/* Is password the one that stored was made from?
 * stored   a userPassword value: {SSHA} {SSHA256} {SSHA384} {SSHA512} {SHA} {SHA256} {SHA384} {SHA512}
 * {CRYPT} {SCRAM-SHA-256} {SCRAM-SHA-1} {CLEARTEXT}, or clear text without a scheme. outcome  ERR_OK: it is;
 * ERR_DENIED: it is not; ERR_SYNTAX: the stored value is broken or of a scheme that is not known, so that
 * nobody can log in by it; ERR_LIMIT: longer than PASSWORD_LIMIT. An empty password is always ERR_DENIED. */
CHECK_RESULT enum err_code password_check(struct span stored, struct span password);
/* Can the stored value be read? Then *out is the password, a piece of it. */
bool password_readable(struct span stored, struct span *out);

#endif
