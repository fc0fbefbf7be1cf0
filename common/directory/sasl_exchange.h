/* SASL exchanges of a server by libsasl2 (RFC 4422): PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1 and their -PLUS
 * forms. The only place that knows libsasl2. Calls block as long as the caller's own functions do; exchanges
 * may run in several threads at once, each in one at a time. */
#ifndef PROV_DIRECTORY_SASL_EXCHANGE_H
#define PROV_DIRECTORY_SASL_EXCHANGE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/directory/scram.h"

/* Load the plugins: once, before threads and sandbox. ERR_MISSING: a mechanism is not installed; why tells
 * which package has it. */
CHECK_RESULT enum err_code sasl_exchange_start(struct err *why);
void sasl_exchange_end(void);
/* Is it one of ours (letters compare alike)? */
bool sasl_exchange_knows(struct span mech);

/* What an exchange asks of its caller, from inside sasl_exchange_step. */
struct sasl_asks {
    /* Is this the password of name? ERR_OK, ERR_DENIED, ERR_RETRY, ERR_LIMIT. */
    enum err_code (*check)(void *arg, struct span name, struct span password);
    /* Keys for name, for nobody as well: those of nobody fit no password. ERR_OK, ERR_RETRY, ERR_LIMIT. */
    enum err_code (*keys)(void *arg, struct span name, enum scram_hash hash, struct scram_keys *out);
    /* May who proved to be authcid act as authzid (which is not the same text)? */
    bool (*may_act)(void *arg, struct span authcid, struct span authzid);
};

struct sasl_exchange;
/* service: "smtp", "imap". binding: of the channel, for tls-exporter (RFC 9266), or empty. asks and arg are
 * borrowed for the life of the exchange. ERR_OK; ERR_SYNTAX: no such mechanism here. */
CHECK_RESULT enum err_code sasl_exchange_new(struct span mech, const char *service, struct span binding,
                                             const struct sasl_asks *asks, void *arg,
                                             struct sasl_exchange **out);
void sasl_exchange_free(struct sasl_exchange **x);
/* Take the client's next blob. The first: p NULL when it sent no initial response.
 * challenge  what goes to the client with ERR_STATE, and with ERR_OK when p is not NULL (final data, RFC 4422
 *            5 e). Borrowed until the next call.
 * outcome    ERR_STATE: go on; ERR_OK: done, see sasl_exchange_name; else it is over: ERR_SYNTAX: not of the
 *            mechanism's grammar, or a channel binding that cannot be; ERR_DENIED; what asks answered;
 * ERR_BUG.
 */
CHECK_RESULT enum err_code sasl_exchange_step(struct sasl_exchange *x, struct span blob,
                                              struct span *challenge);
/* Who it is: the authentication identity, as the client wrote it. After ERR_OK. */
struct span sasl_exchange_name(const struct sasl_exchange *x);

#endif
