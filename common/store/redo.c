/* Contents in the log. What a batch appends to its segment goes into the log as well when it is little, in a
 * transaction of its own before those that name it: then the log's flush alone makes the batch durable, and
 * the segment is synced by the next checkpoint. A start after a crash finds in the log what the segment may
 * have lost and writes it there again. Of much the segment is synced first, so that it is written once.
 * The hard point is that no checkpoint passes bytes that are not synced yet: it begins a transaction of its
 * own, then syncs, then takes the checkpoint, which never reaches behind the first record of a transaction
 * under way. A recovery ends with a checkpoint inside the library: before its sync of anything the segments
 * are synced, too. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include "common/store/pages.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    REDO_BYTES = DB_user_BEGIN + 1, /* place (version, segment, offset), head and frame table; packed bytes */
    REDO_MARK = DB_user_BEGIN + 2,  /* where a checkpoint stood */
    PLACE = 1 + 4 + 8,
    FRONT = 16 /* of every record: type, transaction, the LSN before it; in host order, by the library */
};

static DB_LOG_RECSPEC bytes_spec[] = {
    {LOGREC_DBT, 0, "place", ""}, {LOGREC_DBT, 0, "bytes", ""}, {LOGREC_Done, 0, "", ""}};
static DB_LOG_RECSPEC mark_spec[] = {{LOGREC_Done, 0, "", ""}};

/* Begin a transaction with a record of ours; the rest is what its spec asks for. */
static int begin_with(struct engine *e, DB_TXN **out, u_int32_t type, const DBT *place, const DBT *bytes)
{
    DB_ENV *env = e->env;
    DB_LSN lsn;
    int ret = env->txn_begin(env, NULL, out, DB_TXN_NOSYNC);
    if (ret != 0)
        return ret;
    if (type == REDO_BYTES)
        ret = env->log_put_record(env, NULL, *out, &lsn, 0, type, 0,
                                  (u_int32_t)(FRONT + LOG_DBT_SIZE(place) + LOG_DBT_SIZE(bytes)), bytes_spec,
                                  place, bytes);
    else
        ret = env->log_put_record(env, NULL, *out, &lsn, 0, type, 0, FRONT, mark_spec);
    if (ret != 0 && (*out)->abort(*out) != 0)
        engine_fatal(e, "abort", db_strerror(ret));
    return ret;
}

void redo_release(struct engine *e, DB_TXN *t)
{
    int ret = t->commit(t, DB_TXN_NOSYNC);
    if (ret != 0)
        engine_fatal(e, "commit", db_strerror(ret));
}

bool redo_put(struct engine *e, uint32_t segment, uint64_t at, struct span s)
{
    unsigned char place[PLACE] = {REC_VERSION};
    DB_TXN *t = NULL;
    put_be32(place + 1, segment);
    put_be64(place + 5, at);
    const DBT head = {.data = place, .size = sizeof place};
    const DBT bytes = {.data = (void *)(uintptr_t)s.p, .size = (u_int32_t)s.n};
    int ret = FAULT_CODE("store.redo.put", begin_with(e, &t, REDO_BYTES, &head, &bytes));
    if (ret == 0)
        redo_release(e, t);
    return ret == 0;
}

/* -- checkpoints -- */

int redo_hold(struct engine *e, DB_TXN **out)
{
    int ret = begin_with(e, out, REDO_MARK, NULL, NULL);
    if (ret != 0)
        return ret;
    FAULT_STEP("store.redo.marked");
    const uint32_t number =
        atomic_load(&e->small_segment); /* those before it were synced when they were full */
    int fd = number ? segment_open(e, number) : -1;
    if (number && fd < 0 && errno != ENOENT)
        engine_fatal(e, "opening a segment to sync it", strerror(errno));
    if (fd >= 0 && (FAULT("store.redo.sync") || fdatasync(fd) != 0))
        engine_fatal(e, "syncing contents", strerror(errno));
    if (fd >= 0)
        close(fd);
    FAULT_STEP("store.redo.synced");
    return 0;
}

/* -- recovery -- */

/* Before any sync of the library's: what was written again. */
static bool sync_redone(void *arg)
{
    struct redo *r = arg;
    if (!r->dirty)
        return true;
    FAULT_STEP("store.redo.written");
    if (fdatasync(r->fd) != 0)
        return false;
    r->dirty = false;
    return true;
}

static int take_segment(struct engine *e, uint32_t number)
{
    struct redo *r = &e->redo;
    if (r->number == number)
        return 0;
    if (!sync_redone(r))
        return errno;
    if (r->fd >= 0)
        close(r->fd);
    r->number = number;
    r->fd = segment_open_as(e, number, O_RDWR);
    return r->fd < 0 && errno != ENOENT ? errno : 0; /* gone: nothing in it was alive */
}

static int write_again(struct engine *e, struct span record)
{
    struct redo *r = &e->redo;
    struct span place, bytes;
    uint32_t n = 0;
    bool ok = record.n >= sizeof n;
    for (int i = 0; i < 2 && ok; i++) { /* lengths in host order, by the library */
        memcpy(&n, record.p, sizeof n);
        record = span_drop(record, sizeof n);
        ok = n <= record.n && (i || record.n - n >= sizeof n);
        *(i ? &bytes : &place) = span_first(record, n);
        record = span_drop(record, n);
    }
    if (!ok || place.n != PLACE || place.p[0] != REC_VERSION)
        return EINVAL;
    const uint32_t number = get_be32(place.p + 1);
    const uint64_t at = get_be64(place.p + 5);
    if (at < SEGMENT_HEAD)
        return EINVAL;
    int ret = take_segment(e, number);
    if (ret != 0 || r->fd < 0)
        return ret;
    r->dirty = true;
    if (!segment_write(r->fd, bytes, at))
        return errno;
    r->count++;
    return 0;
}

/* The library's call for our records; an undo needs nothing: bytes that no record names mean nothing. */
static int on_record(DB_ENV *env, DBT *record, DB_LSN *lsn, db_recops op)
{
    const struct span all = span_of(record->data, record->size);
    uint32_t type;
    if (all.n < FRONT)
        return EINVAL;
    memcpy(&type, all.p, sizeof type);
    int ret = 0;
    if (type == REDO_BYTES && DB_REDO(op))
        ret = write_again(env->app_private, span_drop(all, FRONT));
    else if (type != REDO_BYTES && type != REDO_MARK)
        ret = EINVAL;
    memcpy(lsn, all.p + 8, sizeof *lsn);
    return ret;
}

int redo_begin(struct engine *e)
{
    e->redo = (struct redo){.fd = -1};
    pages_before_sync(sync_redone, &e->redo);
    return e->env->set_app_dispatch(e->env, on_record);
}

void redo_end(struct engine *e)
{
    struct redo *r = &e->redo;
    if (!sync_redone(r))
        engine_fatal(e, "syncing contents", strerror(errno));
    pages_before_sync(NULL, NULL);
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    if (r->count)
        log_event(LOG_INFO, NULL, "store.contents.redone", F_UINT("count", r->count));
}
