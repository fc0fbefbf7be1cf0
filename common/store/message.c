/* Messages of mailboxes: their rows, and APPEND. The hard point is the counters of the mailbox: they move
 * with the rows in the same transaction, never apart. Flags are flags.c's, copies, moves and expunges
 * move.c's. */
#include "common/store/engine_int.h"
#include <assert.h>
#include <stdlib.h>

static const int64_t saved_epoch_s = 1577836800; /* 2020-01-01 */

int32_t saved_now(void)
{
    return (int32_t)(clock_wall_s() - saved_epoch_s);
}

enum err_code row_get(struct tx *t, uint64_t mailbox, uint32_t uid, struct store_row *out)
{
    unsigned char key[KEY_MESSAGE], v[REC_ROW];
    size_t n;
    key_message(key, mailbox, uid);
    enum err_code code = tx_get(t, T_MESSAGE, span_of(key, sizeof key), v, sizeof v, &n);
    if (code == ERR_OK && !rec_row_get(span_of(v, n), out))
        return ERR_BUG;
    out->uid = uid;
    return code;
}

enum err_code row_put(struct tx *t, uint64_t mailbox, const struct store_row *r)
{
    unsigned char key[KEY_MESSAGE], v[REC_ROW];
    key_message(key, mailbox, r->uid);
    const size_t n = rec_row_pack(r, v);
    return tx_put(t, T_MESSAGE, span_of(key, sizeof key), span_of(v, n));
}

enum err_code row_del(struct tx *t, uint64_t mailbox, uint32_t uid)
{
    unsigned char key[KEY_MESSAGE];
    key_message(key, mailbox, uid);
    return tx_del(t, T_MESSAGE, span_of(key, sizeof key));
}

enum err_code row_edit_open(struct row_edit *x, struct tx *t, uint64_t mailbox)
{
    x->mailbox = mailbox;
    x->uid = 0;
    return edit_open(&x->x, t, T_MESSAGE);
}

enum err_code row_edit_get(struct row_edit *x, uint32_t uid, struct store_row *out)
{
    enum { BESIDE = 3 }; /* gaps of expunged ones are mostly short; a wrong guess costs little */
    unsigned char key[KEY_MESSAGE], v[REC_ROW];
    size_t n;
    key_message(key, x->mailbox, uid);
    bool beside = x->uid && uid > x->uid && uid - x->uid <= BESIDE;
    enum err_code code = edit_get(&x->x, span_of(key, sizeof key), beside, v, sizeof v, &n);
    if (code == ERR_OK && !rec_row_get(span_of(v, n), out))
        return ERR_BUG;
    out->uid = uid;
    x->uid = uid;
    return code;
}

/* UIDs that lie close together: a walk over them costs a tenth of a search for each. */
static enum err_code rows_near(struct tx *t, uint64_t mailbox, const uint32_t *uids, size_t n, row_cb *take,
                               void *arg)
{
    enum { PAIR = 80, BLOCK = 256 << 10 };
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    size_t size = ((size_t)(uids[n - 1] - uids[0]) + 1) * PAIR, i = 0;
    key_message(from, mailbox, uids[0]);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, size < BLOCK ? size : BLOCK);
    while (s.code == ERR_OK && i < n && scan_next(&s, &key, &value)) {
        struct store_row r = {.uid = get_be32(key.p + KEY_ID)};
        while (i < n && uids[i] < r.uid)
            i++; /* gone */
        if (i == n || uids[i] != r.uid)
            continue;
        i++;
        s.code = rec_row_get(value, &r) ? take(arg, &r) : ERR_BUG;
    }
    return scan_close(&s);
}

enum err_code rows_each(struct tx *t, uint64_t mailbox, const uint32_t *uids, size_t n, row_cb *take,
                        void *arg)
{
    enum { GAP = 8, FEW = 4 };
    enum err_code code = ERR_OK;
    for (size_t i = 0, end; i < n && code == ERR_OK; i = end) {
        for (end = i + 1; end < n && uids[end] - uids[end - 1] <= GAP;)
            end++;
        if (end - i > FEW) {
            code = rows_near(t, mailbox, uids + i, end - i, take, arg);
            continue;
        }
        for (size_t k = i; k < end && code == ERR_OK; k++) {
            struct store_row r;
            code = row_get(t, mailbox, uids[k], &r);
            code = code == ERR_OK ? take(arg, &r) : code == ERR_MISSING ? ERR_OK : code;
        }
    }
    return code;
}

void box_count(struct box *b, const struct store_row *r, int by)
{
    b->r.messages += (uint32_t)by;
    b->r.bytes += by > 0 ? r->size : -(uint64_t)r->size;
    if (!(r->flags & STORE_SEEN))
        b->r.unseen += (uint32_t)by;
    if (r->flags & STORE_DELETED)
        b->r.deleted += (uint32_t)by;
}

enum err_code message_add(struct tx *t, struct box *b, struct store_row *row, enum change_op op)
{
    if (b->r.uidnext == UINT32_MAX)
        return ERR_LIMIT;
    row->uid = b->r.uidnext++;
    row->modseq = ++b->r.modseq;
    row->saved_s_low = saved_now();
    box_count(b, row, 1);
    enum err_code code = row_put(t, b->id, row);
    return code == ERR_OK ? change_added(t, b, op, 0, row->uid, 1) : code;
}

/* -- append -- */

static enum err_code append_trace(struct tx *t, const struct job *j, const struct wire_append *w,
                                  const struct content_in *c, const struct box *b, uint32_t uid)
{
    unsigned char place[REC_PLACE];
    if (!w->trace[0])
        return ERR_OK;
    if (w->once) {
        unsigned char key[KEY_TRACE];
        key_trace(key, w->trace, 0);
        enum err_code code = tx_get_buf(t, T_TRACE, span_of(key, sizeof key), &t->scratch);
        if (code != ERR_MISSING)
            return code == ERR_OK ? ERR_STATE : code;
    }
    memcpy(place, b->r.account.b, KEY_UUID);
    put_be64(place + 16, b->id);
    put_be32(place + 24, uid);
    const struct rec_trace r = {.at_us = clock_wall_us(),
                                .kind = TRACE_APPENDED,
                                .content = j->content,
                                .size = c->head.size,
                                .place_count = 1,
                                .places = span_of(place, sizeof place)};
    return trace_put(t, w->trace, 0, &r);
}

struct append {
    struct wire_append w;
    struct span name;
    struct wire_in keywords;
    struct content_in content;
};

static bool append_parse(struct tx *t, struct job *j, struct append *a)
{
    struct wire_in in = {buf_span(&j->body), false};
    wire_get(&in, &a->w, sizeof a->w);
    a->name = wire_text(&in);
    a->keywords = in;
    for (uint32_t i = 0; i < a->w.keyword_count && !in.bad; i++)
        wire_text(&in);
    a->w.trace[TRACE_TEXT - 1] = '\0';
    return !in.bad && a->w.keyword_count <= KEYWORDS && content_take(&in, t->e->o.message_limit, &a->content);
}

static enum err_code append_into(struct tx *t, struct job *j, struct append *a, struct box *b,
                                 struct keywords *k)
{
    struct store_row row = {.flags = a->w.flags & 0x1f,
                            .content = j->content,
                            .internal_s = a->w.internal_s,
                            .zone_min = (int16_t)a->w.zone_min,
                            .size = (uint32_t)a->content.head.size};
    const struct quota_wish wish = {quota_how_of(j), row.size, 1, j->quota_bytes, 0};
    enum err_code code = quota_take(t, &j->account, &wish);
    if (code == ERR_OK)
        code = keywords_get(t, b, k);
    if (code == ERR_OK)
        code = keywords_bits(t, b, k, &a->keywords, a->w.keyword_count, true, &row.keywords);
    if (code == ERR_OK)
        code = content_store(t, j, &a->content, a->w.trace, 1);
    if (code == ERR_OK)
        code = message_add(t, b, &row, CHANGE_APPEND);
    if (code == ERR_OK)
        code = box_put(t, b);
    if (code == ERR_OK)
        code = append_trace(t, j, &a->w, &a->content, b, row.uid);
    const struct wire_appended answer = {b->id, b->r.uidvalidity, row.uid};
    if (code == ERR_OK && !answer_add(j, &answer, sizeof answer))
        code = ERR_LIMIT;
    return code;
}

enum err_code op_append(struct tx *t, struct job *j)
{
    struct append a;
    struct name name;
    struct rec_name rec;
    struct box b;
    struct keywords k;
    if (!append_parse(t, j, &a) || !j->has_place)
        return ERR_SYNTAX;
    enum err_code code = name_box(t, &j->account, a.name, &name, &rec, &b);
    if (code != ERR_OK)
        return code;
    keywords_init(&k);
    code = append_into(t, j, &a, &b, &k);
    keywords_free(&k);
    return code;
}
