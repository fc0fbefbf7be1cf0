/* Finding and reaching a server by its name. The hard point is a resolver that fails or hangs while the
 * server is well: addresses that were found once are kept and used, at most one thread at a time asks for new
 * ones, and after a failure nobody asks again for a while. Numeric addresses never touch the resolver. What
 * is said on the connection is left to others. */
#include "common/directory/dial.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ADDRESS_MAX = 8, FRESH_MS = 60000, FAILED_MS = 15000 };

struct address {
    struct sockaddr_storage a;
    socklen_t n;
};
struct dial {
    char *host, port[8];
    pthread_mutex_t lock;      /* all below */
    pthread_mutex_t resolving; /* held by the one thread that asks; taken before lock */
    struct address v[ADDRESS_MAX];
    size_t count;
    uint64_t ask_at_ms; /* monotonic; 0: never asked */
    int fault;          /* of the last asking, a getaddrinfo code */
};

struct dial *dial_new(const char *host, uint16_t port)
{
    struct dial *d = xcalloc(1, sizeof *d);
    d->host = xstrdup(host);
    snprintf(d->port, sizeof d->port, "%u", port);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->resolving, NULL);
    return d;
}

void dial_free(struct dial **d)
{
    if (!*d)
        return;
    pthread_mutex_destroy(&(*d)->lock);
    pthread_mutex_destroy(&(*d)->resolving);
    free((*d)->host);
    free(*d);
    *d = NULL;
}

/* Ask, and put what is found in the place of what was known; a failure leaves that as it was. */
static void resolve(struct dial *d)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    int fault = getaddrinfo(d->host, d->port, &hints, &list);
    pthread_mutex_lock(&d->lock);
    size_t n = 0;
    for (struct addrinfo *i = fault ? NULL : list; i && n < ADDRESS_MAX; i = i->ai_next)
        if (i->ai_addrlen <= sizeof d->v[n].a) {
            memcpy(&d->v[n].a, i->ai_addr, i->ai_addrlen);
            d->v[n++].n = i->ai_addrlen;
        }
    if (n)
        d->count = n;
    d->fault = fault;
    d->ask_at_ms = clock_mono_ms() + (n ? FRESH_MS : FAILED_MS);
    pthread_mutex_unlock(&d->lock);
    if (list)
        freeaddrinfo(list);
}

/* A copy of the addresses; while somebody else asks, those known from before. */
static size_t addresses(struct dial *d, struct address v[ADDRESS_MAX], int *fault)
{
    pthread_mutex_lock(&d->lock);
    bool due = clock_mono_ms() >= d->ask_at_ms, known = d->count > 0;
    pthread_mutex_unlock(&d->lock);
    if (due && (known ? pthread_mutex_trylock(&d->resolving) : pthread_mutex_lock(&d->resolving)) == 0) {
        pthread_mutex_lock(&d->lock);
        due = clock_mono_ms() >= d->ask_at_ms; /* another thread may have asked while we waited */
        pthread_mutex_unlock(&d->lock);
        if (due)
            resolve(d);
        pthread_mutex_unlock(&d->resolving);
    }
    pthread_mutex_lock(&d->lock);
    size_t n = d->count;
    memcpy(v, d->v, n * sizeof *v);
    *fault = d->fault;
    pthread_mutex_unlock(&d->lock);
    return n;
}

/* 0, or an errno. */
static int wait_connected(int fd, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= until_ms)
            return ETIMEDOUT;
        int n = poll(&p, 1, (int)(until_ms - now));
        if (n > 0)
            break;
        if (n < 0 && errno != EINTR)
            return errno;
    }
    int fault = 0;
    socklen_t size = sizeof fault;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size) == 0 ? fault : errno;
}

/* Blocking from here on, but never for ever: a peer that stops in the middle of an answer is noticed. */
static int settle(int fd, uint64_t timeout_ms)
{
    int one = 1, flags = fcntl(fd, F_GETFL);
    struct timeval tv = {(time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000 * 1000)};
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        return errno;
    return 0;
}

static int try_address(const struct address *to, uint64_t until_ms, uint64_t timeout_ms, int *out_fd)
{
    int fd = socket(to->a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int fault = connect(fd, (const struct sockaddr *)&to->a, to->n) == 0 ? 0 : errno;
    if (fault == EINPROGRESS || fault == EINTR)
        fault = wait_connected(fd, until_ms);
    if (fault == 0)
        fault = settle(fd, timeout_ms);
    if (fault != 0)
        close(fd);
    else
        *out_fd = fd;
    return fault;
}

enum err_code dial_connect(struct dial *d, uint64_t timeout_ms, int *out_fd, struct err *why)
{
    struct address v[ADDRESS_MAX];
    int fault = 0;
    size_t n = addresses(d, v, &fault);
    if (n == 0)
        return err_set(why, ERR_RETRY, NULL, "%s: %s", d->host,
                       fault ? gai_strerror(fault) : "the name has no address");
    uint64_t end_ms = clock_mono_ms() + timeout_ms;
    for (size_t i = 0; i < n; i++) {
        /* The first address may not use up the time of those behind it. */
        uint64_t now = clock_mono_ms(), left = end_ms > now ? end_ms - now : 0;
        fault = try_address(&v[i], now + left / (n - i), timeout_ms, out_fd);
        if (fault == 0)
            return ERR_OK;
    }
    return err_set(why, ERR_RETRY, NULL, "%s port %s: %s", d->host, d->port, strerror(fault));
}
