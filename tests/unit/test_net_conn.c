/* Connections: a core that speaks lines, driven over socket pairs, plain and with TLS from a real client side
 * (a second conn in the same loop). */
#include "tests/lib/cm.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/conn.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The core under test: ECHO line, BIG n (n bytes of output in slices), WAIT (paused until kicked), LISTEN
 * (paused, step sees input), TLS, SPIN n (STEP_AGAIN n times), END. */
struct core {
    struct loop *loop;
    struct conn *c;
    size_t big;
    unsigned spin, steps, ends, timeouts, tls_ups;
    bool waiting, answered, listening, kick_inside;
    enum conn_end why;
    struct tls_facts facts;
    char error[200];
};

static void must(bool ok)
{
    assert_true(ok);
}

static enum step one_line(struct core *k, struct span line, struct buf *out)
{
    uint64_t n = 0;
    struct span word = span_cut(&line, ' ');
    if (span_eq(word, SPAN("BIG")) && span_u64(line, &n)) {
        k->big = (size_t)n;
    } else if (span_eq(word, SPAN("SPIN")) && span_u64(line, &n)) {
        k->spin = (unsigned)n;
    } else if (span_eq(word, SPAN("WAIT"))) {
        k->waiting = true;
        if (k->kick_inside) {
            k->answered = true; /* the answer came before step returned */
            conn_kick(k->c);
        }
        return STEP_PAUSED;
    } else if (span_eq(word, SPAN("LISTEN"))) {
        k->listening = true;
        conn_listen_paused(k->c, true);
        return STEP_PAUSED;
    } else if (span_eq(word, SPAN("TLS"))) {
        must(buf_add_str(out, "go\n"));
        return STEP_STARTTLS;
    } else if (span_eq(word, SPAN("END"))) {
        must(buf_add_str(out, "bye\n"));
        return STEP_CLOSE;
    } else {
        must(buf_addf(out, "%.*s\n", SPAN_ARG(line)));
    }
    return STEP_AGAIN;
}

static enum step step(void *core, struct buf *in, struct buf *out)
{
    struct core *k = core;
    k->steps++;
    if (k->waiting && !k->answered)
        return STEP_PAUSED;
    if (k->answered)
        must(buf_add_str(out, "answer\n"));
    k->waiting = k->answered = false;
    if (k->spin) {
        k->spin--;
        return STEP_AGAIN;
    }
    if (k->big) {
        size_t slice = k->big < 10000 ? k->big : 10000;
        char *at = buf_reserve(out, slice);
        assert_non_null(at);
        memset(at, 'x', slice);
        buf_commit(out, slice);
        k->big -= slice;
        return STEP_AGAIN;
    }
    size_t end = span_find(buf_span(in), '\n');
    if (end == in->n)
        return k->listening ? STEP_PAUSED : STEP_NEED_INPUT;
    if (k->listening)
        conn_listen_paused(k->c, false);
    k->listening = false;
    char *line = xstrspan(span_of(in->p, end));
    buf_consume(in, end + 1);
    enum step s = one_line(k, span_of(line, end), out);
    free(line);
    return s;
}

static void tls_up(void *core, const struct tls_facts *facts)
{
    struct core *k = core;
    k->tls_ups++;
    k->facts = *facts;
}

static void on_timeout(void *core, struct buf *out)
{
    struct core *k = core;
    k->timeouts++;
    must(buf_add_str(out, "late\n"));
}

static void closed(void *core, enum conn_end why)
{
    struct core *k = core;
    k->ends++;
    k->why = why;
    snprintf(k->error, sizeof k->error, "%s", conn_error(k->c));
    loop_stop(k->loop);
}

static const struct conn_ops ops = {step, tls_up, on_timeout, closed};

/* The test's end of the wire: what is to be written, what has come. */
struct wire {
    struct loop *loop;
    int fd;
    struct loop_io *io;
    struct buf got;
    size_t stop_at; /* bytes that end the run */
    bool eof;
};

static void on_wire(void *arg, unsigned what)
{
    struct wire *w = arg;
    (void)what;
    char *at = buf_reserve(&w->got, 65536);
    assert_non_null(at);
    ssize_t n = recv(w->fd, at, 65536, MSG_DONTWAIT);
    if (n > 0)
        buf_commit(&w->got, (size_t)n);
    if (n == 0) {
        w->eof = true;
        loop_io_want(w->io, 0);
    }
    if (n == 0 || w->got.n >= w->stop_at)
        loop_stop(w->loop);
}

struct rig {
    struct loop *loop;
    struct core k;
    struct wire w;
};

static void rig_up(struct rig *r, const struct conn_limits *limits, uint64_t deadline_ms, struct tls_ctx *tls)
{
    int fd[2];
    memset(r, 0, sizeof *r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->loop = loop_new();
    r->k.loop = r->w.loop = r->loop;
    r->w.fd = fd[1];
    r->w.stop_at = SIZE_MAX;
    buf_init(&r->w.got, 64 << 20);
    r->w.io = loop_io_new(r->loop, fd[1], LOOP_READ, on_wire, &r->w);
    r->k.c = conn_new(r->loop, fd[0], tls, false, &ops, &r->k, limits, deadline_ms);
}

static void give_up(void *arg)
{
    (void)arg;
    fail_msg("nothing happened within 10 s");
}

static void run(struct loop *l)
{
    struct loop_timer *t = loop_timer_new(l, give_up, NULL);
    loop_timer_start(t, 10000);
    loop_run(l);
    loop_timer_free(&t);
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

static void run_for(struct loop *l, uint64_t ms)
{
    struct loop_timer *t = loop_timer_new(l, stop_loop, l);
    loop_timer_start(t, ms);
    loop_run(l);
    loop_timer_free(&t);
}

static void rig_down(struct rig *r)
{
    if (!r->k.ends)
        conn_abort(r->k.c);
    loop_io_free(&r->w.io);
    close(r->w.fd);
    while (!r->k.ends)
        run(r->loop);
    run_for(r->loop, 20); /* the polite close sees our end */
    assert_int_equal(r->k.ends, 1);
    buf_free(&r->w.got);
    loop_free(&r->loop);
}

static void write_all(struct rig *r, const char *text)
{
    assert_int_equal(send(r->w.fd, text, strlen(text), 0), strlen(text));
}

static void expect(struct rig *r, const char *text)
{
    r->w.stop_at = strlen(text);
    while (r->w.got.n < r->w.stop_at && !r->w.eof)
        run(r->loop);
    assert_int_equal(r->w.got.n, strlen(text));
    assert_memory_equal(r->w.got.p, text, strlen(text));
    buf_reset(&r->w.got);
}

static void split_input(void **state)
{
    (void)state;
    static const char text[] = "ECHO one\nECHO two\nWAIT\nECHO three\nEND\n";
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    r.k.kick_inside = true;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_int_equal(send(r.w.fd, text + i, 1, 0), 1);
        if (!r.k.ends)
            run_for(r.loop, 1);
    }
    expect(&r, "one\ntwo\nanswer\nthree\nbye\n");
    assert_int_equal(r.k.why, CONN_END_CLOSED);
    assert_int_equal(r.k.ends, 1);
    rig_down(&r);
}

static void pipelined_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    r.k.kick_inside = true;
    write_all(&r, "ECHO one\nWAIT\nSPIN 1000\nECHO two\nWAIT\nEND\nECHO never\n");
    expect(&r, "one\nanswer\ntwo\nanswer\nbye\n");
    rig_down(&r);
}

static void big_output_is_bounded(void **state)
{
    (void)state;
    static const struct conn_limits limits = {
        .input_bytes = 1000, .output_high = 50000, .output_bytes = 100000};
    struct rig r;
    rig_up(&r, &limits, 60000, NULL);
    loop_io_want(r.w.io, 0); /* a slow reader */
    write_all(&r, "BIG 8000000\nEND\n");
    run_for(r.loop, 50);
    assert_in_range(conn_out(r.k.c)->n, 50000, 70000);
    assert_true(r.k.big > 7000000);
    loop_io_want(r.w.io, LOOP_READ);
    r.w.stop_at = 8000000 + 4;
    while (r.w.got.n < r.w.stop_at)
        run(r.loop);
    assert_int_equal(r.w.got.n, 8000004);
    rig_down(&r);
}

static void deadlines(void **state)
{
    (void)state;
    struct rig r;
    uint64_t begin = clock_mono_ms();
    rig_up(&r, NULL, 60, NULL);
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_TIMEOUT);
    assert_in_range(clock_mono_ms() - begin, 60, 30000);
    expect(&r, "late\n");
    rig_down(&r);

    /* Input pushes the deadline forward. */
    rig_up(&r, NULL, 60000, NULL);
    conn_deadline(r.k.c, 1000, true);
    for (unsigned i = 0; i < 6; i++) {
        run_for(r.loop, 200);
        write_all(&r, "x");
        assert_int_equal(r.k.ends, 0);
    }
    begin = clock_mono_ms();
    while (!r.k.ends)
        run(r.loop);
    assert_in_range(clock_mono_ms() - begin, 800, 30000);
    rig_down(&r);
}

/* A session that waits for the store is not the peer's fault; a peer that takes nothing is. */
static void deadline_counts_the_peer_only(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    conn_deadline(r.k.c, 50, true);
    write_all(&r, "WAIT\n");
    run_for(r.loop, 250);
    assert_int_equal(r.k.ends, 0);
    r.k.answered = true;
    conn_kick(r.k.c);
    expect(&r, "answer\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_TIMEOUT);
    rig_down(&r);

    rig_up(&r, NULL, 60000, NULL);
    conn_deadline(r.k.c, 100, true);
    loop_io_want(r.w.io, 0);
    write_all(&r, "BIG 8000000\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_TIMEOUT);
    rig_down(&r);
}

static void input_limit(void **state)
{
    (void)state;
    static const struct conn_limits limits = {.input_bytes = 100};
    char text[201];
    struct rig r;
    memset(text, 'a', 200);
    text[200] = '\0';
    rig_up(&r, &limits, 60000, NULL);
    write_all(&r, text);
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_LIMIT);
    rig_down(&r);
}

static void half_closed_peer_gets_its_answer(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    write_all(&r, "WAIT\nECHO tail\nrest without end");
    shutdown(r.w.fd, SHUT_WR);
    run_for(r.loop, 50);
    assert_int_equal(r.k.ends, 0);
    r.k.answered = true;
    conn_kick(r.k.c);
    expect(&r, "answer\ntail\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_EOF);
    rig_down(&r);
}

static void listening_while_paused(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    write_all(&r, "LISTEN\n");
    run_for(r.loop, 30);
    must(buf_add_str(conn_out(r.k.c), "news\n")); /* IDLE */
    conn_flush(r.k.c);
    expect(&r, "news\n");
    write_all(&r, "ECHO done\n");
    expect(&r, "done\n");
    write_all(&r, "LISTEN\nECHO piped\n"); /* the end of waiting came with its begin */
    expect(&r, "piped\n");
    write_all(&r, "LISTEN\n");
    run_for(r.loop, 30);
    shutdown(r.w.fd, SHUT_WR);
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_EOF);
    rig_down(&r);
}

static void finish_and_abort(void **state)
{
    (void)state;
    struct rig r;
    rig_up(&r, NULL, 60000, NULL);
    must(buf_add_str(conn_out(r.k.c), "closing\n"));
    conn_finish(r.k.c);
    expect(&r, "closing\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_CLOSED);
    rig_down(&r);
    rig_up(&r, NULL, 60000, NULL);
    must(buf_add_str(conn_out(r.k.c), "never\n"));
    conn_abort(r.k.c);
    conn_abort(r.k.c);
    assert_int_equal(r.k.ends, 0); /* from the loop only */
    while (!r.k.ends)
        run(r.loop);
    rig_down(&r);
}

/* One session that always has work must leave the others their turn. */
static void turns(void **state)
{
    (void)state;
    struct rig r;
    int fd[2];
    struct core other = {0};
    rig_up(&r, NULL, 60000, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    other.loop = r.loop;
    other.spin = 2000000000;
    other.c = conn_new(r.loop, fd[0], NULL, false, &ops, &other, NULL, 60000);
    write_all(&r, "ECHO mine\n");
    expect(&r, "mine\n");
    assert_true(other.spin > 0);
    conn_abort(other.c);
    while (!other.ends)
        run(r.loop);
    close(fd[1]);
    rig_down(&r);
}

/* -- TLS -- */

static struct tls_ctx *server_ctx(void)
{
    char cert[1000], key[1000];
    const char *top = getenv("top_srcdir");
    struct tls_ctx *ctx = NULL;
    struct err why;
    snprintf(cert, sizeof cert, "%s/tests/data/tls/test-cert.pem", top ? top : ".");
    snprintf(key, sizeof key, "%s/tests/data/tls/test-key.pem", top ? top : ".");
    if (tls_server_new(cert, key, &ctx, &why) != ERR_OK)
        fail_msg("%s", why.log);
    return ctx;
}

/* The client: sends its text after the handshake, gathers what comes. */
struct client {
    struct loop *loop;
    struct conn *c;
    const char *plain, *text; /* plain: said before TLS, its answer ends with a line feed */
    bool asked, ended;
    struct buf got;
    struct tls_facts facts;
};

static enum step client_step(void *core, struct buf *in, struct buf *out)
{
    struct client *k = core;
    if (k->plain && !k->asked) {
        k->asked = true;
        must(buf_add_str(out, k->plain));
        return STEP_NEED_INPUT;
    }
    if (k->plain) {
        if (span_find(buf_span(in), '\n') == in->n)
            return STEP_NEED_INPUT;
        buf_reset(in);
        k->plain = NULL;
        return STEP_STARTTLS;
    }
    must(buf_add_span(&k->got, buf_span(in)));
    buf_reset(in);
    return STEP_NEED_INPUT;
}

static void client_up(void *core, const struct tls_facts *facts)
{
    struct client *k = core;
    k->facts = *facts;
    must(buf_add_str(conn_out(k->c), k->text));
}

static void client_closed(void *core, enum conn_end why)
{
    struct client *k = core;
    (void)why;
    k->ended = true;
    loop_stop(k->loop);
}

static const struct conn_ops client_ops = {client_step, client_up, on_timeout, client_closed};

static void tls_session(bool implicit, const char *text, const char *want, size_t want_size)
{
    struct tls_ctx *server = server_ctx(), *anyone = NULL;
    struct err why;
    int fd[2];
    struct loop *l = loop_new();
    struct core k = {.loop = l, .kick_inside = true};
    struct client c = {.loop = l, .plain = implicit ? NULL : "TLS\n", .text = text};
    buf_init(&c.got, 64 << 20);
    assert_int_equal(tls_client_new(NULL, &anyone, &why), ERR_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    k.c = conn_new(l, fd[0], server, implicit, &ops, &k, NULL, 60000);
    c.c = conn_new(l, fd[1], anyone, implicit, &client_ops, &c, NULL, 60000);
    while (!k.ends || !c.ended)
        run(l);
    assert_int_equal(k.why, CONN_END_CLOSED);
    assert_int_equal(k.tls_ups, 1);
    assert_string_equal(k.facts.version, "TLSv1.3");
    assert_true(k.facts.has_exporter && c.facts.has_exporter);
    assert_memory_equal(k.facts.exporter, c.facts.exporter, 32);
    assert_int_equal(c.got.n, want_size);
    if (want)
        assert_memory_equal(c.got.p, want, want_size);
    buf_free(&c.got);
    run_for(l, 20);
    tls_ctx_free(&server);
    tls_ctx_free(&anyone);
    loop_free(&l);
}

static void tls_sessions(void **state)
{
    (void)state;
    static const char want[] = "hi\nanswer\nbye\n";
    tls_session(true, "ECHO hi\nWAIT\nEND\n", want, sizeof want - 1);
    tls_session(false, "ECHO hi\nWAIT\nEND\n", want, sizeof want - 1);
    tls_session(false, "BIG 5000000\nEND\n", NULL, 5000004);
}

static void starttls_injection(void **state)
{
    (void)state;
    struct tls_ctx *ctx = server_ctx();
    struct rig r;
    rig_up(&r, NULL, 60000, ctx);
    write_all(&r, "TLS\nECHO injected\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_ERROR);
    assert_string_equal(r.k.error, "plain text behind STARTTLS");
    run_for(r.loop, 20);
    assert_int_equal(r.w.got.n, 0);
    rig_down(&r);
    tls_ctx_free(&ctx);
}

static void garbage_instead_of_tls(void **state)
{
    (void)state;
    struct tls_ctx *ctx = server_ctx();
    struct rig r;
    rig_up(&r, NULL, 60000, ctx);
    write_all(&r, "TLS\n");
    expect(&r, "go\n");
    write_all(&r, "ECHO in the clear\n");
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_ERROR);
    assert_int_equal(r.k.tls_ups, 0);
    rig_down(&r);
    /* Silence in the handshake is bounded too, and nothing is said in the clear. */
    rig_up(&r, NULL, 60000, ctx);
    write_all(&r, "TLS\n");
    expect(&r, "go\n");
    conn_deadline(r.k.c, 50, false);
    while (!r.k.ends)
        run(r.loop);
    assert_int_equal(r.k.why, CONN_END_TIMEOUT);
    assert_int_equal(r.k.timeouts, 0);
    run_for(r.loop, 20);
    assert_int_equal(r.w.got.n, 0);
    rig_down(&r);
    tls_ctx_free(&ctx);
}

static void bad_key_files(void **state)
{
    (void)state;
    struct tls_ctx *ctx = NULL;
    struct err why = {.code = ERR_OK};
    assert_int_equal(tls_server_new("/nonexistent/cert.pem", "/nonexistent/key.pem", &ctx, &why), ERR_SYNTAX);
    assert_non_null(strstr(why.log, "/nonexistent/cert.pem"));
    assert_null(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(split_input),
                                       cmocka_unit_test(pipelined_at_once),
                                       cmocka_unit_test(big_output_is_bounded),
                                       cmocka_unit_test(deadlines),
                                       cmocka_unit_test(deadline_counts_the_peer_only),
                                       cmocka_unit_test(input_limit),
                                       cmocka_unit_test(half_closed_peer_gets_its_answer),
                                       cmocka_unit_test(listening_while_paused),
                                       cmocka_unit_test(finish_and_abort),
                                       cmocka_unit_test(turns),
                                       cmocka_unit_test(tls_sessions),
                                       cmocka_unit_test(starttls_injection),
                                       cmocka_unit_test(garbage_instead_of_tls),
                                       cmocka_unit_test(bad_key_files)};
    log_threshold(LOG_ALARM);
    return cmocka_run_group_tests_name("net_conn", tests, NULL, NULL);
}
