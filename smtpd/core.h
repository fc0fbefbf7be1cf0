/* The SMTP and LMTP protocol (RFC 5321, 2033 and the extensions of RFC.md) without sockets: bytes in, bytes
 * out, a step. session.c joins it to a connection; tests and fuzzers drive the same function. */
#ifndef PROV_SMTPD_CORE_H
#define PROV_SMTPD_CORE_H

#include "common/base/conf.h"
#include "common/net/conn.h"
#include "smtpd/backend.h"

struct smtp_core;

enum smtp_kind {
    SMTP_MX,         /* port 25 */
    SMTP_SUBMISSION, /* 587, 465 and the local socket of the webmail */
    SMTP_LMTP
};

struct smtp_setup {
    const struct conf *conf;
    const struct backend *backend;
    enum smtp_kind kind;
    const char *listener;    /* its name, for the log */
    const char *peer;        /* "192.0.2.1", "2001:db8::1", or "unix" */
    bool local;              /* a local socket: as good as TLS */
    bool tls_possible;       /* STARTTLS can be offered */
    bool implicit_tls;       /* the greeting waits for smtp_core_tls_up */
    void (*kick)(void *arg); /* a paused core can go on; called from the loop or from inside a step */
    void *kick_arg;
};

/* All pointers of setup are borrowed until smtp_core_free. */
struct smtp_core *smtp_core_new(const struct smtp_setup *setup);
void smtp_core_free(struct smtp_core **p);

/* Too many sessions: the greeting will be a refusal. */
void smtp_core_crowded(struct smtp_core *p);

/* As conn.h's step. */
enum step smtp_core_step(struct smtp_core *p, struct buf *in, struct buf *out);
/* TLS is up: what was learnt in the clear is forgotten (RFC 3207 4.2). facts' strings must live as long. */
void smtp_core_tls_up(struct smtp_core *p, const struct tls_facts *facts);
/* Append the farewell of a session that waited too long. */
void smtp_core_timeout(struct smtp_core *p, struct buf *out);
/* The daemon stops: true when nothing is under way and the farewell was appended (close then); otherwise the
 * next command is answered by it. */
bool smtp_core_stop(struct smtp_core *p, struct buf *out);

enum smtp_wait { SMTP_WAIT_COMMAND, SMTP_WAIT_DATA };
/* What the peer owes us now, and a count that rises with its progress: commands taken, or wire bytes of the
 * message. */
enum smtp_wait smtp_core_waits(const struct smtp_core *p, uint64_t *progress);
/* Once for each message accepted by the last step, whose 250 now stands at the end of out: its receipt for
 * store_delivered_confirm, borrowed until the next step. False also when it must not be confirmed, because a
 * recipient was told to come again. */
bool smtp_core_accepted(struct smtp_core *p, struct span *receipt);
/* Write the summary line of the session. */
void smtp_core_log_end(struct smtp_core *p, const char *why);

#endif
