/* Indexes are sorted arrays searched by halves: the copy is rebuilt as a whole after a sync, so nothing has
 * to move inside them. The hard part is groups: members are named by DN, may be groups, may form cycles, may
 * be gone. A walk marks what it has seen with its own number, so each entry is looked at once however groups
 * overlap. Units, search and durability are left to others. */
#include "common/directory/people.h"
#include "common/base/buf.h"
#include "common/directory/dn.h"
#include <stdlib.h>

struct node {
    struct people_entry e;        /* first: node_of counts on it */
    struct span key;              /* its DN, normal form */
    struct span *member, *sender; /* DNs, normal form */
    size_t member_n, sender_n;
    struct node **parent; /* the groups that name it as a member */
    size_t parent_n;
    size_t count; /* of people_member_count, and 1; 0: not counted yet */
    uint64_t seen;
};
struct key {
    struct span text;
    struct node *node;
    unsigned rank; /* 0 primary address, 1 further one */
    size_t order;
};
struct keys {
    struct key *v;
    size_t n, cap;
};
struct people {
    struct arena *a;
    struct units *units;
    struct keys address, uid, dn;
    struct node **node;
    size_t node_n, node_cap;
    struct node **parents; /* all lists of parents */
    uint64_t walk;
};

struct people *people_new(size_t limit_bytes)
{
    struct people *p = xcalloc(1, sizeof *p);
    p->a = arena_new(limit_bytes);
    p->units = units_new(p->a);
    return p;
}

void people_free(struct people **p)
{
    if (!*p)
        return;
    free((*p)->address.v);
    free((*p)->uid.v);
    free((*p)->dn.v);
    free((*p)->node);
    free((*p)->parents);
    units_free(&(*p)->units);
    arena_free(&(*p)->a);
    free(*p);
    *p = NULL;
}

static struct span normal(struct arena *a, struct span s)
{
    s = arena_dup(a, span_trim(s));
    for (size_t i = 0; i < s.n; i++)
        ((char *)(uintptr_t)s.p)[i] = ascii_lower(s.p[i]);
    return s;
}

static bool add_key(struct keys *k, struct span text, struct node *node, unsigned rank)
{
    if (!text.p)
        return false;
    if (text.n == 0)
        return true;
    if (k->n == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 64;
        k->v = xrealloc(k->v, k->cap * sizeof *k->v);
    }
    k->v[k->n] = (struct key){text, node, rank, k->n};
    k->n++;
    return true;
}

static bool has(const struct ldif_record *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->count; i++)
        if (span_caseeq(r->v[i].name, span_str(name)) && span_caseeq(r->v[i].value, span_str(value)))
            return true;
    return false;
}

struct span people_dn(struct arena *a, struct span dn)
{
    return dn_normal(a, dn);
}

static bool copy_values(struct arena *a, const struct ldif_record *r, const char *name,
                        const struct span **out, size_t *n)
{
    struct span *v = arena_array(a, r->count, sizeof *v);
    *out = v;
    for (size_t i = 0; v && i < r->count; i++)
        if (span_caseeq(r->v[i].name, span_str(name))) {
            v[*n] = arena_dup(a, r->v[i].value);
            if (!v[(*n)++].p)
                return false;
        }
    return v != NULL;
}

static bool copy_dns(struct arena *a, const struct ldif_record *r, const char *name, struct span **out,
                     size_t *n)
{
    *out = arena_array(a, r->count, sizeof **out);
    *n = 0;
    for (size_t i = 0; *out && i < r->count; i++)
        if (span_caseeq(r->v[i].name, span_str(name))) {
            (*out)[*n] = dn_normal(a, r->v[i].value);
            if (!(*out)[(*n)++].p)
                return false;
        }
    return *out != NULL;
}

static bool copy_text(struct arena *a, struct span from, struct span *to)
{
    *to = arena_dup(a, from.p ? from : SPAN(""));
    return to->p != NULL;
}

static bool copy_entry(struct people *p, struct node *n, const struct ldif_record *r)
{
    struct span name = ldif_get(r, "displayName"), status = ldif_get(r, "mailAccountStatus");
    struct span quota = ldif_get(r, "mailQuotaBytes");
    n->e.no_login = status.n && !span_caseeq(status, SPAN("active"));
    n->e.dated = ldif_get(r, "pwdChangedTime").n || ldif_get(r, "pwdLastSet").n;
    n->e.disabled = span_caseeq(status, SPAN("disabled")) || span_caseeq(status, SPAN("deleted"));
    if (!span_u64(quota, &n->e.quota_bytes))
        n->e.quota_bytes = 0;
    if (!span_u64(ldif_get(r, "mailQuotaMessages"), &n->e.quota_messages))
        n->e.quota_messages = 0;
    n->key = dn_normal(p->a, r->dn);
    n->e.address = normal(p->a, ldif_get(r, "mail"));
    return n->key.p && n->e.address.p && copy_text(p->a, r->dn, &n->e.dn) &&
           copy_text(p->a, ldif_get(r, "uid"), &n->e.uid) &&
           copy_text(p->a, name.p ? name : ldif_get(r, "cn"), &n->e.name) &&
           copy_text(p->a, ldif_get(r, "mailForwardingAddress"), &n->e.forward) &&
           copy_text(p->a, ldif_get(r, "title"), &n->e.title) &&
           copy_text(p->a, ldif_get(r, "unitCode"), &n->e.unit_code) &&
           copy_values(p->a, r, "userPassword", &n->e.passwords, &n->e.password_count) &&
           copy_values(p->a, r, "authPassword", &n->e.scram, &n->e.scram_count) &&
           copy_dns(p->a, r, "member", &n->member, &n->member_n) &&
           copy_dns(p->a, r, "mailSendAsMember", &n->sender, &n->sender_n);
}

/* The first mail value is the primary address, further ones are alternates. */
static bool add_keys(struct people *p, struct node *n, const struct ldif_record *r)
{
    unsigned rank = 0;
    for (size_t i = 0; i < r->count; i++) {
        bool mail = span_caseeq(r->v[i].name, SPAN("mail"));
        if (!mail && !span_caseeq(r->v[i].name, SPAN("mailAlternateAddress")))
            continue;
        if (!add_key(&p->address, normal(p->a, r->v[i].value), n, mail ? rank : 1))
            return false;
        if (mail)
            rank = 1;
    }
    return add_key(&p->dn, n->key, n, 0) && add_key(&p->uid, normal(p->a, n->e.uid), n, 0);
}

bool people_wants(const struct ldif_record *r, enum people_kind *kind)
{
    bool group = has(r, "objectClass", "groupOfNames") || has(r, "objectClass", "mailGroup");
    bool shared = has(r, "objectClass", "sharedMailbox");
    *kind = group ? PEOPLE_GROUP : shared ? PEOPLE_SHARED : PEOPLE_PERSON;
    return ldif_get(r, "mail").n && (group || shared || ldif_get(r, "uid").n) && !units_is_unit(r);
}

enum err_code people_add(struct people *p, const struct ldif_record *r, const struct uuid *id)
{
    enum people_kind kind;
    if (units_is_unit(r)) {
        struct span dn = dn_normal(p->a, r->dn);
        return dn.p && units_add(p->units, r, dn, id) ? ERR_OK : ERR_LIMIT;
    }
    if (!people_wants(r, &kind))
        return ERR_OK;
    struct node *n = arena_alloc(p->a, sizeof *n);
    if (!n)
        return ERR_LIMIT;
    n->e.kind = kind;
    n->e.id = *id;
    if (!copy_entry(p, n, r) || !add_keys(p, n, r))
        return ERR_LIMIT;
    n->e.restricted = kind == PEOPLE_GROUP && n->sender_n;
    if (p->node_n == p->node_cap) {
        p->node_cap = p->node_cap ? 2 * p->node_cap : 64;
        p->node = xrealloc(p->node, p->node_cap * sizeof *p->node);
    }
    p->node[p->node_n++] = n;
    return ERR_OK;
}

static int text_cmp(struct span a, struct span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n ? memcmp(a.p, b.p, n) : 0;
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int key_cmp(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int d = text_cmp(x->text, y->text);
    if (d == 0)
        d = (x->rank > y->rank) - (x->rank < y->rank);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* Sort, and keep the first of equal keys. */
static size_t settle(struct keys *k)
{
    size_t n = 0, lost = 0;
    if (k->n)
        qsort(k->v, k->n, sizeof *k->v, key_cmp);
    for (size_t i = 0; i < k->n; i++)
        if (n && span_eq(k->v[n - 1].text, k->v[i].text))
            lost += k->v[n - 1].node != k->v[i].node;
        else
            k->v[n++] = k->v[i];
    k->n = n;
    return lost;
}

/* Exact search in one index. */
static struct node *search(const struct keys *k, struct span text)
{
    size_t low = 0, high = k->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = text_cmp(k->v[mid].text, text);
        if (d == 0)
            return k->v[mid].node;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static struct node *search_case(const struct keys *k, struct span text)
{
    char low[512];
    if (text.n > sizeof low)
        return NULL;
    for (size_t i = 0; i < text.n; i++)
        low[i] = ascii_lower(text.p[i]);
    return search(k, span_of(low, text.n));
}

const struct people_entry *people_find(const struct people *p, struct span address)
{
    struct node *n = search_case(&p->address, address);
    return n ? &n->e : NULL;
}

const struct people_entry *people_login(const struct people *p, struct span name)
{
    struct node *n = search_case(&p->uid, name);
    if (!n)
        n = search_case(&p->address, name);
    return n && n->e.kind != PEOPLE_GROUP ? &n->e : NULL;
}

static int id_cmp(const void *a, const void *b)
{
    return uuid_cmp(&(*(struct node *const *)a)->e.id, &(*(struct node *const *)b)->e.id);
}

/* From members to their groups; two passes, so that all lists lie in one piece. */
static void join_parents(struct people *p)
{
    size_t all = 0, at = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->node_n; i++) {
            struct node *g = p->node[i];
            for (size_t k = 0; g->e.kind == PEOPLE_GROUP && k < g->member_n; k++) {
                struct node *m = search(&p->dn, g->member[k]);
                if (m && pass == 1 && !m->parent) {
                    m->parent = p->parents + at;
                    at += m->count;
                }
                if (m && pass == 1)
                    m->parent[m->parent_n++] = g;
                else if (m)
                    m->count++, all++;
            }
        }
        if (pass == 0)
            p->parents = xcalloc(all + 1, sizeof(struct node *));
    }
    for (size_t i = 0; i < p->node_n; i++)
        p->node[i]->count = 0;
}

size_t people_seal(struct people *p)
{
    (void)settle(&p->dn);
    (void)settle(&p->uid);
    units_seal(p->units);
    for (size_t i = 0; i < p->node_n; i++)
        p->node[i]->e.unit = units_of(p->units, p->node[i]->e.unit_code, p->node[i]->key);
    if (p->node_n)
        qsort(p->node, p->node_n, sizeof *p->node, id_cmp);
    join_parents(p);
    return settle(&p->address);
}

size_t people_count(const struct people *p)
{
    return p->node_n;
}

const struct people_entry *people_at(const struct people *p, size_t i)
{
    return &p->node[i]->e;
}

const struct units *people_units(const struct people *p)
{
    return p->units;
}

const struct people_entry *people_by_id(const struct people *p, const struct uuid *id)
{
    size_t low = 0, high = p->node_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = uuid_cmp(&p->node[mid]->e.id, id);
        if (d == 0)
            return &p->node[mid]->e;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Everything reachable from the DNs, each node once: groups are walked through, accounts stay. The list has
 * room for all nodes. */
static size_t walk(struct people *p, const struct span *dn, size_t count, struct node **list)
{
    size_t n = 0, done = 0, kept = 0;
    p->walk++;
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            struct node *m = search(&p->dn, dn[i]);
            if (m && m->seen != p->walk) {
                m->seen = p->walk;
                list[n++] = m;
            }
        }
        while (done < n && list[done]->e.kind != PEOPLE_GROUP)
            done++;
        if (done == n)
            break;
        dn = list[done]->member;
        count = list[done++]->member_n;
    }
    for (size_t i = 0; i < n; i++)
        if (list[i]->e.kind != PEOPLE_GROUP)
            list[kept++] = list[i];
    return kept;
}

size_t people_members(struct people *p, const struct people_entry *of, const struct people_entry **v,
                      size_t max)
{
    struct node **list = xcalloc(p->node_n + 1, sizeof(struct node *));
    size_t n = walk(p, &((const struct node *)of)->key, 1, list), kept = 0;
    if (n)
        qsort(list, n, sizeof *list, id_cmp);
    for (size_t i = 0; i < n; i++)
        if (!list[i]->e.disabled) {
            if (kept < max)
                v[kept] = &list[i]->e;
            kept++;
        }
    free(list);
    return kept;
}

static struct node *node_of(struct people *p, const struct people_entry *e)
{
    struct node *n = search(&p->dn, ((const struct node *)e)->key);
    return n && &n->e == e ? n : NULL;
}

size_t people_member_count(struct people *p, const struct people_entry *of)
{
    struct node *n = node_of(p, of);
    if (!n)
        return people_members(p, of, NULL, 0);
    if (!n->count)
        n->count = people_members(p, of, NULL, 0) + 1;
    return n->count - 1;
}

size_t people_groups(struct people *p, const struct people_entry *of, const struct people_entry **v,
                     size_t max)
{
    struct node *n = node_of(p, of);
    struct node **list = xcalloc(p->node_n + 1, sizeof(struct node *));
    size_t count = 0, done = 0;
    p->walk++;
    while (n) {
        for (size_t i = 0; i < n->parent_n; i++)
            if (n->parent[i]->seen != p->walk) {
                n->parent[i]->seen = p->walk;
                list[count++] = n->parent[i];
            }
        n = done < count ? list[done++] : NULL;
    }
    for (size_t i = 0; i < count && i < max; i++)
        v[i] = &list[i]->e;
    free(list);
    return count < max ? count : max;
}

bool people_may_send(struct people *p, const struct people_entry *account, const struct people_entry *as)
{
    if (account == as)
        return true;
    struct node *n = node_of(p, as);
    if (!n)
        return false;
    struct node **list = xcalloc(p->node_n + 1, sizeof(struct node *));
    size_t count = walk(p, n->sender, n->sender_n, list);
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found = found || &list[i]->e == account;
    free(list);
    return found;
}
