/* Encoding and decoding of the store's records. Fixed records are written into arrays by a cursor that knows
 * their size; the others into a buf. Nothing here knows Berkeley DB. */
#include "common/store/rec.h"
#include <assert.h>

enum {
    QUOTA_VERSION = 2,
    QUEUE_VERSION = 3,
    UNIT_VERSION = 2,
    REPEAT_VERSION = 2,
    CHANGE_VERSION = 2,
    CHANGE_BRIEF = 3,
    ROW_PACKED = 2
};

/* -- a cursor into a fixed record -- */
struct put {
    unsigned char *p, *end;
};
static void put(struct put *c, uint64_t v, int n)
{
    assert(c->end - c->p >= n);
    for (int i = 0; i < n; i++)
        *c->p++ = (unsigned char)(v >> (8 * (n - 1 - i)));
}
static void put_bytes(struct put *c, const void *from, size_t n)
{
    assert((size_t)(c->end - c->p) >= n);
    memcpy(c->p, from, n);
    c->p += n;
}
static struct put put_version(unsigned char *out, size_t n, unsigned version)
{
    struct put c = {out, out + n};
    put(&c, version, 1);
    return c;
}
static struct put put_start(unsigned char *out, size_t n)
{
    return put_version(out, n, REC_VERSION);
}

/* False also when the version is not ours. */
static bool get_start(struct span v, struct reader *r)
{
    *r = reader_of(v);
    return read_u8(r) == REC_VERSION && !r->bad;
}
/* The version of a record that has had several, 0: none of ours. */
static unsigned get_version(struct span v, unsigned newest, struct reader *r)
{
    *r = reader_of(v);
    unsigned version = read_u8(r);
    return r->bad || version > newest ? 0 : version;
}
static void get_bytes(struct reader *r, void *out, size_t n)
{
    struct span s = read_bytes(r, n);
    if (s.n == n && n)
        memcpy(out, s.p, n);
}
static void get_trace(struct reader *r, char out[TRACE_TEXT])
{
    get_bytes(r, out, TRACE_TEXT - 1);
    out[TRACE_TEXT - 1] = '\0';
}

static bool put_text(struct buf *out, struct span s)
{
    s = span_first(s, 0xffff);
    return buf_add_u16(out, (uint16_t)s.n) && buf_add_span(out, s);
}

void rec_account_put(const struct rec_account *r, unsigned char out[REC_ACCOUNT])
{
    struct put c = put_version(out, REC_ACCOUNT, 2);
    put(&c, (uint64_t)r->created_us, 8);
    put(&c, (uint64_t)r->last_login_us, 8);
    put(&c, (uint64_t)r->revoked_before_us, 8);
    put(&c, r->quota_bytes, 8);
    put(&c, r->inbox, 8);
    put(&c, r->list_serial, 8);
    put(&c, r->mailboxes, 4);
    put(&c, r->specials, 1);
    put(&c, r->hold, 1);
    assert(c.p == c.end);
}

bool rec_account_get(struct span v, struct rec_account *out)
{
    struct reader r;
    unsigned version = get_version(v, 2, &r);
    if (!version)
        return false;
    out->created_us = (int64_t)read_u64(&r);
    out->last_login_us = (int64_t)read_u64(&r);
    out->revoked_before_us = (int64_t)read_u64(&r);
    out->quota_bytes = read_u64(&r);
    out->inbox = read_u64(&r);
    out->list_serial = read_u64(&r);
    out->mailboxes = read_u32(&r);
    out->specials = read_u8(&r) != 0;
    out->hold = version >= 2 && read_u8(&r) != 0;
    return !r.bad;
}

void rec_quota_put(const struct rec_quota *r, unsigned char out[REC_QUOTA])
{
    struct put c = {out, out + REC_QUOTA};
    put(&c, QUOTA_VERSION, 1);
    put(&c, r->bytes, 8);
    put(&c, r->messages, 8);
    put(&c, (uint64_t)r->last_delivery_us, 8);
    put(&c, r->limit_bytes, 8);
    put(&c, r->limit_messages, 8);
    put_bytes(&c, r->unit.b, sizeof r->unit.b);
    put(&c, r->flags, 1);
    assert(c.p == c.end);
}

bool rec_quota_get(struct span v, struct rec_quota *out)
{
    struct reader r = reader_of(v);
    uint8_t version = read_u8(&r);
    *out = (struct rec_quota){.bytes = read_u64(&r)};
    out->messages = read_u64(&r);
    out->last_delivery_us = (int64_t)read_u64(&r);
    if (version == QUOTA_VERSION) {
        out->limit_bytes = read_u64(&r);
        out->limit_messages = read_u64(&r);
        get_bytes(&r, out->unit.b, sizeof out->unit.b);
        out->flags = read_u8(&r);
    }
    out->was_bytes = out->bytes;
    out->was_messages = out->messages;
    out->was_unit = out->unit;
    return !r.bad && (version == 1 || version == QUOTA_VERSION);
}

bool rec_unit_put(const struct rec_unit *r, struct buf *out)
{
    return buf_add_u8(out, UNIT_VERSION) && buf_add(out, r->parent.b, sizeof r->parent.b) &&
           buf_add_u64(out, r->limit_bytes) && buf_add_u64(out, r->limit_messages) &&
           put_text(out, r->code) && put_text(out, r->name) && buf_add_u8(out, r->flags);
}

bool rec_unit_get(struct span v, struct rec_unit *out)
{
    struct reader r = reader_of(v);
    uint8_t version = read_u8(&r);
    get_bytes(&r, out->parent.b, sizeof out->parent.b);
    out->limit_bytes = read_u64(&r);
    out->limit_messages = read_u64(&r);
    out->code = read_bytes(&r, read_u16(&r));
    out->name = read_bytes(&r, read_u16(&r));
    out->flags = version == UNIT_VERSION ? read_u8(&r) : 0;
    return !r.bad && (version == 1 || version == UNIT_VERSION);
}

void rec_box_put(const struct rec_box *r, unsigned char out[REC_BOX])
{
    struct put c = put_start(out, REC_BOX);
    put_bytes(&c, r->account.b, sizeof r->account.b);
    put(&c, r->modseq, 8);
    put(&c, r->bytes, 8);
    put(&c, r->change_floor, 8);
    put(&c, (uint64_t)r->deleted_us, 8);
    put(&c, r->uidvalidity, 4);
    put(&c, r->uidnext, 4);
    put(&c, r->messages, 4);
    put(&c, r->unseen, 4);
    put(&c, r->deleted, 4);
    put(&c, r->recent_from, 4);
    put(&c, r->keyword_count, 4);
    put(&c, r->use, 1);
    assert(c.p == c.end);
}

bool rec_box_get(struct span v, struct rec_box *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    get_bytes(&r, out->account.b, sizeof out->account.b);
    out->modseq = read_u64(&r);
    out->bytes = read_u64(&r);
    out->change_floor = read_u64(&r);
    out->deleted_us = (int64_t)read_u64(&r);
    out->uidvalidity = read_u32(&r);
    out->uidnext = read_u32(&r);
    out->messages = read_u32(&r);
    out->unseen = read_u32(&r);
    out->deleted = read_u32(&r);
    out->recent_from = read_u32(&r);
    out->keyword_count = read_u32(&r);
    out->use = read_u8(&r);
    return !r.bad;
}

void rec_name_put(const struct rec_name *r, unsigned char out[REC_NAME])
{
    struct put c = put_start(out, REC_NAME);
    put(&c, r->mailbox, 8);
    put(&c, r->use, 1);
    put(&c, r->flags, 1);
    assert(c.p == c.end);
}

bool rec_name_get(struct span v, struct rec_name *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    out->mailbox = read_u64(&r);
    out->use = read_u8(&r);
    out->flags = read_u8(&r);
    return !r.bad;
}

bool rec_name_change_put(const struct rec_name_change *r, struct buf *out)
{
    unsigned char v[REC_NAME];
    bool ok = buf_add_u8(out, REC_VERSION) && buf_add_u64(out, (uint64_t)r->at_us) &&
              buf_add_u8(out, (uint8_t)((r->had ? 1 : 0) | (r->has ? 2 : 0)));
    if (ok && r->had) {
        rec_name_put(&r->old, v);
        ok = buf_add(out, v, sizeof v);
    }
    if (ok && r->has) {
        rec_name_put(&r->now, v);
        ok = buf_add(out, v, sizeof v);
    }
    return ok && buf_add_span(out, r->name);
}

bool rec_name_change_get(struct span v, struct rec_name_change *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    *out = (struct rec_name_change){.at_us = (int64_t)read_u64(&r)};
    uint8_t bits = read_u8(&r);
    out->had = bits & 1;
    out->has = bits & 2;
    if (out->had && !rec_name_get(read_bytes(&r, REC_NAME), &out->old))
        return false;
    if (out->has && !rec_name_get(read_bytes(&r, REC_NAME), &out->now))
        return false;
    out->name = r.s;
    return !r.bad && out->name.n <= STORE_NAME_LIMIT;
}

void rec_row_put(const struct store_row *r, unsigned char out[REC_ROW])
{
    struct put c = put_start(out, REC_ROW);
    put(&c, r->flags, 1);
    put(&c, (uint16_t)r->zone_min, 2);
    put(&c, r->size, 4);
    put(&c, r->modseq, 8);
    put(&c, r->keywords, 8);
    put(&c, r->content, 8);
    put(&c, (uint64_t)r->internal_s, 8);
    put(&c, (uint32_t)r->saved_s_low, 4);
    put(&c, 0, 4);
    assert(c.p == c.end);
}

/* What a change of flags changes stands side by side, at the end: the log has what lies between. */
size_t rec_row_pack(const struct store_row *r, unsigned char out[REC_ROW])
{
    const uint64_t most = ((uint64_t)1 << 48) - 1, most_s = ((uint64_t)1 << 40) - 1;
    if (r->keywords || r->modseq > most || r->content > most || (uint64_t)r->internal_s > most_s) {
        rec_row_put(r, out);
        return REC_ROW;
    }
    struct put c = put_version(out, REC_ROW_PACKED, ROW_PACKED);
    put(&c, r->content, 6);
    put(&c, (uint64_t)r->internal_s, 5);
    put(&c, (uint16_t)r->zone_min, 2);
    put(&c, r->size, 4);
    put(&c, (uint32_t)r->saved_s_low, 4);
    put(&c, r->modseq, 6);
    put(&c, r->flags, 1);
    assert(c.p == c.end);
    return REC_ROW_PACKED;
}

static uint64_t get_be48(const unsigned char *p)
{
    return (uint64_t)p[0] << 40 | (uint64_t)p[1] << 32 | get_be32(p + 2);
}

static bool row_unpack(struct span v, struct store_row *out)
{
    const unsigned char *p = (const unsigned char *)v.p;
    if (v.n < REC_ROW_PACKED)
        return false;
    out->content = get_be48(p + 1);
    out->internal_s = (int64_t)((uint64_t)p[7] << 32 | get_be32(p + 8));
    out->zone_min = (int16_t)(uint16_t)((unsigned)p[12] << 8 | p[13]);
    out->size = get_be32(p + 14);
    out->saved_s_low = (int32_t)get_be32(p + 18);
    out->modseq = get_be48(p + 22);
    out->flags = p[28];
    out->keywords = 0;
    memset(out->pad, 0, sizeof out->pad);
    return true;
}

/* The decoders that run a hundred thousand times in a row: no reader. */
bool rec_row_get(struct span v, struct store_row *out)
{
    const unsigned char *p = (const unsigned char *)v.p;
    if (v.n && p[0] == ROW_PACKED)
        return row_unpack(v, out);
    if (v.n < REC_ROW || p[0] != REC_VERSION)
        return false;
    out->flags = p[1];
    out->zone_min = (int16_t)(uint16_t)((unsigned)p[2] << 8 | p[3]);
    out->size = get_be32(p + 4);
    out->modseq = get_be64(p + 8);
    out->keywords = get_be64(p + 16);
    out->content = get_be64(p + 24);
    out->internal_s = (int64_t)get_be64(p + 32);
    out->saved_s_low = (int32_t)get_be32(p + 40);
    memset(out->pad, 0, sizeof out->pad);
    return true;
}

bool rec_content_put(const struct rec_content *r, struct buf *out)
{
    return buf_add_u8(out, REC_VERSION) && buf_add(out, r->trace, TRACE_TEXT - 1) &&
           buf_add_u64(out, (uint64_t)r->stored_us) && buf_add_u64(out, r->size) &&
           buf_add_u64(out, r->packed) && buf_add_u64(out, r->offset) && buf_add_u32(out, r->segment) &&
           buf_add_u32(out, r->frame_count) && buf_add_u32(out, (uint32_t)r->meta.n) &&
           buf_add_span(out, r->frames) && buf_add_span(out, r->meta);
}

bool rec_content_get(struct span v, struct rec_content *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    get_trace(&r, out->trace);
    out->stored_us = (int64_t)read_u64(&r);
    out->size = read_u64(&r);
    out->packed = read_u64(&r);
    out->offset = read_u64(&r);
    out->segment = read_u32(&r);
    out->frame_count = read_u32(&r);
    uint32_t meta_n = read_u32(&r);
    if (r.bad || out->frame_count > FRAMES_LIMIT)
        return false;
    out->frames = out->meta = SPAN_NONE;
    if (r.s.n >= (size_t)out->frame_count * REC_FRAME)
        out->frames = read_bytes(&r, (size_t)out->frame_count * REC_FRAME);
    if (r.s.n == meta_n)
        out->meta = read_bytes(&r, meta_n);
    return true;
}

void rec_ref_put(const struct rec_ref *r, unsigned char out[REC_REF])
{
    struct put c = put_start(out, REC_REF);
    put(&c, 0, 3);
    put(&c, r->count, 4);
    put(&c, (uint64_t)r->dead_since_us, 8);
    assert(c.p == c.end);
}

bool rec_ref_get(struct span v, struct rec_ref *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    read_bytes(&r, 3);
    out->count = read_u32(&r);
    out->dead_since_us = (int64_t)read_u64(&r);
    return !r.bad;
}

bool rec_change_head(struct buf *out, enum change_op op, int64_t at_us, uint64_t other, uint32_t count)
{
    return buf_add_u8(out, CHANGE_VERSION) && buf_add_u64(out, (uint64_t)at_us) &&
           buf_add_u8(out, (uint8_t)op) && buf_add_u64(out, other) && buf_add_u32(out, count);
}

bool rec_change_added(struct buf *out, enum change_op op, int64_t at_us, uint64_t other, uint32_t uid,
                      uint32_t count)
{
    if (other == 0 && count == 1)
        return buf_add_u8(out, CHANGE_BRIEF) && buf_add_u64(out, (uint64_t)at_us) &&
               buf_add_u8(out, (uint8_t)op) && buf_add_u32(out, uid);
    return rec_change_head(out, op, at_us, other, 1) && buf_add_u32(out, uid) && buf_add_u32(out, count);
}

enum { ITEM_SINGLE = ITEM_FLAGS - 4, ITEM_BRIEF = ITEM_ADD - 4 }; /* without the count */

static size_t item_size(const struct rec_change *r)
{
    switch (r->op) {
    case CHANGE_DELIVER:
    case CHANGE_APPEND:
    case CHANGE_COPY_IN:
        return r->brief ? ITEM_BRIEF : ITEM_ADD;
    case CHANGE_FLAGS:
        return r->brief ? 0 : r->single ? ITEM_SINGLE : ITEM_FLAGS;
    case CHANGE_EXPUNGE:
        return r->brief ? 0 : ITEM_EXPUNGE;
    case CHANGE_MOVE_OUT:
        return r->brief ? 0 : ITEM_MOVE;
    default:
        return 0;
    }
}

bool rec_change_get(struct span v, struct rec_change *out)
{
    struct reader r;
    const unsigned version = get_version(v, CHANGE_BRIEF, &r);
    out->single = version == 1;
    out->brief = version == CHANGE_BRIEF;
    out->at_us = (int64_t)read_u64(&r);
    out->op = read_u8(&r);
    out->other = out->brief ? 0 : read_u64(&r);
    out->count = out->brief ? 1 : read_u32(&r);
    out->items = r.s;
    const size_t size = item_size(out);
    return !r.bad && version && size && out->items.n % size == 0 && out->items.n / size == out->count;
}

bool rec_change_time(struct span v, int64_t *at_us)
{
    struct reader r;
    const unsigned version = get_version(v, CHANGE_BRIEF, &r);
    *at_us = (int64_t)read_u64(&r);
    return !r.bad && version && v.n >= (version == CHANGE_BRIEF ? REC_CHANGE_BRIEF : REC_CHANGE_HEAD);
}

struct rec_added rec_added_at(const struct rec_change *r, uint32_t i)
{
    const char *p = r->items.p + (size_t)i * item_size(r);
    return (struct rec_added){get_be32(p), r->brief ? 1 : get_be32(p + 4)};
}

bool rec_flags_put(const struct rec_flags *f, struct buf *out)
{
    return buf_add_u32(out, f->uid) && buf_add_u8(out, f->old_flags) && buf_add_u8(out, f->new_flags) &&
           buf_add_u64(out, f->old_keywords) && buf_add_u64(out, f->new_keywords) &&
           buf_add_u32(out, f->count);
}

struct rec_flags rec_flags_at(const struct rec_change *r, uint32_t i)
{
    const char *p = r->items.p + (size_t)i * item_size(r);
    return (struct rec_flags){.uid = get_be32(p),
                              .old_flags = (uint8_t)p[4],
                              .new_flags = (uint8_t)p[5],
                              .old_keywords = get_be64(p + 6),
                              .new_keywords = get_be64(p + 14),
                              .count = r->single ? 1 : get_be32(p + 22)};
}

void key_progress(unsigned char key[KEY_PROGRESS], uint64_t queue_id)
{
    put_be64(key, queue_id);
    key[KEY_ID] = 0;
}

void rec_progress_put(const struct rec_queue *r, unsigned char out[REC_PROGRESS])
{
    out[0] = REC_VERSION;
    memcpy(out + 1, r->cursor.b, KEY_UUID);
    put_be32(out + 1 + KEY_UUID, r->trace_lines);
}

bool rec_progress_get(struct span v, struct rec_queue *r)
{
    if (v.n != REC_PROGRESS || v.p[0] != REC_VERSION)
        return false;
    memcpy(r->cursor.b, v.p + 1, KEY_UUID);
    r->trace_lines = get_be32(v.p + 1 + KEY_UUID);
    return true;
}

bool rec_queue_put(const struct rec_queue *r, struct buf *out)
{
    bool ok = buf_add_u8(out, QUEUE_VERSION) && buf_add(out, r->trace, TRACE_TEXT - 1) &&
              buf_add_u64(out, (uint64_t)r->queued_us) && buf_add_u64(out, (uint64_t)r->due_us) &&
              buf_add_u64(out, r->content) && buf_add_u64(out, r->size) && buf_add_u32(out, r->attempts) &&
              buf_add_u32(out, r->trace_lines) && buf_add(out, r->cursor.b, sizeof r->cursor.b) &&
              buf_add_u32(out, (uint32_t)r->sender.n) && buf_add_span(out, r->sender) &&
              buf_add_u32(out, r->target_count) && buf_add_u32(out, (uint32_t)r->targets.n) &&
              buf_add_span(out, r->targets) && buf_add_u32(out, r->skip_count) &&
              buf_add_span(out, r->skip) && buf_add_u8(out, r->kind) && buf_add_u32(out, r->left_count) &&
              buf_add_u32(out, (uint32_t)r->left.n) && buf_add_span(out, r->left);
    for (size_t i = 0; i < QUEUE_NOTES && ok; i++)
        ok = buf_add_u64(out, r->note[i]);
    return ok;
}

bool rec_queue_get(struct span v, struct rec_queue *out)
{
    struct reader r = reader_of(v);
    uint8_t version = read_u8(&r);
    get_trace(&r, out->trace);
    out->queued_us = (int64_t)read_u64(&r);
    out->due_us = (int64_t)read_u64(&r);
    out->content = read_u64(&r);
    out->size = read_u64(&r);
    out->attempts = read_u32(&r);
    out->trace_lines = read_u32(&r);
    get_bytes(&r, out->cursor.b, sizeof out->cursor.b);
    out->sender = read_bytes(&r, read_u32(&r));
    out->target_count = read_u32(&r);
    out->targets = read_bytes(&r, read_u32(&r));
    out->skip_count = read_u32(&r);
    out->skip = read_bytes(&r, (size_t)out->skip_count * KEY_UUID);
    out->kind = QUEUE_MESSAGE;
    out->left_count = 0;
    out->left = SPAN_NONE;
    memset(out->note, 0, sizeof out->note);
    if (version >= 2) {
        out->kind = read_u8(&r);
        out->left_count = read_u32(&r);
        out->left = read_bytes(&r, read_u32(&r));
        for (size_t i = 0; i < QUEUE_NOTES; i++)
            out->note[i] = read_u64(&r);
    }
    return !r.bad && version >= 1 && version <= QUEUE_VERSION;
}

bool rec_done_put(const struct rec_done *r, struct buf *out)
{
    return buf_add_u8(out, REC_VERSION) && buf_add_u64(out, (uint64_t)r->at_us) &&
           buf_add_u8(out, r->final) && buf_add_u8(out, r->code) && buf_add_u32(out, r->next) &&
           buf_add_u64(out, r->other) && buf_add_u32(out, (uint32_t)r->intent.n) &&
           buf_add_span(out, r->intent) && buf_add_span(out, r->answer);
}

bool rec_done_get(struct span v, struct rec_done *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    out->at_us = (int64_t)read_u64(&r);
    out->final = read_u8(&r);
    out->code = read_u8(&r);
    out->next = read_u32(&r);
    out->other = read_u64(&r);
    out->intent = read_bytes(&r, read_u32(&r));
    out->answer = r.s;
    return !r.bad;
}

bool rec_done_final(struct span head)
{
    return head.n == REC_DONE_HEAD && head.p[REC_DONE_HEAD - 1] != 0;
}

bool rec_trace_put(const struct rec_trace *r, struct buf *out)
{
    return buf_add_u8(out, REC_VERSION) && buf_add_u64(out, (uint64_t)r->at_us) && buf_add_u8(out, r->kind) &&
           buf_add_u64(out, r->content) && buf_add_u64(out, r->queue_id) && buf_add_u64(out, r->size) &&
           buf_add(out, r->repeat, sizeof r->repeat) && put_text(out, r->sender) && put_text(out, r->peer) &&
           put_text(out, r->login) && put_text(out, r->reason) && buf_add_u32(out, r->place_count) &&
           buf_add_span(out, r->places);
}

bool rec_trace_get(struct span v, struct rec_trace *out)
{
    struct reader r;
    if (!get_start(v, &r))
        return false;
    out->at_us = (int64_t)read_u64(&r);
    out->kind = read_u8(&r);
    out->content = read_u64(&r);
    out->queue_id = read_u64(&r);
    out->size = read_u64(&r);
    get_bytes(&r, out->repeat, sizeof out->repeat);
    out->sender = read_bytes(&r, read_u16(&r));
    out->peer = read_bytes(&r, read_u16(&r));
    out->login = read_bytes(&r, read_u16(&r));
    out->reason = read_bytes(&r, read_u16(&r));
    out->place_count = read_u32(&r);
    out->places = read_bytes(&r, (size_t)out->place_count * REC_PLACE);
    return !r.bad;
}

void key_trace(unsigned char key[KEY_TRACE], const char *trace, uint32_t n)
{
    size_t len = strnlen(trace, TRACE_TEXT - 1);
    memset(key, 0, TRACE_TEXT - 1);
    memcpy(key, trace, len);
    put_be32(key + TRACE_TEXT - 1, n);
}

bool rec_repeat_head(int64_t at_us, struct buf *out)
{
    return buf_add_u8(out, REPEAT_VERSION) && buf_add_u64(out, (uint64_t)at_us);
}

bool rec_repeat_add(const struct rec_repeat_group *g, struct buf *out)
{
    return buf_add(out, g->trace, TRACE_TEXT - 1) && buf_add_u64(out, (uint64_t)g->at_us) &&
           buf_add_u32(out, (uint32_t)(g->targets.n / REC_REPEAT_TARGET)) && buf_add_span(out, g->targets);
}

bool rec_repeat_get(struct span v, struct span *groups)
{
    struct reader r;
    if (get_version(v, REPEAT_VERSION, &r) != REPEAT_VERSION)
        return false;
    (void)read_u64(&r);
    *groups = r.s;
    return !r.bad;
}

bool rec_repeat_next(struct span *groups, struct rec_repeat_group *out)
{
    struct reader r = reader_of(*groups);
    get_trace(&r, out->trace);
    out->at_us = (int64_t)read_u64(&r);
    out->targets = read_bytes(&r, (size_t)read_u32(&r) * REC_REPEAT_TARGET);
    if (r.bad)
        return false;
    *groups = r.s;
    return true;
}

void rec_segment_put(const struct rec_segment *r, unsigned char out[REC_SEGMENT])
{
    struct put c = put_version(out, REC_SEGMENT, 2);
    put(&c, r->sealed, 1);
    put(&c, r->large, 1);
    put(&c, r->end, 8);
    put(&c, r->first_content, 8);
    put(&c, r->dead, 8);
    assert(c.p == c.end);
}

bool rec_segment_get(struct span v, struct rec_segment *out)
{
    struct reader r;
    unsigned version = get_version(v, 2, &r);
    if (!version)
        return false;
    out->sealed = read_u8(&r);
    out->large = read_u8(&r);
    out->end = read_u64(&r);
    out->first_content = read_u64(&r);
    out->dead = version >= 2 ? read_u64(&r) : 0;
    return !r.bad;
}
