/* Encoded words of RFC 2047, read as they come: cut inside a character, unpadded, with blanks inside,
 * inside quoted strings.
 * The hard problem is to stay linear: a search for the "?=" that ends a word runs over the text once,
 * however many "=?" begin one (the place of the next end is remembered).
 * Writing them is header.c. */
#include "common/mime/words.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"

enum { CHARSET_MAX = 60 };

struct word {
    struct span charset, text;
    char encoding; /* 'b' or 'q' */
    size_t n;      /* length of the whole word */
};

struct words {
    struct span text, hint;
    size_t next_end;     /* place of the first "?=" at or after the point of the last search */
    size_t searched;     /* where that search began */
    struct span charset; /* of the bytes that wait */
    struct buf bytes;    /* decoded, not yet converted */
    struct buf *out;
    bool ok;
};

/* The first "?=" at or after from. */
static size_t word_end(struct words *w, size_t from)
{
    if (from < w->searched || from > w->next_end) {
        w->searched = from;
        w->next_end = from + span_search(span_drop(w->text, from), SPAN("?="));
    }
    return w->next_end;
}

static bool word_at(struct words *w, size_t at, struct word *out)
{
    struct span s = span_drop(w->text, at);
    if (!span_starts(s, SPAN("=?")))
        return false;
    struct span cs = span_first(span_drop(s, 2), CHARSET_MAX + 1);
    cs.n = span_find(cs, '?');
    if (cs.n == 0 || cs.n > CHARSET_MAX || s.n < cs.n + 5 || s.p[cs.n + 4] != '?')
        return false;
    char enc = ascii_lower(s.p[cs.n + 3]);
    size_t text_at = at + cs.n + 5, end = word_end(w, text_at);
    if ((enc != 'b' && enc != 'q') || end >= w->text.n)
        return false;
    for (size_t i = 0; i < cs.n; i++)
        if ((unsigned char)cs.p[i] <= ' ')
            return false;
    *out = (struct word){cs, {w->text.p + text_at, end - text_at}, enc, end + 2 - at};
    return true;
}

static void words_flush(struct words *w)
{
    if (w->bytes.n && w->ok)
        w->ok = charset_to_utf8(w->charset, buf_span(&w->bytes), w->out) != ERR_LIMIT;
    buf_reset(&w->bytes);
}

static bool q_decode(struct span in, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < in.n && ok; i++) {
        char c = in.p[i];
        unsigned v = 0;
        bool hex = c == '=' && in.n - i > 2;
        for (size_t k = 1; hex && k <= 2; k++) {
            char d = ascii_lower(in.p[i + k]);
            hex = (d >= '0' && d <= '9') || (d >= 'a' && d <= 'f');
            v = v << 4 | (unsigned)(d <= '9' ? d - '0' : d - 'a' + 10);
        }
        ok = buf_add_char(out, hex ? (char)v : c == '_' ? ' ' : c);
        i += hex ? 2 : 0;
    }
    return ok;
}

static void words_take(struct words *w, const struct word *word)
{
    if (w->bytes.n && !span_caseeq(w->charset, word->charset))
        words_flush(w);
    w->charset = word->charset;
    struct codec c;
    codec_init(&c, MIME_BASE64);
    w->ok = w->ok && (word->encoding == 'b' ? codec_decode(&c, word->text, true, &w->bytes)
                                            : q_decode(word->text, &w->bytes));
}

static void words_raw(struct words *w, struct span s)
{
    words_flush(w);
    if (s.n && w->ok)
        w->ok = charset_to_utf8(utf8_valid(s) ? SPAN("utf-8") : w->hint, s, w->out) != ERR_LIMIT;
}

static bool all_blank(struct span s)
{
    return span_trim(s).n == 0;
}

static void words_run(struct words *w)
{
    size_t raw_at = 0, at = 0;
    bool after_word = false;
    while (at < w->text.n && w->ok) {
        struct word word;
        size_t gap = span_search(span_drop(w->text, at), SPAN("=?"));
        at += gap;
        if (at >= w->text.n)
            break;
        if (!word_at(w, at, &word)) {
            at += 2;
            continue;
        }
        struct span raw = {w->text.p + raw_at, at - raw_at};
        if (!after_word || !all_blank(raw)) /* blanks between words are no text, RFC 2047 6.2 */
            words_raw(w, raw);
        words_take(w, &word);
        after_word = true;
        at += word.n;
        raw_at = at;
    }
    if (w->ok)
        words_raw(w, span_drop(w->text, raw_at));
}

bool words_decode(struct span text, struct span hint, struct buf *out)
{
    size_t first = out->n;
    struct words w = {
        .text = text.n ? text : SPAN(""), .hint = hint, .out = out, .ok = true, .searched = SIZE_MAX};
    buf_init(&w.bytes, text.n + 8);
    words_run(&w);
    buf_free(&w.bytes);
    for (size_t i = first; i < out->n; i++)
        if ((unsigned char)out->p[i] < ' ' || out->p[i] == 0x7f)
            out->p[i] = ' ';
    return w.ok;
}

size_t words_token(struct span s)
{
    struct words w = {.text = s.n ? span_first(s, 1000) : SPAN(""), .searched = SIZE_MAX};
    struct word word;
    if (!word_at(&w, 0, &word))
        return 0;
    for (size_t i = 0; i < word.n; i++)
        if ((unsigned char)s.p[i] <= ' ')
            return 0;
    return word.n;
}
