/* One IPC connection: frames in, frames out, a descriptor now and then.
 * The hard point is that the peer may be a hijacked worker: every size is bounded before a byte is
 * believed, descriptors that no frame announced end the connection, and a peer that does not read is
 * dropped when its queue is full. Frames of one round leave in one write.
 * Both ends say hello first (type 0, the version as body). Listening is ipc_server.c's, coming back after a
 * fall ipc_client.c's. */
#include "common/net/ipc_int.h"
#include "common/base/log.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG_LIMIT = 64 << 20, /* queued for a peer that does not read */
    READ_SIZE = 64 << 10,
    READS_A_ROUND = 8,
    SEND_SIZE = 1 << 20,   /* most of one write: the kernel takes less anyway */
    FDS_WAITING = 2,       /* descriptors that came and whose frame is not complete yet */
    KEEP_BYTES = 512 << 10 /* there are few connections: what they grew to stays */
};

/* A descriptor that rides on the frame that starts at this offset of all bytes ever queued. */
struct rider {
    uint64_t at;
    int fd;
};

struct ipc {
    struct loop *loop;
    int fd;
    struct loop_io *io;
    struct ipc_ops ops; /* a copy: it outlives a server that it came from */
    void *arg;
    void (*hello)(void *arg, struct ipc *c);
    uid_t uid;
    pid_t pid;

    struct buf in, out;
    int fds[FDS_WAITING];
    unsigned fd_count;
    struct rider *riders;
    size_t rider_count;
    uint64_t queued, sent; /* bytes ever */

    bool greeted;   /* the peer's hello fitted */
    bool reading;   /* the owner wants frames */
    bool blocked;   /* the kernel takes no more for now */
    bool flush_due; /* a deferred flush is under way */
    bool parse_due; /* it also takes the frames that waited for ipc_reading */
    bool closed;    /* no more callbacks; memory goes when nothing holds it */
    bool broken;    /* gone is to be said from the loop */
    bool running;   /* inside its own callback */
};

static void flush_later(struct ipc *c);
static void take_frames(struct ipc *c);

static void free_now(struct ipc *c)
{
    loop_io_free(&c->io);
    close(c->fd);
    for (unsigned i = 0; i < c->fd_count; i++)
        close(c->fds[i]);
    for (size_t i = 0; i < c->rider_count; i++)
        close(c->riders[i].fd);
    free(c->riders);
    buf_wipe(&c->in);
    buf_wipe(&c->out);
    free(c);
}

/* Free unless a deferred flush or a running callback will come back to c; they free it then. */
static void maybe_free(struct ipc *c)
{
    if (!c->flush_due && !c->running)
        free_now(c);
}

/* The connection fell: said from the loop, once. */
static void fall(struct ipc *c)
{
    if (c->closed || c->broken)
        return;
    c->broken = true;
    loop_io_want(c->io, 0);
    flush_later(c);
}

static void drop(struct ipc *c, const char *because)
{
    if (!c->closed && !c->broken)
        log_event(LOG_WARN, NULL, "ipc.dropped", F_STR("why", because), F_INT("peer_pid", c->pid),
                  F_UINT("peer_uid", c->uid));
    fall(c);
}

static void set_interest(struct ipc *c)
{
    if (c->closed || c->broken)
        return;
    loop_io_want(c->io, (c->reading ? (unsigned)LOOP_READ : 0U) | (c->blocked ? (unsigned)LOOP_WRITE : 0U));
}

/* -- out -- */

/* One write: up to the next rider, or starting with it. False: nothing more goes now. */
static bool send_some(struct ipc *c)
{
    struct iovec iov = {.iov_base = c->out.p, .iov_len = c->out.n > SEND_SIZE ? SEND_SIZE : c->out.n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    bool rides = c->rider_count && c->riders[0].at == c->sent;
    size_t next = rides ? 1 : 0;
    if (rides) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control.space;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &c->riders[0].fd, sizeof(int));
    }
    if (c->rider_count > next && c->riders[next].at - c->sent < iov.iov_len)
        iov.iov_len = (size_t)(c->riders[next].at - c->sent);
    ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        c->blocked = errno == EAGAIN || errno == EINTR || errno == ETOOMANYREFS;
        if (!c->blocked)
            fall(c); /* the peer is gone: its owner hears it by gone */
        return false;
    }
    if (rides) {
        close(c->riders[0].fd);
        c->rider_count--;
        memmove(c->riders, c->riders + 1, c->rider_count * sizeof *c->riders);
    }
    c->sent += (uint64_t)n;
    buf_consume(&c->out, (size_t)n);
    return true;
}

static void flush_now(struct ipc *c)
{
    c->blocked = false;
    while (c->out.n && send_some(c))
        ;
    if (c->out.n == 0 && c->out.cap > KEEP_BYTES)
        buf_free(&c->out);
    set_interest(c);
}

static void deferred_flush(void *arg)
{
    struct ipc *c = arg;
    c->flush_due = false;
    if (c->parse_due && !c->closed && !c->broken) {
        c->running = true;
        take_frames(c);
        c->running = false;
    }
    c->parse_due = false;
    if (!c->closed && !c->broken)
        flush_now(c);
    if (c->broken && !c->closed) {
        c->closed = true;
        c->running = true;
        c->ops.gone(c->arg, c);
        c->running = false;
    }
    if (c->closed)
        maybe_free(c);
}

static void flush_later(struct ipc *c)
{
    if (c->flush_due)
        return;
    c->flush_due = true;
    loop_defer(c->loop, deferred_flush, c);
}

static void add_rider(struct ipc *c, int fd)
{
    c->riders = xrealloc(c->riders, (c->rider_count + 1) * sizeof *c->riders);
    c->riders[c->rider_count++] = (struct rider){c->queued, fd};
}

bool ipc_send(struct ipc *c, uint16_t type, uint8_t status, uint64_t seq, const struct span *parts,
              size_t count, int fd)
{
    size_t size = sizeof(struct ipc_head);
    for (size_t i = 0; i < count && size <= IPC_FRAME_LIMIT; i++)
        size = parts[i].n > IPC_FRAME_LIMIT ? (size_t)IPC_FRAME_LIMIT + 1 : size + parts[i].n;
    bool fits = size <= IPC_FRAME_LIMIT && !c->closed && !c->broken;
    if (fits && (c->out.n + size > BACKLOG_LIMIT)) {
        drop(c, "the peer does not read");
        fits = false;
    }
    if (!fits) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    const struct ipc_head h = {(uint32_t)size, type, status, fd >= 0, seq};
    if (fd >= 0)
        add_rider(c, fd);
    bool room = buf_add(&c->out, &h, sizeof h);
    for (size_t i = 0; i < count; i++)
        room = buf_add_span(&c->out, parts[i]) && room;
    assert(room);
    c->queued += size;
    if (!c->blocked)
        flush_later(c);
    return true;
}

/* -- in -- */

/* The peer's first frame must be its hello. */
static bool take_hello(struct ipc *c, const struct ipc_head *h, struct span body)
{
    uint32_t version = 0;
    if (h->type != IPC_HELLO || h->has_fd || body.n != sizeof version) {
        drop(c, "no hello");
        return false;
    }
    memcpy(&version, body.p, sizeof version);
    if (version != IPC_VERSION) {
        drop(c, "another version");
        return false;
    }
    c->greeted = true;
    if (c->hello)
        c->hello(c->arg, c);
    return true;
}

static bool take_frame(struct ipc *c, const struct ipc_head *h, struct span body)
{
    int fd = -1;
    if (!c->greeted)
        return take_hello(c, h, body);
    if (h->type == IPC_HELLO) {
        drop(c, "a second hello");
        return false;
    }
    if (h->has_fd) {
        if (c->fd_count == 0) {
            drop(c, "a descriptor was announced and did not come");
            return false;
        }
        fd = c->fds[0];
        c->fd_count--;
        memmove(c->fds, c->fds + 1, c->fd_count * sizeof *c->fds);
    }
    if (!c->ops.frame(c->arg, c, h, body, fd)) {
        drop(c, "the frame was refused");
        return false;
    }
    return true;
}

static void take_frames(struct ipc *c)
{
    struct ipc_head h;
    while (!c->closed && !c->broken && c->reading && c->in.n >= sizeof h) {
        memcpy(&h, c->in.p, sizeof h);
        if (h.size < sizeof h || h.size > IPC_FRAME_LIMIT || h.has_fd > 1) {
            drop(c, "a frame of impossible size");
            return;
        }
        if (c->in.n < h.size)
            return;
        if (!take_frame(c, &h, span_of(c->in.p + sizeof h, h.size - sizeof h)))
            return;
        buf_consume(&c->in, h.size);
    }
    if (c->in.n == 0 && c->fd_count && c->reading && !c->closed)
        drop(c, "a descriptor came unannounced");
}

static bool keep_fds(struct ipc *c, struct msghdr *m)
{
    bool ok = !(m->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (ok && c->fd_count < FDS_WAITING) {
                c->fds[c->fd_count++] = fd;
            } else {
                close(fd);
                ok = false;
            }
        }
    }
    return ok;
}

/* One read. False: nothing more now, or the end. */
static bool read_some(struct ipc *c)
{
    size_t room = c->in.limit - c->in.n;
    size_t want = room < READ_SIZE ? room : READ_SIZE;
    struct iovec iov = {.iov_base = buf_reserve(&c->in, want), .iov_len = want};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        fall(c);
        return false;
    }
    buf_commit(&c->in, (size_t)n);
    if (!keep_fds(c, &m)) {
        drop(c, "too many descriptors");
        return false;
    }
    return (size_t)n == want || c->fd_count;
}

static void on_io(void *arg, unsigned what)
{
    struct ipc *c = arg;
    c->running = true;
    if (what & LOOP_READ)
        for (unsigned i = 0; i < READS_A_ROUND && c->reading && !c->closed && !c->broken; i++) {
            bool more = read_some(c);
            take_frames(c);
            if (!more)
                break;
        }
    if (what & LOOP_WRITE && !c->closed && !c->broken)
        flush_now(c);
    c->running = false;
    if (c->closed)
        maybe_free(c);
    else if (c->in.n == 0 && c->in.cap > KEEP_BYTES)
        buf_free(&c->in);
}

/* -- life -- */

struct ipc *ipc_new_hello(struct loop *l, int fd, const struct ipc_ops *ops, void *arg,
                          void (*hello)(void *arg, struct ipc *c))
{
    struct ipc *c = xcalloc(1, sizeof *c);
    struct ucred cred = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    socklen_t n = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
        cred = (struct ucred){.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    c->loop = l;
    c->fd = fd;
    c->ops = *ops;
    c->arg = arg;
    c->hello = hello;
    c->uid = cred.uid;
    c->pid = cred.pid;
    c->reading = true;
    buf_init(&c->in, IPC_FRAME_LIMIT + READ_SIZE);
    buf_init(&c->out, BACKLOG_LIMIT);
    c->io = loop_io_new(l, fd, LOOP_READ, on_io, c);
    const uint32_t version = IPC_VERSION;
    const struct span body = span_of(&version, sizeof version);
    bool queued = ipc_send(c, IPC_HELLO, 0, 0, &body, 1, -1);
    assert(queued);
    return c;
}

struct ipc *ipc_new(struct loop *l, int fd, const struct ipc_ops *ops, void *arg)
{
    return ipc_new_hello(l, fd, ops, arg, NULL);
}

void ipc_reading(struct ipc *c, bool on)
{
    if (c->closed || c->broken || on == c->reading)
        return;
    c->reading = on;
    set_interest(c);
    if (on && c->in.n) {
        c->parse_due = true; /* the kernel will not tell of them again */
        flush_later(c);
    }
}

void ipc_close(struct ipc *c)
{
    if (c->closed)
        return;
    c->closed = true;
    while (!c->broken && c->out.n && send_some(c))
        ; /* the last answers, as far as the kernel takes them */
    loop_io_want(c->io, 0);
    maybe_free(c);
}

uid_t ipc_peer_uid(const struct ipc *c)
{
    return c->uid;
}

pid_t ipc_peer_pid(const struct ipc *c)
{
    return c->pid;
}

void *ipc_arg(const struct ipc *c)
{
    return c->arg;
}

void ipc_set_arg(struct ipc *c, void *arg)
{
    c->arg = arg;
}

size_t ipc_backlog(const struct ipc *c)
{
    return c->out.n;
}
