/* The writer: takes what has queued up, secures the contents of all at once, applies each request as a
 * transaction of its own, flushes the log once, and only then hands the answers out. It never waits for
 * company: what arrives during the flush is the next batch. The stager does the same for large contents
 * beforehand, so that their copying keeps nobody waiting. The hard points: nothing is answered before its
 * flush (a failed one ends the process), a request in slices lets others pass between two of them, and a
 * request that comes again finds its first outcome. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/statvfs.h>

enum {
    TRIES = 8,         /* of a transaction that meets a deadlock */
    BATCH_JOBS = 1000, /* taken at once */
    SLICES_ALONE = 64, /* of one request in one batch, while nobody else waits */
    SLICES_MS = 25     /* and not longer: what becomes visible meanwhile is told after the flush only */
};

/* Nothing to do: that it is done says that the writer works. */
static enum err_code op_ping(struct tx *t, struct job *j)
{
    (void)t;
    (void)j;
    return ERR_OK;
}

static const struct op {
    uint16_t type;
    enum err_code (*apply)(struct tx *t, struct job *j);
    bool grows; /* refused when the disk is nearly full */
} ops[] = {
    {WIRE_DELIVER, op_deliver, true}, {WIRE_APPEND, op_append, true},
    {WIRE_SLICE, op_slice, true},     {WIRE_COPY, op_copy, true},
    {WIRE_FLAGS, op_flags, false},    {WIRE_EXPUNGE, op_expunge, false},
    {WIRE_CREATE, op_create, true},   {WIRE_DELETE, op_delete, false},
    {WIRE_RENAME, op_rename, false},  {WIRE_SUBSCRIBE, op_subscribe, false},
    {WIRE_CLAIM, op_claim, false},    {WIRE_LOGIN, op_login, false},
    {WIRE_TOUCH, op_touch, false},    {WIRE_LEASE, op_lease, false},
    {WIRE_DEFER, op_defer, false},    {WIRE_REVOKE, op_revoke, false},
    {WIRE_PURGE, op_purge, false},    {WIRE_RESTORE, op_restore, true},
    {WIRE_FOLDER, op_folder, true},   {WIRE_UNITS, op_units, false},
    {WIRE_LIMITS, op_limits, false},  {WIRE_NOTICE, op_notice, true},
    {WIRE_SWEEP, op_sweep, false},    {WIRE_SEGMENT, op_segment, false},
    {WIRE_HOLD, op_hold, false},      {WIRE_QUEUE_RELEASE, op_queue_release, false},
    {WIRE_MEND, op_mend, false},      {WIRE_RELOCATE, op_relocate, false},
    {WIRE_PING, op_ping, false},      {WIRE_DESCRIBE, op_describe, true},
};

static const struct op *op_of(uint16_t type)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].type == type)
            return &ops[i];
    return NULL;
}

bool engine_is_write(uint16_t type)
{
    return op_of(type) != NULL || engine_is_lazy(type);
}

/* A batch under way. */
struct batch {
    struct engine *e;
    struct tx t;
    struct news *news;
    struct job **last; /* end of news->jobs */
    uint64_t number, finished;
    bool recorded; /* the request being applied has an outcome on record */
};

static void finish(struct batch *b, struct job *j)
{
    if (j->code != ERR_OK)
        parts_free(&j->answer);
    *b->last = j;
    b->last = &j->next;
    j->next = NULL;
    b->finished++;
    atomic_fetch_add(&b->e->count.jobs, 1);
}

/* -- one request -- */

/* Slices of one request touch the same mailbox one after the other: one event tells of them all. */
static void keep_one_touched(struct news *n, const struct touched *t)
{
    struct touched *last = n->touched_count ? &n->touched[n->touched_count - 1] : NULL;
    if (last && t->mailbox && last->mailbox == t->mailbox) {
        last->modseq = t->modseq;
        return;
    }
    if (n->touched_count == n->touched_cap) {
        n->touched_cap = n->touched_cap ? n->touched_cap * 2 : 64;
        n->touched = xrealloc(n->touched, n->touched_cap * sizeof *n->touched);
    }
    n->touched[n->touched_count++] = *t;
}

static void keep_touched(struct batch *b)
{
    struct news *n = b->news;
    if (b->t.queue_due)
        n->queue_due = true;
    for (size_t i = 0; i < b->t.touched_count; i++)
        keep_one_touched(n, &b->t.touched[i]);
    for (size_t i = 0; i < b->t.quota.full_count; i++)
        full_add(&n->fulls, &n->full_count, &n->full_cap, &b->t.quota.fulls[i]);
}

static void answer_cut(struct job *j, size_t n)
{
    while (j->answer.n > n)
        buf_free(&j->answer.v[--j->answer.n]);
}

static enum err_code try_once(struct batch *b, struct job *j, const struct op *op)
{
    size_t parts = j->answer.n;
    enum err_code code = tx_renew(&b->t);
    j->more = false;
    if (code == ERR_OK)
        code = op->apply(&b->t, j);
    assert(j->answer.n <= parts + 1);
    if (code == ERR_OK)
        code = quota_notify(&b->t);
    /* Every slice is on record, also one that changed nothing: the parts have no gaps, and part 0 has the
     * intent. */
    if (code == ERR_OK && (b->t.writes || j->more || j->part)) {
        code = done_put(&b->t, j, !j->more, j->answer.n > parts ? buf_span(&j->answer.v[parts]) : SPAN_NONE);
        b->recorded = code == ERR_STATE;
    }
    if (code != ERR_OK)
        return code;
    if (b->t.writes) {
        b->e->commits = true;
        atomic_store(&b->e->visible, b->number);
    }
    FAULT_STEP("store.request.applied");
    code = tx_commit(&b->t);
    if (code == ERR_OK)
        keep_touched(b);
    FAULT_STEP(j->more ? "store.slice.committed" : "store.request.committed");
    return code;
}

/* It fails after some of its slices: that is its outcome, which no later start may turn into another. */
static void record_failure(struct batch *b, struct job *j)
{
    enum err_code code = ERR_RETRY;
    for (int i = 0; i < TRIES && code == ERR_RETRY; i++) {
        code = tx_renew(&b->t);
        if (code == ERR_OK)
            code = done_fail(&b->t, j);
        if (code == ERR_OK)
            code = tx_commit(&b->t);
        else
            tx_abort(&b->t);
    }
    if (code != ERR_OK)
        log_event(LOG_ALARM, NULL, "store.failure.unrecorded", F_UINT("type", j->type),
                  F_STR("why", err_name(code)));
    b->e->commits = true;
}

/* Apply one request, or its next slice. False: it goes on in a later batch. */
static bool apply(struct batch *b, struct job *j)
{
    const struct op *op = op_of(j->type);
    const uint32_t at = j->at;
    const uint64_t other = j->other;
    const size_t parts = j->answer.n;
    j->code = ERR_BUG;
    for (int i = 0; op && i < TRIES; i++) {
        j->code = try_once(b, j, op);
        if (j->code == ERR_OK)
            break;
        tx_abort(&b->t);
        answer_cut(j, parts);
        j->at = at;
        j->other = other;
        if (j->code != ERR_RETRY)
            break;
        if (b->t.lazy_first)
            lazy_run(b->e, &b->t);
        b->t.lazy_first = false;
    }
    if (j->code == ERR_OK)
        j->part++;
    bool recorded = b->recorded;
    b->recorded = false;
    if (recorded && j->part == 0) { /* sent again without saying so */
        bool final = false;
        const enum err_code found = done_find(b->e, j, &final);
        if (found != ERR_OK)
            j->code = found;
        return true;
    }
    if (j->code != ERR_OK && j->part)
        record_failure(b, j);
    if (j->code == ERR_BUG)
        log_event(LOG_ALARM, NULL, "store.request.broken", F_UINT("type", j->type));
    return j->code != ERR_OK || !j->more;
}

/* -- requests that come again -- */

static bool same_id(const struct job *a, const struct job *b)
{
    return memcmp(a->id.b, b->id.b, sizeof a->id.b) == 0;
}

static bool in_slices(const struct engine *e, const struct job *j)
{
    for (const struct job *s = e->sliced; s; s = s->next)
        if (same_id(s, j))
            return true;
    return false;
}

/* True: settled (j->code and answer), or put back to wait for the same request that is under way. */
static bool seen_before(struct batch *b, struct job *j, struct job ***later)
{
    bool final = false;
    if (!j->again)
        return false;
    if (in_slices(b->e, j)) {
        j->next = NULL;
        **later = j;
        *later = &j->next;
        return true;
    }
    const enum err_code found = done_find(b->e, j, &final);
    if (found == ERR_MISSING || (found == ERR_OK && !final))
        return false; /* new, or half done: it goes on where it stopped */
    if (found != ERR_OK)
        j->code = found;
    finish(b, j);
    return true;
}

/* Whoever asked has been told by now, or is about to be, that it was not done: so it must not be begun. */
static bool is_late(const struct job *j, uint64_t now_ms)
{
    if (j->part || !j->until_ms || now_ms < j->until_ms)
        return false;
    /* In this order: asker_hears sets them in the other. */
    return !j->whose || now_ms >= atomic_load(&j->whose->more_ms) ||
           j->until_ms < atomic_load(&j->whose->gone_ms);
}

/* An asker gives up twice `more` after it has asked, or heard. If it has heard nothing for nearly as long,
 * what it asked by then may be given up already, and this word comes too late for it. */
void asker_hears(struct asker *a, uint64_t now_ms, uint64_t more)
{
    if (now_ms > atomic_load(&a->more_ms) + more / 2)
        atomic_store(&a->gone_ms, now_ms - more / 2);
    atomic_store(&a->more_ms, now_ms + more);
}

static void refuse_late(struct batch *b, struct job *j)
{
    j->code = ERR_RETRY;
    atomic_fetch_add(&b->e->count.refused_late, 1);
    finish(b, j);
}

/* -- contents -- */

static bool disk_is_full(struct engine *e)
{
    struct statvfs st;
    if (fstatvfs(e->dir_fd, &st) != 0)
        return false;
    bool full = (uint64_t)st.f_bavail * st.f_frsize < e->o.reserve;
    if (full && !atomic_load(&e->full))
        log_event(LOG_ALARM, NULL, "store.disk.full", F_UINT("free", (uint64_t)st.f_bavail * st.f_frsize),
                  F_UINT("reserve", e->o.reserve));
    atomic_store(&e->full, full);
    return full;
}

static bool brings_content(const struct job *j)
{
    return (j->type == WIRE_DELIVER || j->type == WIRE_APPEND || j->type == WIRE_NOTICE) && !j->has_place;
}

static enum err_code add_content(struct batch *b, struct job *j)
{
    struct content_in c;
    if (!content_find(j->type, buf_span(&j->body), b->e->o.message_limit, &c) ||
        c.head.inline_n != c.head.packed)
        return ERR_SYNTAX;
    return stream_add(&b->e->small, j, &c.head, c.table, c.bytes);
}

/* Contents of the batch to the disk; those that fail are answered and leave the list. */
static struct job *add_contents(struct batch *b, struct job *jobs)
{
    struct job *keep = NULL, **last = &keep;
    bool full = disk_is_full(b->e), failed = false;
    for (struct job *j = jobs, *next; j; j = next) {
        next = j->next;
        const struct op *op = op_of(j->type);
        j->code = full && op && op->grows ? ERR_RETRY : brings_content(j) ? add_content(b, j) : ERR_OK;
        if (j->code != ERR_OK) {
            if (full)
                atomic_fetch_add(&b->e->count.refused_full, 1);
            failed = failed || (j->code == ERR_RETRY && !full);
            finish(b, j);
            continue;
        }
        *last = j;
        last = &j->next;
    }
    *last = NULL;
    FAULT_STEP("store.batch.taken");
    failed = stream_secure(&b->e->small) != ERR_OK || failed;
    FAULT_STEP("store.batch.synced");
    if (!failed)
        return keep;
    /* Which bytes of the batch reached the file is not known: none of its contents counts. */
    struct job *rest = NULL;
    last = &rest;
    for (struct job *j = keep, *next; j; j = next) {
        next = j->next;
        if (j->has_place && j->fd < 0) {
            j->code = ERR_RETRY;
            finish(b, j);
            continue;
        }
        *last = j;
        last = &j->next;
    }
    *last = NULL;
    return rest;
}

/* -- the batch -- */

void engine_hurry(struct engine *e)
{
    atomic_store(&e->hurry, true);
}

static bool others_wait(struct engine *e)
{
    if (atomic_load(&e->hurry))
        return true;
    pthread_mutex_lock(&e->lock);
    bool wait = e->first != NULL || e->stopping;
    pthread_mutex_unlock(&e->lock);
    return wait;
}

/* A slice of each long request; more while nobody else is there. */
static void run_slices(struct batch *b)
{
    const uint64_t until_ms = clock_mono_ms() + SLICES_MS;
    for (int round = 0; b->e->sliced && round < SLICES_ALONE; round++) {
        if (round && (others_wait(b->e) || clock_mono_ms() >= until_ms))
            return;
        struct job **at = &b->e->sliced;
        while (*at) {
            struct job *j = *at;
            if (apply(b, j)) {
                *at = j->next;
                finish(b, j);
            } else {
                at = &j->next;
            }
        }
    }
}

static void flush_log(struct batch *b)
{
    struct engine *e = b->e;
    atomic_store(&e->hurry, false);
    if (e->commits) {
        FAULT_STEP("store.batch.committed");
        const uint64_t begin_us = tick_us();
        if (!FAULT("store.log.forgotten")) /* a wrong store, which the crash harness must find out */
            env_log_flush(e);
        FAULT_STEP("store.batch.flushed");
        tick_count(begin_us, &e->count.flushes, &e->count.flush_us, &e->count.flush_max_us);
        e->commits = false;
    }
    atomic_store(&e->durable, b->number);
}

/* -- jobs of the engine's own -- */

bool engine_busy(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    bool busy = e->first != NULL;
    pthread_mutex_unlock(&e->lock);
    return busy;
}

enum err_code engine_call(struct engine *e, struct job *j)
{
    j->inside = true;
    j->next = NULL;
    pthread_mutex_lock(&e->lock);
    if (e->stopping) {
        pthread_mutex_unlock(&e->lock);
        return j->code = ERR_STATE;
    }
    *e->last = j;
    e->last = &j->next;
    pthread_cond_signal(&e->work);
    while (!j->ended)
        pthread_cond_wait(&e->inside_done, &e->lock);
    pthread_mutex_unlock(&e->lock);
    return j->code;
}

/* Tell those who wait for them; the others stay in the list. */
static void end_inside(struct engine *e, struct job **list)
{
    bool any = false;
    pthread_mutex_lock(&e->lock);
    for (struct job **at = list; *at;) {
        struct job *j = *at;
        if (!j->inside) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        j->next = NULL;
        j->ended = any = true; /* it may be freed as soon as the lock is let go */
    }
    if (any)
        pthread_cond_broadcast(&e->inside_done);
    pthread_mutex_unlock(&e->lock);
}

static void put_back(struct engine *e, struct job *later)
{
    if (!later)
        return;
    pthread_mutex_lock(&e->lock);
    *e->last = later;
    while (later->next)
        later = later->next;
    e->last = &later->next;
    pthread_mutex_unlock(&e->lock);
}

static void note_begun(struct news *n, const struct job *j)
{
    if (!j->owner)
        return;
    n->begun = xrealloc(n->begun, (n->begun_count + 1) * sizeof *n->begun);
    n->begun[n->begun_count++] = (struct job_name){j->owner, j->seq};
}

static void run_batch(struct engine *e, struct tx *t, struct job *jobs, uint64_t number)
{
    struct batch b = {.e = e, .t = *t, .news = xcalloc(1, sizeof *b.news), .number = number};
    struct job *later = NULL, **later_end = &later;
    b.last = &b.news->jobs;
    struct job *fresh = NULL, **fresh_end = &fresh;
    const uint64_t now_ms = clock_mono_ms();
    e->batch = number;
    for (struct job *j = jobs, *next; j; j = next) {
        next = j->next;
        if (j->settled) { /* the stager could not keep its content */
            finish(&b, j);
            continue;
        }
        if (seen_before(&b, j, &later_end))
            continue;
        if (is_late(j, now_ms)) {
            refuse_late(&b, j);
            continue;
        }
        *fresh_end = j;
        fresh_end = &j->next;
    }
    *fresh_end = NULL;
    if (fresh)
        fresh = add_contents(&b, fresh);
    struct job *started = NULL, **started_end = &started;
    for (struct job *j = fresh, *next; j; j = next) {
        next = j->next;
        if (apply(&b, j)) {
            finish(&b, j);
        } else {
            j->next = NULL;
            *started_end = j;
            started_end = &j->next;
            note_begun(b.news, j);
        }
    }
    if (started && !others_wait(e)) { /* nobody gains from a flush between their first two slices */
        *started_end = e->sliced;
        e->sliced = started;
        started = NULL;
        started_end = &started;
    }
    run_slices(&b);
    *started_end = e->sliced; /* else their second slices come after what waits now */
    e->sliced = started;
    if (lazy_due(e) || (e->stopping && e->lazy.jobs))
        lazy_run(e, &b.t);
    flush_log(&b);
    atomic_fetch_add(&e->count.batches, 1);
    if (b.finished > atomic_load(&e->count.batch_max))
        atomic_store(&e->count.batch_max, b.finished);
    put_back(e, later);
    end_inside(e, &b.news->jobs);
    b.news->durable = number;
    *t = b.t;
    e->o.done(e->o.arg, b.news);
}

/* Wait for work. False: the end. */
static bool wait_work(struct engine *e, struct job **out)
{
    pthread_mutex_lock(&e->lock);
    for (;;) {
        lazy_take(e);
        if (e->first || e->sliced || e->stopping || lazy_due(e))
            break;
        const uint64_t until_ms = lazy_due_ms(e);
        const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                       .tv_nsec = (long)(until_ms % 1000) * 1000000};
        if (until_ms)
            pthread_cond_timedwait(&e->work, &e->lock, &until);
        else
            pthread_cond_wait(&e->work, &e->lock);
    }
    bool go = e->first || !e->stopping || e->staging || e->large_first;
    if (!e->first && go && e->stopping)
        pthread_cond_wait(&e->work, &e->lock); /* the stager still has some */
    struct job *j = *out = e->first;
    for (size_t n = 1; j && n < BATCH_JOBS && j->next; n++)
        j = j->next;
    if (j) {
        e->first = j->next;
        j->next = NULL;
    }
    if (!e->first)
        e->last = &e->first;
    pthread_mutex_unlock(&e->lock);
    return go;
}

void *writer_main(void *engine)
{
    struct engine *e = engine;
    struct tx t;
    struct job *jobs;
    uint64_t number = 1;
    pthread_setname_np(pthread_self(), "writer");
    if (tx_begin(e, false, &t) != ERR_OK)
        engine_fatal(e, "starting the writer", "no transaction");
    tx_abort(&t);
    while (wait_work(e, &jobs))
        run_batch(e, &t, jobs, number++);
    if (e->lazy.jobs || e->commits)
        run_batch(e, &t, NULL, number);
    tx_free(&t);
    return NULL;
}

/* -- the stager -- */

static void stage(struct engine *e, struct job *j)
{
    struct content_in c;
    j->code = ERR_SYNTAX;
    if ((atomic_load(&e->full) && disk_is_full(e)) || is_late(j, clock_mono_ms()))
        j->code = ERR_RETRY;
    else if (content_find(j->type, buf_span(&j->body), e->o.message_limit, &c))
        j->code = stream_add_large(&e->large, j, &c.head, c.table, c.bytes);
    j->settled = j->code != ERR_OK; /* nothing to apply then: the writer hands it back */
}

void *stager_main(void *engine)
{
    struct engine *e = engine;
    pthread_setname_np(pthread_self(), "stager");
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!e->large_first && !e->stopping)
            pthread_cond_wait(&e->large_work, &e->lock);
        struct job *j = e->large_first;
        if (!j)
            break;
        e->large_first = j->next;
        if (!e->large_first)
            e->large_last = &e->large_first;
        e->staging = 1;
        pthread_mutex_unlock(&e->lock);
        j->next = NULL;
        stage(e, j);
        pthread_mutex_lock(&e->lock);
        e->staging = 0;
        *e->last = j;
        e->last = &j->next;
        pthread_cond_signal(&e->work);
    }
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}
