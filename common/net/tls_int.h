/* Friend header of tls: one TLS session over a non-blocking descriptor, for conn. */
#ifndef PROV_NET_TLS_INT_H
#define PROV_NET_TLS_INT_H

#include "common/net/tls.h"

struct tls_session;

enum tls_io {
    TLS_IO_OK,
    TLS_IO_WANT_READ,  /* try again when the descriptor can be read */
    TLS_IO_WANT_WRITE, /* try again when it can be written */
    TLS_IO_EOF,        /* the peer ended its side */
    TLS_IO_ERROR       /* tls_session_error says what */
};

/* A session of ctx's side (server or client) over fd, which stays the caller's. NULL: out of memory. */
struct tls_session *tls_session_new(struct tls_ctx *ctx, int fd);
/* Before the handshake of a client: the peer's certificate must bear this name or address. False: out of
 * memory. */
bool tls_session_expect(struct tls_session *s, const char *host) __attribute__((warn_unused_result));
void tls_session_free(struct tls_session **s);
enum tls_io tls_handshake(struct tls_session *s);
/* Read up to n bytes; write up to n bytes. *out is set on TLS_IO_OK only. */
enum tls_io tls_read(struct tls_session *s, void *p, size_t n, size_t *out);
enum tls_io tls_write(struct tls_session *s, const void *p, size_t n, size_t *out);
/* Bytes that the descriptor does not show any more wait inside the session. */
bool tls_pending(const struct tls_session *s);
/* Say close_notify; does not wait for the peer's. */
void tls_close_notify(struct tls_session *s);
/* Valid after the handshake, for the session's life. */
const struct tls_facts *tls_session_facts(const struct tls_session *s);
const char *tls_session_error(const struct tls_session *s);

#endif
