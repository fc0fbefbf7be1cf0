/* A session in one account's mailboxes, for tools: a grant of directoryd (asked for at its admin socket, and
 * logged there), shown to stored's session socket like anybody's. And questions that are waited for, while
 * others may be under way. */
#ifndef PROV_MAILADM_SESSION_H
#define PROV_MAILADM_SESSION_H

#include "mailadm/ask.h"

enum { SESSION_PATIENCE_MS = 2 * STORE_PATIENCE_MS };

/* One question: the ticket's session is the reply; its callback calls reply_set. */
struct reply {
    struct ask *k;
    bool done;
    enum err_code code;
    void *out;
};
void reply_set(struct reply *r, enum err_code code);
/* ERR_RETRY also when no answer came in time; the ticket is void then. */
CHECK_RESULT enum err_code reply_wait(struct reply *r, struct ticket *ticket);

struct session {
    struct store *store;
    struct store_account *account;
};
/* k asks directoryd. protocol: "import" or "export". ERR_MISSING: the directory does not know the account;
 * ERR_DENIED. */
CHECK_RESULT enum err_code session_open(struct ask *k, const struct uuid *id, const char *protocol,
                                        bool over_quota, struct session *out);
void session_close(struct session *s);

#endif
