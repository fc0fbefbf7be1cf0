/* Transactions, records and scans over Berkeley DB.
 * The hard problem is what to make of libdb's errors: a deadlock is tried again, a full disk is an answer,
 * and everything that leaves doubt about what is on the disk ends the process without an answer, so that
 * recovery decides. Values go through the caller's memory (the handles are DB_THREAD). */
#include "common/store/engine_int.h"
#include "common/store/trouble.h"
#include "common/base/fault.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { SCRATCH_LIMIT = 64 << 20, SCRATCH_FIRST = 4096, LARGEST_PAGE = 16384 };

uint64_t tick_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void tick_count(uint64_t begin_us, _Atomic uint64_t *n, _Atomic uint64_t *sum, _Atomic uint64_t *most)
{
    uint64_t us = tick_us() - begin_us;
    if (n)
        atomic_fetch_add(n, 1);
    atomic_fetch_add(sum, us);
    if (us > atomic_load(most)) /* two writers at once may lose one: it is a figure for people */
        atomic_store(most, us);
}

void engine_fatal(struct engine *e, const char *what, const char *why)
{
    log_event(LOG_ALARM, NULL, "store.failed", F_STR("what", what), F_STR("why", why), F_STR("dir", e->dir));
    trouble_note(e->dir_fd, "stored ended: %s: %s", what, why);
    _exit(EX_IOERR);
}

enum err_code db_code(struct engine *e, const char *what, int ret)
{
    switch (ret) {
    case 0:
        return ERR_OK;
    case DB_NOTFOUND:
    case DB_KEYEMPTY:
        return ERR_MISSING;
    case DB_KEYEXIST:
        return ERR_STATE;
    case DB_LOCK_DEADLOCK:
    case DB_LOCK_NOTGRANTED:
        atomic_fetch_add(&e->count.deadlocks, 1);
        return ERR_RETRY;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM: /* the cache is pinned by snapshots, or the locks are used up */
        if (clock_mono_ms() - atomic_exchange(&e->short_ms, clock_mono_ms()) > 1000)
            log_event(LOG_ALARM, NULL, "store.short", F_STR("what", what), F_STR("why", db_strerror(ret)));
        return ERR_RETRY;
    case EBADMSG: /* a damaged page (pages.c has told it): an error of those who need it */
        return ERR_BUG;
    default:
        engine_fatal(e, what, db_strerror(ret));
    }
}

enum err_code tx_begin(struct engine *e, bool reads, struct tx *t)
{
    *t = (struct tx){.e = e, .reads = reads};
    buf_init(&t->scratch, SCRATCH_LIMIT);
    return tx_renew(t);
}

enum err_code tx_renew(struct tx *t)
{
    DB_ENV *env = t->e->env;
    t->touched_count = 0;
    quota_news_clear(&t->quota);
    t->writes = 0;
    t->queue_due = t->unmarked = false;
    return db_code(t->e, "begin",
                   env->txn_begin(env, NULL, &t->t, t->reads ? DB_TXN_SNAPSHOT : DB_TXN_NOSYNC));
}

enum err_code tx_commit(struct tx *t)
{
    int ret = t->t->commit(t->t, DB_TXN_NOSYNC);
    t->t = NULL;
    if (ret != 0 && !t->reads)
        engine_fatal(t->e, "commit", db_strerror(ret));
    units_settle(t, ret == 0);
    return db_code(t->e, "commit", ret);
}

void tx_abort(struct tx *t)
{
    units_settle(t, false);
    if (!t->t)
        return;
    int ret = t->t->abort(t->t);
    t->t = NULL;
    if (ret != 0)
        engine_fatal(t->e, "abort", db_strerror(ret));
}

void tx_free(struct tx *t)
{
    tx_abort(t);
    buf_free(&t->scratch);
    free(t->touched);
    t->touched = NULL;
    quota_news_free(&t->quota);
}

void tx_touch(struct tx *t, const struct uuid *account, uint64_t mailbox, uint64_t modseq)
{
    if (t->touched_count == t->touched_cap) {
        t->touched_cap = t->touched_cap ? t->touched_cap * 2 : 8;
        t->touched = xrealloc(t->touched, t->touched_cap * sizeof *t->touched);
    }
    t->touched[t->touched_count++] = (struct touched){*account, mailbox, modseq};
}

/* -- records -- */

/* A reader of a table without versions keeps no lock behind it. */
static u_int32_t read_flags(const struct tx *t, enum table table)
{
    return t->reads && !env_has_versions(table) ? DB_READ_COMMITTED : 0;
}

static DBT dbt_in(struct span s)
{
    DBT d = {0};
    d.data = (void *)(uintptr_t)s.p; /* libdb does not write to keys and values that go in */
    d.size = (u_int32_t)s.n;
    return d;
}

static DBT dbt_out(void *p, size_t n)
{
    DBT d = {0};
    d.data = p;
    d.ulen = (u_int32_t)n;
    d.flags = DB_DBT_USERMEM;
    return d;
}

enum err_code tx_get(struct tx *t, enum table table, struct span key, void *out, size_t size, size_t *n)
{
    DBT k = dbt_in(key), v = dbt_out(out, size);
    DB *db = t->e->db[table];
    int ret = db->get(db, t->t, &k, &v, read_flags(t, table));
    *n = v.size;
    return db_code(t->e, "get", ret);
}

enum err_code tx_get_head(struct tx *t, enum table table, struct span key, void *out, size_t size, size_t *n)
{
    DBT k = dbt_in(key), v = dbt_out(out, size);
    DB *db = t->e->db[table];
    v.flags |= DB_DBT_PARTIAL;
    v.dlen = (u_int32_t)size;
    int ret = db->get(db, t->t, &k, &v, read_flags(t, table));
    *n = v.size;
    return db_code(t->e, "get", ret);
}

enum err_code tx_get_buf(struct tx *t, enum table table, struct span key, struct buf *out)
{
    DB *db = t->e->db[table];
    buf_reset(out);
    size_t room = out->cap > SCRATCH_FIRST ? out->cap : SCRATCH_FIRST;
    for (;;) {
        char *p = buf_reserve(out, room);
        if (!p)
            engine_fatal(t->e, "get", "a record is larger than any that was written");
        DBT k = dbt_in(key), v = dbt_out(p, room);
        int ret = db->get(db, t->t, &k, &v, read_flags(t, table));
        if (ret == 0)
            buf_commit(out, v.size);
        if (ret != DB_BUFFER_SMALL)
            return db_code(t->e, "get", ret);
        room = v.size;
    }
}

enum err_code tx_put(struct tx *t, enum table table, struct span key, struct span value)
{
    DBT k = dbt_in(key), v = dbt_in(value);
    DB *db = t->e->db[table];
    t->writes++;
    mark_written(t, table, key.p);
    return db_code(t->e, "put", FAULT_CODE("store.database.put", db->put(db, t->t, &k, &v, 0)));
}

enum err_code tx_put_new(struct tx *t, enum table table, struct span key, struct span value)
{
    DBT k = dbt_in(key), v = dbt_in(value);
    DB *db = t->e->db[table];
    t->writes++;
    mark_written(t, table, key.p);
    return db_code(t->e, "put", db->put(db, t->t, &k, &v, DB_NOOVERWRITE));
}

enum err_code tx_del(struct tx *t, enum table table, struct span key)
{
    DBT k = dbt_in(key);
    DB *db = t->e->db[table];
    t->writes++;
    mark_written(t, table, key.p);
    return db_code(t->e, "del", db->del(db, t->t, &k, 0));
}

static int cursor_get_grow(DBC *c, struct buf *key, struct buf *value, u_int32_t flag)
{
    size_t kn = 1024, vn = SCRATCH_FIRST;
    for (;;) {
        buf_reset(key);
        buf_reset(value);
        char *kp = buf_reserve(key, kn), *vp = buf_reserve(value, vn);
        assert(kp && vp);
        DBT k = dbt_out(kp, kn), v = dbt_out(vp, vn);
        int ret = c->get(c, &k, &v, flag);
        if (ret == 0) {
            buf_commit(key, k.size);
            buf_commit(value, v.size);
        }
        if (ret != DB_BUFFER_SMALL)
            return ret;
        kn = k.size > kn ? k.size : kn;
        vn = v.size > vn ? v.size : vn;
    }
}

enum err_code tx_last(struct tx *t, enum table table, struct buf *key, struct buf *value)
{
    DBC *c = NULL;
    DB *db = t->e->db[table];
    enum err_code code = db_code(t->e, "cursor", db->cursor(db, t->t, &c, 0));
    if (code != ERR_OK)
        return code;
    int ret = cursor_get_grow(c, key, value, DB_LAST);
    int closed = c->close(c);
    code = db_code(t->e, "last", ret);
    return code == ERR_OK ? db_code(t->e, "close", closed) : code;
}

/* -- edits -- */

enum err_code edit_open(struct edit *x, struct tx *t, enum table table)
{
    DB *db = t->e->db[table];
    *x = (struct edit){.t = t, .table = table};
    return db_code(t->e, "cursor", db->cursor(db, t->t, &x->c, 0));
}

enum err_code edit_get(struct edit *x, struct span key, bool beside, void *out, size_t size, size_t *n)
{
    char found[NAME_KEY_LIMIT];
    memcpy(x->whose, key.p, sizeof x->whose);
    DBT k = dbt_out(found, sizeof found), v = dbt_out(out, size);
    if (x->placed && beside) {
        int ret = x->c->get(x->c, &k, &v, DB_NEXT | DB_RMW);
        if (ret == 0 && k.size == key.n && memcmp(found, key.p, key.n) == 0) {
            *n = v.size;
            return ERR_OK;
        }
        if (ret != 0 && ret != DB_NOTFOUND && ret != DB_BUFFER_SMALL)
            return db_code(x->t->e, "get", ret);
    }
    k = dbt_in(key);
    int ret = x->c->get(x->c, &k, &v, DB_SET | DB_RMW);
    x->placed = ret == 0;
    *n = v.size;
    return db_code(x->t->e, "get", ret);
}

enum err_code edit_head(struct edit *x, struct span key, void *out, size_t size, size_t *n)
{
    DBT k = dbt_in(key), v = dbt_out(out, size);
    memcpy(x->whose, key.p, sizeof x->whose);
    v.flags |= DB_DBT_PARTIAL;
    v.dlen = (u_int32_t)size;
    int ret = x->c->get(x->c, &k, &v, DB_SET | DB_RMW);
    x->placed = ret == 0;
    *n = v.size;
    return db_code(x->t->e, "get", ret);
}

enum err_code edit_put(struct edit *x, struct span value)
{
    DBT k = {0}, v = dbt_in(value);
    x->t->writes++;
    mark_written(x->t, x->table, x->whose);
    return db_code(x->t->e, "put", FAULT_CODE("store.database.put", x->c->put(x->c, &k, &v, DB_CURRENT)));
}

enum err_code edit_del(struct edit *x)
{
    x->t->writes++;
    mark_written(x->t, x->table, x->whose);
    return db_code(x->t->e, "del", x->c->del(x->c, 0));
}

enum err_code edit_close(struct edit *x, enum err_code code)
{
    int ret = x->c ? x->c->close(x->c) : 0;
    x->c = NULL;
    return code == ERR_OK ? db_code(x->t->e, "close", ret) : code;
}

/* -- many at once -- */

void puts_open(struct puts *p, struct tx *t, enum table table, size_t count, size_t bytes)
{
    enum { EACH = 4 * sizeof(u_int32_t), SPARE = 1024 };
    *p = (struct puts){.t = t, .table = table};
    p->room_n = (count * (bytes + EACH) + SPARE) & ~(size_t)7;
    p->room = xmalloc(p->room_n);
    DBT d = dbt_out(p->room, p->room_n);
    DB_MULTIPLE_WRITE_INIT(p->end, &d);
}

void puts_add(struct puts *p, struct span key, struct span value)
{
    DBT d = dbt_out(p->room, p->room_n);
    mark_written(p->t, p->table, key.p);
    DB_MULTIPLE_KEY_WRITE_NEXT(p->end, &d, key.p, key.n, value.p, value.n);
    assert(p->end);
    p->n++;
}

enum err_code puts_close(struct puts *p, enum err_code code)
{
    DB *db = p->t->e->db[p->table];
    DBT d = dbt_out(p->room, p->room_n), none = {0};
    d.flags |= DB_DBT_BULK;
    if (code == ERR_OK && p->n) {
        p->t->writes++;
        code = db_code(p->t->e, "put",
                       FAULT_CODE("store.database.put", db->put(db, p->t->t, &d, &none, DB_MULTIPLE_KEY)));
    }
    free(p->room);
    p->room = NULL;
    return code;
}

/* -- scans -- */

void scan_open(struct scan *s, struct tx *t, enum table table, struct span from, size_t prefix_n,
               size_t block_size)
{
    DB *db = t->e->db[table];
    *s = (struct scan){.t = t, .block_size = (block_size + 1023) & ~(size_t)1023};
    if (s->block_size < LARGEST_PAGE)
        s->block_size = LARGEST_PAGE; /* libdb asks for a page at least */
    buf_init(&s->prefix, NAME_KEY_LIMIT + KEY_UUID);
    bool fits = buf_add_span(&s->prefix, from);
    assert(fits && prefix_n <= from.n);
    s->code = db_code(t->e, "cursor", db->cursor(db, t->t, &s->c, DB_CURSOR_BULK | read_flags(t, table)));
    /* `from` stays behind prefix_n: the first seek needs it, later comparisons do not */
    s->prefix_n = prefix_n;
    s->block = xmalloc(s->block_size);
}

/* Fetch the next block of pairs; or, as a damaged page lies in it, say that they are to be read singly. */
static bool scan_fill(struct scan *s)
{
    char key[SCAN_KEY];
    DBT k = dbt_out(key, sizeof key);
    for (;;) {
        DBT d = dbt_out(s->block, s->block_size);
        if (!s->started) {
            const struct span from = s->past ? span_of(s->past->next, s->past->next_n) : buf_span(&s->prefix);
            if (from.n)
                memcpy(key, from.p, from.n);
            k.size = (u_int32_t)from.n;
        }
        int ret = s->c->get(s->c, &k, &d, DB_MULTIPLE_KEY | (s->started ? DB_NEXT : DB_SET_RANGE));
        if (ret == DB_BUFFER_SMALL) { /* one pair alone is larger than the block */
            s->block_size = ((size_t)d.size + 4096) & ~(size_t)1023;
            s->block = xrealloc(s->block, s->block_size);
            continue;
        }
        if (ret == DB_NOTFOUND)
            return false;
        if (ret == EBADMSG) {
            s->singly = true;
            return true;
        }
        s->code = db_code(s->t->e, "scan", ret);
        if (s->code != ERR_OK)
            return false;
        s->started = true;
        s->data = d;
        DB_MULTIPLE_INIT(s->at, &s->data);
        return true;
    }
}

/* A block may end far behind the range: who does not need the damaged page is served. */
static enum scan_step scan_single(struct scan *s, struct span *key, struct span *value)
{
    for (;;) {
        DBT k = dbt_out(s->block, SCAN_KEY), d = dbt_out(s->block + SCAN_KEY, s->block_size - SCAN_KEY);
        if (!s->started) {
            if (s->prefix.n)
                memcpy(s->block, s->prefix.p, s->prefix.n);
            k.size = (u_int32_t)s->prefix.n;
        }
        int ret = s->c->get(s->c, &k, &d, s->started ? DB_NEXT : DB_SET_RANGE);
        if (ret == DB_BUFFER_SMALL) {
            s->block_size = ((size_t)d.size + SCAN_KEY + 4096) & ~(size_t)1023;
            s->block = xrealloc(s->block, s->block_size);
            continue;
        }
        if (ret != 0 && ret != DB_NOTFOUND)
            s->code = db_code(s->t->e, "scan", ret);
        s->started = true;
        *key = span_of(k.data, k.size);
        *value = span_of(d.data, d.size);
        return ret == 0 ? SCAN_PAIR : SCAN_END;
    }
}

/* The next pair, whether it belongs to the scan or not. */
static bool scan_pair(struct scan *s, struct span *key, struct span *value)
{
    for (;;) {
        void *kp = NULL, *vp = NULL;
        size_t kn = 0, vn = 0;
        if (s->singly) {
            const enum scan_step step = s->past ? scan_past_step(s, key, value) : scan_single(s, key, value);
            if (step != SCAN_LEAPT)
                return step == SCAN_PAIR;
        }
        if (s->at)
            DB_MULTIPLE_KEY_NEXT(s->at, &s->data, kp, kn, vp, vn);
        if (s->at) {
            *key = span_of(kp, kn);
            *value = span_of(vp, vn);
            return true;
        }
        if (!scan_fill(s))
            return false;
    }
}

bool scan_next(struct scan *s, struct span *key, struct span *value)
{
    if (s->code != ERR_OK || !s->block)
        return false;
    if (scan_pair(s, key, value) && key->n >= s->prefix_n &&
        (!s->prefix_n || memcmp(key->p, s->prefix.p, s->prefix_n) == 0)) {
        if (s->past)
            scan_past_met(s->past, *key);
        return true;
    }
    free(s->block);
    s->block = NULL;
    return false;
}

enum err_code scan_close(struct scan *s)
{
    enum err_code code = s->code;
    if (s->c) {
        int ret = s->c->close(s->c);
        if (code == ERR_OK)
            code = db_code(s->t->e, "close", ret);
    }
    free(s->block);
    buf_free(&s->prefix);
    s->block = NULL;
    s->c = NULL;
    return code;
}

/* -- backwards -- */

void back_open(struct back *b, struct tx *t, enum table table, struct span prefix, void *value,
               size_t value_size)
{
    DB *db = t->e->db[table];
    assert(prefix.n && prefix.n <= sizeof b->prefix);
    b->t = t;
    b->c = NULL;
    b->prefix_n = prefix.n;
    b->value = value;
    b->value_size = value_size;
    b->started = false;
    memcpy(b->prefix, prefix.p, prefix.n);
    b->code = db_code(t->e, "cursor", db->cursor(db, t->t, &b->c, read_flags(t, table)));
}

/* The first key behind the range: the prefix as a number, plus one. */
static u_int32_t behind_prefix(struct back *b)
{
    memcpy(b->key, b->prefix, b->prefix_n);
    for (size_t i = b->prefix_n; i-- > 0;)
        if (++b->key[i])
            return (u_int32_t)(i + 1);
    return 0;
}

bool back_next(struct back *b, struct span *key, struct span *value)
{
    DBT k = dbt_out(b->key, sizeof b->key), v = dbt_out(b->value, b->value_size);
    v.flags |= DB_DBT_PARTIAL;
    v.dlen = (u_int32_t)b->value_size;
    int ret = 0;
    if (b->code != ERR_OK)
        return false;
    if (b->started) {
        ret = b->c->get(b->c, &k, &v, DB_PREV);
    } else {
        b->started = true;
        k.size = behind_prefix(b);
        ret = k.size ? b->c->get(b->c, &k, &v, DB_SET_RANGE) : DB_NOTFOUND;
        if (ret == 0)
            ret = b->c->get(b->c, &k, &v, DB_PREV);
        else if (ret == DB_NOTFOUND)
            ret = b->c->get(b->c, &k, &v, DB_LAST);
    }
    if (ret == DB_NOTFOUND || (ret == 0 && (k.size < b->prefix_n || memcmp(b->key, b->prefix, b->prefix_n))))
        return false;
    b->code = db_code(b->t->e, "walk back", ret);
    *key = span_of(b->key, k.size);
    *value = span_of(b->value, v.size);
    return b->code == ERR_OK;
}

enum err_code back_close(struct back *b)
{
    if (b->c) {
        int ret = b->c->close(b->c);
        if (b->code == ERR_OK)
            b->code = db_code(b->t->e, "close", ret);
    }
    b->c = NULL;
    return b->code;
}
