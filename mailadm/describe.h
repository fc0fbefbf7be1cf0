/* Contents that have lost what the parser says of them get it again: each message is read through a session
 * in its mailbox, parsed, and the record handed to stored. */
#ifndef PROV_MAILADM_DESCRIBE_H
#define PROV_MAILADM_DESCRIBE_H

#include "mailadm/session.h"

struct describe;

/* k asks stored and directoryd; it outlives the answer. */
struct describe *describe_new(struct ask *k);
void describe_free(struct describe **d);
/* Those of one account should follow one another: each account takes a grant. ERR_MISSING: the message is
 * gone; ERR_DENIED: no session in its account (the directory does not know it); ERR_BUG: its bytes cannot be
 * read. */
CHECK_RESULT enum err_code describe_one(struct describe *d, const struct store_bare *b);

#endif
