/* A worker's life: born by fork of the master, it drops everything of the parent's but the log and the
 * control connection, makes its state, closes the sandbox, and serves what the master hands it.
 * The hard point is birth: the parent's loop, signal mask and descriptors must not live on in the child, and
 * the child must not outlive a parent that was killed (also when that happened before it could ask). */
#include "common/net/daemon_int.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

enum { CLIENTS = 16, JOIN_MS = 1000, JOIN_TICK_MS = 5 };

struct worker {
    struct daemon *d;
    const struct daemon_workers *row;
    unsigned number;
    struct loop *loop;
    struct ipc *control;
    void *arg;
    bool done, stopping;
    uint32_t taken; /* not yet told to the master */
    bool telling;
    struct {
        struct ipc_client *client; /* NULL: free */
        uint16_t peer;
        uint64_t seq; /* of the question under way; 0: none */
    } clients[CLIENTS];
    uint64_t next_seq;
    struct loop_timer *join_timer;
    uint64_t born_ms;
};

const struct conf *worker_conf(const struct worker *w)
{
    return w->d->conf;
}

struct loop *worker_loop(struct worker *w)
{
    return w->loop;
}

unsigned worker_number(const struct worker *w)
{
    return w->number;
}

void worker_done(struct worker *w)
{
    w->done = true;
    loop_stop(w->loop);
}

/* The master must hear it; when it cannot, it is gone and so are we. */
static void tell(struct worker *w, uint16_t type, uint64_t seq, const void *body, size_t n)
{
    const struct span part = span_of(body, n);
    if (w->control && !ipc_send(w->control, type, 0, seq, &part, n ? 1 : 0, -1))
        worker_done(w);
}

void worker_accepting(struct worker *w, bool on)
{
    const uint8_t flag = on;
    tell(w, CTL_ACCEPTING, 0, &flag, sizeof flag);
}

/* -- clients of the keepers -- */

static void open_client(void *arg, struct ipc_client *c)
{
    struct worker *w = arg;
    for (size_t i = 0; i < CLIENTS; i++)
        if (w->clients[i].client == c) {
            w->clients[i].seq = ++w->next_seq;
            tell(w, CTL_OPEN, w->next_seq, &w->clients[i].peer, sizeof w->clients[i].peer);
        }
}

static void forget_client(void *arg, struct ipc_client *c)
{
    struct worker *w = arg;
    for (size_t i = 0; i < CLIENTS; i++)
        if (w->clients[i].client == c)
            w->clients[i].client = NULL;
}

static void opened(struct worker *w, uint64_t seq, int fd)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (w->clients[i].client && w->clients[i].seq == seq) {
            w->clients[i].seq = 0;
            ipc_client_opened(w->clients[i].client, fd);
            return;
        }
    if (fd >= 0)
        close(fd); /* its client was freed meanwhile */
}

struct ipc_client *worker_client(struct worker *w, const char *peer, const struct ipc_client_ops *ops,
                                 void *arg)
{
    uint16_t row = 0;
    size_t at = 0;
    const struct daemon_peer *p = w->row->peers;
    while (p && p->name && strcmp(p->name, peer) != 0) {
        p++;
        row++;
    }
    while (at < CLIENTS && w->clients[at].client)
        at++;
    if (!p || !p->name || at == CLIENTS) {
        log_event(LOG_ALARM, NULL, "worker.peer.unknown", F_STR("peer", peer));
        daemon_leave(EX_SOFTWARE);
    }
    w->clients[at].peer = row;
    w->clients[at].seq = 0;
    w->clients[at].client = ipc_client_new_opener(w->loop, ops, arg, open_client, forget_client, w);
    return w->clients[at].client;
}

/* Take connections when the keepers answer, so that nobody who comes right after a start or a reload is sent
 * away; a keeper that is away is not waited for. */
static void join(void *arg)
{
    struct worker *w = arg;
    bool all = true;
    for (size_t i = 0; i < CLIENTS; i++)
        all = all && (!w->clients[i].client || ipc_client_is_up(w->clients[i].client));
    if (all || clock_mono_ms() - w->born_ms >= JOIN_MS)
        tell(w, CTL_STARTED, 0, NULL, 0);
    else
        loop_timer_start(w->join_timer, JOIN_TICK_MS);
}

/* -- what the master says -- */

static void tell_taken(void *arg)
{
    struct worker *w = arg;
    w->telling = false;
    tell(w, CTL_TAKEN, 0, &w->taken, sizeof w->taken);
    w->taken = 0;
}

static bool on_connection(struct worker *w, struct span body, int fd)
{
    uint16_t row;
    if (body.n != sizeof row || fd < 0)
        return false;
    memcpy(&row, body.p, sizeof row);
    const struct daemon_listen *l = &w->row->listens[row];
    w->taken++;
    if (!w->telling) {
        w->telling = true;
        loop_defer(w->loop, tell_taken, w);
    }
    w->row->accepted(w->arg, fd, l, l->tls || l->implicit_tls ? w->d->tls : NULL);
    return true;
}

static void begin_stop(void *arg)
{
    struct worker *w = arg;
    if (w->stopping)
        return;
    w->stopping = true;
    if (w->row->stop)
        w->row->stop(w->arg);
    else
        worker_done(w);
}

static bool begin_retire(struct worker *w, struct span body)
{
    uint64_t grace_ms;
    if (body.n != sizeof grace_ms)
        return false;
    memcpy(&grace_ms, body.p, sizeof grace_ms);
    if (!w->row->retire || !grace_ms)
        begin_stop(w);
    else if (!w->stopping)
        w->row->retire(w->arg, grace_ms);
    return true;
}

static bool on_frame(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    struct worker *w = arg;
    (void)c;
    if (h->type == CTL_CONNECTION)
        return on_connection(w, body, fd);
    if (h->type == (CTL_OPEN | IPC_ANSWER)) {
        opened(w, h->seq, fd);
        return true;
    }
    if (h->type == CTL_STOP) {
        begin_stop(w);
        return true;
    }
    if (h->type == CTL_RETIRE)
        return begin_retire(w, body);
    return false;
}

static void on_gone(void *arg, struct ipc *c)
{
    struct worker *w = arg;
    (void)c;
    w->control = NULL;
    worker_done(w); /* nobody would stop us later */
}

static const struct ipc_ops control_ops = {on_frame, on_gone};

/* -- birth -- */

static void close_between(int first, int last)
{
    if (first <= last && close_range((unsigned)first, (unsigned)last, 0) != 0)
        daemon_leave(EX_OSERR);
}

/* Only 0 to 2, the log and the control connection live on. */
static void close_inherited(int control_fd)
{
    int log = log_fd();
    int low = log < control_fd ? log : control_fd, high = log < control_fd ? control_fd : log;
    close_between(3, low - 1);
    if (low < high)
        close_between(low + 1, high - 1);
    close_between((high > 2 ? high : 2) + 1, ~0U >> 1);
}

static void forget_signals(void)
{
    sigset_t all;
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group: the master tells us */
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&all);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGHUP);
    sigaddset(&all, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
}

void worker_live(const struct worker_birth *b)
{
    char title[64];
    struct worker *w = xcalloc(1, sizeof *w);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != b->master)
        _exit(EX_OSERR);
    forget_signals();
    close_inherited(b->control_fd);
    w->d = b->d;
    w->row = &b->d->spec->workers[b->kind];
    w->number = b->number;
    snprintf(title, sizeof title, "%s:%s%u", b->d->spec->program, w->row->name, b->number);
    daemon_title(b->d, title);
    w->loop = loop_new();
    loop_signal_new(w->loop, SIGTERM, begin_stop, w);
    w->control = ipc_new(w->loop, b->control_fd, &control_ops, w);
    w->arg = w->row->start(w);
    if (!w->arg) {
        log_event(LOG_ERROR, NULL, "worker.start.failed", F_STR("kind", w->row->name));
        _exit(EX_SOFTWARE);
    }
    daemon_sandbox(b->d, w->row->sandbox, NULL);
    w->born_ms = clock_mono_ms();
    w->join_timer = loop_timer_new(w->loop, join, w);
    join(w);
    if (!w->done)
        loop_run(w->loop);
    /* The control connection closes with the process: seen closed earlier, we would be killed on our way. */
    daemon_leave(EX_OK);
}
