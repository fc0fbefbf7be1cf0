/* Owned bytes with a ceiling, big-endian record reading, and allocation that cannot fail.
 * The hard point: consuming from the front is constant time, and the dead bytes before p are taken
 * back only when room is needed, so that a long stream through one buffer costs one copy a byte. */
#include "common/base/buf.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void no_memory(void)
{
    static const char text[] = "out of memory\n";
    if (fwrite(text, 1, sizeof text - 1, stderr) == 0)
        abort();
    exit(71); /* EX_OSERR */
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        no_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        no_memory();
    return p;
}

void *xrealloc(void *old, size_t n)
{
    void *p = realloc(old, n ? n : 1);
    if (!p)
        no_memory();
    return p;
}

char *xstrdup(const char *s)
{
    return xstrspan(span_str(s));
}

char *xstrspan(struct span s)
{
    char *p = xmalloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){.limit = limit_bytes};
}

void buf_free(struct buf *b)
{
    free(b->base);
    buf_init(b, b->limit);
}

void buf_wipe(struct buf *b)
{
    if (b->base)
        explicit_bzero(b->base, b->cap);
    buf_free(b);
}

void buf_reset(struct buf *b)
{
    b->p = b->base;
    b->n = 0;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->n);
    if (n == b->n) { /* also of a buffer that never had anything */
        buf_reset(b);
        return;
    }
    b->p += n;
    b->n -= n;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (n > b->limit || b->n > b->limit - n)
        return NULL;
    size_t dead = (size_t)(b->p - b->base);
    if (b->base && b->cap - dead - b->n >= n)
        return b->p + b->n;
    if (dead >= b->n && b->cap - b->n >= n && b->base) {
        memmove(b->base, b->p, b->n); /* at least as much dead as live: the copy is paid for */
        b->p = b->base;
        return b->p + b->n;
    }
    size_t want = b->n + n, cap = b->cap ? b->cap : 64;
    while (cap < want)
        cap *= 2;
    char *fresh = xmalloc(cap);
    if (b->n)
        memcpy(fresh, b->p, b->n);
    free(b->base);
    b->base = b->p = fresh;
    b->cap = cap;
    return b->p + b->n;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(b->n + n <= b->limit && (size_t)(b->p - b->base) + b->n + n <= b->cap);
    b->n += n;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return true;
    char *at = buf_reserve(b, n);
    if (!at)
        return false;
    memcpy(at, p, n);
    b->n += n;
    return true;
}

bool buf_add_span(struct buf *b, struct span s)
{
    return buf_add(b, s.p, s.n);
}

bool buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_add_base64(struct buf *b, struct span v)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bool ok = true;
    for (size_t i = 0; ok && i < v.n; i += 3) {
        size_t n = v.n - i < 3 ? v.n - i : 3;
        uint32_t w = 0;
        for (size_t k = 0; k < 3; k++)
            w = w << 8 | (k < n ? (unsigned char)v.p[i + k] : 0U);
        for (size_t k = 0; ok && k < 4; k++)
            ok = buf_add_char(b, k <= n ? digits[w >> (18 - 6 * k) & 63] : '=');
    }
    return ok;
}

bool buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    bool ok = n >= 0;
    if (ok && (size_t)n < sizeof small) {
        ok = buf_add(b, small, (size_t)n);
    } else if (ok) {
        char *at = buf_reserve(b, (size_t)n + 1);
        ok = at != NULL;
        if (ok) {
            vsnprintf(at, (size_t)n + 1, fmt, again);
            b->n += (size_t)n;
        }
    }
    va_end(again);
    return ok;
}

bool buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = buf_vaddf(b, fmt, ap);
    va_end(ap);
    return ok;
}

static bool add_be(struct buf *b, uint64_t v, size_t n)
{
    unsigned char raw[8];
    for (size_t i = 0; i < n; i++)
        raw[i] = (unsigned char)(v >> (8 * (n - 1 - i)));
    return buf_add(b, raw, n);
}

bool buf_add_u8(struct buf *b, uint8_t v)
{
    return add_be(b, v, 1);
}

bool buf_add_u16(struct buf *b, uint16_t v)
{
    return add_be(b, v, 2);
}

bool buf_add_u32(struct buf *b, uint32_t v)
{
    return add_be(b, v, 4);
}

bool buf_add_u64(struct buf *b, uint64_t v)
{
    return add_be(b, v, 8);
}

struct span read_bytes(struct reader *r, size_t n)
{
    if (r->bad || n > r->s.n) {
        r->bad = true;
        return SPAN_NONE;
    }
    struct span got = span_first(r->s, n);
    r->s = span_drop(r->s, n);
    return got;
}

static uint64_t read_be(struct reader *r, size_t n)
{
    struct span raw = read_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; i < raw.n; i++)
        v = v << 8 | (unsigned char)raw.p[i];
    return v;
}

uint8_t read_u8(struct reader *r)
{
    return (uint8_t)read_be(r, 1);
}

uint16_t read_u16(struct reader *r)
{
    return (uint16_t)read_be(r, 2);
}

uint32_t read_u32(struct reader *r)
{
    return (uint32_t)read_be(r, 4);
}

uint64_t read_u64(struct reader *r)
{
    return read_be(r, 8);
}
