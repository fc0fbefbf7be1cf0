/* Writing header fields: folding, encoded words (RFC 2047), parameters (RFC 2231).
 * The hard problem: what comes in is a stranger's text, and nothing in it may end a field. CR, LF and NUL
 * become blanks before anything else is looked at; text that is no UTF-8 is first made so. */
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/header.h"

enum { COLUMNS = 76, WORD_BYTES_B = 42, WORD_BYTES_Q = 60 };

/* Clean text: valid UTF-8 in NFC without control bytes, in *b (to be freed). */
static bool clean(struct span text, struct buf *b)
{
    buf_init(b, text.n * 6 + 16);
    if (charset_to_utf8(SPAN(""), text, b) == ERR_LIMIT)
        return false;
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->p[i] < ' ' || b->p[i] == 0x7f)
            b->p[i] = ' ';
    return true;
}

static bool is_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

/* The longest run without a blank, so that folding is always possible. */
static size_t longest_run(struct span s)
{
    size_t longest = 0;
    while (s.p) {
        struct span w = span_cut(&s, ' ');
        longest = w.n > longest ? w.n : longest;
    }
    return longest;
}

/* ASCII text, folded before blanks. column: where the line stands. */
static bool put_folded(struct buf *out, struct span text, size_t column)
{
    bool ok = true, first = true;
    while (text.n && ok) {
        size_t blanks = 0;
        while (blanks < text.n && text.p[blanks] == ' ')
            blanks++;
        size_t word = span_find(span_drop(text, blanks), ' ');
        if (word == 0)
            break;
        if (!first && blanks && column + blanks + word > COLUMNS) {
            ok = buf_add_str(out, "\r\n");
            column = 0;
        }
        ok = ok && buf_add(out, text.p, blanks + word);
        column += blanks + word;
        text = span_drop(text, blanks + word);
        first = false;
    }
    return ok;
}

static bool q_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!*+-/", c));
}

static size_t q_width(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += q_plain((unsigned char)s.p[i]) || s.p[i] == ' ' ? 1 : 3;
    return n;
}

/* How much of s goes into one word: whole characters, at most so many encoded bytes. */
static size_t word_part(struct span s, bool b64)
{
    size_t n = 0, width = 0;
    while (n < s.n) {
        size_t cp;
        utf8_next(span_drop(s, n), &cp);
        size_t more = b64 ? cp : q_width(span_of(s.p + n, cp));
        if (n && width + more > (b64 ? WORD_BYTES_B : WORD_BYTES_Q))
            break;
        width += more;
        n += cp;
    }
    return n;
}

static bool put_q(struct buf *out, struct span s)
{
    bool ok = true;
    for (size_t i = 0; i < s.n && ok; i++) {
        unsigned char c = (unsigned char)s.p[i];
        ok = c == ' '     ? buf_add_char(out, '_')
             : q_plain(c) ? buf_add_char(out, (char)c)
                          : buf_addf(out, "=%02X", c);
    }
    return ok;
}

static bool put_words(struct buf *out, struct span s, size_t column)
{
    bool b64 = (s.n + 2) / 3 * 4 < q_width(s), ok = true;
    for (bool first = true; s.n && ok; first = false) {
        size_t n = word_part(s, b64);
        if (!first || column > 14)
            ok = first ? buf_add_str(out, "\r\n ") : buf_add_str(out, "\r\n ");
        struct span part = span_first(s, n);
        ok = ok && buf_add_str(out, b64 ? "=?UTF-8?B?" : "=?UTF-8?Q?") &&
             (b64 ? base64_encode(part, 0, out) : put_q(out, part)) && buf_add_str(out, "?=");
        s = span_drop(s, n);
    }
    return ok;
}

/* All or nothing: out is as before when something did not fit. */
static bool settle(struct buf *out, size_t before, bool ok)
{
    if (!ok)
        out->n = before;
    return ok;
}

bool header_write(struct buf *out, struct span name, struct span text)
{
    struct buf b;
    size_t before = out->n;
    bool ok = clean(text, &b) && buf_add_span(out, name) && buf_add_str(out, ": ");
    struct span s = span_trim(buf_span(&b));
    bool words = !is_ascii(s) || span_search(s, SPAN("=?")) < s.n || longest_run(s) > 900;
    ok = ok && (words ? put_words(out, s, name.n + 2) : put_folded(out, s, name.n + 2)) &&
         buf_add_str(out, "\r\n");
    buf_free(&b);
    return settle(out, before, ok);
}

static bool put_quoted(struct buf *out, struct span s)
{
    bool ok = buf_add_char(out, '"');
    for (size_t i = 0; i < s.n && ok; i++)
        ok = ((s.p[i] != '"' && s.p[i] != '\\') || buf_add_char(out, '\\')) && buf_add_char(out, s.p[i]);
    return ok && buf_add_char(out, '"');
}

/* name*0*=UTF-8''...; name*1*=... in lines that are short enough. */
static bool put_extended(struct buf *out, struct span name, struct span v)
{
    bool ok = true, one = v.n * 3 + name.n < 60;
    for (unsigned k = 0; (v.n || k == 0) && ok; k++) {
        ok = buf_add_str(out, ";\r\n ") && buf_add_span(out, name) &&
             (one ? buf_add_str(out, "*=") : buf_addf(out, "*%u*=", k)) && (k || buf_add_str(out, "UTF-8''"));
        for (size_t width = 0; v.n && ok && (one || width < 48); v = span_drop(v, 1)) {
            unsigned char c = (unsigned char)v.p[0];
            bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                         (c && strchr("-._", c));
            ok = plain ? buf_add_char(out, (char)c) : buf_addf(out, "%%%02X", c);
            width += plain ? 1 : 3;
        }
    }
    return ok;
}

bool header_write_param(struct buf *out, struct span name, struct span value)
{
    struct buf b;
    size_t before = out->n;
    bool ok = clean(value, &b);
    struct span v = buf_span(&b);
    if (!is_ascii(v) || v.n > 60 || span_search(v, SPAN("=?")) < v.n)
        ok = ok && put_extended(out, name, v);
    else
        ok = ok && buf_add_str(out, ";\r\n ") && buf_add_span(out, name) && buf_add_char(out, '=') &&
             put_quoted(out, v);
    buf_free(&b);
    return settle(out, before, ok);
}

static bool is_phrase(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool atext = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && c < 0x80 && strchr("!#$%&'*+-/=?^_`{|}~ ", c));
        if (!atext || (c == ' ' && i && s.p[i - 1] == ' '))
            return false;
    }
    return span_search(s, SPAN("=?")) == s.n;
}

bool header_write_mailbox(struct buf *out, struct span display, struct span addr)
{
    struct buf b;
    size_t before = out->n;
    bool ok = clean(display, &b), plain_addr = true;
    struct span d = span_trim(buf_span(&b));
    for (size_t i = 0; i < addr.n; i++) /* an address with such bytes is none; it must not end the field */
        plain_addr = plain_addr && (unsigned char)addr.p[i] >= ' ' && addr.p[i] != '<' && addr.p[i] != '>';
    ok = ok && plain_addr;
    if (d.n && ok) {
        if (!is_ascii(d) || longest_run(d) > 60 || (d.n > 70 && !is_phrase(d)) ||
            span_search(d, SPAN("=?")) < d.n)
            ok = put_words(out, d, 0);
        else
            ok = is_phrase(d) ? put_folded(out, d, 14) : put_quoted(out, d);
        ok = ok && buf_add_char(out, ' ');
    }
    ok = ok && (d.n ? buf_add_char(out, '<') && buf_add_span(out, addr) && buf_add_char(out, '>')
                    : buf_add_span(out, addr));
    buf_free(&b);
    return settle(out, before, ok);
}
