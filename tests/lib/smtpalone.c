/* The SMTP core on a real port over fakes, for wire dialogues and corpora where no directory and no store is
 * needed: smtpalone KIND [CERT KEY], KIND smtp, submission or lmtp. Prints its port, ends when stdin closes.
 * Every accepted content is written to stdout behind a line "message SIZE". */
#include "common/base/crypto.h"
#include "common/base/log.h"
#include "tests/lib/fake_content.h"
#include "tests/lib/fake_backend.h"
#include "common/net/tls.h"
#include "smtpd/core.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct conf *conf;
static struct loop *loop;
static struct fake_backend fake;
static struct tls_ctx *tls;
static enum smtp_kind kind;

struct session {
    struct conn *conn;
    struct smtp_core *core;
};

static void kick(void *arg)
{
    struct session *s = arg;
    conn_kick(s->conn);
}

static enum step step(void *core, struct buf *in, struct buf *out)
{
    struct session *s = core;
    return smtp_core_step(s->core, in, out);
}

static void tls_up(void *core, const struct tls_facts *facts)
{
    struct session *s = core;
    smtp_core_tls_up(s->core, facts);
}

static void on_timeout(void *core, struct buf *out)
{
    struct session *s = core;
    smtp_core_timeout(s->core, out);
}

static void closed(void *core, enum conn_end why)
{
    struct session *s = core;
    (void)why;
    smtp_core_free(&s->core);
    free(s);
}

static const struct conn_ops ops = {step, tls_up, on_timeout, closed};

/* What the store was given: the log line, then the content. */
static void flush_log(void *arg)
{
    (void)arg;
    if (fake.log.n) {
        printf("message %zu\n", fake.log.n);
        fwrite(fake.log.p, 1, fake.log.n, stdout);
        fflush(stdout);
        buf_reset(&fake.log);
    }
}

static void on_accept(void *arg, unsigned what)
{
    int *listener = arg;
    (void)what;
    int fd = accept(*listener, NULL, NULL);
    if (fd < 0)
        return;
    struct session *s = xcalloc(1, sizeof *s);
    s->conn = conn_new(loop, fd, tls, false, &ops, s, NULL, 60000);
    struct smtp_setup setup = {.conf = conf,
                               .backend = &fake.b,
                               .kind = kind,
                               .listener = "alone",
                               .peer = "127.0.0.1",
                               .tls_possible = tls != NULL,
                               .kick = kick,
                               .kick_arg = s};
    s->core = smtp_core_new(&setup);
}

static void on_stdin(void *arg, unsigned what)
{
    char waste[100];
    (void)arg;
    (void)what;
    if (read(0, waste, sizeof waste) <= 0)
        loop_stop(loop);
}

static bool setup(int argc, char **argv)
{
    static const char text[] =
        "hostname = mx.gialai.example\ndomains = gialai.example\nmessage_size_limit = 50M\n";
    struct buf faults;
    struct err why;
    buf_init(&faults, 4096);
    if (argc < 2 || conf_parse("alone.conf", SPAN(text), &conf, &faults) != ERR_OK)
        return false;
    kind = strcmp(argv[1], "lmtp") == 0   ? SMTP_LMTP
           : strcmp(argv[1], "smtp") == 0 ? SMTP_MX
                                          : SMTP_SUBMISSION;
    return argc < 4 || tls_server_new(argv[2], argv[3], &tls, &why) == ERR_OK;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    signal(SIGPIPE, SIG_IGN);
    crypto_start();
    if (!setup(argc, argv))
        return 64;
    fake_backend_init(&fake);
    fake.sync = true;
    loop = loop_new();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, n) != 0 || listen(listener, 100) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) != 0)
        return 71;
    printf("port %u\n", (unsigned)ntohs(at.sin_port));
    fflush(stdout);
    struct loop_io *a = loop_io_new(loop, listener, LOOP_READ, on_accept, &listener);
    struct loop_io *b = loop_io_new(loop, 0, LOOP_READ, on_stdin, NULL);
    loop_round_end(loop, flush_log, NULL);
    loop_run(loop);
    loop_io_free(&a);
    loop_io_free(&b);
    close(listener);
    return 0;
}
