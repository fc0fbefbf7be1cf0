/* Submission: one dialogue, blocking, with a deadline on each answer. Its hard problem is the moment after
 * the final dot: a lost answer there is neither success nor failure, and is told apart (RFC 5321 4.5.3.2.6).
 */
#include "webmail-cgi/submit.h"
#include "common/base/clock.h"
#include "common/mime/codec.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct dialogue {
    int fd;
    struct buf in, out;
    char text[300]; /* the last reply's words */
    bool smtputf8, eightbit;
    struct err *why;
};

static bool wait_for(int fd, short events, uint64_t until)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = now < until ? poll(&p, 1, (int)(until - now)) : 0;
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

static bool send_span(struct dialogue *d, struct span s)
{
    uint64_t until = clock_mono_ms() + SUBMIT_PATIENCE_MS;
    while (s.n) {
        ssize_t n = send(d->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            s = span_drop(s, (size_t)n);
        else if (!(n < 0 && (errno == EAGAIN || errno == EINTR) && wait_for(d->fd, POLLOUT, until)))
            return false;
    }
    return true;
}

/* A whole reply; its code, or 0 when there is none. Words of EHLO are looked at on their way. */
static int reply(struct dialogue *d)
{
    uint64_t until = clock_mono_ms() + SUBMIT_PATIENCE_MS;
    for (;;) {
        struct span in = buf_span(&d->in);
        size_t eol = span_search(in, SPAN("\r\n"));
        if (eol == in.n) {
            char *to = buf_reserve(&d->in, 4096);
            ssize_t n = to && wait_for(d->fd, POLLIN, until) ? recv(d->fd, to, 4096, 0) : -1;
            if (n <= 0)
                return 0;
            buf_commit(&d->in, (size_t)n);
            continue;
        }
        uint32_t code;
        bool good = eol >= 3 && span_u32(span_first(in, 3), &code), last = eol == 3 || in.p[3] == ' ';
        struct span words = span_of(in.p + 4, eol > 4 ? eol - 4 : 0);
        d->smtputf8 = d->smtputf8 || span_caseeq(words, SPAN("SMTPUTF8"));
        d->eightbit = d->eightbit || span_caseeq(words, SPAN("8BITMIME"));
        snprintf(d->text, sizeof d->text, "%.*s", SPAN_ARG(words));
        buf_consume(&d->in, eol + 2);
        if (!good)
            return 0;
        if (last)
            return (int)code;
    }
}

static int ask(struct dialogue *d)
{
    bool sent = send_span(d, buf_span(&d->out));
    buf_wipe(&d->out);
    return sent ? reply(d) : 0;
}

static enum err_code judge(struct dialogue *d, int code, struct span about, struct submit_refusal *refusal)
{
    if (code >= 200 && code < 400)
        return ERR_OK;
    if (code < 500)
        return err_set(d->why, ERR_RETRY, NULL, "submission: %d %s", code, code ? d->text : "no answer");
    refusal->address = about;
    snprintf(refusal->text, sizeof refusal->text, "%s", d->text);
    return err_set(d->why, ERR_DENIED, NULL, "submission: %d %s", code, d->text);
}

static enum err_code dial(struct dialogue *d, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return err_set(d->why, ERR_BUG, NULL, "socket path too long: %s", path);
    strcpy(at.sun_path, path);
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (d->fd < 0 || connect(d->fd, (struct sockaddr *)&at, sizeof at) < 0)
        return err_set(d->why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err_code log_in(struct dialogue *d, struct span token, struct submit_refusal *refusal)
{
    struct buf blob;
    enum err_code code = judge(d, reply(d), SPAN(""), refusal);
    if (code == ERR_OK) {
        if (!buf_add_str(&d->out, "EHLO localhost\r\n"))
            return ERR_LIMIT;
        code = judge(d, ask(d), SPAN(""), refusal);
    }
    if (code != ERR_OK)
        return code;
    buf_init(&blob, 4096);
    bool ok = buf_addf(&blob, "n,,\001auth=Bearer %.*s\001\001", SPAN_ARG(token)) &&
              buf_add_str(&d->out, "AUTH OAUTHBEARER ") && base64_encode(buf_span(&blob), 0, &d->out) &&
              buf_add_str(&d->out, "\r\n");
    buf_wipe(&blob);
    int got = ok ? ask(d) : 0;
    if (got == 334) /* a refusal in words (RFC 7628 3.2.3), answered by one byte */
        got = buf_add_str(&d->out, "AQ==\r\n") ? ask(d) : 0;
    code = judge(d, got, SPAN(""), refusal);
    if (code == ERR_DENIED)
        refusal->text[0] = 0;
    return code;
}

static bool ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

static bool clean(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == '<' || s.p[i] == '>' || s.p[i] == 0x7f)
            return false;
    return s.n > 0;
}

static enum err_code envelope(struct dialogue *d, const struct submission *s, struct submit_refusal *refusal)
{
    bool utf8 = !ascii(s->from);
    for (size_t i = 0; i < s->to_count; i++)
        utf8 = utf8 || !ascii(s->to[i]);
    if (!clean(s->from))
        return err_set(d->why, ERR_BUG, NULL, "submission: sender");
    if (!buf_addf(&d->out, "MAIL FROM:<%.*s> SIZE=%zu%s%s\r\n", SPAN_ARG(s->from), s->message.n,
                  d->eightbit ? " BODY=8BITMIME" : "", utf8 && d->smtputf8 ? " SMTPUTF8" : ""))
        return ERR_LIMIT;
    enum err_code code = judge(d, ask(d), SPAN(""), refusal);
    for (size_t i = 0; i < s->to_count && code == ERR_OK; i++) {
        if (!clean(s->to[i]) || !buf_addf(&d->out, "RCPT TO:<%.*s>\r\n", SPAN_ARG(s->to[i]))) {
            refusal->address = s->to[i];
            return err_set(d->why, ERR_DENIED, NULL, "submission: recipient");
        }
        code = judge(d, ask(d), s->to[i], refusal);
    }
    return code;
}

/* The message with its dots stuffed (RFC 5321 4.5.2), and the final dot. */
static bool put_message(struct span m, struct buf *out)
{
    bool ok = true;
    while (ok && m.n) {
        size_t eol = span_search(m, SPAN("\r\n"));
        ok = (m.p[0] != '.' || buf_add_char(out, '.')) && buf_add(out, m.p, eol) && buf_add_str(out, "\r\n");
        m = span_drop(m, eol + 2);
    }
    return ok && buf_add_str(out, ".\r\n");
}

static enum err_code content(struct dialogue *d, const struct submission *s, struct submit_refusal *refusal)
{
    if (!buf_add_str(&d->out, "DATA\r\n"))
        return ERR_LIMIT;
    enum err_code code = judge(d, ask(d), SPAN(""), refusal);
    if (code != ERR_OK)
        return code;
    if (!put_message(s->message, &d->out))
        return err_set(d->why, ERR_LIMIT, NULL, "submission: message too long");
    if (!send_span(d, buf_span(&d->out))) /* the dot is last: without it nothing was given */
        return err_set(d->why, ERR_RETRY, NULL, "submission: connection lost in the message");
    int got = reply(d);
    return got ? judge(d, got, SPAN(""), refusal)
               : err_set(d->why, ERR_STATE, NULL, "submission: no answer to the message");
}

enum err_code submit(const char *socket_path, struct span token, const struct submission *s,
                     struct submit_refusal *refusal, struct err *why)
{
    struct dialogue d = {.fd = -1, .why = why};
    *refusal = (struct submit_refusal){.address = SPAN("")};
    buf_init(&d.in, 65536);
    buf_init(&d.out, s->message.n * 2 + 65536);
    enum err_code code = dial(&d, socket_path);
    if (code == ERR_OK)
        code = log_in(&d, token, refusal);
    if (code == ERR_OK)
        code = envelope(&d, s, refusal);
    if (code == ERR_OK)
        code = content(&d, s, refusal);
    if (d.fd >= 0) {
        send_span(&d, SPAN("QUIT\r\n"));
        close(d.fd);
    }
    buf_free(&d.in);
    buf_free(&d.out);
    return code;
}
