/* Borrowed bytes, passed by value. No terminator is promised and no ownership is implied: a span is
 * valid for as long as what it points into. All comparisons of letters are ASCII only (RFC 5234). */
#ifndef PROV_BASE_SPAN_H
#define PROV_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *p;
    size_t n;
};

/* A span of a string literal, its terminator left out. */
#define SPAN(lit) ((struct span){(lit), sizeof(lit) - 1})
#define SPAN_NONE ((struct span){NULL, 0})
/* For printf's "%.*s": bounded to INT_MAX. */
#define SPAN_ARG(s) (int)((s).n > 0x7fffffff ? 0x7fffffff : (s).n), ((s).p ? (s).p : "")

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){p, n};
}

static inline struct span span_str(const char *s)
{
    return (struct span){s, s ? strlen(s) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The ASCII lower-case form of one byte; other bytes are unchanged. */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The first n bytes of s, or all of it. */
static inline struct span span_first(struct span s, size_t n)
{
    return (struct span){s.p, n < s.n ? n : s.n};
}

/* s without its first n bytes; n beyond the end gives an empty span. */
static inline struct span span_drop(struct span s, size_t n)
{
    if (n > s.n)
        n = s.n;
    return (struct span){s.p ? s.p + n : NULL, s.n - n};
}

bool span_same_letters(const char *a, const char *b, size_t n);
static inline bool span_caseeq(struct span a, struct span b)
{
    return a.n == b.n && span_same_letters(a.p, b.p, a.n);
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && span_eq(span_first(s, prefix.n), prefix);
}
bool span_casestarts(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);

/* The offset of the first c, or s.n when there is none. */
static inline size_t span_find(struct span s, char c)
{
    const char *at = s.n ? (const char *)memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}
/* The offset of the first occurrence of what, or s.n. Linear on average (memmem). */
size_t span_search(struct span s, struct span what);
/* s without leading and trailing space, tab, CR and LF. */
struct span span_trim(struct span s);
/* Cut s at the first c: what stands before it is returned, what stands after it is left in *s.
 * Without a c all of s is returned and *s becomes empty with p NULL. */
struct span span_cut(struct span *s, char c);

/* Decimal digits only, the whole span, no sign; false on anything else or on overflow. */
bool span_u64(struct span s, uint64_t *out);
bool span_u32(struct span s, uint32_t *out);

#endif
