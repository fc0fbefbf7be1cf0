/* Outcomes. What can fail returns an err_code; the edge (SMTP replies, IMAP responses, pages) turns it
 * into its own numbers in a table. struct err carries one text that is safe for the client and one for
 * the log. */
#ifndef PROV_BASE_ERR_H
#define PROV_BASE_ERR_H

#include <stddef.h>

enum err_code {
    ERR_OK = 0,
    ERR_SYNTAX,  /* the input is not of its grammar */
    ERR_STATE,   /* not now: wrong phase, already there, changed meanwhile */
    ERR_LIMIT,   /* too long, too many, over quota */
    ERR_DENIED,  /* known, and not permitted */
    ERR_MISSING, /* there is no such thing */
    ERR_RETRY,   /* cannot say now; the same request may succeed later */
    ERR_BUG      /* a broken promise inside the suite; logged where it is seen */
};

struct err {
    enum err_code code;
    char client[200]; /* one line, safe to show to a stranger */
    char log[300];    /* one line, for the operator */
};

#define CHECK_RESULT __attribute__((warn_unused_result))

/* Fill *why (which may be NULL) and return code. The log text is printf-like; the client text is
 * fixed. A NULL client text gives the code's own general sentence. */
enum err_code err_set(struct err *why, enum err_code code, const char *client, const char *log_fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A short lower-case name for logs: "ok", "syntax", ... */
const char *err_name(enum err_code code);

#endif
