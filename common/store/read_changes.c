/* "What changed since modseq M": from the history when it reaches back that far, else every row.
 * The hard point is a message that changed several times: the answer holds each once, as it is now, and one
 * that came and went since M appears among the gone (the client may have heard of it). */
#include "common/store/engine_int.h"
#include <stdlib.h>

struct uids {
    uint32_t *v;
    size_t n, cap;
};

static void uids_add(struct uids *u, uint32_t uid)
{
    if (u->n == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 64;
        u->v = xrealloc(u->v, u->cap * sizeof *u->v);
    }
    u->v[u->n++] = uid;
}

static int by_uid(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void uids_settle(struct uids *u)
{
    size_t kept = 0;
    if (u->n)
        qsort(u->v, u->n, sizeof *u->v, by_uid);
    for (size_t i = 0; i < u->n; i++)
        if (kept == 0 || u->v[kept - 1] != u->v[i])
            u->v[kept++] = u->v[i];
    u->n = kept;
}

struct changes {
    struct uids changed, gone;
    struct parts *parts;
    struct buf *part;
    struct wire_changes_part head;
    uint32_t box_n; /* bytes of the box in the first part */
};

static void gather_one(struct changes *c, const struct rec_change *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct rec_added added;
        struct rec_flags f;
        switch (r->op) {
        case CHANGE_FLAGS:
            f = rec_flags_at(r, i);
            for (uint32_t n = f.count, uid = f.uid; n; n--)
                uids_add(&c->changed, uid++);
            break;
        case CHANGE_EXPUNGE:
            uids_add(&c->gone, get_be32(r->items.p + (size_t)i * ITEM_EXPUNGE));
            break;
        case CHANGE_MOVE_OUT:
            uids_add(&c->gone, get_be32(r->items.p + (size_t)i * ITEM_MOVE));
            break;
        default:
            added = rec_added_at(r, i);
            for (uint32_t n = added.count, uid = added.uid; n; n--)
                uids_add(&c->changed, uid++);
        }
    }
}

/* At most `most` UIDs, and those of the change that passes it. */
static enum err_code gather(struct tx *t, const struct box *b, uint64_t since, size_t most, struct changes *c)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    struct rec_change r;
    key_pair(from, b->id, since + 1);
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (c->changed.n + c->gone.n <= most && scan_next(&s, &key, &value)) {
        if (!rec_change_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        gather_one(c, &r);
    }
    uids_settle(&c->changed);
    uids_settle(&c->gone);
    return scan_close(&s);
}

static bool part_start(struct changes *c)
{
    c->part = parts_add(c->parts);
    c->head.has_box = 0;
    c->head.row_count = c->head.gone_count = 0;
    return buf_add(c->part, &c->head, sizeof c->head);
}

static void part_note(struct changes *c)
{
    memcpy(c->part->p, &c->head, sizeof c->head);
}

static bool add_row(struct changes *c, const struct store_row *r)
{
    if (c->head.row_count == ROWS_PART && !part_start(c))
        return false;
    c->head.row_count++;
    part_note(c);
    return buf_add(c->part, r, sizeof *r);
}

static enum err_code all_rows(struct tx *t, const struct box *b, struct changes *c)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    key_message(from, b->id, 0);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        r.uid = get_be32(key.p + KEY_ID);
        if (!rec_row_get(value, &r))
            s.code = ERR_BUG;
        else if (!add_row(c, &r))
            s.code = ERR_LIMIT;
    }
    return scan_close(&s);
}

static enum err_code take_row(void *arg, const struct store_row *r)
{
    return add_row(arg, r) ? ERR_OK : ERR_LIMIT;
}

static enum err_code some_rows(struct tx *t, const struct box *b, struct changes *c)
{
    /* Rows that are not there are among the gone. */
    enum err_code code = rows_each(t, b->id, c->changed.v, c->changed.n, take_row, c);
    /* Rows of a part come before its gone UIDs, so these have a part of their own when there are rows. */
    if (c->gone.n && c->head.row_count && code == ERR_OK && !part_start(c))
        code = ERR_LIMIT;
    for (size_t i = 0; i < c->gone.n && code == ERR_OK; i++) {
        c->head.gone_count++;
        if (!buf_add(c->part, &c->gone.v[i], 4))
            code = ERR_LIMIT;
    }
    part_note(c);
    return code;
}

static enum err_code first_part(struct tx *t, const struct box *b, struct changes *c)
{
    struct keywords k;
    keywords_init(&k);
    enum err_code code = part_start(c) ? keywords_get(t, b, &k) : ERR_LIMIT;
    if (code == ERR_OK && !box_wire(b, NULL, SPAN_NONE, &k, c->part))
        code = ERR_LIMIT;
    c->head.has_box = 1;
    part_note(c);
    keywords_free(&k);
    return code;
}

/* Budgets count lookups; a row that is scanned costs less. */
enum { ROWS_PER_LOOKUP = 16 };

enum err_code read_changes(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_changes w;
    struct box b;
    struct changes c = {.parts = &q->answer};
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = box_of(t, &q->account, q->mailbox, &b);
    if (code != ERR_OK)
        return code;
    c.head.whole = w.since < b.r.change_floor || w.since > b.r.modseq || w.since == 0;
    if (c.head.whole ? b.r.messages > q->budget : b.r.modseq - w.since > q->budget) {
        q->more = true; /* nothing is answered yet: it is not for this thread */
        return ERR_OK;
    }
    const size_t most = (size_t)q->budget * ROWS_PER_LOOKUP;
    if (!c.head.whole)
        code = gather(t, &b, w.since, most, &c);
    q->more = code == ERR_OK && c.changed.n + c.gone.n > most; /* the same */
    if (code == ERR_OK && !q->more)
        code = first_part(t, &b, &c);
    if (code == ERR_OK && !q->more)
        code = c.head.whole ? all_rows(t, &b, &c) : some_rows(t, &b, &c);
    free(c.changed.v);
    free(c.gone.v);
    return code;
}
