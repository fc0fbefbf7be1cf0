/* What nobody waits for: a worker's word that an answer has arrived (its outcome need not be kept) and that a
 * 250 was written (what was filed need not be found again). It wakes nobody and is put on record a few
 * hundred at a time, without a flush of its own; what a crash takes of it keeps a record for longer, no more.
 * The hard point is a delivery that comes meanwhile: whether one of its recipients has been confirmed must be
 * known before it is judged. So the repeat keys of those that wait are at hand, and a delivery that bears one
 * has them put on record first. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <stdlib.h>
#include <uthash.h>

enum {
    TRIES = 8,     /* of a transaction that meets a deadlock */
    LAZY_MS = 500, /* the longest that one waits */
};

struct lazy_key {
    unsigned char key[REPEAT_KEY];
    UT_hash_handle hh;
};

bool engine_is_lazy(uint16_t type)
{
    return type == WIRE_ACK || type == WIRE_CONFIRM;
}

bool lazy_due(const struct engine *e)
{
    return e->lazy.count >= LAZY_JOBS || (e->lazy.jobs && clock_mono_ms() - e->lazy.since_ms >= LAZY_MS);
}

uint64_t lazy_due_ms(const struct engine *e)
{
    return e->lazy.jobs ? e->lazy.since_ms + LAZY_MS : 0;
}

void lazy_take(struct engine *e)
{
    struct lazy *l = &e->lazy;
    if (!l->jobs && l->in)
        l->since_ms = clock_mono_ms();
    for (struct job *j = l->in, *next; j; j = next) {
        next = j->next;
        j->next = l->jobs;
        l->jobs = j;
        l->count++;
    }
    l->in = NULL;
    l->in_count = 0;
}

/* -- the keys of what waits -- */

static void add_keys(struct lazy *l, const struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    unsigned char key[REPEAT_KEY];
    struct span targets;
    while (in.s.n && repeat_receipt(&in, key, &targets)) {
        struct lazy_key *k = NULL;
        HASH_FIND(hh, l->keys, key, sizeof key, k);
        if (k)
            continue;
        k = xcalloc(1, sizeof *k);
        memcpy(k->key, key, sizeof key);
        HASH_ADD(hh, l->keys, key, sizeof k->key, k);
    }
}

bool lazy_confirms(struct engine *e, const unsigned char key[REPEAT_KEY])
{
    struct lazy *l = &e->lazy;
    struct lazy_key *k = NULL;
    for (const struct job *j = l->jobs; j != l->keyed; j = j->next) /* those that came last stand first */
        if (j->type == WIRE_CONFIRM)
            add_keys(l, j);
    l->keyed = l->jobs;
    HASH_FIND(hh, l->keys, key, REPEAT_KEY, k);
    return k != NULL;
}

/* -- on record -- */

static enum err_code apply_one(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    enum err_code code = ERR_OK;
    if (j->type == WIRE_CONFIRM)
        return repeat_confirm(t, in.s);
    struct edit x;
    code = edit_open(&x, t, T_DONE);
    for (struct request_id id; code == ERR_OK && in.s.n && wire_get(&in, &id, sizeof id);)
        code = done_forget(&x, &id);
    return edit_close(&x, code);
}

static void drop(struct lazy *l)
{
    struct lazy_key *k, *after;
    HASH_ITER(hh, l->keys, k, after)
    {
        HASH_DEL(l->keys, k);
        free(k);
    }
    l->keyed = NULL;
    for (struct job *j = l->jobs, *next; j; j = next) {
        next = j->next;
        job_free(&j);
    }
    l->jobs = NULL;
    l->count = 0;
}

void lazy_run(struct engine *e, struct tx *t)
{
    struct lazy *l = &e->lazy;
    enum err_code code = ERR_RETRY;
    for (int i = 0; i < TRIES && code == ERR_RETRY; i++) {
        code = tx_renew(t);
        for (struct job *j = l->jobs; j && code == ERR_OK; j = j->next)
            code = apply_one(t, j);
        if (code == ERR_OK)
            code = tx_commit(t);
        else
            tx_abort(t);
        FAULT_STEP("store.lazy.committed");
    }
    if (code != ERR_OK) /* records stay for a day at most */
        log_event(LOG_WARN, NULL, "store.acknowledgements.lost", F_UINT("count", l->count));
    drop(l);
}
