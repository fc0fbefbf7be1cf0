/* TLS by OpenSSL: contexts from PEM files, and sessions over non-blocking descriptors. The one file that
 * includes OpenSSL's TLS headers.
 * The hard point is OpenSSL's error queue, which is one a thread: it is emptied before each call, so that
 * an old error of another session is never taken for this one's.
 * Ticket keys are made with the context, before workers are forked, so that all workers of one generation
 * resume each other's sessions and a reload ends them. Reading, writing and deadlines are conn's. */
#define ERR_STATE OPENSSL_ERR_STATE /* OpenSSL has a type of that name */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#undef ERR_STATE
#include "common/net/tls_int.h"
#include "common/base/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct tls_ctx {
    SSL_CTX *ssl;
    bool client;
};

struct tls_session {
    SSL *ssl;
    struct tls_facts facts;
    char error[160];
};

static const char label[] = "EXPORTER-Channel-Binding"; /* RFC 9266 */

/* The newest reason in OpenSSL's queue, and the queue emptied. */
static const char *reason(char *text, size_t size)
{
    unsigned long e = ERR_peek_last_error(), first = ERR_peek_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;
    if (first && ERR_SYSTEM_ERROR(first)) /* a file that cannot be read: OpenSSL's own word is "system lib" */
        snprintf(text, size, "%s", strerror(ERR_GET_REASON(first)));
    else if (why)
        snprintf(text, size, "%s", why);
    else if (e)
        snprintf(text, size, "error %lx", e);
    else
        snprintf(text, size, "%s", errno ? strerror(errno) : "unknown");
    ERR_clear_error();
    return text;
}

/* A key with a pass phrase must fail at once, not ask at the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static SSL_CTX *common_ctx(const SSL_METHOD *method)
{
    SSL_CTX *c = SSL_CTX_new(method);
    if (!c)
        return NULL;
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    /* Line protocols carry their own ends: a peer that closes without close_notify is an EOF. */
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_default_passwd_cb(c, no_passphrase);
    return c;
}

static void warn_of_dates(SSL_CTX *c, const char *file)
{
    const X509 *cert = SSL_CTX_get0_certificate(c);
    if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        log_event(LOG_WARN, NULL, "tls.certificate.expired", F_STR("file", file));
    else if (cert && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        log_event(LOG_WARN, NULL, "tls.certificate.early", F_STR("file", file));
}

enum err_code tls_server_new(const char *cert_file, const char *key_file, struct tls_ctx **out,
                             struct err *why)
{
    static const unsigned char id[] = "provmail";
    char text[120];
    ERR_clear_error();
    errno = 0;
    SSL_CTX *c = common_ctx(TLS_server_method());
    enum err_code code = ERR_SYNTAX;
    if (!c)
        return err_set(why, ERR_BUG, NULL, "TLS context: %s", reason(text, sizeof text));
    SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c, 1);
    SSL_CTX_set_dh_auto(c, 1);
    if (SSL_CTX_set_session_id_context(c, id, sizeof id - 1) != 1 ||
        SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:"
                                   "ECDHE+AES256:ECDHE+AES128:!aNULL:!DSS:!PSK") != 1) {
        code = err_set(why, ERR_BUG, NULL, "TLS ciphers: %s", reason(text, sizeof text));
    } else if (SSL_CTX_use_certificate_chain_file(c, cert_file) != 1) {
        code = err_set(why, ERR_SYNTAX, NULL, "certificate %s: %s", cert_file, reason(text, sizeof text));
    } else if (SSL_CTX_use_PrivateKey_file(c, key_file, SSL_FILETYPE_PEM) != 1) {
        code = err_set(why, ERR_SYNTAX, NULL, "key %s: %s", key_file, reason(text, sizeof text));
    } else if (SSL_CTX_check_private_key(c) != 1) {
        code = err_set(why, ERR_SYNTAX, NULL, "key %s does not belong to certificate %s: %s", key_file,
                       cert_file, reason(text, sizeof text));
    } else {
        warn_of_dates(c, cert_file);
        *out = xmalloc(sizeof **out);
        **out = (struct tls_ctx){.ssl = c};
        return ERR_OK;
    }
    SSL_CTX_free(c);
    return code;
}

enum err_code tls_client_new(const char *ca_file, struct tls_ctx **out, struct err *why)
{
    char text[120];
    ERR_clear_error();
    errno = 0;
    SSL_CTX *c = common_ctx(TLS_client_method());
    if (!c)
        return err_set(why, ERR_BUG, NULL, "TLS context: %s", reason(text, sizeof text));
    SSL_CTX_set_verify(c, ca_file ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (ca_file && SSL_CTX_load_verify_locations(c, ca_file, NULL) != 1) {
        enum err_code code =
            err_set(why, ERR_SYNTAX, NULL, "certificates %s: %s", ca_file, reason(text, sizeof text));
        SSL_CTX_free(c);
        return code;
    }
    *out = xmalloc(sizeof **out);
    **out = (struct tls_ctx){.ssl = c, .client = true};
    return ERR_OK;
}

enum err_code tls_client_new_verify(const char *ca_file, struct tls_ctx **out, struct err *why)
{
    char text[120];
    enum err_code code = tls_client_new(ca_file, out, why);
    if (code != ERR_OK || ca_file)
        return code;
    SSL_CTX_set_verify((*out)->ssl, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_default_verify_paths((*out)->ssl) == 1)
        return ERR_OK;
    tls_ctx_free(out);
    return err_set(why, ERR_BUG, NULL, "the system's certificates: %s", reason(text, sizeof text));
}

void tls_ctx_free(struct tls_ctx **ctx)
{
    if (!*ctx)
        return;
    SSL_CTX_free((*ctx)->ssl); /* sessions hold references of their own */
    free(*ctx);
    *ctx = NULL;
}

struct tls_session *tls_session_new(struct tls_ctx *ctx, int fd)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(ctx->ssl);
    if (!ssl || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    if (ctx->client)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    struct tls_session *s = xcalloc(1, sizeof *s);
    s->ssl = ssl;
    return s;
}

void tls_session_free(struct tls_session **sp)
{
    struct tls_session *s = *sp;
    if (!s)
        return;
    SSL_free(s->ssl);
    explicit_bzero(&s->facts, sizeof s->facts);
    free(s);
    *sp = NULL;
}

bool tls_session_expect(struct tls_session *s, const char *host)
{
    X509_VERIFY_PARAM *p = SSL_get0_param(s->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(p, host) == 1) /* an address: no SNI (RFC 6066 3) */
        return true;
    ERR_clear_error();
    return SSL_set1_host(s->ssl, host) == 1 && SSL_set_tlsext_host_name(s->ssl, host) == 1;
}

/* What an OpenSSL call that did not succeed means. */
static enum tls_io outcome(struct tls_session *s, int ret)
{
    int saved = errno;
    switch (SSL_get_error(s->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        return TLS_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_IO_EOF;
    default:
        errno = saved;
        reason(s->error, sizeof s->error);
        return TLS_IO_ERROR;
    }
}

static void learn_facts(struct tls_session *s)
{
    struct tls_facts *f = &s->facts;
    f->version = SSL_get_version(s->ssl);
    f->cipher = SSL_get_cipher_name(s->ssl);
    f->bits = SSL_get_cipher_bits(s->ssl, NULL);
    /* Before TLS 1.3 the exporter binds only with the extended master secret (RFC 9266 4.2). */
    bool binds = SSL_version(s->ssl) >= TLS1_3_VERSION || SSL_get_extms_support(s->ssl) == 1;
    f->has_exporter = binds && SSL_export_keying_material(s->ssl, f->exporter, sizeof f->exporter, label,
                                                          sizeof label - 1, NULL, 0, 0) == 1;
}

enum tls_io tls_handshake(struct tls_session *s)
{
    ERR_clear_error();
    errno = 0;
    int ret = SSL_do_handshake(s->ssl);
    if (ret == 1) {
        learn_facts(s);
        return TLS_IO_OK;
    }
    enum tls_io io = outcome(s, ret);
    if (io == TLS_IO_EOF) {
        snprintf(s->error, sizeof s->error, "closed during the handshake");
        io = TLS_IO_ERROR;
    }
    return io;
}

enum tls_io tls_read(struct tls_session *s, void *p, size_t n, size_t *out)
{
    ERR_clear_error();
    errno = 0;
    int ret = SSL_read_ex(s->ssl, p, n, out);
    return ret == 1 ? TLS_IO_OK : outcome(s, ret);
}

enum tls_io tls_write(struct tls_session *s, const void *p, size_t n, size_t *out)
{
    ERR_clear_error();
    errno = 0;
    int ret = SSL_write_ex(s->ssl, p, n, out);
    return ret == 1 ? TLS_IO_OK : outcome(s, ret);
}

bool tls_pending(const struct tls_session *s)
{
    return SSL_pending(s->ssl) > 0; /* there is no read-ahead: records are read whole or not at all */
}

void tls_close_notify(struct tls_session *s)
{
    ERR_clear_error();
    if (SSL_is_init_finished(s->ssl) && SSL_shutdown(s->ssl) < 0)
        ERR_clear_error(); /* the peer is gone or does not read: there is nobody to tell */
}

const struct tls_facts *tls_session_facts(const struct tls_session *s)
{
    return &s->facts;
}

const char *tls_session_error(const struct tls_session *s)
{
    return s->error;
}
