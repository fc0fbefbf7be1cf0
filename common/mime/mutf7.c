/* Modified UTF-7 (RFC 3501 5.1.3).
 * The hard problem: one name must have one spelling, or two clients see two mailboxes. So what another
 * encoder could have written differently is refused: printable ASCII in base64, a shift right behind a shift,
 * padding bits that are not zero. Which names the store takes is the store's. */
#include "common/mime/mutf7.h"
#include "common/mime/charset.h"

static int digit_of(char c)
{
    static const char table[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    const char *at = c ? strchr(table, c) : NULL;
    return at ? (int)(at - table) : -1;
}

/* UTF-16 units, two at most in play. */
struct units {
    uint32_t high; /* a high surrogate that waits, or 0 */
};

static bool put_unit(struct units *u, uint32_t unit, struct buf *out)
{
    if (u->high) {
        uint32_t cp = 0x10000 + ((u->high - 0xd800) << 10) + (unit - 0xdc00);
        u->high = 0;
        return unit >= 0xdc00 && unit <= 0xdfff && utf8_put(out, cp);
    }
    if (unit >= 0xd800 && unit <= 0xdbff) {
        u->high = unit;
        return true;
    }
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return false;
    return !(unit >= 0x20 && unit < 0x7f) && utf8_put(out, unit);
}

/* What stands between "&" and "-". */
static bool decode_shift(struct span in, struct buf *out)
{
    struct units u = {0};
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < in.n; i++) {
        int d = digit_of(in.p[i]);
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 16) {
            have -= 16;
            if (!put_unit(&u, bits >> have & 0xffff, out))
                return false;
            bits &= (1u << have) - 1;
        }
    }
    return !u.high && have < 6 && bits == 0;
}

bool mutf7_decode(struct span in, struct buf *out)
{
    bool shifted = false; /* a base64 run has just ended */
    while (in.n) {
        char c = in.p[0];
        if (c != '&') {
            if ((unsigned char)c < 0x20 || (unsigned char)c >= 0x7f || !buf_add_char(out, c))
                return false;
            in = span_drop(in, 1);
            shifted = false;
            continue;
        }
        size_t end = span_find(in, '-');
        if (end == in.n || (shifted && end > 1))
            return false;
        if (end == 1 ? !buf_add_char(out, '&') : !decode_shift(span_of(in.p + 1, end - 1), out))
            return false;
        shifted = end > 1;
        in = span_drop(in, end + 1);
    }
    return true;
}

/* Base64 of UTF-16 for a run of characters outside printable ASCII. */
static size_t encode_run(struct span s, struct buf *out, bool *ok)
{
    static const char table[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t at = 0;
    *ok = buf_add_char(out, '&');
    while (at < s.n && *ok) {
        size_t n;
        uint32_t cp = utf8_next(span_drop(s, at), &n), units[2] = {cp, 0};
        if (cp >= 0x20 && cp < 0x7f)
            break;
        at += n;
        size_t count = 1;
        if (cp >= 0x10000) {
            units[0] = 0xd800 + ((cp - 0x10000) >> 10);
            units[1] = 0xdc00 + ((cp - 0x10000) & 0x3ff);
            count = 2;
        }
        for (size_t i = 0; i < count; i++) {
            bits = bits << 16 | units[i];
            for (have += 16; have >= 6 && *ok; have -= 6)
                *ok = buf_add_char(out, table[bits >> (have - 6) & 63]);
            bits &= (1u << have) - 1;
        }
    }
    if (have && *ok)
        *ok = buf_add_char(out, table[bits << (6 - have) & 63]);
    *ok = *ok && buf_add_char(out, '-');
    return at;
}

bool mutf7_encode(struct span utf8, struct buf *out)
{
    bool ok = true;
    while (utf8.n && ok) {
        char c = utf8.p[0];
        size_t n = 1;
        if (c == '&')
            ok = buf_add_str(out, "&-");
        else if ((unsigned char)c >= 0x20 && (unsigned char)c < 0x7f)
            ok = buf_add_char(out, c);
        else
            n = encode_run(utf8, out, &ok);
        utf8 = span_drop(utf8, n);
    }
    return ok;
}
