/* The grammar of IMAP responses, as trees of words, strings and lists. Its hard problem is that the answer
 * holds strangers' bytes in literals: a response is measured first (literals counted, not searched), then cut
 * up with bounded depth. What the words mean is left to mail.c. */
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "webmail-cgi/imap.h"
#include <stdlib.h>

/* The literal's size when the line that ends at end (its CRLF) announces one. */
static bool literal_size(struct span s, size_t start, size_t end, size_t *out)
{
    if (end == start || s.p[end - 1] != '}')
        return false;
    size_t i = end - 1;
    while (i > start && ((s.p[i - 1] >= '0' && s.p[i - 1] <= '9') || s.p[i - 1] == '+'))
        i--;
    struct span digits = span_of(s.p + i, end - 1 - i);
    uint32_t n;
    if (i == start || s.p[i - 1] != '{' || !span_u32(digits, &n))
        return false;
    *out = n;
    return true;
}

size_t imap_response_end(struct span s, size_t *from)
{
    for (;;) {
        size_t at = *from > s.n ? s.n : *from;
        size_t eol = span_search(span_drop(s, at), SPAN("\r\n"));
        if (at + eol >= s.n)
            return 0;
        eol += at;
        size_t size;
        if (!literal_size(s, at, eol, &size))
            return eol + 2;
        if (s.n - (eol + 2) < size)
            return 0;
        *from = eol + 2 + size;
    }
}

struct parser {
    struct arena *a;
    struct span s;
    bool bad;
};

static struct imap_node *node(struct parser *p, enum imap_kind kind, struct span s)
{
    struct imap_node *n = arena_alloc(p->a, sizeof *n);
    if (!n) {
        p->bad = true;
        return NULL;
    }
    n->kind = kind;
    n->s = s;
    return n;
}

static struct imap_node *quoted(struct parser *p)
{
    char *out = (char *)p->s.p; /* unescaped in place: the bytes are the arena's copy */
    size_t i = 1, n = 0;
    while (i < p->s.n && p->s.p[i] != '"') {
        if (p->s.p[i] == '\\' && i + 1 < p->s.n)
            i++;
        out[n++] = p->s.p[i++];
    }
    if (i >= p->s.n) {
        p->bad = true;
        return NULL;
    }
    p->s = span_drop(p->s, i + 1);
    return node(p, IMAP_STRING, span_of(out, n));
}

static struct imap_node *literal(struct parser *p)
{
    size_t eol = span_search(p->s, SPAN("\r\n")), size;
    if (eol == p->s.n || !literal_size(p->s, 0, eol, &size) || p->s.n - eol - 2 < size) {
        p->bad = true;
        return NULL;
    }
    struct imap_node *n = node(p, IMAP_STRING, span_of(p->s.p + eol + 2, size));
    p->s = span_drop(p->s, eol + 2 + size);
    return n;
}

/* A word; "BODY[HEADER.FIELDS (To)]<0>" is one, its brackets may hold anything. */
static struct imap_node *atom(struct parser *p)
{
    size_t n = 0;
    bool inside = false;
    while (n < p->s.n && (inside || !memchr(" ()\r\n", p->s.p[n], 5))) {
        inside = p->s.p[n] == '[' ? true : p->s.p[n] == ']' ? false : inside;
        n++;
    }
    struct span w = span_first(p->s, n);
    p->s = span_drop(p->s, n);
    if (!n) {
        p->bad = true;
        return NULL;
    }
    return node(p, span_caseeq(w, SPAN("NIL")) ? IMAP_NIL : IMAP_ATOM, w);
}

static struct imap_node *words(struct parser *p, unsigned depth)
{
    struct imap_node *first = NULL, **tail = &first;
    while (!p->bad) {
        while (p->s.n && p->s.p[0] == ' ')
            p->s = span_drop(p->s, 1);
        if (!p->s.n || memchr(")\r\n", p->s.p[0], 3))
            return first;
        struct imap_node *n;
        if (p->s.p[0] == '(') {
            p->s = span_drop(p->s, 1);
            n = node(p, IMAP_LIST, SPAN_NONE);
            if (!n || depth == 0) {
                p->bad = true;
                return first;
            }
            n->child = words(p, depth - 1);
            if (!p->s.n || p->s.p[0] != ')')
                p->bad = true;
            p->s = span_drop(p->s, 1);
        } else {
            n = p->s.p[0] == '"' ? quoted(p) : p->s.p[0] == '{' ? literal(p) : atom(p);
        }
        if (n) {
            *tail = n;
            tail = &n->next;
        }
    }
    return first;
}

/* "OK [CODE x] text", whose text is for people and follows no grammar: one atom and one string. */
static bool is_status(struct span s)
{
    return span_casestarts(s, SPAN("OK ")) || span_casestarts(s, SPAN("NO ")) ||
           span_casestarts(s, SPAN("BAD ")) || span_casestarts(s, SPAN("BYE ")) ||
           span_casestarts(s, SPAN("PREAUTH "));
}

struct imap_node *imap_parse(struct arena *a, struct span response)
{
    struct parser p = {.a = a, .s = arena_dup(a, response)};
    if (!p.s.p)
        return NULL;
    struct imap_node *first;
    if (is_status(p.s)) {
        struct span word = span_cut(&p.s, ' ');
        first = node(&p, IMAP_ATOM, word);
        if (first)
            first->next = node(&p, IMAP_STRING, span_trim(p.s));
    } else {
        first = words(&p, IMAP_DEPTH_LIMIT);
        p.bad = p.bad || !span_eq(p.s, SPAN("\r\n"));
    }
    return p.bad ? NULL : first;
}

const struct imap_node *imap_nth(const struct imap_node *first, unsigned n)
{
    while (first && n--)
        first = first->next;
    return first;
}

bool imap_is(const struct imap_node *n, const char *word)
{
    return n && n->kind == IMAP_ATOM && span_caseeq(n->s, span_str(word));
}

uint32_t imap_number(const struct imap_node *n)
{
    uint32_t v = 0;
    return n && span_u32(n->s, &v) ? v : 0;
}

struct span imap_text(const struct imap_node *n)
{
    return n && (n->kind == IMAP_STRING || n->kind == IMAP_ATOM) ? n->s : SPAN("");
}

const struct imap_node *imap_value(const struct imap_node *list, const char *key)
{
    const struct imap_node *n = list && list->kind == IMAP_LIST ? list->child : NULL;
    struct span k = span_str(key);
    for (; n && n->next; n = n->next->next)
        if (n->kind == IMAP_ATOM &&
            (span_ends(k, SPAN("[")) ? span_casestarts(n->s, k) : span_caseeq(n->s, k)))
            return n->next;
    return NULL;
}

/* ---------------------------------------------------------------- modified UTF-7 (RFC 3501 5.1.3) */

static bool flush_utf16(struct buf *units, struct buf *out)
{
    struct buf b64;
    buf_init(&b64, 2 * units->n + 16);
    bool ok = !units->n || (base64_encode(buf_span(units), 0, &b64) && buf_add_char(out, '&'));
    for (size_t i = 0; ok && i < b64.n && b64.p[i] != '='; i++)
        ok = buf_add_char(out, b64.p[i] == '/' ? ',' : b64.p[i]);
    ok = ok && (!units->n || buf_add_char(out, '-'));
    buf_free(&b64);
    buf_reset(units);
    return ok;
}

bool imap_name_encode(struct span utf8, struct buf *out)
{
    struct buf units;
    buf_init(&units, 4 * utf8.n + 16);
    bool ok = true;
    while (ok && utf8.n) {
        size_t n;
        uint32_t cp = utf8_next(utf8, &n);
        utf8 = span_drop(utf8, n);
        if (cp >= 0x20 && cp < 0x7f) {
            ok = flush_utf16(&units, out) &&
                 (cp == '&' ? buf_add_str(out, "&-") : buf_add_char(out, (char)cp));
        } else if (cp >= 0x10000) {
            cp -= 0x10000;
            ok = buf_add_u16(&units, (uint16_t)(0xd800 | cp >> 10)) &&
                 buf_add_u16(&units, (uint16_t)(0xdc00 | (cp & 0x3ff)));
        } else {
            ok = buf_add_u16(&units, (uint16_t)cp);
        }
    }
    ok = ok && flush_utf16(&units, out);
    buf_free(&units);
    return ok;
}

static bool put_utf16(struct span bytes, struct buf *out)
{
    for (size_t i = 0; i + 1 < bytes.n; i += 2) {
        uint32_t u = (uint32_t)(unsigned char)bytes.p[i] << 8 | (unsigned char)bytes.p[i + 1];
        if (u >= 0xd800 && u < 0xdc00 && i + 3 < bytes.n) {
            uint32_t low = (uint32_t)(unsigned char)bytes.p[i + 2] << 8 | (unsigned char)bytes.p[i + 3];
            u = 0x10000 + ((u & 0x3ff) << 10) + (low & 0x3ff);
            i += 2;
        }
        if (!utf8_put(out, u))
            return false;
    }
    return true;
}

bool imap_name_decode(struct span s, struct buf *out)
{
    bool ok = true;
    while (ok && s.n) {
        size_t amp = span_find(s, '&');
        ok = buf_add(out, s.p, amp);
        s = span_drop(s, amp + 1);
        size_t end = span_find(s, '-');
        if (end == s.n) /* the end, or an escape without one */
            break;
        struct buf b64, raw;
        buf_init(&b64, end + 16);
        buf_init(&raw, end + 16);
        for (size_t i = 0; ok && i < end; i++)
            ok = buf_add_char(&b64, s.p[i] == ',' ? '/' : s.p[i]);
        struct codec c;
        codec_init(&c, MIME_BASE64);
        ok =
            ok && (end == 0 ? buf_add_char(out, '&')
                            : codec_decode(&c, buf_span(&b64), true, &raw) && put_utf16(buf_span(&raw), out));
        buf_free(&b64);
        buf_free(&raw);
        s = span_drop(s, end + 1);
    }
    return ok;
}
