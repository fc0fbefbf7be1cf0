/* What stored reads of a worker and of its own disk, without the databases: the content that ends a body,
 * names, and every kind of record. Properties: sizes that were accepted add up, a normal name is normal, and
 * a record that was read is written back as it was. */
#include "common/store/engine_int.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void content(uint16_t type, struct span body)
{
    struct content_in c;
    uint64_t raw = 0, packed = 0;
    if (!content_find(type, body, 1 << 30, &c))
        return;
    for (size_t i = 0; i < c.head.frames; i++) {
        struct frame_size f;
        memcpy(&f, c.table.p + i * sizeof f, sizeof f);
        raw += f.raw;
        packed += f.packed;
    }
    must(raw == c.head.size && packed == c.head.packed && c.bytes.n == c.head.inline_n &&
         c.head.size <= 1 << 30);
    must(c.bytes.p + c.bytes.n == body.p + body.n);
}

static void name(struct span in)
{
    struct name a, b;
    if (!name_normal(in, &a))
        return;
    must(name_normal(span_of(a.p, a.n), &b) && span_eq(span_of(a.p, a.n), span_of(b.p, b.n)));
}

/* A record of repeats is written back as it was; a receipt stays within its frame. */
static void repeat(struct span v)
{
    struct buf out;
    struct span groups, targets;
    struct rec_repeat_group g;
    struct wire_in in = {v, false};
    unsigned char key[REPEAT_KEY];
    buf_init(&out, 64 << 20);
    if (rec_repeat_get(v, &groups)) {
        bool ok = rec_repeat_head((int64_t)get_be64(v.p + 1), &out);
        while (ok && groups.n && rec_repeat_next(&groups, &g))
            ok = rec_repeat_add(&g, &out);
        must(ok && (groups.n || span_eq(buf_span(&out), v)));
    }
    while (in.s.n && repeat_receipt(&in, key, &targets))
        must(targets.n % REC_REPEAT_TARGET == 0 && targets.n <= v.n);
    buf_free(&out);
}

static void records(struct span v)
{
    struct buf out;
    struct rec_queue q;
    struct rec_content c;
    struct rec_done d;
    struct rec_trace t;
    struct rec_change ch;
    struct store_row row;
    unsigned char raw[REC_ROW];
    buf_init(&out, 64 << 20);
    if (rec_queue_get(v, &q))
        must(rec_queue_put(&q, &out));
    buf_reset(&out);
    if (rec_done_get(v, &d))
        must(rec_done_put(&d, &out) && span_eq(buf_span(&out), v));
    buf_reset(&out);
    if (rec_trace_get(v, &t))
        must(rec_trace_put(&t, &out));
    buf_reset(&out);
    if (rec_content_get(v, &c) && c.frames.n)
        for (size_t i = 0; i < c.frame_count; i++)
            (void)rec_frame_at(c.frames, i);
    repeat(v);
    if (rec_change_get(v, &ch))
        must(ch.items.n >= ch.count);
    if (rec_row_get(v, &row)) {
        struct store_row again = {.uid = row.uid = 0};
        const size_t n = rec_row_pack(&row, raw);
        must(rec_row_get(span_of(raw, n), &again) && memcmp(&row, &again, sizeof row) == 0);
        rec_row_put(&row, raw);
        must(rec_row_get(span_of(raw, sizeof raw), &again) && memcmp(&row, &again, sizeof row) == 0);
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);
    if (size == 0)
        return 0;
    struct span rest = span_drop(in, 1);
    switch (data[0] & 3) {
    case 0:
        content(WIRE_DELIVER, rest);
        break;
    case 1:
        content(WIRE_APPEND, rest);
        break;
    case 2:
        name(rest);
        break;
    default:
        records(rest);
    }
    return 0;
}
