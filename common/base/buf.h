/* Owned bytes with a ceiling that is set at birth: an add that would pass it answers false and changes
 * nothing. Failing to allocate ends the process. The bytes are at p[0 .. n-1]; any add may move them. */
#ifndef PROV_BASE_BUF_H
#define PROV_BASE_BUF_H

#include "common/base/span.h"
#include <stdarg.h>

struct buf {
    char *p;      /* first byte that has not been consumed */
    size_t n;     /* bytes from p */
    char *base;   /* what was allocated */
    size_t cap;   /* bytes allocated at base */
    size_t limit; /* n never passes this */
};

/* An empty buffer that may grow to limit_bytes. Allocates nothing yet. */
void buf_init(struct buf *b, size_t limit_bytes);
/* Free the bytes and leave an empty buffer with the same limit. */
void buf_free(struct buf *b);
/* Wipe, then free: for secrets. */
void buf_wipe(struct buf *b);
/* Forget the contents, keep the allocation. */
void buf_reset(struct buf *b);
/* Drop n bytes from the front; n must not pass b->n. Constant time. */
void buf_consume(struct buf *b, size_t n);
/* Make room for n more bytes and return where they go, or NULL when the limit forbids it. The caller
 * writes up to n bytes there and calls buf_commit with how many. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

bool buf_add(struct buf *b, const void *p, size_t n) __attribute__((warn_unused_result));
bool buf_add_span(struct buf *b, struct span s) __attribute__((warn_unused_result));
bool buf_add_str(struct buf *b, const char *s) __attribute__((warn_unused_result));
static inline bool buf_add_char(struct buf *b, char c) __attribute__((warn_unused_result));
static inline bool buf_add_char(struct buf *b, char c)
{
    if (b->n >= b->limit || !b->base || (size_t)(b->p - b->base) + b->n >= b->cap)
        return buf_add(b, &c, 1);
    b->p[b->n++] = c;
    return true;
}
/* RFC 4648 4, on one line, padded. On false some of it may have been added. */
bool buf_add_base64(struct buf *b, struct span v) __attribute__((warn_unused_result));
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3), warn_unused_result));
bool buf_vaddf(struct buf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0), warn_unused_result));
/* Big-endian integers, for disk records. */
bool buf_add_u8(struct buf *b, uint8_t v) __attribute__((warn_unused_result));
bool buf_add_u16(struct buf *b, uint16_t v) __attribute__((warn_unused_result));
bool buf_add_u32(struct buf *b, uint32_t v) __attribute__((warn_unused_result));
bool buf_add_u64(struct buf *b, uint64_t v) __attribute__((warn_unused_result));

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->p, b->n};
}

/* Bounds-checked reading of big-endian records; each answers false (and reads nothing) at the end. */
struct reader {
    struct span s;
    bool bad; /* set by the first read that failed, so that a run of reads is checked once */
};
static inline struct reader reader_of(struct span s)
{
    return (struct reader){s, false};
}
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* The next n bytes, borrowed; an empty span with r->bad set when there are fewer. */
struct span read_bytes(struct reader *r, size_t n);

/* Memory that ends the process when there is none. The size is the caller's to bound. */
void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* A terminated copy of a span; bytes after a NUL inside it are out of reach of C strings. */
char *xstrspan(struct span s) __attribute__((malloc, returns_nonnull));

#endif
