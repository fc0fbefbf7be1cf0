/* The texts that a list shows and sorts by: subject, names, ids, base subject (RFC 5256 2.1), preview
 * (RFC 8970). The hard problem is to bound everything: a header may be a megabyte, a list row may not. */
#include "common/mime/summary.h"
#include "common/mime/address.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/date.h"
#include "common/mime/fold.h"

enum {
    SUBJECT_MAX = 4000,
    NAME_MAX = 500,
    NAMES_MAX = 2000,
    LIST_MAX = 200000,
    IDS_MAX = 100,
    ID_MAX = 998,
    PREVIEW = 200,
    PREVIEW_BYTES = 4 * PREVIEW
};

/* s with white-space runs as one blank and control bytes gone; at most max bytes and so many characters,
 * whole ones. */
static struct span tidy(struct arena *a, struct span s, size_t max, size_t chars)
{
    char *to = arena_alloc(a, (s.n < max ? s.n : max) + 1);
    size_t n = 0;
    if (!to)
        return SPAN("");
    bool blank = false;
    while (s.n) {
        size_t k = 1;
        uint32_t cp = (unsigned char)s.p[0] < 0x80 ? (uint32_t)s.p[0] : utf8_next(s, &k);
        if (cp <= ' ' || cp == 0x7f || cp == 0xa0) {
            blank = n > 0;
        } else {
            if (n + k + blank > max || chars <= blank)
                break;
            chars -= 1U + blank;
            if (blank)
                to[n++] = ' ';
            blank = false;
            for (size_t i = 0; i < k; i++)
                to[n++] = s.p[i];
        }
        s = span_drop(s, k);
    }
    return span_of(to, n);
}

static struct span first_id(struct span *s)
{
    while (s->n) {
        size_t open = span_find(*s, '<');
        if (open == s->n)
            break;
        struct span rest = span_drop(*s, open);
        size_t close = span_find(rest, '>');
        if (close == rest.n)
            break;
        struct span id = span_first(rest, close + 1);
        *s = span_drop(rest, close + 1);
        if (id.n > 2 && id.n <= ID_MAX)
            return id;
    }
    *s = SPAN_NONE;
    return SPAN_NONE;
}

/* An id without its folding, "" when there is none. */
static struct span id_text(struct arena *a, struct span value)
{
    struct span id = value.p ? first_id(&value) : SPAN_NONE;
    id = header_unfold(a, id);
    return id.p ? id : SPAN("");
}

static struct span references(struct arena *a, struct span value)
{
    struct span ring[IDS_MAX], id;
    size_t n = 0;
    while ((id = first_id(&value)).n)
        ring[n++ % IDS_MAX] = id;
    struct buf b;
    buf_init(&b, 32000);
    bool ok = true;
    for (size_t i = n > IDS_MAX ? n - IDS_MAX : 0; i < n && ok; i++) {
        struct span one = header_unfold(a, ring[i % IDS_MAX]);
        ok = (b.n == 0 || buf_add_char(&b, ' ')) && buf_add_span(&b, one);
    }
    struct span got = arena_dup(a, buf_span(&b));
    buf_free(&b);
    return got.p ? got : SPAN("");
}

static bool add_sep(struct buf *b, struct span s)
{
    return s.n == 0 || ((b->n == 0 || buf_add_str(b, ", ")) && buf_add_span(b, s));
}

/* "local@domain" in UTF-8, whatever bytes stand in the field. */
static struct span addr_of(struct arena *scratch, const struct address *d)
{
    struct buf raw, text;
    buf_init(&raw, 2000);
    buf_init(&text, 8000);
    bool ok = buf_add_span(&raw, d->local) &&
              (d->domain.n == 0 || (buf_add_char(&raw, '@') && buf_add_span(&raw, d->domain))) &&
              charset_to_utf8(SPAN(""), buf_span(&raw), &text) == ERR_OK;
    struct span got = ok ? arena_dup(scratch, buf_span(&text)) : SPAN("");
    buf_free(&raw);
    buf_free(&text);
    return got;
}

/* names: what a list shows (of the first only, or of all); addrs: "local@domain" of all. */
static void people(struct arena *a, struct arena *scratch, struct span value, bool first_only,
                   struct span *names, struct span *addrs)
{
    struct buf n, d;
    arena_reset(scratch);
    buf_init(&n, NAMES_MAX);
    buf_init(&d, LIST_MAX);
    bool more = true, name_more = true;
    for (struct address *x = value.p ? address_list(scratch, value, 20000) : NULL; x && more; x = x->next) {
        if (x->group_end)
            continue;
        struct span addr = x->group_start ? SPAN("") : addr_of(scratch, x);
        struct span name = x->display.n ? x->display : addr;
        if (name_more)
            name_more = add_sep(&n, tidy(scratch, name, NAME_MAX, NAME_MAX)) && !(first_only && n.n);
        more = add_sep(&d, addr);
    }
    *names = arena_dup(a, buf_span(&n));
    if (addrs)
        *addrs = arena_dup(a, buf_span(&d));
    buf_free(&n);
    buf_free(&d);
}

/* RFC 5256 2.1: leading "re:", "fw:", "fwd:" with blobs "[...]", trailing "(fwd)", and "[fwd: ...]". */
static struct span strip_lead(struct span s)
{
    for (;;) {
        s = span_trim(s);
        struct span t = s;
        while (t.n && t.p[0] == '[' && span_find(t, ']') < t.n) /* blobs before "re:" */
            t = span_trim(span_drop(t, span_find(t, ']') + 1));
        size_t n = span_casestarts(t, SPAN("fwd"))                                    ? 3
                   : span_casestarts(t, SPAN("re")) || span_casestarts(t, SPAN("fw")) ? 2
                                                                                      : 0;
        struct span u = span_trim(span_drop(t, n));
        if (n && u.n && u.p[0] == '[' && span_find(u, ']') < u.n)
            u = span_trim(span_drop(u, span_find(u, ']') + 1));
        if (n && u.n && u.p[0] == ':') {
            s = span_drop(u, 1);
            continue;
        }
        if (s.n && s.p[0] == '[' && span_find(s, ']') < s.n) { /* a blob, unless nothing would be left */
            struct span rest = span_trim(span_drop(s, span_find(s, ']') + 1));
            if (rest.n) {
                s = rest;
                continue;
            }
        }
        return s;
    }
}

static struct span strip_subject(struct span s)
{
    for (;;) {
        s = span_trim(s);
        while (s.n >= 5 && span_caseeq(span_drop(s, s.n - 5), SPAN("(fwd)")))
            s = span_trim(span_first(s, s.n - 5));
        if (span_casestarts(s, SPAN("[fwd:")) && s.p[s.n - 1] == ']') {
            s = span_of(s.p + 5, s.n - 6);
            continue;
        }
        struct span stripped = strip_lead(s);
        if (stripped.n == s.n)
            return s;
        s = stripped;
    }
}

static struct span base_subject(struct arena *a, struct span subject)
{
    struct buf b;
    buf_init(&b, SUBJECT_MAX * 4);
    struct span got = fold_text(strip_subject(subject), &b) ? arena_dup(a, buf_span(&b)) : SPAN("");
    buf_free(&b);
    return got;
}

void summary_read(const struct fields *f, struct span hint, struct arena *a, struct mime_meta *m)
{
    int zone;
    m->date = INT64_MIN;
    if (f->env.date.p && !date_parse(f->env.date, &m->date, &zone))
        m->date = INT64_MIN;
    struct span subject = f->env.subject.p ? span_first(f->env.subject, SUBJECT_MAX * 8) : SPAN("");
    m->subject = tidy(a, header_text_hint(a, subject, hint), SUBJECT_MAX, SUBJECT_MAX);
    m->base_subject = base_subject(a, m->subject);
    struct span unused;
    struct arena *scratch = arena_new(16 << 20);
    people(a, scratch, f->env.from, true, &m->from, &m->from_addr);
    people(a, scratch, f->env.to, false, &m->to, &m->to_addr);
    people(a, scratch, f->env.cc, false, &unused, &m->cc_addr);
    arena_free(&scratch);
    m->message_id = id_text(a, f->env.message_id);
    m->in_reply_to = id_text(a, f->env.in_reply_to);
    m->references = references(a, f->references.p ? f->references : SPAN(""));
    struct span value = f->auto_submitted.p ? span_trim(f->auto_submitted) : SPAN("no");
    struct span prec = f->precedence.p ? span_trim(f->precedence) : SPAN("");
    if (!span_caseeq(span_first(value, span_find(value, ';')), SPAN("no")) ||
        span_caseeq(prec, SPAN("bulk")) || span_caseeq(prec, SPAN("list")) || span_caseeq(prec, SPAN("junk")))
        m->flags |= MIME_F_AUTO;
}

/* Past an element whose content is no text. */
static struct span skip_element(struct span s, struct span name)
{
    while (s.n) {
        s = span_drop(s, span_find(s, '<'));
        if (s.n > name.n + 2 && s.p[1] == '/' && span_casestarts(span_drop(s, 2), name))
            return span_drop(s, span_find(s, '>') + 1);
        s = span_drop(s, 1);
    }
    return s;
}

static uint32_t entity(struct span s, size_t *n)
{
    static const struct {
        const char *name;
        uint32_t cp;
    } rows[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"nbsp;", ' '}, {"apos;", '\''}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (span_starts(s, span_str(rows[i].name))) {
            *n = strlen(rows[i].name);
            return rows[i].cp;
        }
    struct span digits = span_first(span_drop(s, 1), 8);
    digits.n = span_find(digits, ';');
    uint32_t v = 0;
    if (s.n == 0 || s.p[0] != '#' || digits.n == 0)
        return 0;
    bool hex = digits.p[0] == 'x' || digits.p[0] == 'X';
    for (size_t i = hex; i < digits.n; i++) {
        char c = ascii_lower(digits.p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(hex && c >= 'a' && c <= 'f'))
            return 0;
        v = v * (hex ? 16 : 10) + (uint32_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *n = digits.n + 2;
    return v;
}

/* Past a tag, a comment, or an element whose content is no text. */
static struct span skip_tag(struct span s)
{
    static const char *const silent[] = {"style", "script", "title"};
    if (span_starts(s, SPAN("<!--")))
        return span_drop(s, span_search(s, SPAN("-->")) + 3);
    struct span name = span_drop(s, 1);
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        if (span_casestarts(name, span_str(silent[i])))
            return skip_element(span_drop(name, strlen(silent[i])), span_str(silent[i]));
    return span_drop(s, span_find(s, '>') + 1);
}

/* Bytes before the next tag or entity. */
static size_t text_run(struct span s)
{
    const char *lt = memchr(s.p, '<', s.n);
    size_t n = lt ? (size_t)(lt - s.p) : s.n;
    const char *amp = memchr(s.p, '&', n);
    return amp ? (size_t)(amp - s.p) : n;
}

static bool begins_char(char c)
{
    return (unsigned char)c > ' ' && (c & 0xc0) != 0x80;
}

/* How many of eight bytes begin a character that is no blank. */
static size_t begins_of_eight(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    const uint64_t shown = (v | ((v & ~high) + ones * (0x7f - ' '))) & high; /* over 0x20 */
    const uint64_t inside = v & ~(v << 1) & high;                            /* 10xxxxxx */
    return (size_t)(((shown & ~inside) >> 7) * ones >> 56);
}

static size_t count_chars(struct span s)
{
    size_t chars = 0, i = 0;
    for (; s.n - i >= 8; i += 8)
        chars += begins_of_eight(s.p + i);
    for (; i < s.n; i++)
        chars += begins_char(s.p[i]);
    return chars;
}

/* So much of s that holds so many characters that are no blanks, and what follows the last of them. */
static struct span first_chars(struct span s, size_t chars)
{
    size_t n = 0;
    for (; s.n - n >= 8 && chars >= 8; n += 8)
        chars -= begins_of_eight(s.p + n);
    while (n < s.n && (chars || !begins_char(s.p[n])))
        chars -= begins_char(s.p[n++]);
    return span_first(s, n);
}

/* Characters before they are composed: blanks fall out of them, and marks join their letters. */
static const size_t enough = (size_t)3 * PREVIEW;
/* characters before they are composed: blanks fall out, marks join their letters */

/* HTML to its text, roughly, until there is enough for a line in a list. */
static bool plain_of_html(struct span s, struct buf *out)
{
    bool ok = true;
    for (size_t chars = 0; s.n && ok && chars < enough;) {
        size_t n = 0;
        uint32_t cp;
        if (s.p[0] == '<') {
            s = skip_tag(s);
            ok = buf_add_char(out, ' ');
        } else if (s.p[0] == '&' && (cp = entity(span_drop(s, 1), &n)) != 0) {
            ok = utf8_put(out, cp);
            s = span_drop(s, n + 1);
            chars += cp > ' ' && cp != 0xa0;
        } else {
            n = text_run(span_drop(s, 1)) + 1;
            ok = buf_add_span(out, span_first(s, n));
            chars += count_chars(span_first(s, n));
            s = span_drop(s, n);
        }
    }
    return ok;
}

/* Without its last character, which may be cut, where that is of no matter. */
static struct span whole_chars(struct span s)
{
    if (s.n < PREVIEW_BYTES)
        return s;
    for (unsigned i = 0; i < 3 && (s.p[s.n - 1] & 0xc0) == 0x80; i++)
        s.n--;
    return span_first(s, s.n - 1);
}

/* Most texts are UTF-8 already: then only what will be shown is composed, not the whole sample. */
struct span summary_preview(struct arena *a, const struct mime_part *p, struct span sample)
{
    struct buf raw, text, plain;
    struct codec c;
    buf_init(&raw, sample.n * 2 + 100);
    buf_init(&text, sample.n * 12 + 100);
    buf_init(&plain, sample.n * 12 + 100);
    codec_init(&c, p->encoding);
    bool ok = codec_decode(&c, sample, true, &raw);
    struct span s = whole_chars(buf_span(&raw));
    const bool utf8 = charset_is_utf8(p->charset, s);
    if (ok && !utf8) {
        ok = charset_to_utf8(p->charset, buf_span(&raw), &text) != ERR_LIMIT;
        s = buf_span(&text);
    }
    if (ok && span_eq(p->subtype, SPAN("html"))) {
        ok = plain_of_html(s, &plain);
        s = buf_span(&plain);
    }
    if (ok && utf8) {
        ok = charset_to_utf8(SPAN("utf-8"), first_chars(s, enough), &text) != ERR_LIMIT;
        s = buf_span(&text);
    }
    struct span got = ok ? tidy(a, s, PREVIEW_BYTES, PREVIEW) : SPAN("");
    buf_free(&raw);
    buf_free(&text);
    buf_free(&plain);
    return got;
}
