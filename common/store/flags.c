/* Flags and keywords of messages, in slices: a transaction each, with its progress recorded in it (done.c),
 * so that others are served between two and a crash continues where the last one ended. One change record and
 * one modseq for each slice; a message that is already so keeps its modseq. */
#include "common/store/engine_int.h"

uint32_t uid_at(struct span uids, size_t i)
{
    uint32_t uid;
    memcpy(&uid, uids.p + 4 * i, sizeof uid);
    return uid;
}

struct flagging {
    struct wire_flags w;
    struct span uids;
    uint64_t bits;
    struct buf rows, modified, items; /* answer and change of this slice */
    uint32_t row_count, modified_count;
};

/* The new state of one row. False: nothing changes. */
static bool flags_turn(const struct wire_flags *w, uint64_t bits, struct store_row *r)
{
    uint32_t flags = w->flags & 0x1f;
    const uint32_t old_flags = r->flags;
    const uint64_t old_keywords = r->keywords;
    if (w->op == STORE_FLAGS_SET) {
        r->flags = flags;
        r->keywords = bits;
    } else if (w->op == STORE_FLAGS_ADD) {
        r->flags |= flags;
        r->keywords |= bits;
    } else {
        r->flags &= ~flags;
        r->keywords &= ~bits;
    }
    return r->flags != old_flags || r->keywords != old_keywords;
}

static bool flags_note(struct flagging *f, const struct store_row *old, const struct store_row *r)
{
    f->row_count++;
    return buf_add(&f->rows, r, sizeof *r) && buf_add_u32(&f->items, r->uid) &&
           buf_add_u8(&f->items, (uint8_t)old->flags) && buf_add_u8(&f->items, (uint8_t)r->flags) &&
           buf_add_u64(&f->items, old->keywords) && buf_add_u64(&f->items, r->keywords);
}

static enum err_code flags_one(struct row_edit *x, struct flagging *f, struct box *b, uint32_t uid)
{
    struct store_row row;
    enum err_code code = row_edit_get(x, uid, &row);
    if (code == ERR_MISSING)
        return ERR_OK;
    if (code != ERR_OK)
        return code;
    if (f->w.unchanged_since_given && row.modseq > f->w.unchanged_since) {
        f->modified_count++;
        return buf_add(&f->modified, &uid, sizeof uid) ? ERR_OK : ERR_LIMIT;
    }
    const struct store_row old = row;
    if (!flags_turn(&f->w, f->bits, &row))
        return ERR_OK;
    row.modseq = b->r.modseq + 1;
    box_count(b, &old, -1);
    box_count(b, &row, 1);
    if (!flags_note(f, &old, &row))
        return ERR_LIMIT;
    return row_edit_put(x, &row);
}

static enum err_code flags_answer(struct job *j, struct flagging *f, const struct box *b,
                                  const struct keywords *k)
{
    const struct wire_flagged_part part = {.modseq = b->r.modseq,
                                           .row_count = f->row_count,
                                           .modified_count = f->modified_count,
                                           .keyword_count = (uint32_t)k->n};
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &part, sizeof part) && buf_add_span(a, buf_span(&f->rows)) &&
              buf_add_span(a, buf_span(&f->modified));
    for (size_t i = 0; i < k->n && ok; i++)
        ok = wire_put_text(a, k->v[i]);
    return ok ? ERR_OK : ERR_LIMIT;
}

static enum err_code flags_slice(struct tx *t, struct job *j, struct flagging *f, struct box *b,
                                 const struct keywords *k, uint32_t keywords_before)
{
    enum err_code code;
    struct buf change;
    uint32_t end = f->w.uid_count - j->at > SLICE ? j->at + SLICE : f->w.uid_count;
    struct row_edit x;
    code = row_edit_open(&x, t, b->id);
    for (uint32_t i = j->at; i < end && code == ERR_OK; i++)
        code = flags_one(&x, f, b, uid_at(f->uids, i));
    code = edit_close(&x.x, code);
    if (code != ERR_OK)
        return code;
    j->at = end;
    j->more = end < f->w.uid_count;
    if (f->row_count) {
        buf_init(&change, (size_t)1 << 20);
        b->r.modseq++;
        bool ok = rec_change_head(&change, CHANGE_FLAGS, clock_wall_us(), 0, f->row_count) &&
                  buf_add_span(&change, buf_span(&f->items));
        code = ok ? change_put(t, b->id, b->r.modseq, buf_span(&change)) : ERR_LIMIT;
        buf_free(&change);
    }
    if (code == ERR_OK && (f->row_count || b->r.keyword_count != keywords_before))
        code = box_put(t, b);
    return code == ERR_OK ? flags_answer(j, f, b, k) : code;
}

static bool flags_parse(struct job *j, struct flagging *f, struct wire_in *keywords)
{
    struct wire_in in = {buf_span(&j->body), false};
    wire_get(&in, &f->w, sizeof f->w);
    *keywords = in;
    for (uint32_t i = 0; i < f->w.keyword_count && !in.bad; i++)
        wire_text(&in);
    f->uids = wire_items(&in, f->w.uid_count, 4);
    return wire_whole(&in) && f->w.op <= STORE_FLAGS_REMOVE;
}

enum err_code op_flags(struct tx *t, struct job *j)
{
    struct flagging f = {.row_count = 0};
    struct wire_in names;
    struct box b;
    struct keywords k;
    if (!flags_parse(j, &f, &names))
        return ERR_SYNTAX;
    enum err_code code = box_of(t, &j->account, j->mailbox, &b);
    if (code != ERR_OK)
        return code;
    uint32_t before = b.r.keyword_count;
    keywords_init(&k);
    buf_init(&f.rows, SLICE * sizeof(struct store_row));
    buf_init(&f.modified, SLICE * 4);
    buf_init(&f.items, SLICE * ITEM_FLAGS);
    code = keywords_get(t, &b, &k);
    if (code == ERR_OK)
        code = keywords_bits(t, &b, &k, &names, f.w.keyword_count, f.w.op != STORE_FLAGS_REMOVE, &f.bits);
    if (code == ERR_OK)
        code = flags_slice(t, j, &f, &b, &k, before);
    keywords_free(&k);
    buf_free(&f.rows);
    buf_free(&f.modified);
    buf_free(&f.items);
    return code;
}
