/* Purge, the writer's part: history that is older than the undelete window, mailboxes that were deleted
 * before it, traces, repeat keys and outcomes past their time. Each request is one small transaction; the
 * care thread (care.c) finds what is due and asks for one after the other. The hard point is what must not
 * go: the account's hold is read in the same transaction, ages are looked at again here, and history goes
 * from its old end only, so that change_floor tells exactly what is left. */
#include "common/store/engine_int.h"

/* What one transaction takes: the records' keys, the contents that they named. */
struct purging {
    struct purge_ask ask;
    struct box b;
    struct buf keys; /* of rows or changes: the second half of each key */
    struct ids contents;
    uint32_t count;
};

/* -- history -- */

/* The oldest changes, as many as a slice holds; all: whatever their age. */
static enum err_code gather_changes(struct tx *t, struct purging *p, bool all, bool *more)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    struct rec_change r;
    *more = false;
    key_pair(from, p->b.id, 0);
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        if (key.n != KEY_CHANGE || !rec_change_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (!all && r.at_us >= p->ask.before_us)
            break;
        if (p->count == p->ask.limit || p->contents.n >= p->ask.limit) {
            *more = true;
            break;
        }
        if (!change_contents(&r, &p->contents) || !buf_add_span(&p->keys, span_drop(key, KEY_ID)))
            s.code = ERR_BUG;
        p->count++;
    }
    return scan_close(&s);
}

/* Between two slices, too, change_floor tells what is left. */
static enum err_code drop_changes(struct tx *t, struct purging *p, struct purge_said *out)
{
    out->changes = p->count;
    p->b.r.change_floor = get_be64(p->keys.p + (size_t)(p->count - 1) * 8);
    enum err_code code = box_put_quietly(t, &p->b);
    if (code == ERR_OK)
        code = content_refs_drop(t, &p->contents);
    for (uint32_t i = 0; i < p->count && code == ERR_OK; i++) {
        unsigned char key[KEY_CHANGE];
        key_pair(key, p->b.id, get_be64(p->keys.p + (size_t)i * 8));
        code = tx_del(t, T_CHANGE, span_of(key, sizeof key));
    }
    return code;
}

static enum err_code purge_history(struct tx *t, struct purging *p, struct purge_said *out)
{
    bool more;
    enum err_code code = gather_changes(t, p, false, &more);
    if (code != ERR_OK || p->count == 0)
        return code;
    out->more = more;
    return drop_changes(t, p, out);
}

/* -- a deleted mailbox: rows first, then its changes, then itself -- */

static enum err_code gather_rows(struct tx *t, struct purging *p)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    key_message(from, p->b.id, 0);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (p->count < p->ask.limit && scan_next(&s, &key, &value)) {
        if (!rec_row_get(value, &r) || !buf_add_span(&p->keys, span_drop(key, KEY_ID))) {
            s.code = ERR_BUG;
            break;
        }
        box_count(&p->b, &r, -1); /* should it be brought back now, it tells the truth */
        ids_add(&p->contents, r.content);
        p->count++;
    }
    return scan_close(&s);
}

static enum err_code drop_rows(struct tx *t, struct purging *p)
{
    enum err_code code = box_put_quietly(t, &p->b);
    for (uint32_t i = 0; i < p->count && code == ERR_OK; i++)
        code = row_del(t, p->b.id, get_be32(p->keys.p + (size_t)i * 4));
    return code == ERR_OK ? content_refs_drop(t, &p->contents) : code;
}

static enum err_code drop_box(struct tx *t, struct purging *p)
{
    unsigned char key[KEY_ID];
    put_be64(key, p->b.id);
    enum err_code code = tx_del(t, T_MAILBOX, span_of(key, sizeof key));
    if (code != ERR_OK)
        return code;
    code = tx_del(t, T_KEYWORD, span_of(key, sizeof key));
    return code == ERR_MISSING ? ERR_OK : code;
}

static enum err_code purge_box(struct tx *t, struct purging *p, struct purge_said *out)
{
    bool more;
    enum err_code code = gather_rows(t, p);
    out->more = true;
    if (code == ERR_OK && p->count) {
        out->rows = p->count;
        return drop_rows(t, p);
    }
    if (code == ERR_OK)
        code = gather_changes(t, p, true, &more);
    if (code != ERR_OK)
        return code;
    if (p->count)
        return drop_changes(t, p, out);
    out->more = false;
    out->mailboxes = 1;
    return drop_box(t, p);
}

static enum err_code purge(struct tx *t, struct purging *p, struct purge_said *out)
{
    struct rec_account a;
    bool more = false;
    enum err_code code = account_get(t, &p->ask.account, &a);
    if (code == ERR_OK && a.hold)
        return ERR_OK;
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    if (!p->ask.mailbox) { /* the history of its folders */
        code = history_purge(t, &p->ask.account, p->ask.before_us, &more);
        out->more = more;
        return code;
    }
    code = box_get(t, p->ask.mailbox, &p->b);
    if (code == ERR_MISSING || (code == ERR_OK && uuid_cmp(&p->b.r.account, &p->ask.account) != 0))
        return ERR_OK;
    if (code != ERR_OK)
        return code;
    bool gone = p->b.r.deleted_us && p->b.r.deleted_us < p->ask.before_us;
    return gone ? purge_box(t, p, out) : purge_history(t, p, out);
}

enum err_code op_purge(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct purging p = {.count = 0};
    struct purge_said out = {0};
    if (!wire_get(&in, &p.ask, sizeof p.ask))
        return ERR_SYNTAX;
    buf_init(&p.keys, (size_t)1 << 20);
    enum err_code code = purge(t, &p, &out);
    buf_free(&p.keys);
    ids_free(&p.contents);
    return code == ERR_OK && !answer_add(j, &out, sizeof out) ? ERR_LIMIT : code;
}

/* -- records with a time behind their version: trace, repeat, done -- */

int64_t record_time(struct span value)
{
    return value.n >= 9 ? (int64_t)get_be64(value.p + 1) : INT64_MAX;
}

enum err_code op_sweep(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct sweep_ask w;
    enum err_code code = ERR_OK;
    if (!wire_get(&in, &w, sizeof w))
        return ERR_SYNTAX;
    while (in.s.n && code == ERR_OK) {
        unsigned char head[9];
        size_t n;
        struct span key = wire_text(&in);
        if (in.bad)
            return ERR_SYNTAX;
        code = tx_get_head(t, (enum table)w.table, key, head, sizeof head, &n);
        if (code == ERR_OK && record_time(span_of(head, n)) < w.before_us)
            code = tx_del(t, (enum table)w.table, key);
        if (code == ERR_MISSING)
            code = ERR_OK;
    }
    return code;
}

/* -- segments that hold nothing any more -- */

enum err_code op_segment(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct segment_ask w;
    struct rec_segment r;
    unsigned char key[4];
    if (!wire_get(&in, &w, sizeof w))
        return ERR_SYNTAX;
    enum err_code code = segment_get(t, w.number, &r);
    if (code != ERR_OK)
        return code;
    if (w.what == SEGMENT_EMPTIED) { /* all that lived was moved; the rest never had a record */
        r.dead = r.end - SEGMENT_HEAD;
        return segment_put(t, w.number, &r);
    }
    if (w.what == SEGMENT_GONE) {
        put_be32(key, w.number);
        return r.sealed == SEGMENT_DROPPED ? tx_del(t, T_SEGMENT, span_of(key, sizeof key)) : ERR_STATE;
    }
    if (r.sealed == 0 || r.dead < r.end - SEGMENT_HEAD)
        return ERR_STATE;
    r.sealed = SEGMENT_DROPPED;
    return segment_put(t, w.number, &r);
}

/* -- legal hold -- */

enum err_code op_hold(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_hold w;
    struct rec_account r;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = account_need(t, &w.account, false, &r);
    if (code != ERR_OK || r.hold == (w.on != 0))
        return code;
    r.hold = w.on != 0;
    log_event(LOG_INFO, NULL, "store.account.hold", F_INT("on", r.hold));
    return account_put(t, &w.account, &r);
}
