/* The Berkeley DB environment: opening with recovery under a lock of our own (DB_PRIVATE does not keep a
 * second process out), tables, checkpoints, removal of logs that recovery does not need and no backup
 * holds. When there is a checkpoint is care.c's to say. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include "common/store/pages.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_BUFFER = 4 << 20, LOG_FILE = 10 << 20, LOCKS = 200000, TRANSACTIONS = 2000 };

/* Tables that sessions scan have versions (a snapshot then waits for no lock, at the price of a copy of the
 * page for each transaction that changes it). The others are read one record at a time, or by administrators.
 */
static const struct {
    const char *name;
    u_int32_t page;
    bool versions;
} tables[T_COUNT] = {
    [T_STORE] = {"store", 4096, false},      [T_ACCOUNT] = {"account", 1024, true},
    [T_NAME] = {"mailbox_name", 8192, true}, [T_NAME_CHANGE] = {"name_change", 4096, false},
    [T_QUOTA] = {"quota", 1024, false},      [T_UNIT] = {"unit", 4096, false},
    [T_MAILBOX] = {"mailbox", 1024, true},   [T_KEYWORD] = {"keyword", 4096, true},
    [T_MESSAGE] = {"message", 8192, true},   [T_CONTENT] = {"content", 8192, false},
    [T_REF] = {"content_ref", 4096, false},  [T_CHANGE] = {"change", 4096, true},
    [T_QUEUE] = {"queue", 8192, false},      [T_QUEUE_DUE] = {"queue_due", 4096, false},
    [T_TRACE] = {"trace", 4096, false},      [T_REPEAT] = {"repeat", 4096, false},
    [T_DONE] = {"done", 4096, false},        [T_SEGMENT] = {"segment", 4096, false},
};

const char *env_table_name(enum table t)
{
    return tables[t].name;
}

bool env_has_versions(enum table t)
{
    return tables[t].versions;
}

static void on_db_error(const DB_ENV *env, const char *prefix, const char *text)
{
    (void)env;
    (void)prefix;
    if (pages_refused_now())
        return; /* the damaged page was told, once */
    log_event(LOG_ERROR, NULL, "store.database.error", F_STR("text", text));
}

static void on_panic(DB_ENV *env, int ret)
{
    engine_fatal(env->app_private, "database", db_strerror(ret));
}

static enum err_code env_create(struct engine *e, struct err *why)
{
    int ret = db_env_create(&e->env, 0);
    if (ret != 0)
        return err_set(why, ERR_BUG, NULL, "db_env_create: %s", db_strerror(ret));
    DB_ENV *v = e->env;
    v->app_private = e;
    v->set_errcall(v, on_db_error);
    v->set_paniccall(v, on_panic);
    uint64_t cache = e->o.cache_size;
    ret = v->set_cachesize(v, (u_int32_t)(cache >> 30), (u_int32_t)(cache & ((1U << 30) - 1)), 1);
    const uint32_t log = env_log_size(e);
    ret = ret ? ret : v->set_lg_max(v, log);
    ret = ret ? ret : v->set_lg_bsize(v, log / 2 < LOG_BUFFER ? log / 2 : LOG_BUFFER);
    ret = ret ? ret : v->set_lk_detect(v, DB_LOCK_DEFAULT);
    ret = ret ? ret : v->set_lk_max_locks(v, LOCKS);
    ret = ret ? ret : v->set_lk_max_objects(v, LOCKS);
    ret = ret ? ret : v->set_tx_max(v, TRANSACTIONS);
    ret = ret ? ret : v->set_flags(v, DB_TXN_NOSYNC, 1);
    ret = ret ? ret : redo_begin(e);
    if (ret != 0)
        return err_set(why, ERR_BUG, NULL, "setting up the environment: %s", db_strerror(ret));
    /* Pages that were copied under load are older than the last checkpoint knows: all of the log counts. */
    const u_int32_t how = restored_pending(e) ? DB_RECOVER_FATAL : DB_RECOVER;
    char *home = NULL;
    if (asprintf(&home, "%s/db", e->dir) < 0)
        abort();
    ret = v->open(v, home,
                  DB_CREATE | how | DB_PRIVATE | DB_THREAD | DB_INIT_TXN | DB_INIT_LOG | DB_INIT_LOCK |
                      DB_INIT_MPOOL,
                  0640);
    if (ret != 0)
        err_set(why, ERR_BUG, NULL, "opening the environment in %s: %s", home, db_strerror(ret));
    free(home);
    redo_end(e);
    return ret ? ERR_BUG : ERR_OK;
}

static enum err_code open_table(struct engine *e, enum table t, struct err *why)
{
    DB *db = NULL;
    char file[64];
    snprintf(file, sizeof file, "%s.db", tables[t].name);
    int ret = db_create(&db, e->env, 0);
    ret = ret ? ret : db->set_pagesize(db, tables[t].page);
    ret = ret ? ret : db->set_flags(db, DB_CHKSUM); /* of a table that is made now; others stay as they are */
    ret = ret ? ret
              : db->open(db, NULL, file, NULL, DB_BTREE,
                         DB_CREATE | DB_AUTO_COMMIT | DB_THREAD |
                             (tables[t].versions ? (u_int32_t)DB_MULTIVERSION : 0),
                         0640);
    if (ret != 0) {
        err_set(why, ERR_BUG, NULL, "opening %s: %s", file, db_strerror(ret));
        if (db)
            db->close(db, 0);
        return ERR_BUG;
    }
    e->db[t] = db;
    return ERR_OK;
}

/* Every login and SELECT reads these few small tables: they come into memory while the rest of the start is
 * under way, so that the first SELECT after it does not wait for a dozen single reads. */
static void read_ahead(struct engine *e)
{
    static const enum table hot[] = {T_STORE, T_ACCOUNT, T_NAME, T_QUOTA, T_MAILBOX, T_KEYWORD};
    enum { MOST = 64 << 20 };
    for (size_t i = 0; i < sizeof hot / sizeof *hot; i++) {
        char name[64];
        snprintf(name, sizeof name, "db/%s.db", tables[hot[i]].name);
        int fd = openat(e->dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue; /* not made yet */
        (void)posix_fadvise(fd, 0, MOST, POSIX_FADV_WILLNEED);
        close(fd);
    }
}

enum err_code env_open(struct engine *e, struct err *why)
{
    read_ahead(e);
    enum err_code code = env_create(e, why);
    for (int t = 0; code == ERR_OK && t < T_COUNT; t++)
        code = open_table(e, (enum table)t, why);
    FAULT_STEP("store.recovery.tables");
    if (code == ERR_OK)
        env_log_flush(e);
    return code;
}

void env_log_flush(struct engine *e)
{
    int ret = FAULT_CODE("store.log.flush", e->env->log_flush(e->env, NULL));
    if (ret != 0)
        engine_fatal(e, "flushing the log", db_strerror(ret));
    if (!pages_names_sync())
        engine_fatal(e, "syncing the log's folder", strerror(errno));
}

void env_close(struct engine *e)
{
    for (int t = T_COUNT - 1; t >= 0; t--)
        if (e->db[t])
            e->db[t]->close(e->db[t], 0);
    if (e->env)
        e->env->close(e->env, 0);
    e->env = NULL;
}

/* Recovery writes the rest of a torn file with zeros: small ones keep that short. */
uint32_t env_log_size(const struct engine *e)
{
    return e->o.log_size ? (uint32_t)e->o.log_size : LOG_FILE;
}

uint64_t env_log_bytes(struct engine *e)
{
    DB_LOG_STAT *st = NULL;
    if (e->env->log_stat(e->env, &st, 0) != 0)
        return 0;
    uint64_t bytes = (uint64_t)st->st_cur_file * env_log_size(e) + st->st_cur_offset;
    free(st);
    return bytes;
}

static uint64_t table_bytes(struct engine *e, enum table t)
{
    DB_BTREE_STAT *st = NULL;
    if (e->db[t]->stat(e->db[t], NULL, &st, DB_FAST_STAT) != 0)
        return 0;
    uint64_t bytes = (uint64_t)st->bt_pagecnt * st->bt_pagesize;
    free(st);
    return bytes;
}

static void log_figures(struct engine *e, struct env_figures *out)
{
    char **files = NULL, name[300];
    struct stat st;
    if (e->env->log_archive(e->env, &files, DB_ARCH_LOG) != 0)
        return;
    for (char **f = files; f && *f; f++) {
        snprintf(name, sizeof name, "db/%s", *f);
        out->log_files++;
        out->log_file_bytes += fstatat(e->dir_fd, name, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
    }
    free(files);
}

void env_figures(struct engine *e, struct env_figures *out)
{
    DB_MPOOL_STAT *pool = NULL;
    DB_LOCK_STAT *lock = NULL;
    *out = (struct env_figures){.history_bytes = table_bytes(e, T_CHANGE)};
    for (int t = 0; t < T_COUNT; t++)
        out->database_bytes += table_bytes(e, (enum table)t);
    if (e->env->memp_stat(e->env, &pool, NULL, 0) == 0) {
        out->cache_hits = (uint64_t)pool->st_cache_hit;
        out->cache_misses = (uint64_t)pool->st_cache_miss;
        free(pool);
    }
    if (e->env->lock_stat(e->env, &lock, 0) == 0) {
        out->lock_waits = (uint64_t)lock->st_lock_wait;
        free(lock);
    }
    log_figures(e, out);
}

/* Log files that no recovery needs and nobody holds. */
static void remove_logs(struct engine *e)
{
    char **gone = NULL, name[32];
    pthread_mutex_lock(&e->hold_lock); /* a hold that begins now finds all files or none of those that go */
    const uint32_t keep_from = holds_first_log(e);
    int ret = e->env->log_archive(e->env, &gone, keep_from == UINT32_MAX ? DB_ARCH_REMOVE : 0);
    for (char **f = gone; ret == 0 && f && *f && keep_from != UINT32_MAX; f++) {
        unsigned number;
        if (sscanf(*f, "log.%u", &number) != 1 || number >= keep_from)
            continue;
        snprintf(name, sizeof name, "db/log.%010u", number);
        if (unlinkat(e->dir_fd, name, 0) != 0)
            ret = errno;
    }
    pthread_mutex_unlock(&e->hold_lock);
    free(gone);
    if (ret != 0)
        log_event(LOG_ERROR, NULL, "store.log.kept", F_STR("why", db_strerror(ret)));
}

void env_checkpoint(struct engine *e, bool force)
{
    DB_TXN *hold = NULL;
    int ret = redo_hold(e, &hold);
    if (ret == 0) {
        ret =
            FAULT_CODE("store.checkpoint.begun", e->env->txn_checkpoint(e->env, 0, 0, force ? DB_FORCE : 0));
        redo_release(e, hold);
    }
    if (ret == ENOSPC || ret == EDQUOT) {
        log_event(LOG_ALARM, NULL, "store.checkpoint.failed", F_STR("why", db_strerror(ret)));
        return; /* the log still has it all; the next one tries again */
    }
    if (ret != 0)
        engine_fatal(e, "checkpoint", db_strerror(ret));
    if (!pages_names_sync()) /* before older logs go */
        engine_fatal(e, "syncing the log's folder", strerror(errno));
    atomic_fetch_add(&e->count.checkpoints, 1);
    FAULT_STEP("store.checkpoint.done");
    remove_logs(e);
    FAULT_STEP("store.logs.removed");
}
