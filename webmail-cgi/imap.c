/* The IMAP client's connection: socket, deadline, command building and the wait for the tagged answer. The
 * hard problem is to stay bounded with a peer that may be busy or gone: every read has the command's
 * deadline, every answer a ceiling. The grammar is imap_parse.c's. */
#include "webmail-cgi/imap.h"
#include "common/base/clock.h"
#include "common/mime/codec.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct imap {
    int fd;
    struct buf in, cmd;
    unsigned tag;
    char capabilities[2048];
    bool full; /* the command did not fit */
};

static bool wait_for(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = now < until_ms ? poll(&p, 1, (int)(until_ms - now)) : 0;
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

static bool send_all(struct imap *im, struct span s, uint64_t until_ms)
{
    while (s.n) {
        ssize_t n = send(im->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            s = span_drop(s, (size_t)n);
        else if (n < 0 && (errno == EAGAIN || errno == EINTR) && wait_for(im->fd, POLLOUT, until_ms))
            continue;
        else
            return false;
    }
    return true;
}

/* The next whole response; borrowed until the next call. */
static enum err_code next_response(struct imap *im, size_t *used, struct span *out, uint64_t until_ms,
                                   struct err *why)
{
    buf_consume(&im->in, *used);
    *used = 0;
    size_t from = 0, end;
    while ((end = imap_response_end(buf_span(&im->in), &from)) == 0) {
        char *to = buf_reserve(&im->in, 65536);
        if (!to)
            return err_set(why, ERR_LIMIT, NULL, "imap: answer over %d bytes", IMAP_ANSWER_LIMIT);
        if (!wait_for(im->fd, POLLIN, until_ms))
            return err_set(why, ERR_RETRY, NULL, "imap: no answer in time");
        ssize_t n = recv(im->fd, to, 65536, 0);
        if (n <= 0)
            return err_set(why, ERR_RETRY, NULL, "imap: connection lost");
        buf_commit(&im->in, (size_t)n);
    }
    *out = span_of(im->in.p, end);
    *used = end;
    return ERR_OK;
}

void imap_begin(struct imap *im)
{
    buf_reset(&im->cmd);
    im->full = !buf_addf(&im->cmd, "w%u ", ++im->tag);
}

void imap_word(struct imap *im, const char *s)
{
    im->full = im->full || !buf_add_str(&im->cmd, s);
}

void imap_num(struct imap *im, uint32_t n)
{
    im->full = im->full || !buf_addf(&im->cmd, "%u", n);
}

void imap_str(struct imap *im, struct span s)
{
    bool quotable = s.n < 500;
    for (size_t i = 0; i < s.n && quotable; i++)
        quotable =
            (unsigned char)s.p[i] >= 0x20 && (unsigned char)s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\';
    im->full = im->full || (quotable ? !buf_addf(&im->cmd, "\"%.*s\"", SPAN_ARG(s))
                                     : !buf_addf(&im->cmd, "{%zu+}\r\n", s.n) || !buf_add_span(&im->cmd, s));
}

void imap_folder(struct imap *im, struct span utf8)
{
    struct buf b;
    buf_init(&b, 4096);
    im->full = im->full || !imap_name_encode(utf8, &b);
    imap_str(im, buf_span(&b));
    buf_free(&b);
}

bool imap_has(const struct imap *im, const char *capability)
{
    struct span all = span_str(im->capabilities);
    while (all.n)
        if (span_caseeq(span_cut(&all, ' '), span_str(capability)))
            return true;
    return false;
}

/* "[CAPABILITY ...]" in a status line, or "* CAPABILITY ...". */
static void note_capabilities(struct imap *im, struct span line)
{
    size_t at = span_search(line, SPAN("CAPABILITY "));
    if (at == line.n)
        return;
    struct span s = span_drop(line, at + 11);
    size_t end = 0;
    while (end < s.n && s.p[end] != ']' && s.p[end] != '\r')
        end++;
    snprintf(im->capabilities, sizeof im->capabilities, "%.*s", SPAN_ARG(span_first(s, end)));
}

/* "[CODE args] text" behind OK, NO or BAD. */
static void take_status(struct arena *a, struct span s, struct imap_answer *out)
{
    s = span_trim(s);
    if (s.n && s.p[0] == '[') {
        size_t end = span_find(s, ']');
        out->code = arena_dup(a, span_of(s.p + 1, end > 0 ? end - 1 : 0));
        s = span_trim(span_drop(s, end + 1));
    }
    out->text = arena_dup(a, s);
}

static enum err_code status_code(struct span status, struct span code)
{
    static const struct {
        const char *code;
        enum err_code as;
    } codes[] = {
        {"UNAVAILABLE", ERR_RETRY},   {"INUSE", ERR_RETRY},       {"AUTHENTICATIONFAILED", ERR_DENIED},
        {"EXPIRED", ERR_DENIED},      {"NOPERM", ERR_DENIED},     {"AUTHORIZATIONFAILED", ERR_DENIED},
        {"NONEXISTENT", ERR_MISSING}, {"TRYCREATE", ERR_MISSING}, {"OVERQUOTA", ERR_LIMIT},
        {"LIMIT", ERR_LIMIT},         {"TOOBIG", ERR_LIMIT}};
    if (span_caseeq(status, SPAN("OK")))
        return ERR_OK;
    if (span_caseeq(status, SPAN("BAD")))
        return ERR_SYNTAX;
    struct span word = span_first(code, span_find(code, ' '));
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (span_caseeq(word, span_str(codes[i].code)))
            return codes[i].as;
    return ERR_STATE;
}

/* Untagged responses into out until the tagged one; a continuation request ends the wait with *go_on. */
static enum err_code wait_tagged(struct imap *im, struct arena *a, struct imap_answer *out, bool *go_on,
                                 struct err *why)
{
    uint64_t until = clock_mono_ms() + IMAP_PATIENCE_MS;
    struct imap_line **tail = &out->lines;
    char tag[16];
    size_t used = 0;
    int tag_n = snprintf(tag, sizeof tag, "w%u ", im->tag);
    enum err_code code = ERR_OK;
    struct span s;
    while (code == ERR_OK && (code = next_response(im, &used, &s, until, why)) == ERR_OK) {
        if (span_starts(s, SPAN("+"))) {
            *go_on = true;
            break;
        }
        if (span_starts(s, span_of(tag, (size_t)tag_n))) {
            s = span_drop(s, (size_t)tag_n);
            note_capabilities(im, s);
            struct span status = span_cut(&s, ' ');
            take_status(a, s, out);
            code = status_code(span_trim(status), out->code);
            if (code != ERR_OK)
                err_set(why, code, NULL, "imap: %.*s [%.*s] %.*s", SPAN_ARG(status), SPAN_ARG(out->code),
                        SPAN_ARG(out->text));
            break;
        }
        if (span_casestarts(s, SPAN("* CAPABILITY ")))
            note_capabilities(im, s);
        struct imap_line *line = arena_alloc(a, sizeof *line);
        if (!line || !(line->first = imap_parse(a, span_drop(s, 2))))
            code = err_set(why, ERR_LIMIT, NULL, "imap: an answer that cannot be read");
        if (line) {
            *tail = line;
            tail = &line->next;
        }
    }
    buf_consume(&im->in, used);
    return code;
}

enum err_code imap_run(struct imap *im, struct arena *a, struct imap_answer *out, struct err *why)
{
    bool go_on = false;
    *out = (struct imap_answer){0};
    if (im->full || !buf_add_str(&im->cmd, "\r\n"))
        return err_set(why, ERR_LIMIT, NULL, "imap: command too long");
    if (!send_all(im, buf_span(&im->cmd), clock_mono_ms() + IMAP_PATIENCE_MS))
        return err_set(why, ERR_RETRY, NULL, "imap: connection lost while sending");
    enum err_code code = wait_tagged(im, a, out, &go_on, why);
    return go_on ? err_set(why, ERR_BUG, NULL, "imap: a continuation that was not asked for") : code;
}

static enum err_code unix_connect(const char *path, int *out_fd, struct err *why)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return err_set(why, ERR_BUG, NULL, "socket path too long: %s", path);
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
        *out_fd = fd;
        return ERR_OK;
    }
    int e = errno;
    if (fd >= 0)
        close(fd);
    return err_set(why, ERR_RETRY, NULL, "%s: %s", path, strerror(e));
}

/* AUTHENTICATE with the initial response where the server has SASL-IR; a challenge after it is a refusal in
 * words (RFC 7628 3.2.3) that is answered by one byte. */
static enum err_code log_in(struct imap *im, struct span token, struct arena *a, struct err *why)
{
    struct buf blob;
    struct imap_answer answer = {0};
    bool go_on = false;
    buf_init(&blob, 4096);
    imap_begin(im);
    imap_word(im, "AUTHENTICATE OAUTHBEARER ");
    im->full = im->full || !buf_addf(&blob, "n,,\001auth=Bearer %.*s\001\001", SPAN_ARG(token)) ||
               !base64_encode(buf_span(&blob), 0, &im->cmd) || !buf_add_str(&im->cmd, "\r\n");
    buf_wipe(&blob);
    enum err_code code = im->full ? err_set(why, ERR_LIMIT, NULL, "imap: token too long") : ERR_OK;
    if (code == ERR_OK && !send_all(im, buf_span(&im->cmd), clock_mono_ms() + IMAP_PATIENCE_MS))
        code = err_set(why, ERR_RETRY, NULL, "imap: connection lost at login");
    if (code == ERR_OK)
        code = wait_tagged(im, a, &answer, &go_on, why);
    if (code == ERR_OK && go_on) {
        go_on = false;
        code = send_all(im, SPAN("AQ==\r\n"), clock_mono_ms() + IMAP_PATIENCE_MS)
                   ? wait_tagged(im, a, &answer, &go_on, why)
                   : err_set(why, ERR_RETRY, NULL, "imap: connection lost at login");
    }
    buf_wipe(&im->cmd);
    return code == ERR_STATE ? ERR_DENIED : code;
}

enum err_code imap_open(const char *socket_path, struct span token, struct imap **out, struct err *why)
{
    struct imap *im = xcalloc(1, sizeof *im);
    struct arena *a = arena_new(1 << 20);
    struct span greeting;
    size_t used = 0;
    im->fd = -1;
    buf_init(&im->in, IMAP_ANSWER_LIMIT + 65536);
    buf_init(&im->cmd, 256 << 20);
    enum err_code code = unix_connect(socket_path, &im->fd, why);
    if (code == ERR_OK)
        code = next_response(im, &used, &greeting, clock_mono_ms() + IMAP_PATIENCE_MS, why);
    if (code == ERR_OK && !span_casestarts(greeting, SPAN("* OK")))
        code = err_set(why, ERR_RETRY, NULL, "imap: greeting %.*s", SPAN_ARG(greeting));
    if (code == ERR_OK) {
        note_capabilities(im, greeting);
        buf_consume(&im->in, used);
        code = log_in(im, token, a, why);
    }
    if (code == ERR_OK && !imap_has(im, "UIDPLUS")) { /* capabilities may grow with the login */
        struct imap_answer answer;
        imap_begin(im);
        imap_word(im, "CAPABILITY");
        code = imap_run(im, a, &answer, why);
    }
    arena_free(&a);
    if (code != ERR_OK)
        imap_close(&im);
    else
        *out = im;
    return code;
}

void imap_close(struct imap **im)
{
    if (!*im)
        return;
    if ((*im)->fd >= 0) {
        send_all(*im, SPAN("wz LOGOUT\r\n"), clock_mono_ms() + 100);
        close((*im)->fd);
    }
    buf_free(&(*im)->in);
    buf_wipe(&(*im)->cmd);
    free(*im);
    *im = NULL;
}
