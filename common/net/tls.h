/* TLS 1.2 and 1.3 (OpenSSL behind it), server side and client side. */
#ifndef PROV_NET_TLS_H
#define PROV_NET_TLS_H

#include "common/base/buf.h"
#include "common/base/err.h"

struct tls_ctx;

/* A server context from PEM files. why says which file and what is wrong with it (not readable, key does not
 * match, expired is only warned of in the log). */
CHECK_RESULT enum err_code tls_server_new(const char *cert_file, const char *key_file, struct tls_ctx **out,
                                          struct err *why);
/* Client context for tests and relays; ca_file NULL: no verification (opportunistic). */
CHECK_RESULT enum err_code tls_client_new(const char *ca_file, struct tls_ctx **out, struct err *why);
/* A client context that verifies against ca_file, or the system's authorities when that is NULL. */
CHECK_RESULT enum err_code tls_client_new_verify(const char *ca_file, struct tls_ctx **out, struct err *why);
void tls_ctx_free(struct tls_ctx **ctx);

/* Facts of an established session for logs, Received fields and SASL. Static storage or the session's. */
struct tls_facts {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
    int bits;
    unsigned char exporter[32]; /* channel binding tls-exporter, RFC 9266 */
    bool has_exporter;
};

#endif
