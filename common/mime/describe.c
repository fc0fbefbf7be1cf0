/* ENVELOPE, BODY and BODYSTRUCTURE as RFC 3501 7.4.2 and RFC 9051 7.5.2 want them.
 * The hard problem: the text is a stranger's, the grammar is strict and the readers are many. Every byte
 * goes through imap_nstring. The structure is put together by walking the parts with a small stack. */
#include "common/mime/describe.h"
#include "common/mime/address.h"
#include "common/mime/parse.h"

enum { QUOTED_LIMIT = 1000 };

bool imap_nstring(struct buf *out, struct span s)
{
    if (!s.p)
        return buf_add_str(out, "NIL");
    size_t escapes = 0, blanks = 0;
    bool literal = s.n > QUOTED_LIMIT;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        literal = literal || c >= 0x7f || (c < ' ' && c != '\t' && c != '\r' && c != '\n' && c != '\0');
        escapes += c == '"' || c == '\\';
        blanks += c < ' ';
    }
    if (literal && !buf_addf(out, "{%zu}\r\n", s.n))
        return false;
    char *to = buf_reserve(out, s.n + escapes + 2), *start = to;
    if (!to)
        return false;
    if (!literal)
        *to++ = '"';
    size_t plain = (literal || !escapes) && !blanks ? s.n : 0; /* as nearly all of them are */
    memcpy(to, s.p, plain);
    to += plain;
    for (size_t i = plain; i < s.n; i++) {
        char c = s.p[i];
        if (!literal && (c == '"' || c == '\\'))
            *to++ = '\\';
        *to++ = c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
    }
    if (!literal)
        *to++ = '"';
    buf_commit(out, (size_t)(to - start));
    return true;
}

/* A type, subtype or encoding: in capitals, as the RFC's examples and most servers have it. */
static bool token_write(struct buf *out, struct span s)
{
    char text[128];
    size_t n = s.n < sizeof text ? s.n : sizeof text;
    for (size_t i = 0; i < n; i++)
        text[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
    return imap_nstring(out, span_of(text, n));
}

static bool address_write(const struct address *d, struct buf *out)
{
    struct span name = d->display_raw.n ? d->display_raw : SPAN_NONE;
    if (d->group_end)
        return buf_add_str(out, "(NIL NIL NIL NIL)");
    if (d->group_start)
        return buf_add_str(out, "(NIL NIL ") && imap_nstring(out, d->local.p ? d->local : SPAN("")) &&
               buf_add_str(out, " NIL)");
    /* NIL would make it a group's mark, so what is missing is an empty string. */
    return buf_add_char(out, '(') && imap_nstring(out, name) && buf_add_str(out, " NIL ") &&
           imap_nstring(out, d->local.p ? d->local : SPAN("")) && buf_add_char(out, ' ') &&
           imap_nstring(out, d->domain.p ? d->domain : SPAN("")) && buf_add_char(out, ')');
}

/* " ((...)(...))" or " NIL". */
static bool addresses_write(struct arena *a, struct span value, size_t *left, struct buf *out)
{
    struct address *d = value.p ? address_list(a, value, *left) : NULL;
    if (!d)
        return buf_add_str(out, " NIL");
    bool ok = buf_add_str(out, " (");
    for (; d && ok; d = d->next) {
        ok = address_write(d, out);
        *left -= *left > 0;
    }
    return ok && buf_add_char(out, ')');
}

static bool text_write(struct arena *a, struct span value, struct buf *out)
{
    return imap_nstring(out, value.p ? header_unfold(a, value) : SPAN_NONE);
}

bool envelope_write(struct arena *a, const struct envelope_fields *f, size_t *left, struct buf *out)
{
    struct span from = SPAN_NONE;
    bool ok = buf_add_char(out, '(') && text_write(a, f->date, out) && buf_add_char(out, ' ') &&
              text_write(a, f->subject, out);
    size_t from_at = out->n;
    ok = ok && addresses_write(a, f->from, left, out);
    struct buf keep;
    buf_init(&keep, out->limit);
    ok = ok && buf_add(&keep, out->p + from_at, out->n - from_at);
    from = buf_span(&keep);
    const struct span *defaulted[] = {&f->sender, &f->reply_to};
    for (size_t i = 0; i < 2 && ok; i++) {
        size_t at = out->n;
        ok = addresses_write(a, *defaulted[i], left, out);
        if (ok && span_eq(span_of(out->p + at, out->n - at), SPAN(" NIL"))) {
            out->n = at; /* absent or empty: the same as From */
            ok = buf_add_span(out, from);
        }
    }
    buf_free(&keep);
    ok = ok && addresses_write(a, f->to, left, out) && addresses_write(a, f->cc, left, out) &&
         addresses_write(a, f->bcc, left, out) && buf_add_char(out, ' ') &&
         text_write(a, f->in_reply_to, out) && buf_add_char(out, ' ') && text_write(a, f->message_id, out);
    return ok && buf_add_char(out, ')');
}

bool params_write(const struct mime_param *list, bool charset, struct buf *out)
{
    bool ok = true, any = false;
    for (const struct mime_param *m = list; m && ok; m = m->next) {
        ok = buf_add_char(out, any ? ' ' : '(');
        any = true;
        charset = charset && !span_eq(m->name, SPAN("charset"));
        struct buf name;
        buf_init(&name, m->name.n + 2);
        ok = ok && buf_add_span(&name, m->name) && (!m->extended || buf_add_char(&name, '*')) &&
             imap_nstring(out, buf_span(&name)) && buf_add_char(out, ' ') &&
             imap_nstring(out, m->value.p ? m->value : SPAN(""));
        buf_free(&name);
    }
    if (charset && ok) {
        ok = buf_add_str(out, any ? " \"charset\" \"US-ASCII\"" : "(\"charset\" \"US-ASCII\"");
        any = true;
    }
    return ok && buf_add_str(out, any ? ")" : "NIL");
}

/* What stands before the children of a part: all of a leaf, and the fields of a message. */
static bool leaf_write(const struct described *d, struct buf *out)
{
    return buf_add_char(out, '(') && token_write(out, d->m.type) && buf_add_char(out, ' ') &&
           token_write(out, d->m.subtype) && buf_add_char(out, ' ') && buf_add_span(out, d->params) &&
           buf_add_char(out, ' ') && buf_add_span(out, d->id) && buf_add_char(out, ' ') &&
           buf_add_span(out, d->desc) && buf_add_char(out, ' ') && token_write(out, d->encoding) &&
           buf_addf(out, " %llu", (unsigned long long)d->m.body_n);
}

static bool open_write(const struct described *d, struct buf *out)
{
    if (d->m.kind == MIME_MULTIPART)
        return buf_add_char(out, '(');
    if (d->m.kind == MIME_MESSAGE)
        return leaf_write(d, out) && buf_add_char(out, ' ') && buf_add_span(out, d->envelope) &&
               buf_add_char(out, ' ');
    return leaf_write(d, out) && (!span_eq(d->m.type, SPAN("text")) || buf_addf(out, " %u", d->m.lines));
}

static bool close_write(const struct described *d, bool extension, struct buf *out)
{
    bool ok = true;
    if (d->m.kind == MIME_MULTIPART) {
        ok = buf_add_char(out, ' ') && token_write(out, d->m.subtype);
        if (extension)
            ok = ok && buf_add_char(out, ' ') && buf_add_span(out, d->params);
    } else if (d->m.kind == MIME_MESSAGE) {
        ok = buf_addf(out, " %u", d->m.lines);
    }
    return ok && (!extension || buf_add_span(out, d->extension)) && buf_add_char(out, ')');
}

bool structure_write(const struct described *parts, size_t count, bool extension, struct buf *out)
{
    uint16_t stack[MIME_DEPTH_LIMIT + 2];
    size_t depth = 0;
    bool ok = count > 0 && open_write(&parts[0], out);
    stack[depth++] = 0;
    uint16_t next = parts[0].m.first_child;
    while (depth && ok) {
        if (next != MIME_NO_PART) {
            ok = depth < sizeof stack / sizeof *stack && open_write(&parts[next], out);
            stack[depth++] = next;
            next = parts[next].m.first_child;
            continue;
        }
        uint16_t done = stack[--depth];
        ok = close_write(&parts[done], extension, out);
        next = parts[done].m.next;
    }
    return ok;
}
