/* UTF-8 (RFC 3629) and its canonical composition (UAX 15, NFC).
 * The hard problem: NFC must be cheap for the text that nearly all mail carries, and bounded for runs of
 * a million combining marks. Text below U+0300 and the precomposed Vietnamese block is copied as it is;
 * the rest goes through a segment of at most 32 code points, as in UAX 15's stream-safe format.
 * The tables are in tables-nfc.h. Charsets are charset.c, search folding is fold.c. */
#include "common/mime/charset.h"
#include "common/mime/tables-nfc.h"

enum { REPLACEMENT = 0xfffd, SEGMENT = 32 };

uint32_t utf8_next(struct span s, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s.p;
    *n = 1;
    if (p[0] < 0x80)
        return p[0];
    unsigned more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || s.n <= more)
        return REPLACEMENT;
    uint32_t cp = p[0] & (0x3fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return REPLACEMENT;
        cp = cp << 6 | (p[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (cp < least[more] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return REPLACEMENT;
    *n = more + 1;
    return cp;
}

bool utf8_valid(struct span s)
{
    while (s.n) {
        uint64_t eight;
        if (s.n >= 8) {
            memcpy(&eight, s.p, 8);
            if (!(eight & 0x8080808080808080u)) {
                s.p += 8;
                s.n -= 8;
                continue;
            }
        }
        size_t n;
        if (utf8_next(s, &n) == REPLACEMENT && n == 1)
            return false;
        s.p += n;
        s.n -= n;
    }
    return true;
}

bool utf8_put(struct buf *out, uint32_t cp)
{
    char b[4];
    size_t n = 0;
    if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        cp = REPLACEMENT;
    if (cp < 0x80) {
        b[n++] = (char)cp;
    } else if (cp < 0x800) {
        b[n++] = (char)(0xc0 | cp >> 6);
        b[n++] = (char)(0x80 | (cp & 0x3f));
    } else if (cp < 0x10000) {
        b[n++] = (char)(0xe0 | cp >> 12);
        b[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
        b[n++] = (char)(0x80 | (cp & 0x3f));
    } else {
        b[n++] = (char)(0xf0 | cp >> 18);
        b[n++] = (char)(0x80 | (cp >> 12 & 0x3f));
        b[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
        b[n++] = (char)(0x80 | (cp & 0x3f));
    }
    return buf_add(out, b, n);
}

static unsigned combining_class(uint32_t cp)
{
    size_t lo = 0, hi = sizeof uni_classes / sizeof *uni_classes;
    if (cp < 0x300)
        return 0;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > uni_classes[mid].hi)
            lo = mid + 1;
        else if (cp < uni_classes[mid].lo)
            hi = mid;
        else
            return uni_classes[mid].ccc;
    }
    return 0;
}

static const struct uni_dec *decomposition(uint32_t cp)
{
    size_t lo = 0, hi = sizeof uni_decs / sizeof *uni_decs;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (uni_decs[mid].cp < cp)
            lo = mid + 1;
        else if (uni_decs[mid].cp > cp)
            hi = mid;
        else
            return &uni_decs[mid];
    }
    return NULL;
}

/* The primary composite of a and b, 0 when there is none. Hangul is arithmetic (Unicode 3.12). */
static uint32_t composite(uint32_t a, uint32_t b)
{
    if (a >= 0x1100 && a <= 0x1112 && b >= 0x1161 && b <= 0x1175)
        return 0xac00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28;
    if (a >= 0xac00 && a <= 0xd7a3 && (a - 0xac00) % 28 == 0 && b > 0x11a7 && b <= 0x11c2)
        return a + (b - 0x11a7);
    size_t lo = 0, hi = sizeof uni_pairs / sizeof *uni_pairs;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct uni_pair *p = &uni_pairs[mid];
        if (p->a < a || (p->a == a && p->b < b))
            lo = mid + 1;
        else if (p->a == a && p->b == b)
            return p->cp;
        else
            hi = mid;
    }
    return 0;
}

struct segment {
    uint32_t cp[SEGMENT];
    unsigned char ccc[SEGMENT];
    unsigned n;
    struct buf *out;
    bool ok;
};

/* Canonical composition of a segment whose marks are in canonical order. */
static void segment_compose(struct segment *s)
{
    if (s->n < 2 || s->ccc[0] != 0)
        return;
    unsigned kept = 1, last = 0;
    for (unsigned i = 1; i < s->n; i++) {
        uint32_t c = last == 0 || last < s->ccc[i] ? composite(s->cp[0], s->cp[i]) : 0;
        if (c) {
            s->cp[0] = c;
            continue;
        }
        last = s->ccc[i];
        s->cp[kept] = s->cp[i];
        s->ccc[kept++] = s->ccc[i];
    }
    s->n = kept;
}

static void segment_flush(struct segment *s)
{
    for (unsigned i = 0; i < s->n && s->ok; i++)
        s->ok = utf8_put(s->out, s->cp[i]);
    s->n = 0;
}

static void segment_add(struct segment *s, uint32_t cp)
{
    unsigned ccc = combining_class(cp);
    if (ccc == 0) {
        segment_compose(s);
        uint32_t c = s->n == 1 && s->ccc[0] == 0 ? composite(s->cp[0], cp) : 0;
        if (c) {
            s->cp[0] = c;
            return;
        }
        segment_flush(s);
    } else if (s->n == SEGMENT) {
        segment_compose(s);
        if (s->n == SEGMENT)
            segment_flush(s);
    }
    unsigned at = s->n++;
    for (; ccc && at > 0 && s->ccc[at - 1] > ccc; at--) {
        s->cp[at] = s->cp[at - 1];
        s->ccc[at] = s->ccc[at - 1];
    }
    s->cp[at] = cp;
    s->ccc[at] = (unsigned char)ccc;
}

static void segment_decompose(struct segment *s, uint32_t cp)
{
    uint32_t todo[8]; /* the longest chain in Unicode is 4 deep */
    unsigned n = 0;
    todo[n++] = cp;
    while (n) {
        uint32_t c = todo[--n];
        const struct uni_dec *d = c < 0xc0 ? NULL : decomposition(c);
        if (!d) {
            segment_add(s, c);
            continue;
        }
        if (d->b)
            todo[n++] = d->b;
        todo[n++] = d->a;
    }
}

/* How many bytes at the front are surely NFC, whatever follows except a combining mark. */
static size_t plain_run(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        if (p[i] < 0x80)
            i++;
        else if (p[i] >= 0xc2 && p[i] <= 0xcb && s.n - i > 1 && (p[i + 1] & 0xc0) == 0x80)
            i += 2;
        else if (p[i] == 0xe1 && s.n - i > 2 && (p[i + 1] & 0xfc) == 0xb8 && (p[i + 2] & 0xc0) == 0x80)
            i += 3; /* U+1E00 to U+1EFF */
        else if (p[i] == 0xe2 && s.n - i > 2 && p[i + 1] == 0x80 && p[i + 2] >= 0x90 && p[i + 2] <= 0xbf)
            i += 3; /* U+2010 to U+203F, dashes and quotes */
        else
            break;
    }
    return i;
}

/* The start of the last code point of valid UTF-8 that is n bytes long. */
static size_t last_start(struct span s, size_t n)
{
    while (n > 0 && ((unsigned char)s.p[--n] & 0xc0) == 0x80)
        ;
    return n;
}

bool utf8_nfc(struct span s, struct buf *out)
{
    struct segment seg = {.out = out, .ok = true};
    while (s.n && seg.ok) {
        if (seg.n == 0) {
            size_t run = plain_run(s);
            if (run < s.n)
                run = last_start(s, run); /* what follows may combine with it */
            if (run) {
                seg.ok = buf_add(out, s.p, run);
                s = span_drop(s, run);
                continue;
            }
        }
        size_t n;
        uint32_t cp = utf8_next(s, &n);
        s = span_drop(s, n);
        segment_decompose(&seg, cp);
        if (seg.n == 1 && seg.ccc[0] == 0 && s.n && plain_run(span_first(s, 3))) {
            /* Two starters of which the second is plain: nothing can join them (Hangul and the Indic
             * pairs are not plain), so the quick path may take over. */
            segment_flush(&seg);
        }
    }
    if (seg.ok) {
        segment_compose(&seg);
        segment_flush(&seg);
    }
    return seg.ok;
}
