/* Account events on their way to stored: told in the order of their numbers, one at a time, each dropped when
 * stored has said that it holds. While stored is away they wait in the copy. */
#include "common/directory/server.h"
#include "common/store/wire.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct outbox {
    struct server *s;
    struct ipc_client *client;
    struct loop_timer *again;
    uint64_t asked; /* the number that is under way, 0: none */
};

static void next(struct outbox *o)
{
    struct copy_out out;
    if (o->asked || !ipc_client_is_up(o->client) || !copy_outbox_first(o->s->copy, &out))
        return;
    const struct wire_ask ask = {.flags = WIRE_AGAIN};
    struct wire_revoke w = {.account = out.account, .before_us = out.at_us};
    struct wire_ask first = ask;
    memcpy(first.id.b, "directory", 8);
    for (int i = 0; i < 8; i++)
        first.id.b[8 + i] = (unsigned char)(out.number >> (56 - 8 * i));
    const struct span parts[] = {span_of(&first, sizeof first), span_of(&w, sizeof w)};
    if (ipc_client_send(o->client, WIRE_REVOKE, out.number, parts, 2, -1))
        o->asked = out.number;
}

static void on_up(void *arg)
{
    next(arg);
}

static void on_down(void *arg)
{
    struct outbox *o = arg;
    o->asked = 0;
}

static void on_again(void *arg)
{
    next(arg);
}

static bool on_frame(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    enum { AGAIN_MS = 5000 };
    struct outbox *o = arg;
    (void)body;
    if (fd >= 0)
        close(fd);
    if (h->type != (WIRE_REVOKE | IPC_ANSWER) || h->seq != o->asked)
        return fd < 0;
    o->asked = 0;
    if (h->status == ERR_OK || h->status == ERR_MISSING) { /* no mailbox, nothing to revoke */
        copy_outbox_done(o->s->copy, h->seq);
        next(o);
    } else {
        log_event(LOG_ERROR, NULL, "directory.outbox.refused", F_UINT("number", h->seq),
                  F_STR("code", err_name((enum err_code)h->status)));
        loop_timer_start(o->again, AGAIN_MS);
    }
    return fd < 0;
}

static void open_path(void *arg, struct ipc_client *c)
{
    struct outbox *o = arg;
    struct err why;
    char path[4096];
    int fd = -1;
    snprintf(path, sizeof path, "%s/store/directory/sock", daemon_conf(o->s->d)->run_dir);
    if (ipc_connect(path, &fd, &why) != ERR_OK)
        fd = -1; /* tried again with back-off */
    ipc_client_opened(c, fd);
}

static const struct ipc_client_ops ops = {open_path, on_up, on_down, on_frame};

void outbox_new(struct server *s)
{
    s->outbox = xcalloc(1, sizeof *s->outbox);
    s->outbox->s = s;
    s->outbox->again = loop_timer_new(s->loop, on_again, s->outbox);
    s->outbox->client = ipc_client_new(s->loop, &ops, s->outbox);
}

void outbox_kick(struct server *s)
{
    next(s->outbox);
}

void outbox_free(struct server *s)
{
    if (!s->outbox)
        return;
    ipc_client_free(&s->outbox->client);
    loop_timer_free(&s->outbox->again);
    free(s->outbox);
    s->outbox = NULL;
}
