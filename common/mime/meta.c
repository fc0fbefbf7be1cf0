/* The meta record: written here, read here; meta_pack.c has its packed form.
 *   u8 version, u64 size, header_n, date, u32 flags, u32 parts, then the head's texts (u32 length, bytes),
 *   then for each part its numbers and its texts (u16 length, bytes).
 * The hard problem is trust: the record was made from a stranger's message and has lain on a disk. The
 * reader checks every bound, and that children and siblings only ever point forward, so that no walk over
 * the parts can run in a circle. */
#include "common/mime/meta.h"
#include "common/mime/meta_int.h"

enum { PART_FIXED = 60 };

static void head_texts(struct mime_meta *m, struct span *at[MIME_HEAD_TEXTS])
{
    struct span *all[MIME_HEAD_TEXTS] = {&m->envelope,     &m->body,       &m->bodystructure, &m->subject,
                                         &m->from,         &m->to,         &m->from_addr,     &m->to_addr,
                                         &m->cc_addr,      &m->message_id, &m->in_reply_to,   &m->references,
                                         &m->base_subject, &m->preview};
    memcpy(at, all, sizeof all);
}

static bool write_part(const struct mime_part *p, struct buf *out)
{
    bool ok = buf_add_u8(out, (uint8_t)p->kind) && buf_add_u8(out, (uint8_t)p->encoding) &&
              buf_add_u16(out, p->parent) && buf_add_u16(out, p->first_child) && buf_add_u16(out, p->next) &&
              buf_add_u64(out, p->header_at) && buf_add_u64(out, p->header_n) &&
              buf_add_u64(out, p->body_at) && buf_add_u64(out, p->body_n) &&
              buf_add_u64(out, p->inner_header_at) && buf_add_u64(out, p->inner_header_n) &&
              buf_add_u32(out, p->lines);
    const struct span texts[] = {p->type,        p->subtype,    p->charset, p->filename,
                                 p->disposition, p->content_id, p->number};
    for (size_t i = 0; i < sizeof texts / sizeof *texts && ok; i++) {
        struct span t = span_first(texts[i], UINT16_MAX);
        ok = buf_add_u16(out, (uint16_t)t.n) && buf_add_span(out, t);
    }
    return ok;
}

bool mime_meta_write(const struct mime_meta *m, const struct mime_part *(*part)(const void *, size_t),
                     const void *of, struct buf *out)
{
    struct mime_meta copy = *m;
    struct span *texts[MIME_HEAD_TEXTS];
    head_texts(&copy, texts);
    bool ok = buf_add_u8(out, META_PLAIN) && buf_add_u64(out, m->size) && buf_add_u64(out, m->header_n) &&
              buf_add_u64(out, (uint64_t)m->date) && buf_add_u32(out, m->flags) &&
              buf_add_u32(out, (uint32_t)m->part_count);
    for (size_t i = 0; i < MIME_HEAD_TEXTS && ok; i++)
        ok = buf_add_u32(out, (uint32_t)texts[i]->n) && buf_add_span(out, *texts[i]);
    for (size_t i = 0; i < m->part_count && ok; i++)
        ok = write_part(part(of, i), out);
    return ok;
}

static struct reader read_head(struct span plain, struct mime_meta *m)
{
    struct reader r = reader_of(plain);
    struct span *texts[MIME_HEAD_TEXTS];
    *m = (struct mime_meta){0};
    if (read_u8(&r) != META_PLAIN)
        r.bad = true;
    m->size = read_u64(&r);
    m->header_n = read_u64(&r);
    m->date = (int64_t)read_u64(&r);
    m->flags = read_u32(&r);
    m->part_count = read_u32(&r);
    head_texts(m, texts);
    for (size_t i = 0; i < MIME_HEAD_TEXTS; i++) {
        uint32_t n = read_u32(&r);
        *texts[i] = read_bytes(&r, n);
    }
    if (m->header_n > m->size || m->part_count == 0 || m->part_count > r.s.n / PART_FIXED)
        r.bad = true;
    return r;
}

enum err_code mime_meta_head(struct span record, struct arena *a, struct mime_meta *out)
{
    struct mime_meta m;
    struct span plain;
    enum err_code code = meta_unpack(record, a, &plain);
    if (code != ERR_OK)
        return code;
    struct reader r = read_head(plain, &m);
    if (r.bad)
        return ERR_SYNTAX;
    m.part_count = 0;
    *out = m;
    return ERR_OK;
}

static void read_part(struct reader *r, struct mime_part *p)
{
    uint8_t kind = read_u8(r), encoding = read_u8(r);
    p->kind = (enum mime_kind)kind;
    p->encoding = (enum mime_encoding)encoding;
    p->parent = read_u16(r);
    p->first_child = read_u16(r);
    p->next = read_u16(r);
    p->header_at = read_u64(r);
    p->header_n = read_u64(r);
    p->body_at = read_u64(r);
    p->body_n = read_u64(r);
    p->inner_header_at = read_u64(r);
    p->inner_header_n = read_u64(r);
    p->lines = read_u32(r);
    struct span *texts[] = {&p->type,        &p->subtype,    &p->charset, &p->filename,
                            &p->disposition, &p->content_id, &p->number};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint16_t n = read_u16(r);
        *texts[i] = read_bytes(r, n);
    }
    if (kind > MIME_MESSAGE || encoding > MIME_ENC_OTHER)
        r->bad = true;
}

static bool inside(uint64_t at, uint64_t n, uint64_t size)
{
    return at <= size && n <= size - at;
}

static bool part_sound(const struct mime_meta *m, const struct mime_part *p, size_t i)
{
    return inside(p->header_at, p->header_n, m->size) && inside(p->body_at, p->body_n, m->size) &&
           inside(p->inner_header_at, p->inner_header_n, m->size) &&
           (p->first_child == MIME_NO_PART || (p->first_child > i && p->first_child < m->part_count)) &&
           (p->next == MIME_NO_PART || (p->next > i && p->next < m->part_count)) &&
           (i == 0 ? p->parent == MIME_NO_PART && p->next == MIME_NO_PART : p->parent < i) &&
           (p->kind == MIME_LEAF) == (p->first_child == MIME_NO_PART);
}

enum err_code mime_meta_read(struct span record, struct arena *a, struct mime_meta *out)
{
    struct mime_meta m;
    struct span plain;
    enum err_code code = meta_unpack(record, a, &plain);
    if (code != ERR_OK)
        return code;
    struct reader r = read_head(plain, &m);
    if (r.bad)
        return ERR_SYNTAX;
    struct mime_part *parts = arena_array(a, m.part_count, sizeof *parts);
    if (!parts)
        return ERR_LIMIT;
    for (size_t i = 0; i < m.part_count; i++) {
        read_part(&r, &parts[i]);
        if (r.bad || !part_sound(&m, &parts[i], i))
            return ERR_SYNTAX;
    }
    if (r.s.n)
        return ERR_SYNTAX;
    m.parts = parts;
    *out = m;
    return ERR_OK;
}

const struct mime_part *mime_meta_part(const struct mime_meta *m, struct span number)
{
    if (number.n == 0)
        return NULL;
    for (size_t i = 0; i < m->part_count; i++)
        if (span_eq(m->parts[i].number, number))
            return &m->parts[i];
    return NULL;
}
