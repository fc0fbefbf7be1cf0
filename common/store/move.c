/* Expunge, copy, move, and the rename of INBOX, in slices of their own transactions (flags.c says why).
 * The hard points: a mailbox may be copied to itself (then there is one record of it, not two), references of
 * contents follow the rows into the history, and a move is an expunge and an append that no crash
 * parts. */
#include "common/store/engine_int.h"
#include <stdlib.h>

/* The next rows with \Deleted, of all. */
static enum err_code deleted_rows(struct tx *t, struct job *j, const struct box *b, struct slice *out)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    out->n = 0;
    j->more = false;
    if (b->r.deleted == 0)
        return ERR_OK;
    key_message(from, b->id, j->at);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (out->n < SLICE && out->n < b->r.deleted && scan_next(&s, &key, &value)) {
        if (!rec_row_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (!(r.flags & STORE_DELETED))
            continue;
        r.uid = get_be32(key.p + KEY_ID);
        out->v[out->n++] = r;
        j->at = r.uid + 1;
    }
    j->more = out->n == SLICE && out->n < b->r.deleted;
    return scan_close(&s);
}

/* The next rows of a list of UIDs. */
static enum err_code listed_rows(struct tx *t, struct job *j, const struct box *b, struct span uids,
                                 uint32_t flags, struct slice *out)
{
    uint32_t count = (uint32_t)(uids.n / 4);
    uint32_t end = count - j->at > SLICE ? j->at + SLICE : count;
    out->n = 0;
    for (; j->at < end; j->at++) {
        struct store_row r;
        uint32_t uid = uid_at(uids, j->at);
        bool twice = out->n && uid <= out->v[out->n - 1].uid;
        enum err_code code = twice ? ERR_MISSING : row_get(t, b->id, uid, &r);
        if (code == ERR_OK && (r.flags & flags) == flags)
            out->v[out->n++] = r;
        else if (code != ERR_OK && code != ERR_MISSING)
            return code;
    }
    j->more = end < count;
    return ERR_OK;
}

static bool change_rows(struct buf *v, const struct slice *s, const uint32_t *fresh)
{
    bool ok = true;
    for (size_t i = 0; i < s->n && ok; i++) {
        unsigned char row[REC_ROW];
        rec_row_put(&s->v[i], row);
        ok = buf_add_u32(v, s->v[i].uid) && buf_add(v, row, sizeof row) &&
             (!fresh || buf_add_u32(v, fresh[i]));
    }
    return ok;
}

/* Take rows out of b: rows, counters, change (whose old rows keep the references of the rows); quota is the
 * caller's. fresh: UIDs of a move. */
static enum err_code take_out(struct tx *t, struct box *b, const struct slice *s, uint64_t to,
                              const uint32_t *fresh)
{
    struct buf v;
    struct row_edit x;
    enum err_code code = row_edit_open(&x, t, b->id);
    b->r.modseq++;
    for (size_t i = 0; i < s->n && code == ERR_OK; i++) {
        struct store_row r;
        box_count(b, &s->v[i], -1);
        watch_touch(t->e, s->v[i].content); /* the reference goes from the row to the change */
        code = row_edit_get(&x, s->v[i].uid, &r);
        if (code == ERR_OK)
            code = edit_del(&x.x);
    }
    code = edit_close(&x.x, code);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    buf_init(&v, (size_t)1 << 20);
    bool ok =
        rec_change_head(&v, fresh ? CHANGE_MOVE_OUT : CHANGE_EXPUNGE, clock_wall_us(), to, (uint32_t)s->n) &&
        change_rows(&v, s, fresh);
    code = ok ? change_put(t, b->id, b->r.modseq, buf_span(&v)) : ERR_LIMIT;
    buf_free(&v);
    return code;
}

/* One reference more for each row. */
enum err_code slice_refs(struct tx *t, const struct slice *s)
{
    struct ids l = {NULL, 0, 0};
    for (size_t i = 0; i < s->n; i++)
        ids_add(&l, s->v[i].content);
    enum err_code code = content_refs_add(t, &l, false);
    ids_free(&l);
    return code;
}

static int64_t bytes_of(const struct slice *s)
{
    int64_t sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->v[i].size;
    return sum;
}

enum err_code expunge_slice(struct tx *t, struct job *j, struct box *b, const struct slice *s)
{
    enum err_code code = ERR_OK;
    if (s->n)
        code = quota_move(t, &j->account, -bytes_of(s), -(int64_t)s->n);
    if (s->n && code == ERR_OK)
        code = take_out(t, b, s, 0, NULL);
    if (s->n && code == ERR_OK)
        code = box_put(t, b);
    const struct wire_expunged_part part = {b->r.modseq, (uint32_t)s->n, 0};
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &part, sizeof part);
    for (size_t i = 0; i < s->n && ok; i++)
        ok = buf_add(a, &s->v[i].uid, 4);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

enum err_code op_expunge(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_expunge w;
    struct box b;
    wire_get(&in, &w, sizeof w);
    struct span uids = wire_items(&in, w.uid_count, 4);
    if (!wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = box_of(t, &j->account, j->mailbox, &b);
    if (code != ERR_OK)
        return code;
    struct slice *s = xmalloc(sizeof *s);
    code = w.all ? deleted_rows(t, j, &b, s) : listed_rows(t, j, &b, uids, STORE_DELETED, s);
    if (code == ERR_OK)
        code = expunge_slice(t, j, &b, s);
    free(s);
    return code;
}

/* -- copy, move, and the rename of INBOX -- */

struct copying {
    bool move, whole; /* whole: all messages, wherever they are now (rename of INBOX) */
    struct span to, uids;
    struct box from, dest_box;
    struct box *dest; /* &from when a mailbox is copied to itself */
    struct keywords names, dest_names;
    struct slice s;
    uint32_t fresh[SLICE];
};

static bool copy_parse(struct tx *t, struct job *j, struct copying *c, enum err_code *code)
{
    struct wire_in in = {buf_span(&j->body), false};
    *code = ERR_SYNTAX;
    if (j->type == WIRE_RENAME) {
        struct rec_account a;
        wire_text(&in);
        c->to = wire_text(&in);
        c->move = c->whole = true;
        if (!wire_whole(&in))
            return false;
        *code = account_get(t, &j->account, &a);
        if (*code == ERR_OK)
            *code = box_get(t, a.inbox, &c->from);
        return *code == ERR_OK;
    }
    struct wire_copy w;
    wire_get(&in, &w, sizeof w);
    c->to = wire_text(&in);
    c->uids = wire_items(&in, w.uid_count, 4);
    c->move = w.move != 0;
    if (!wire_whole(&in))
        return false;
    *code = box_of(t, &j->account, j->mailbox, &c->from);
    return *code == ERR_OK;
}

/* Whether all that is to be copied fits, before the first slice. */
static enum err_code copy_fits(struct tx *t, struct job *j, const struct copying *c)
{
    struct quota_wish w = {.how = quota_how_of(j), .told_bytes = j->quota_bytes};
    if (c->move)
        return ERR_OK;
    for (size_t i = 0; i < c->uids.n / 4; i++) {
        struct store_row r;
        enum err_code code = row_get(t, c->from.id, uid_at(c->uids, i), &r);
        if (code != ERR_OK && code != ERR_MISSING)
            return code;
        if (code == ERR_OK) {
            w.bytes += r.size;
            w.messages++;
        }
    }
    return quota_fits(t, &j->account, &w);
}

static enum err_code copy_settle(struct tx *t, struct job *j, struct copying *c)
{
    struct name name;
    struct rec_name rec;
    enum err_code code;
    if (c->whole) {
        if (!name_normal(c->to, &name))
            return ERR_SYNTAX;
        code = name_make(t, &j->account, &name, STORE_USE_NONE, false, &c->dest_box);
    } else {
        code = name_box(t, &j->account, c->to, &name, &rec, &c->dest_box);
        if (code == ERR_SYNTAX)
            code = ERR_MISSING;
        if (code == ERR_OK)
            code = copy_fits(t, j, c);
    }
    if (code == ERR_OK)
        j->other = c->dest_box.id;
    return code;
}

/* The next rows of a whole mailbox, always from its start: they leave it. */
static enum err_code first_rows(struct tx *t, struct job *j, const struct box *b, struct slice *out)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    out->n = 0;
    key_message(from, b->id, 0);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (out->n < SLICE && scan_next(&s, &key, &value)) {
        if (!rec_row_get(value, &out->v[out->n])) {
            s.code = ERR_BUG;
            break;
        }
        out->v[out->n++].uid = get_be32(key.p + KEY_ID);
    }
    j->more = out->n == SLICE && b->r.messages > SLICE;
    return scan_close(&s);
}

static enum err_code put_copies(struct tx *t, struct copying *c)
{
    struct box *d = c->dest;
    enum err_code code = ERR_OK;
    if (d->r.uidnext > UINT32_MAX - SLICE - 1)
        return ERR_LIMIT;
    uint32_t first = d->r.uidnext;
    d->r.modseq++;
    for (size_t i = 0; i < c->s.n && code == ERR_OK; i++) {
        struct store_row r = c->s.v[i];
        r.uid = c->fresh[i] = d->r.uidnext++;
        r.modseq = d->r.modseq;
        r.saved_s_low = saved_now();
        if (c->dest != &c->from && r.keywords)
            code = keywords_map(t, &c->names, d, &c->dest_names, c->s.v[i].keywords, &r.keywords);
        box_count(d, &r, 1);
        if (code == ERR_OK)
            code = row_put(t, d->id, &r);
    }
    return code == ERR_OK ? change_added(t, d, CHANGE_COPY_IN, c->from.id, first, (uint32_t)c->s.n) : code;
}

static enum err_code copy_slice(struct tx *t, struct job *j, struct copying *c)
{
    enum err_code code = ERR_OK;
    if (c->s.n == 0)
        return ERR_OK;
    if (!c->move)
        code = quota_move(t, &j->account, bytes_of(&c->s), (int64_t)c->s.n);
    if (code == ERR_OK)
        code = put_copies(t, c);
    if (code == ERR_OK && c->move)
        code = take_out(t, &c->from, &c->s, c->dest->id, c->fresh);
    if (code == ERR_OK)
        code = slice_refs(t, &c->s); /* of a move too: the old row lives on in the change */
    if (code == ERR_OK && c->move && c->dest != &c->from)
        code = box_put(t, &c->from);
    return code == ERR_OK ? box_put(t, c->dest) : code;
}

static enum err_code copy_answer(struct job *j, const struct copying *c)
{
    const struct wire_copied_part part = {c->from.r.modseq, c->dest->r.uidvalidity, (uint32_t)c->s.n};
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &part, sizeof part);
    for (size_t i = 0; i < c->s.n && ok; i++)
        ok = buf_add(a, &c->s.v[i].uid, 4) && buf_add(a, &c->fresh[i], 4);
    return ok ? ERR_OK : ERR_LIMIT;
}

static enum err_code copy_run(struct tx *t, struct job *j, struct copying *c)
{
    enum err_code code = ERR_OK;
    if (j->part == 0)
        code = copy_settle(t, j, c);
    else
        code = box_of(t, &j->account, j->other, &c->dest_box);
    if (code != ERR_OK)
        return code;
    c->dest = c->dest_box.id == c->from.id ? &c->from : &c->dest_box;
    code = c->whole ? first_rows(t, j, &c->from, &c->s) : listed_rows(t, j, &c->from, c->uids, 0, &c->s);
    if (code == ERR_OK)
        code = keywords_get(t, &c->from, &c->names);
    if (code == ERR_OK)
        code = keywords_get(t, c->dest, &c->dest_names);
    if (code == ERR_OK)
        code = copy_slice(t, j, c);
    return code == ERR_OK ? copy_answer(j, c) : code;
}

enum err_code op_copy(struct tx *t, struct job *j)
{
    struct copying *c = xcalloc(1, sizeof *c);
    enum err_code code;
    keywords_init(&c->names);
    keywords_init(&c->dest_names);
    if (copy_parse(t, j, c, &code))
        code = copy_run(t, j, c);
    keywords_free(&c->names);
    keywords_free(&c->dest_names);
    free(c);
    return code;
}
