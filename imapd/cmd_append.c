/* APPEND (RFC 3501 6.3.11, UIDPLUS RFC 4315, APPENDLIMIT RFC 7889). The message is the last literal of the
 * command; it goes through the line-end normaliser into the store's packer and the MIME parser as it comes,
 * and is never whole in memory here.
 *
 *   start -> mailbox there? -> "+" -> bytes -> rest of the line -> store -> done
 *     \________________________________/^   (small, and does not wait for "+")
 *
 * The hard problem is refusal: with a literal that waits, NO comes instead of "+"; one that does not wait
 * must be read to its end first, or its bytes would be taken for commands. Bare CR and LF become CRLF, NUL is
 * refused (design: a message comes in). */
#include "common/base/clock.h"
#include "common/mime/date.h"
#include "common/mime/parse.h"
#include "imapd/imap_int.h"
#include <stdio.h>

enum { FLAGS_LIMIT = 100, CHUNK = 64 << 10 };
enum { AP_START, AP_MAILBOX, AP_BYTES, AP_REST, AP_STORE };

struct append {
    struct span mailbox;
    uint32_t flags;
    struct span keywords[FLAGS_LIMIT];
    size_t keyword_count;
    int64_t internal_s;
    int zone_min;
    bool has_date;
    uint64_t left, size; /* of the literal */
    bool sync;
    /* why it is refused, in words; what comes is read and dropped */
    const char *code, *why;
    bool after_cr;
    struct content *content;
    struct mime_parser *parser;
    struct buf line_ends; /* a chunk, normalised */
    struct trace_id trace;
    struct store_appended stored;
};

static void append_cleanup(struct imap *s)
{
    struct append *x = s->cmd.args;
    content_free(&x->content);
    mime_parser_free(&x->parser);
    buf_free(&x->line_ends);
}

static void refuse(struct append *x, const char *code, const char *why)
{
    if (x->why)
        return;
    x->code = code;
    x->why = why;
    content_free(&x->content);
}

/* -- arguments -- */

static bool parse_flags(struct imap *s, struct cursor *c, struct append *x)
{
    while (!cur_char(c, ')')) {
        uint32_t bit;
        struct span keyword;
        if (!cur_flag(c, &bit, &keyword) || (!cur_peek(c, ')') && !cur_sp(c)))
            return false;
        x->flags |= bit;
        if (!keyword.n)
            continue;
        if (x->keyword_count == FLAGS_LIMIT)
            return false;
        x->keywords[x->keyword_count++] = arena_dup(s->arena, keyword);
    }
    return cur_sp(c);
}

static bool parse_date(struct cursor *c, struct append *x)
{
    struct span date;
    if (!cur_peek(c, '"'))
        return true;
    x->has_date = true;
    return cur_string(c, &date) && date_imap_parse(date, &x->internal_s, &x->zone_min) && cur_sp(c);
}

/* What is left must be the literal that ends the line. */
static bool parse_head(struct imap *s, struct cursor *c, struct append *x)
{
    struct span name;
    if (!cur_sp(c) || !cur_mailbox(c, &name) || !cur_sp(c))
        return false;
    x->mailbox = arena_dup(s->arena, name);
    if (cur_char(c, '(') && !parse_flags(s, c, x))
        return false;
    return parse_date(c, x) && cur_peek(c, '{') && span_find(c->s, '\n') + 1 == c->s.n;
}

bool append_begin(struct imap *s, struct cursor *c, const struct reader_literal *lit)
{
    struct append *x = arena_alloc(s->arena, sizeof *x);
    if (!x || !parse_head(s, c, x))
        return false;
    if (c->bad_name)
        refuse(x, "CANNOT", "That is not a mailbox name.");
    x->left = x->size = lit->size;
    x->sync = lit->sync;
    s->cmd.args = x;
    s->cmd.cleanup = append_cleanup;
    return true;
}

/* An APPEND whose line is whole has no message. */
bool parse_append(struct imap *s, struct cursor *c)
{
    (void)s;
    (void)c;
    return false;
}

/* -- before the message -- */

/* A literal that is small and comes in any case: asking first would save nobody anything, the store says in
 * the end whether there is such a mailbox. */
static bool need_not_ask(const struct append *x)
{
    return !x->sync && x->size <= CHUNK;
}

static void on_mailbox(void *session, enum err_code code, const struct store_mailbox *box)
{
    imap_answered(session, code == ERR_OK && box->no_select ? ERR_MISSING : code);
}

static enum run ask_mailbox(struct imap *s, struct append *x)
{
    s->cmd.stage = AP_MAILBOX;
    store_status(s->account, x->mailbox, false, imap_ask(s), on_mailbox);
    return RUN_WAIT;
}

static enum run refused(struct imap *s, struct append *x)
{
    return imap_done(s, COND_NO, x->code, x->why);
}

static void judge(struct imap *s, struct append *x)
{
    if (s->cmd.code == ERR_MISSING)
        refuse(x, "TRYCREATE", "No such mailbox.");
    else if (s->cmd.code != ERR_OK)
        refuse(x, "UNAVAILABLE", "The mailbox store cannot answer now, please try again.");
    else if (x->size > s->conf->imap_append_limit)
        refuse(x, "TOOBIG", "The message is too large.");
    else if (x->size == 0)
        refuse(x, "CANNOT", "The message is empty.");
    imap_clear(s);
}

static enum run go_on(struct imap *s, struct append *x)
{
    judge(s, x);
    if (x->why && x->sync)
        return refused(s, x);
    if (x->why && x->size > s->conf->imap_append_limit && x->size > (uint64_t)1 << 30) {
        put(s, "* BYE [TOOBIG] The message is too large.\r\n"); /* RFC 7888 4 */
        return RUN_CLOSE;
    }
    if (x->sync)
        put(s, "+ Ok\r\n");
    if (!x->why) {
        x->content = content_new();
        x->parser = mime_parser_new();
        buf_init(&x->line_ends, CHUNK * 2 + 2);
    }
    s->cmd.stage = AP_BYTES;
    return RUN_AGAIN;
}

/* -- the message -- */

static void add(struct append *x, struct span bytes)
{
    if (!bytes.n || x->why)
        return;
    mime_parser_feed(x->parser, bytes);
    if (content_add_ours(x->content, bytes) != ERR_OK) /* nobody looks for a repeated APPEND: no hash */
        refuse(x, "LIMIT", "Too many large messages are on their way, please try again.");
}

/* True when every CR has its LF and every LF its CR, seen from where the last chunk ended. A CR at the very
 * end waits for the next chunk. */
static bool is_normal(const struct append *x, struct span in)
{
    const char *p = in.p, *end = in.p + in.n;
    if (x->after_cr && (!in.n || *p++ != '\n'))
        return false;
    while (p < end) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        if (memchr(p, '\n', (size_t)((cr ? cr : end) - p)))
            return false;
        if (!cr || cr + 1 == end)
            return true;
        if (cr[1] != '\n')
            return false;
        p = cr + 2;
    }
    return true;
}

static void normalise(struct append *x, struct span in)
{
    bool ok = true;
    buf_reset(&x->line_ends);
    for (size_t i = 0; i < in.n && ok; i++) {
        char c = in.p[i];
        if (x->after_cr && c != '\n')
            ok = buf_add_char(&x->line_ends, '\n');
        else if (c == '\n' && !x->after_cr)
            ok = buf_add_char(&x->line_ends, '\r');
        ok = ok && buf_add_char(&x->line_ends, c);
        x->after_cr = c == '\r';
    }
    if (!ok)
        refuse(x, "SERVERBUG", "Internal error.");
    add(x, buf_span(&x->line_ends));
}

static enum run take_bytes(struct imap *s, struct append *x)
{
    struct span in = span_first(buf_span(s->in), CHUNK);
    if (in.n > x->left)
        in.n = (size_t)x->left;
    if (!in.n && x->left)
        return RUN_INPUT;
    if (!x->why && memchr(in.p, 0, in.n))
        refuse(x, "CANNOT", "A message cannot hold NUL.");
    if (!x->why && is_normal(x, in)) {
        x->after_cr = span_ends(in, SPAN("\r"));
        add(x, in);
    } else if (!x->why) {
        normalise(x, in);
    }
    x->left -= in.n;
    buf_consume(s->in, in.n);
    if (x->left)
        return RUN_AGAIN;
    if (x->after_cr)
        add(x, SPAN("\n"));
    reader_went_on(&s->reader);
    s->cmd.stage = AP_REST;
    return RUN_AGAIN;
}

/* -- after the message -- */

static void on_appended(void *session, enum err_code code, const struct store_appended *answer)
{
    struct imap *s = session;
    struct append *x = s->cmd.args;
    if (code == ERR_OK)
        x->stored = *answer;
    imap_answered(s, code);
}

static enum run to_store(struct imap *s, struct append *x)
{
    enum err_code code = content_finish(x->content, mime_parser_finish(x->parser));
    mime_parser_free(&x->parser); /* it serves the next message while this one waits for the store */
    if (code != ERR_OK) {
        refuse(x, "LIMIT", "The message cannot be stored.");
        return refused(s, x);
    }
    x->trace = trace_new();
    struct store_append m = {.mailbox = x->mailbox,
                             .content = x->content,
                             .flags = x->flags,
                             .keywords = x->keywords,
                             .keyword_count = x->keyword_count,
                             .internal_s = x->has_date ? x->internal_s : clock_wall_s(),
                             .zone_min = (int16_t)x->zone_min,
                             .trace = x->trace};
    s->cmd.stage = AP_STORE;
    store_append(s->account, &m, imap_ask(s), on_appended);
    return RUN_WAIT;
}

/* The line must end behind the literal. */
static enum run take_rest(struct imap *s, struct append *x)
{
    struct reader_literal lit;
    size_t from = s->reader.line_at;
    switch (reader_step(&s->reader, s->in, &lit)) {
    case READER_MORE:
        return RUN_INPUT;
    case READER_LITERAL:
        x->code = NULL;
        x->why = "One message at a time.";
        if (lit.sync)
            return imap_done(s, COND_BAD, NULL, x->why);
        reader_take_literal(&s->reader, lit.size);
        return RUN_AGAIN;
    case READER_COMMAND:
        break;
    }
    if (x->why && !x->code)
        return imap_done(s, COND_BAD, NULL, x->why);
    struct span rest = span_drop(buf_span(&s->reader.text), from);
    if (s->reader.too_long || s->reader.has_nul || span_trim(rest).n)
        return imap_done(s, COND_BAD, NULL, "Illegal arguments.");
    return x->why ? refused(s, x) : to_store(s, x);
}

static enum run stored(struct imap *s, struct append *x)
{
    char code[64];
    switch (s->cmd.code) {
    case ERR_OK:
        break;
    case ERR_MISSING:
        return imap_done(s, COND_NO, "TRYCREATE", "No such mailbox.");
    case ERR_LIMIT:
        return imap_done(s, COND_NO, "OVERQUOTA", "The mailbox is full.");
    default:
        return imap_done_err(s, s->cmd.code);
    }
    log_event(LOG_INFO, &s->log, "imap.message.appended", F_STR("trace", x->trace.text),
              F_UINT("mailbox", x->stored.mailbox), F_UINT("uid", x->stored.uid),
              F_UINT("size", content_size(x->content)));
    snprintf(code, sizeof code, "APPENDUID %u %u", x->stored.uidvalidity, x->stored.uid);
    return imap_done_ok(s, code);
}

enum run run_append(struct imap *s)
{
    struct append *x = s->cmd.args;
    switch (s->cmd.stage) {
    case AP_START:
        return need_not_ask(x) ? go_on(s, x) : ask_mailbox(s, x);
    case AP_MAILBOX:
        return go_on(s, x);
    case AP_BYTES:
        return take_bytes(s, x);
    case AP_REST:
        return take_rest(s, x);
    default:
        return stored(s, x);
    }
}
