/* Address lists of header fields (RFC 5322 3.4, 4.4), read without ever failing. The strict
 * mailboxes of commands are path.c.
 * The hard problem: one pass, linear, over lists of a hundred thousand members, where commas hide in
 * quotes, comments, encoded words and route addresses, and where half of it may be rubbish. */
#include "common/mime/address.h"
#include "common/mime/header.h"
#include "common/mime/words.h"

struct scan {
    struct arena *a;
    struct span s;
    size_t at;
    struct buf phrase; /* what stands outside brackets, quotes and comments taken out, blanks single */
    struct buf spec;   /* what stands in brackets */
    struct buf comment;
    bool phrase_at; /* an unquoted "@" is in phrase */
    bool quoted;    /* phrase holds a quoted string */
    bool bracket;   /* a "<" was seen */
    bool in_group;
    bool blank; /* white space waits in front of the next phrase byte */
    struct address *first, **tail;
    size_t left;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

static void put(struct buf *b, char c)
{
    (void)!buf_add_char(b, c); /* cannot pass its limit: no more than the input */
}

static void put_phrase(struct scan *s, char c)
{
    if (s->blank && s->phrase.n)
        put(&s->phrase, ' ');
    s->blank = false;
    put(&s->phrase, c);
}

static void scan_clear(struct scan *s)
{
    buf_reset(&s->phrase);
    buf_reset(&s->spec);
    buf_reset(&s->comment);
    s->phrase_at = s->quoted = s->bracket = s->blank = false;
}

static struct address *emit(struct scan *s)
{
    struct address *d = s->left ? arena_alloc(s->a, sizeof *d) : NULL;
    if (!d) {
        s->left = 0;
        return NULL;
    }
    s->left--;
    *s->tail = d;
    s->tail = &d->next;
    return d;
}

/* The byte after a backslash, or the byte itself. */
static char unescape(struct scan *s)
{
    if (s->s.p[s->at] == '\\' && s->at + 1 < s->s.n)
        s->at++;
    char c = s->s.p[s->at++];
    return is_blank(c) ? ' ' : c;
}

static void scan_quoted(struct scan *s)
{
    s->quoted = true;
    for (s->at++; s->at < s->s.n && s->s.p[s->at] != '"';) {
        if (s->s.p[s->at] == '\r' || s->s.p[s->at] == '\n') {
            s->at++;
            continue;
        }
        put_phrase(s, unescape(s));
    }
    s->at += s->at < s->s.n;
}

static void scan_comment(struct scan *s)
{
    size_t depth = 1;
    if (s->comment.n)
        put(&s->comment, ' ');
    for (s->at++; s->at < s->s.n;) {
        char c = s->s.p[s->at];
        if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            break;
        put(&s->comment, unescape(s));
    }
    s->at += s->at < s->s.n;
}

/* From "<" to ">", or to what shows that the ">" was forgotten. Quotes stay for the cut at "@". */
static void scan_bracket(struct scan *s)
{
    bool quote = false;
    s->bracket = true;
    buf_reset(&s->spec);
    for (s->at++; s->at < s->s.n; s->at++) {
        char c = s->s.p[s->at];
        if (!quote && (c == '>' || c == ',' || c == ';' || c == '<')) {
            if (c == ',' && s->spec.n && s->spec.p[0] == '@') { /* a route's comma */
                put(&s->spec, c);
                continue;
            }
            s->at += c == '>';
            return;
        }
        if (!quote && c == '(') { /* RFC 5322 CFWS inside addr-spec, obsolete and still met */
            scan_comment(s);
            s->at--;
            continue;
        }
        if (c == '"')
            quote = !quote;
        if (c == '\\' && quote && s->at + 1 < s->s.n) {
            put(&s->spec, c);
            c = s->s.p[++s->at];
        }
        if (quote ? c != '\r' && c != '\n' : !is_blank(c))
            put(&s->spec, is_blank(c) ? ' ' : c);
    }
}

static struct span copy(struct scan *s, struct span v)
{
    return arena_dup(s->a, v);
}

static struct span decoded(struct scan *s, struct span raw)
{
    return header_text(s->a, raw);
}

/* local "@" domain into d, quotes taken out of local. */
static void cut_spec(struct scan *s, struct span spec, struct address *d)
{
    bool quote = false;
    size_t at = spec.n, from = 0;
    if (spec.n && spec.p[0] == '@' && span_find(spec, ':') < spec.n) /* source route, RFC 5322 4.4 */
        from = span_find(spec, ':') + 1;
    for (size_t i = from; i < spec.n; i++) {
        if (spec.p[i] == '\\' && quote)
            i++;
        else if (spec.p[i] == '"')
            quote = !quote;
        else if (spec.p[i] == '@' && !quote)
            at = i;
    }
    char *to = arena_alloc(s->a, at - from + 1);
    size_t n = 0;
    quote = false;
    for (size_t i = from; to && i < at; i++) {
        if (spec.p[i] == '"') {
            quote = !quote;
            continue;
        }
        if (spec.p[i] == '\\' && quote && i + 1 < at)
            i++;
        to[n++] = spec.p[i];
    }
    d->local = span_of(to, n);
    d->domain = copy(s, span_drop(spec, at + 1));
}

/* A bare phrase with "@" in it: the word with the "@" is the address, what stands before it a name. */
static void cut_phrase(struct scan *s, struct address *d)
{
    struct span p = buf_span(&s->phrase);
    size_t at = p.n, from, to;
    while (at > 0 && p.p[at - 1] != '@')
        at--;
    from = to = at ? at - 1 : 0;
    while (from > 0 && (p.p[from - 1] != ' ' || s->quoted))
        from--;
    while (from > 0 && to == from) /* "user @ host" */
        for (from--; from > 0 && p.p[from - 1] != ' ';)
            from--;
    size_t skip = at;
    while (skip < p.n && p.p[skip] == ' ')
        skip++;
    size_t end = skip + span_find(span_drop(p, skip), ' ');
    struct span local = span_trim(span_of(p.p + from, to - from));
    d->local = copy(s, local);
    d->domain = copy(s, span_of(p.p + skip, end - skip));
    d->display_raw = copy(s, from ? span_trim(span_first(p, from)) : buf_span(&s->comment));
}

static void finish_one(struct scan *s)
{
    struct span phrase = buf_span(&s->phrase), spec = buf_span(&s->spec);
    if (phrase.n == 0 && spec.n == 0) {
        scan_clear(s);
        return;
    }
    struct address *d = emit(s);
    if (!d)
        return;
    if (s->bracket) {
        d->display_raw = copy(s, phrase.n ? phrase : buf_span(&s->comment));
        cut_spec(s, spec, d);
    } else if (s->phrase_at) {
        cut_phrase(s, d);
    } else if (!s->quoted && span_find(phrase, ' ') == phrase.n && words_token(phrase) == 0) {
        d->local = copy(s, phrase);
        d->display_raw = copy(s, buf_span(&s->comment));
    } else {
        d->display_raw = copy(s, phrase);
    }
    d->display = decoded(s, d->display_raw);
    scan_clear(s);
}

static void group_end(struct scan *s)
{
    struct address *d = s->in_group ? emit(s) : NULL;
    if (d)
        d->group_end = true;
    s->in_group = false;
}

static void group_start(struct scan *s)
{
    struct address *d = emit(s);
    if (d) {
        d->group_start = s->in_group = true;
        d->local = copy(s, buf_span(&s->phrase));
        d->display_raw = d->local;
        d->display = decoded(s, d->local);
    }
    scan_clear(s);
}

static void scan_step(struct scan *s)
{
    char c = s->s.p[s->at];
    size_t word = c == '=' ? words_token(span_drop(s->s, s->at)) : 0;
    if (word) {
        for (size_t i = 0; i < word; i++)
            put_phrase(s, s->s.p[s->at++]);
        return;
    }
    if (c == '"') {
        scan_quoted(s);
        return;
    }
    if (c == '(') {
        scan_comment(s);
        s->blank = true;
        return;
    }
    if (c == '<') {
        scan_bracket(s);
        return;
    }
    s->at++;
    if (is_blank(c)) {
        s->blank = true;
    } else if (c == ',') {
        finish_one(s);
    } else if (c == ';') {
        finish_one(s);
        group_end(s);
    } else if (c == ':' && !s->in_group && !s->bracket && !s->phrase_at && s->phrase.n) {
        group_start(s);
    } else if (!(c == '>' && s->bracket)) {
        s->phrase_at = s->phrase_at || (c == '@' && !s->bracket);
        put_phrase(s, c);
    }
}

struct address *address_list(struct arena *a, struct span value, size_t limit)
{
    struct scan s = {.a = a, .s = value, .left = limit};
    s.tail = &s.first;
    buf_init(&s.phrase, value.n * 2 + 1);
    buf_init(&s.spec, value.n + 1);
    buf_init(&s.comment, value.n * 2 + 1);
    while (s.at < value.n && s.left)
        scan_step(&s);
    finish_one(&s);
    group_end(&s);
    buf_free(&s.phrase);
    buf_free(&s.spec);
    buf_free(&s.comment);
    return s.first;
}
