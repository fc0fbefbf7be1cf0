/* Listening TCP sockets. The hard point: after a kill the port must be ours again within a second, so an
 * address in use is tried again while the old processes die. */
#include "common/net/daemon_int.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, TRIES = 80, PAUSE_MS = 25 };

static int try_bind(const struct addrinfo *ai)
{
    const int one = 1, zero = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    if (ok && ai->ai_family == AF_INET6) {
        /* "*" takes both families by one socket; a named IPv6 address only itself. */
        const struct sockaddr_in6 *v6 = (const void *)ai->ai_addr;
        const int *only = IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ? &zero : &one;
        ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only, sizeof *only) == 0;
    }
    ok = ok && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    if (ok)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int bind_patiently(const struct addrinfo *ai)
{
    int fd = try_bind(ai);
    for (unsigned i = 0; fd < 0 && errno == EADDRINUSE && i < TRIES; i++) {
        poll(NULL, 0, PAUSE_MS);
        fd = try_bind(ai);
    }
    return fd;
}

static enum err_code bind_all(const char *address, const struct addrinfo *all, bool any, int **fds,
                              size_t *count, struct err *why)
{
    for (const struct addrinfo *ai = all; ai; ai = ai->ai_next) {
        int fd = bind_patiently(ai);
        if (fd < 0 && any && ai->ai_next)
            continue; /* a machine without IPv6 */
        if (fd < 0)
            return err_set(why, ERR_STATE, NULL, "listening on %s: %s", address, strerror(errno));
        *fds = xrealloc(*fds, (*count + 1) * sizeof **fds);
        (*fds)[(*count)++] = fd;
        if (any)
            break;
    }
    return ERR_OK;
}

enum err_code listen_inet(const char *address, int **fds, size_t *count, struct err *why)
{
    struct span host;
    uint16_t port;
    char port_text[8];
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    if (!conf_host_port(span_str(address), &host, &port))
        return err_set(why, ERR_SYNTAX, NULL, "%s is not ADDRESS:PORT", address);
    snprintf(port_text, sizeof port_text, "%u", (unsigned)port);
    bool any = span_eq(host, SPAN("*"));
    char *name = xstrspan(host);
    int ret = getaddrinfo(any ? "::" : name, port_text, &hints, &all);
    if (ret == 0 && any) {
        struct addrinfo *v4 = NULL;
        struct addrinfo *last = all;
        if (getaddrinfo("0.0.0.0", port_text, &hints, &v4) == 0) {
            while (last->ai_next)
                last = last->ai_next;
            last->ai_next = v4;
        }
    }
    free(name);
    if (ret != 0)
        return err_set(why, ERR_SYNTAX, NULL, "%s: %s", address, gai_strerror(ret));
    enum err_code code = bind_all(address, all, any, fds, count, why);
    freeaddrinfo(all);
    return code;
}
