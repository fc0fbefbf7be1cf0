/* The first start of a store that was put back from a backup (mailadm restore leaves the file `restored` in
 * its folder). The set's last commit is older than the last one that was ever acknowledged, so numbers that
 * clients have seen must not be given to anything else: every mailbox gets a larger UIDVALIDITY from the
 * counter, all counters jump, and what was queued waits until a person has looked (it may have gone out
 * since). The hard point is a crash in the middle: the file goes last, and until then all of it is done
 * again. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char marker[] = "restored";
static const char hold_key[] = "queue_hold";
enum { REC_HOLD = 1 + 8 + 8 };

bool restored_pending(const struct engine *e)
{
    return faccessat(e->dir_fd, marker, F_OK, 0) == 0;
}

bool restored_half(const struct engine *e)
{
    return faccessat(e->dir_fd, "restoring", F_OK, 0) == 0 && faccessat(e->dir_fd, "format", F_OK, 0) != 0;
}

/* -- UIDVALIDITY -- */

static enum err_code next_boxes(struct engine *e, uint64_t from, uint64_t out[SLICE], size_t *n)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    unsigned char first[KEY_ID];
    *n = 0;
    enum err_code code = tx_begin(e, true, &t);
    if (code != ERR_OK)
        return code;
    put_be64(first, from);
    scan_open(&s, &t, T_MAILBOX, span_of(first, sizeof first), 0, 64 << 10);
    while (*n < SLICE && scan_next(&s, &key, &value))
        out[(*n)++] = get_be64(key.p);
    code = scan_close(&s);
    tx_free(&t);
    return code;
}

static enum err_code renew_slice(struct engine *e, const uint64_t *ids, size_t n)
{
    struct tx t;
    enum err_code code = tx_begin(e, false, &t);
    for (size_t i = 0; i < n && code == ERR_OK; i++) {
        struct box b;
        uint64_t validity;
        code = id_take(e, ID_UIDVALIDITY, &validity);
        if (code == ERR_OK)
            code = box_get(&t, ids[i], &b);
        if (code == ERR_OK && (validity <= b.r.uidvalidity || validity >= UINT32_MAX))
            code = ERR_BUG;
        if (code != ERR_OK)
            break;
        b.r.uidvalidity = (uint32_t)validity;
        code = box_put(&t, &b);
    }
    if (code == ERR_OK)
        code = tx_commit(&t);
    tx_free(&t);
    FAULT_STEP("store.restored.renewed");
    return code;
}

static enum err_code renew_all(struct engine *e, uint64_t *count)
{
    uint64_t ids[SLICE], from = 0;
    size_t n = SLICE;
    enum err_code code = ERR_OK;
    for (*count = 0; code == ERR_OK && n == SLICE; *count += n) {
        code = next_boxes(e, from, ids, &n);
        if (code == ERR_OK && n)
            code = renew_slice(e, ids, n);
        from = n ? ids[n - 1] + 1 : from;
    }
    return code;
}

/* -- the queue -- */

static enum err_code put_hold(struct tx *t, int64_t since_us, uint64_t below)
{
    unsigned char v[REC_HOLD] = {REC_VERSION};
    put_be64(v + 1, (uint64_t)since_us);
    put_be64(v + 9, below);
    return tx_put(t, T_STORE, SPAN(hold_key), span_of(v, sizeof v));
}

static enum err_code hold_queue(struct engine *e)
{
    struct tx t;
    struct buf key, value;
    buf_init(&key, 4096);
    buf_init(&value, (size_t)64 << 20);
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = tx_last(&t, T_QUEUE, &key, &value);
    if (code == ERR_OK)
        code = put_hold(&t, clock_wall_us(), e->id_next[ID_QUEUE]);
    if (code == ERR_OK)
        code = tx_commit(&t);
    tx_free(&t);
    buf_free(&key);
    buf_free(&value);
    return code == ERR_MISSING ? ERR_OK : code; /* nothing is queued */
}

enum err_code queue_hold_load(struct engine *e)
{
    struct tx t;
    unsigned char v[REC_HOLD];
    size_t n = 0;
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = tx_get(&t, T_STORE, SPAN(hold_key), v, sizeof v, &n);
    tx_free(&t);
    if (code == ERR_MISSING)
        return ERR_OK;
    if (code == ERR_OK && n != REC_HOLD)
        code = ERR_BUG;
    if (code != ERR_OK)
        return code;
    e->hold_since_us = (int64_t)get_be64(v + 1);
    atomic_store(&e->hold_below, get_be64(v + 9));
    log_event(LOG_WARN, NULL, "store.queue.held", F_STR("dir", e->dir),
              F_STR("free_it_with", "mailadm queue release"));
    return ERR_OK;
}

enum err_code op_queue_release(struct tx *t, struct job *j)
{
    (void)j;
    enum err_code code = tx_del(t, T_STORE, SPAN(hold_key));
    if (code == ERR_MISSING)
        return ERR_OK;
    if (code == ERR_OK) {
        /* Before the commit is durable a worker may lease one: as if released a moment before a crash. */
        atomic_store(&t->e->hold_below, 0);
        t->queue_due = true;
        log_event(LOG_INFO, NULL, "store.queue.released", F_STR("dir", t->e->dir));
    }
    return code;
}

enum err_code read_queue_held(struct tx *t, struct query *q)
{
    struct scan s;
    struct span key, value;
    const uint64_t below = atomic_load(&t->e->hold_below);
    uint64_t held = 0, all = 0;
    scan_open(&s, t, T_QUEUE_DUE, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        all++;
        held += key.n == KEY_CHANGE && get_be64(key.p + 8) < below;
    }
    enum err_code code = scan_close(&s);
    if (code == ERR_OK && !buf_addf(parts_add(&q->answer), "held=%llu\nqueued=%llu\nheld_since_us=%lld\n",
                                    (unsigned long long)held, (unsigned long long)all,
                                    (long long)(below ? t->e->hold_since_us : 0)))
        code = ERR_LIMIT;
    return code;
}

/* -- the whole -- */

enum err_code restored_settle(struct engine *e, struct err *why)
{
    uint64_t boxes = 0;
    if (!restored_pending(e))
        return ERR_OK;
    FAULT_STEP("store.restored.begun");
    enum err_code code = ids_jump(e);
    FAULT_STEP("store.restored.jumped");
    if (code == ERR_OK)
        code = life_load(e, true);
    FAULT_STEP("store.restored.reborn");
    if (code == ERR_OK)
        code = renew_all(e, &boxes);
    if (code == ERR_OK)
        code = hold_queue(e);
    if (code != ERR_OK)
        return err_set(why, code, NULL, "%s: settling what was restored", e->dir);
    FAULT_STEP("store.restored.held");
    env_log_flush(e);
    FAULT_STEP("store.restored.settled");
    log_event(LOG_WARN, NULL, "store.restored", F_STR("dir", e->dir), F_UINT("mailboxes", boxes));
    return ERR_OK;
}

/* Once the segments are settled too: from here on it is a store like any other. */
enum err_code restored_done(struct engine *e, struct err *why)
{
    if (!restored_pending(e))
        return ERR_OK;
    FAULT_STEP("store.restored.segments");
    env_checkpoint(e, true); /* the copied pages are whole now: an ordinary recovery does */
    FAULT_STEP("store.restored.checkpointed");
    if (unlinkat(e->dir_fd, marker, 0) != 0 || fsync(e->dir_fd) != 0)
        return err_set(why, ERR_RETRY, NULL, "%s/%s: %s", e->dir, marker, strerror(errno));
    FAULT_STEP("store.restored.done");
    return ERR_OK;
}
