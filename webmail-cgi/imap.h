/* A blocking IMAP client for one page (RFC 9051, RFC 3501), over imapd's UNIX socket, logged in with the
 * session's token (OAUTHBEARER, RFC 7628). Answers are parsed into trees that live in the caller's arena.
 * Every command has a deadline of IMAP_PATIENCE_MS and a bound on what its answers may hold. */
#ifndef PROV_WEB_IMAP_H
#define PROV_WEB_IMAP_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

enum { IMAP_PATIENCE_MS = 30000, IMAP_ANSWER_LIMIT = 64 << 20, IMAP_DEPTH_LIMIT = 100 };

struct imap;

struct imap_node {
    enum imap_kind { IMAP_ATOM, IMAP_STRING, IMAP_NIL, IMAP_LIST } kind;
    struct span s;
    struct imap_node *child, *next;
};
struct imap_line { /* one untagged response: its words after "*" */
    struct imap_node *first;
    struct imap_line *next;
};
struct imap_answer {
    struct imap_line *lines;
    struct span code; /* of the tagged response: "TRYCREATE", "APPENDUID 1 2", "" */
    struct span text; /* its words for people */
};

/* Connect, greet, log in. ERR_DENIED: the token is not good any more; ERR_RETRY: imapd cannot be reached or
 * cannot say. */
CHECK_RESULT enum err_code imap_open(const char *socket_path, struct span token, struct imap **out,
                                     struct err *why);
void imap_close(struct imap **im);
bool imap_has(const struct imap *im, const char *capability);

/* Build a command: imap_begin, then words and strings, then imap_run. */
void imap_begin(struct imap *im);
void imap_word(struct imap *im, const char *s); /* as it stands: our own words only */
void imap_num(struct imap *im, uint32_t n);
void imap_str(struct imap *im, struct span s);       /* quoted string or literal */
void imap_folder(struct imap *im, struct span utf8); /* a mailbox name in modified UTF-7 */
/* Send and wait. ERR_OK; ERR_DENIED, ERR_MISSING, ERR_LIMIT, ERR_STATE: answered NO (by its code; answer is
 * set); ERR_SYNTAX: BAD; ERR_RETRY: connection lost, timed out, or [UNAVAILABLE]. */
CHECK_RESULT enum err_code imap_run(struct imap *im, struct arena *a, struct imap_answer *out,
                                    struct err *why);

/* A mailbox name between UTF-8 and modified UTF-7 (RFC 3501 5.1.3). Rubbish is kept as it is. */
bool imap_name_encode(struct span utf8, struct buf *out) CHECK_RESULT;
bool imap_name_decode(struct span name, struct buf *out) CHECK_RESULT;

/* -- reading answers -- */
/* The n-th word of a line or list, NULL when there are fewer. */
const struct imap_node *imap_nth(const struct imap_node *first, unsigned n);
bool imap_is(const struct imap_node *n, const char *atom);
uint32_t imap_number(const struct imap_node *n);
/* "" for NIL and NULL. */
struct span imap_text(const struct imap_node *n);
/* The value behind a key in a FETCH or STATUS list; NULL when it is not there. "BODY[" finds any section. */
const struct imap_node *imap_value(const struct imap_node *list, const char *key);

/* For tests and fuzzing: one response (CRLF and literals in it) to words. NULL: not of the grammar. */
struct imap_node *imap_parse(struct arena *a, struct span response);
/* How long the first response in s is, with its literals; 0: not whole yet. from is where the last look
 * stopped (0 at first). */
size_t imap_response_end(struct span s, size_t *from);

#endif
