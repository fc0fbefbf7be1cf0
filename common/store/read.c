/* Queries: what sessions read, on a snapshot that waits for no lock. A query stops after its budget of items
 * and goes on later with `more`, so that none keeps the thread that runs it for long. What is read may not be
 * durable yet: the query's mark says which batch has to be on the disk before the answer may leave. */
#include "common/store/engine_int.h"
#include "common/store/crc.h"
#include <stdlib.h>

static enum err_code list_add(struct tx *t, struct span key, struct span value, struct buf *out)
{
    struct rec_name r;
    struct box b = {.id = 0};
    struct keywords k;
    enum err_code code = ERR_OK;
    if (!rec_name_get(value, &r))
        return ERR_BUG;
    keywords_init(&k);
    if (r.mailbox)
        code = box_get(t, r.mailbox, &b);
    if (code == ERR_OK)
        code = keywords_get(t, &b, &k);
    if (code == ERR_OK && !box_wire(&b, &r, span_drop(key, KEY_UUID), &k, out))
        code = ERR_LIMIT;
    keywords_free(&k);
    return code == ERR_MISSING ? ERR_BUG : code;
}

/* INBOX first, then the others by their bytes. Parts of some hundred kilobytes. */
enum err_code read_list_of(struct tx *t, const struct uuid *account, struct query *q)
{
    enum { PART = 512 << 10 };
    struct scan s;
    struct span key, value;
    struct buf inbox, rest;
    struct wire_boxes head = {0};
    enum err_code code = ERR_OK;
    buf_init(&inbox, PART);
    buf_init(&rest, 2 * PART);
    scan_open(&s, t, T_NAME, key_uuid(account), KEY_UUID, 64 << 10);
    while (code == ERR_OK && scan_next(&s, &key, &value)) {
        bool first = span_eq(span_drop(key, KEY_UUID), SPAN("INBOX"));
        code = list_add(t, key, value, first ? &inbox : &rest);
        head.count++;
        if (rest.n < PART)
            continue;
        struct buf *p = parts_add(&q->answer);
        if (!buf_add(p, &head, sizeof head) || !buf_add_span(p, buf_span(&inbox)) ||
            !buf_add_span(p, buf_span(&rest)))
            code = ERR_LIMIT;
        buf_reset(&inbox);
        buf_reset(&rest);
        head.count = 0;
    }
    enum err_code closed = scan_close(&s);
    struct buf *p = parts_add(&q->answer);
    if (!buf_add(p, &head, sizeof head) || !buf_add_span(p, buf_span(&inbox)) ||
        !buf_add_span(p, buf_span(&rest)))
        code = ERR_LIMIT;
    buf_free(&inbox);
    buf_free(&rest);
    return code == ERR_OK ? closed : code;
}

static enum err_code read_list(struct tx *t, struct query *q)
{
    struct rec_account a;
    enum err_code code = account_get(t, &q->account, &a);
    if (code != ERR_OK)
        return code;
    if (a.mailboxes > q->budget) {
        q->more = true; /* nothing is answered yet: it is not for this thread */
        return ERR_OK;
    }
    return read_list_of(t, &q->account, q);
}

static enum err_code put_box(struct tx *t, const struct box *b, const struct rec_name *r, struct span name,
                             struct buf *out)
{
    struct keywords k;
    keywords_init(&k);
    enum err_code code = keywords_get(t, b, &k);
    if (code == ERR_OK && !box_wire(b, r, name, &k, out))
        code = ERR_LIMIT;
    keywords_free(&k);
    return code;
}

static enum err_code read_status(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_status w;
    struct name name;
    struct rec_name r;
    struct box b;
    wire_get(&in, &w, sizeof w);
    struct span text = wire_text(&in);
    if (!wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = name_box(t, &q->account, text, &name, &r, &b);
    if (code != ERR_OK)
        return code == ERR_SYNTAX ? ERR_MISSING : code;
    q->named = b.id;
    return put_box(t, &b, &r, span_of(name.p, name.n), parts_add(&q->answer));
}

static enum err_code read_status_id(struct tx *t, struct query *q)
{
    struct box b;
    enum err_code code = box_of(t, &q->account, q->mailbox, &b);
    return code == ERR_OK ? put_box(t, &b, NULL, SPAN_NONE, parts_add(&q->answer)) : code;
}

/* -- rows -- */

struct rows {
    struct parts *parts;
    struct buf *part;
    uint32_t count; /* in part */
};

static bool rows_add(struct rows *r, const struct store_row *row)
{
    if (!r->part) {
        r->part = parts_add(r->parts);
        r->count = 0;
        if (!buf_add(r->part, &(struct wire_rows_part){0, 0}, sizeof(struct wire_rows_part)))
            return false;
    }
    r->count++;
    const struct wire_rows_part head = {r->count, 0};
    memcpy(r->part->p, &head, sizeof head);
    if (!buf_add(r->part, row, sizeof *row))
        return false;
    if (r->count == ROWS_PART)
        r->part = NULL;
    return true;
}

static enum err_code read_rows(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_rows w;
    struct box b;
    struct scan s;
    struct span key, value;
    struct rows rows = {.parts = &q->answer};
    unsigned char from[KEY_MESSAGE];
    uint32_t seen = 0;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = box_of(t, &q->account, q->mailbox, &b);
    if (code != ERR_OK)
        return code;
    key_message(from, b.id, q->next ? (uint32_t)q->next : w.first);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct store_row r;
        r.uid = get_be32(key.p + KEY_ID);
        if (w.last && r.uid > w.last)
            break;
        if (seen++ == q->budget) {
            q->next = r.uid;
            q->more = true;
            break;
        }
        if (!rec_row_get(value, &r))
            s.code = ERR_BUG;
        else if (!rows_add(&rows, &r))
            s.code = ERR_LIMIT;
    }
    code = scan_close(&s);
    if (code == ERR_OK && q->answer.n == 0)
        code = buf_add(parts_add(&q->answer), &(struct wire_rows_part){0, 0}, sizeof(struct wire_rows_part))
                   ? ERR_OK
                   : ERR_LIMIT;
    return code;
}

enum err_code content_gone(struct engine *e, uint64_t mailbox, const struct store_row *row, uint32_t segment)
{
    struct tx t;
    struct store_row now = {.content = 0};
    unsigned char key[KEY_ID], v[REC_CONTENT_HEAD];
    struct rec_content c = {.segment = 0};
    size_t n = 0;
    put_be64(key, row->content);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = row_get(&t, mailbox, row->uid, &now);
    if (code == ERR_OK)
        code = tx_get_head(&t, T_CONTENT, span_of(key, sizeof key), v, sizeof v, &n);
    tx_free(&t);
    bool moved = code == ERR_OK && segment && rec_content_get(span_of(v, n), &c) && c.segment != segment;
    if (code == ERR_RETRY || moved || (code == ERR_MISSING && now.content != row->content))
        return ERR_RETRY;
    log_event(LOG_ALARM, NULL, segment ? "store.segment.missing" : "store.content.missing",
              F_UINT("content", row->content), F_UINT("segment", segment));
    return ERR_BUG;
}

/* -- bytes -- */

/* The content record without its meta, in t->scratch. */
static enum err_code content_places(struct tx *t, uint64_t id, struct rec_content *out)
{
    enum { USUAL = 1024 };
    unsigned char key[KEY_ID];
    size_t want = USUAL, n;
    put_be64(key, id);
    for (;;) {
        buf_reset(&t->scratch);
        char *p = buf_reserve(&t->scratch, want);
        if (!p)
            return ERR_BUG;
        enum err_code code = tx_get_head(t, T_CONTENT, span_of(key, sizeof key), p, want, &n);
        if (code != ERR_OK)
            return code;
        if (!rec_content_get(span_of(p, n), out))
            return ERR_BUG;
        if (out->frames.n)
            return ERR_OK;
        if (want > USUAL)
            return ERR_BUG;
        want = REC_CONTENT_HEAD + (size_t)out->frame_count * REC_FRAME;
    }
}

static enum err_code put_frames(struct tx *t, const struct rec_content *c, size_t first, size_t count,
                                uint64_t at, uint64_t offset, struct buf *out)
{
    const struct wire_read_part head = {at, (uint32_t)count, 0};
    uint64_t packed = 0;
    bool ok = buf_add(out, &head, sizeof head);
    for (size_t i = first; i < first + count && ok; i++) {
        struct rec_frame f = rec_frame_at(c->frames, i);
        const struct frame_size size = {f.raw, f.packed};
        packed += f.packed;
        ok = buf_add(out, &size, sizeof size);
    }
    char *p = ok ? buf_reserve(out, (size_t)packed) : NULL;
    if (!p)
        return ERR_LIMIT;
    enum err_code code = segment_read(t->e, c->segment, offset, p, (size_t)packed);
    for (size_t i = first; i < first + count && code == ERR_OK; i++) {
        struct rec_frame f = rec_frame_at(c->frames, i);
        if (crc32c(0, span_of(p, f.packed)) != f.crc) {
            log_event(LOG_ALARM, NULL, "store.content.damaged", F_UINT("segment", c->segment),
                      F_UINT("offset", offset), F_STR("trace", c->trace));
            code = ERR_BUG;
        }
        p += f.packed;
        offset += f.packed;
    }
    buf_commit(out, (size_t)packed);
    return code;
}

/* The row of a message, or of one that the asker saw at w->seen and that was expunged since. */
static enum err_code row_seen(struct tx *t, const struct box *b, const struct wire_read *w, struct query *q,
                              struct store_row *out)
{
    enum err_code code = row_get(t, b->id, w->uid, out);
    if (code != ERR_MISSING || !w->seen)
        return code;
    if (!q->next)
        q->next = w->seen + 1;
    return history_row(t, b, w->uid, q, out);
}

static enum err_code read_bytes_of(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_read w;
    struct box b;
    struct store_row row;
    struct rec_content c;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in) || w.want > STORE_READ_LIMIT)
        return ERR_SYNTAX;
    enum err_code code = box_of(t, &q->account, q->mailbox, &b);
    if (code == ERR_OK)
        code = row_seen(t, &b, &w, q, &row);
    if (code != ERR_OK || q->more)
        return code;
    code = content_places(t, row.content, &c);
    if (code == ERR_MISSING)
        code = content_gone(t->e, b.id, &row, 0);
    if (code != ERR_OK)
        return code;
    uint64_t raw = 0, at = 0, offset = c.offset, end = w.first + w.want;
    size_t first = 0, count = 0;
    for (size_t i = 0; i < c.frame_count && raw < end; i++) {
        struct rec_frame f = rec_frame_at(c.frames, i);
        if (raw + f.raw <= w.first) {
            offset += f.packed;
            first = i + 1;
            at = raw + f.raw;
        } else {
            count++;
        }
        raw += f.raw;
    }
    code = put_frames(t, &c, first, count, at, offset, parts_add(&q->answer));
    return code == ERR_MISSING ? content_gone(t->e, b.id, &row, c.segment) : code;
}

static const struct {
    uint16_t type;
    enum err_code (*read)(struct tx *t, struct query *q);
} reads[] = {
    {WIRE_LIST, read_list},
    {WIRE_STATUS, read_status},
    {WIRE_STATUS_ID, read_status_id},
    {WIRE_ROWS, read_rows},
    {WIRE_CHANGES, read_changes},
    {WIRE_META, read_meta},
    {WIRE_READ, read_bytes_of},
    {WIRE_ACCOUNTS, read_accounts},
    {WIRE_MAILBOXES, read_mailboxes},
    {WIRE_TRACE, read_trace},
    {WIRE_STATS, read_stats},
    {WIRE_VIEW, read_view},
    {WIRE_PAST_NAMES, read_past_names},
    {WIRE_QUOTA, read_quota},
    {WIRE_UNIT_LIST, read_units},
    {WIRE_CARE, read_care},
    {WIRE_QUEUE_HELD, read_queue_held},
    {WIRE_VERIFY, read_verify},
};

/* What of all that was read may be new; after the reading. */
static uint64_t mark_of_query(struct engine *e, const struct query *q)
{
    switch (q->type) {
    case WIRE_STATUS_ID:
    case WIRE_ROWS:
    case WIRE_CHANGES:
    case WIRE_META:
    case WIRE_READ:
        return mark_of_mailbox(e, q->mailbox);
    case WIRE_STATUS: {
        const uint64_t names = mark_of_account(e, &q->account), box = mark_of_mailbox(e, q->named);
        return names > box ? names : box;
    }
    default:
        return atomic_load(&e->visible);
    }
}

enum err_code engine_query(struct engine *e, struct query *q)
{
    struct tx t;
    size_t parts = q->answer.n;
    enum err_code code = tx_begin(e, true, &t);
    q->more = false;
    for (size_t i = 0; i < sizeof reads / sizeof *reads && code == ERR_OK; i++)
        if (reads[i].type == q->type) {
            code = reads[i].read(&t, q);
            break;
        }
    if (code == ERR_OK)
        code = tx_commit(&t);
    tx_free(&t);
    q->mark = mark_of_query(e, q);
    if (code != ERR_OK)
        while (q->answer.n > parts)
            buf_free(&q->answer.v[--q->answer.n]);
    return code;
}

enum err_code engine_account(struct engine *e, const struct uuid *account, struct account_state *out,
                             uint64_t *mark)
{
    struct tx t;
    struct rec_account r;
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = account_get(&t, account, &r);
    if (code == ERR_OK)
        *out = (struct account_state){r.revoked_before_us, r.last_login_us, r.quota_bytes, r.specials};
    tx_free(&t);
    *mark = mark_of_account(e, account);
    return code;
}

enum err_code engine_modseq(struct engine *e, const struct uuid *account, uint64_t mailbox, uint64_t *modseq,
                            uint64_t *mark)
{
    struct tx t;
    struct box b;
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = box_of(&t, account, mailbox, &b);
    if (code == ERR_OK)
        *modseq = b.r.modseq;
    tx_free(&t);
    *mark = mark_of_mailbox(e, mailbox);
    return code;
}
