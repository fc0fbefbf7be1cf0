/* The event loop over libevent: the one file that knows it. A round is: wait, run the callbacks of what
 * is ready, run what was deferred, close the batch (loop_round_end), run what that deferred.
 * The hard point is lifetime inside callbacks: any object may be freed by the callback that it runs,
 * and deferred calls cannot be taken back (their owners keep a flag instead). Signals come through
 * signalfd, so that a forked child can drop the descriptor and be free of its parent's handlers. */
#include "common/net/loop.h"
#include "common/base/buf.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

enum { LAST_ROUNDS = 8 };

struct call {
    void (*cb)(void *arg);
    void *arg;
};

struct calls {
    struct call *v;
    size_t n, cap;
};

struct loop {
    struct event_base *base;
    bool stop;
    bool busy; /* a callback ran in this round */
    struct calls deferred, running;
    struct call round_end;
    pthread_mutex_t lock; /* guards posted */
    struct calls posted, taken;
    int wake_fd;
    struct event *wake;
};

struct loop_io {
    struct loop *l;
    struct event *ev;
    int fd;
    unsigned want;
    void (*cb)(void *arg, unsigned what);
    void *arg;
};

struct loop_timer {
    struct loop *l;
    struct event *ev;
    void (*cb)(void *arg);
    void *arg;
};

struct loop_signal {
    struct loop *l;
    struct event *ev;
    int fd;
    void (*cb)(void *arg);
    void *arg;
};

static void fatal(const char *what)
{
    fprintf(stderr, "event loop: %s failed: %s\n", what, strerror(errno));
    exit(EX_OSERR);
}

static void calls_add(struct calls *c, void (*cb)(void *), void *arg)
{
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->v = xrealloc(c->v, c->cap * sizeof *c->v);
    }
    c->v[c->n++] = (struct call){cb, arg};
}

static void calls_swap(struct calls *a, struct calls *b)
{
    struct calls t = *a;
    *a = *b;
    *b = t;
}

static void run_calls(struct loop *l, struct calls *c)
{
    for (size_t i = 0; i < c->n; i++) {
        l->busy = true;
        c->v[i].cb(c->v[i].arg);
    }
    c->n = 0;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        fatal("read of the wake-up descriptor");
    pthread_mutex_lock(&l->lock);
    calls_swap(&l->posted, &l->taken);
    pthread_mutex_unlock(&l->lock);
    run_calls(l, &l->taken);
}

struct loop *loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof *l);
    struct event_config *cfg = event_config_new();
    if (!cfg || event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) != 0)
        fatal("event_config_new");
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    if (!l->base)
        fatal("event_base_new");
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of write, not the end of the process */
    pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        fatal("eventfd");
    l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    if (!l->wake || event_add(l->wake, NULL) != 0)
        fatal("event_add");
    return l;
}

static void run_deferred(struct loop *l)
{
    if (l->deferred.n == 0)
        return;
    calls_swap(&l->deferred, &l->running);
    run_calls(l, &l->running);
}

void loop_free(struct loop **lp)
{
    struct loop *l = *lp;
    if (!l)
        return;
    for (int i = 0; l->deferred.n && i < LAST_ROUNDS; i++) /* most of them free what was closed */
        run_deferred(l);
    event_free(l->wake);
    close(l->wake_fd);
    event_base_free(l->base);
    pthread_mutex_destroy(&l->lock);
    free(l->deferred.v);
    free(l->running.v);
    free(l->posted.v);
    free(l->taken.v);
    free(l);
    *lp = NULL;
}

void loop_run(struct loop *l)
{
    l->stop = false;
    while (!l->stop) {
        int flags = EVLOOP_ONCE | (l->deferred.n ? EVLOOP_NONBLOCK : 0);
        if (event_base_loop(l->base, flags) < 0)
            fatal("event_base_loop");
        run_deferred(l);
        if (l->busy && l->round_end.cb)
            l->round_end.cb(l->round_end.arg);
        l->busy = false;
        run_deferred(l); /* answers that the batch released leave now, not a wait later */
    }
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct loop_io *io = arg;
    (void)fd;
    io->l->busy = true;
    io->cb(io->arg,
           (what & EV_READ ? (unsigned)LOOP_READ : 0U) | (what & EV_WRITE ? (unsigned)LOOP_WRITE : 0U));
}

struct loop_io *loop_io_new(struct loop *l, int fd, unsigned want, void (*cb)(void *arg, unsigned what),
                            void *arg)
{
    struct loop_io *io = xmalloc(sizeof *io);
    *io = (struct loop_io){.l = l, .fd = fd, .cb = cb, .arg = arg};
    io->ev = event_new(l->base, fd, EV_READ | EV_PERSIST, on_io, io);
    if (!io->ev)
        fatal("event_new");
    loop_io_want(io, want);
    return io;
}

void loop_io_want(struct loop_io *io, unsigned want)
{
    if (want == io->want)
        return;
    if (io->want)
        event_del(io->ev);
    io->want = want;
    if (!want)
        return;
    short events =
        (short)(EV_PERSIST | (want & LOOP_READ ? EV_READ : 0) | (want & LOOP_WRITE ? EV_WRITE : 0));
    if (event_assign(io->ev, io->l->base, io->fd, events, on_io, io) != 0 || event_add(io->ev, NULL) != 0)
        fatal("event_add");
}

void loop_io_free(struct loop_io **iop)
{
    struct loop_io *io = *iop;
    if (!io)
        return;
    event_free(io->ev);
    free(io);
    *iop = NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *t = arg;
    (void)fd;
    (void)what;
    t->l->busy = true;
    t->cb(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, void (*cb)(void *arg), void *arg)
{
    struct loop_timer *t = xmalloc(sizeof *t);
    *t = (struct loop_timer){.l = l, .cb = cb, .arg = arg};
    t->ev = event_new(l->base, -1, 0, on_timer, t);
    if (!t->ev)
        fatal("event_new");
    return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t delay_ms)
{
    /* event_base_loop caches the time of its wait; a long callback would make the timer early. */
    struct timeval tv = {.tv_sec = (time_t)(delay_ms / 1000),
                         .tv_usec = (suseconds_t)(delay_ms % 1000 * 1000)};
    event_base_update_cache_time(t->l->base);
    if (event_add(t->ev, &tv) != 0)
        fatal("event_add");
}

void loop_timer_stop(struct loop_timer *t)
{
    event_del(t->ev);
}

void loop_timer_free(struct loop_timer **tp)
{
    struct loop_timer *t = *tp;
    if (!t)
        return;
    event_free(t->ev);
    free(t);
    *tp = NULL;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct loop_signal *s = arg;
    struct signalfd_siginfo info;
    (void)what;
    if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
        return; /* EAGAIN: another reader of the same signal was quicker */
    s->l->busy = true;
    s->cb(s->arg);
}

struct loop_signal *loop_signal_new(struct loop *l, int signum, void (*cb)(void *arg), void *arg)
{
    struct loop_signal *s = xmalloc(sizeof *s);
    *s = (struct loop_signal){.l = l, .cb = cb, .arg = arg};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signum);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        fatal("pthread_sigmask");
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        fatal("signalfd");
    s->ev = event_new(l->base, s->fd, EV_READ | EV_PERSIST, on_signal, s);
    if (!s->ev || event_add(s->ev, NULL) != 0)
        fatal("event_add");
    return s;
}

void loop_signal_free(struct loop_signal **sp)
{
    struct loop_signal *s = *sp;
    if (!s)
        return;
    event_free(s->ev);
    close(s->fd);
    free(s);
    *sp = NULL;
}

void loop_defer(struct loop *l, void (*cb)(void *arg), void *arg)
{
    calls_add(&l->deferred, cb, arg);
}

void loop_post(struct loop *l, void (*cb)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->lock);
    bool first = l->posted.n == 0;
    calls_add(&l->posted, cb, arg);
    pthread_mutex_unlock(&l->lock);
    const uint64_t one = 1;
    if (first && write(l->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        fatal("write of the wake-up descriptor");
}

void loop_round_end(struct loop *l, void (*cb)(void *arg), void *arg)
{
    l->round_end = (struct call){cb, arg};
}
