/* The history of changes: one record for each modseq of a mailbox, with what is needed to answer "what
 * changed since", to undelete and to go back in time. Written in the transaction that makes the change. */
#include "common/store/engine_int.h"
#include <assert.h>
#include <stdlib.h>

enum err_code change_put(struct tx *t, uint64_t mailbox, uint64_t modseq, struct span value)
{
    unsigned char key[KEY_CHANGE];
    key_pair(key, mailbox, modseq);
    return tx_put(t, T_CHANGE, span_of(key, sizeof key), value);
}

enum err_code change_added(struct tx *t, const struct box *b, enum change_op op, uint64_t other, uint32_t uid,
                           uint32_t count)
{
    struct buf *v = &t->scratch;
    buf_reset(v);
    bool ok = rec_change_added(v, op, clock_wall_us(), other, uid, count);
    assert(ok);
    return change_put(t, b->id, b->r.modseq, buf_span(v));
}

void flag_changes_add(struct flag_changes *c, const struct store_row *old, const struct store_row *now)
{
    struct rec_flags *last = c->n ? &c->v[c->n - 1] : NULL;
    if (last && now->uid - last->uid == last->count && last->old_flags == old->flags &&
        last->new_flags == now->flags && last->old_keywords == old->keywords &&
        last->new_keywords == now->keywords) {
        last->count++;
        return;
    }
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->v = xrealloc(c->v, c->cap * sizeof *c->v);
    }
    c->v[c->n++] = (struct rec_flags){.uid = now->uid,
                                      .count = 1,
                                      .old_flags = (uint8_t)old->flags,
                                      .new_flags = (uint8_t)now->flags,
                                      .old_keywords = old->keywords,
                                      .new_keywords = now->keywords};
}

enum err_code flag_changes_put(struct tx *t, const struct box *b, const struct flag_changes *c)
{
    struct buf *v = &t->scratch;
    buf_reset(v);
    bool ok = rec_change_head(v, CHANGE_FLAGS, clock_wall_us(), 0, (uint32_t)c->n);
    for (size_t i = 0; i < c->n && ok; i++)
        ok = rec_flags_put(&c->v[i], v);
    return ok ? change_put(t, b->id, b->r.modseq, buf_span(v)) : ERR_LIMIT;
}

void flag_changes_free(struct flag_changes *c)
{
    free(c->v);
    *c = (struct flag_changes){NULL, 0, 0};
}

bool change_contents(const struct rec_change *r, struct ids *out)
{
    size_t size = r->op == CHANGE_EXPUNGE ? ITEM_EXPUNGE : r->op == CHANGE_MOVE_OUT ? ITEM_MOVE : 0;
    for (uint32_t i = 0; size && i < r->count; i++) {
        struct store_row row;
        if (!rec_row_get(span_of(r->items.p + i * size + 4, REC_ROW), &row))
            return false;
        ids_add(out, row.content);
    }
    return true;
}
