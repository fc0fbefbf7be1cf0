/* A small IMAP client (RFC 3501, 9051) for import: one connection, commands that may be pipelined, responses
 * read as they come, literals in pieces. What responses mean is the caller's. */
#ifndef PROV_MAILADM_IMAP_CLIENT_H
#define PROV_MAILADM_IMAP_CLIENT_H

#include "common/base/buf.h"
#include "common/base/err.h"

struct imap_client;

/* One untagged response; name ("FETCH", "LIST") in capitals, number what stands before it (0: none). Read
 * what is wanted of it with the functions below; the rest of it is passed over. */
typedef void imap_untagged_fn(void *arg, struct imap_client *c, uint32_t number, const char *name);
typedef void imap_bytes_fn(void *arg, struct span bytes);

struct imap_server {
    const char *host;
    uint16_t port;
    enum { IMAP_TLS, IMAP_STARTTLS, IMAP_CLEAR } tls;
    const char *ca_file; /* NULL: the system's */
    bool no_verify;
    uint64_t patience_ms; /* for the next bytes; and see imap_client.c for what may come in that time */
};
/* Connect, greet, TLS. ERR_RETRY, ERR_DENIED: why says what failed. */
CHECK_RESULT enum err_code imap_open(const struct imap_server *server, struct imap_client **out,
                                     struct err *why);
void imap_close(struct imap_client **c);

/* Log in as login: admin NULL, or for it by an administrator's authorisation (SASL PLAIN, RFC 4616).
 * ERR_DENIED: refused; ERR_RETRY. */
CHECK_RESULT enum err_code imap_log_in(struct imap_client *c, const char *login, const char *admin,
                                       struct span password, struct err *why);
/* Is the word among the server's capabilities? */
bool imap_can(const struct imap_client *c, const char *capability);

/* Send "TAG command CRLF": a number to wait for; 0: the connection has failed. */
uint32_t imap_send(struct imap_client *c, struct span command);
/* Read until that command is done. ERR_OK; ERR_DENIED: NO or BAD, imap_text says why; ERR_RETRY: the
 * connection is lost. */
CHECK_RESULT enum err_code imap_wait(struct imap_client *c, uint32_t command, imap_untagged_fn *fn,
                                     void *arg);
/* Both. */
CHECK_RESULT enum err_code imap_ask(struct imap_client *c, struct span command, imap_untagged_fn *fn,
                                    void *arg);
/* The text of the last OK, NO or BAD, its code included; or why the connection was lost. */
struct span imap_text(const struct imap_client *c);
/* Append s as a quoted string or as a literal that does not wait (needs LITERAL+), else quoted as well as can
 * be. */
CHECK_RESULT bool imap_put(struct buf *b, struct span s);

/* -- in an untagged response -- */

/* Take this character if it is next. */
bool imap_char(struct imap_client *c, char ch);
/* An atom, a flag or a number, into an own buffer until the next call. */
struct span imap_atom(struct imap_client *c);
/* A string, an atom or NIL; SPAN_NONE for NIL. Cut after 64 KiB. */
struct span imap_string(struct imap_client *c);
/* The same in pieces. False: NIL, or the connection is lost. */
bool imap_stream(struct imap_client *c, imap_bytes_fn *fn, void *arg);
/* Pass over one value, a list included. */
void imap_skip(struct imap_client *c);
/* The response brought what was asked for; many that do not end the connection. The caller must bound how
 * often it says so. */
void imap_useful(struct imap_client *c);
/* The connection is of no use. why: for imap_text. */
void imap_give_up(struct imap_client *c, const char *why);
bool imap_broken(const struct imap_client *c);

#endif
