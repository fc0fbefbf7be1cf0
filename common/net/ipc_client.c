/* A client that comes back: it opens, waits for the other side's hello, tells `up`, and when the
 * connection falls tells `down` and opens again. The hard point: opening may answer at once, later, or
 * (through the master) after the client was freed; the opener holds no pointer then. What was
 * unanswered when the connection fell is the owner's. */
#include "common/net/ipc_int.h"
#include <stdlib.h>
#include <unistd.h>

enum { BACKOFF_MIN_MS = 10, BACKOFF_MAX_MS = 200 };

struct ipc_client {
    struct loop *loop;
    struct ipc_client_ops ops;
    void *arg;
    void (*open_fd)(void *open_arg, struct ipc_client *c);
    void (*forget)(void *open_arg, struct ipc_client *c); /* or NULL */
    void *open_arg;
    struct ipc *conn; /* NULL between connections */
    bool up;
    bool opening;
    uint64_t backoff_ms;
    struct loop_timer *timer;
};

static void try_open(void *arg)
{
    struct ipc_client *c = arg;
    if (c->opening || c->conn)
        return;
    c->opening = true;
    c->open_fd(c->open_arg, c);
}

static void try_later(struct ipc_client *c)
{
    loop_timer_start(c->timer, c->backoff_ms);
    c->backoff_ms = c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
}

static bool on_frame(void *arg, struct ipc *conn, const struct ipc_head *h, struct span body, int fd)
{
    struct ipc_client *c = arg;
    (void)conn;
    return c->ops.frame(c->arg, h, body, fd);
}

static void on_gone(void *arg, struct ipc *conn)
{
    struct ipc_client *c = arg;
    bool was_up = c->up;
    (void)conn;
    c->conn = NULL;
    c->up = false;
    try_later(c);
    if (was_up)
        c->ops.down(c->arg); /* last: the owner may free the client here */
}

static const struct ipc_ops conn_ops = {on_frame, on_gone};

static void on_hello(void *arg, struct ipc *conn)
{
    struct ipc_client *c = arg;
    (void)conn;
    c->up = true;
    c->backoff_ms = BACKOFF_MIN_MS;
    c->ops.up(c->arg);
}

struct ipc_client *ipc_client_new_opener(struct loop *l, const struct ipc_client_ops *ops, void *arg,
                                         void (*open_fd)(void *open_arg, struct ipc_client *c),
                                         void (*forget)(void *open_arg, struct ipc_client *c), void *open_arg)
{
    struct ipc_client *c = xmalloc(sizeof *c);
    *c = (struct ipc_client){.loop = l,
                             .ops = *ops,
                             .arg = arg,
                             .open_fd = open_fd,
                             .forget = forget,
                             .open_arg = open_arg,
                             .backoff_ms = BACKOFF_MIN_MS};
    c->timer = loop_timer_new(l, try_open, c);
    loop_timer_start(c->timer, 0); /* from the loop: the owner has its pointer by then */
    return c;
}

struct ipc_client *ipc_client_new(struct loop *l, const struct ipc_client_ops *ops, void *arg)
{
    return ipc_client_new_opener(l, ops, arg, ops->open_fd, NULL, arg);
}

void ipc_client_opened(struct ipc_client *c, int fd)
{
    if (!c->opening) {
        if (fd >= 0)
            close(fd);
        return;
    }
    c->opening = false;
    if (fd < 0)
        try_later(c);
    else
        c->conn = ipc_new_hello(c->loop, fd, &conn_ops, c, on_hello);
}

bool ipc_client_is_up(const struct ipc_client *c)
{
    return c->up;
}

bool ipc_client_send(struct ipc_client *c, uint16_t type, uint64_t seq, const struct span *parts,
                     size_t count, int fd)
{
    if (c->up)
        return ipc_send(c->conn, type, 0, seq, parts, count, fd);
    if (fd >= 0)
        close(fd);
    return false;
}

void ipc_client_free(struct ipc_client **cp)
{
    struct ipc_client *c = *cp;
    if (!c)
        return;
    if (c->forget)
        c->forget(c->open_arg, c);
    if (c->conn)
        ipc_close(c->conn);
    loop_timer_free(&c->timer);
    free(c);
    *cp = NULL;
}
