/* imapd's sessions over fakes, on free ports of the loopback: for dialogues and clients that need neither
 * directory nor store. Prints "port PLAIN TLS", ends when its input ends. Arguments: certificate and key.
 * A line "file ACCOUNT MAILBOX SIZE" and SIZE bytes on its input file a message, as a delivery does. */
#include "common/base/crypto.h"
#include "common/net/conn.h"
#include "imapd/imap.h"
#include "tests/lib/fake_directory.h"
#include "tests/lib/fake_store.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct session {
    struct conn *conn;
    struct imap *core;
};

static struct loop *loop;
static struct conf *conf;
static struct tls_ctx *tls;
static struct store *store;
static struct directory *directory;
static bool pumping;
static struct buf input;

static void pump(void *arg)
{
    (void)arg;
    pumping = false;
    fake_store_pump();
    fake_directory_pump();
}

static void wake(void *arg)
{
    (void)arg;
    if (!pumping)
        loop_defer(loop, pump, NULL);
    pumping = true;
}

static void kick(void *arg)
{
    struct session *s = arg;
    if (s->conn)
        conn_kick(s->conn);
}

static void deadline(void *arg, uint64_t ms, bool restart)
{
    conn_deadline(((struct session *)arg)->conn, ms, restart);
}

static void listen_on(void *arg, bool on)
{
    conn_listen_paused(((struct session *)arg)->conn, on);
}

static void later(void *arg, uint64_t ms)
{
    (void)arg;
    (void)ms;
    abort(); /* the fakes are always up */
}

static const struct imap_host host = {kick, deadline, listen_on, later};

static enum step step(void *core, struct buf *in, struct buf *out)
{
    return imap_step(((struct session *)core)->core, in, out);
}

static void tls_up(void *core, const struct tls_facts *facts)
{
    imap_tls_up(((struct session *)core)->core, facts);
}

static void on_timeout(void *core, struct buf *out)
{
    imap_timeout(((struct session *)core)->core, out);
}

static void closed(void *core, enum conn_end why)
{
    struct session *s = core;
    imap_summary(s->core, why == CONN_END_CLOSED ? "done" : conn_error(s->conn), conn_bytes_in(s->conn),
                 conn_bytes_out(s->conn));
    s->conn = NULL;
    imap_free(&s->core);
    free(s);
}

static const struct conn_ops ops = {step, tls_up, on_timeout, closed};

static void start_session(int listener, bool implicit)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    struct session *s = xcalloc(1, sizeof *s);
    s->conn = conn_new(loop, fd, tls, implicit, &ops, s, NULL, 60000);
    struct imap_start start = {.conf = conf,
                               .store = store,
                               .directory = directory,
                               .host = &host,
                               .host_arg = s,
                               .peer = conn_peer(s->conn),
                               .local = getenv("IMAPALONE_LOCAL") != NULL,
                               .starttls = tls && !implicit};
    s->core = imap_new(&start);
}

static void on_plain(void *arg, unsigned what)
{
    (void)what;
    start_session(*(int *)arg, false);
}

static void on_tls(void *arg, unsigned what)
{
    (void)what;
    start_session(*(int *)arg, true);
}

/* A whole "file" request is at the front of input. */
static bool take_file(void)
{
    struct span all = buf_span(&input), line = all;
    size_t lf = span_find(all, '\n');
    uint64_t size;
    if (lf == all.n)
        return false;
    line.n = lf;
    struct span rest = line;
    span_cut(&rest, ' ');
    char *account = xstrspan(span_cut(&rest, ' ')), *box = xstrspan(span_cut(&rest, ' '));
    bool whole = span_u64(rest, &size) && all.n - lf - 1 >= size;
    if (whole) {
        fake_store_file(account, box, span_of(all.p + lf + 1, (size_t)size), 0);
        buf_consume(&input, lf + 1 + (size_t)size);
        puts("filed");
        fflush(stdout);
    }
    free(account);
    free(box);
    return whole;
}

static void on_stdin(void *arg, unsigned what)
{
    (void)arg;
    (void)what;
    char *at = buf_reserve(&input, 65536);
    ssize_t n = at ? read(0, at, 65536) : 0;
    if (n <= 0) {
        loop_stop(loop);
        return;
    }
    buf_commit(&input, (size_t)n);
    while (take_file())
        ;
}

static bool setup(int argc, char **argv)
{
    static const char text[] = "hostname = mail.gialai.example\ndomains = gialai.example\n"
                               "imap_append_limit = 50M\nimap_error_limit = 50\n";
    struct buf faults;
    struct err why;
    buf_init(&faults, 4096);
    buf_init(&input, 64 << 20);
    if (conf_parse("alone.conf", SPAN(text), &conf, &faults) != ERR_OK)
        return false;
    return argc < 3 || tls_server_new(argv[1], argv[2], &tls, &why) == ERR_OK;
}

static int listener(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 100) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        exit(71);
    *port = ntohs(at.sin_port);
    return fd;
}

int main(int argc, char **argv)
{
    unsigned plain_port, tls_port;
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    if (!setup(argc, argv))
        return 64;
    loop = loop_new();
    store = store_new_worker(NULL, STORE_SESSION);
    directory = directory_new_worker(NULL);
    fake_store.wake = fake_directory_wake = wake;
    int plain_fd = listener(&plain_port), tls_fd = listener(&tls_port);
    printf("port %u %u\n", plain_port, tls_port);
    fflush(stdout);
    struct loop_io *a = loop_io_new(loop, plain_fd, LOOP_READ, on_plain, &plain_fd);
    struct loop_io *b = loop_io_new(loop, tls_fd, LOOP_READ, on_tls, &tls_fd);
    struct loop_io *c = loop_io_new(loop, 0, LOOP_READ, on_stdin, NULL);
    loop_run(loop);
    loop_io_free(&a);
    loop_io_free(&b);
    loop_io_free(&c);
    return 0;
}
