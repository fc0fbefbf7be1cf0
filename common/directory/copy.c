/* The Berkeley DB environment of the copy and its small tables. Its one hard point is who may open it:
 * DB_PRIVATE keeps no second process out, so a lock on a file comes first, and recovery runs at every start.
 * The work is small (thousands of rows, a few changes a minute), so a checkpoint follows every transaction
 * that takes over a reading and logs are removed by the library. Comparing readings is copy_sync.c's. */
#include "common/directory/copy_int.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { CACHE = 16 << 20, LOG_FILE = 4 << 20, LOG_BUFFER = 1 << 20, LOCKS = 200000, TRIES = 20 };

/* No page is larger than a block of the file system, so that none is torn when the power fails. */
static const struct {
    const char *name;
    u_int32_t page;
} tables[C_TABLES] = {
    [C_STATE] = {"state", 512},   [C_ENTRY] = {"entry", 4096}, [C_DN] = {"dn", 4096},
    [C_OUTBOX] = {"outbox", 512}, [C_TOKEN] = {"token", 1024}, [C_VERIFIER] = {"verifier", 1024},
};

const char *copy_table_name(enum copy_table t)
{
    return tables[t].name;
}

void copy_fatal(const char *what, int ret)
{
    log_event(LOG_ALARM, NULL, "directory.database.failed", F_STR("what", what),
              F_STR("why", db_strerror(ret)));
    _exit(EX_IOERR);
}

static void on_db_error(const DB_ENV *env, const char *prefix, const char *text)
{
    (void)env;
    (void)prefix;
    log_event(LOG_ERROR, NULL, "directory.database.error", F_STR("text", text));
}

static enum err_code take_lock(struct copy *c, const char *dir, struct err *why)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
        return err_set(why, ERR_STATE, NULL, "%s: name too long", dir);
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (c->lock_fd < 0)
        return err_set(why, ERR_STATE, NULL, "%s: %s", path, strerror(errno));
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(why, ERR_STATE, NULL, "%s: %s", path,
                       errno == EWOULDBLOCK ? "another process has the copy open" : strerror(errno));
    return ERR_OK;
}

/* mailadm restore leaves this file: the databases were copied under load, and all of the log counts. */
static bool restored_path(const char *dir, char out[4096])
{
    int n = snprintf(out, 4096, "%s/restored", dir);
    return n > 0 && n < 4096;
}

static bool was_restored(const char *dir)
{
    char path[4096];
    return restored_path(dir, path) && access(path, F_OK) == 0;
}

static enum err_code restored_done(struct copy *c, const char *dir, struct err *why)
{
    char path[4096];
    int ret = c->env->txn_checkpoint(c->env, 0, 0, DB_FORCE);
    if (ret != 0)
        return err_set(why, ERR_BUG, NULL, "%s: %s", dir, db_strerror(ret));
    if (!restored_path(dir, path) || unlink(path) != 0)
        return err_set(why, ERR_STATE, NULL, "%s/restored: %s", dir, strerror(errno));
    log_event(LOG_WARN, NULL, "directory.restored", F_STR("dir", dir));
    return ERR_OK;
}

/* A restore was begun and has not put anything in place yet: an empty copy must not stand there instead. */
static bool half_restored(const char *dir)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/restoring", dir);
    if (n < 0 || (size_t)n >= sizeof path || access(path, F_OK) != 0)
        return false;
    n = snprintf(path, sizeof path, "%s/db", dir);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) != 0;
}

static enum err_code open_env(struct copy *c, const char *dir, struct err *why)
{
    if (half_restored(dir))
        return err_set(why, ERR_STATE, NULL,
                       "%s: a restore of everything was not finished: run mailadm restore again (--force)",
                       dir);
    const u_int32_t how = was_restored(dir) ? DB_RECOVER_FATAL : DB_RECOVER;
    char home[4096];
    if (snprintf(home, sizeof home, "%s/db", dir) >= (int)sizeof home ||
        (mkdir(home, 0750) != 0 && errno != EEXIST))
        return err_set(why, ERR_STATE, NULL, "%s/db: %s", dir, strerror(errno));
    int ret = db_env_create(&c->env, 0);
    if (ret != 0)
        return err_set(why, ERR_BUG, NULL, "db_env_create: %s", db_strerror(ret));
    DB_ENV *v = c->env;
    v->set_errcall(v, on_db_error);
    ret = v->set_cachesize(v, 0, CACHE, 1);
    ret = ret ? ret : v->set_lg_max(v, LOG_FILE);
    ret = ret ? ret : v->set_lg_bsize(v, LOG_BUFFER);
    ret = ret ? ret : v->set_lk_detect(v, DB_LOCK_DEFAULT);
    ret = ret ? ret : v->set_lk_max_locks(v, LOCKS);
    ret = ret ? ret : v->set_lk_max_objects(v, LOCKS);
    ret = ret ? ret : v->log_set_config(v, DB_LOG_AUTO_REMOVE, 1);
    ret = ret ? ret
              : v->open(v, home,
                        DB_CREATE | how | DB_PRIVATE | DB_THREAD | DB_INIT_TXN | DB_INIT_LOG | DB_INIT_LOCK |
                            DB_INIT_MPOOL,
                        0640);
    if (ret == 0 && (c->db_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        ret = errno;
    return ret ? err_set(why, ERR_BUG, NULL, "opening the environment in %s: %s", home, db_strerror(ret))
               : ERR_OK;
}

static enum err_code open_table(struct copy *c, enum copy_table t, struct err *why)
{
    char file[64];
    snprintf(file, sizeof file, "%s.db", tables[t].name);
    int ret = db_create(&c->db[t], c->env, 0);
    if (ret != 0)
        return err_set(why, ERR_BUG, NULL, "db_create: %s", db_strerror(ret));
    ret = c->db[t]->set_pagesize(c->db[t], tables[t].page);
    ret = ret ? ret : c->db[t]->set_flags(c->db[t], DB_CHKSUM); /* of a table that is made now */
    ret = ret ? ret
              : c->db[t]->open(c->db[t], NULL, file, NULL, DB_BTREE, DB_CREATE | DB_AUTO_COMMIT | DB_THREAD,
                               0640);
    return ret ? err_set(why, ERR_BUG, NULL, "opening %s: %s", file, db_strerror(ret)) : ERR_OK;
}

enum err_code copy_open(const char *dir, struct copy **out, struct err *why)
{
    struct copy *c = xcalloc(1, sizeof *c);
    c->lock_fd = c->db_fd = -1;
    pthread_mutex_init(&c->small, NULL);
    enum err_code code = take_lock(c, dir, why);
    if (code == ERR_OK)
        code = open_env(c, dir, why);
    for (int t = 0; code == ERR_OK && t < C_TABLES; t++)
        code = open_table(c, (enum copy_table)t, why);
    FAULT_STEP("directory.copy.opened");
    if (code == ERR_OK && was_restored(dir))
        code = restored_done(c, dir, why);
    if (code == ERR_OK)
        *out = c;
    else
        copy_close(&c);
    return code;
}

void copy_close(struct copy **cp)
{
    struct copy *c = *cp;
    if (!c)
        return;
    for (int t = C_TABLES - 1; t >= 0; t--)
        if (c->db[t])
            c->db[t]->close(c->db[t], 0);
    if (c->env)
        c->env->close(c->env, 0);
    if (c->db_fd >= 0)
        close(c->db_fd);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    pthread_mutex_destroy(&c->small);
    free(c);
    *cp = NULL;
}

/* -- calls of the library -- */

static DBT dbt(struct span s)
{
    return (DBT){.data = (void *)(uintptr_t)s.p,
                 .size = (u_int32_t)s.n,
                 .flags = DB_DBT_USERMEM,
                 .ulen = (u_int32_t)s.n};
}

DB_TXN *copy_begin(struct copy *c)
{
    DB_TXN *t = NULL;
    int ret = c->env->txn_begin(c->env, NULL, &t, 0);
    if (ret != 0)
        copy_fatal("txn_begin", ret);
    return t;
}

/* The library does not bring the name of a new log file to the disk; without it the bytes are lost. */
static void sync_names(struct copy *c)
{
    if (fsync(c->db_fd) != 0)
        copy_fatal("syncing the folder", errno);
}

void copy_commit(struct copy *c, DB_TXN *t, bool sync)
{
    FAULT_STEP("directory.transaction.written");
    int ret = FAULT_CODE("directory.commit", t->commit(t, sync ? DB_TXN_SYNC : DB_TXN_WRITE_NOSYNC));
    FAULT_STEP("directory.transaction.committed");
    if (ret != 0)
        copy_fatal("commit", ret);
    if (sync)
        sync_names(c);
}

bool copy_get(struct copy *c, DB_TXN *t, enum copy_table table, struct span key, struct buf *out)
{
    DBT k = dbt(key), v = {.flags = DB_DBT_MALLOC};
    int ret = 0;
    for (int i = 0; i < TRIES; i++) {
        ret = c->db[table]->get(c->db[table], t, &k, &v, 0);
        if (ret != DB_LOCK_DEADLOCK || t)
            break;
    }
    buf_reset(out);
    if (ret == DB_NOTFOUND)
        return false;
    if (ret != 0)
        copy_fatal("get", ret);
    bool fits = buf_add(out, v.data, v.size);
    free(v.data);
    return fits;
}

/* One change; without a transaction it is its own and waits for the disk. Transactions take the tables in one
 * order and alone in their thread, so that only a change without one can meet a deadlock: it tries again. */
static void change(struct copy *c, DB_TXN *t, enum copy_table table, DBT *k, DBT *v)
{
    int ret = 0;
    for (int i = 0; i < TRIES; i++) {
        ret = v ? c->db[table]->put(c->db[table], t, k, v, 0) : c->db[table]->del(c->db[table], t, k, 0);
        if (ret != DB_LOCK_DEADLOCK || t)
            break;
    }
    if (ret != 0 && ret != DB_NOTFOUND)
        copy_fatal(v ? "put" : "del", ret);
    if (!t)
        sync_names(c);
}

void copy_put(struct copy *c, DB_TXN *t, enum copy_table table, struct span key, struct span value)
{
    DBT k = dbt(key), v = dbt(value);
    change(c, t, table, &k, &v);
}

void copy_del(struct copy *c, DB_TXN *t, enum copy_table table, struct span key)
{
    DBT k = dbt(key);
    change(c, t, table, &k, NULL);
}

bool copy_scan(struct copy *c, enum copy_table table,
               bool (*cb)(void *arg, struct span key, struct span value), void *arg)
{
    DBC *cursor = NULL;
    DBT k = {.flags = DB_DBT_REALLOC}, v = {.flags = DB_DBT_REALLOC};
    bool on = true;
    int ret = c->db[table]->cursor(c->db[table], NULL, &cursor, DB_READ_COMMITTED);
    if (ret != 0)
        copy_fatal("cursor", ret);
    while (on && (ret = cursor->get(cursor, &k, &v, DB_NEXT)) == 0)
        on = cb(arg, span_of(k.data, k.size), span_of(v.data, v.size));
    cursor->close(cursor);
    free(k.data);
    free(v.data);
    if (on && ret != DB_NOTFOUND)
        copy_fatal("scan", ret);
    return on;
}

bool copy_state_get(struct copy *c, DB_TXN *t, const char *name, uint64_t *out)
{
    struct buf b;
    buf_init(&b, 64);
    bool found = copy_get(c, t, C_STATE, span_str(name), &b) && b.n == 8;
    struct reader r = reader_of(buf_span(&b));
    *out = found ? read_u64(&r) : 0;
    buf_free(&b);
    return found;
}

void copy_state_put(struct copy *c, DB_TXN *t, const char *name, uint64_t v)
{
    struct buf b;
    buf_init(&b, 64);
    if (buf_add_u64(&b, v))
        copy_put(c, t, C_STATE, span_str(name), buf_span(&b));
    buf_free(&b);
}

int64_t copy_contact_us(struct copy *c)
{
    uint64_t v;
    return copy_state_get(c, NULL, "contact", &v) ? (int64_t)v : 0;
}

/* -- outbox -- */

static bool first_out(void *arg, struct span key, struct span value)
{
    struct copy_out *out = arg;
    struct reader k = reader_of(key), v = reader_of(value);
    out->number = read_u64(&k);
    bool known = read_u8(&v) == COPY_VERSION;
    out->event = (enum copy_event)read_u8(&v);
    struct span id = read_bytes(&v, sizeof out->account.b);
    out->at_us = (int64_t)read_u64(&v);
    if (!known || k.bad || v.bad)
        copy_fatal("an event of the outbox is broken", EINVAL);
    memcpy(out->account.b, id.p, sizeof out->account.b);
    return false;
}

bool copy_outbox_first(struct copy *c, struct copy_out *out)
{
    pthread_mutex_lock(&c->small);
    bool found = !copy_scan(c, C_OUTBOX, first_out, out);
    pthread_mutex_unlock(&c->small);
    return found;
}

void copy_outbox_done(struct copy *c, uint64_t number)
{
    unsigned char k[8];
    for (int i = 0; i < 8; i++)
        k[i] = (unsigned char)(number >> (56 - 8 * i));
    pthread_mutex_lock(&c->small);
    DB_TXN *t = copy_begin(c);
    copy_del(c, t, C_OUTBOX, span_of(k, sizeof k));
    copy_commit(c, t, false); /* told twice does no harm */
    pthread_mutex_unlock(&c->small);
}

/* -- tokens -- */

static bool put_text(struct buf *b, const char *s)
{
    return buf_add_u8(b, (uint8_t)strlen(s)) && buf_add_str(b, s);
}

static void take_text(struct reader *r, char *out, size_t size)
{
    struct span s = read_bytes(r, read_u8(r));
    if (s.n >= size)
        r->bad = true;
    else if (s.n)
        memcpy(out, s.p, s.n);
}

static bool token_decode(struct span value, struct copy_token *out)
{
    struct reader r = reader_of(value);
    *out = (struct copy_token){.created_s = 0};
    if (read_u8(&r) != COPY_VERSION)
        return false;
    struct span id = read_bytes(&r, sizeof out->account.b);
    if (id.n)
        memcpy(out->account.b, id.p, id.n);
    out->created_s = (int64_t)read_u64(&r);
    out->used_s = (int64_t)read_u64(&r);
    out->expires_s = (int64_t)read_u64(&r);
    take_text(&r, out->peer, sizeof out->peer);
    take_text(&r, out->agent, sizeof out->agent);
    return !r.bad;
}

bool copy_token_get(struct copy *c, const unsigned char hash[CRYPTO_HASH], struct copy_token *out)
{
    struct buf b;
    buf_init(&b, 1024);
    bool found =
        copy_get(c, NULL, C_TOKEN, span_of(hash, CRYPTO_HASH), &b) && token_decode(buf_span(&b), out);
    buf_free(&b);
    return found;
}

void copy_token_put(struct copy *c, const unsigned char hash[CRYPTO_HASH], const struct copy_token *t,
                    bool durable)
{
    struct buf b;
    buf_init(&b, 1024);
    if (buf_add_u8(&b, COPY_VERSION) && buf_add(&b, t->account.b, sizeof t->account.b) &&
        buf_add_u64(&b, (uint64_t)t->created_s) && buf_add_u64(&b, (uint64_t)t->used_s) &&
        buf_add_u64(&b, (uint64_t)t->expires_s) && put_text(&b, t->peer) && put_text(&b, t->agent)) {
        pthread_mutex_lock(&c->small);
        DB_TXN *x = copy_begin(c);
        copy_put(c, x, C_TOKEN, span_of(hash, CRYPTO_HASH), buf_span(&b));
        copy_commit(c, x, durable);
        pthread_mutex_unlock(&c->small);
    }
    buf_free(&b);
}

void copy_token_drop(struct copy *c, const unsigned char hash[CRYPTO_HASH])
{
    pthread_mutex_lock(&c->small);
    copy_del(c, NULL, C_TOKEN, span_of(hash, CRYPTO_HASH));
    pthread_mutex_unlock(&c->small);
}

struct purge {
    const struct uuid *account;
    int64_t now_s;
    struct buf keys;
};

static bool to_purge(void *arg, struct span key, struct span value)
{
    struct purge *p = arg;
    struct copy_token t;
    bool gone = !token_decode(value, &t) ||
                (p->account ? uuid_cmp(&t.account, p->account) == 0 : t.expires_s <= p->now_s);
    return !gone || key.n != CRYPTO_HASH || buf_add_span(&p->keys, key);
}

size_t copy_token_purge(struct copy *c, const struct uuid *account, int64_t now_s)
{
    struct purge p = {account, now_s, {0}};
    buf_init(&p.keys, 4 << 20); /* more than that goes the next time */
    pthread_mutex_lock(&c->small);
    (void)copy_scan(c, C_TOKEN, to_purge, &p);
    size_t count = p.keys.n / CRYPTO_HASH;
    for (size_t i = 0; i < count; i++)
        copy_del(c, NULL, C_TOKEN, span_of(p.keys.p + i * CRYPTO_HASH, CRYPTO_HASH));
    pthread_mutex_unlock(&c->small);
    buf_free(&p.keys);
    return count;
}

/* -- verifiers -- */

bool copy_verifier_get(struct copy *c, const struct uuid *id, struct buf *out, int64_t *at_us)
{
    struct buf b;
    buf_init(&b, 8192);
    pthread_mutex_lock(&c->small);
    bool found = copy_get(c, NULL, C_VERIFIER, span_of(id->b, sizeof id->b), &b);
    pthread_mutex_unlock(&c->small);
    struct reader r = reader_of(buf_span(&b));
    found = found && read_u8(&r) == COPY_VERSION;
    *at_us = (int64_t)read_u64(&r);
    found = found && !r.bad && buf_add_span(out, r.s);
    buf_wipe(&b);
    return found;
}

void copy_verifier_put(struct copy *c, const struct uuid *id, struct span verifier, int64_t at_us)
{
    struct buf b;
    buf_init(&b, 8192);
    if (buf_add_u8(&b, COPY_VERSION) && buf_add_u64(&b, (uint64_t)at_us) && buf_add_span(&b, verifier)) {
        pthread_mutex_lock(&c->small);
        DB_TXN *t = copy_begin(c);
        copy_put(c, t, C_VERIFIER, span_of(id->b, sizeof id->b), buf_span(&b));
        copy_commit(c, t, false);
        pthread_mutex_unlock(&c->small);
    }
    buf_wipe(&b);
}

void copy_verifier_drop(struct copy *c, const struct uuid *id)
{
    pthread_mutex_lock(&c->small);
    copy_del(c, NULL, C_VERIFIER, span_of(id->b, sizeof id->b));
    pthread_mutex_unlock(&c->small);
}
