/* Block-chained arena. New blocks double up to a bound; a reset keeps the first one only, so that a
 * single large command does not pin its memory for the life of a session. */
#include "common/base/arena.h"
#include "common/base/buf.h"
#include <stdlib.h>

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20, ALIGN = 16 };

struct block {
    struct block *next;
    size_t cap, used;
    _Alignas(ALIGN) char data[];
};

struct arena {
    struct block *top; /* newest first; the last one in the chain is the one that is kept */
    size_t limit, used, next_cap;
};

struct arena *arena_new(size_t limit_bytes)
{
    struct arena *a = xcalloc(1, sizeof *a);
    a->limit = limit_bytes;
    a->next_cap = FIRST_BLOCK;
    return a;
}

static void drop_blocks(struct arena *a, bool keep_first)
{
    while (a->top && !(keep_first && !a->top->next)) {
        struct block *b = a->top;
        a->top = b->next;
        free(b);
    }
}

void arena_free(struct arena **a)
{
    if (!*a)
        return;
    drop_blocks(*a, false);
    free(*a);
    *a = NULL;
}

void arena_reset(struct arena *a)
{
    drop_blocks(a, true);
    if (a->top)
        a->top->used = 0;
    a->used = 0;
    a->next_cap = a->top ? a->top->cap * 2 : FIRST_BLOCK;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->limit || a->used > a->limit - n)
        return NULL;
    size_t room = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!a->top || a->top->cap - a->top->used < room) {
        size_t cap = room > a->next_cap ? room : a->next_cap;
        struct block *b = xmalloc(sizeof *b + cap);
        *b = (struct block){.next = a->top, .cap = cap};
        a->top = b;
        a->next_cap = cap * 2 > LARGEST_BLOCK ? LARGEST_BLOCK : cap * 2;
    }
    void *p = a->top->data + a->top->used;
    a->top->used += room;
    a->used += n;
    memset(p, 0, n);
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    if (size && count > a->limit / size)
        return NULL;
    return arena_alloc(a, count * size);
}

struct span arena_dup(struct arena *a, struct span s)
{
    char *p = s.n < a->limit ? arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return SPAN_NONE;
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct span){p, s.n};
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
