/* Units hang in a tree by their DNs, and are also named by a short code that people carry: a person's entry
 * may lie anywhere. Containers ("ou=People") are units to LDAP and not to people: only those with mailUnit or
 * a unitCode count. */
#include "common/directory/units.h"
#include <stdlib.h>

struct units {
    struct arena *a;
    struct unit **by_dn, **by_code; /* sorted once sealed */
    size_t n, cap, coded;
};

struct units *units_new(struct arena *a)
{
    struct units *u = xcalloc(1, sizeof *u);
    u->a = a;
    return u;
}

void units_free(struct units **u)
{
    if (!*u)
        return;
    free((*u)->by_dn);
    free((*u)->by_code);
    free(*u);
    *u = NULL;
}

bool units_is_unit(const struct ldif_record *r)
{
    bool unit = false;
    for (size_t i = 0; i < r->count; i++)
        if (span_caseeq(r->v[i].name, SPAN("objectClass")))
            unit = unit || span_caseeq(r->v[i].value, SPAN("mailUnit")) ||
                   (span_caseeq(r->v[i].value, SPAN("organizationalUnit")) && ldif_get(r, "unitCode").n);
    return unit;
}

static struct span lower(struct arena *a, struct span s)
{
    struct span to = arena_dup(a, s.p ? s : SPAN(""));
    for (size_t i = 0; to.p && i < to.n; i++)
        ((char *)(uintptr_t)to.p)[i] = ascii_lower(to.p[i]);
    return to;
}

bool units_add(struct units *u, const struct ldif_record *r, struct span dn, const struct uuid *id)
{
    struct span name = ldif_get(r, "displayName");
    if (!name.n)
        name = ldif_get(r, "ou");
    struct unit *t = arena_alloc(u->a, sizeof *t);
    if (!t)
        return false;
    t->id = *id;
    t->dn = dn;
    t->name = arena_dup(u->a, name.p ? name : SPAN(""));
    t->code = lower(u->a, ldif_get(r, "unitCode"));
    if (!span_u64(ldif_get(r, "mailQuotaBytes"), &t->quota_bytes))
        t->quota_bytes = 0;
    if (!span_u64(ldif_get(r, "mailQuotaMessages"), &t->quota_messages))
        t->quota_messages = 0;
    if (!t->name.p || !t->code.p)
        return false;
    if (u->n == u->cap) {
        u->cap = u->cap ? 2 * u->cap : 64;
        u->by_dn = xrealloc(u->by_dn, u->cap * sizeof *u->by_dn);
    }
    u->by_dn[u->n++] = t;
    return true;
}

static int text_cmp(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n ? memcmp(a.p, b.p, n) : 0;
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int dn_cmp(const void *a, const void *b)
{
    return text_cmp((*(struct unit *const *)a)->dn, (*(struct unit *const *)b)->dn);
}

static int code_cmp(const void *a, const void *b)
{
    return text_cmp((*(struct unit *const *)a)->code, (*(struct unit *const *)b)->code);
}

static const struct unit *search(struct unit *const *v, size_t n, struct span text, bool code)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = text_cmp(code ? v[mid]->code : v[mid]->dn, text);
        if (d == 0)
            return v[mid];
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The nearest unit that dn lies under. */
static const struct unit *above(const struct units *u, struct span dn)
{
    for (size_t i = 0; i < dn.n; i++) {
        if (dn.p[i] == '\\') {
            i++;
            continue;
        }
        if (dn.p[i] != ',')
            continue;
        const struct unit *t = search(u->by_dn, u->n, span_drop(dn, i + 1), false);
        if (t)
            return t;
    }
    return NULL;
}

void units_seal(struct units *u)
{
    if (!u->n)
        return;
    qsort(u->by_dn, u->n, sizeof(struct unit *), dn_cmp);
    u->by_code = xcalloc(u->n, sizeof(struct unit *));
    for (size_t i = 0; i < u->n; i++) {
        u->by_dn[i]->parent = above(u, u->by_dn[i]->dn);
        if (u->by_dn[i]->code.n)
            u->by_code[u->coded++] = u->by_dn[i];
    }
    if (u->coded)
        qsort(u->by_code, u->coded, sizeof(struct unit *), code_cmp);
}

size_t units_count(const struct units *u)
{
    return u->n;
}

const struct unit *units_at(const struct units *u, size_t i)
{
    return u->by_dn[i];
}

const struct unit *units_of(const struct units *u, struct span code, struct span dn)
{
    char low[256];
    const struct unit *t = NULL;
    if (code.n && code.n <= sizeof low) {
        for (size_t i = 0; i < code.n; i++)
            low[i] = ascii_lower(code.p[i]);
        t = search(u->by_code, u->coded, span_of(low, code.n), true);
    }
    return t ? t : above(u, dn);
}

bool units_path(const struct unit *u, struct buf *out)
{
    bool ok = true;
    for (unsigned depth = 0; u && ok && depth < UNIT_DEPTH; depth++, u = u->parent)
        ok = (depth == 0 || buf_add_str(out, ", ")) && buf_add_span(out, u->name);
    return ok;
}
