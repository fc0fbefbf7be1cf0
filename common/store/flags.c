/* Flags and keywords of messages, in slices: a transaction each, with its progress recorded in it (done.c),
 * so that others are served between two and a crash continues where the last one ended. One change record and
 * one modseq for each slice; a message that is already so keeps its modseq. */
#include "common/store/engine_int.h"
#include <assert.h>

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
    struct box *box;
    struct puts rows;
    struct flag_changes changes; /* of this slice */
    struct buf modified;         /* UIDs */
    uint32_t modified_count;
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

static enum err_code flags_one(void *arg, const struct store_row *old)
{
    struct flagging *f = arg;
    struct store_row row = *old;
    unsigned char key[KEY_MESSAGE], v[REC_ROW];
    if (f->w.unchanged_since_given && old->modseq > f->w.unchanged_since) {
        f->modified_count++;
        return buf_add(&f->modified, &old->uid, sizeof old->uid) ? ERR_OK : ERR_LIMIT;
    }
    if (!flags_turn(&f->w, f->bits, &row))
        return ERR_OK;
    row.modseq = f->box->r.modseq + 1;
    box_count(f->box, old, -1);
    box_count(f->box, &row, 1);
    flag_changes_add(&f->changes, old, &row);
    key_message(key, f->box->id, row.uid);
    const size_t n = rec_row_pack(&row, v);
    puts_add(&f->rows, span_of(key, sizeof key), span_of(v, n));
    return ERR_OK;
}

/* UIDs that rise. */
static enum err_code flags_rising(struct tx *t, struct flagging *f, const uint32_t *uids, size_t n)
{
    puts_open(&f->rows, t, T_MESSAGE, n, KEY_MESSAGE + REC_ROW);
    return puts_close(&f->rows, rows_each(t, f->box->id, uids, n, flags_one, f));
}

/* A UID that stands in the list again finds what was made of it before. */
static enum err_code flags_rows(struct tx *t, struct flagging *f, uint32_t at, uint32_t n)
{
    uint32_t uids[SLICE];
    enum err_code code = ERR_OK;
    assert(n <= SLICE);
    memcpy(uids, f->uids.p + 4 * (size_t)at, 4 * (size_t)n);
    for (uint32_t i = 0, end; i < n && code == ERR_OK; i = end) {
        for (end = i + 1; end < n && uids[end] > uids[end - 1];)
            end++;
        code = flags_rising(t, f, uids + i, end - i);
    }
    return code;
}

/* Changes that differ in what was before are one run in the answer. */
static size_t flags_runs(const struct flagging *f, uint64_t modseq, struct store_flag_run *v)
{
    size_t n = 0;
    for (size_t i = 0; i < f->changes.n; i++) {
        const struct rec_flags *c = &f->changes.v[i];
        struct store_flag_run *last = n ? &v[n - 1] : NULL;
        if (last && c->uid - last->first == last->count && c->new_flags == last->flags &&
            c->new_keywords == last->keywords)
            last->count += c->count;
        else
            v[n++] = (struct store_flag_run){modseq, c->new_keywords, c->uid, c->count, c->new_flags, 0};
    }
    return n;
}

static enum err_code flags_answer(struct job *j, struct flagging *f, const struct box *b,
                                  const struct keywords *k)
{
    struct store_flag_run runs[SLICE];
    const size_t n = flags_runs(f, b->r.modseq, runs);
    const struct wire_flagged_part part = {.modseq = b->r.modseq,
                                           .run_count = (uint32_t)n,
                                           .modified_count = f->modified_count,
                                           .keyword_count = (uint32_t)k->n};
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &part, sizeof part) && buf_add(a, runs, n * sizeof *runs) &&
              buf_add_span(a, buf_span(&f->modified));
    for (size_t i = 0; i < k->n && ok; i++)
        ok = wire_put_text(a, k->v[i]);
    return ok ? ERR_OK : ERR_LIMIT;
}

static enum err_code flags_slice(struct tx *t, struct job *j, struct flagging *f, struct box *b,
                                 const struct keywords *k, uint32_t keywords_before)
{
    enum err_code code;
    uint32_t end = f->w.uid_count - j->at > SLICE ? j->at + SLICE : f->w.uid_count;
    f->box = b;
    code = flags_rows(t, f, j->at, end - j->at);
    if (code != ERR_OK)
        return code;
    j->at = end;
    j->more = end < f->w.uid_count;
    if (f->changes.n) {
        b->r.modseq++;
        code = flag_changes_put(t, b, &f->changes);
    }
    if (code == ERR_OK && (f->changes.n || b->r.keyword_count != keywords_before))
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
    struct flagging f = {.modified_count = 0};
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
    buf_init(&f.modified, SLICE * 4);
    code = keywords_get(t, &b, &k);
    if (code == ERR_OK)
        code = keywords_bits(t, &b, &k, &names, f.w.keyword_count, f.w.op != STORE_FLAGS_REMOVE, &f.bits);
    if (code == ERR_OK)
        code = flags_slice(t, j, &f, &b, &k, before);
    keywords_free(&k);
    buf_free(&f.modified);
    flag_changes_free(&f.changes);
    return code;
}
