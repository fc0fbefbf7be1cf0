/* Bytes of a connection: reads and writes over the plain or the TLS descriptor, and the polite close.
 * The hard point is the close: a socket closed with unread input makes the kernel send a reset, which can
 * destroy the farewell on its way; so the last reading goes on for a moment after the session is gone.
 * When to read and write is conn.c's. */
#include "common/net/conn_int.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_MIN = 2048, READ_MAX = 65536, LINGER_MS = 1000, LINGER_BYTES = 1 << 20, IDLE_KEEP = 4096 };

static enum conn_io failed(struct conn *c, const char *what, const char *text)
{
    snprintf(c->error, sizeof c->error, "%s: %s", what, text);
    return CONN_IO_ERROR;
}

static enum conn_io plain_read(struct conn *c, char *at, size_t room, size_t *got)
{
    ssize_t n = recv(c->fd, at, room, 0);
    if (n > 0) {
        *got = (size_t)n;
        c->readable = *got == room; /* a short read has emptied the socket; epoll tells of more */
        return CONN_IO_OK;
    }
    c->readable = false;
    if (n == 0)
        return CONN_IO_EOF;
    if (errno == EAGAIN || errno == EINTR)
        return CONN_IO_WAIT;
    return errno == ECONNRESET ? CONN_IO_EOF : failed(c, "read", strerror(errno));
}

static enum conn_io tls_read_some(struct conn *c, char *at, size_t room, size_t *got)
{
    c->read_wants_write = false;
    switch (tls_read(c->tls, at, room, got)) {
    case TLS_IO_OK:
        return CONN_IO_OK;
    case TLS_IO_WANT_WRITE:
        c->read_wants_write = true;
        c->readable = false;
        return CONN_IO_WAIT;
    case TLS_IO_WANT_READ:
        c->readable = false;
        return CONN_IO_WAIT;
    case TLS_IO_EOF:
        return CONN_IO_EOF;
    case TLS_IO_ERROR:
        break;
    }
    if (errno == ECONNRESET)
        return CONN_IO_EOF;
    return failed(c, "TLS read", tls_session_error(c->tls));
}

enum conn_io conn_io_read(struct conn *c)
{
    size_t room = c->in.limit - c->in.n, got = 0;
    if (room == 0)
        return CONN_IO_WAIT;
    if (room > c->read_size)
        room = c->read_size;
    char *at = buf_reserve(&c->in, room);
    enum conn_io io = c->tls ? tls_read_some(c, at, room, &got) : plain_read(c, at, room, &got);
    if (io != CONN_IO_OK) {
        if (c->in.n == 0 && c->out.n == 0 && c->in.cap > IDLE_KEEP) {
            buf_free(&c->in); /* thousands of idle sessions keep no buffers */
            c->read_size = READ_MIN;
        }
        return io;
    }
    buf_commit(&c->in, got);
    c->bytes_in += got;
    if (got == room && c->read_size < READ_MAX)
        c->read_size *= 4;
    if (c->read_size > READ_MAX)
        c->read_size = READ_MAX;
    return CONN_IO_OK;
}

static enum conn_io write_some(struct conn *c, size_t *sent)
{
    if (!c->tls) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL);
        if (n >= 0) {
            *sent = (size_t)n;
            return CONN_IO_OK;
        }
        return errno == EAGAIN || errno == EINTR ? CONN_IO_WAIT : failed(c, "write", strerror(errno));
    }
    c->write_wants_read = false;
    switch (tls_write(c->tls, c->out.p, c->out.n, sent)) {
    case TLS_IO_OK:
        return CONN_IO_OK;
    case TLS_IO_WANT_READ:
        c->write_wants_read = true;
        return CONN_IO_WAIT;
    case TLS_IO_WANT_WRITE:
        return CONN_IO_WAIT;
    default:
        return failed(c, "TLS write", tls_session_error(c->tls));
    }
}

enum conn_io conn_io_write(struct conn *c)
{
    while (c->out.n) {
        size_t sent = 0;
        enum conn_io io = write_some(c, &sent);
        c->blocked = io == CONN_IO_WAIT;
        if (io != CONN_IO_OK)
            return io;
        buf_consume(&c->out, sent);
        c->bytes_out += sent;
    }
    c->blocked = false;
    if (c->out.cap > IDLE_KEEP)
        buf_free(&c->out);
    return CONN_IO_OK;
}

enum conn_io conn_io_handshake(struct conn *c)
{
    c->read_wants_write = false;
    switch (tls_handshake(c->tls)) {
    case TLS_IO_OK:
        c->readable = true; /* the first bytes may have come with the last flight */
        return CONN_IO_OK;
    case TLS_IO_WANT_WRITE:
        c->read_wants_write = true;
        return CONN_IO_WAIT;
    case TLS_IO_WANT_READ:
        return CONN_IO_WAIT;
    default:
        return failed(c, "TLS handshake", tls_session_error(c->tls));
    }
}

static bool name_of(const struct sockaddr_storage *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    if (a->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
        snprintf(out, size, "%s:%u", host, (unsigned)ntohs(v4.sin_port));
        return true;
    }
    if (a->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, a, sizeof v6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        if (mapped)
            inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], host, sizeof host);
        else
            inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
        snprintf(out, size, mapped ? "%s:%u" : "[%s]:%u", host, (unsigned)ntohs(v6.sin6_port));
        return true;
    }
    snprintf(out, size, "unix");
    return false;
}

void conn_io_prepare(struct conn *c)
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof a;
    const int one = 1;
    int flags = fcntl(c->fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
    if (getpeername(c->fd, (struct sockaddr *)&a, &n) != 0)
        a.ss_family = AF_UNSPEC; /* gone already; the first read will say so */
    bool inet = name_of(&a, c->peer, sizeof c->peer);
    if (inet) /* answers are gathered here and must not wait for an acknowledgement */
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    n = sizeof a;
    a.ss_family = AF_UNSPEC;
    if (getsockname(c->fd, (struct sockaddr *)&a, &n) != 0)
        a.ss_family = AF_UNSPEC;
    name_of(&a, c->local, sizeof c->local);
    c->read_size = READ_MIN;
}

/* -- the polite close -- */

struct parting {
    int fd;
    size_t left;
    struct loop_io *io;
    struct loop_timer *timer;
};

static void linger_end(void *arg)
{
    struct parting *g = arg;
    loop_io_free(&g->io);
    loop_timer_free(&g->timer);
    close(g->fd);
    free(g);
}

static void linger_read(void *arg, unsigned what)
{
    struct parting *g = arg;
    char waste[16384];
    (void)what;
    ssize_t n = recv(g->fd, waste, sizeof waste, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (size_t)n >= g->left)
        linger_end(g);
    else
        g->left -= (size_t)n;
}

void conn_io_linger(struct loop *l, int fd)
{
    if (shutdown(fd, SHUT_WR) != 0) {
        close(fd);
        return;
    }
    struct parting *g = xmalloc(sizeof *g);
    *g = (struct parting){.fd = fd, .left = LINGER_BYTES};
    g->io = loop_io_new(l, fd, LOOP_READ, linger_read, g);
    g->timer = loop_timer_new(l, linger_end, g);
    loop_timer_start(g->timer, LINGER_MS);
}
