/* Decodes DATA and BDAT. The hard problem is smuggling: a byte sequence that one server takes for the end
 * of data and another for text. So only CRLF ends a line here, only CRLF.CRLF ends the data, and bare CR,
 * bare LF and NUL are noted for the caller, who reads on to the real end and then refuses. Text is given out
 * in runs of lines that lie in the caller's buffer; only a CR at the end of a piece is held back. */
#include "smtpd/dot.h"

void dot_init(struct dot *d, bool stuffed, bool normalise, void (*emit)(void *, struct span), void *arg)
{
    *d = (struct dot){
        .at = DOT_LINE_START, .stuffed = stuffed, .normalise = normalise, .emit = emit, .arg = arg};
}

static void give(struct dot *d, const char *from, const char *to)
{
    if (to > from)
        d->emit(d->arg, span_of(from, (size_t)(to - from)));
}

/* A CR that no LF follows. */
static void bare_cr(struct dot *d)
{
    d->bare_cr = true;
    d->emit(d->arg, d->normalise ? SPAN("\r\n") : SPAN("\r"));
}

/* Text without CR: bare LF and NUL are looked for, LF turned into CRLF where asked. */
static void text(struct dot *d, const char *from, const char *to)
{
    if (to == from)
        return;
    if (memchr(from, 0, (size_t)(to - from)))
        d->nul = true;
    const char *lf;
    while ((lf = memchr(from, '\n', (size_t)(to - from)))) {
        d->bare_lf = true;
        if (d->normalise) {
            give(d, from, lf);
            d->emit(d->arg, SPAN("\r\n"));
            from = lf + 1;
        } else {
            give(d, from, lf + 1);
            from = lf + 1;
        }
        if (from == to)
            return;
    }
    give(d, from, to);
}

/* What follows a CR that was held: LF or anything else. Answers where to go on. */
static const char *after_cr(struct dot *d, const char *p, bool lone_dot)
{
    if (*p == '\n' && lone_dot) {
        d->ended = true;
        return p + 1;
    }
    if (*p == '\n') {
        d->emit(d->arg, SPAN("\r\n"));
        d->at = DOT_LINE_START;
        return p + 1;
    }
    bare_cr(d);
    d->at = DOT_TEXT;
    return p;
}

/* Whole lines as they should be, but for NUL. */
static void lines(struct dot *d, const char *from, const char *to)
{
    if (to > from && memchr(from, 0, (size_t)(to - from)))
        d->nul = true;
    give(d, from, to);
}

/* One run of text, to a line that begins with a dot or the end of the piece. Lines that are as they should be
 * are given out together: what follows costs less for one large piece than for many small ones. */
static const char *run(struct dot *d, const char *p, const char *end)
{
    const char *from = p; /* lines from here to p have not been given out */
    d->at = DOT_TEXT;
    for (;;) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        const bool usual = cr && cr + 1 < end && cr[1] == '\n' && !memchr(p, '\n', (size_t)(cr - p));
        if (!usual) {
            lines(d, from, p);
            text(d, p, cr ? cr : end);
            from = p = cr ? cr + 1 : end;
        }
        if (!cr)
            return end;
        if (cr + 1 == end) {
            d->at = DOT_CR;
            return end;
        }
        if (cr[1] != '\n') {
            bare_cr(d);
            continue;
        }
        p = cr + 2;
        if (!usual) {
            d->emit(d->arg, SPAN("\r\n"));
            from = p;
        }
        if (p == end || (d->stuffed && *p == '.')) {
            lines(d, from, p);
            d->at = DOT_LINE_START;
            return p;
        }
    }
}

static const char *one(struct dot *d, const char *p, const char *end)
{
    switch (d->at) {
    case DOT_LINE_START:
        if (!d->stuffed || *p != '.')
            return run(d, p, end);
        d->at = DOT_DOT;
        return p + 1;
    case DOT_DOT: /* the dot is gone; a CR may make it the end */
        if (*p != '\r')
            return run(d, p, end);
        d->at = DOT_DOT_CR;
        return p + 1;
    case DOT_DOT_CR:
        return after_cr(d, p, true);
    case DOT_CR:
        return after_cr(d, p, false);
    case DOT_TEXT:
        break;
    }
    return run(d, p, end);
}

size_t dot_feed(struct dot *d, struct span in)
{
    if (in.n == 0)
        return 0;
    const char *p = in.p, *end = in.p + in.n;
    while (p < end && !d->ended)
        p = one(d, p, end);
    return (size_t)(p - in.p);
}

void dot_finish(struct dot *d)
{
    if (d->at == DOT_CR)
        bare_cr(d);
    d->at = DOT_LINE_START;
}
