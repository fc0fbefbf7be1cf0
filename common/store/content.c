/* Contents as requests bring them and as they are kept: the record (immutable: place, frame table, meta) and
 * the count of references apart from it. The sender is not trusted: sizes are added up before a byte is
 * believed. What the frames hold is never unpacked here. */
#include "common/store/engine_int.h"

/* The frame table must add up to what the head says. */
static bool table_fits(const struct content_in *in)
{
    uint64_t raw = 0, packed = 0;
    for (size_t i = 0; i < in->head.frames; i++) {
        struct frame_size f;
        memcpy(&f, in->table.p + i * sizeof f, sizeof f);
        if (f.raw == 0 || f.raw > FRAME_RAW || f.packed == 0 || f.packed > FRAME_PACKED_LIMIT)
            return false;
        raw += f.raw;
        packed += f.packed;
    }
    return raw == in->head.size && packed == in->head.packed;
}

bool content_take(struct wire_in *in, uint64_t limit, struct content_in *out)
{
    if (!wire_get(in, &out->head, sizeof out->head))
        return false;
    const struct wire_content *h = &out->head;
    if (h->frames == 0 || h->frames > FRAMES_LIMIT || h->size > limit || h->size > UINT32_MAX ||
        h->inline_n > h->packed)
        return false;
    out->table = wire_items(in, h->frames, sizeof(struct frame_size));
    out->meta = wire_take(in, h->meta_n);
    out->bytes = wire_take(in, h->inline_n);
    return wire_whole(in) && table_fits(out);
}

static void skip_deliver(struct wire_in *in)
{
    struct wire_deliver d;
    wire_get(in, &d, sizeof d);
    for (int i = 0; i < 3; i++)
        wire_text(in);
    for (uint32_t i = 0; i < d.target_count && !in->bad; i++) {
        struct wire_target w;
        wire_get(in, &w, sizeof w);
        wire_take(in, w.address_n);
    }
}

static void skip_append(struct wire_in *in)
{
    struct wire_append a;
    wire_get(in, &a, sizeof a);
    wire_text(in);
    for (uint32_t i = 0; i < a.keyword_count && !in->bad; i++)
        wire_text(in);
}

bool content_find(uint16_t type, struct span body, uint64_t limit, struct content_in *out)
{
    struct wire_in in = {body, false};
    if (type == WIRE_DELIVER)
        skip_deliver(&in);
    else if (type == WIRE_APPEND)
        skip_append(&in);
    else
        return false;
    return content_take(&in, limit, out);
}

enum err_code content_store(struct tx *t, const struct job *j, const struct content_in *in, const char *trace,
                            uint32_t refs)
{
    unsigned char key[KEY_ID], ref[REC_REF];
    struct rec_content r = {.stored_us = clock_wall_us(),
                            .size = in->head.size,
                            .packed = in->head.packed,
                            .offset = j->offset,
                            .segment = j->segment,
                            .frame_count = in->head.frames,
                            .frames = buf_span(&j->frames),
                            .meta = in->meta};
    memcpy(r.trace, trace, TRACE_TEXT - 1);
    put_be64(key, j->content);
    buf_reset(&t->scratch);
    if (!rec_content_put(&r, &t->scratch))
        return ERR_LIMIT;
    enum err_code code = tx_put(t, T_CONTENT, span_of(key, sizeof key), buf_span(&t->scratch));
    if (code != ERR_OK)
        return code;
    const struct rec_ref count = {.count = refs, .dead_since_us = refs ? 0 : r.stored_us};
    rec_ref_put(&count, ref);
    return tx_put(t, T_REF, span_of(key, sizeof key), span_of(ref, sizeof ref));
}

enum err_code content_ref(struct tx *t, uint64_t content, int by)
{
    unsigned char key[KEY_ID], v[REC_REF];
    struct rec_ref r;
    size_t n;
    put_be64(key, content);
    enum err_code code = tx_get(t, T_REF, span_of(key, sizeof key), v, sizeof v, &n);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    if (!rec_ref_get(span_of(v, n), &r) || (by < 0 && r.count < (uint32_t)-by))
        return ERR_BUG;
    r.count = (uint32_t)((int64_t)r.count + by);
    r.dead_since_us = r.count ? 0 : clock_wall_us();
    rec_ref_put(&r, v);
    return tx_put(t, T_REF, span_of(key, sizeof key), span_of(v, sizeof v));
}
