/* The address book's search: people type names without marks, in any order, often only the beginnings of
 * words. Each entry's text is folded once, when the view is built; a search is one pass over it. Who comes
 * first: all words begin a word of the name, then of the address, then somewhere. */
#include "common/directory/server.h"
#include "common/mime/fold.h"
#include <stdlib.h>

enum { TEXT_LIMIT = 4096, WORDS = 8, QUERY_LIMIT = 512 };

struct page {
    const struct people_entry *e;
    size_t name, address, unit, end; /* where the folded pieces begin in text */
};
struct book {
    struct page *v;
    size_t n;
    struct buf text;
};

static void add_folded(struct buf *to, struct span s)
{
    if (!fold_text(span_first(s, TEXT_LIMIT), to) || !buf_add_char(to, '\n'))
        return; /* full: it is found by what fits */
}

static int page_cmp_in(const void *a, const void *b, void *book)
{
    const struct page *x = a, *y = b;
    const char *t = ((struct book *)book)->text.p;
    size_t xn = x->address - x->name, yn = y->address - y->name, n = xn < yn ? xn : yn;
    int d = memcmp(t + x->name, t + y->name, n);
    d = d ? d : (xn > yn) - (xn < yn);
    return d ? d : uuid_cmp(&x->e->id, &y->e->id);
}

struct book *book_new(const struct people *p)
{
    struct book *b = xcalloc(1, sizeof *b);
    struct buf path;
    b->n = people_count(p);
    b->v = xcalloc(b->n + 1, sizeof *b->v);
    buf_init(&b->text, (size_t)1 << 30);
    buf_init(&path, TEXT_LIMIT);
    for (size_t i = 0; i < b->n; i++) {
        struct page *g = &b->v[i];
        g->e = people_at(p, i);
        g->name = b->text.n;
        add_folded(&b->text, g->e->name);
        g->address = b->text.n;
        add_folded(&b->text, g->e->address);
        g->unit = b->text.n;
        buf_reset(&path);
        if (units_path(g->e->unit, &path)) /* else it is not found by its unit */
            add_folded(&b->text, buf_span(&path));
        g->end = b->text.n;
    }
    buf_free(&path);
    if (b->n)
        qsort_r(b->v, b->n, sizeof *b->v, page_cmp_in, b);
    return b;
}

void book_free(struct book **b)
{
    if (!*b)
        return;
    buf_free(&(*b)->text);
    free((*b)->v);
    free(*b);
    *b = NULL;
}

/* 2: a word of text begins with w; 1: w is somewhere; 0: it is not there. */
static unsigned match(struct span text, struct span w)
{
    unsigned best = 0;
    for (size_t at = 0; at < text.n && best < 2;) {
        size_t found = span_search(span_drop(text, at), w);
        if (found == text.n - at)
            break;
        at += found;
        char before = at ? text.p[at - 1] : ' ';
        best = before == ' ' || before == '.' || before == '@' || before == '-' || before == ',' ? 2 : 1;
        at++;
    }
    return best;
}

/* 0: not meant. */
static unsigned score(const struct book *b, const struct page *g, const struct span *word, size_t words)
{
    unsigned sum = 1;
    const char *t = b->text.p;
    for (size_t i = 0; i < words; i++) {
        unsigned name = match(span_of(t + g->name, g->address - g->name), word[i]);
        unsigned address = match(span_of(t + g->address, g->unit - g->address), word[i]);
        unsigned unit = match(span_of(t + g->unit, g->end - g->unit), word[i]);
        unsigned best = name * 9 > address * 4 ? name * 9 : address * 4;
        best = best > unit ? best : unit;
        if (!best)
            return 0;
        sum += best;
    }
    return sum;
}

static size_t split(struct span s, struct span *word)
{
    size_t n = 0;
    while (s.n && n < WORDS) {
        struct span w = span_trim(span_cut(&s, ' '));
        if (w.n)
            word[n++] = w;
    }
    return n;
}

size_t book_search(const struct book *b, struct span query, const struct people_entry **v, size_t max)
{
    struct span word[WORDS];
    struct buf folded;
    size_t n = 0;
    buf_init(&folded, 4 * QUERY_LIMIT);
    bool ok = fold_text(span_first(query, QUERY_LIMIT), &folded);
    size_t words = ok ? split(buf_span(&folded), word) : 0;
    unsigned *scores = xcalloc(max + 1, sizeof *scores);
    for (size_t i = 0; ok && max && i < b->n; i++) {
        unsigned s = score(b, &b->v[i], word, words);
        if (!s || (n == max && s <= scores[n - 1]))
            continue;
        size_t at = n == max ? n - 1 : n++;
        for (; at > 0 && scores[at - 1] < s; at--) {
            scores[at] = scores[at - 1];
            v[at] = v[at - 1];
        }
        scores[at] = s;
        v[at] = b->v[i].e;
    }
    free(scores);
    buf_free(&folded);
    return n;
}
