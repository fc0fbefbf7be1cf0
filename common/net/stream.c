/* A blocking stream over a non-blocking descriptor: poll waits, so that every call has its deadline, with TLS
 * as without. The hard point is that TLS may want to write in order to read, and the other way round; what it
 * wants is what is waited for. */
#include "common/net/stream.h"
#include "common/base/clock.h"
#include "common/net/tls_int.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct stream {
    int fd;
    uint64_t patience_ms;
    struct tls_session *tls;
    char error[200];
};

/* False: not in time. */
static bool wait_for(struct stream *s, short events, uint64_t end_ms)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    for (;;) {
        uint64_t now = clock_mono_ms();
        int n = now >= end_ms ? 0 : poll(&p, 1, (int)(end_ms - now));
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR) {
            snprintf(s->error, sizeof s->error, "%s", n == 0 ? "no answer in time" : strerror(errno));
            return false;
        }
    }
}

static bool connect_one(struct stream *s, const struct addrinfo *a)
{
    int error = 0, yes = 1;
    socklen_t n = sizeof error;
    s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        error = errno;
    else if (s->fd < 0 || !wait_for(s, POLLOUT, clock_mono_ms() + s->patience_ms))
        error = s->fd < 0 ? errno : ETIMEDOUT;
    else if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    if (error == 0) {
        (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* slower without, no worse */
        return true;
    }
    snprintf(s->error, sizeof s->error, "%s", strerror(error));
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    return false;
}

enum err_code stream_connect(const char *host, uint16_t port, uint64_t patience_ms, struct stream **out,
                             struct err *why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char number[8];
    struct stream *s = xcalloc(1, sizeof *s);
    s->fd = -1;
    s->patience_ms = patience_ms;
    snprintf(number, sizeof number, "%u", port);
    int ret = getaddrinfo(host, number, &hints, &list);
    if (ret != 0)
        snprintf(s->error, sizeof s->error, "%s", gai_strerror(ret));
    for (struct addrinfo *a = list; a && s->fd < 0; a = a->ai_next)
        (void)connect_one(s, a); /* the next one may do */
    if (list)
        freeaddrinfo(list);
    if (s->fd >= 0) {
        *out = s;
        return ERR_OK;
    }
    err_set(why, ERR_RETRY, NULL, "%.100s port %u: %.150s", host, port, s->error);
    free(s);
    return ERR_RETRY;
}

void stream_free(struct stream **sp)
{
    struct stream *s = *sp;
    if (!s)
        return;
    if (s->tls)
        tls_close_notify(s->tls);
    tls_session_free(&s->tls);
    close(s->fd);
    free(s);
    *sp = NULL;
}

const char *stream_error(const struct stream *s)
{
    return s->error;
}

/* True: go on; the descriptor is ready for what TLS wants. */
static bool again(struct stream *s, enum tls_io io, uint64_t end_ms)
{
    if (io == TLS_IO_WANT_READ || io == TLS_IO_WANT_WRITE)
        return wait_for(s, io == TLS_IO_WANT_READ ? POLLIN : POLLOUT, end_ms);
    if (io == TLS_IO_ERROR)
        snprintf(s->error, sizeof s->error, "%s", tls_session_error(s->tls));
    return false;
}

enum err_code stream_tls(struct stream *s, struct tls_ctx *ctx, const char *host, struct err *why)
{
    uint64_t end_ms = clock_mono_ms() + s->patience_ms;
    enum tls_io io;
    s->tls = tls_session_new(ctx, s->fd);
    if (!s->tls || (host && !tls_session_expect(s->tls, host)))
        return err_set(why, ERR_BUG, NULL, "TLS session: out of memory");
    do
        io = tls_handshake(s->tls);
    while (io != TLS_IO_OK && again(s, io, end_ms));
    if (io == TLS_IO_OK)
        return ERR_OK;
    bool denied = strstr(s->error, "certificate") != NULL;
    return err_set(why, denied ? ERR_DENIED : ERR_RETRY, NULL, "TLS: %s", s->error);
}

size_t stream_read(struct stream *s, void *p, size_t n)
{
    uint64_t end_ms = clock_mono_ms() + s->patience_ms;
    s->error[0] = '\0';
    for (;;) {
        if (s->tls) {
            size_t got = 0;
            enum tls_io io = tls_read(s->tls, p, n, &got);
            if (io == TLS_IO_OK)
                return got;
            if (!again(s, io, end_ms))
                return 0;
            continue;
        }
        ssize_t got = recv(s->fd, p, n, 0);
        if (got >= 0)
            return (size_t)got;
        if (errno == EAGAIN && !wait_for(s, POLLIN, end_ms))
            return 0;
        if (errno != EAGAIN && errno != EINTR) {
            snprintf(s->error, sizeof s->error, "%s", strerror(errno));
            return 0;
        }
    }
}

static bool write_some(struct stream *s, struct span *bytes, uint64_t end_ms)
{
    size_t put = 0;
    if (s->tls) {
        enum tls_io io = tls_write(s->tls, bytes->p, bytes->n, &put);
        if (io != TLS_IO_OK)
            return again(s, io, end_ms);
    } else {
        ssize_t n = send(s->fd, bytes->p, bytes->n, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return wait_for(s, POLLOUT, end_ms);
        if (n < 0 && errno != EINTR) {
            snprintf(s->error, sizeof s->error, "%s", strerror(errno));
            return false;
        }
        put = n > 0 ? (size_t)n : 0;
    }
    *bytes = span_drop(*bytes, put);
    return true;
}

bool stream_write(struct stream *s, struct span bytes)
{
    uint64_t end_ms = clock_mono_ms() + s->patience_ms;
    s->error[0] = '\0';
    while (bytes.n)
        if (!write_some(s, &bytes, end_ms))
            return false;
    return true;
}
