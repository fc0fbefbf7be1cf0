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
