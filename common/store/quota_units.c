/* Units: the tree that the directory tells, with the sums of what their accounts use.
 * The sums are in memory only: made from the records of the accounts at the start, and moved with each
 * commit. So they are right by construction, a transfer costs nothing, and a delivery writes no record for
 * its unit. The hard point is the transaction under way: what it adds counts for its own checks at once and
 * for others only when it commits. The writer changes the tree; others read it under its lock. */
#include "common/store/engine_int.h"
#include <stdlib.h>
#include <uthash.h>

enum { UNITS_LIMIT = 20000, LIMITS_LIMIT = 1000 };

struct use {
    uint64_t bytes, messages, accounts;
};
struct node {
    struct uuid id, parent;
    struct node *up; /* NULL: top, or its parent is not known */
    bool known;      /* the directory has it; else only accounts name it */
    bool warned;     /* the notice was queued (UNIT_WARNED) */
    int mark;        /* what the open transaction makes of it: 1, -1, or 0: nothing */
    uint64_t limit_bytes, limit_messages;
    struct use own, tree;      /* committed */
    uint64_t more, more_count; /* the open transaction's, of the tree (modulo 2^64) */
    UT_hash_handle hh;
};
struct full {
    struct uuid id;
    UT_hash_handle hh;
};
struct units {
    pthread_mutex_t lock;
    struct node *nodes;
    struct full *full;
};

static struct node *find(const struct units *u, const struct uuid *id)
{
    struct node *n = NULL;
    HASH_FIND(hh, u->nodes, id, sizeof *id, n);
    return n;
}

static struct node *find_or_add(struct units *u, const struct uuid *id)
{
    struct node *n = find(u, id);
    if (n)
        return n;
    n = xcalloc(1, sizeof *n);
    n->id = *id;
    pthread_mutex_lock(&u->lock);
    HASH_ADD(hh, u->nodes, id, sizeof n->id, n);
    pthread_mutex_unlock(&u->lock);
    return n;
}

static void use_add(struct use *to, const struct unit_change *c)
{
    to->bytes += (uint64_t)c->bytes;
    to->messages += (uint64_t)c->messages;
    to->accounts += (uint64_t)c->accounts;
}

/* -- the open transaction -- */

void units_add(struct tx *t, const struct unit_change *c)
{
    struct quota_news *n = &t->quota;
    if (uuid_is_none(&c->unit))
        return;
    if (n->unit_count && uuid_cmp(&n->units[n->unit_count - 1].unit, &c->unit) == 0) {
        struct unit_change *last = &n->units[n->unit_count - 1];
        last->bytes += c->bytes;
        last->messages += c->messages;
        last->accounts += c->accounts;
    } else {
        if (n->unit_count == n->unit_cap) {
            n->unit_cap = n->unit_cap ? n->unit_cap * 2 : 16;
            n->units = xrealloc(n->units, n->unit_cap * sizeof *n->units);
        }
        n->units[n->unit_count++] = *c;
    }
    int depth = 0;
    for (struct node *x = find_or_add(t->e->units, &c->unit); x && depth < UNIT_DEPTH; x = x->up, depth++) {
        x->more += (uint64_t)c->bytes;
        x->more_count += (uint64_t)c->messages;
    }
}

bool units_fit(const struct tx *t, const struct uuid *unit, const struct quota_wish *w)
{
    const unsigned grace = t->e->o.quota_grace;
    int depth = 0;
    if (uuid_is_none(unit))
        return true;
    for (const struct node *x = find(t->e->units, unit); x && depth < UNIT_DEPTH; x = x->up, depth++)
        if (!quota_room(x->tree.bytes + x->more, w->bytes, x->limit_bytes, w->how, grace) ||
            !quota_room(x->tree.messages + x->more_count, w->messages, x->limit_messages, w->how, 0))
            return false;
    return true;
}

/* -- the threshold -- */

static enum err_code mark_unit(struct tx *t, struct node *x, bool warned, const struct quota_figures *f)
{
    struct rec_unit r;
    struct buf old, v;
    buf_init(&old, 256 << 10);
    buf_init(&v, 256 << 10);
    enum err_code code = tx_get_buf(t, T_UNIT, key_uuid(&x->id), &old);
    if (code == ERR_OK && !rec_unit_get(buf_span(&old), &r))
        code = ERR_BUG;
    if (code == ERR_OK) {
        r.flags = (uint8_t)(warned ? r.flags | UNIT_WARNED : r.flags & ~UNIT_WARNED);
        code = rec_unit_put(&r, &v) ? tx_put(t, T_UNIT, key_uuid(&x->id), buf_span(&v)) : ERR_BUG;
    }
    if (code == ERR_OK && warned)
        code = notice_unit(t, &x->id, &r, f);
    if (code == ERR_OK)
        x->mark = warned ? 1 : -1;
    buf_free(&old);
    buf_free(&v);
    return code == ERR_MISSING ? ERR_BUG : code;
}

static enum err_code watch_unit(struct tx *t, struct node *x)
{
    const struct quota_figures f = {x->tree.bytes + x->more, x->limit_bytes, x->tree.messages + x->more_count,
                                    x->limit_messages};
    const bool rising = (int64_t)x->more > 0 || (int64_t)x->more_count > 0;
    int crossing = x->known && !x->mark ? quota_crossing(t->e, &f, x->warned, rising) : 0;
    return crossing ? mark_unit(t, x, crossing > 0, &f) : ERR_OK;
}

enum err_code units_watch(struct tx *t)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < t->quota.unit_count; i++) {
        const struct unit_change *c = &t->quota.units[i];
        int depth = 0;
        if (c->accounts) /* a transfer: others leave in the next page, so what comes next decides */
            continue;
        for (struct node *x = find(t->e->units, &c->unit); x && depth < UNIT_DEPTH && code == ERR_OK;
             x = x->up, depth++)
            code = watch_unit(t, x);
    }
    return code;
}

/* -- its end -- */

static void settle_unit(struct units *u, const struct unit_change *c, bool committed)
{
    struct node *x = find(u, &c->unit);
    int depth = 0;
    if (x && committed)
        use_add(&x->own, c);
    for (; x && depth < UNIT_DEPTH; x = x->up, depth++) {
        x->more = x->more_count = 0;
        if (committed && x->mark)
            x->warned = x->mark > 0;
        x->mark = 0;
        if (committed)
            use_add(&x->tree, c);
    }
}

static void settle_full(struct units *u, const struct full_change *c)
{
    struct full *f = NULL;
    HASH_FIND(hh, u->full, &c->account, sizeof c->account, f);
    if (c->full && !f) {
        f = xcalloc(1, sizeof *f);
        f->id = c->account;
        HASH_ADD(hh, u->full, id, sizeof f->id, f);
    } else if (!c->full && f) {
        HASH_DEL(u->full, f);
        free(f);
    }
}

static enum err_code read_units_again(struct engine *e);

void units_settle(struct tx *t, bool committed)
{
    struct quota_news *n = &t->quota;
    struct units *u = t->e->units;
    if (!n->unit_count && !n->units_read && !(committed && n->full_count))
        return;
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < n->unit_count; i++)
        settle_unit(u, &n->units[i], committed);
    for (size_t i = 0; committed && i < n->full_count; i++)
        settle_full(u, &n->fulls[i]);
    pthread_mutex_unlock(&u->lock);
    n->unit_count = 0;
    if (committed && n->units_read && read_units_again(t->e) != ERR_OK)
        engine_fatal(t->e, "reading the units", "they were written just now");
    n->units_read = false;
}

bool units_is_full(struct engine *e, const struct uuid *account)
{
    struct full *f = NULL;
    HASH_FIND(hh, e->units->full, account, sizeof *account, f);
    return f != NULL;
}

size_t engine_fulls(struct engine *e, struct full_change **out, uint64_t *mark)
{
    struct units *u = e->units;
    struct full *f, *next;
    size_t n = 0, cap = 0;
    *out = NULL;
    pthread_mutex_lock(&u->lock);
    HASH_ITER(hh, u->full, f, next)
    {
        const struct full_change c = {f->id, true};
        full_add(out, &n, &cap, &c);
    }
    pthread_mutex_unlock(&u->lock);
    *mark = atomic_load(&e->visible);
    return n;
}

/* -- reading -- */

static struct unit_use use_of(const struct node *x)
{
    static const struct uuid none;
    return (struct unit_use){.id = x->id,
                             .parent = x->up ? x->up->id : none,
                             .limit_bytes = x->limit_bytes,
                             .limit_messages = x->limit_messages,
                             .bytes = x->tree.bytes,
                             .messages = x->tree.messages,
                             .accounts = x->own.accounts};
}

size_t units_chain(struct engine *e, const struct uuid *unit, struct unit_use *out)
{
    struct units *u = e->units;
    size_t n = 0;
    pthread_mutex_lock(&u->lock);
    for (const struct node *x = find(u, unit); x && n < UNIT_DEPTH; x = x->up)
        out[n++] = use_of(x);
    pthread_mutex_unlock(&u->lock);
    return n;
}

size_t units_all(struct engine *e, struct unit_use **out)
{
    struct units *u = e->units;
    struct node *x, *next;
    size_t n = 0;
    pthread_mutex_lock(&u->lock);
    *out = xcalloc(HASH_COUNT(u->nodes) + 1, sizeof **out);
    HASH_ITER(hh, u->nodes, x, next)
    (*out)[n++] = use_of(x);
    pthread_mutex_unlock(&u->lock);
    return n;
}

/* -- the tree: from the records of units, and at the start from those of accounts -- */

/* Parents are linked; a link that would close a ring is left out. The sums of trees are made anew. */
static void link_nodes(struct units *u)
{
    struct node *x, *next;
    HASH_ITER(hh, u->nodes, x, next)
    {
        x->up = NULL;
        x->tree = (struct use){0, 0, 0};
    }
    HASH_ITER(hh, u->nodes, x, next)
    {
        struct node *up = uuid_is_none(&x->parent) ? NULL : find(u, &x->parent);
        int depth = 0;
        const struct node *at = up;
        while (at && at != x && depth < UNIT_DEPTH) {
            at = at->up;
            depth++;
        }
        x->up = at ? NULL : up;
    }
    HASH_ITER(hh, u->nodes, x, next)
    {
        int depth = 0;
        for (struct node *at = x; at && depth < UNIT_DEPTH; at = at->up, depth++) {
            at->tree.bytes += x->own.bytes;
            at->tree.messages += x->own.messages;
            at->tree.accounts += x->own.accounts;
        }
    }
}

static void forget_limits(struct units *u)
{
    struct node *x, *next;
    HASH_ITER(hh, u->nodes, x, next)
    {
        x->known = x->warned = false;
        x->limit_bytes = x->limit_messages = 0;
        memset(&x->parent, 0, sizeof x->parent);
    }
}

static enum err_code read_unit_records(struct tx *t, struct units *u)
{
    struct scan s;
    struct span key, value;
    struct rec_unit r;
    forget_limits(u);
    scan_open(&s, t, T_UNIT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct uuid id;
        if (key.n != KEY_UUID || !rec_unit_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        memcpy(id.b, key.p, sizeof id.b);
        struct node *x = find(u, &id);
        if (!x) {
            x = xcalloc(1, sizeof *x);
            x->id = id;
            HASH_ADD(hh, u->nodes, id, sizeof x->id, x);
        }
        x->known = true;
        x->warned = r.flags & UNIT_WARNED;
        x->parent = r.parent;
        x->limit_bytes = r.limit_bytes;
        x->limit_messages = r.limit_messages;
    }
    return scan_close(&s);
}

static enum err_code read_units_again(struct engine *e)
{
    struct tx t;
    struct node *x, *next;
    enum err_code code = tx_begin(e, true, &t);
    pthread_mutex_lock(&e->units->lock);
    if (code == ERR_OK)
        code = read_unit_records(&t, e->units);
    HASH_ITER(hh, e->units->nodes, x, next)
    {
        if (x->known || x->own.accounts || x->own.bytes || x->own.messages)
            continue;
        HASH_DEL(e->units->nodes, x); /* gone from the directory, and empty */
        free(x);
    }
    link_nodes(e->units);
    pthread_mutex_unlock(&e->units->lock);
    tx_free(&t);
    return code;
}

static enum err_code read_account_records(struct tx *t, struct units *u)
{
    struct scan s;
    struct span key, value;
    struct rec_quota r;
    scan_open(&s, t, T_QUOTA, SPAN_NONE, 0, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        struct full_change full = {.full = true};
        if (key.n != KEY_UUID || !rec_quota_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        memcpy(full.account.b, key.p, KEY_UUID);
        if (quota_is_full(&r))
            settle_full(u, &full);
        if (uuid_is_none(&r.unit))
            continue;
        const struct unit_change c = {r.unit, (int64_t)r.bytes, (int64_t)r.messages, 1};
        use_add(&find_or_add(u, &r.unit)->own, &c);
    }
    return scan_close(&s);
}

enum err_code units_open(struct engine *e)
{
    struct tx t;
    struct units *u = e->units = xcalloc(1, sizeof *u);
    pthread_mutex_init(&u->lock, NULL);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = read_unit_records(&t, u);
    if (code == ERR_OK)
        code = read_account_records(&t, u);
    link_nodes(u);
    tx_free(&t);
    return code;
}

void units_close(struct engine *e)
{
    struct units *u = e->units;
    struct node *x, *x_next;
    struct full *f, *f_next;
    if (!u)
        return;
    HASH_ITER(hh, u->nodes, x, x_next)
    {
        HASH_DEL(u->nodes, x);
        free(x);
    }
    HASH_ITER(hh, u->full, f, f_next)
    {
        HASH_DEL(u->full, f);
        free(f);
    }
    pthread_mutex_destroy(&u->lock);
    free(u);
    e->units = NULL;
}

/* -- what directoryd tells: all units at once, accounts page by page in the order of their ids. Both say the
 * whole truth of their range, so that what is not named is not there; told again they change nothing -- */

struct told_unit {
    struct wire_unit w;
    struct span code, name;
};

static int told_cmp(const void *a, const void *b)
{
    const struct told_unit *x = a, *y = b;
    return uuid_cmp(&x->w.id, &y->w.id);
}

static bool take_units(const struct job *j, struct told_unit **out, size_t *count)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_units w;
    if (!wire_get(&in, &w, sizeof w) || w.count > UNITS_LIMIT)
        return false;
    struct told_unit *v = *out = xcalloc((size_t)w.count + 1, sizeof *v);
    for (uint32_t i = 0; i < w.count && !in.bad; i++) {
        wire_get(&in, &v[i].w, sizeof v[i].w);
        v[i].code = wire_text(&in);
        v[i].name = wire_text(&in);
    }
    *count = w.count;
    qsort(v, w.count, sizeof *v, told_cmp);
    return wire_whole(&in);
}

/* Those on record that are not told any more. */
static enum err_code drop_units(struct tx *t, const struct told_unit *v, size_t count)
{
    struct unit_use *all;
    enum err_code code = ERR_OK;
    size_t n = units_all(t->e, &all);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        struct told_unit key;
        key.w.id = all[i].id;
        if (count && bsearch(&key, v, count, sizeof *v, told_cmp))
            continue;
        code = tx_del(t, T_UNIT, key_uuid(&all[i].id));
        t->quota.units_read |= code == ERR_OK;
        if (code == ERR_MISSING)
            code = ERR_OK;
    }
    free(all);
    return code;
}

static enum err_code put_unit(struct tx *t, const struct told_unit *u, struct buf *v)
{
    struct rec_unit r = {u->w.parent, u->w.limit_bytes, u->w.limit_messages, u->code, u->name, 0},
                    was = {.flags = 0};
    enum err_code code =
        uuid_is_none(&u->w.id) ? ERR_SYNTAX : tx_get_buf(t, T_UNIT, key_uuid(&u->w.id), &t->scratch);
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    if (code == ERR_OK && !rec_unit_get(buf_span(&t->scratch), &was))
        return ERR_BUG;
    r.flags = was.flags;
    buf_reset(v);
    if (!rec_unit_put(&r, v))
        return ERR_SYNTAX;
    if (code == ERR_OK && span_eq(buf_span(&t->scratch), buf_span(v)))
        return ERR_OK;
    t->quota.units_read = true;
    return tx_put(t, T_UNIT, key_uuid(&u->w.id), buf_span(v));
}

enum err_code op_units(struct tx *t, struct job *j)
{
    struct told_unit *v = NULL;
    struct buf rec;
    size_t count = 0;
    buf_init(&rec, 256 << 10);
    enum err_code code = take_units(j, &v, &count) ? ERR_OK : ERR_SYNTAX;
    if (code == ERR_OK)
        code = drop_units(t, v, count);
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        code = put_unit(t, &v[i], &rec);
    buf_free(&rec);
    free(v);
    return code;
}

static enum err_code set_limits(struct tx *t, const struct uuid *id, const struct wire_limit *w)
{
    struct rec_quota q;
    enum err_code code = quota_get(t, id, &q);
    if (code != ERR_OK)
        return code;
    const bool told = q.flags & QUOTA_TOLD;
    if (w ? told && q.limit_bytes == w->limit_bytes && q.limit_messages == w->limit_messages &&
                uuid_cmp(&q.unit, &w->unit) == 0
          : !told)
        return ERR_OK;
    q.limit_bytes = w ? w->limit_bytes : 0;
    q.limit_messages = w ? w->limit_messages : 0;
    memset(&q.unit, 0, sizeof q.unit);
    if (w)
        q.unit = w->unit;
    q.flags = (uint8_t)(w ? q.flags | QUOTA_TOLD : 0);
    quota_limits_changed(t, id, &q);
    return quota_put(t, id, &q);
}

/* The accounts on record in (after, last] that the page does not name: they left the directory. */
static enum err_code find_gone(struct tx *t, const struct wire_limits *w, struct span items, struct buf *gone)
{
    struct scan s;
    struct span key, value;
    struct rec_quota q;
    size_t i = 0;
    bool ok = true;
    scan_open(&s, t, T_QUOTA, key_uuid(&w->after), 0, 64 << 10);
    while (ok && scan_next(&s, &key, &value)) {
        if (key.n != KEY_UUID || !rec_quota_get(value, &q)) {
            s.code = ERR_BUG;
            break;
        }
        if (memcmp(key.p, w->after.b, KEY_UUID) <= 0)
            continue;
        if (memcmp(key.p, w->last.b, KEY_UUID) > 0)
            break;
        while (i < w->count && memcmp(items.p + i * sizeof(struct wire_limit), key.p, KEY_UUID) < 0)
            i++;
        if (i < w->count && memcmp(items.p + i * sizeof(struct wire_limit), key.p, KEY_UUID) == 0)
            continue;
        if (q.flags & QUOTA_TOLD)
            ok = buf_add_span(gone, key);
    }
    enum err_code code = scan_close(&s);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

static enum err_code limits(struct tx *t, const struct wire_limits *w, struct span items, struct buf *gone)
{
    struct uuid last = w->after;
    enum err_code code = find_gone(t, w, items, gone);
    for (uint32_t i = 0; i < w->count && code == ERR_OK; i++) {
        struct wire_limit l;
        memcpy(&l, items.p + i * sizeof l, sizeof l);
        if (uuid_cmp(&l.account, &last) <= 0 || uuid_cmp(&l.account, &w->last) > 0)
            return ERR_SYNTAX;
        last = l.account;
        code = set_limits(t, &l.account, &l);
    }
    for (size_t at = 0; at < gone->n && code == ERR_OK; at += KEY_UUID) {
        struct uuid id;
        memcpy(id.b, gone->p + at, KEY_UUID);
        code = set_limits(t, &id, NULL);
    }
    return code;
}

enum err_code op_limits(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_limits w;
    struct buf gone;
    wire_get(&in, &w, sizeof w);
    struct span items = wire_items(&in, w.count, sizeof(struct wire_limit));
    if (!wire_whole(&in) || w.count > LIMITS_LIMIT)
        return ERR_SYNTAX;
    buf_init(&gone, (size_t)16 << 20);
    enum err_code code = limits(t, &w, items, &gone);
    buf_free(&gone);
    return code;
}
