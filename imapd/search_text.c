/* Looking for texts: everything is decoded to UTF-8 and folded (marks and case are ignored, "đ" is "d"), then
 * compared as bytes. The hard problem is a long part: its text comes in pieces, and neither a character, nor
 * a word of the search, nor an escape may be lost at a seam. Decoded bytes wait for a line end before they
 * are converted, and the end of each folded piece is kept in front of the next. */
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/fold.h"
#include "common/mime/header.h"
#include "imapd/search.h"
#include <stdlib.h>

enum { WINDOW = 256 << 10, LONGEST_LINE = 1 << 20, FOLDED_LIMIT = 16 << 20 };

bool text_fold(struct span utf8, struct buf *out)
{
    return fold_text(utf8, out);
}

bool text_has(struct arena *a, struct span utf8, struct span folded)
{
    struct buf b;
    (void)a;
    if (!folded.n)
        return true;
    buf_init(&b, FOLDED_LIMIT);
    bool ok = utf8.n && (text_fold(utf8, &b) || b.n);
    struct span hay = buf_span(&b);
    ok = ok && hay.n >= folded.n && span_search(hay, folded) < hay.n;
    buf_free(&b);
    return ok;
}

/* Mark the keys whose text is in the folded text. */
static void mark(struct search_key *k, struct span folded, bool body)
{
    bool looks = k->kind == SK_TEXT || (body && k->kind == SK_BODY);
    if (looks && !k->found && k->text.n && folded.n >= k->text.n)
        k->found = span_search(folded, k->text) < folded.n;
    for (struct search_key *c = k->child; c; c = c->next)
        mark(c, folded, body);
}

void text_in_header(struct search_key *k, struct arena *a, struct span header, bool body)
{
    struct header_field f;
    struct buf b;
    buf_init(&b, FOLDED_LIMIT);
    while (header_next(&header, &f)) {
        arena_reset(a);
        buf_reset(&b);
        struct span value = header_text(a, f.value);
        /* The last of it may be cut when it is monstrous; what fits is looked at. */
        if (text_fold(f.name, &b) && buf_add_str(&b, ": ") && (text_fold(value, &b) || b.n))
            mark(k, buf_span(&b), body);
    }
    buf_free(&b);
}

void text_in_name(struct search_key *k, struct span name)
{
    struct buf b;
    buf_init(&b, FOLDED_LIMIT);
    if (name.n && text_fold(name, &b))
        mark(k, buf_span(&b), false);
    buf_free(&b);
}

bool text_wants_headers(const struct search_key *k)
{
    if (k->kind == SK_TEXT && k->text.n && !k->found)
        return true;
    for (const struct search_key *c = k->child; c; c = c->next)
        if (text_wants_headers(c))
            return true;
    return false;
}

bool text_scan_done(const struct search_key *k)
{
    if ((k->kind == SK_TEXT || k->kind == SK_BODY) && k->text.n && !k->found)
        return false;
    for (const struct search_key *c = k->child; c; c = c->next)
        if (!text_scan_done(c))
            return false;
    return true;
}

void text_forget(struct search_key *k)
{
    k->found = false;
    for (struct search_key *c = k->child; c; c = c->next)
        text_forget(c);
}

/* -- a part's text -- */

struct text_scan {
    const struct search_program *p;
    struct codec codec;
    struct span charset;
    struct buf raw; /* decoded from its transfer encoding, not converted yet */
    struct buf utf8;
    struct buf folded; /* the end of the piece before, then this piece */
};

struct text_scan *text_scan_new(const struct search_program *p)
{
    struct text_scan *t = xcalloc(1, sizeof *t);
    t->p = p;
    buf_init(&t->raw, LONGEST_LINE * 4);
    buf_init(&t->utf8, FOLDED_LIMIT);
    buf_init(&t->folded, FOLDED_LIMIT * 2);
    return t;
}

void text_scan_free(struct text_scan **t)
{
    if (!*t)
        return;
    buf_free(&(*t)->raw);
    buf_free(&(*t)->utf8);
    buf_free(&(*t)->folded);
    free(*t);
    *t = NULL;
}

void text_scan_begin(struct text_scan *t, const struct mime_part *part)
{
    codec_init(&t->codec, part->encoding);
    t->charset = part->charset;
    buf_reset(&t->raw);
    buf_reset(&t->folded);
}

/* Convert, fold and look through n bytes of raw. */
static void look(struct text_scan *t, size_t n)
{
    size_t keep = t->p->longest ? t->p->longest : 1;
    buf_reset(&t->utf8);
    /* An unknown charset is read by the fallback of charset.h. */
    if (charset_to_utf8(t->charset, span_of(t->raw.p, n), &t->utf8) == ERR_LIMIT && !t->utf8.n)
        return;
    buf_consume(&t->raw, n);
    if (!text_fold(buf_span(&t->utf8), &t->folded) && !t->folded.n)
        return;
    mark(t->p->root, buf_span(&t->folded), true);
    if (t->folded.n > keep)
        buf_consume(&t->folded, t->folded.n - keep);
}

void text_scan_feed(struct text_scan *t, struct span bytes, bool last)
{
    do {
        struct span piece = span_first(bytes, WINDOW);
        bytes = span_drop(bytes, piece.n);
        if (!codec_decode(&t->codec, piece, last && !bytes.n, &t->raw))
            look(t, t->raw.n);
        const char *lf = t->raw.n ? memrchr(t->raw.p, '\n', t->raw.n) : NULL;
        if (last && !bytes.n)
            look(t, t->raw.n);
        else if (t->raw.n >= WINDOW && lf)
            look(t, (size_t)(lf - t->raw.p) + 1);
        else if (t->raw.n >= LONGEST_LINE)
            look(t, t->raw.n);
    } while (bytes.n);
}
