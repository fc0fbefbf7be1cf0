/* Queries about quota: an account's limits and use with those of its units, and the list of all units. Names
 * come from the records, sums from memory; both may be newer than the snapshot, and are held until the log is
 * flushed like any other answer. */
#include "common/store/engine_int.h"
#include <stdlib.h>

static enum err_code put_root(struct tx *t, const struct unit_use *u, struct buf *out)
{
    const struct wire_root w = {.id = u->id,
                                .parent = u->parent,
                                .limit_bytes = u->limit_bytes,
                                .limit_messages = u->limit_messages,
                                .bytes = u->bytes,
                                .messages = u->messages,
                                .accounts = u->accounts};
    struct rec_unit r = {.limit_bytes = 0};
    enum err_code code = tx_get_buf(t, T_UNIT, key_uuid(&u->id), &t->scratch);
    if (code == ERR_OK && !rec_unit_get(buf_span(&t->scratch), &r))
        return ERR_BUG;
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    bool ok = buf_add(out, &w, sizeof w) && wire_put_text(out, r.code) && wire_put_text(out, r.name);
    return ok ? ERR_OK : ERR_LIMIT;
}

static bool put_account_root(struct query *q, const struct rec_quota *r, struct buf *out)
{
    const uint64_t told = q->quota_bytes == GRANT_UNBOUND ? 0 : q->quota_bytes;
    const struct wire_root w = {.id = q->account,
                                .parent = r->unit,
                                .limit_bytes = r->flags & QUOTA_TOLD ? r->limit_bytes : told,
                                .limit_messages = r->limit_messages,
                                .bytes = r->bytes,
                                .messages = r->messages,
                                .accounts = 1};
    return buf_add(out, &w, sizeof w) && wire_put_text(out, SPAN("")) && wire_put_text(out, SPAN(""));
}

enum err_code read_quota(struct tx *t, struct query *q)
{
    struct unit_use chain[UNIT_DEPTH];
    struct rec_quota r;
    struct wire_roots head = {1, 0};
    if (q->body.n)
        return ERR_SYNTAX;
    enum err_code code = quota_get(t, &q->account, &r);
    if (code != ERR_OK)
        return code;
    struct buf *a = parts_add(&q->answer);
    bool ok = buf_add(a, &head, sizeof head) && put_account_root(q, &r, a);
    size_t n = uuid_is_none(&r.unit) ? 0 : units_chain(t->e, &r.unit, chain);
    for (size_t i = 0; i < n && ok && code == ERR_OK; i++) {
        code = put_root(t, &chain[i], a);
        head.count++;
    }
    memcpy(a->p, &head, sizeof head);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

static int by_id(const void *a, const void *b)
{
    const struct unit_use *x = a, *y = b;
    return uuid_cmp(&x->id, &y->id);
}

enum err_code read_units(struct tx *t, struct query *q)
{
    struct unit_use *all;
    struct wire_roots head = {0, 0};
    enum err_code code = ERR_OK;
    size_t n = units_all(t->e, &all);
    struct buf *a = parts_add(&q->answer);
    bool ok = q->body.n == 0 && buf_add(a, &head, sizeof head);
    qsort(all, n, sizeof *all, by_id);
    for (size_t i = 0; i < n && ok && code == ERR_OK; i++) {
        code = put_root(t, &all[i], a);
        head.count++;
    }
    free(all);
    memcpy(a->p, &head, sizeof head);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}
