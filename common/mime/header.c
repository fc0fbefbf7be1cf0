/* Reading header blocks: fields, unfolding, text. Parameters are param.c, writing is header_write.c.
 * The hard problem is what to do with lines that are no field: they are skipped with their
 * continuations, in time linear to the block. */
#include "common/mime/header.h"
#include "common/mime/charset.h"
#include "common/mime/header_int.h"
#include "common/mime/words.h"

size_t header_name_length(struct span line)
{
    size_t n = 0;
    while (n < line.n && (unsigned char)line.p[n] > ' ' && line.p[n] != ':' && line.p[n] != 0x7f)
        n++;
    size_t blank = n;
    while (blank < line.n && (line.p[blank] == ' ' || line.p[blank] == '\t'))
        blank++;
    return blank < line.n && line.p[blank] == ':' ? n : 0;
}

/* The length of the line at the front with its end, continuation lines included. */
static size_t field_length(struct span s)
{
    size_t n = 0;
    do {
        size_t lf = span_find(span_drop(s, n), '\n');
        n = n + lf < s.n ? n + lf + 1 : s.n;
    } while (n < s.n && (s.p[n] == ' ' || s.p[n] == '\t'));
    return n;
}

bool header_next(struct span *block, struct header_field *out)
{
    while (block->n && block->p[0] != '\n' && !span_starts(*block, SPAN("\r\n"))) {
        struct span raw = span_first(*block, field_length(*block));
        *block = span_drop(*block, raw.n);
        size_t name = header_name_length(raw);
        if (!name)
            continue;
        struct span value = span_drop(raw, span_find(raw, ':') + 1);
        if (value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
            value = span_drop(value, 1);
        if (value.n && value.p[value.n - 1] == '\n')
            value.n--;
        if (value.n && value.p[value.n - 1] == '\r')
            value.n--;
        *out = (struct header_field){raw, span_first(raw, name), value};
        return true;
    }
    return false;
}

bool header_find(struct span block, struct span name, struct header_field *out)
{
    while (header_next(&block, out))
        if (span_caseeq(out->name, name))
            return true;
    return false;
}

struct span header_unfold(struct arena *a, struct span value)
{
    value = span_trim(value);
    char *to = arena_alloc(a, value.n + 1);
    if (!to)
        return SPAN_NONE;
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\n' || (c == '\r' && i + 1 < value.n && value.p[i + 1] == '\n'))
            continue;
        to[n++] = c == '\r' || c == '\0' ? ' ' : c;
    }
    return (struct span){to, n};
}

struct span header_text_hint(struct arena *a, struct span value, struct span hint)
{
    struct span flat = header_unfold(a, value);
    struct buf out;
    buf_init(&out, flat.n * 6 + 16);
    (void)!words_decode(flat, hint, &out); /* what fits is the answer */
    struct span text = span_trim(buf_span(&out));
    while (span_starts(text, SPAN("\xef\xbb\xbf"))) /* a byte order mark is no text */
        text = span_trim(span_drop(text, 3));
    struct span got = arena_dup(a, text);
    buf_free(&out);
    return got;
}

struct span header_text(struct arena *a, struct span value)
{
    return header_text_hint(a, value, SPAN(""));
}
