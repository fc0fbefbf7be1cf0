/* From a header block to the description of its part (RFC 2045, 2046, 2183).
 * The hard problem is defaults: what is missing, empty or broken must become something that every client
 * can show. A type that cannot be read is text/plain (RFC 2045 5.2), an unknown encoding stays named. */
#include "common/mime/part.h"

enum { NAME_MAX_BYTES = 100, VALUE_MAX_BYTES = 2000, PIECES_MAX = 8000 };

static bool has_high(struct span s)
{
    unsigned char any = 0;
    for (size_t i = 0; i < s.n; i++)
        any |= (unsigned char)s.p[i];
    return any >= 0x80;
}

static void set_joined(struct span *at, struct span value, struct arena *a)
{
    char *p = at->p ? arena_alloc(a, at->n + value.n + 2) : NULL;
    if (!at->p)
        *at = value;
    if (!p)
        return;
    if (at->n)
        memcpy(p, at->p, at->n);
    memcpy(p + at->n, ", ", 2);
    if (value.n)
        memcpy(p + at->n + 2, value.p, value.n);
    *at = span_of(p, at->n + 2 + value.n);
}

void fields_read(struct span block, struct arena *joined, struct fields *f)
{
    *f = (struct fields){.high = has_high(block)};
    struct {
        struct span name, *at;
        unsigned repeats; /* 0: the first counts; else how often more are joined */
    } rows[] = {
        {SPAN("Date"), &f->env.date, 0},
        {SPAN("Subject"), &f->env.subject, 0},
        {SPAN("From"), &f->env.from, 0},
        {SPAN("Sender"), &f->env.sender, 0},
        {SPAN("Reply-To"), &f->env.reply_to, 0},
        {SPAN("To"), &f->env.to, 16},
        {SPAN("Cc"), &f->env.cc, 16},
        {SPAN("Bcc"), &f->env.bcc, 16},
        {SPAN("In-Reply-To"), &f->env.in_reply_to, 0},
        {SPAN("Message-ID"), &f->env.message_id, 0},
        {SPAN("Content-Type"), &f->type, 0},
        {SPAN("Content-Transfer-Encoding"), &f->encoding, 0},
        {SPAN("Content-ID"), &f->id, 0},
        {SPAN("Content-Description"), &f->description, 0},
        {SPAN("Content-Disposition"), &f->disposition, 0},
        {SPAN("Content-MD5"), &f->md5, 0},
        {SPAN("Content-Language"), &f->language, 0},
        {SPAN("Content-Location"), &f->location, 0},
        {SPAN("References"), &f->references, 0},
        {SPAN("Auto-Submitted"), &f->auto_submitted, 0},
        {SPAN("Precedence"), &f->precedence, 0},
    };
    struct header_field h;
    while (header_next(&block, &h)) {
        if (h.name.n > 25)
            continue;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if (h.name.n != rows[i].name.n || !span_caseeq(h.name, rows[i].name))
                continue;
            if (!rows[i].at->p)
                *rows[i].at = h.value;
            else if (rows[i].repeats && rows[i].repeats--)
                set_joined(rows[i].at, h.value, joined);
            break;
        }
    }
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f ||
            memchr("()<>@,;:\\\"[]?=", s.p[i], 14))
            return false;
    return s.n > 0 && s.n <= NAME_MAX_BYTES;
}

/* "text/plain" into lower-case halves; the default when it is no type. */
static void take_type(struct span full, bool digest, struct arena *kept, struct described *d)
{
    struct span rest = full, type = span_trim(span_cut(&rest, '/')), sub = span_trim(rest);
    sub = span_first(sub, span_find(sub, ' '));
    if (is_token(type) && is_token(sub)) {
        d->m.type = arena_lower(kept, type);
        d->m.subtype = arena_lower(kept, sub);
    }
    if (!d->m.type.p || !d->m.subtype.p) {
        bool inner = digest && full.n == 0;
        d->m.type = inner ? SPAN("message") : SPAN("text");
        d->m.subtype = inner ? SPAN("rfc822") : SPAN("plain");
    }
}

static void take_encoding(struct span value, struct arena *kept, struct arena *scratch, struct described *d)
{
    static const struct {
        const char *name;
        enum mime_encoding encoding;
    } rows[] = {{"7bit", MIME_7BIT},
                {"8bit", MIME_8BIT},
                {"binary", MIME_BINARY},
                {"base64", MIME_BASE64},
                {"quoted-printable", MIME_QP}};
    struct span token;
    (void)params_read(scratch, value, &token);
    token = arena_lower(kept, span_first(span_trim(token), NAME_MAX_BYTES));
    d->m.encoding = token.n ? MIME_ENC_OTHER : MIME_7BIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (span_eq(token, span_str(rows[i].name)))
            d->m.encoding = rows[i].encoding;
    d->encoding = token.n ? token : SPAN("7bit");
}

/* A whole description piece made by put, or what stands in for it when there is no room. */
static struct span piece(struct arena *kept, const struct buf *b, bool ok, const char *instead)
{
    struct span s = ok ? arena_dup(kept, buf_span(b)) : SPAN_NONE;
    return s.p ? s : span_str(instead);
}

static struct span nstring(struct arena *kept, struct arena *scratch, struct span value)
{
    struct buf b;
    buf_init(&b, VALUE_MAX_BYTES * 2);
    struct span flat =
        value.p ? header_unfold(scratch, span_first(span_trim(value), VALUE_MAX_BYTES)) : SPAN_NONE;
    struct span s = piece(kept, &b, imap_nstring(&b, flat), "NIL");
    buf_free(&b);
    return s;
}

static bool language_write(struct span value, struct buf *out)
{
    bool any = false, ok = true;
    while (value.p && ok) {
        struct span tag = span_trim(span_cut(&value, ','));
        if (!is_token(tag))
            continue;
        ok = buf_add_char(out, any ? ' ' : '(') && imap_nstring(out, tag);
        any = true;
    }
    return ok && buf_add_str(out, any ? ")" : "NIL");
}

/* " md5 dsp lang loc"; a multipart has no md5. */
static void take_extension(const struct fields *f, struct span disposition, const struct mime_param *params,
                           struct arena *kept, struct arena *scratch, struct described *d)
{
    struct buf b;
    buf_init(&b, PIECES_MAX * 2);
    bool ok = true;
    if (d->m.kind != MIME_MULTIPART)
        ok = buf_add_char(&b, ' ') && buf_add_span(&b, nstring(scratch, scratch, f->md5));
    if (f->disposition.p)
        ok = ok && buf_add_str(&b, " (") && imap_nstring(&b, disposition) && buf_add_char(&b, ' ') &&
             params_write(params, false, &b) && buf_add_char(&b, ')');
    else
        ok = ok && buf_add_str(&b, " NIL");
    struct span language = f->language.p ? header_unfold(scratch, span_first(f->language, 500)) : SPAN_NONE;
    ok = ok && buf_add_char(&b, ' ') && language_write(language, &b) && buf_add_char(&b, ' ') &&
         buf_add_span(&b, nstring(scratch, scratch, f->location));
    d->extension = piece(kept, &b, ok, d->m.kind == MIME_MULTIPART ? " NIL NIL NIL" : " NIL NIL NIL NIL");
    buf_free(&b);
}

/* Long parameter lists are cut: what a client needs stands in front. */
static void bound_params(struct mime_param *m)
{
    size_t left = PIECES_MAX / 4;
    for (; m; m = m->next) {
        m->name = span_first(m->name, NAME_MAX_BYTES);
        if (m->value.n + m->name.n + 10 > left) {
            m->value = span_first(m->value, left > 200 ? left - m->name.n - 10 : 0);
            m->next = NULL;
        }
        left -= left > m->value.n + m->name.n + 10 ? m->value.n + m->name.n + 10 : left;
    }
}

static struct span unbracket(struct span s)
{
    s = span_trim(s);
    size_t open = span_find(s, '<');
    if (open == s.n)
        return s;
    s = span_drop(s, open + 1);
    return span_first(s, span_find(s, '>'));
}

static struct span keep(struct arena *kept, struct span s, size_t most)
{
    if (s.n > most) { /* not inside a UTF-8 character */
        while (most > 0 && ((unsigned char)s.p[most] & 0xc0) == 0x80)
            most--;
        s.n = most;
    }
    return arena_dup(kept, s);
}

bool part_describe(const struct fields *f, bool digest, struct arena *kept, struct arena *scratch,
                   struct described *d, struct span *boundary)
{
    struct span full = SPAN(""), disposition = SPAN("");
    struct mime_param *params = f->type.p ? params_read(scratch, f->type, &full) : NULL, *dparams = NULL;
    take_type(full, digest, kept, d);
    take_encoding(f->encoding.p ? f->encoding : SPAN(""), kept, scratch, d);
    if (f->disposition.p) {
        dparams = params_read(scratch, f->disposition, &disposition);
        disposition = is_token(disposition) ? arena_lower(scratch, disposition) : SPAN("attachment");
    }
    bool text = span_eq(d->m.type, SPAN("text"));
    d->m.kind = span_eq(d->m.type, SPAN("multipart")) ? MIME_MULTIPART
                : span_eq(d->m.type, SPAN("message")) &&
                        (span_eq(d->m.subtype, SPAN("rfc822")) || span_eq(d->m.subtype, SPAN("global")))
                    ? MIME_MESSAGE
                    : MIME_LEAF;
    struct span raw = params_raw(params, SPAN("boundary"));
    if (!raw.p) /* boundary*=...: RFC 2231 lets any parameter be encoded */
        raw = params_text(scratch, params, SPAN("boundary"));
    while (raw.n && (raw.p[raw.n - 1] == ' ' || raw.p[raw.n - 1] == '\t'))
        raw.n--;
    *boundary = raw.n ? raw : SPAN("");
    struct span charset = params_text(scratch, params, SPAN("charset"));
    d->m.charset = arena_lower(kept, span_first(charset, NAME_MAX_BYTES));
    struct span name = params_text(scratch, dparams, SPAN("filename"));
    if (name.n == 0)
        name = params_text(scratch, params, SPAN("name"));
    d->m.filename = keep(kept, name, 500);
    d->m.disposition = keep(kept, disposition, NAME_MAX_BYTES);
    d->m.content_id = f->id.p ? keep(kept, header_unfold(scratch, unbracket(f->id)), 500) : SPAN("");
    bound_params(params);
    bound_params(dparams);
    struct buf b;
    buf_init(&b, PIECES_MAX * 2);
    d->params = piece(kept, &b, params_write(params, text, &b), "NIL");
    buf_free(&b);
    d->id = nstring(kept, scratch, f->id);
    d->desc = nstring(kept, scratch, f->description);
    take_extension(f, disposition, dparams, kept, scratch, d);
    return d->m.content_id.p && d->m.filename.p && d->m.disposition.p;
}

void part_demote(struct described *d, const char *type, const char *subtype)
{
    bool was_multipart = d->m.kind == MIME_MULTIPART;
    d->m.kind = MIME_LEAF;
    d->m.type = span_str(type);
    d->m.subtype = span_str(subtype);
    d->m.first_child = MIME_NO_PART;
    d->m.charset = SPAN("");
    d->params = strcmp(type, "text") == 0 ? SPAN("(\"charset\" \"US-ASCII\")") : SPAN("NIL");
    if (was_multipart)
        d->extension = SPAN(" NIL NIL NIL NIL");
}
