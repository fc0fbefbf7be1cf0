/* Base64 and quoted-printable (RFC 2045 6.7, 6.8), as streams.
 * The hard problem: the result must not depend on where the input was cut, so whatever a decision waits
 * for (an escape, blanks that may end a line) is held in the codec. Lenient on input, strict on output. */
#include "common/mime/codec.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0-63; 64 '='; 65 anything else. */
static const unsigned char values[256] = {
#define X8 65, 65, 65, 65, 65, 65, 65, 65
#define X32 X8, X8, X8, X8
    X32, X8, 65, 65, 65, 62, 65, 65, 65, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60,  61,  65,  65,  65, 64,
    65,  65, 65, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,  16,  17,  18,  19, 20,
    21,  22, 23, 24, 25, 65, 65, 65, 65, 65, 65, 26, 27, 28, 29, 30, 31, 32, 33,  34,  35,  36,  37, 38,
    39,  40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 65, 65, 65, 65, 65, X32, X32, X32, X32,
#undef X8
#undef X32
};

void codec_init(struct codec *c, enum mime_encoding encoding)
{
    *c = (struct codec){.encoding = encoding};
}

/* What a padded or cut group still holds. */
static char *base64_tail(struct codec *c, char *to)
{
    if (c->have >= 2)
        *to++ = (char)(c->bits >> (c->have == 2 ? 4 : 10));
    if (c->have == 3)
        *to++ = (char)(c->bits >> 2);
    c->have = 0;
    c->bits = 0;
    return to;
}

static bool base64_decode(struct codec *c, struct span in, bool last, struct buf *out)
{
    if (in.n > SIZE_MAX / 4)
        return false;
    char *start = buf_reserve(out, in.n / 4 * 3 + 8), *to = start;
    if (!start)
        return false;
    const unsigned char *p = (const unsigned char *)(in.n ? in.p : ""), *end = p + in.n;
    while (p < end) {
        while (c->have == 0 && end - p >= 4) {
            uint32_t a = values[p[0]], b = values[p[1]], d = values[p[2]], e = values[p[3]];
            if ((a | b | d | e) >= 64)
                break;
            uint32_t v = a << 18 | b << 12 | d << 6 | e;
            *to++ = (char)(v >> 16);
            *to++ = (char)(v >> 8);
            *to++ = (char)v;
            p += 4;
        }
        if (p == end)
            break;
        unsigned v = values[*p++];
        if (v == 64) {
            to = base64_tail(c, to); /* another base64 text may follow; some senders join them */
        } else if (v < 64) {
            c->bits = c->bits << 6 | v;
            if (++c->have == 4) {
                *to++ = (char)(c->bits >> 16);
                *to++ = (char)(c->bits >> 8);
                *to++ = (char)c->bits;
                c->have = 0;
                c->bits = 0;
            }
        }
    }
    if (last)
        to = base64_tail(c, to);
    buf_commit(out, (size_t)(to - start));
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool qp_release(struct codec *c, struct buf *out)
{
    bool ok = buf_add(out, c->held, c->held_n);
    c->held_n = 0;
    return ok;
}

static void qp_hold(struct codec *c, char ch)
{
    c->held[c->held_n++] = ch;
}

/* A byte after a held "=...": true when it was used up, false when it is to be looked at again. */
static bool qp_escape(struct codec *c, char ch, struct buf *out, bool *ok)
{
    char before = c->held[c->held_n - 1];
    if (before == '\r') { /* "=\r" was a soft break; the LF belongs to it */
        c->held_n = 0;
        return ch == '\n';
    }
    if (ch == '\n') {
        c->held_n = 0;
        return true;
    }
    if (c->held_n == 2 && hex_value(before) >= 0 && hex_value(ch) >= 0) {
        c->held_n = 0;
        *ok = buf_add_char(out, (char)(hex_value(before) << 4 | hex_value(ch)));
        return true;
    }
    bool blank = ch == ' ' || ch == '\t';
    bool after_blank = before == '=' || before == ' ' || before == '\t';
    if (c->held_n < sizeof c->held &&
        ((c->held_n == 1 && hex_value(ch) >= 0) || (after_blank && (blank || ch == '\r')))) {
        qp_hold(c, ch);
        return true;
    }
    *ok = qp_release(c, out); /* no escape after all: it stands as written (RFC 2045 6.7, note) */
    return false;
}

static bool qp_byte(struct codec *c, char ch, struct buf *out)
{
    bool ok = true;
    if (c->held_n && c->held[0] == '=' && (qp_escape(c, ch, out, &ok) || !ok))
        return ok;
    if (ch == ' ' || ch == '\t') {
        if (c->held_n == sizeof c->held)
            ok = qp_release(c, out);
        qp_hold(c, ch);
        return ok;
    }
    if (ch == '\r' || ch == '\n')
        c->held_n = 0; /* blanks before a line end were added on the way (RFC 2045 6.7, rule 3) */
    ok = qp_release(c, out);
    if (ch == '=')
        qp_hold(c, ch);
    else
        ok = ok && buf_add_char(out, ch);
    return ok;
}

static bool qp_decode(struct codec *c, struct span in, bool last, struct buf *out)
{
    size_t i = 0;
    while (i < in.n) {
        size_t run = i;
        if (c->held_n == 0)
            while (run < in.n && (unsigned char)in.p[run] > ' ' && in.p[run] != '=')
                run++;
        if (run > i) {
            if (!buf_add(out, in.p + i, run - i))
                return false;
            i = run;
        } else if (!qp_byte(c, in.p[i++], out)) {
            return false;
        }
    }
    if (!last)
        return true;
    bool literal = c->held_n == 2 && hex_value(c->held[1]) >= 0;
    if (!literal)
        c->held_n = 0; /* blanks at the very end, or a soft break without its line end */
    return qp_release(c, out);
}

bool codec_decode(struct codec *c, struct span in, bool last, struct buf *out)
{
    if (c->encoding == MIME_BASE64)
        return base64_decode(c, in, last, out);
    if (c->encoding == MIME_QP)
        return qp_decode(c, in, last, out);
    return buf_add_span(out, in);
}

bool base64_encode(struct span in, unsigned columns, struct buf *out)
{
    if (in.n > SIZE_MAX / 8)
        return false;
    unsigned per_line = columns / 4 * 3;
    size_t lines = per_line ? in.n / per_line + 1 : 0;
    char *start = buf_reserve(out, (in.n + 2) / 3 * 4 + lines * 2), *to = start;
    if (!start)
        return false;
    const unsigned char *p = (const unsigned char *)in.p;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v =
            (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *to++ = left > 2 ? alphabet[v & 63] : '=';
        if (per_line && ((i + 3) % per_line == 0 || left <= 3)) {
            *to++ = '\r';
            *to++ = '\n';
        }
    }
    buf_commit(out, (size_t)(to - start));
    return true;
}

bool base64_decode_strict(struct span in, struct buf *out)
{
    if (in.n % 4)
        return false;
    char *start = buf_reserve(out, in.n / 4 * 3), *to = start;
    if (in.n && !start)
        return false;
    for (size_t i = 0; i < in.n; i += 4) {
        const unsigned char *p = (const unsigned char *)in.p + i;
        unsigned a = values[p[0]], b = values[p[1]], c = values[p[2]], d = values[p[3]];
        bool end = i + 4 == in.n;
        if (a >= 64 || b >= 64 || (c >= 64 && !(end && c == 64 && d == 64)) || (d >= 64 && !(end && d == 64)))
            return false;
        if ((c == 64 && (b & 15)) || (c < 64 && d == 64 && (c & 3)))
            return false; /* bits that no encoder sets: two spellings of one value */
        *to++ = (char)(a << 2 | b >> 4);
        if (c < 64)
            *to++ = (char)(b << 4 | c >> 2);
        if (d < 64)
            *to++ = (char)(c << 6 | d);
    }
    buf_commit(out, (size_t)(to - start));
    return true;
}

/* Whether in.p[i] may stand as it is in quoted-printable. */
static bool qp_plain(struct span in, size_t i)
{
    unsigned char ch = (unsigned char)in.p[i];
    if (ch == ' ' || ch == '\t')
        return i + 1 < in.n && in.p[i + 1] != '\r' && in.p[i + 1] != '\n';
    return ch > ' ' && ch < 0x7f && ch != '=';
}

bool qp_encode(struct span in, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t column = 0;
    bool ok = true;
    for (size_t i = 0; i < in.n && ok; i++) {
        char ch = in.p[i];
        if (ch == '\r' && i + 1 < in.n && in.p[i + 1] == '\n') {
            ok = buf_add_str(out, "\r\n");
            column = 0;
            i++;
            continue;
        }
        /* "From " and a lone dot at the start of a line do not survive every path */
        bool at_risk = column == 0 && (ch == '.' || ch == 'F');
        bool plain = qp_plain(in, i) && !at_risk;
        size_t width = plain ? 1 : 3;
        if (column + width > 75) {
            ok = buf_add_str(out, "=\r\n");
            column = 0;
            plain = plain && ch != '.' && ch != 'F';
            width = plain ? 1 : 3;
        }
        char escape[3] = {'=', hex[(unsigned char)ch >> 4], hex[ch & 15]};
        ok = ok && (plain ? buf_add_char(out, ch) : buf_add(out, escape, 3));
        column += width;
    }
    return ok;
}
