/* Figures of common/net: IPC round trips (alone, pipelined, large) between two processes, posts from a
 * thread, and echo through a connection, plain and with TLS. Prints a line each; takes some seconds. usage:
 * bench_net CERT KEY */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/conn.h"
#include "common/net/ipc.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pair_of(int fd[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
        abort();
}

/* -- ipc -- */

static bool echo_frame(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    (void)arg;
    (void)fd;
    return ipc_send(c, h->type | IPC_ANSWER, 0, h->seq, &body, 1, -1);
}

static void stop(void *arg, struct ipc *c)
{
    (void)c;
    loop_stop(arg);
}

struct asker {
    struct loop *loop;
    struct ipc *c;
    struct span body;
    unsigned long sent, answered, total;
};

static void ask(struct asker *a)
{
    a->sent++;
    if (!ipc_send(a->c, 1, 0, a->sent, &a->body, 1, -1))
        abort();
}

static bool on_answer(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    struct asker *a = arg;
    (void)c;
    (void)h;
    (void)body;
    (void)fd;
    if (++a->answered == a->total)
        loop_stop(a->loop);
    else if (a->sent < a->total)
        ask(a);
    return true;
}

static void asker_gone(void *arg, struct ipc *c)
{
    (void)arg;
    (void)c;
    abort();
}

static void bench_ipc(const char *name, size_t size, unsigned window, unsigned long total)
{
    static const struct ipc_ops echo = {echo_frame, stop}, asking = {on_answer, asker_gone};
    int fd[2];
    pair_of(fd);
    pid_t pid = fork();
    struct loop *l = loop_new();
    if (pid == 0) {
        close(fd[0]);
        ipc_new(l, fd[1], &echo, l);
        loop_run(l);
        _exit(0);
    }
    close(fd[1]);
    char *bytes = xcalloc(1, size + 1);
    struct asker a = {.loop = l, .body = span_of(bytes, size), .total = total};
    a.c = ipc_new(l, fd[0], &asking, &a);
    double begin = now();
    for (unsigned i = 0; i < window; i++)
        ask(&a);
    loop_run(l);
    double took = now() - begin;
    printf("ipc %-28s %8.2f us each  %9.0f/s  %7.1f MB/s\n", name, took * 1e6 / (double)total,
           (double)total / took, 2 * (double)size * (double)total / took / 1e6);
    ipc_close(a.c);
    waitpid(pid, NULL, 0);
    free(bytes);
    loop_free(&l);
}

/* -- conn -- */

static enum step echo_step(void *core, struct buf *in, struct buf *out)
{
    (void)core;
    if (in->n == 0)
        return STEP_NEED_INPUT;
    if (!buf_add_span(out, buf_span(in)))
        return STEP_CLOSE;
    buf_consume(in, in->n);
    return STEP_AGAIN;
}

struct talker {
    struct loop *loop;
    struct conn *c;
    struct span piece;
    size_t want, got, sent;
    bool implicit_tls;
    double begin;
};

static void talk(struct talker *t, struct buf *out)
{
    while (t->sent < t->want && t->sent - t->got < 16 * t->piece.n && buf_add_span(out, t->piece))
        t->sent += t->piece.n;
}

static enum step talk_step(void *core, struct buf *in, struct buf *out)
{
    struct talker *t = core;
    t->got += in->n;
    buf_consume(in, in->n);
    if (t->got == t->want)
        return STEP_CLOSE;
    talk(t, out);
    return STEP_NEED_INPUT;
}

static void tls_up(void *core, const struct tls_facts *f)
{
    (void)core;
    (void)f;
}

static void on_timeout(void *core, struct buf *out)
{
    (void)core;
    (void)out;
}

static void echo_closed(void *core, enum conn_end why)
{
    (void)why;
    loop_stop(core);
}

static void talk_closed(void *core, enum conn_end why)
{
    struct talker *t = core;
    (void)why;
    loop_stop(t->loop);
}

static void bench_conn(const char *name, size_t piece, size_t total, struct tls_ctx *server,
                       struct tls_ctx *client)
{
    static const struct conn_ops echo = {echo_step, tls_up, on_timeout, echo_closed},
                                 talking = {talk_step, tls_up, on_timeout, talk_closed};
    int fd[2];
    pair_of(fd);
    pid_t pid = fork();
    struct loop *l = loop_new();
    if (pid == 0) {
        close(fd[0]);
        conn_new(l, fd[1], server, server != NULL, &echo, l, NULL, 60000);
        loop_run(l);
        _exit(0);
    }
    close(fd[1]);
    char *bytes = xcalloc(1, piece);
    struct talker t = {.loop = l, .piece = span_of(bytes, piece), .want = total / piece * piece};
    double begin = now();
    t.c = conn_new(l, fd[0], client, client != NULL, &talking, &t, NULL, 60000);
    loop_run(l);
    double took = now() - begin;
    printf("conn %-27s %8.2f us each  %9.0f/s  %7.1f MB/s each way\n", name,
           took * 1e6 * (double)piece / (double)total, (double)total / (double)piece / took,
           (double)total / took / 1e6);
    waitpid(pid, NULL, 0);
    free(bytes);
    loop_free(&l);
}

int main(int argc, char **argv)
{
    struct tls_ctx *server = NULL, *client = NULL;
    struct err why;
    log_threshold(LOG_ALARM);
    signal(SIGPIPE, SIG_IGN);
    bench_ipc("64 B, alone", 64, 1, 100000);
    bench_ipc("64 B, 16 under way", 64, 16, 500000);
    bench_ipc("64 B, 256 under way", 64, 256, 1000000);
    bench_ipc("10 KB, 16 under way", 10000, 16, 100000);
    bench_ipc("1 MB, 2 under way", 1 << 20, 2, 500);
    bench_conn("100 B lines, plain", 100, 50 << 20, NULL, NULL);
    bench_conn("16 KB pieces, plain", 16384, 500 << 20, NULL, NULL);
    if (argc != 3)
        return 0;
    if (tls_server_new(argv[1], argv[2], &server, &why) != ERR_OK ||
        tls_client_new(NULL, &client, &why) != ERR_OK) {
        fprintf(stderr, "%s\n", why.log);
        return 1;
    }
    bench_conn("100 B lines, TLS", 100, 50 << 20, server, client);
    bench_conn("16 KB pieces, TLS", 16384, 500 << 20, server, client);
    tls_ctx_free(&server);
    tls_ctx_free(&client);
    return 0;
}
