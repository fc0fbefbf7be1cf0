/* The queue of what is not filed yet, for delivery workers: entries with a schedule, leases in memory,
 * slices. The hard point is two workers on one entry, or one that died: the cursor on record moves in the
 * transaction that files the slice, and a slice that does not start behind it is refused; the lease only
 * keeps workers from doing the same work twice. After a restart there are no leases, and the first slice
 * takes the entry up again. */
#include "common/store/engine_int.h"
#include <stdio.h>
#include <stdlib.h>

enum { LEASE_LEAST_MS = 1000, LEASE_MOST_MS = 3600 * 1000, TARGET_HEAD = KEY_UUID + 8 + 1 + 2 };

bool queue_target_put(struct buf *out, const struct wire_target *w, struct span address)
{
    return address.n <= 0xffff && buf_add(out, w->id.b, sizeof w->id.b) && buf_add_u64(out, w->quota_bytes) &&
           buf_add_u8(out, (uint8_t)w->kind) && buf_add_u16(out, (uint16_t)address.n) &&
           buf_add_span(out, address);
}

static enum err_code entry_put(struct tx *t, uint64_t id, const struct rec_queue *q)
{
    unsigned char key[KEY_ID];
    struct buf v;
    put_be64(key, id);
    buf_init(&v, (size_t)64 << 20);
    enum err_code code =
        rec_queue_put(q, &v) ? tx_put(t, T_QUEUE, span_of(key, sizeof key), buf_span(&v)) : ERR_LIMIT;
    buf_free(&v);
    return code;
}

static enum err_code progress_put(struct tx *t, uint64_t id, const struct rec_queue *q)
{
    unsigned char key[KEY_PROGRESS], v[REC_PROGRESS];
    key_progress(key, id);
    rec_progress_put(q, v);
    return tx_put(t, T_QUEUE, span_of(key, sizeof key), span_of(v, sizeof v));
}

static enum err_code progress_drop(struct tx *t, uint64_t id)
{
    unsigned char key[KEY_PROGRESS];
    key_progress(key, id);
    enum err_code code = tx_del(t, T_QUEUE, span_of(key, sizeof key));
    return code == ERR_MISSING ? ERR_OK : code;
}

enum err_code queue_put(struct tx *t, uint64_t id, const struct rec_queue *q)
{
    enum err_code code = entry_put(t, id, q);
    return code == ERR_OK ? progress_drop(t, id) : code;
}

/* The record's views live in v. */
enum err_code queue_get(struct tx *t, uint64_t id, struct buf *v, struct rec_queue *out)
{
    unsigned char key[KEY_PROGRESS], progress[REC_PROGRESS];
    size_t n;
    key_progress(key, id);
    enum err_code code = tx_get_buf(t, T_QUEUE, span_of(key, KEY_ID), v);
    if (code != ERR_OK)
        return code;
    if (!rec_queue_get(buf_span(v), out))
        return ERR_BUG;
    code = tx_get(t, T_QUEUE, span_of(key, sizeof key), progress, sizeof progress, &n);
    if (code == ERR_MISSING)
        return ERR_OK;
    return code == ERR_OK && !rec_progress_get(span_of(progress, n), out) ? ERR_BUG : code;
}

enum err_code queue_due_set(struct tx *t, int64_t due_us, uint64_t id, bool on)
{
    static const char version[1] = {REC_VERSION};
    unsigned char key[KEY_CHANGE];
    key_pair(key, (uint64_t)due_us, id);
    return on ? tx_put(t, T_QUEUE_DUE, span_of(key, sizeof key), span_of(version, 1))
              : tx_del(t, T_QUEUE_DUE, span_of(key, sizeof key));
}

enum err_code queue_new(struct tx *t, const struct rec_queue *q, uint64_t *id)
{
    enum err_code code = id_take(t->e, ID_QUEUE, id);
    if (code == ERR_OK)
        code = entry_put(t, *id, q);
    if (code == ERR_OK)
        code = queue_due_set(t, q->due_us, *id, true);
    t->queue_due = true;
    return code;
}

enum err_code queue_drop(struct tx *t, uint64_t id, const struct rec_queue *q)
{
    unsigned char key[KEY_ID];
    put_be64(key, id);
    enum err_code code = tx_del(t, T_QUEUE, span_of(key, sizeof key));
    if (code == ERR_OK)
        code = progress_drop(t, id);
    return code == ERR_OK ? queue_due_set(t, q->due_us, id, false) : code;
}

int64_t queue_retry_us(const struct engine *e, uint32_t attempts)
{
    const uint64_t most_ms = 3600 * 1000;
    uint64_t ms = e->o.queue_retry_ms ? e->o.queue_retry_ms : 1;
    while (attempts-- && ms < most_ms)
        ms *= 2;
    return (int64_t)(ms < most_ms || ms == e->o.queue_retry_ms ? ms : most_ms) * 1000;
}

/* -- leases; lease_lock is held -- */

static struct lease *lease_find(struct engine *e, uint64_t queue_id)
{
    for (size_t i = 0; i < e->lease_count; i++)
        if (e->leases[i].queue_id == queue_id)
            return &e->leases[i];
    return NULL;
}

static bool lease_free_now(struct engine *e, uint64_t queue_id)
{
    const struct lease *l = lease_find(e, queue_id);
    return !l || l->until_ms <= clock_mono_ms();
}

static void lease_give(struct engine *e, uint64_t queue_id, uint64_t asker, uint64_t length_ms)
{
    struct lease *l = lease_find(e, queue_id);
    if (!l) {
        e->leases = xrealloc(e->leases, (e->lease_count + 1) * sizeof *e->leases);
        l = &e->leases[e->lease_count++];
    }
    *l = (struct lease){queue_id, asker, clock_mono_ms() + length_ms, length_ms};
}

static void lease_end(struct engine *e, uint64_t queue_id)
{
    struct lease *l = lease_find(e, queue_id);
    if (l)
        *l = e->leases[--e->lease_count];
}

void lease_over(struct engine *e, uint64_t queue_id)
{
    pthread_mutex_lock(&e->lease_lock);
    lease_end(e, queue_id);
    pthread_mutex_unlock(&e->lease_lock);
}

void engine_lease_drop(struct engine *e, uint64_t asker)
{
    pthread_mutex_lock(&e->lease_lock);
    for (size_t i = e->lease_count; i-- > 0;)
        if (e->leases[i].asker == asker)
            e->leases[i] = e->leases[--e->lease_count];
    pthread_mutex_unlock(&e->lease_lock);
}

/* The first entry that is due and free; ERR_MISSING: none. */
static enum err_code first_due(struct tx *t, uint64_t *out)
{
    struct scan s;
    struct span key, value;
    const uint64_t now = (uint64_t)clock_wall_us(), below = atomic_load(&t->e->hold_below);
    bool found = false;
    scan_open(&s, t, T_QUEUE_DUE, SPAN_NONE, 0, 8192);
    pthread_mutex_lock(&t->e->lease_lock);
    while (!found && scan_next(&s, &key, &value) && key.n == KEY_CHANGE && get_be64(key.p) <= now) {
        *out = get_be64(key.p + 8);
        found = *out >= below && lease_free_now(t->e, *out);
    }
    pthread_mutex_unlock(&t->e->lease_lock);
    enum err_code code = scan_close(&s);
    return code != ERR_OK ? code : found ? ERR_OK : ERR_MISSING;
}

bool engine_queue_due(struct engine *e)
{
    struct tx t;
    uint64_t id;
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = first_due(&t, &id);
    tx_free(&t);
    return code == ERR_OK;
}

static bool put_targets(struct buf *out, const struct rec_queue *q)
{
    struct reader r = reader_of(q->targets);
    bool ok = true;
    for (uint32_t i = 0; i < q->target_count && ok; i++) {
        struct wire_target w = {.kind = 0};
        struct span id = read_bytes(&r, KEY_UUID);
        if (id.n)
            memcpy(w.id.b, id.p, KEY_UUID);
        w.quota_bytes = read_u64(&r);
        w.kind = read_u8(&r);
        struct span address = read_bytes(&r, read_u16(&r));
        w.address_n = (uint32_t)address.n;
        ok = !r.bad && buf_add(out, &w, sizeof w) && buf_add_span(out, address);
    }
    return ok;
}

static enum err_code lease_answer(struct tx *t, struct job *j, uint64_t id, const struct rec_queue *q)
{
    struct wire_queued w = {.queue_id = id,
                            .content = q->content,
                            .size = q->size,
                            .queued_us = q->queued_us,
                            .cursor = q->cursor,
                            .attempts = q->attempts,
                            .kind = q->kind,
                            .target_count = q->target_count};
    struct span meta = SPAN_NONE;
    memcpy(w.trace, q->trace, TRACE_TEXT);
    memcpy(w.note, q->note, sizeof w.note);
    if (q->kind == QUEUE_REPORT) {
        unsigned char key[KEY_ID];
        struct rec_content c;
        put_be64(key, q->content);
        enum err_code code = tx_get_buf(t, T_CONTENT, span_of(key, sizeof key), &t->scratch);
        if (code == ERR_OK && rec_content_get(buf_span(&t->scratch), &c))
            meta = c.meta;
    }
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &w, sizeof w) && wire_put_text(a, q->sender) && put_targets(a, q) &&
              wire_put_text(a, meta);
    return ok ? ERR_OK : ERR_LIMIT;
}

enum err_code op_lease(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_lease w;
    struct rec_queue q;
    struct buf v;
    uint64_t id;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = first_due(t, &id);
    if (code != ERR_OK)
        return code;
    buf_init(&v, (size_t)64 << 20);
    code = queue_get(t, id, &v, &q);
    if (code == ERR_OK)
        code = lease_answer(t, j, id, &q);
    buf_free(&v);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    uint64_t ms = w.lease_ms < LEASE_LEAST_MS  ? LEASE_LEAST_MS
                  : w.lease_ms > LEASE_MOST_MS ? LEASE_MOST_MS
                                               : w.lease_ms;
    pthread_mutex_lock(&t->e->lease_lock);
    lease_give(t->e, id, j->asker, ms);
    pthread_mutex_unlock(&t->e->lease_lock);
    return ERR_OK;
}

/* Whether this asker may work on the entry; its lease is renewed, or taken up after a restart. */
bool lease_renew(struct engine *e, uint64_t queue_id, uint64_t asker)
{
    enum { TAKEN_UP_MS = 60 * 1000 };
    pthread_mutex_lock(&e->lease_lock);
    const struct lease *l = lease_find(e, queue_id);
    bool ok = !l || l->asker == asker || l->until_ms <= clock_mono_ms();
    if (ok)
        lease_give(e, queue_id, asker, l && l->asker == asker ? l->length_ms : TAKEN_UP_MS);
    pthread_mutex_unlock(&e->lease_lock);
    return ok;
}

/* -- slices -- */

struct slicing {
    struct wire_slice w;
    struct wire_in targets;
    struct rec_queue q;
    struct buf v, places;
    struct buf left; /* targets that are full: tried again, or given up */
    uint32_t filed, full, given_up;
    bool old; /* the entry has outlived queue_lifetime */
};

static bool skipped(const struct rec_queue *q, const struct uuid *id)
{
    size_t lo = 0, hi = q->skip_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = memcmp(q->skip.p + mid * KEY_UUID, id->b, KEY_UUID);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static enum err_code slice_file(struct tx *t, struct slicing *s)
{
    const struct filing f = {s->q.content, (uint32_t)s->q.size, clock_wall_us(), false};
    struct uuid last = s->q.cursor;
    for (uint32_t i = 0; i < s->w.target_count; i++) {
        struct wire_target w;
        unsigned char place[REC_PLACE];
        wire_get(&s->targets, &w, sizeof w);
        struct span address = wire_take(&s->targets, w.address_n);
        if (s->targets.bad || w.kind != STORE_TO_ACCOUNT)
            return ERR_SYNTAX;
        if (uuid_cmp(&w.id, &last) <= 0)
            return ERR_STATE; /* behind the cursor: filed already */
        last = w.id;
        if (skipped(&s->q, &w.id))
            continue;
        enum err_code code = file_inbox(t, &f, &w.id, w.quota_bytes, place);
        if (code == ERR_LIMIT) {
            s->full++;
            if (!queue_target_put(&s->left, &w, address))
                return ERR_LIMIT;
            continue;
        }
        if (code != ERR_OK)
            return code;
        s->filed++;
        if (!buf_add(&s->places, place, sizeof place))
            return ERR_LIMIT;
    }
    return uuid_cmp(&s->w.cursor, &last) >= 0 ? ERR_OK : ERR_SYNTAX;
}

/* The entry after the slice: it goes on, or starts again with those who were full, or is done. */
static enum err_code slice_finish(struct tx *t, struct slicing *s)
{
    struct rec_queue *q = &s->q;
    q->left_count += s->full;
    q->left = buf_span(&s->left);
    if (!s->w.finished) {
        q->cursor = s->w.cursor;
        q->trace_lines++;
        return s->full ? queue_put(t, s->w.queue_id, q) : progress_put(t, s->w.queue_id, q);
    }
    if (!q->left_count || s->given_up)
        return queue_drop(t, s->w.queue_id, q);
    enum err_code code = queue_due_set(t, q->due_us, s->w.queue_id, false);
    q->target_count = q->left_count;
    q->targets = q->left;
    q->left_count = q->skip_count = 0;
    q->left = q->skip = SPAN_NONE;
    memset(&q->cursor, 0, sizeof q->cursor);
    q->due_us = clock_wall_us() + queue_retry_us(t->e, q->attempts++);
    q->trace_lines++;
    if (code == ERR_OK)
        code = queue_put(t, s->w.queue_id, q);
    return code == ERR_OK ? queue_due_set(t, q->due_us, s->w.queue_id, true) : code;
}

static bool slice_ends(const struct slicing *s)
{
    return s->w.finished && (s->left.n == 0 || s->old);
}

/* Those given up are told to the sender, all in one report; nobody is told of what nobody sent. */
static enum err_code slice_report(struct tx *t, const struct slicing *s)
{
    uint64_t id;
    struct rec_queue r = {.queued_us = clock_wall_us(),
                          .content = s->q.content,
                          .size = s->q.size,
                          .sender = s->q.sender,
                          .target_count = s->given_up,
                          .targets = buf_span(&s->left),
                          .kind = QUEUE_REPORT};
    if (!s->given_up || !s->q.sender.n)
        return ERR_OK;
    memcpy(r.trace, s->q.trace, TRACE_TEXT);
    r.due_us = r.queued_us;
    return queue_new(t, &r, &id);
}

static enum err_code slice_trace(struct tx *t, const struct slicing *s)
{
    char text[80];
    struct rec_trace r = {.at_us = clock_wall_us(),
                          .kind = slice_ends(s)              ? TRACE_FINISHED
                                  : s->full || s->w.finished ? TRACE_DEFERRED
                                                             : TRACE_FILED,
                          .content = s->q.content,
                          .queue_id = s->w.queue_id,
                          .size = s->q.size,
                          .place_count = s->filed,
                          .places = buf_span(&s->places)};
    if (s->full || s->given_up || r.kind == TRACE_DEFERRED) {
        snprintf(text, sizeof text, "over quota: %u to be tried again, %u given up",
                 s->given_up ? 0 : s->full, s->given_up);
        r.reason = span_str(text);
    }
    return trace_put(t, s->q.trace, s->q.trace_lines, &r);
}

static enum err_code slice(struct tx *t, struct job *j, struct slicing *s)
{
    enum err_code code = queue_get(t, s->w.queue_id, &s->v, &s->q);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_STATE : code;
    if (!lease_renew(t->e, s->w.queue_id, j->asker))
        return ERR_STATE;
    if (s->q.kind != QUEUE_MESSAGE)
        return s->w.finished && !s->w.target_count ? notice_drop(t, s->w.queue_id, &s->q) : ERR_SYNTAX;
    s->old = clock_wall_us() - s->q.queued_us >= (int64_t)t->e->o.queue_lifetime_ms * 1000;
    if (!buf_add_span(&s->left, s->q.left))
        return ERR_LIMIT;
    code = slice_file(t, s);
    if (s->w.finished && s->old)
        s->given_up = s->q.left_count + s->full;
    int refs = (int)s->filed - slice_ends(s) + (s->given_up && s->q.sender.n);
    if (code == ERR_OK && refs)
        code = content_ref(t, s->q.content, refs);
    if (code == ERR_OK)
        code = slice_trace(t, s);
    if (code == ERR_OK)
        code = slice_report(t, s);
    return code == ERR_OK ? slice_finish(t, s) : code;
}

enum err_code op_slice(struct tx *t, struct job *j)
{
    struct slicing s = {.filed = 0};
    s.targets.s = buf_span(&j->body);
    if (!wire_get(&s.targets, &s.w, sizeof s.w) || s.w.target_count > STORE_SLICE)
        return ERR_SYNTAX;
    buf_init(&s.v, (size_t)64 << 20);
    buf_init(&s.places, STORE_SLICE * REC_PLACE);
    buf_init(&s.left, IPC_FRAME_LIMIT);
    enum err_code code = slice(t, j, &s);
    buf_free(&s.v);
    buf_free(&s.places);
    buf_free(&s.left);
    if (code == ERR_OK && s.w.finished) {
        lease_over(t->e, s.w.queue_id);
    }
    return code;
}

static enum err_code defer(struct tx *t, const struct wire_defer *w, struct span reason, struct buf *v)
{
    struct rec_queue q;
    enum err_code code = queue_get(t, w->queue_id, v, &q);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_STATE : code;
    const struct rec_trace r = {.at_us = clock_wall_us(),
                                .kind = TRACE_DEFERRED,
                                .content = q.content,
                                .queue_id = w->queue_id,
                                .size = q.size,
                                .reason = reason};
    if (q.kind == QUEUE_MESSAGE)
        code = trace_put(t, q.trace, q.trace_lines++, &r);
    if (code == ERR_OK)
        code = queue_due_set(t, q.due_us, w->queue_id, false);
    q.attempts++;
    q.due_us = w->due_us;
    if (code == ERR_OK)
        code = queue_put(t, w->queue_id, &q);
    return code == ERR_OK ? queue_due_set(t, q.due_us, w->queue_id, true) : code;
}

enum err_code op_defer(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_defer w;
    struct buf v;
    wire_get(&in, &w, sizeof w);
    struct span reason = wire_text(&in);
    if (!wire_whole(&in) || w.due_us < 0)
        return ERR_SYNTAX;
    if (!lease_renew(t->e, w.queue_id, j->asker))
        return ERR_STATE;
    buf_init(&v, (size_t)64 << 20);
    enum err_code code = defer(t, &w, reason, &v);
    buf_free(&v);
    if (code == ERR_OK) {
        lease_over(t->e, w.queue_id);
    }
    return code;
}
