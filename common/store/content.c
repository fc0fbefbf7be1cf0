/* Contents as requests bring them and as they are kept: the record (immutable: place, frame table, meta) and
 * the count of references apart from it. The sender is not trusted: sizes are added up before a byte is
 * believed. What the frames hold is never unpacked here. */
#include "common/store/engine_int.h"
#include <stdlib.h>

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
    else if (type == WIRE_NOTICE)
        wire_take(&in, sizeof(struct wire_notice));
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

/* -- references -- */

void ids_add(struct ids *l, uint64_t id)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->v = xrealloc(l->v, l->cap * sizeof *l->v);
    }
    l->v[l->n++] = id;
}

void ids_free(struct ids *l)
{
    free(l->v);
    *l = (struct ids){NULL, 0, 0};
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* How often the id at i stands in the sorted list. */
static uint32_t times(const struct ids *l, size_t i)
{
    size_t n = 1;
    while (i + n < l->n && l->v[i + n] == l->v[i])
        n++;
    return (uint32_t)n;
}

static enum err_code ref_get(struct tx *t, uint64_t content, struct rec_ref *out)
{
    unsigned char key[KEY_ID], v[REC_REF];
    size_t n;
    put_be64(key, content);
    enum err_code code = tx_get(t, T_REF, span_of(key, sizeof key), v, sizeof v, &n);
    if (code == ERR_OK && !rec_ref_get(span_of(v, n), out))
        return ERR_BUG;
    return code;
}

static enum err_code ref_put(struct tx *t, uint64_t content, uint32_t count)
{
    const struct rec_ref r = {.count = count};
    unsigned char key[KEY_ID], v[REC_REF];
    watch_touch(t->e, content);
    put_be64(key, content);
    rec_ref_put(&r, v);
    return tx_put(t, T_REF, span_of(key, sizeof key), span_of(v, sizeof v));
}

/* The record of a content goes; *segment and *bytes say where it lies. */
static enum err_code record_drop(struct tx *t, uint64_t content, uint32_t *segment, uint64_t *bytes)
{
    unsigned char key[KEY_ID], v[REC_CONTENT_HEAD];
    struct rec_content r;
    size_t n;
    put_be64(key, content);
    enum err_code code = tx_get_head(t, T_CONTENT, span_of(key, sizeof key), v, sizeof v, &n);
    if (code == ERR_OK && !rec_content_get(span_of(v, n), &r))
        code = ERR_BUG;
    if (code != ERR_OK)
        return code;
    *segment = r.segment;
    *bytes = segment_share(r.frame_count, r.packed);
    return tx_del(t, T_CONTENT, span_of(key, sizeof key));
}

/* Contents that nothing refers to: records, counts, and their bytes to the dead ones of their segments. */
static enum err_code drop_dead(struct tx *t, const struct ids *dead)
{
    uint32_t segment = 0, last = 0;
    uint64_t bytes = 0, sum = 0;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < dead->n && code == ERR_OK; i++) {
        unsigned char key[KEY_ID];
        put_be64(key, dead->v[i]);
        watch_touch(t->e, dead->v[i]);
        code = record_drop(t, dead->v[i], &segment, &bytes);
        if (code == ERR_MISSING) { /* verify tells of it; here it must not stop what goes on */
            log_event(LOG_ALARM, NULL, "store.content.missing", F_UINT("content", dead->v[i]));
            bytes = 0;
            code = ERR_OK;
        }
        if (code == ERR_OK && bytes && segment != last) {
            if (last)
                code = segment_dead(t, last, sum);
            last = segment;
            sum = 0;
        }
        sum += bytes;
        if (code == ERR_OK)
            code = tx_del(t, T_REF, span_of(key, sizeof key));
    }
    return code == ERR_OK && last ? segment_dead(t, last, sum) : code;
}

enum err_code content_refs_add(struct tx *t, struct ids *l, bool lenient)
{
    enum err_code code = ERR_OK;
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_value);
    for (size_t i = 0; i < l->n && code == ERR_OK;) {
        struct rec_ref r;
        uint32_t n = times(l, i);
        code = ref_get(t, l->v[i], &r);
        if (code == ERR_OK)
            code = ref_put(t, l->v[i], r.count + n);
        if (code == ERR_MISSING) {
            log_event(LOG_ALARM, NULL, "store.content.missing", F_UINT("content", l->v[i]));
            code = lenient ? ERR_OK : ERR_BUG;
        }
        i += n;
    }
    return code;
}

enum err_code content_refs_drop(struct tx *t, struct ids *l)
{
    enum err_code code = ERR_OK;
    struct ids dead = {NULL, 0, 0};
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_value);
    for (size_t i = 0; i < l->n && code == ERR_OK;) {
        struct rec_ref r;
        uint32_t n = times(l, i);
        code = ref_get(t, l->v[i], &r);
        if (code == ERR_MISSING || (code == ERR_OK && r.count && r.count < n)) {
            log_event(LOG_ALARM, NULL, "store.references.wrong", F_UINT("content", l->v[i]),
                      F_UINT("count", code == ERR_OK ? r.count : 0), F_UINT("given_back", n));
            code = code == ERR_MISSING ? ERR_OK : ref_put(t, l->v[i], 0);
        } else if (code == ERR_OK && r.count > n) {
            code = ref_put(t, l->v[i], r.count - n);
        } else if (code == ERR_OK) {
            ids_add(&dead, l->v[i]);
        }
        i += n;
    }
    if (code == ERR_OK)
        code = drop_dead(t, &dead);
    ids_free(&dead);
    return code;
}

enum err_code content_ref(struct tx *t, uint64_t content, int by)
{
    struct rec_ref r;
    enum err_code code = ref_get(t, content, &r);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    if (by < 0 && r.count < (uint32_t)-by)
        return ERR_BUG;
    r.count = (uint32_t)((int64_t)r.count + by);
    if (r.count)
        return ref_put(t, content, r.count);
    struct ids dead = {&content, 1, 1};
    return drop_dead(t, &dead);
}
