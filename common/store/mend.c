/* What verify asks of the writer: to look again at what seemed wrong, between two transactions, where nothing
 * moves; and, when asked to, to set it right there.
 * The hard point are the references of a content: counting them takes a walk through all rows, which the
 * writer cannot wait for. So the suspects are put on a watch first; whoever changes a reference of one marks
 * it; after the walk only what was not marked is judged. */
#include "common/store/engine_int.h"
#include <stdlib.h>

enum { META_LIMIT = 8 << 20 }; /* as of content_finish */

/* -- the watch -- */

static int by_id(const void *a, const void *b)
{
    const struct watched_content *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct watched_content *watch_find(struct engine *e, uint64_t content)
{
    const struct watched_content key = {.id = content};
    return e->watch_n ? bsearch(&key, e->watch, e->watch_n, sizeof key, by_id) : NULL;
}

void watch_touch(struct engine *e, uint64_t content)
{
    struct watched_content *w = watch_find(e, content);
    if (w)
        w->touched = true;
}

static enum err_code mend_watch(struct tx *t, struct wire_in *in)
{
    struct engine *e = t->e;
    size_t n = in->s.n / sizeof(uint64_t);
    free(e->watch);
    e->watch = n ? xcalloc(n, sizeof *e->watch) : NULL;
    for (size_t i = 0; i < n; i++)
        wire_get(in, &e->watch[i].id, sizeof(uint64_t));
    if (n)
        qsort(e->watch, n, sizeof *e->watch, by_id);
    e->watch_n = n;
    return ERR_OK;
}

static enum err_code ref_set(struct tx *t, uint64_t content, uint32_t count)
{
    const struct rec_ref r = {.count = count};
    unsigned char key[KEY_ID], v[REC_REF];
    put_be64(key, content);
    rec_ref_put(&r, v);
    return tx_put(t, T_REF, span_of(key, sizeof key), span_of(v, sizeof v));
}

/* One suspect: w->counted references were found. */
static enum err_code judge_one(struct tx *t, const struct watched_content *w, bool fix, struct mend_ref *out)
{
    unsigned char key[KEY_ID], v[REC_REF], head[REC_CONTENT_HEAD];
    struct rec_ref r = {.count = 0};
    size_t n = 0, m = 0;
    put_be64(key, w->id);
    *out = (struct mend_ref){.id = w->id, .counted = w->counted, .touched = w->touched};
    if (w->touched)
        return ERR_OK;
    enum err_code code = tx_get(t, T_REF, span_of(key, sizeof key), v, sizeof v, &n);
    if (code == ERR_OK && !rec_ref_get(span_of(v, n), &r))
        code = ERR_BUG;
    out->has_ref = code == ERR_OK;
    if (code == ERR_OK || code == ERR_MISSING)
        code = tx_get_head(t, T_CONTENT, span_of(key, sizeof key), head, sizeof head, &m);
    out->has_content = code == ERR_OK;
    out->recorded = r.count;
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    out->wrong = w->counted ? !out->has_ref || r.count != w->counted || !out->has_content
                            : out->has_ref || out->has_content;
    if (!out->wrong || !fix)
        return ERR_OK;
    out->fixed = w->counted == 0 || out->has_content;
    if (w->counted)
        return ref_set(t, w->id, w->counted);
    struct ids one = {&(uint64_t){w->id}, 1, 1};
    code = out->has_ref ? ERR_OK : ref_set(t, w->id, 1);
    if (code == ERR_OK && out->has_ref && r.count != 1)
        code = ref_set(t, w->id, 1);
    return code == ERR_OK ? content_refs_drop(t, &one) : code;
}

static enum err_code mend_refs(struct tx *t, struct job *j, struct wire_in *in, bool fix)
{
    struct engine *e = t->e;
    struct buf *a = parts_add(&j->answer);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < e->watch_n && code == ERR_OK; i++) {
        struct mend_ref out;
        struct watched_content w = e->watch[i]; /* our own changes mark it */
        w.counted = wire_u32(in);
        code = judge_one(t, &w, fix, &out);
        if (code == ERR_OK && !buf_add(a, &out, sizeof out))
            code = ERR_LIMIT;
    }
    return code;
}

/* -- counters -- */

/* What the rows of a mailbox add up to. */
enum err_code box_sum(struct tx *t, const struct box *b, struct box *out)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    *out = *b;
    out->r.messages = out->r.unseen = out->r.deleted = 0;
    out->r.bytes = 0;
    key_message(from, b->id, 0);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        r.uid = get_be32(key.p + KEY_ID);
        if (!rec_row_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        box_count(out, &r, 1);
        if (r.uid >= out->r.uidnext)
            out->r.uidnext = r.uid + 1;
        if (r.modseq > out->r.modseq)
            out->r.modseq = r.modseq;
    }
    return scan_close(&s);
}

bool box_same(const struct rec_box *a, const struct rec_box *b)
{
    return a->messages == b->messages && a->unseen == b->unseen && a->deleted == b->deleted &&
           a->bytes == b->bytes && a->uidnext == b->uidnext && a->modseq == b->modseq;
}

static enum err_code mend_box(struct tx *t, uint64_t id, bool fix, struct mend_said *out)
{
    struct box b, sum;
    enum err_code code = box_get(t, id, &b);
    if (code == ERR_OK)
        code = box_sum(t, &b, &sum);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code; /* purged meanwhile */
    out->wrong = !box_same(&b.r, &sum.r);
    out->fixed = out->wrong && fix;
    if (!out->fixed)
        return ERR_OK;
    if (sum.r.modseq == b.r.modseq)
        sum.r.modseq++; /* what sessions know of it is old */
    return box_put(t, &sum);
}

enum err_code account_sum(struct tx *t, const struct uuid *id, struct account_sums *out)
{
    struct scan s;
    struct span key, value;
    *out = (struct account_sums){.mailboxes = 0};
    scan_open(&s, t, T_NAME, key_uuid(id), KEY_UUID, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct rec_name r;
        struct box b;
        if (!rec_name_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (!r.mailbox)
            continue;
        s.code = box_get(t, r.mailbox, &b);
        bool ours = s.code == ERR_OK && uuid_cmp(&b.r.account, id) == 0 && !b.r.deleted_us;
        if (s.code == ERR_MISSING)
            s.code = ERR_OK;
        out->mailboxes++;
        out->dangling += !ours;
        out->bytes += ours ? b.r.bytes : 0;
        out->messages += ours ? b.r.messages : 0;
    }
    return scan_close(&s);
}

static enum err_code mend_account(struct tx *t, const struct uuid *id, bool fix, struct mend_said *out)
{
    struct rec_account a;
    struct rec_quota q;
    struct account_sums sums;
    enum err_code code = account_get(t, id, &a);
    if (code == ERR_OK)
        code = account_sum(t, id, &sums);
    if (code == ERR_OK)
        code = quota_get(t, id, &q);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code;
    out->wrong = a.mailboxes != sums.mailboxes || q.bytes != sums.bytes || q.messages != sums.messages;
    out->fixed = out->wrong && fix;
    if (!out->fixed)
        return ERR_OK;
    a.mailboxes = sums.mailboxes;
    q.bytes = sums.bytes;
    q.messages = sums.messages;
    code = account_put(t, id, &a);
    return code == ERR_OK ? quota_put(t, id, &q) : code;
}

/* -- the schedule: an entry and its time, from either side -- */

static enum err_code mend_due(struct tx *t, uint64_t id, uint64_t due_us, bool fix, struct mend_said *out)
{
    unsigned char key[KEY_ID], due[KEY_CHANGE], v[1];
    struct rec_queue q;
    struct buf value;
    size_t n;
    put_be64(key, id);
    buf_init(&value, (size_t)64 << 20);
    enum err_code code = tx_get_buf(t, T_QUEUE, span_of(key, sizeof key), &value);
    bool is = code == ERR_OK;
    if (is && !rec_queue_get(buf_span(&value), &q))
        code = ERR_BUG;
    if (code == ERR_MISSING)
        code = ERR_OK;
    uint64_t right = is && code == ERR_OK ? (uint64_t)q.due_us : 0;
    buf_free(&value);
    if (code != ERR_OK)
        return code;
    if (due_us && (!is || due_us != right)) { /* a time that no entry has */
        key_pair(due, due_us, id);
        code = tx_get(t, T_QUEUE_DUE, span_of(due, sizeof due), v, sizeof v, &n);
        out->wrong = code == ERR_OK;
        out->fixed = out->wrong && fix;
        if (out->fixed)
            code = queue_due_set(t, (int64_t)due_us, id, false);
    } else if (is) { /* an entry without its time */
        key_pair(due, right, id);
        code = tx_get(t, T_QUEUE_DUE, span_of(due, sizeof due), v, sizeof v, &n);
        out->wrong = code == ERR_MISSING;
        out->fixed = out->wrong && fix;
        t->queue_due = t->queue_due || out->fixed;
        if (out->fixed)
            code = queue_due_set(t, (int64_t)right, id, true);
    }
    return code == ERR_MISSING ? ERR_OK : code;
}

/* -- segments -- */

static enum err_code mend_segment(struct tx *t, const struct mend_ask *w, struct mend_said *out)
{
    const uint64_t number = w->id, dead = w->other;
    const bool fix = w->fix || w->always;
    struct rec_segment r;
    enum err_code code = segment_get(t, (uint32_t)number, &r);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code;
    out->wrong =
        r.sealed == SEGMENT_SEALED && r.dead == w->was && r.dead != dead; /* was: nothing went since */
    out->fixed = out->wrong && fix;
    r.dead = dead;
    return out->fixed ? segment_put(t, (uint32_t)number, &r) : ERR_OK;
}

/* The record of a content made anew from the head in its segment; what the parser had said is lost. */
static enum err_code mend_content(struct tx *t, struct wire_in *in, bool fix, struct mend_said *out)
{
    struct rec_content r = {.stored_us = clock_wall_us()};
    struct mend_content w;
    unsigned char key[KEY_ID], head[REC_CONTENT_HEAD];
    size_t n;
    if (!wire_get(in, &w, sizeof w))
        return ERR_SYNTAX;
    put_be64(key, w.id);
    enum err_code code = tx_get_head(t, T_CONTENT, span_of(key, sizeof key), head, sizeof head, &n);
    out->wrong = code == ERR_MISSING;
    out->fixed = out->wrong && fix;
    if (!out->fixed)
        return code == ERR_MISSING ? ERR_OK : code;
    r.size = w.size;
    r.packed = w.packed;
    r.offset = w.offset;
    r.segment = w.segment;
    r.frame_count = w.frames;
    r.frames = in->s;
    mark_all(t->e);
    buf_reset(&t->scratch);
    return rec_content_put(&r, &t->scratch)
               ? tx_put(t, T_CONTENT, span_of(key, sizeof key), buf_span(&t->scratch))
               : ERR_LIMIT;
}

/* What the parser says of a content, put in the place of what was lost: once, what is there stays. */
enum err_code op_describe(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_describe w;
    struct rec_content r;
    struct buf old;
    unsigned char key[KEY_ID];
    if (!wire_get(&in, &w, sizeof w) || !in.s.n || !record_meta_ok(t->e, in.s))
        return ERR_SYNTAX;
    if (in.s.n > META_LIMIT)
        return ERR_LIMIT;
    put_be64(key, w.content);
    buf_init(&old, (size_t)64 << 20);
    enum err_code code = tx_get_buf(t, T_CONTENT, span_of(key, sizeof key), &old);
    if (code == ERR_OK && !rec_content_get(buf_span(&old), &r))
        code = ERR_BUG;
    if (code == ERR_OK && r.meta.n)
        code = ERR_STATE;
    if (code == ERR_OK) {
        r.meta = in.s;
        mark_all(t->e);
        buf_reset(&t->scratch);
        code = rec_content_put(&r, &t->scratch)
                   ? tx_put(t, T_CONTENT, span_of(key, sizeof key), buf_span(&t->scratch))
                   : ERR_LIMIT;
    }
    buf_free(&old);
    return code;
}

enum err_code op_mend(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct mend_ask w;
    struct mend_said out = {0, 0};
    enum err_code code = ERR_SYNTAX;
    if (!wire_get(&in, &w, sizeof w))
        return ERR_SYNTAX;
    const bool fix = w.fix != 0;
    switch (w.what) {
    case MEND_WATCH:
        return mend_watch(t, &in);
    case MEND_REFS:
        return mend_refs(t, j, &in, fix);
    case MEND_BOX:
        code = mend_box(t, w.id, fix, &out);
        break;
    case MEND_ACCOUNT:
        code = mend_account(t, &w.account, fix, &out);
        break;
    case MEND_DUE:
        code = mend_due(t, w.id, w.other, fix, &out);
        break;
    case MEND_SEGMENT:
        code = mend_segment(t, &w, &out);
        break;
    case MEND_CONTENT:
        code = mend_content(t, &in, fix, &out);
        break;
    case MEND_META:
        code = mend_meta(t, w.id, fix, &out);
        break;
    case MEND_DONE:
        code = mend_done(t, in.s, fix, &out);
        break;
    case MEND_RECORD:
        code = mend_record(t, w.id < T_COUNT ? (enum table)w.id : T_COUNT, in.s, fix, &out);
        break;
    case MEND_HISTORY:
        code = mend_history(t, &w.account, fix, &out);
        break;
    default:
        break;
    }
    return code == ERR_OK && !answer_add(j, &out, sizeof out) ? ERR_LIMIT : code;
}
