/* Borrowed bytes: comparison, cutting and numbers. The one hard point is that every function accepts
 * a span whose p is NULL when n is 0. */
#include "common/base/span.h"

bool span_same_letters(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ascii_lower(a[i]) != ascii_lower(b[i]))
            return false;
    return true;
}

bool span_casestarts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && span_caseeq(span_first(s, prefix.n), prefix);
}

bool span_ends(struct span s, struct span suffix)
{
    return s.n >= suffix.n && span_eq(span_drop(s, s.n - suffix.n), suffix);
}

size_t span_search(struct span s, struct span what)
{
    if (what.n == 0)
        return 0;
    const char *at = s.n >= what.n ? memmem(s.p, s.n, what.p, what.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
    while (s.n && is_blank(s.p[0]))
        s = span_drop(s, 1);
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct span span_cut(struct span *s, char c)
{
    size_t at = span_find(*s, c);
    struct span head = span_first(*s, at);
    *s = at < s->n ? span_drop(*s, at + 1) : SPAN_NONE;
    return head;
}

bool span_u64(struct span s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        unsigned d = (unsigned)(s.p[i] - '0');
        if (v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *out = v;
    return true;
}

bool span_u32(struct span s, uint32_t *out)
{
    uint64_t v;
    if (!span_u64(s, &v) || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}
