/* The IPC receiver under hostile bytes: whatever comes, it never crashes, never hands out a frame before the
 * hello, never one larger than the limit, and tells the end at most once. */
#include "common/base/log.h"
#include "common/net/ipc.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
    struct loop *loop;
    unsigned gone;
};

static bool frame(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    (void)arg;
    if (h->type == IPC_HELLO || h->size > IPC_FRAME_LIMIT || body.n != h->size - sizeof *h)
        abort();
    if (fd >= 0)
        close(fd);
    if (h->type == 2)
        ipc_reading(c, false);
    if (h->type == 2)
        ipc_reading(c, true);
    return h->type != 3;
}

static void gone(void *arg, struct ipc *c)
{
    struct state *s = arg;
    (void)c;
    if (s->gone++)
        abort();
    loop_stop(s->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ipc_ops ops = {frame, gone};
    struct state s = {.loop = loop_new()};
    int pair[2];
    log_threshold(LOG_ALARM);
    if (size > 100000 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        loop_free(&s.loop);
        return 0;
    }
    if (write(pair[1], data, size) != (ssize_t)size)
        abort();
    shutdown(pair[1], SHUT_WR);
    ipc_new(s.loop, pair[0], &ops, &s);
    loop_run(s.loop);
    close(pair[1]);
    loop_free(&s.loop);
    return 0;
}
