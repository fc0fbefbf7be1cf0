/* The command reader.
 * The hard problem is to stay in step with a client whatever it sends: a line that is too long may still end
 * in "{9+}", and then nine bytes follow that are no command; a "{9}" inside a quoted string is none. So
 * quotes are followed, the tail of a dropped line is kept, and a literal is always counted off.
 * Which literals are wanted, and what a command means, is session.c's and the cursor's. */
#include "imapd/reader.h"

void reader_init(struct line_reader *r, size_t limit)
{
    *r = (struct line_reader){.limit = limit};
    buf_init(&r->text, (size_t)1 << 20);
}

void reader_free(struct line_reader *r)
{
    buf_wipe(&r->text);
}

void reader_reset(struct line_reader *r)
{
    if (r->text.cap > 8192)
        buf_wipe(&r->text); /* may hold a password; and idle sessions keep no large buffers */
    else if (r->text.n)
        memset(r->text.p, 0, r->text.n);
    buf_reset(&r->text);
    r->line_at = 0;
    r->literal = 0;
    r->tail_n = 0;
    r->too_long = r->has_nul = false;
}

bool reader_fits(const struct line_reader *r, uint64_t size)
{
    return !r->too_long && size <= r->limit && r->text.n <= r->limit - size;
}

static void keep(struct line_reader *r, struct span bytes)
{
    if (memchr(bytes.p, 0, bytes.n))
        r->has_nul = true;
    if (r->too_long)
        return;
    if (!reader_fits(r, bytes.n)) { /* the tag at least is wanted for the answer */
        bytes = span_first(bytes, r->limit - r->text.n);
        r->too_long = true;
    }
    if (!buf_add_span(&r->text, bytes))
        r->too_long = true;
}

static void keep_tail(struct line_reader *r, struct span bytes)
{
    size_t room = sizeof r->tail;
    if (bytes.n >= room) {
        memcpy(r->tail, bytes.p + bytes.n - room, room);
        r->tail_n = room;
        return;
    }
    size_t old = r->tail_n + bytes.n > room ? room - bytes.n : r->tail_n;
    memmove(r->tail, r->tail + r->tail_n - old, old);
    memcpy(r->tail + old, bytes.p, bytes.n);
    r->tail_n = old + bytes.n;
}

/* Whether the line so far has left a quote open. */
static bool in_quote(const struct line_reader *r)
{
    struct span line = span_drop(buf_span(&r->text), r->line_at);
    bool quote = false;
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == '\\' && quote)
            i++;
        else if (line.p[i] == '"')
            quote = !quote;
    }
    return quote;
}

/* "{123}", "{123+}", "~{123}" at the end of a line. */
static bool ends_in_literal(struct span line, struct reader_literal *out)
{
    if (!span_ends(line, SPAN("}")))
        return false;
    line.n--;
    out->sync = !span_ends(line, SPAN("+"));
    if (!out->sync)
        line.n--;
    size_t n = line.n;
    while (n && line.p[n - 1] >= '0' && line.p[n - 1] <= '9')
        n--;
    return n && line.p[n - 1] == '{' && span_u64(span_drop(line, n), &out->size);
}

static enum reader_news end_line(struct line_reader *r, struct reader_literal *out)
{
    struct span tail = span_of(r->tail, r->tail_n);
    bool crlf = span_ends(tail, SPAN("\r\n"));
    if (crlf && ends_in_literal(span_first(tail, tail.n - 2), out) && (r->too_long || !in_quote(r)))
        return READER_LITERAL;
    return READER_COMMAND;
}

static bool take_literal(struct line_reader *r, struct buf *in)
{
    size_t n = in->n < r->literal ? in->n : (size_t)r->literal;
    keep(r, span_of(in->p, n));
    buf_consume(in, n);
    r->literal -= n;
    if (r->literal)
        return false;
    reader_went_on(r);
    return true;
}

enum reader_news reader_step(struct line_reader *r, struct buf *in, struct reader_literal *out)
{
    if (r->literal && (in->n == 0 || !take_literal(r, in)))
        return READER_MORE;
    size_t lf = span_find(buf_span(in), '\n');
    struct span bytes = span_of(in->p, lf < in->n ? lf + 1 : in->n);
    if (!bytes.n)
        return READER_MORE;
    bool whole = lf < in->n;
    keep(r, bytes);
    keep_tail(r, bytes);
    buf_consume(in, bytes.n);
    return whole ? end_line(r, out) : READER_MORE;
}

void reader_take_literal(struct line_reader *r, uint64_t size)
{
    if (!reader_fits(r, size))
        r->too_long = true;
    r->literal = size;
    if (!size)
        reader_went_on(r);
}

void reader_went_on(struct line_reader *r)
{
    r->line_at = r->text.n;
    r->tail_n = 0;
}
