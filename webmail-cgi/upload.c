/* multipart/form-data (RFC 7578), read as it arrives. Its hard problem is a boundary that lies across two
 * reads: bytes are given to a part only when they cannot be the start of a boundary. Files past the limit are
 * read and dropped, so that the typed text survives and the page can say what happened. */
#include "common/mime/charset.h"
#include "common/mime/header.h"
#include "webmail-cgi/request.h"
#include <stdlib.h>

enum { CHUNK = 65536, HEAD_LIMIT = 16384 };

struct reading {
    struct request *r;
    struct buf in;
    struct span mark; /* CRLF "--" boundary */
    uint64_t files, upload_limit;
    ssize_t (*read_some)(void *arg, char *to, size_t n);
    void *arg;
    bool ended;
};

static bool more(struct reading *m)
{
    char *to = m->ended ? NULL : buf_reserve(&m->in, CHUNK);
    ssize_t got = to ? m->read_some(m->arg, to, CHUNK) : 0;
    m->ended = m->ended || got <= 0;
    if (got > 0)
        buf_commit(&m->in, (size_t)got);
    return got > 0;
}

/* The head of a part in *out (from the request's arena), taken off the input. */
static bool take_head(struct reading *m, struct span *out)
{
    size_t end;
    while ((end = span_search(buf_span(&m->in), SPAN("\r\n\r\n"))) == m->in.n)
        if (m->in.n > HEAD_LIMIT || !more(m))
            return false;
    *out = arena_dup(m->r->a, span_of(m->in.p, end + 4));
    buf_consume(&m->in, end + 4);
    return out->p != NULL;
}

/* The content up to the boundary into to (NULL: dropped). *full: it did not fit. False: the input ended. */
static bool take_content(struct reading *m, struct buf *to, bool *full)
{
    for (;;) {
        struct span in = buf_span(&m->in);
        size_t at = span_search(in, m->mark);
        bool found = at < in.n;
        size_t n = found ? at : in.n >= m->mark.n ? in.n - m->mark.n + 1 : 0;
        if (to && n && !buf_add(to, in.p, n)) {
            *full = true;
            buf_reset(to);
            to = NULL;
        }
        buf_consume(&m->in, n + (found ? m->mark.n : 0));
        if (found)
            return true;
        if (!more(m))
            return false;
    }
}

/* name="..." of a Content-Disposition, as browsers write it: %22, %0D and %0A are their only escapes. */
static struct span browser_param(struct arena *a, struct span value, const char *name)
{
    char key[32] = " ";
    strcat(strcat(key, name), "=\"");
    size_t at = span_search(value, span_str(key));
    if (at == value.n)
        return header_param(a, value, span_str(name));
    struct span s = span_drop(value, at + strlen(key));
    s = span_first(s, span_find(s, '"'));
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.n; i++) {
        bool quote = span_starts(span_drop(s, i), SPAN("%22"));
        char c = quote ? '"' : s.p[i];
        i += quote ? 2 : 0;
        if ((unsigned char)c >= 0x20 && c != 0x7f)
            out[n++] = c;
    }
    return out ? span_of(out, n) : SPAN_NONE;
}

static struct span base_name(struct span s)
{
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '/' || s.p[i] == '\\')
            return span_drop(s, i + 1);
    return s;
}

static bool take_file(struct reading *m, struct span name, struct span type)
{
    struct request *r = m->r;
    bool keep = r->upload_count < REQUEST_FILES_LIMIT && !r->too_big;
    struct upload u = {.name = base_name(name), .type = type};
    bool full = false;
    buf_init(&u.data, (size_t)(m->upload_limit - m->files));
    bool ok = take_content(m, keep ? &u.data : NULL, &full);
    r->too_big = r->too_big || full || !keep;
    if (!ok || full || !keep || !name.n) { /* no name: the empty field of a form without a file */
        buf_free(&u.data);
        return ok;
    }
    m->files += u.data.n;
    r->uploads[r->upload_count++] = u;
    return true;
}

static bool take_field(struct reading *m, struct span name, enum err_code *code)
{
    struct request *r = m->r;
    struct buf text, valid;
    bool full = false;
    buf_init(&text, REQUEST_TEXT_LIMIT);
    buf_init(&valid, 3 * (size_t)REQUEST_TEXT_LIMIT);
    bool ok = take_content(m, &text, &full);
    struct span value = buf_span(&text);
    if (!utf8_valid(value) && charset_to_utf8(SPAN("utf-8"), value, &valid) == ERR_OK)
        value = buf_span(&valid);
    struct field f = {name, value.n ? arena_dup(r->a, value) : SPAN("")};
    if (full || r->form_count >= REQUEST_FIELDS_LIMIT || !f.value.p)
        *code = ERR_LIMIT;
    else
        r->form[r->form_count++] = f;
    buf_free(&text);
    buf_free(&valid);
    return ok;
}

static bool take_part(struct reading *m, enum err_code *code)
{
    struct span head, disposition = SPAN(""), type = SPAN("");
    struct header_field f;
    if (!take_head(m, &head))
        return false;
    struct span walk = head;
    while (header_next(&walk, &f)) {
        if (span_caseeq(f.name, SPAN("Content-Disposition")))
            disposition = f.value;
        if (span_caseeq(f.name, SPAN("Content-Type")))
            type = span_trim(span_first(f.value, span_find(f.value, ';')));
    }
    struct span name = browser_param(m->r->a, disposition, "name");
    struct span file = browser_param(m->r->a, disposition, "filename");
    return file.p ? take_file(m, file, type) : take_field(m, name, code);
}

static bool set_mark(struct request *r, struct span type, struct span *mark)
{
    struct span b = header_param(r->a, type, SPAN("boundary"));
    if (!b.n || b.n > 200)
        return false;
    char *p = arena_alloc(r->a, b.n + 5);
    if (!p)
        return false;
    memcpy(p, "\r\n--", 4);
    memcpy(p + 4, b.p, b.n);
    *mark = span_of(p, b.n + 4);
    return true;
}

enum err_code request_parse_multipart(struct request *r, struct span type, uint64_t upload_limit,
                                      ssize_t (*read_some)(void *arg, char *to, size_t n), void *arg)
{
    struct reading m = {.r = r, .upload_limit = upload_limit, .read_some = read_some, .arg = arg};
    enum err_code code = ERR_OK;
    if (!set_mark(r, type, &m.mark))
        return ERR_SYNTAX;
    r->form = arena_array(r->a, REQUEST_FIELDS_LIMIT, sizeof *r->form);
    r->uploads = arena_array(r->a, REQUEST_FILES_LIMIT, sizeof *r->uploads);
    buf_init(&m.in, 4 * CHUNK);
    bool full = false;
    bool ok = r->form && r->uploads && buf_add_str(&m.in, "\r\n") && take_content(&m, NULL, &full);
    while (ok && code == ERR_OK) {
        while (m.in.n < 2 && more(&m))
            continue;
        if (span_starts(buf_span(&m.in), SPAN("--")))
            break;
        ok = span_starts(buf_span(&m.in), SPAN("\r\n"));
        if (ok) {
            buf_consume(&m.in, 2);
            ok = take_part(&m, &code);
        }
    }
    r->cut = !ok && code == ERR_OK;
    buf_free(&m.in);
    return code;
}
