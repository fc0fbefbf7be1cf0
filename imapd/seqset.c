/* Sequence sets and UID ranges.
 * The hard problem is cost: a client may name each of 100,000 messages by itself, or the same one a
 * thousand times; a set is sorted and joined once, and then looked up by bisection.
 * Which messages the numbers mean is the view's. */
#include "imapd/seqset.h"
#include <assert.h>
#include <stdlib.h>

static bool number(struct cursor *c, uint32_t *out, uint32_t *highest)
{
    if (cur_char(c, '*')) {
        *out = SEQ_STAR;
        return true;
    }
    if (!cur_u32(c, out) || *out == 0)
        return false;
    if (*out > *highest)
        *highest = *out;
    return true;
}

/* Ranges in the text at the cursor, to know how much room they need. */
static size_t count_ranges(struct span s)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n && (strchr("0123456789:*,", s.p[i]) && s.p[i]); i++)
        n += s.p[i] == ',';
    return n;
}

bool seqset_parse(struct cursor *c, struct seqset *out)
{
    *out = (struct seqset){0};
    if (cur_char(c, '$')) {
        out->saved = true;
        return true;
    }
    out->v = arena_array(c->a, count_ranges(c->s), sizeof *out->v);
    if (!out->v)
        return false;
    do {
        struct range *r = &out->v[out->n];
        if (!number(c, &r->first, &out->highest))
            return false;
        r->last = r->first;
        if (cur_char(c, ':') && !number(c, &r->last, &out->highest))
            return false;
        out->n++;
    } while (cur_char(c, ','));
    return true;
}

static int by_first(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

void seqset_fix(struct seqset *set, uint32_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        struct range r = set->v[i];
        if ((r.first == SEQ_STAR || r.last == SEQ_STAR) && max == 0)
            continue;
        if (r.first == SEQ_STAR)
            r.first = max;
        if (r.last == SEQ_STAR)
            r.last = max;
        set->v[n++] = r.first <= r.last ? r : (struct range){r.last, r.first};
    }
    set->n = n;
    if (!n)
        return;
    qsort(set->v, n, sizeof *set->v, by_first);
    size_t to = 0;
    for (size_t i = 1; i < n; i++) {
        if (set->v[i].first <= set->v[to].last || set->v[i].first == set->v[to].last + 1) {
            if (set->v[i].last > set->v[to].last)
                set->v[to].last = set->v[i].last;
        } else {
            set->v[++to] = set->v[i];
        }
    }
    set->n = to + 1;
}

static bool has(const struct range *v, size_t n, uint32_t x)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (v[mid].last < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && v[lo].first <= x;
}

bool seqset_has(const struct seqset *set, uint32_t x)
{
    return has(set->v, set->n, x);
}

void uidset_add(struct uidset *u, uint32_t x)
{
    if (!u->n || x > u->v[u->n - 1].last)
        uidset_add_range(u, x, x);
}

void uidset_add_range(struct uidset *u, uint32_t first, uint32_t last)
{
    assert(first <= last && (!u->n || first > u->v[u->n - 1].last));
    if (u->n && first == u->v[u->n - 1].last + 1) {
        u->v[u->n - 1].last = last;
        return;
    }
    if (u->n == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 4;
        u->v = xrealloc(u->v, u->cap * sizeof *u->v);
    }
    u->v[u->n++] = (struct range){first, last};
}

bool uidset_has(const struct uidset *u, uint32_t x)
{
    return has(u->v, u->n, x);
}

void uidset_free(struct uidset *u)
{
    free(u->v);
    *u = (struct uidset){0};
}

bool uidset_put(const uint32_t *x, size_t count, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < count && ok;) {
        size_t end = i + 1;
        while (end < count && x[end] == x[end - 1] + 1)
            end++;
        ok = end - i > 1 ? buf_addf(out, "%s%u:%u", i ? "," : "", x[i], x[end - 1])
                         : buf_addf(out, "%s%u", i ? "," : "", x[i]);
        i = end;
    }
    return ok;
}
