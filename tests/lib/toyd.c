/* A toy daemon for the tests of common/net: `toyd back --config F` is a keeper of one process that answers
 * frames with their own body; `toyd --config F` is a master whose workers speak a protocol of lines:
 *   PID, UID, STARTTLS, QUIT, ASK text (through the keeper), OPEN, CONNECT, EXEC (forbidden calls); else
 * echo. lmtp_listen is plain with STARTTLS, imaps_listen is TLS from the first byte. */
#include "common/base/log.h"
#include "common/net/conn.h"
#include "common/net/daemon.h"
#include "common/net/ticket.h"
#include "common/net/sandbox.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOY_ASK = 1 };

struct toy {
    struct worker *w;
    struct ipc_client *back;
    unsigned sessions;
    bool stopping;
};

struct session {
    struct toy *toy;
    struct conn *conn;
    struct ticket *ticket;
    bool tls;
    bool answered;
    char answer[200];
};

static struct conf_list plain_addresses(const struct conf *c)
{
    return c->lmtp_listen;
}

static struct conf_list tls_addresses(const struct conf *c)
{
    return c->imaps_listen;
}

static const char *web_user(const struct conf *c)
{
    return c->web_user;
}

static unsigned count(const struct conf *c)
{
    return (unsigned)c->workers;
}

static const char *user(const struct conf *c)
{
    return c->smtpd_user;
}

static const char *back_user(const struct conf *c)
{
    return c->stored_user;
}

/* -- sessions -- */

static void say(struct buf *out, const char *text)
{
    if (!buf_addf(out, "%s\r\n", text))
        abort();
}

static void forbidden_open(void)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

static void forbidden_connect(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        close(fd);
}

static void forbidden_exec(void)
{
    char *argv[] = {NULL, NULL};
    execv("/bin/true", argv);
}

static const struct {
    const char *word;
    void (*call)(void);
} forbidden[] = {{"OPEN", forbidden_open}, {"CONNECT", forbidden_connect}, {"EXEC", forbidden_exec}};

static enum step one_line(struct session *s, struct span line, struct buf *out)
{
    char text[64];
    struct span word = line;
    word = span_cut(&word, ' ');
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        if (span_eq(word, span_str(forbidden[i].word))) {
            forbidden[i].call();
            say(out, "the call came back");
            return STEP_AGAIN;
        }
    if (span_eq(word, SPAN("PID")) || span_eq(word, SPAN("UID"))) {
        snprintf(text, sizeof text, "%ld", span_eq(word, SPAN("PID")) ? (long)getpid() : (long)geteuid());
        say(out, text);
    } else if (span_eq(word, SPAN("STARTTLS"))) {
        say(out, "ready");
        return STEP_STARTTLS;
    } else if (span_eq(word, SPAN("QUIT"))) {
        say(out, "bye");
        return STEP_CLOSE;
    } else if (span_eq(word, SPAN("ASK"))) {
        uint64_t seq = (uint64_t)(uintptr_t)ticket_hold(s->ticket);
        struct span rest = span_drop(line, 4);
        if (ipc_client_send(s->toy->back, TOY_ASK, seq, &rest, 1, -1))
            return STEP_PAUSED;
        struct ticket *t = s->ticket;
        ticket_drop(&t);
        say(out, "no keeper");
    } else if (!buf_add_span(out, line) || !buf_add_str(out, "\r\n")) {
        return STEP_CLOSE;
    }
    return STEP_AGAIN;
}

static enum step step(void *core, struct buf *in, struct buf *out)
{
    struct session *s = core;
    if (s->answered) {
        s->answered = false;
        say(out, s->answer);
        return STEP_AGAIN;
    }
    size_t end = span_search(buf_span(in), SPAN("\r\n"));
    if (end == in->n)
        return STEP_NEED_INPUT;
    char *line = xstrspan(span_of(in->p, end));
    buf_consume(in, end + 2);
    enum step r = one_line(s, span_of(line, end), out);
    free(line);
    return r;
}

static void tls_up(void *core, const struct tls_facts *f)
{
    struct session *s = core;
    s->tls = true;
    log_event(LOG_INFO, NULL, "toy.tls", F_STR("version", f->version), F_INT("exporter", f->has_exporter));
}

static void on_timeout(void *core, struct buf *out)
{
    (void)core;
    say(out, "too slow");
}

static void closed(void *core, enum conn_end why)
{
    struct session *s = core;
    struct toy *t = s->toy;
    (void)why;
    ticket_void(&s->ticket);
    free(s);
    if (--t->sessions == 0 && t->stopping)
        worker_done(t->w);
}

static const struct conn_ops ops = {step, tls_up, on_timeout, closed};

static void accepted(void *arg, int fd, const struct daemon_listen *on, struct tls_ctx *tls)
{
    struct toy *t = arg;
    struct session *s = xcalloc(1, sizeof *s);
    s->toy = t;
    s->ticket = ticket_new(s);
    t->sessions++;
    s->conn = conn_new(worker_loop(t->w), fd, tls, on->implicit_tls, &ops, s, NULL, 60000);
}

/* -- the keeper's answers -- */

static void up(void *arg)
{
    (void)arg;
    log_event(LOG_INFO, NULL, "toy.up", F_INT("pid", getpid()));
}

static bool answer(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    struct ticket *t = (struct ticket *)(uintptr_t)h->seq;
    struct session *s = ticket_session(t);
    (void)arg;
    if (fd >= 0)
        close(fd);
    if (s) {
        snprintf(s->answer, sizeof s->answer, "%.*s", SPAN_ARG(body));
        s->answered = true;
        conn_kick(s->conn);
    }
    ticket_drop(&t);
    return true;
}

static const struct ipc_client_ops back_ops = {.up = up, .down = up, .frame = answer};

static void *start(struct worker *w)
{
    struct toy *t = xcalloc(1, sizeof *t);
    t->w = w;
    t->back = worker_client(w, "back", &back_ops, t);
    return t;
}

static void stop(void *arg)
{
    struct toy *t = arg;
    t->stopping = true;
    if (t->sessions == 0)
        worker_done(t->w);
}

/* -- the keeper -- */

static bool ask(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    (void)arg;
    if (fd >= 0)
        close(fd);
    return h->type == TOY_ASK && ipc_send(c, TOY_ASK | IPC_ANSWER, ERR_OK, h->seq, &body, 1, -1);
}

static void gone(void *arg, struct ipc *c)
{
    (void)arg;
    (void)c;
}

static void came(void *arg, struct ipc *c)
{
    (void)arg;
    (void)c;
}

static enum err_code open_back(struct daemon *d, struct err *why)
{
    static const struct ipc_ops back_server = {ask, gone};
    uid_t uid;
    gid_t gid;
    int fd = -1;
    struct buf dir;
    buf_init(&dir, 4096);
    enum err_code code = daemon_ids(daemon_conf(d)->smtpd_user, &uid, &gid, why);
    if (code == ERR_OK && !conf_path(daemon_conf(d)->run_dir, "back", &dir))
        code = ERR_LIMIT;
    if (code == ERR_OK)
        code = ipc_listen(dir.p, "sock", uid, gid, &fd, why);
    buf_free(&dir);
    if (code != ERR_OK)
        return code;
    daemon_set_arg(d, ipc_serve(daemon_loop(d), fd, &uid, 1, &back_server, came, NULL));
    daemon_ready(d);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    static const struct daemon_listen listens[] = {
        {.name = "plain", .addresses = plain_addresses, .tls = true},
        {.name = "tls", .addresses = tls_addresses, .tls = true, .implicit_tls = true},
        {.name = "local", .unix_name = "local", .unix_owner = web_user},
        {.name = NULL}};
    static const struct daemon_peer peers[] = {{"back", "back/sock"}, {NULL, NULL}};
    static const struct daemon_workers workers[] = {{.name = "session",
                                                     .count = count,
                                                     .listens = listens,
                                                     .peers = peers,
                                                     .start = start,
                                                     .accepted = accepted,
                                                     .stop = stop},
                                                    {.name = NULL}};
    static const struct daemon_spec front = {.program = "toyd", .user = user, .workers = workers};
    static const struct daemon_spec back = {
        .program = "toyback", .user = back_user, .open = open_back, .sandbox = SANDBOX_ACCEPT};
    if (argc > 1 && strcmp(argv[1], "back") == 0) {
        argv[1] = argv[0];
        return daemon_main(&back, argc - 1, argv + 1);
    }
    return daemon_main(&front, argc, argv);
}
