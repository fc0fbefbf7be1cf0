/* The history of changes: one record for each modseq of a mailbox, with what is needed to answer "what
 * changed since", to undelete and to go back in time. Written in the transaction that makes the change. */
#include "common/store/engine_int.h"
#include <assert.h>

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
    bool ok =
        rec_change_head(v, op, clock_wall_us(), other, 1) && buf_add_u32(v, uid) && buf_add_u32(v, count);
    assert(ok);
    return change_put(t, b->id, b->r.modseq, buf_span(v));
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
