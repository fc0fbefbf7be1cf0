/* The client's side of IMAP, read character by character out of a buffer: no response is ever held whole, so
 * a server's long lists and large messages cost no memory. The hard problem is to stay in step whatever a
 * server sends: each untagged response is read to its end by the same grammar, also when nobody wants it, and
 * one that does not end, comes in drops or brings nothing ends the connection. Time is counted while we wait
 * for the server only. A failure is remembered and ends every further read, so that callers check once. */
#include "mailadm/imap_client.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/net/stream.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    INPUT = 64 << 10,
    STRING_LIMIT = 64 << 10,
    TEXT_LIMIT = 8 << 10,
    DEPTH = 50,
    LINE_LIMIT = 1 << 20,    /* of a response, its literals aside */
    LEAST_BYTES = 256 << 10, /* of a response that lasts as long as the patience, in each such time */
    IDLE_PATIENCES = 10,     /* with responses that bring nothing */
    IDLE_RESPONSES = 200000  /* the same */
};
static const uint64_t literal_limit = UINT32_MAX;

struct imap_client {
    struct stream *stream;
    struct tls_ctx *tls;
    size_t at, n;  /* of in */
    uint32_t last; /* tag */
    bool broken;
    uint64_t patience_ms;
    size_t line_bytes; /* of the response that is being read, literals aside */
    struct {
        uint64_t waited_ms, bytes;
        bool response; /* one has ended */
    } window;
    uint64_t idle_ms; /* waited since the last response that brought something */
    unsigned idle_responses;
    char text[TEXT_LIMIT];
    struct buf string, capabilities;
    char in[INPUT];
};

bool imap_broken(const struct imap_client *c)
{
    return c->broken;
}

struct span imap_text(const struct imap_client *c)
{
    return span_str(c->text);
}

static void broke(struct imap_client *c, const char *why)
{
    if (!c->broken)
        snprintf(c->text, sizeof c->text, "%s", why);
    c->broken = true;
}

/* -- characters -- */

void imap_give_up(struct imap_client *c, const char *why)
{
    broke(c, why);
}

void imap_useful(struct imap_client *c)
{
    c->idle_ms = 0;
    c->idle_responses = 0;
}

/* What came took so long: is it enough? */
static void watch(struct imap_client *c, uint64_t waited_ms)
{
    c->window.waited_ms += waited_ms;
    c->window.bytes += c->n;
    c->idle_ms += waited_ms;
    if (c->window.waited_ms < c->patience_ms)
        return;
    if (c->window.bytes < LEAST_BYTES && !c->window.response)
        broke(c, "the server sends too slowly");
    else if (c->idle_ms / IDLE_PATIENCES >= c->patience_ms)
        broke(c, "the server does not come to an end");
    memset(&c->window, 0, sizeof c->window);
}

static bool fill(struct imap_client *c)
{
    if (c->broken)
        return false;
    uint64_t begin_ms = clock_mono_ms();
    c->at = 0;
    c->n = stream_read(c->stream, c->in, sizeof c->in);
    if (c->n)
        watch(c, clock_mono_ms() - begin_ms);
    if (c->broken)
        c->n = 0;
    if (c->n == 0)
        broke(c, *stream_error(c->stream) ? stream_error(c->stream) : "the server has closed the connection");
    return c->n > 0;
}

/* The next character without taking it; a line end once the connection is lost. */
static char peek(struct imap_client *c)
{
    return c->at < c->n || fill(c) ? c->in[c->at] : '\n';
}

static char take(struct imap_client *c)
{
    char ch = peek(c);
    c->at += c->at < c->n;
    if (++c->line_bytes > LINE_LIMIT) {
        broke(c, "the server sent a response that does not end");
        c->at = c->n = 0;
    }
    return ch;
}

bool imap_char(struct imap_client *c, char ch)
{
    if (c->broken || peek(c) != ch)
        return false;
    take(c);
    return true;
}

static bool is_atom(char ch)
{
    return (unsigned char)ch > ' ' && ch != 127 && !strchr("(){\"", ch);
}

struct span imap_atom(struct imap_client *c)
{
    buf_reset(&c->string);
    imap_char(c, ' ');
    bool inside = false; /* of BODY[...] */
    while (is_atom(peek(c)) || (inside && peek(c) != '\n')) {
        char ch = take(c);
        inside = ch == '[' || (inside && ch != ']');
        if (!buf_add_char(&c->string, ch))
            break;
    }
    return buf_span(&c->string);
}

/* "{123}" and its line end, behind the brace. */
static bool literal_size(struct imap_client *c, uint64_t *size)
{
    char digits[24];
    size_t n = 0;
    while (peek(c) >= '0' && peek(c) <= '9' && n < sizeof digits)
        digits[n++] = take(c);
    imap_char(c, '+');
    bool ok = span_u64(span_of(digits, n), size) && *size <= literal_limit && imap_char(c, '}');
    imap_char(c, '\r');
    if (ok && imap_char(c, '\n'))
        return true;
    broke(c, "the server sent a literal that cannot be understood");
    return false;
}

static bool stream_literal(struct imap_client *c, imap_bytes_fn *fn, void *arg)
{
    uint64_t left;
    if (!literal_size(c, &left))
        return false;
    while (left && (c->at < c->n || fill(c))) {
        size_t n = c->n - c->at < left ? c->n - c->at : (size_t)left;
        fn(arg, span_of(c->in + c->at, n));
        c->at += n;
        left -= n;
    }
    return left == 0;
}

static bool stream_quoted(struct imap_client *c, imap_bytes_fn *fn, void *arg)
{
    while (peek(c) != '"' && peek(c) != '\n') {
        char ch = take(c);
        if (ch == '\\')
            ch = take(c);
        fn(arg, span_of(&ch, 1));
    }
    return imap_char(c, '"');
}

bool imap_stream(struct imap_client *c, imap_bytes_fn *fn, void *arg)
{
    imap_char(c, ' ');
    if (imap_char(c, '~') || peek(c) == '{') {
        take(c);
        return stream_literal(c, fn, arg);
    }
    if (imap_char(c, '"'))
        return stream_quoted(c, fn, arg);
    struct span atom = imap_atom(c);
    if (c->broken || span_caseeq(atom, SPAN("NIL")))
        return false;
    fn(arg, atom);
    return true;
}

static void to_buf(void *arg, struct span bytes)
{
    struct buf *b = arg;
    if (!buf_add_span(b, span_first(bytes, b->limit - b->n)))
        b->n = b->limit; /* cut; cannot be: it fits */
}

struct span imap_string(struct imap_client *c)
{
    struct buf got;
    buf_init(&got, STRING_LIMIT);
    bool any = imap_stream(c, to_buf, &got);
    buf_reset(&c->string);
    if (!buf_add_span(&c->string, buf_span(&got)))
        any = false;
    buf_free(&got);
    return !any ? SPAN_NONE : c->string.p ? buf_span(&c->string) : SPAN("");
}

static void to_nothing(void *arg, struct span bytes)
{
    (void)arg;
    (void)bytes;
}

void imap_skip(struct imap_client *c)
{
    int depth = 0;
    do {
        imap_char(c, ' ');
        if (imap_char(c, '('))
            depth++;
        else if (depth && imap_char(c, ')'))
            depth--;
        else if (peek(c) == '{' || peek(c) == '"')
            (void)imap_stream(c, to_nothing, NULL); /* broken says it */
        else if (peek(c) == ')' || !imap_atom(c).n)
            return;
        if (depth > DEPTH)
            broke(c, "the server sent a list in too many lists");
    } while (depth && !c->broken);
}

/* To the end of the line, literals in it passed over. */
static void skip_line(struct imap_client *c)
{
    while (!c->broken && peek(c) != '\n') {
        if (peek(c) == '"' || peek(c) == '{')
            (void)imap_stream(c, to_nothing, NULL); /* the same */
        else
            take(c);
    }
    take(c);
}

/* A line of words for people, where quotes and braces mean nothing. */
static void read_text(struct imap_client *c)
{
    size_t n = 0;
    while (!c->broken && peek(c) != '\n') {
        char ch = take(c);
        if (n + 1 < sizeof c->text && ch != '\r')
            c->text[n++] = (unsigned char)ch < ' ' ? ' ' : ch;
    }
    if (!c->broken)
        c->text[n] = '\0';
    take(c);
}

/* -- responses -- */

static void take_capabilities(struct imap_client *c, struct span words)
{
    buf_reset(&c->capabilities);
    if (!buf_addf(&c->capabilities, " %.*s ", SPAN_ARG(words)))
        buf_reset(&c->capabilities);
}

bool imap_can(const struct imap_client *c, const char *capability)
{
    struct span words = buf_span(&c->capabilities);
    while (words.n)
        if (span_caseeq(span_cut(&words, ' '), span_str(capability)))
            return true;
    return false;
}

/* OK, NO, BAD, BYE: the code [CAPABILITY ...] is taken, "[UIDVALIDITY 5]" given to fn as a response of that
 * name. */
static void take_code(struct imap_client *c)
{
    struct span s = span_str(c->text);
    if (!span_casestarts(s, SPAN("[CAPABILITY ")))
        return;
    s = span_drop(s, 12);
    take_capabilities(c, span_first(s, span_find(s, ']')));
}

static bool is_status(const char *name)
{
    return strcmp(name, "OK") == 0 || strcmp(name, "NO") == 0 || strcmp(name, "BAD") == 0 ||
           strcmp(name, "BYE") == 0 || strcmp(name, "PREAUTH") == 0;
}

static void upper(struct span s, char *out, size_t size)
{
    size_t n = s.n < size - 1 ? s.n : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
    out[n] = '\0';
}

static void untagged(struct imap_client *c, imap_untagged_fn *fn, void *arg)
{
    char name[40];
    uint32_t number = 0;
    struct span word = imap_atom(c);
    if (span_u32(word, &number))
        word = imap_atom(c);
    upper(word, name, sizeof name);
    imap_char(c, ' ');
    if (is_status(name)) {
        read_text(c);
        take_code(c);
        if (fn)
            fn(arg, c, 0, name);
        return;
    }
    if (strcmp(name, "CAPABILITY") == 0) {
        read_text(c);
        take_capabilities(c, imap_text(c));
        return;
    }
    if (fn)
        fn(arg, c, number, name);
    skip_line(c);
}

enum err_code imap_wait(struct imap_client *c, uint32_t command, imap_untagged_fn *fn, void *arg)
{
    char tag[16], result[8];
    snprintf(tag, sizeof tag, "a%u", command);
    imap_useful(c);
    while (!c->broken && command) {
        c->line_bytes = 0;
        c->window.response = true; /* the last one has ended */
        if (++c->idle_responses > IDLE_RESPONSES)
            broke(c, "the server does not come to an end");
        struct span word = imap_atom(c);
        if (span_eq(word, SPAN("*"))) {
            untagged(c, fn, arg);
        } else if (span_eq(word, SPAN("+"))) {
            skip_line(c);
        } else {
            bool ours = span_eq(word, span_str(tag));
            upper(imap_atom(c), result, sizeof result);
            imap_char(c, ' ');
            read_text(c);
            take_code(c);
            if (ours && !c->broken)
                return strcmp(result, "OK") == 0 ? ERR_OK : ERR_DENIED;
        }
    }
    return ERR_RETRY;
}

uint32_t imap_send(struct imap_client *c, struct span command)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 20);
    bool ok =
        !c->broken && buf_addf(&b, "a%u ", ++c->last) && buf_add_span(&b, command) && buf_add_str(&b, "\r\n");
    if (ok && !stream_write(c->stream, buf_span(&b)))
        broke(c, stream_error(c->stream));
    buf_wipe(&b);
    return ok && !c->broken ? c->last : 0;
}

enum err_code imap_ask(struct imap_client *c, struct span command, imap_untagged_fn *fn, void *arg)
{
    return imap_wait(c, imap_send(c, command), fn, arg);
}

bool imap_put(struct buf *b, struct span s)
{
    bool ok = buf_add_char(b, '"');
    for (size_t i = 0; i < s.n && ok; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            ok = buf_add_char(b, '\\');
        ok = ok && buf_add_char(b, s.p[i]);
    }
    return ok && buf_add_char(b, '"');
}

/* -- opening -- */

static enum err_code start_tls(struct imap_client *c, const struct imap_server *server, struct err *why)
{
    enum err_code code = server->no_verify ? tls_client_new(NULL, &c->tls, why)
                                           : tls_client_new_verify(server->ca_file, &c->tls, why);
    if (code == ERR_OK)
        code = stream_tls(c->stream, c->tls, server->no_verify ? NULL : server->host, why);
    return code;
}

static enum err_code greet(struct imap_client *c, const struct imap_server *server, struct err *why)
{
    char name[12];
    if (server->tls == IMAP_TLS) {
        enum err_code code = start_tls(c, server, why);
        if (code != ERR_OK)
            return code;
    }
    bool star = span_eq(imap_atom(c), SPAN("*"));
    upper(imap_atom(c), name, sizeof name);
    imap_char(c, ' ');
    read_text(c);
    take_code(c);
    if (c->broken || !star || strcmp(name, "OK") != 0)
        return err_set(why, ERR_RETRY, NULL, "%.80s greets with %s %.150s", server->host, name, c->text);
    if (server->tls != IMAP_STARTTLS)
        return ERR_OK;
    if (imap_ask(c, SPAN("STARTTLS"), NULL, NULL) != ERR_OK)
        return err_set(why, ERR_RETRY, NULL, "STARTTLS: %.200s", c->text);
    if (c->at < c->n)
        return err_set(why, ERR_DENIED, NULL, "STARTTLS: the server said more in the clear");
    buf_reset(&c->capabilities);
    return start_tls(c, server, why);
}

enum err_code imap_open(const struct imap_server *server, struct imap_client **out, struct err *why)
{
    struct stream *stream = NULL;
    enum err_code code = stream_connect(server->host, server->port, server->patience_ms, &stream, why);
    if (code != ERR_OK)
        return code;
    struct imap_client *c = xcalloc(1, sizeof *c);
    c->stream = stream;
    c->patience_ms = server->patience_ms;
    buf_init(&c->string, STRING_LIMIT);
    buf_init(&c->capabilities, TEXT_LIMIT + 8);
    code = greet(c, server, why);
    if (code == ERR_OK && !c->capabilities.n && imap_ask(c, SPAN("CAPABILITY"), NULL, NULL) != ERR_OK)
        code = err_set(why, ERR_RETRY, NULL, "CAPABILITY: %.200s", c->text);
    if (code == ERR_OK)
        *out = c;
    else
        imap_close(&c);
    return code;
}

void imap_close(struct imap_client **cp)
{
    struct imap_client *c = *cp;
    if (!c)
        return;
    stream_free(&c->stream);
    tls_ctx_free(&c->tls);
    buf_free(&c->string);
    buf_free(&c->capabilities);
    free(c);
    *cp = NULL;
}

/* -- logging in -- */

/* The continuation that AUTHENTICATE asks for. */
static enum err_code send_response(struct imap_client *c, struct span response)
{
    if (!span_eq(imap_atom(c), SPAN("+")))
        return ERR_DENIED;
    skip_line(c);
    if (!stream_write(c->stream, response) || !stream_write(c->stream, SPAN("\r\n")))
        broke(c, stream_error(c->stream));
    return c->broken ? ERR_RETRY : ERR_OK;
}

static enum err_code auth_plain(struct imap_client *c, const char *authzid, const char *authcid,
                                struct span password)
{
    struct buf blob, line;
    enum err_code code = ERR_LIMIT;
    buf_init(&blob, 4096);
    buf_init(&line, 8192);
    bool ok = buf_add_str(&blob, authzid) && buf_add_char(&blob, '\0') && buf_add_str(&blob, authcid) &&
              buf_add_char(&blob, '\0') && buf_add_span(&blob, password);
    bool initial = imap_can(c, "SASL-IR");
    ok = ok && (!initial || buf_add_str(&line, "AUTHENTICATE PLAIN ")) &&
         buf_add_base64(&line, buf_span(&blob));
    if (ok && initial) {
        code = imap_ask(c, buf_span(&line), NULL, NULL);
    } else if (ok) {
        uint32_t command = imap_send(c, SPAN("AUTHENTICATE PLAIN"));
        code = command ? send_response(c, buf_span(&line)) : ERR_RETRY;
        if (code == ERR_OK)
            code = imap_wait(c, command, NULL, NULL);
    }
    buf_wipe(&blob);
    buf_wipe(&line);
    return code;
}

enum err_code imap_log_in(struct imap_client *c, const char *login, const char *admin, struct span password,
                          struct err *why)
{
    struct buf b;
    enum err_code code = ERR_LIMIT;
    if (admin || imap_can(c, "AUTH=PLAIN")) {
        code = auth_plain(c, admin ? login : "", admin ? admin : login, password);
    } else {
        buf_init(&b, 8192);
        bool ok = buf_add_str(&b, "LOGIN ") && imap_put(&b, span_str(login)) && buf_add_char(&b, ' ') &&
                  imap_put(&b, password);
        code = ok ? imap_ask(c, buf_span(&b), NULL, NULL) : ERR_LIMIT;
        buf_wipe(&b);
    }
    if (code != ERR_OK)
        return err_set(why, code, NULL, "login %.80s%s%.80s: %.120s", login, admin ? " by " : "",
                       admin ? admin : "", c->text);
    if (imap_ask(c, SPAN("CAPABILITY"), NULL, NULL) != ERR_OK)
        return err_set(why, ERR_RETRY, NULL, "CAPABILITY: %.200s", c->text);
    return ERR_OK;
}
