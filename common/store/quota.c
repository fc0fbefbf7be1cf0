/* What accounts use, and whether more fits. The counters of an account change in the transaction of its rows;
 * beside them lie the limits and the unit that the directory told, so that no worker's word decides. What a
 * unit uses is the sum over its accounts and is kept in memory only (quota_units.c): a transfer cannot make
 * it wrong. The hard point is what must happen exactly once: the notice at the threshold is queued in the
 * transaction that passes it, and its mark lies in the same record. */
#include "common/store/engine_int.h"
#include <stdlib.h>

enum { WARNED_UNTIL = 10 /* per cent below the threshold at which the next notice may come */ };

/* -- what waits for the commit -- */

void full_add(struct full_change **v, size_t *n, size_t *cap, const struct full_change *c)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        *v = xrealloc(*v, *cap * sizeof **v);
    }
    (*v)[(*n)++] = *c;
}

static void notice_add(struct quota_news *n, const struct uuid *account, const struct quota_figures *f)
{
    if (n->notice_count == n->notice_cap) {
        n->notice_cap = n->notice_cap ? n->notice_cap * 2 : 8;
        n->notices = xrealloc(n->notices, n->notice_cap * sizeof *n->notices);
    }
    n->notices[n->notice_count++] = (struct quota_notice){*account, *f};
}

void quota_news_clear(struct quota_news *n)
{
    n->unit_count = n->full_count = n->notice_count = 0;
    n->units_read = false;
}

void quota_news_free(struct quota_news *n)
{
    free(n->units);
    free(n->fulls);
    free(n->notices);
    *n = (struct quota_news){.units = NULL};
}

/* -- records -- */

enum err_code quota_get(struct tx *t, const struct uuid *id, struct rec_quota *out)
{
    unsigned char v[REC_QUOTA];
    size_t n;
    enum err_code code = tx_get(t, T_QUOTA, key_uuid(id), v, sizeof v, &n);
    if (code == ERR_MISSING) {
        *out = (struct rec_quota){.bytes = 0};
        return ERR_OK;
    }
    if (code == ERR_OK && !rec_quota_get(span_of(v, n), out))
        return ERR_BUG;
    return code;
}

static bool reached(uint64_t use, uint64_t limit)
{
    return limit && use >= limit;
}

bool quota_is_full(const struct rec_quota *q)
{
    return q->flags & QUOTA_TOLD &&
           (reached(q->bytes, q->limit_bytes) || reached(q->messages, q->limit_messages));
}

static void tell_full(struct tx *t, const struct uuid *id, const struct rec_quota *q)
{
    struct quota_news *n = &t->quota;
    const struct full_change c = {*id, quota_is_full(q)};
    bool known = units_is_full(t->e, id);
    for (size_t i = n->full_count; i-- > 0;)
        if (uuid_cmp(&n->fulls[i].account, id) == 0) {
            known = n->fulls[i].full;
            break;
        }
    if (known != c.full)
        full_add(&n->fulls, &n->full_count, &n->full_cap, &c);
}

static void tell_units(struct tx *t, const struct rec_quota *q)
{
    if (uuid_cmp(&q->was_unit, &q->unit) == 0) {
        const struct unit_change c = {q->unit, (int64_t)(q->bytes - q->was_bytes),
                                      (int64_t)(q->messages - q->was_messages), 0};
        units_add(t, &c);
        return;
    }
    const struct unit_change from = {q->was_unit, -(int64_t)q->was_bytes, -(int64_t)q->was_messages, -1};
    const struct unit_change to = {q->unit, (int64_t)q->bytes, (int64_t)q->messages, 1};
    units_add(t, &from);
    units_add(t, &to);
}

/* What a change of the record, which was written, is for others. */
static void tell(struct tx *t, const struct uuid *id, struct rec_quota *q)
{
    tell_units(t, q);
    tell_full(t, id, q);
    q->was_bytes = q->bytes;
    q->was_messages = q->messages;
    q->was_unit = q->unit;
}

enum err_code quota_put(struct tx *t, const struct uuid *id, struct rec_quota *q)
{
    unsigned char v[REC_QUOTA];
    rec_quota_put(q, v);
    enum err_code code = tx_put(t, T_QUOTA, key_uuid(id), span_of(v, sizeof v));
    if (code == ERR_OK)
        tell(t, id, q);
    return code;
}

/* -- limits -- */

/* a * percent / 100, without an overflow. */
static uint64_t share(uint64_t a, unsigned percent)
{
    return a / 100 * percent + a % 100 * percent / 100;
}

/* Whether by more may be added to use. A delivery is taken while use is below the limit, also when it passes
 * it by the grace. */
bool quota_room(uint64_t use, uint64_t by, uint64_t limit, enum quota_how how, unsigned grace)
{
    if (!limit || !by || how == QUOTA_ANYWAY)
        return true;
    uint64_t most = limit;
    if (how == QUOTA_INCOMING) {
        if (use >= limit)
            return false;
        most = limit > UINT64_MAX - share(limit, grace) ? UINT64_MAX : limit + share(limit, grace);
    }
    return by <= most && use <= most - by;
}

static bool fits(const struct tx *t, const struct rec_quota *q, const struct quota_wish *w)
{
    const unsigned grace = t->e->o.quota_grace;
    uint64_t bytes = q->flags & QUOTA_TOLD ? q->limit_bytes : w->told_bytes;
    uint64_t messages = q->flags & QUOTA_TOLD ? q->limit_messages : 0;
    return quota_room(q->bytes, w->bytes, bytes, w->how, grace) &&
           quota_room(q->messages, w->messages, messages, w->how, 0) && units_fit(t, &q->unit, w);
}

enum err_code quota_fits(struct tx *t, const struct uuid *id, const struct quota_wish *w)
{
    struct rec_quota q;
    enum err_code code = quota_get(t, id, &q);
    return code == ERR_OK && !fits(t, &q, w) ? ERR_LIMIT : code;
}

/* -- the threshold -- */

static bool at_least(uint64_t use, uint64_t limit, unsigned percent)
{
    return limit && use >= limit - share(limit, 100 - percent);
}

static bool above(const struct quota_figures *f, unsigned percent)
{
    return at_least(f->bytes, f->limit_bytes, percent) || at_least(f->messages, f->limit_messages, percent);
}

int quota_crossing(const struct engine *e, const struct quota_figures *f, bool warned, bool rising)
{
    const unsigned at = e->o.quota_warning;
    if (!at)
        return 0;
    if (!warned)
        return rising && above(f, at);
    return above(f, at > WARNED_UNTIL ? at - WARNED_UNTIL : 1) ? 0 : -1;
}

/* Passed for the first time: a notice. Well below it again: the next time is a first one. */
static void watch_threshold(struct tx *t, const struct uuid *id, struct rec_quota *q, bool rising)
{
    const struct quota_figures f = {q->bytes, q->limit_bytes, q->messages, q->limit_messages};
    if (!(q->flags & QUOTA_TOLD))
        return;
    int crossing = quota_crossing(t->e, &f, q->flags & QUOTA_WARNED, rising);
    if (crossing > 0) {
        q->flags |= QUOTA_WARNED;
        notice_add(&t->quota, id, &f);
    } else if (crossing < 0) {
        q->flags &= (uint8_t)~QUOTA_WARNED;
    }
}

void quota_limits_changed(struct tx *t, const struct uuid *id, struct rec_quota *q)
{
    watch_threshold(t, id, q, false);
}

/* -- changes -- */

/* Every message comes by here: its record is looked up once, to be read and to be written. */
static enum err_code take(struct edit *x, const struct uuid *id, const struct quota_wish *w,
                          struct rec_quota *q)
{
    unsigned char v[REC_QUOTA];
    size_t n;
    enum err_code code = edit_get(x, key_uuid(id), false, v, sizeof v, &n);
    const bool fresh = code == ERR_MISSING;
    *q = (struct rec_quota){.bytes = 0};
    if (code == ERR_OK && !rec_quota_get(span_of(v, n), q))
        return ERR_BUG;
    if (code != ERR_OK && !fresh)
        return code;
    if (!fits(x->t, q, w))
        return ERR_LIMIT;
    q->bytes += w->bytes;
    q->messages += w->messages;
    if (w->now_us)
        q->last_delivery_us = w->now_us;
    watch_threshold(x->t, id, q, true);
    rec_quota_put(q, v);
    return fresh ? tx_put(x->t, T_QUOTA, key_uuid(id), span_of(v, sizeof v))
                 : edit_put(x, span_of(v, sizeof v));
}

enum err_code quota_take(struct tx *t, const struct uuid *id, const struct quota_wish *w)
{
    struct rec_quota q;
    struct edit x;
    enum err_code code = edit_open(&x, t, T_QUOTA);
    if (code == ERR_OK)
        code = edit_close(&x, take(&x, id, w, &q));
    if (code == ERR_OK)
        tell(t, id, &q);
    return code;
}

enum err_code quota_move(struct tx *t, const struct uuid *id, int64_t bytes, int64_t messages)
{
    struct rec_quota q;
    enum err_code code = quota_get(t, id, &q);
    if (code != ERR_OK)
        return code;
    if ((bytes < 0 && q.bytes < (uint64_t)-bytes) || (messages < 0 && q.messages < (uint64_t)-messages)) {
        log_event(LOG_ALARM, NULL, "store.quota.negative", F_UINT("bytes", q.bytes), F_INT("by", bytes));
        return ERR_BUG;
    }
    q.bytes += (uint64_t)bytes;
    q.messages += (uint64_t)messages;
    watch_threshold(t, id, &q, bytes > 0 || messages > 0);
    return quota_put(t, id, &q);
}
