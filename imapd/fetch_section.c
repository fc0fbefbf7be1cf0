/* Which bytes of a message a section is (RFC 3501 6.4.5), by the offsets of the meta record, and the choice
 * of header fields. The one hard point: HEADER and TEXT below a part mean the message inside of it, and MIME
 * the part's own header. */
#include "common/mime/header.h"
#include "imapd/fetch.h"

static bool of_message(const struct fetch_item *it, const struct mime_meta *m, uint64_t size, uint64_t *at,
                       uint64_t *n)
{
    *at = 0;
    *n = size;
    if (it->what == SEC_ALL)
        return true;
    if (!m)
        return false;
    if (it->what == SEC_TEXT) {
        *at = m->header_n;
        *n = m->size - m->header_n;
    } else {
        *n = m->header_n;
    }
    return true;
}

static bool of_part(const struct fetch_item *it, const struct mime_part *p, uint64_t *at, uint64_t *n)
{
    switch (it->what) {
    case SEC_ALL:
        *at = p->body_at;
        *n = p->body_n;
        return true;
    case SEC_MIME:
        *at = p->header_at;
        *n = p->header_n;
        return true;
    case SEC_TEXT:
        *at = p->inner_header_at + p->inner_header_n;
        *n = p->body_at + p->body_n > *at ? p->body_at + p->body_n - *at : 0;
        return p->kind == MIME_MESSAGE;
    default:
        *at = p->inner_header_at;
        *n = p->inner_header_n;
        return p->kind == MIME_MESSAGE;
    }
}

bool fetch_section(const struct fetch_item *it, const struct mime_meta *m, uint64_t size, uint64_t *at,
                   uint64_t *n)
{
    if (!it->part.n)
        return of_message(it, m, size, at, n);
    const struct mime_part *p = m ? mime_meta_part(m, it->part) : NULL;
    return p && of_part(it, p, at, n);
}

static bool named(const struct fetch_item *it, struct span name)
{
    for (size_t i = 0; i < it->field_count; i++)
        if (span_caseeq(it->fields[i], name))
            return true;
    return false;
}

bool fetch_fields(const struct fetch_item *it, struct span header, struct buf *out)
{
    struct header_field f;
    while (header_next(&header, &f))
        if (named(it, f.name) == (it->what == SEC_FIELDS) && !buf_add_span(out, f.raw))
            return false;
    return buf_add_str(out, "\r\n");
}
