/* The blocking client of directoryd's user socket, for a CGI process that lives for one page. No loop: poll
 * with a deadline. One question at a time. The hard point is that a frame may come in pieces and the peer may
 * never answer: every wait counts against the same deadline, and after a failure the link is not used again.
 */
#include "common/directory/user.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/directory/wire.h"
#include "common/net/ipc.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct user_link {
    int fd;
    bool greeted, broken;
    uint64_t seq, deadline_ms;
    struct buf in, out;
};

/* -- bytes -- */

static bool wait_for(struct user_link *u, short what)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= u->deadline_ms)
            return false;
        struct pollfd p = {.fd = u->fd, .events = what};
        int n = poll(&p, 1, (int)(u->deadline_ms - now));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static bool send_all(struct user_link *u)
{
    while (u->out.n) {
        ssize_t n = send(u->fd, u->out.p, u->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            buf_consume(&u->out, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(u, POLLOUT))
            return false;
    }
    return true;
}

/* Until n bytes are there. */
static bool receive(struct user_link *u, size_t n)
{
    while (u->in.n < n) {
        char *to = buf_reserve(&u->in, 64 << 10);
        if (!to)
            return false;
        ssize_t got = recv(u->fd, to, 64 << 10, MSG_DONTWAIT);
        if (got > 0)
            buf_commit(&u->in, (size_t)got);
        else if (got == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(u, POLLIN))
            return false;
    }
    return true;
}

static bool put_frame(struct user_link *u, uint16_t type, uint64_t seq, struct span body)
{
    const struct ipc_head h = {
        .size = (uint32_t)(sizeof h + body.n), .type = type, .status = 0, .has_fd = 0, .seq = seq};
    return buf_add(&u->out, &h, sizeof h) && buf_add_span(&u->out, body);
}

/* The next frame whole in u->in; its body in *body. */
static bool take_frame(struct user_link *u, struct ipc_head *h, struct span *body)
{
    if (!receive(u, sizeof *h))
        return false;
    memcpy(h, u->in.p, sizeof *h);
    if (h->size < sizeof *h || h->size > DIRW_ANSWER_LIMIT + sizeof *h || h->has_fd || !receive(u, h->size))
        return false;
    *body = span_of(u->in.p + sizeof *h, h->size - sizeof *h);
    return true;
}

static bool greet(struct user_link *u)
{
    struct ipc_head h;
    struct span body;
    uint32_t version = 0;
    if (!take_frame(u, &h, &body) || h.type != IPC_HELLO || body.n != sizeof version)
        return false;
    memcpy(&version, body.p, sizeof version);
    buf_consume(&u->in, h.size);
    u->greeted = version == IPC_VERSION;
    return u->greeted;
}

/* Ask and wait. On ERR_OK the answer's body is in *in, until the next question. */
static enum err_code ask(struct user_link *u, uint16_t type, struct buf *body, bool fits, struct reader *in)
{
    struct ipc_head h;
    struct span answer;
    bool ok = fits && !u->broken;
    u->deadline_ms = clock_mono_ms() + USER_PATIENCE_MS;
    buf_reset(&u->in);
    ok = ok && put_frame(u, type, ++u->seq, buf_span(body)) && send_all(u) && (u->greeted || greet(u));
    buf_wipe(body);
    while (ok && (ok = take_frame(u, &h, &answer)) && h.seq != u->seq)
        buf_consume(&u->in, h.size); /* an event */
    if (!fits)
        return ERR_LIMIT;
    if (!ok || h.type != (type | IPC_ANSWER) || h.status > ERR_BUG) {
        u->broken = true; /* what comes now would answer another question */
        return ERR_RETRY;
    }
    *in = reader_of(answer);
    return (enum err_code)h.status;
}

/* -- life -- */

enum err_code user_connect(const char *socket_path, struct user_link **out, struct err *why)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const uint32_t version = IPC_VERSION;
    const char *slash = strrchr(socket_path, '/');
    int dir = -1, n = 0;
    if (strlen(socket_path) < sizeof a.sun_path || !slash) {
        n = snprintf(a.sun_path, sizeof a.sun_path, "%s", socket_path);
    } else { /* reached through its folder's descriptor */
        char *folder = xstrspan(span_of(socket_path, (size_t)(slash - socket_path)));
        dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        free(folder);
        n = snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, slash + 1);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fits = n > 0 && (size_t)n < sizeof a.sun_path;
    bool ok = fd >= 0 && fits && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    int saved = fits ? errno : ENAMETOOLONG;
    if (dir >= 0)
        close(dir);
    if (!ok) {
        if (fd >= 0)
            close(fd);
        return err_set(why, ERR_RETRY, NULL, "connect %s: %s", socket_path, strerror(saved));
    }
    struct user_link *u = xcalloc(1, sizeof *u);
    u->fd = fd;
    buf_init(&u->in, DIRW_ANSWER_LIMIT + (128 << 10));
    buf_init(&u->out, DIRW_QUESTION_LIMIT + 4096);
    if (!put_frame(u, IPC_HELLO, 0, span_of(&version, sizeof version)))
        u->broken = true;
    *out = u;
    return ERR_OK;
}

void user_close(struct user_link **u)
{
    if (!*u)
        return;
    close((*u)->fd);
    buf_wipe(&(*u)->in);
    buf_wipe(&(*u)->out);
    free(*u);
    *u = NULL;
}

/* -- questions -- */

static enum err_code take_session(struct reader *in, struct arena *a, struct user_session *out)
{
    struct user_session s = {.account = dirw_id(in)};
    s.expires_s = (int64_t)read_u64(in);
    struct span token = dirw_text(in);
    s.address = arena_dup(a, dirw_text(in));
    s.name = arena_dup(a, dirw_text(in));
    if (!dirw_whole(in) || token.n >= sizeof s.token || !s.address.p || !s.name.p)
        return ERR_RETRY;
    memcpy(s.token, token.p, token.n);
    *out = s;
    return ERR_OK;
}

static enum err_code ask_session(struct user_link *u, uint16_t type, struct buf *body, bool fits,
                                 struct arena *a, struct user_session *out)
{
    struct reader in = reader_of(SPAN_NONE);
    enum err_code code = ask(u, type, body, fits, &in);
    return code == ERR_OK ? take_session(&in, a, out) : code;
}

enum err_code user_login(struct user_link *u, struct span name, struct span password, struct span peer,
                         struct span agent, struct arena *a, struct user_session *out)
{
    struct buf b;
    buf_init(&b, DIRW_TEXT);
    bool fits = dirw_put_text(&b, name) && dirw_put_text(&b, password) && dirw_put_text(&b, peer) &&
                dirw_put_text(&b, agent);
    return ask_session(u, DIRW_USER_LOGIN, &b, fits, a, out);
}

enum err_code user_resume(struct user_link *u, struct span token, struct arena *a, struct user_session *out)
{
    struct buf b;
    buf_init(&b, DIRW_TEXT);
    bool fits = dirw_put_text(&b, token);
    return ask_session(u, DIRW_USER_RESUME, &b, fits, a, out);
}

enum err_code user_logout(struct user_link *u, struct span token)
{
    struct reader in;
    struct buf b;
    buf_init(&b, DIRW_TEXT);
    bool fits = dirw_put_text(&b, token);
    return ask(u, DIRW_USER_LOGOUT, &b, fits, &in);
}

static bool take_found(struct reader *in, struct arena *a, struct user_entry *e)
{
    e->group = read_u8(in);
    e->name = arena_dup(a, dirw_text(in));
    e->address = arena_dup(a, dirw_text(in));
    e->unit = arena_dup(a, dirw_text(in));
    e->title = arena_dup(a, dirw_text(in));
    return e->name.p && e->address.p && e->unit.p && e->title.p && !in->bad;
}

enum err_code user_search(struct user_link *u, struct span token, struct span query, size_t max,
                          struct arena *a, struct user_entry **out, size_t *out_count)
{
    struct reader in = reader_of(SPAN_NONE);
    struct buf b;
    buf_init(&b, DIRW_TEXT);
    bool fits = dirw_put_text(&b, token) && dirw_put_text(&b, query) &&
                buf_add_u32(&b, max > UINT32_MAX ? UINT32_MAX : (uint32_t)max);
    enum err_code code = ask(u, DIRW_USER_SEARCH, &b, fits, &in);
    if (code != ERR_OK)
        return code;
    uint32_t count = read_u32(&in);
    struct user_entry *v = count <= in.s.n / 17 ? arena_array(a, (size_t)count + 1, sizeof *v) : NULL;
    for (uint32_t i = 0; v && i < count; i++)
        if (!take_found(&in, a, &v[i]))
            return ERR_RETRY;
    if (!v || !dirw_whole(&in))
        return ERR_RETRY;
    *out = v;
    *out_count = count;
    return ERR_OK;
}
