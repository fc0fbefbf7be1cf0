/* One blocking connection to a server, for tools that may wait (mailadm): never in a daemon, whose
 * connections are conn.h's. Each call ends within the stream's patience. */
#ifndef PROV_NET_STREAM_H
#define PROV_NET_STREAM_H

#include "common/net/tls.h"

struct stream;

/* Connect to host (a name or an address). ERR_RETRY: why says what failed. */
CHECK_RESULT enum err_code stream_connect(const char *host, uint16_t port, uint64_t patience_ms,
                                          struct stream **out, struct err *why);
void stream_free(struct stream **s);
/* TLS from here on. host: the name that the server's certificate must bear, NULL: any certificate will do
 * (the context does not verify). ERR_DENIED: the certificate is not good; ERR_RETRY. */
CHECK_RESULT enum err_code stream_tls(struct stream *s, struct tls_ctx *ctx, const char *host,
                                      struct err *why);
/* Up to n bytes, at least one: how many; 0: the peer has ended, or it failed (stream_error says what, "" at
 * an end). */
size_t stream_read(struct stream *s, void *p, size_t n);
CHECK_RESULT bool stream_write(struct stream *s, struct span bytes);
const char *stream_error(const struct stream *s);

#endif
