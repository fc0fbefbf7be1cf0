/* The directory as one user of the webmail sees it: blocking calls over directoryd's user socket
 * (RUN_DIR/directory/user/sock), for a short-lived CGI process. No loop, no libevent. Each call has a
 * deadline of USER_PATIENCE_MS and answers ERR_RETRY after it. */
#ifndef PROV_DIRECTORY_USER_H
#define PROV_DIRECTORY_USER_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/ids.h"

enum { USER_PATIENCE_MS = 10000, USER_TOKEN_TEXT = 64 };

struct user_link;
CHECK_RESULT enum err_code user_connect(const char *socket_path, struct user_link **out, struct err *why);
void user_close(struct user_link **u);

struct user_session {
    char token[USER_TOKEN_TEXT]; /* text, fit for a cookie; presented by OAUTHBEARER to imapd and smtpd */
    struct uuid account;
    struct span address, name; /* from the arena */
    int64_t expires_s;
};
/* Check the password, begin a session. ERR_DENIED, ERR_RETRY, ERR_LIMIT (too many tries from peer). */
CHECK_RESULT enum err_code user_login(struct user_link *u, struct span name, struct span password,
                                      struct span peer, struct span agent, struct arena *a,
                                      struct user_session *out);
/* Whose token is it? ERR_DENIED: unknown or expired. Extends the session. */
CHECK_RESULT enum err_code user_resume(struct user_link *u, struct span token, struct arena *a,
                                       struct user_session *out);
CHECK_RESULT enum err_code user_logout(struct user_link *u, struct span token);

struct user_entry {
    struct span name, address, unit, title;
    bool group;
};
/* People and groups whose name, address or unit matches the words of query (folded: no marks needed), best
 * first. */
CHECK_RESULT enum err_code user_search(struct user_link *u, struct span token, struct span query, size_t max,
                                       struct arena *a, struct user_entry **out, size_t *out_count);

#endif
