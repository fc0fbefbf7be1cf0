/* A blocking submission client (RFC 6409) over smtpd's UNIX socket, logged in with the session's token. */
#ifndef PROV_WEB_SUBMIT_H
#define PROV_WEB_SUBMIT_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum { SUBMIT_PATIENCE_MS = 60000 };

struct submission {
    struct span from;      /* envelope sender */
    const struct span *to; /* envelope recipients */
    size_t to_count;
    struct span message; /* CRLF line ends */
};
struct submit_refusal {
    struct span address; /* of the submission's recipients, or "" when it is about the whole message */
    char text[300];      /* the server's words, one line */
};

/* All or nothing: when any recipient is refused nothing is sent.
 * ERR_OK: taken over. ERR_DENIED: refused for good, *refusal says what. ERR_RETRY: not now; nothing was sent.
 * ERR_STATE: the connection fell after the message was given and before the answer: unknown.
 * The token's refusal is ERR_DENIED with an empty address and an empty text. */
CHECK_RESULT enum err_code submit(const char *socket_path, struct span token, const struct submission *s,
                                  struct submit_refusal *refusal, struct err *why);

#endif
