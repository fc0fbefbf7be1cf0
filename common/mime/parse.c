/* The MIME parser: bytes in, a meta record out.
 * Lines are the unit: memchr finds their ends, a line that begins with "--" is compared with the open
 * boundaries (innermost first), header lines are gathered until the blank line. Nothing else is kept but
 * the first bytes of a text for its preview.
 * The hard problem is headers that do not end as they should. A line that is no field inside a header may
 * be a badly folded field, or the body of a message whose blank line is missing. Which one is known at
 * the end of the block only: when fields follow the line it is skipped, when none follows the header
 * ended before it and what was gathered behind is parsed again as body (each byte at most once for each
 * level of nesting). The outcome depends on the lines alone, never on how the input was cut.
 * What a header says is part.c, IMAP's words for it describe.c, the list's texts summary.c. */
#include "common/mime/parse.h"
#include "common/mime/meta_int.h"
#include "common/mime/part.h"
#include "common/mime/summary.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINE_KEEP = 16384,        /* of a line that may be a boundary */
    BOUNDARY_MAX = 16000,     /* RFC 2046 allows 70 */
    SAMPLE = 4096,            /* bytes of a text that the preview is made of */
    KEPT_LIMIT = 2560 << 10,  /* descriptions and names of all parts */
    SCRATCH_LIMIT = 64 << 20, /* of one header block */
    ENVELOPE_LIMIT = 1 << 20, /* bytes of all envelopes */
    SPARE_LIMIT = 128 << 10,  /* bytes of a buffer that a reset keeps */
    SPARE_PARSERS = 16,       /* that wait, each with so many bytes and parts at most */
    SPARE_BYTES = 32 << 10,
    SPARE_PARTS = 16,
    ADDRESS_LIMIT = 20000 /* in all envelopes */
};

struct open {
    uint16_t part;
    struct span boundary; /* "" for a message, or when its closing line was seen */
    bool digest;
};

struct mime_parser {
    uint64_t pos;           /* of the next byte */
    uint64_t prefix;        /* bytes that will stand before all that is fed */
    uint64_t lines;         /* line ends before pos */
    struct buf carry, line; /* the beginning of a line; a whole line that came in pieces */
    bool mid_line;          /* the rest of the line is of no interest */
    unsigned prev_eol;      /* bytes of the last line's end */
    bool prev_blank, last_cr;

    bool in_header;
    struct buf header;  /* the block so far */
    uint64_t bad_at;    /* in header: the first line that is no field; UINT64_MAX none */
    uint64_t bad_lines; /* p->lines there */
    bool bad_dashes;    /* it may be the boundary of this very part, its blank line missing */
    bool field_after_bad, header_cut;

    struct described *parts;
    size_t count, cap;
    uint16_t current; /* the part whose header or body is read, MIME_NO_PART in between */
    struct open stack[MIME_DEPTH_LIMIT + 1];
    size_t depth;
    uint16_t last_child[MIME_DEPTH_LIMIT + 1]; /* of the stack's entries */

    struct arena *kept, *scratch;
    size_t addresses_left, envelope_left;
    struct mime_meta meta;
    struct span envelope;
    uint16_t plain_part, html_part;
    struct buf plain, html, *sample;
    struct buf plain_record, record;
    struct mime_parser *next_spare;
};

/* A worker reads message after message, many at a time: small parsers that have served wait to serve again.
 */
static _Thread_local struct {
    struct mime_parser *first;
    unsigned count;
} spare;

static bool spare_take(struct mime_parser *p)
{
    const struct buf *all[] = {&p->carry, &p->line,         &p->header, &p->plain,
                               &p->html,  &p->plain_record, &p->record};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bytes += all[i]->cap;
    if (spare.count == SPARE_PARSERS || bytes > SPARE_BYTES || p->cap > SPARE_PARTS)
        return false;
    mime_parser_reset(p);
    p->next_spare = spare.first;
    spare.first = p;
    spare.count++;
    return true;
}

struct mime_parser *mime_parser_new(void)
{
    struct mime_parser *p = spare.first;
    if (p) {
        spare.first = p->next_spare;
        spare.count--;
        return p;
    }
    p = xcalloc(1, sizeof *p);
    buf_init(&p->carry, MIME_HEADER_LIMIT + LINE_KEEP);
    buf_init(&p->line, MIME_HEADER_LIMIT + LINE_KEEP);
    buf_init(&p->header, MIME_HEADER_LIMIT);
    buf_init(&p->plain, SAMPLE);
    buf_init(&p->html, SAMPLE);
    buf_init(&p->plain_record, MIME_META_LIMIT);
    buf_init(&p->record, MIME_META_LIMIT);
    p->kept = arena_new(KEPT_LIMIT);
    p->scratch = arena_new(SCRATCH_LIMIT);
    mime_parser_reset(p);
    return p;
}

void mime_parser_free(struct mime_parser **pp)
{
    struct mime_parser *p = *pp;
    *pp = NULL;
    if (!p || spare_take(p))
        return;
    struct buf *all[] = {&p->carry, &p->line, &p->header, &p->plain, &p->html, &p->plain_record, &p->record};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    arena_free(&p->kept);
    arena_free(&p->scratch);
    free(p->parts);
    free(p);
}

static void begin_header(struct mime_parser *p)
{
    p->in_header = true;
    buf_reset(&p->header);
    p->bad_at = UINT64_MAX;
    p->field_after_bad = p->header_cut = p->bad_dashes = false;
}

/* A new part inside the innermost container; MIME_NO_PART when there are too many. */
static uint16_t part_new(struct mime_parser *p)
{
    if (p->count == MIME_PARTS_LIMIT) {
        p->meta.flags |= MIME_F_TRUNCATED;
        return MIME_NO_PART;
    }
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->parts = xrealloc(p->parts, p->cap * sizeof *p->parts);
    }
    uint16_t at = (uint16_t)p->count++;
    uint16_t parent = p->depth ? p->stack[p->depth - 1].part : MIME_NO_PART;
    p->parts[at] = (struct described){.ordinal = 1,
                                      .m = {.parent = parent,
                                            .first_child = MIME_NO_PART,
                                            .next = MIME_NO_PART,
                                            .header_at = p->pos,
                                            .body_at = p->pos}};
    if (p->depth) {
        uint16_t *last = &p->last_child[p->depth - 1];
        if (*last == MIME_NO_PART)
            p->parts[parent].m.first_child = at;
        else
            p->parts[*last].m.next = at;
        if (*last != MIME_NO_PART)
            p->parts[at].ordinal = p->parts[*last].ordinal + 1;
        *last = at;
    }
    return at;
}

void mime_parser_reset(struct mime_parser *p)
{
    struct buf *all[] = {&p->carry, &p->line, &p->header, &p->plain, &p->html, &p->plain_record, &p->record};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->cap > SPARE_LIMIT) /* one monster does not pin its memory for the session's life */
            buf_free(all[i]);
        buf_reset(all[i]);
    }
    if (p->cap > 1000) {
        free(p->parts);
        p->parts = NULL;
        p->cap = 0;
    }
    arena_reset(p->kept);
    arena_reset(p->scratch);
    p->pos = p->lines = p->prefix = 0;
    p->mid_line = p->prev_blank = p->last_cr = false;
    p->prev_eol = 0;
    p->count = p->depth = 0;
    p->addresses_left = ADDRESS_LIMIT;
    p->envelope_left = ENVELOPE_LIMIT;
    p->meta = (struct mime_meta){.date = INT64_MIN};
    p->envelope = SPAN_NONE;
    p->plain_part = p->html_part = MIME_NO_PART;
    p->sample = NULL;
    p->current = part_new(p);
    begin_header(p);
}

static void sample_add(struct mime_parser *p, const char *at, size_t n)
{
    size_t room = SAMPLE - p->sample->n;
    if (!buf_add(p->sample, at, n < room ? n : room) || p->sample->n == SAMPLE)
        p->sample = NULL;
}

/* Keep the first bytes of the first plain text and of the first HTML that is no attachment. */
static void sample_choose(struct mime_parser *p, uint16_t at)
{
    const struct mime_part *m = &p->parts[at].m;
    if (!span_eq(m->type, SPAN("text")) || span_eq(m->disposition, SPAN("attachment")))
        return;
    if (p->plain_part == MIME_NO_PART && span_eq(m->subtype, SPAN("plain"))) {
        p->plain_part = at;
        p->sample = &p->plain;
    } else if (p->html_part == MIME_NO_PART && span_eq(m->subtype, SPAN("html"))) {
        p->html_part = at;
        p->sample = &p->html;
    }
}

/* Append the envelope to kept; when there is no room an empty one stands for it. */
static struct span envelope_keep(struct mime_parser *p, const struct fields *f)
{
    struct buf b;
    buf_init(&b, p->envelope_left);
    bool ok = envelope_write(p->scratch, &f->env, &p->addresses_left, &b);
    struct span s = ok ? arena_dup(p->kept, buf_span(&b)) : SPAN_NONE;
    p->envelope_left -= s.n < p->envelope_left ? s.n : p->envelope_left;
    buf_free(&b);
    if (s.p)
        return s;
    p->meta.flags |= MIME_F_TRUNCATED;
    return SPAN("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
}

static void push(struct mime_parser *p, uint16_t part, struct span boundary, bool digest)
{
    p->last_child[p->depth] = MIME_NO_PART;
    p->stack[p->depth++] = (struct open){part, boundary, digest};
}

static void body_begin(struct mime_parser *p, uint16_t at, struct span boundary)
{
    struct described *d = &p->parts[at];
    bool bound = p->depth >= MIME_DEPTH_LIMIT || p->count == MIME_PARTS_LIMIT;
    d->m.body_at = p->pos;
    d->first_line = p->lines;
    p->in_header = false;
    if (d->m.kind == MIME_MULTIPART && boundary.n == 0)
        part_demote(d, "text", "plain");
    if (d->m.kind != MIME_LEAF && bound) {
        part_demote(d, "application", "octet-stream");
        p->meta.flags |= MIME_F_TRUNCATED;
    }
    if (d->m.kind == MIME_MULTIPART) {
        push(p, at, boundary, span_eq(d->m.subtype, SPAN("digest")));
    } else if (d->m.kind == MIME_MESSAGE) {
        push(p, at, SPAN(""), false);
        p->current = part_new(p);
        begin_header(p);
    }
    if (p->parts[at].m.kind == MIME_LEAF)
        sample_choose(p, at);
}

/* The header block of the current part is whole: p->pos is behind it. */
static void header_done(struct mime_parser *p)
{
    uint16_t at = p->current, parent = p->parts[at].m.parent;
    bool of_message = parent == MIME_NO_PART || p->parts[parent].m.kind == MIME_MESSAGE;
    struct described *d = &p->parts[at];
    struct fields f;
    struct span boundary;
    d->m.header_n = p->pos - d->m.header_at;
    arena_reset(p->scratch);
    fields_read(buf_span(&p->header), p->scratch, &f);
    if (f.high)
        p->meta.flags |= MIME_F_8BIT_HEADER;
    bool digest = parent != MIME_NO_PART && p->depth && p->stack[p->depth - 1].digest;
    if (!part_describe(&f, digest, p->kept, p->scratch, d, &boundary) || p->header_cut)
        p->meta.flags |= MIME_F_TRUNCATED;
    if (boundary.n > BOUNDARY_MAX)
        boundary = SPAN("");
    boundary = arena_dup(p->kept, boundary);
    if (of_message && parent != MIME_NO_PART) {
        p->parts[parent].m.inner_header_at = d->m.header_at;
        p->parts[parent].m.inner_header_n = d->m.header_n;
        p->parts[parent].envelope = envelope_keep(p, &f);
    } else if (of_message) {
        p->meta.header_n = d->m.header_n;
        p->envelope = envelope_keep(p, &f);
        summary_read(&f, d->m.charset, p->kept, &p->meta);
    }
    if (!boundary.p)
        boundary = SPAN("");
    if (d->m.kind == MIME_MULTIPART && boundary.n == 0)
        p->meta.flags |= MIME_F_BROKEN;
    body_begin(p, at, boundary);
}

static void process(struct mime_parser *p, struct span s);

/* The header ends before pos. Decide about lines that were no fields, see above. */
static void header_end(struct mime_parser *p)
{
    if (p->bad_at == UINT64_MAX || p->field_after_bad || p->header_cut) {
        header_done(p);
        return;
    }
    struct buf tail;
    buf_init(&tail, p->header.n);
    bool ok = buf_add_span(&tail, span_drop(buf_span(&p->header), p->bad_at));
    p->header.n = p->bad_at;
    p->meta.flags |= MIME_F_BROKEN;
    p->pos -= tail.n;
    p->lines = p->bad_lines;
    p->prev_eol = 0;
    header_done(p);
    if (ok)
        process(p, buf_span(&tail));
    buf_free(&tail);
}

/* at and n of a block that may reach into the line end that belongs to a boundary. */
static void clamp(uint64_t *at, uint64_t *n, uint64_t end)
{
    if (*at > end)
        *at = end;
    if (*n > end - *at)
        *n = end - *at;
}

/* Close the part: its body ends at end, behind so many line ends. */
static void part_close(struct mime_parser *p, uint16_t at, uint64_t end, uint64_t lines)
{
    struct described *d = &p->parts[at];
    d->m.body_n = UINT64_MAX;
    clamp(&d->m.header_at, &d->m.header_n, end);
    clamp(&d->m.inner_header_at, &d->m.inner_header_n, end);
    clamp(&d->m.body_at, &d->m.body_n, end);
    uint64_t n = d->m.body_n && lines > d->first_line ? lines - d->first_line : 0;
    d->m.lines = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    if (d->m.kind == MIME_MULTIPART && d->m.first_child == MIME_NO_PART) {
        part_demote(d, "text", "plain"); /* BODYSTRUCTURE knows no multipart without a part */
        p->meta.flags |= MIME_F_BROKEN;
    }
}

static void close_to(struct mime_parser *p, size_t depth, uint64_t end, uint64_t lines)
{
    uint16_t inner = p->depth ? p->stack[p->depth - 1].part : MIME_NO_PART;
    if (p->current != MIME_NO_PART && p->current != inner)
        part_close(p, p->current, end, lines);
    while (p->depth > depth)
        part_close(p, p->stack[--p->depth].part, end, lines);
    p->current = MIME_NO_PART;
    p->sample = NULL;
}

/* Whether the line is a boundary of an open multipart: its place in the stack, SIZE_MAX when it is none. */
static size_t boundary_find(const struct mime_parser *p, struct span line, bool *closing)
{
    struct span s = span_drop(line, 2);
    if (line.n > LINE_KEEP)
        return SIZE_MAX;
    while (s.n &&
           (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    for (size_t i = p->depth; i-- > 0;) {
        struct span b = p->stack[i].boundary;
        if (b.n == 0 || b.n > s.n || memcmp(b.p, s.p, b.n) != 0)
            continue;
        *closing = s.n == b.n + 2 && s.p[b.n] == '-' && s.p[b.n + 1] == '-';
        if (s.n == b.n || *closing)
            return i;
    }
    return SIZE_MAX;
}

/* A boundary line of n bytes at p->pos - n. */
static void boundary_seen(struct mime_parser *p, size_t at, bool closing, size_t n, uint64_t lines_before)
{
    uint64_t start = p->pos - n, line_end = p->pos, lines = p->lines;
    if (p->in_header) {
        p->meta.flags |= MIME_F_BROKEN;
        p->pos = start;
        p->lines = lines_before;
        while (p->in_header) /* a message inside may lack its own header as well */
            header_end(p);
        p->pos = line_end;
        p->lines = lines;
    }
    uint64_t content_lines = lines_before - (p->prev_blank && lines_before ? 1 : 0);
    close_to(p, at + 1, start - (start > p->prev_eol ? p->prev_eol : 0), content_lines);
    if (closing) {
        p->stack[at].boundary = SPAN("");
        p->in_header = false;
        return;
    }
    p->current = part_new(p);
    if (p->current != MIME_NO_PART)
        begin_header(p);
}

static void header_line(struct mime_parser *p, struct span line, uint64_t lines_before)
{
    bool blank = line.p[0] == '\n' || (line.p[0] == '\r' && line.n == 2 && line.p[1] == '\n');
    bool continued = line.p[0] == ' ' || line.p[0] == '\t';
    if (!blank && !continued) {
        bool field = header_name_length(line) > 0;
        bool mbox =
            p->header.n == 0 && (span_starts(line, SPAN("From ")) || span_starts(line, SPAN(">From ")));
        if (!field && !mbox && p->bad_at == UINT64_MAX) {
            p->bad_at = p->header.n;
            p->bad_lines = lines_before;
        }
        if (!field && !p->field_after_bad && span_starts(line, SPAN("--")))
            p->bad_dashes = true;
        p->field_after_bad = p->field_after_bad || (field && p->bad_at != UINT64_MAX && !p->bad_dashes);
        if (p->bad_at != UINT64_MAX)
            p->meta.flags |= MIME_F_BROKEN;
    }
    if (!p->header_cut && !buf_add_span(&p->header, line))
        p->header_cut = true;
    if (blank)
        header_end(p);
}

/* One line with its end (or the last one without). p->pos and p->lines are moved behind it first. */
static void handle_line(struct mime_parser *p, struct span line)
{
    uint64_t before = p->lines;
    bool closing, dashes = line.n > 2 && line.p[0] == '-' && line.p[1] == '-';
    p->pos += line.n;
    p->lines++;
    size_t at = dashes ? boundary_find(p, line, &closing) : SIZE_MAX;
    if (at != SIZE_MAX)
        boundary_seen(p, at, closing, line.n, before);
    else if (p->in_header)
        header_line(p, line, before);
    else if (p->sample)
        sample_add(p, line.p, line.n);
    unsigned crlf = line.n > 1 && line.p[line.n - 2] == '\r';
    p->prev_eol = line.p[line.n - 1] == '\n' ? 1 + crlf : 0;
    p->prev_blank = line.n == p->prev_eol;
}

/* Whole lines of a body, quickly: stops at one that may be a boundary, or at the last, unfinished one. */
static size_t body_run(struct mime_parser *p, const char *s, size_t n)
{
    const char *at = s, *end = s + n, *lf;
    while (at < end && *at != '-' && (lf = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        p->lines++;
        p->prev_eol = 1 + (unsigned)(lf > at && lf[-1] == '\r');
        p->prev_blank = lf + 1 - at == p->prev_eol;
        at = lf + 1;
    }
    size_t took = (size_t)(at - s);
    p->pos += took;
    if (took && p->sample)
        sample_add(p, s, took);
    return took;
}

/* The rest of a line whose beginning is no boundary. */
static size_t rest_of_line(struct mime_parser *p, const char *s, size_t n)
{
    const char *lf = memchr(s, '\n', n);
    size_t took = lf ? (size_t)(lf - s) + 1 : n;
    bool cr = took > 1 ? s[took - 2] == '\r' : p->last_cr;
    p->pos += took;
    if (p->sample && !p->in_header)
        sample_add(p, s, took);
    if (lf) {
        p->mid_line = false;
        p->lines++;
        p->prev_eol = 1 + (unsigned)cr;
        p->prev_blank = false;
    } else {
        p->last_cr = s[took - 1] == '\r';
    }
    return took;
}

/* What is carried, and more behind it, is of no interest: no boundary, or a header line beyond every bound.
 */
static void carry_drop(struct mime_parser *p, struct span more)
{
    struct span c = buf_span(&p->carry);
    if (p->in_header) {
        p->header_cut = true;
    } else if (p->sample) {
        sample_add(p, c.p, c.n);
        if (p->sample)
            sample_add(p, more.p, more.n);
    }
    p->pos += c.n + more.n;
    p->last_cr = more.n ? more.p[more.n - 1] == '\r' : c.n && c.p[c.n - 1] == '\r';
    p->mid_line = true;
    buf_reset(&p->carry);
}

/* The beginning of a line at the end of what came: keep it, or learn that it is of no interest. */
static void keep_start(struct mime_parser *p, struct span s)
{
    if (!buf_add_span(&p->carry, s)) {
        carry_drop(p, s);
        return;
    }
    struct span c = buf_span(&p->carry);
    bool maybe = (c.p[0] == '-' && (c.n < 2 || c.p[1] == '-') && c.n < LINE_KEEP) ||
                 (c.n == 1 && c.p[0] == '\r'); /* whether a line is blank must be known */
    if (!p->in_header && !maybe)
        carry_drop(p, SPAN_NONE);
}

static void process(struct mime_parser *p, struct span s)
{
    while (s.n) {
        if (p->mid_line) {
            s = span_drop(s, rest_of_line(p, s.p, s.n));
            continue;
        }
        if (!p->in_header && p->carry.n == 0) {
            s = span_drop(s, body_run(p, s.p, s.n));
            if (!s.n)
                break;
        }
        size_t lf = span_find(s, '\n');
        if (lf == s.n) {
            keep_start(p, s);
            break;
        }
        struct span line = span_first(s, lf + 1);
        s = span_drop(s, lf + 1);
        if (p->carry.n == 0) {
            handle_line(p, line);
        } else if (buf_add_span(&p->carry, line)) {
            struct buf swap = p->line; /* handle_line may come back here, with nothing carried */
            p->line = p->carry;
            p->carry = swap;
            buf_reset(&p->carry);
            handle_line(p, buf_span(&p->line));
        } else {
            carry_drop(p, span_first(line, lf)); /* its end is taken as the rest of a line */
            s = span_of(line.p + lf, s.n + 1);
        }
    }
}

static bool has_high(struct span s)
{
    const uint64_t high = 0x8080808080808080u;
    uint64_t any = 0, eight[8];
    for (; s.n >= sizeof eight; s = span_drop(s, sizeof eight)) {
        memcpy(eight, s.p, sizeof eight);
        if ((eight[0] | eight[1] | eight[2] | eight[3] | eight[4] | eight[5] | eight[6] | eight[7]) & high)
            return true;
    }
    for (; s.n; s.p++, s.n--)
        any |= (uint64_t)(unsigned char)*s.p;
    return any & high;
}

void mime_parser_feed(struct mime_parser *p, struct span bytes)
{
    if (!(p->meta.flags & MIME_F_8BIT) && has_high(bytes))
        p->meta.flags |= MIME_F_8BIT;
    process(p, bytes);
}

/* RFC 3501 6.4.5: a multipart's children are numbered inside its number, a message's body too; the one
 * part of a message that is no multipart is 1; a multipart right inside a message has none of its own. */
static void number_parts(struct mime_parser *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct mime_part *m = &p->parts[i].m;
        char text[200] = "";
        struct span base = SPAN("");
        unsigned ordinal = 1;
        if (m->parent != MIME_NO_PART) {
            const struct mime_part *up = &p->parts[m->parent].m;
            base = up->number;
            if (up->kind == MIME_MULTIPART && base.n == 0 && up->parent != MIME_NO_PART)
                base = p->parts[up->parent].m.number;
            ordinal = p->parts[i].ordinal;
        }
        bool unnumbered = m->kind == MIME_MULTIPART &&
                          (m->parent == MIME_NO_PART || p->parts[m->parent].m.kind == MIME_MESSAGE);
        if (!unnumbered)
            snprintf(text, sizeof text, "%.*s%s%u", SPAN_ARG(base), base.n ? "." : "", ordinal);
        m->number = arena_dup(p->kept, span_str(text));
        if (!m->number.p)
            p->meta.flags |= MIME_F_TRUNCATED;
    }
}

/* A part that a list marks with a paper clip. */
static bool is_attachment(const struct mime_part *m, bool root)
{
    if (m->kind == MIME_MULTIPART)
        return false;
    if (span_eq(m->disposition, SPAN("attachment")))
        return true;
    if (root && m->kind == MIME_MESSAGE)
        return false;
    if (span_eq(m->subtype, SPAN("pgp-signature")) || span_eq(m->subtype, SPAN("pkcs7-signature")) ||
        span_eq(m->subtype, SPAN("x-pkcs7-signature")))
        return false;
    bool shown = m->content_id.n > 0 || span_eq(m->disposition, SPAN("inline"));
    return m->filename.n ? !shown || span_eq(m->type, SPAN("application"))
                         : m->kind == MIME_MESSAGE || (!span_eq(m->type, SPAN("text")) && !shown && !root);
}

static const struct mime_part *part_at(const void *of, size_t i)
{
    return &((const struct mime_parser *)of)->parts[i].m;
}

static bool record_write(struct mime_parser *p)
{
    struct buf body, structure;
    buf_init(&body, MIME_META_LIMIT);
    buf_init(&structure, MIME_META_LIMIT);
    bool ok = structure_write(p->parts, p->count, false, &body) &&
              structure_write(p->parts, p->count, true, &structure);
    p->meta.body = buf_span(&body);
    p->meta.bodystructure = buf_span(&structure);
    p->meta.part_count = p->count;
    buf_reset(&p->plain_record);
    buf_reset(&p->record);
    ok = ok && mime_meta_write(&p->meta, part_at, p, &p->plain_record) &&
         meta_pack(buf_span(&p->plain_record), &p->record);
    buf_free(&body);
    buf_free(&structure);
    return ok;
}

/* The last line, when it has no end. */
static void last_line(struct mime_parser *p)
{
    if (p->mid_line)
        p->lines++;
    p->mid_line = false;
    if (p->carry.n == 0)
        return;
    struct buf swap = p->line;
    p->line = p->carry;
    p->carry = swap;
    buf_reset(&p->carry);
    handle_line(p, buf_span(&p->line));
}

void mime_parser_prefix(struct mime_parser *p, uint64_t n)
{
    p->prefix = n;
}

/* Move everything behind the prefix, which becomes the beginning of the message's header. */
static void apply_prefix(struct mime_parser *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct mime_part *m = &p->parts[i].m;
        m->header_at += i ? p->prefix : 0;
        m->header_n += i ? 0 : p->prefix;
        m->body_at += p->prefix;
        m->inner_header_at += m->kind == MIME_MESSAGE ? p->prefix : 0;
    }
    p->meta.header_n += p->prefix;
    p->meta.size = p->pos + p->prefix;
}

struct span mime_parser_finish(struct mime_parser *p)
{
    last_line(p);
    while (p->in_header) {
        header_end(p);
        last_line(p);
    }
    close_to(p, 0, p->pos, p->lines);
    number_parts(p);
    for (size_t i = 0; i < p->count; i++)
        if (is_attachment(&p->parts[i].m, i == 0))
            p->meta.flags |= MIME_F_ATTACHMENT;
    apply_prefix(p);
    p->meta.envelope = p->envelope;
    uint16_t shown = p->plain_part != MIME_NO_PART ? p->plain_part : p->html_part;
    p->meta.preview = SPAN("");
    if (shown != MIME_NO_PART)
        p->meta.preview = summary_preview(p->kept, &p->parts[shown].m,
                                          buf_span(shown == p->plain_part ? &p->plain : &p->html));
    if (!record_write(p)) { /* the bounds above forbid it; were one wrong, the message is one opaque part */
        p->meta.flags |= MIME_F_TRUNCATED;
        p->count = 1;
        part_demote(&p->parts[0], "application", "octet-stream");
        p->meta.envelope = SPAN("(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        bool ok = record_write(p);
        assert(ok);
    }
    return buf_span(&p->record);
}

enum err_code mime_parse(struct span message, struct buf *out)
{
    struct mime_parser *p = mime_parser_new();
    buf_reset(out);
    mime_parser_feed(p, message);
    bool ok = buf_add_span(out, mime_parser_finish(p));
    mime_parser_free(&p);
    return ok ? ERR_OK : ERR_LIMIT;
}
