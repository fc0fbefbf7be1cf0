/* The care thread: checkpoints, what is old, segments with little in them, and what backups hold back.
 * The hard point is to be in nobody's way: what writes goes through the writer in small slices, and only so
 * often that it takes a bounded share of its time. And no round may read a huge table only to find nothing:
 * history is looked for by a seek for each mailbox (its oldest change stands right behind change_floor), so
 * that deliveries keep no list of what is due; traces, which have no order of time, are walked through
 * slowly. */
#include "common/store/engine_int.h"
#include "common/store/spare.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CARE_TICK_MS = 100, SPARE_SHARE = 8 };

/* -- holds -- */

static uint32_t oldest_log(struct engine *e)
{
    char **files = NULL;
    unsigned number = 1, least = UINT32_MAX;
    if (e->env->log_archive(e->env, &files, DB_ARCH_LOG) == 0)
        for (char **f = files; f && *f; f++)
            if (sscanf(*f, "log.%u", &number) == 1 && number < least)
                least = number;
    free(files);
    return least == UINT32_MAX ? 1 : least;
}

uint64_t engine_hold(struct engine *e, uint32_t first_log)
{
    uint64_t number = 0;
    pthread_mutex_lock(&e->hold_lock); /* the removal of logs waits for it: what is there now stays */
    for (size_t i = 0; i < HOLDS && !number; i++)
        if (!e->holds[i].number) {
            number = ++e->next_hold;
            e->holds[i] = (struct hold){number, first_log ? first_log : oldest_log(e)};
        }
    pthread_mutex_unlock(&e->hold_lock);
    return number;
}

static struct hold *find(struct engine *e, uint64_t number)
{
    for (size_t i = 0; i < HOLDS; i++)
        if (number && e->holds[i].number == number)
            return &e->holds[i];
    return NULL;
}

bool engine_hold_move(struct engine *e, uint64_t hold, uint32_t first_log)
{
    pthread_mutex_lock(&e->hold_lock);
    struct hold *h = find(e, hold);
    if (h && first_log > h->first_log)
        h->first_log = first_log;
    pthread_mutex_unlock(&e->hold_lock);
    return h != NULL;
}

bool engine_hold_end(struct engine *e, uint64_t hold)
{
    pthread_mutex_lock(&e->hold_lock);
    struct hold *h = find(e, hold);
    if (h)
        h->number = 0;
    pthread_mutex_unlock(&e->hold_lock);
    return h != NULL;
}

uint32_t holds_first_log(struct engine *e)
{
    uint32_t least = UINT32_MAX;
    const uint64_t size = env_log_size(e), now = env_log_bytes(e) / size;
    for (size_t i = 0; i < HOLDS; i++) {
        struct hold *h = &e->holds[i];
        if (!h->number)
            continue;
        if (e->o.log_keep && now > h->first_log && (now - h->first_log) * size > e->o.log_keep) {
            log_event(LOG_ALARM, NULL, "store.hold.fallen", F_UINT("hold", h->number),
                      F_UINT("first_log", h->first_log), F_UINT("now", now));
            h->number = 0;
            continue;
        }
        if (h->first_log < least)
            least = h->first_log;
    }
    return least;
}

bool holds_segments(struct engine *e)
{
    bool held = false;
    pthread_mutex_lock(&e->hold_lock);
    for (size_t i = 0; i < HOLDS; i++)
        held = held || e->holds[i].number != 0;
    pthread_mutex_unlock(&e->hold_lock);
    return held;
}

/* -- the writer's time -- */

enum err_code care_call(struct engine *e, struct job *j)
{
    enum { PATIENCE = 20, WAIT_MS = 5 };
    for (int i = 0; i < PATIENCE && engine_busy(e); i++)
        usleep(WAIT_MS * 1000);
    return engine_call(e, j);
}

/* -- what is due: walks through tables that go on where they were -- */

enum { LOOK = 256, LOOK_RECORDS = 2000, SWEEP_KEYS = 256 };

static bool walk_over(struct walk *w, uint64_t now_ms)
{
    w->under_way = false;
    w->n = 0;
    w->next_ms = now_ms + w->every_ms;
    return true;
}

static void walk_at(struct walk *w, struct span key)
{
    assert(key.n <= sizeof w->key);
    memcpy(w->key, key.p, key.n);
    w->n = key.n;
}

static bool walk_past(const struct walk *w, struct span key)
{
    return !(w->n == key.n && memcmp(w->key, key.p, key.n) == 0);
}

/* The time of the oldest change that a mailbox keeps; INT64_MAX: none. */
static enum err_code oldest_change(struct tx *t, uint64_t mailbox, uint64_t floor, int64_t *out)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    key_pair(from, mailbox, floor + 1);
    *out = INT64_MAX;
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 4096);
    if (scan_next(&s, &key, &value))
        *out = record_time(value);
    return scan_close(&s);
}

/* Mailboxes with something old; a seek for each is all that a round costs where there is nothing. */
static enum err_code look_mailboxes(struct tx *t, struct walk *w, struct care *c, int64_t before_us,
                                    bool *end)
{
    struct scan s;
    struct span key, value;
    size_t seen = 0;
    *end = true;
    scan_open(&s, t, T_MAILBOX, span_of(w->key, w->n), 0, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct rec_box r;
        int64_t oldest = INT64_MAX;
        if (!walk_past(w, key))
            continue;
        if (seen++ == LOOK) {
            *end = false;
            break;
        }
        walk_at(w, key);
        if (!rec_box_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        bool gone = r.deleted_us && r.deleted_us < before_us;
        if (!gone)
            s.code = oldest_change(t, get_be64(key.p), r.change_floor, &oldest);
        if (oldest < c->oldest_us)
            c->oldest_us = oldest;
        if (gone || oldest < before_us)
            c->todo[c->todo_count++] = (struct purge_ask){get_be64(key.p), r.account, before_us, 0, 0};
    }
    return scan_close(&s);
}

/* Accounts with two records or more of their folders' history, the first of them old (the last one stays). */
static enum err_code look_accounts(struct tx *t, struct walk *w, struct care *c, int64_t before_us, bool *end)
{
    struct scan s, names;
    struct span key, value, k, v;
    size_t seen = 0;
    *end = true;
    scan_open(&s, t, T_ACCOUNT, span_of(w->key, w->n), 0, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        if (!walk_past(w, key))
            continue;
        if (seen++ == LOOK) {
            *end = false;
            break;
        }
        walk_at(w, key);
        scan_open(&names, t, T_NAME_CHANGE, key, KEY_UUID, 4096);
        bool old = scan_next(&names, &k, &v) && record_time(v) < before_us && scan_next(&names, &k, &v) &&
                   record_time(v) < before_us;
        s.code = scan_close(&names);
        struct purge_ask *ask = &c->todo[c->todo_count];
        *ask = (struct purge_ask){.before_us = before_us};
        memcpy(ask->account.b, key.p, KEY_UUID);
        c->todo_count += old;
    }
    return scan_close(&s);
}

/* One slice of what was found. */
static void purge_one(struct engine *e, struct care *c)
{
    struct job *j = job_new(WIRE_PURGE);
    struct purge_ask ask = c->todo[c->todo_count - 1];
    struct purge_said said = {0};
    ask.limit = e->o.slice ? e->o.slice : SLICE;
    bool ok = buf_add(&j->body, &ask, sizeof ask) && care_call(e, j) == ERR_OK && j->answer.n;
    if (ok)
        memcpy(&said, j->answer.v[0].p, sizeof said);
    else if (j->code != ERR_OK && j->code != ERR_RETRY)
        log_event(LOG_ERROR, NULL, "store.purge.failed", F_UINT("mailbox", ask.mailbox),
                  F_STR("why", err_name(j->code)));
    if (!said.more)
        c->todo_count--;
    atomic_fetch_add(&e->count.purged_changes, said.changes);
    atomic_fetch_add(&e->count.purged_rows, said.rows);
    atomic_fetch_add(&e->count.purged_mailboxes, said.mailboxes);
    job_free(&j);
}

/* Keys of old records from where the walk is. */
static enum err_code look_old(struct tx *t, struct walk *w, struct job *j, size_t *count, int64_t before_us,
                              bool *end)
{
    struct scan s;
    struct span key, value;
    size_t seen = 0;
    *end = true;
    scan_open(&s, t, w->table, span_of(w->key, w->n), 0, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        if (!walk_past(w, key))
            continue;
        if (seen++ == LOOK_RECORDS || *count == SWEEP_KEYS) {
            *end = false;
            break;
        }
        walk_at(w, key);
        if (record_time(value) >= before_us)
            continue;
        if (!wire_put_text(&j->body, key))
            s.code = ERR_LIMIT;
        ++*count;
    }
    return scan_close(&s);
}

static enum err_code sweep(struct engine *e, struct tx *t, struct walk *w, int64_t before_us, bool *end)
{
    struct job *j = job_new(WIRE_SWEEP);
    const struct sweep_ask ask = {.before_us = before_us, .table = w->table};
    size_t count = 0;
    enum err_code code =
        buf_add(&j->body, &ask, sizeof ask) ? look_old(t, w, j, &count, before_us, end) : ERR_LIMIT;
    tx_abort(t); /* its cursors keep nothing while the writer works */
    if (code == ERR_OK && count)
        code = care_call(e, j);
    if (code == ERR_OK)
        atomic_fetch_add(&e->count.swept, count);
    job_free(&j);
    return code;
}

/* A bit of a walk. */
static void walk_step(struct engine *e, struct walk *w, uint64_t now_ms)
{
    struct care *c = &e->care_state;
    struct tx t;
    bool end = false;
    const int64_t before_us = care_now(e) - w->keep_us;
    w->under_way = true;
    if (c->todo_count && (w->table == T_MAILBOX || w->table == T_ACCOUNT)) {
        purge_one(e, c);
        return;
    }
    if (w->table == T_SEGMENT) {
        if (segments_step(e, w))
            walk_over(w, now_ms);
        return;
    }
    if (w->table == T_MAILBOX && w->n == 0)
        c->oldest_us = INT64_MAX;
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = w->table == T_MAILBOX   ? look_mailboxes(&t, w, c, before_us, &end)
               : w->table == T_ACCOUNT ? look_accounts(&t, w, c, before_us, &end)
                                       : sweep(e, &t, w, before_us, &end);
    tx_free(&t);
    if (code != ERR_OK && code != ERR_RETRY && code != ERR_STATE)
        log_event(LOG_ERROR, NULL, "store.care.failed", F_INT("table", w->table),
                  F_STR("why", err_name(code)));
    if (code == ERR_OK && end && w->table == T_MAILBOX)
        atomic_store(&e->count.oldest_change_us, c->oldest_us == INT64_MAX ? 0 : (uint64_t)c->oldest_us);
    if ((code == ERR_OK && end && !c->todo_count) || (code != ERR_OK && code != ERR_RETRY))
        walk_over(w, now_ms);
}

/* -- the thread -- */

/* Now, for what is purged: a clock that jumps ahead while we run purges nothing early. */
int64_t care_now(const struct engine *e)
{
    static const int64_t hour_us = (int64_t)3600 * 1000000;
    const struct care *c = &e->care_state;
    int64_t wall = clock_wall_us();
    int64_t bound = c->start_wall_us + (int64_t)(clock_mono_ms() - c->start_mono_ms) * 1000 + hour_us;
    return wall < bound ? wall : bound;
}

static uint64_t within(int64_t us, uint64_t parts, uint64_t least_ms, uint64_t most_ms)
{
    uint64_t ms = (uint64_t)us / 1000 / parts;
    return ms < least_ms ? least_ms : ms > most_ms ? most_ms : ms;
}

static void care_start(struct engine *e)
{
    enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
    static const int64_t hour_us = (int64_t)3600 * 1000000;
    const uint64_t history = within(e->o.undelete_us, 100, SECOND, HOUR);
    struct care *c = &e->care_state;
    const struct walk walks[CARE_WALKS] = {
        {.table = T_MAILBOX, .every_ms = history, .keep_us = e->o.undelete_us},
        {.table = T_ACCOUNT, .every_ms = history, .keep_us = e->o.undelete_us},
        {.table = T_TRACE, .every_ms = within(e->o.trace_us, 30, SECOND, DAY), .keep_us = e->o.trace_us},
        {.table = T_REPEAT, .every_ms = 10 * MINUTE, .keep_us = hour_us},
        {.table = T_DONE, .every_ms = HOUR, .keep_us = 24 * hour_us},
        {.table = T_SEGMENT, .every_ms = history}};
    memcpy(c->walks, walks, sizeof walks);
    c->start_wall_us = clock_wall_us();
    c->start_mono_ms = clock_mono_ms();
    c->todo = xcalloc(LOOK + 1, sizeof *c->todo);
    for (size_t i = 0; i < CARE_WALKS; i++) /* not all at the first moment of a start under load */
        c->walks[i].next_ms =
            c->start_mono_ms + (c->walks[i].every_ms < MINUTE ? c->walks[i].every_ms : MINUTE);
}

uint64_t engine_care(struct engine *e, bool purge, bool compact)
{
    pthread_mutex_lock(&e->lock);
    struct care *c = &e->care_state;
    uint64_t number = ++c->asked;
    c->ask_purge = c->ask_purge || purge;
    c->ask_compact = c->ask_compact || compact;
    pthread_cond_signal(&e->care_wake);
    pthread_mutex_unlock(&e->lock);
    return number;
}

uint64_t engine_care_finished(struct engine *e)
{
    return atomic_load(&e->care_state.finished);
}

static void take_orders(struct engine *e)
{
    struct care *c = &e->care_state;
    pthread_mutex_lock(&e->lock);
    if (c->started != c->asked && c->started == atomic_load(&c->finished)) {
        c->started = c->asked;
        c->thorough = c->ask_compact;
        for (size_t i = 0; i < CARE_WALKS; i++)
            if (c->walks[i].table == T_SEGMENT || c->ask_purge) {
                c->walks[i].n = 0;
                c->walks[i].next_ms = 0;
                c->walks[i].ordered = true;
            }
        c->ask_purge = c->ask_compact = false;
    }
    pthread_mutex_unlock(&e->lock);
}

/* A bit of the first walk that is due; how long to wait until the next, in milliseconds. */
static uint64_t care_step(struct engine *e)
{
    enum { SHARE = 4 }; /* one part work, four parts rest */
    struct care *c = &e->care_state;
    const uint64_t begin = clock_mono_ms();
    take_orders(e);
    for (size_t i = 0; i < CARE_WALKS; i++) {
        struct walk *w = &c->walks[i];
        if (w->next_ms > begin)
            continue;
        walk_step(e, w, begin);
        w->ordered = w->ordered && w->under_way;
        uint64_t rest = SHARE * (clock_mono_ms() - begin);
        return rest < 1 ? 1 : rest < CARE_TICK_MS ? rest : CARE_TICK_MS;
    }
    bool left = false;
    for (size_t i = 0; i < CARE_WALKS; i++)
        left = left || c->walks[i].ordered;
    if (!left && c->started != atomic_load(&c->finished)) {
        c->thorough = false;
        atomic_store(&c->finished, c->started);
    }
    return CARE_TICK_MS;
}

static bool care_sleep(struct engine *e, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&e->lock);
    if (!e->stopping)
        pthread_cond_timedwait(&e->care_wake, &e->lock, &until);
    bool stop = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return !stop;
}

/* Checkpoints, and what is due. */
void *care_main(void *engine)
{
    pthread_setname_np(pthread_self(), "care");
    struct engine *e = engine;
    uint64_t last_ms = clock_mono_ms(), last_bytes = env_log_bytes(e), wait_ms = CARE_TICK_MS;
    const uint64_t start_bytes = last_bytes;
    care_start(e);
    while (care_sleep(e, wait_ms)) {
        uint64_t now = clock_mono_ms(), bytes = env_log_bytes(e);
        if (bytes - start_bytes >= env_log_size(e) / SPARE_SHARE) /* a store at rest makes none */
            spare_want();
        engine_nudge(e);
        bool due = bytes - last_bytes >= e->o.checkpoint_size ||
                   (bytes != last_bytes && now - last_ms >= e->o.checkpoint_ms);
        if (due) {
            env_checkpoint(e, false);
            last_ms = clock_mono_ms();
            last_bytes = env_log_bytes(e);
        }
        wait_ms = care_step(e);
    }
    free(e->care_state.todo);
    return NULL;
}
