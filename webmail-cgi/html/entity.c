/* Character references and quoting. Its hard problem is that what we take for text must be text for the
 * browser too: so all references that mail uses are decoded, and everything is quoted again on its way out.
 */
#include "webmail-cgi/html/html_int.h"
#include <stdlib.h>

struct entity {
    char name[10];
    uint16_t cp;
    uint8_t legacy;
};
static const struct entity entities[] = {
#define ENTITY(name, cp, legacy) {name, cp, legacy},
#include "webmail-cgi/html/entities.def"
#undef ENTITY
};
enum { ENTITY_COUNT = sizeof entities / sizeof *entities };

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const struct entity *entity_find(struct span name)
{
    size_t lo = 0, hi = ENTITY_COUNT;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strncmp(entities[mid].name, name.p, name.n);
        if (c == 0 && entities[mid].name[name.n] == 0)
            return &entities[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int digit_of(char c, unsigned base)
{
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < (int)base ? v : -1;
}

/* The C1 numbers mean windows-1252 (13.2.5.80). */
static uint32_t numeric_fix(uint32_t cp)
{
    static const uint16_t c1[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                    0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                    0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                    0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return 0xfffd;
    return cp >= 0x80 && cp < 0xa0 ? c1[cp - 0x80] : cp;
}

static size_t entity_numeric(struct span s, uint32_t *cp)
{
    unsigned base = s.n > 2 && (s.p[2] | 0x20) == 'x' ? 16 : 10;
    size_t from = base == 16 ? 3 : 2, i = from;
    uint32_t v = 0;
    for (; i < s.n; i++) {
        int d = digit_of(s.p[i], base);
        if (d < 0)
            break;
        v = v > 0x110000 ? v : v * base + (uint32_t)d;
    }
    if (i == from)
        return 0;
    *cp = numeric_fix(v);
    return i < s.n && s.p[i] == ';' ? i + 1 : i;
}

size_t html_entity(struct span s, bool in_attribute, uint32_t cp[2], size_t *cps)
{
    *cps = 1;
    if (s.n > 2 && s.p[1] == '#')
        return entity_numeric(s, cp);
    size_t n = 0;
    while (n < 9 && 1 + n < s.n && is_alnum(s.p[1 + n]))
        n++;
    const struct entity *e = n ? entity_find(span_of(s.p + 1, n)) : NULL;
    if (e && 1 + n < s.n && s.p[1 + n] == ';') {
        cp[0] = e->cp;
        return n + 2;
    }
    for (; n; n--) { /* the longest old name without its semicolon */
        e = entity_find(span_of(s.p + 1, n));
        if (!e || !e->legacy)
            continue;
        char after = 1 + n < s.n ? s.p[1 + n] : 0;
        if (in_attribute && (after == '=' || is_alnum(after)))
            return 0;
        cp[0] = e->cp;
        return n + 1;
    }
    return 0;
}

static bool put_cp(struct buf *out, uint32_t cp)
{
    char b[4];
    size_t n = 0;
    if (cp < 0x80) {
        if ((cp < 0x20 && cp != '\t' && cp != '\n' && cp != '\r') || cp == 0x7f)
            return true;
        b[n++] = (char)cp;
    } else if (cp < 0x800) {
        b[n++] = (char)(0xc0 | cp >> 6);
    } else if (cp < 0x10000) {
        b[n++] = (char)(0xe0 | cp >> 12);
        b[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
    } else {
        b[n++] = (char)(0xf0 | cp >> 18);
        b[n++] = (char)(0x80 | (cp >> 12 & 0x3f));
        b[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
    }
    if (cp >= 0x80)
        b[n++] = (char)(0x80 | (cp & 0x3f));
    return buf_add(out, b, n);
}

/* The length of a valid UTF-8 sequence at the front (RFC 3629), 0 when it is none. */
static size_t utf8_len(struct span s)
{
    const unsigned char *u = (const unsigned char *)s.p;
    size_t n = u[0] < 0x80 ? 1 : u[0] >= 0xc2 && u[0] < 0xe0 ? 2 : u[0] >= 0xe0 && u[0] < 0xf0 ? 3 : 4;
    if (u[0] >= 0xf5 || (u[0] >= 0x80 && u[0] < 0xc2) || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

static bool plain_byte(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '&' && c != '<' && c != '>' &&
           c != '"' && c != '\'' && c != '`';
}

bool html_decode(struct span s, bool in_attribute, struct buf *out)
{
    while (s.n) {
        size_t run = 0;
        while (run < s.n && plain_byte(s.p[run]))
            run++;
        if (!buf_add(out, s.p, run))
            return false;
        s = span_drop(s, run);
        if (!s.n)
            break;
        uint32_t cp[2] = {(unsigned char)s.p[0], 0};
        size_t cps = 1, n = s.p[0] == '&' ? html_entity(s, in_attribute, cp, &cps) : 0;
        if (n || (unsigned char)s.p[0] < 0x80) {
            if (!put_cp(out, n ? cp[0] : (unsigned char)s.p[0]))
                return false;
            s = span_drop(s, n ? n : 1);
            continue;
        }
        n = utf8_len(s);
        if (n ? !buf_add(out, s.p, n) : !buf_add(out, "\xef\xbf\xbd", 3))
            return false;
        s = span_drop(s, n ? n : 1);
    }
    return true;
}

bool html_escape(struct span s, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *as = NULL;
        switch (s.p[i]) {
        case '&':
            as = "&amp;";
            break;
        case '<':
            as = "&lt;";
            break;
        case '>':
            as = "&gt;";
            break;
        case '"':
            as = "&quot;";
            break;
        case '\'':
            as = "&#39;";
            break;
        case '`':
            as = "&#96;";
            break;
        default:
            if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t' && s.p[i] != '\n' && s.p[i] != '\r') ||
                s.p[i] == 0x7f)
                as = "";
        }
        if (!as)
            continue;
        if (!buf_add(out, s.p + from, i - from) || !buf_add_str(out, as))
            return false;
        from = i + 1;
    }
    return buf_add_span(out, span_drop(s, from));
}
