/* One reading of the source against the copy. All records are gathered first, sorted by id, and walked beside
 * the table in the same order; nothing is written before the reading is known to be whole. The hard point is
 * who is who: an entry without an id of its own keeps the one that its DN had, and only as long as it is
 * there. Values are compared as they are kept, so an order that differs is a change (harmless: it is written
 * again). */
#include "common/directory/copy_int.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/directory/people.h"
#include <assert.h>
#include <stdlib.h>

static const size_t HELD_LIMIT = (size_t)2 << 30;

struct item {
    struct uuid id;
    struct span dn, value; /* dn: normal form */
    size_t order;
    bool derived; /* the id is the copy's own */
};
struct copy_sync {
    struct copy *c;
    struct arena *a;
    struct item *v;
    size_t n, cap;
    struct buf scratch;
    struct buf removed;  /* ids and DNs of what is gone: id, u32 n, dn */
    struct buf accounts; /* struct copy_account */
    struct copy_changes changes;
    bool *changed; /* of v: to be written */
};

struct copy_sync *copy_sync_new(struct copy *c)
{
    struct copy_sync *s = xcalloc(1, sizeof *s);
    s->c = c;
    s->a = arena_new(HELD_LIMIT);
    buf_init(&s->scratch, COPY_VALUE_LIMIT);
    buf_init(&s->removed, HELD_LIMIT);
    buf_init(&s->accounts, HELD_LIMIT);
    return s;
}

void copy_sync_free(struct copy_sync **sp)
{
    struct copy_sync *s = *sp;
    if (!s)
        return;
    arena_free(&s->a);
    free(s->v);
    free(s->changed);
    buf_wipe(&s->scratch);
    buf_free(&s->removed);
    buf_free(&s->accounts);
    free(s);
    *sp = NULL;
}

/* -- records as they are kept -- */

static bool put_text(struct buf *b, struct span s)
{
    return buf_add_u32(b, (uint32_t)s.n) && buf_add_span(b, s);
}

bool copy_encode(const struct ldif_record *r, struct buf *out)
{
    buf_reset(out);
    bool ok = buf_add_u8(out, COPY_VERSION) && put_text(out, r->dn) && buf_add_u32(out, (uint32_t)r->count);
    for (size_t i = 0; ok && i < r->count; i++)
        ok = put_text(out, r->v[i].name) && put_text(out, r->v[i].value);
    return ok;
}

bool copy_decode(struct span value, struct arena *a, struct ldif_record *out)
{
    struct reader r = reader_of(value);
    *out = (struct ldif_record){.line = 0};
    if (read_u8(&r) != COPY_VERSION)
        return false;
    out->dn = read_bytes(&r, read_u32(&r));
    uint32_t count = read_u32(&r);
    if (r.bad || count > r.s.n / 8)
        return false;
    struct ldif_value *v = arena_array(a, count + 1, sizeof *v);
    if (!v)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        v[i].name = read_bytes(&r, read_u32(&r));
        v[i].value = read_bytes(&r, read_u32(&r));
    }
    out->v = v;
    out->count = count;
    return !r.bad && r.s.n == 0;
}

struct reading {
    copy_entry_cb *cb;
    void *arg;
    struct arena *a;
    bool broken;
};

static bool on_row(void *arg, struct span key, struct span value)
{
    struct reading *g = arg;
    struct ldif_record r;
    struct uuid id;
    arena_reset(g->a);
    if (key.n != sizeof id.b || !copy_decode(value, g->a, &r)) {
        g->broken = true;
        return false;
    }
    memcpy(id.b, key.p, sizeof id.b);
    return g->cb(g->arg, &r, &id);
}

enum err_code copy_read(struct copy *c, copy_entry_cb *cb, void *arg, struct err *why)
{
    struct reading g = {cb, arg, arena_new(COPY_VALUE_LIMIT), false};
    bool whole = copy_scan(c, C_ENTRY, on_row, &g);
    arena_free(&g.a);
    if (g.broken)
        return err_set(why, ERR_BUG, NULL, "an entry of the copy cannot be read");
    return whole ? ERR_OK : ERR_STATE;
}

/* -- gathering -- */

static void new_id(struct uuid *id)
{
    crypto_random(id->b, sizeof id->b); /* RFC 9562 5.4 */
    id->b[6] = (unsigned char)((id->b[6] & 0x0f) | 0x40);
    id->b[8] = (unsigned char)((id->b[8] & 0x3f) | 0x80);
}

/* dn in normal form. */
static void id_of_dn(struct copy *c, struct span dn, struct uuid *id)
{
    struct buf b;
    buf_init(&b, 64);
    if (copy_get(c, NULL, C_DN, dn, &b) && b.n == sizeof id->b)
        memcpy(id->b, b.p, sizeof id->b);
    else
        new_id(id);
    buf_free(&b);
}

enum err_code copy_sync_add(struct copy_sync *s, const struct ldif_record *r, const struct uuid *id,
                            struct err *why)
{
    if (!copy_encode(r, &s->scratch))
        return err_set(why, ERR_LIMIT, NULL, "line %u: the entry is too large", r->line);
    struct item it = {.order = s->n, .derived = !id};
    it.dn = people_dn(s->a, r->dn);
    it.value = arena_dup(s->a, buf_span(&s->scratch));
    if (!it.dn.p || !it.value.p)
        return err_set(why, ERR_LIMIT, NULL, "line %u: the directory is too large", r->line);
    if (id)
        it.id = *id;
    else
        id_of_dn(s->c, it.dn, &it.id);
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    }
    s->v[s->n++] = it;
    return ERR_OK;
}

/* -- comparing -- */

static int item_cmp(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int d = uuid_cmp(&x->id, &y->id);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

static int dn_cmp(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    size_t n = x->dn.n < y->dn.n ? x->dn.n : y->dn.n;
    int d = n ? memcmp(x->dn.p, y->dn.p, n) : 0;
    d = d ? d : (x->dn.n > y->dn.n) - (x->dn.n < y->dn.n);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* -- ids for a file that names none -- */

struct copy_ids {
    struct arena *a;
    struct item *v; /* ascending by DN */
    size_t n, cap;
};

static bool on_named(void *arg, const struct ldif_record *r, const struct uuid *id)
{
    struct copy_ids *ids = arg;
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? 2 * ids->cap : 1024;
        ids->v = xrealloc(ids->v, ids->cap * sizeof *ids->v);
    }
    ids->v[ids->n] = (struct item){.id = *id, .dn = people_dn(ids->a, r->dn)};
    return ids->v[ids->n++].dn.p != NULL;
}

enum err_code copy_ids_new(struct copy *c, struct copy_ids **out, struct err *why)
{
    struct copy_ids *ids = xcalloc(1, sizeof *ids);
    ids->a = arena_new(HELD_LIMIT);
    enum err_code code = copy_read(c, on_named, ids, why);
    if (code != ERR_OK) {
        copy_ids_free(&ids);
        return code;
    }
    if (ids->n)
        qsort(ids->v, ids->n, sizeof *ids->v, dn_cmp);
    *out = ids;
    return ERR_OK;
}

void copy_ids_free(struct copy_ids **idsp)
{
    struct copy_ids *ids = *idsp;
    *idsp = NULL;
    if (!ids)
        return;
    arena_free(&ids->a);
    free(ids->v);
    free(ids);
}

void copy_ids_find(const struct copy_ids *ids, struct span dn, struct uuid *out)
{
    struct arena *a = arena_new(1 << 20);
    const struct item key = {.dn = people_dn(a, dn)};
    const struct item *it = key.dn.p && ids->n ? bsearch(&key, ids->v, ids->n, sizeof *ids->v, dn_cmp) : NULL;
    if (it)
        *out = it->id;
    else
        new_id(out);
    arena_free(&a);
}

static void drop_doubles(struct copy_sync *s, bool by_dn)
{
    size_t n = 0;
    if (s->n)
        qsort(s->v, s->n, sizeof *s->v, by_dn ? dn_cmp : item_cmp);
    for (size_t i = 0; i < s->n; i++) {
        bool same =
            n && (by_dn ? span_eq(s->v[n - 1].dn, s->v[i].dn) : uuid_cmp(&s->v[n - 1].id, &s->v[i].id) == 0);
        if (same) {
            log_event(LOG_WARN, NULL, "directory.entry.doubled", F_SPAN("dn", s->v[i].dn),
                      F_STR("of", by_dn ? "dn" : "entryUUID"));
            s->changes.doubles++;
        } else {
            s->v[n++] = s->v[i];
        }
    }
    s->n = n;
}

struct merge {
    struct copy_sync *s;
    struct arena *a;
    size_t at;
    bool broken;
};

static bool is_account(const struct ldif_record *r)
{
    enum people_kind kind;
    return people_wants(r, &kind) && kind != PEOPLE_GROUP;
}

static bool may_login(const struct ldif_record *r)
{
    struct span status = ldif_get(r, "mailAccountStatus");
    return is_account(r) && (status.n == 0 || span_caseeq(status, SPAN("active")));
}

/* The values of an attribute, in order, one behind the other. */
static bool same_values(const struct ldif_record *x, const struct ldif_record *y, const char *name)
{
    size_t i = 0, k = 0;
    for (;;) {
        while (i < x->count && !span_caseeq(x->v[i].name, span_str(name)))
            i++;
        while (k < y->count && !span_caseeq(y->v[k].name, span_str(name)))
            k++;
        if (i == x->count || k == y->count)
            return i == x->count && k == y->count;
        if (!span_eq(x->v[i++].value, y->v[k++].value))
            return false;
    }
}

static bool new_password(const struct ldif_record *old, const struct ldif_record *now)
{
    static const char *const signs[] = {"userPassword", "authPassword", "pwdChangedTime", "pwdLastSet"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (!same_values(old, now, signs[i]))
            return true;
    return false;
}

static bool note_account(struct copy_sync *s, const struct uuid *id, bool revoked)
{
    struct copy_account a;
    memset(&a, 0, sizeof a);
    a.id = *id;
    a.revoked = revoked;
    return buf_add(&s->accounts, &a, sizeof a);
}

static bool was_removed(struct copy_sync *s, const struct uuid *id, const struct ldif_record *old)
{
    struct span dn = people_dn(s->a, old->dn);
    s->changes.removed++;
    bool ok = dn.p && buf_add(&s->removed, id->b, sizeof id->b) && put_text(&s->removed, dn);
    if (ok && is_account(old)) {
        s->changes.accounts_removed++;
        ok = note_account(s, id, true);
    }
    return ok;
}

static bool was_changed(struct merge *m, const struct item *it, const struct ldif_record *old)
{
    struct copy_sync *s = m->s;
    struct ldif_record now;
    s->changes.changed++;
    if (!copy_decode(it->value, m->a, &now))
        return false;
    if (!is_account(old) && !is_account(&now))
        return true;
    if (is_account(old) && !is_account(&now))
        s->changes.accounts_removed++;
    bool revoked = may_login(old) && (!may_login(&now) || new_password(old, &now));
    return note_account(s, &it->id, revoked);
}

static bool on_old(void *arg, struct span key, struct span value)
{
    struct merge *m = arg;
    struct copy_sync *s = m->s;
    struct ldif_record old;
    struct uuid id;
    arena_reset(m->a);
    m->broken = key.n != sizeof id.b || !copy_decode(value, m->a, &old);
    if (m->broken)
        return false;
    memcpy(id.b, key.p, sizeof id.b);
    s->changes.accounts += is_account(&old);
    while (m->at < s->n && uuid_cmp(&s->v[m->at].id, &id) < 0) {
        s->changed[m->at++] = true;
        s->changes.added++;
    }
    if (m->at == s->n || uuid_cmp(&s->v[m->at].id, &id) != 0) {
        m->broken = !was_removed(s, &id, &old);
    } else {
        struct item *it = &s->v[m->at];
        s->changed[m->at++] = !span_eq(it->value, value);
        if (s->changed[m->at - 1])
            m->broken = !was_changed(m, it, &old);
    }
    return !m->broken;
}

enum err_code copy_sync_compare(struct copy_sync *s, struct copy_changes *out, struct err *why)
{
    struct merge m = {.s = s, .a = arena_new(COPY_VALUE_LIMIT)};
    assert(!s->changed);
    drop_doubles(s, true);
    drop_doubles(s, false);
    s->changed = xcalloc(s->n + 1, sizeof *s->changed);
    bool whole = copy_scan(s->c, C_ENTRY, on_old, &m);
    arena_free(&m.a);
    if (!whole || m.broken)
        return err_set(why, ERR_BUG, NULL, "an entry of the copy cannot be read");
    for (; m.at < s->n; m.at++) {
        s->changed[m.at] = true;
        s->changes.added++;
    }
    s->changes.account = (const struct copy_account *)(const void *)s->accounts.p;
    s->changes.account_count = s->accounts.n / sizeof(struct copy_account);
    *out = s->changes;
    return ERR_OK;
}

/* -- taking over -- */

static void write_entries(struct copy_sync *s, DB_TXN *t)
{
    struct reader r = reader_of(buf_span(&s->removed));
    while (r.s.n) {
        struct span id = read_bytes(&r, sizeof(struct uuid)), dn = read_bytes(&r, read_u32(&r));
        copy_del(s->c, t, C_ENTRY, id);
        log_event(LOG_INFO, NULL, "directory.entry.removed", F_SPAN("dn", dn));
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->changed[i])
            copy_put(s->c, t, C_ENTRY, span_of(s->v[i].id.b, sizeof s->v[i].id.b), s->v[i].value);
}

static bool stale_dn(void *arg, struct span key, struct span value)
{
    struct copy_sync *s = arg;
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = value.n == sizeof(struct uuid) ? memcmp(s->v[mid].id.b, value.p, value.n) : -1;
        if (d == 0 && span_eq(s->v[mid].dn, key) && s->v[mid].derived)
            return true;
        if (d == 0)
            break;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return put_text(&s->scratch, key);
}

/* Ids by DN: exactly those of the entries that have no id of their own. */
static void write_dns(struct copy_sync *s, DB_TXN *t)
{
    buf_reset(&s->scratch);
    (void)copy_scan(s->c, C_DN, stale_dn, s); /* full: the rest goes at the next reading */
    struct reader r = reader_of(buf_span(&s->scratch));
    while (r.s.n)
        copy_del(s->c, t, C_DN, read_bytes(&r, read_u32(&r)));
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].derived && s->changed[i])
            copy_put(s->c, t, C_DN, s->v[i].dn, span_of(s->v[i].id.b, sizeof s->v[i].id.b));
}

static void write_outbox(struct copy_sync *s, DB_TXN *t, int64_t now_us)
{
    uint64_t number;
    struct buf key, value;
    buf_init(&key, 64);
    buf_init(&value, 256);
    (void)copy_state_get(s->c, t, "outbox", &number); /* none yet: 0 */
    for (size_t i = 0; i < s->changes.account_count; i++) {
        const struct copy_account *a = &s->changes.account[i];
        if (!a->revoked)
            continue;
        buf_reset(&key);
        buf_reset(&value);
        if (buf_add_u64(&key, ++number) && buf_add_u8(&value, COPY_VERSION) &&
            buf_add_u8(&value, COPY_REVOKE) && buf_add(&value, a->id.b, sizeof a->id.b) &&
            buf_add_u64(&value, (uint64_t)now_us))
            copy_put(s->c, t, C_OUTBOX, buf_span(&key), buf_span(&value));
        copy_del(s->c, t, C_VERIFIER, span_of(a->id.b, sizeof a->id.b));
    }
    copy_state_put(s->c, t, "outbox", number);
    buf_free(&key);
    buf_free(&value);
}

enum err_code copy_sync_commit(struct copy_sync *s, int64_t now_us, struct err *why)
{
    bool any = s->changes.added || s->changes.changed || s->changes.removed;
    (void)why;
    DB_TXN *t = copy_begin(s->c);
    if (any) {
        write_entries(s, t);
        FAULT_STEP("directory.entries.written");
        write_dns(s, t);
        pthread_mutex_lock(&s->c->small);
        write_outbox(s, t, now_us);
    }
    copy_state_put(s->c, t, "contact", (uint64_t)now_us);
    FAULT_STEP("directory.reading.written");
    copy_commit(s->c, t, any);
    FAULT_STEP("directory.reading.committed");
    if (any)
        pthread_mutex_unlock(&s->c->small);
    int ret =
        FAULT_CODE("directory.checkpoint.begun", s->c->env->txn_checkpoint(s->c->env, any ? 0 : 1024, 0, 0));
    FAULT_STEP("directory.checkpoint.done");
    if (ret != 0)
        log_event(LOG_ERROR, NULL, "directory.checkpoint.failed", F_STR("why", db_strerror(ret)));
    return ERR_OK;
}
