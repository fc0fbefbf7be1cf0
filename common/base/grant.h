/* What a session may do in the store: written by directoryd after a login, carried by the worker, checked by
 * stored. Authenticated by HMAC-SHA-256 under KEY_DIR/grant.key, which only those two can read. */
#ifndef PROV_BASE_GRANT_H
#define PROV_BASE_GRANT_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ids.h"

/* quota_bytes of a grant to which no limit applies, whatever the store has been told. */
#define GRANT_UNBOUND UINT64_MAX
enum { GRANT_GROUPS = 200, GRANT_LIMIT = 8192 };

struct grant {
    struct uuid account;
    uint64_t serial;               /* rises with each grant; revocation names serials or times */
    int64_t issued_us, expires_us; /* wall clock */
    char protocol[16];             /* "imap", "smtp", "web" */
    char peer[64];                 /* client address */
    char address[256];             /* primary address, for logs */
    uint64_t quota_bytes;          /* storage limit of the account; 0: none; or GRANT_UNBOUND */
    uint16_t group_count;          /* groups that the account is in, for ACLs */
    struct uuid groups[GRANT_GROUPS];
};

/* Append the sealed form. False: out is full. */
bool grant_seal(const struct grant *g, const unsigned char key[32], struct buf *out)
    __attribute__((warn_unused_result));
/* ERR_OK; ERR_SYNTAX: not a grant; ERR_DENIED: wrong authenticator; ERR_STATE: expired at now_us. */
CHECK_RESULT enum err_code grant_open(struct span sealed, const unsigned char key[32], int64_t now_us,
                                      struct grant *out);

#endif
