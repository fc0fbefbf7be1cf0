/* The history of an account's names against the names: what the newest change of each name says it is must be
 * what its record is. The hard point is what the history need not know: names that were there before it was
 * kept or whose changes were purged are in no change, and a change whose words were lost may be of any name.
 */
#include "common/store/engine_int.h"
#include <stdlib.h>

/* The newest change of a name. */
struct newest {
    struct span name; /* owned */
    uint64_t order;
    bool has;
    struct rec_name now;
};
struct all {
    struct newest *v;
    size_t n, cap;
    bool lost; /* some change says nothing any more */
};

static int by_name(const void *a, const void *b)
{
    const struct newest *x = a, *y = b;
    const size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order = n ? memcmp(x->name.p, y->name.p, n) : 0;
    if (order == 0 && x->name.n != y->name.n)
        order = x->name.n < y->name.n ? -1 : 1;
    if (order == 0)
        order = x->order < y->order ? -1 : x->order > y->order;
    return order;
}

static void add(struct all *l, const struct rec_name_change *r)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = xrealloc(l->v, l->cap * sizeof *l->v);
    }
    char *own = xmalloc(r->name.n + 1);
    memcpy(own, r->name.p, r->name.n);
    l->v[l->n] = (struct newest){span_of(own, r->name.n), l->n, r->has, r->now};
    l->n++;
}

static void all_free(struct all *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)(uintptr_t)l->v[i].name.p);
    free(l->v);
}

static enum err_code collect(struct tx *t, const struct uuid *account, struct all *l)
{
    struct scan s;
    struct span key, value;
    struct rec_name_change r;
    scan_open(&s, t, T_NAME_CHANGE, key_uuid(account), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        if (key.n != KEY_NAME_CHANGE || !rec_name_change_get(value, &r) || r.name.n == 0)
            l->lost = true;
        else
            add(l, &r);
    }
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_name);
    return scan_close(&s);
}

/* Whether the record of a name is what its newest change says; now: what it is. */
static enum err_code compare(struct tx *t, const struct uuid *account, const struct newest *x, bool *same,
                             struct rec_name *now, bool *has)
{
    enum err_code code = name_get(t, account, x->name, now);
    *has = code == ERR_OK;
    *same = *has == x->has && (!*has || history_same(now, &x->now));
    return code == ERR_MISSING ? ERR_OK : code;
}

enum err_code history_differs(struct tx *t, const struct uuid *account, bool fix, unsigned *differ)
{
    struct all l = {.n = 0};
    *differ = 0;
    enum err_code code = collect(t, account, &l);
    for (size_t i = 0; i < l.n && code == ERR_OK && !l.lost; i++) {
        struct newest *x = &l.v[i];
        struct rec_name now;
        bool same, has;
        if (i + 1 < l.n && span_eq(x->name, l.v[i + 1].name))
            continue;
        code = compare(t, account, x, &same, &now, &has);
        if (code != ERR_OK || same)
            continue;
        ++*differ;
        if (fix) /* from now on it says what is */
            code = history_name(t, account, x->name, x->has ? &x->now : NULL, has ? &now : NULL);
    }
    all_free(&l);
    return code;
}
