/* The course of one connection: when to read, when to call the core's step, when to write, when to end.
 * The hard point: everything may happen inside a callback. The core may kick, finish or abort its own
 * connection from within step, and an answer may come before step has returned PAUSED. So outside calls
 * only set flags and queue one deferred run; conn_run alone acts on them, and it ends the connection as
 * its last deed. Bytes are conn_io.c's, meaning is the core's.
 *
 *   OPEN --STEP_STARTTLS--> UPGRADE --out sent--> HANDSHAKE --> OPEN --> CLOSING --out sent--> ENDED */
#include "common/net/conn_int.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    STEPS_A_ROUND = 32, /* then the others have their turn */
    CLOSE_MS = 30000,   /* a farewell makes progress in this time or is given up */
    FAREWELL_MS = 3000  /* the same after a deadline: that peer has waited enough */
};

static void conn_run(struct conn *c);

static void deferred_run(void *arg)
{
    struct conn *c = arg;
    c->queued = false;
    if (c->dead)
        free(c);
    else
        conn_run(c);
}

static void queue_run(struct conn *c)
{
    if (c->queued || c->running || c->phase == CONN_ENDED)
        return;
    c->queued = true;
    loop_defer(c->loop, deferred_run, c);
}

/* The last deed: tell the core, then free. c is gone (or waits for its deferred run) afterwards. */
static void end(struct conn *c)
{
    enum conn_end why = c->why;
    c->phase = CONN_ENDED;
    loop_io_free(&c->io);
    loop_timer_free(&c->timer);
    if (c->tls && why != CONN_END_ERROR)
        tls_close_notify(c->tls);
    tls_session_free(&c->tls);
    c->ops->closed(c->core, why);
    if (why == CONN_END_ERROR || (why == CONN_END_EOF && c->out.n == 0 && c->in.n == 0))
        close(c->fd);
    else
        conn_io_linger(c->loop, c->fd);
    buf_wipe(&c->in); /* commands hold passwords */
    buf_free(&c->out);
    if (c->queued)
        c->dead = true;
    else
        free(c);
}

static void set_timer(struct conn *c, uint64_t ms)
{
    c->due_ms = clock_mono_ms() + ms;
    loop_timer_start(c->timer, ms);
}

/* Begin the end: out still leaves, for a bounded time. */
static void begin_close(struct conn *c, enum conn_end why)
{
    if (c->phase >= CONN_CLOSING)
        return;
    bool may_speak = c->phase == CONN_OPEN || c->phase == CONN_UPGRADE;
    c->phase = CONN_CLOSING;
    c->why = why;
    if (!may_speak)
        buf_reset(&c->out); /* nothing may be said before the handshake is done */
    c->restart_on_input = true;
    c->deadline_ms = why == CONN_END_TIMEOUT ? FAREWELL_MS : CLOSE_MS;
    set_timer(c, c->deadline_ms);
}

static void fail(struct conn *c)
{
    c->phase = CONN_CLOSING;
    c->why = CONN_END_ERROR;
    buf_reset(&c->out);
}

/* Waiting for the peer: the deadline runs. While an answer is awaited from elsewhere it does not. */
static bool waits_for_peer(const struct conn *c)
{
    return !c->paused || c->listen_paused || c->out.n || c->phase != CONN_OPEN;
}

static void push_deadline(struct conn *c)
{
    /* The timer is left as it is: when it fires too early it sees the later due time. */
    if (c->deadline_ms && c->restart_on_input)
        c->due_ms = clock_mono_ms() + c->deadline_ms;
}

static void on_timer(void *arg)
{
    struct conn *c = arg;
    uint64_t now = clock_mono_ms();
    if (!c->deadline_ms)
        return;
    if (now < c->due_ms || !waits_for_peer(c)) {
        loop_timer_start(c->timer, now < c->due_ms ? c->due_ms - now : c->deadline_ms);
        return;
    }
    if (c->phase == CONN_CLOSING) {
        end(c);
        return;
    }
    if (c->phase == CONN_OPEN)
        c->ops->on_timeout(c->core, &c->out);
    begin_close(c, CONN_END_TIMEOUT);
    conn_run(c);
}

static void start_tls(struct conn *c)
{
    c->tls = c->tls_ctx ? tls_session_new(c->tls_ctx, c->fd) : NULL;
    c->phase = CONN_HANDSHAKE;
    if (!c->tls) {
        snprintf(c->error, sizeof c->error, "TLS is not available");
        fail(c);
    }
}

static void run_handshake(struct conn *c)
{
    switch (conn_io_handshake(c)) {
    case CONN_IO_OK:
        c->phase = CONN_OPEN;
        c->fresh = true;
        c->ops->tls_up(c->core, tls_session_facts(c->tls));
        break;
    case CONN_IO_WAIT:
        break;
    default:
        fail(c);
    }
}

static void ask_starttls(struct conn *c)
{
    if (c->in.n) {
        /* Commands sent in the clear behind STARTTLS would be obeyed as if they were protected. */
        struct log_ctx log = {.peer = c->peer};
        log_event(LOG_WARN, &log, "tls.injection", F_UINT("bytes", c->in.n));
        snprintf(c->error, sizeof c->error, "plain text behind STARTTLS");
        fail(c);
        return;
    }
    c->phase = CONN_UPGRADE;
}

/* Read what there is. True: new bytes, or the news of the end. */
static bool take_input(struct conn *c)
{
    if (c->eof || !(c->readable || (c->tls && tls_pending(c->tls))))
        return false;
    switch (conn_io_read(c)) {
    case CONN_IO_OK:
        push_deadline(c);
        c->fresh = true;
        return true;
    case CONN_IO_EOF:
        c->eof = c->fresh = true;
        c->readable = false;
        return true;
    case CONN_IO_WAIT:
        return false;
    case CONN_IO_ERROR:
        fail(c);
    }
    return false;
}

static bool may_step(const struct conn *c)
{
    return c->phase == CONN_OPEN && c->out.n <= c->output_high &&
           (!c->paused || c->listen_paused || c->kicked);
}

/* The core wants more input. */
static void on_need_input(struct conn *c)
{
    if (c->eof)
        begin_close(c, CONN_END_EOF);
    else if (c->in.n >= c->in.limit)
        begin_close(c, CONN_END_LIMIT);
}

static void on_paused(struct conn *c)
{
    c->paused = true;
    if (c->listen_paused && c->eof && c->in.n == 0 && !c->kicked)
        begin_close(c, CONN_END_EOF); /* it only listened, and nobody speaks any more */
}

static void one_step(struct conn *c)
{
    if (c->paused && c->kicked && c->deadline_ms)
        set_timer(c, c->deadline_ms); /* the wait for the peer begins anew */
    if (c->kicked)
        c->paused = false;
    c->kicked = false;
    c->fresh = false;
    enum step s = c->ops->step(c->core, &c->in, &c->out);
    if (c->phase != CONN_OPEN)
        return; /* finished or aborted from inside */
    if (s != STEP_PAUSED)
        c->paused = false;
    switch (s) {
    case STEP_AGAIN:
        c->fresh = true;
        break;
    case STEP_NEED_INPUT:
        if (!c->kicked)
            on_need_input(c);
        break;
    case STEP_PAUSED:
        on_paused(c);
        break;
    case STEP_STARTTLS:
        ask_starttls(c);
        break;
    case STEP_CLOSE:
        begin_close(c, CONN_END_CLOSED);
    }
}

/* Steps until nothing is left to do. True: the turn is over before the work is. */
static bool run_steps(struct conn *c)
{
    for (unsigned i = 0; i < STEPS_A_ROUND; i++) {
        if (!may_step(c))
            return false;
        if (!c->fresh && !c->kicked && !take_input(c))
            return false;
        if (c->phase == CONN_OPEN)
            one_step(c);
        if (c->phase == CONN_OPEN && c->out.n > c->output_high && conn_io_write(c) == CONN_IO_ERROR)
            fail(c);
    }
    return may_step(c) && (c->fresh || c->kicked || (c->tls && tls_pending(c->tls)));
}

/* More answers follow soon, and who waits for them has said all that they are about. */
static bool holds_output(const struct conn *c)
{
    return c->gather && c->phase == CONN_OPEN && c->paused && !c->kicked && c->in.n &&
           c->out.n <= c->output_high;
}

static void run_output(struct conn *c)
{
    size_t before = c->out.n;
    if (c->phase == CONN_HANDSHAKE || c->phase == CONN_ENDED || !before || holds_output(c))
        return;
    if (conn_io_write(c) == CONN_IO_ERROR)
        fail(c);
    else if (c->out.n < before)
        push_deadline(c);
}

static void set_interest(struct conn *c)
{
    unsigned want = 0;
    if (c->phase == CONN_HANDSHAKE) {
        want = c->read_wants_write ? LOOP_WRITE : LOOP_READ;
    } else {
        /* A pause is short and its peer mostly silent: reading stays on until something comes, which spares
         * the kernel two calls for each pause. */
        bool read = (may_step(c) || (c->paused && !c->readable)) && !c->eof && c->in.n < c->in.limit;
        if ((read && !c->read_wants_write) || (c->out.n && c->write_wants_read))
            want |= LOOP_READ;
        if ((c->out.n && !c->write_wants_read && !holds_output(c)) || (read && c->read_wants_write))
            want |= LOOP_WRITE;
    }
    loop_io_want(c->io, want);
}

static void conn_run(struct conn *c)
{
    bool more = false;
    c->running = true;
    if (c->phase == CONN_HANDSHAKE)
        run_handshake(c);
    if (c->phase == CONN_OPEN)
        more = run_steps(c);
    run_output(c);
    /* Output has gone below its mark inside this run: steps that waited for that go on. */
    if (c->phase == CONN_OPEN && may_step(c) && (c->fresh || c->kicked))
        more = true;
    if (c->phase == CONN_UPGRADE && c->out.n == 0) {
        start_tls(c);
        if (c->phase == CONN_HANDSHAKE)
            run_handshake(c);
        more = c->phase == CONN_OPEN;
    }
    c->running = false;
    if (c->phase == CONN_CLOSING && c->out.n == 0) {
        end(c);
        return;
    }
    set_interest(c);
    if (more)
        queue_run(c);
}

static void on_io(void *arg, unsigned what)
{
    struct conn *c = arg;
    if (what & LOOP_READ || c->read_wants_write)
        c->readable = true;
    conn_run(c);
}

struct conn *conn_new(struct loop *l, int fd, struct tls_ctx *tls, bool implicit_tls,
                      const struct conn_ops *ops, void *core, const struct conn_limits *limits,
                      uint64_t first_deadline_ms)
{
    static const struct conn_limits usual = {64 << 10, 256 << 10, 64 << 20, false};
    struct conn *c = xcalloc(1, sizeof *c);
    if (!limits)
        limits = &usual;
    c->loop = l;
    c->fd = fd;
    c->tls_ctx = tls;
    c->ops = ops;
    c->core = core;
    buf_init(&c->in, limits->input_bytes ? limits->input_bytes : usual.input_bytes);
    buf_init(&c->out, limits->output_bytes ? limits->output_bytes : usual.output_bytes);
    c->output_high = limits->output_high ? limits->output_high : usual.output_high;
    c->gather = limits->gather;
    conn_io_prepare(c);
    c->io = loop_io_new(l, fd, 0, on_io, c);
    c->timer = loop_timer_new(l, on_timer, c);
    c->fresh = true;
    if (implicit_tls)
        start_tls(c);
    conn_deadline(c, first_deadline_ms, false);
    queue_run(c);
    return c;
}

void conn_kick(struct conn *c)
{
    c->kicked = true;
    queue_run(c);
}

void conn_deadline(struct conn *c, uint64_t ms, bool restart_on_input)
{
    if (c->phase >= CONN_CLOSING)
        return;
    c->deadline_ms = ms;
    c->restart_on_input = restart_on_input;
    if (ms)
        set_timer(c, ms);
    else
        loop_timer_stop(c->timer);
}

struct buf *conn_out(struct conn *c)
{
    return &c->out;
}

void conn_flush(struct conn *c)
{
    queue_run(c);
}

void conn_finish(struct conn *c)
{
    begin_close(c, CONN_END_CLOSED);
    queue_run(c);
}

void conn_abort(struct conn *c)
{
    if (c->phase == CONN_ENDED)
        return;
    c->phase = CONN_CLOSING;
    c->why = CONN_END_CLOSED;
    buf_reset(&c->out);
    queue_run(c);
}

void conn_listen_paused(struct conn *c, bool on)
{
    if (on && !c->listen_paused && c->in.n)
        c->fresh = true; /* what came with the command that began to wait is looked at once */
    c->listen_paused = on;
    queue_run(c);
}

bool conn_eof(const struct conn *c)
{
    return c->eof;
}

const char *conn_error(const struct conn *c)
{
    return c->error;
}

const char *conn_peer(const struct conn *c)
{
    return c->peer;
}

const char *conn_local(const struct conn *c)
{
    return c->local;
}

uint64_t conn_bytes_in(const struct conn *c)
{
    return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
    return c->bytes_out;
}
