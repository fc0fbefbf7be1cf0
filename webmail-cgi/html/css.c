/* Declarations of style attributes through an allow-list. Its hard problem is that CSS has many spellings of
 * one thing (escapes, comments, strings): a declaration with anything but plain words, numbers, colours,
 * simple strings and known functions is dropped whole. Nothing here can load, move out of its place or cover
 * the page: no url(), no position, no negative margins. */
#include "webmail-cgi/html/html_int.h"
#include <stdlib.h>

static const char *const properties[] = {"background",
                                         "background-color",
                                         "border",
                                         "border-bottom",
                                         "border-bottom-color",
                                         "border-bottom-left-radius",
                                         "border-bottom-right-radius",
                                         "border-bottom-style",
                                         "border-bottom-width",
                                         "border-collapse",
                                         "border-color",
                                         "border-left",
                                         "border-left-color",
                                         "border-left-style",
                                         "border-left-width",
                                         "border-radius",
                                         "border-right",
                                         "border-right-color",
                                         "border-right-style",
                                         "border-right-width",
                                         "border-spacing",
                                         "border-style",
                                         "border-top",
                                         "border-top-color",
                                         "border-top-left-radius",
                                         "border-top-right-radius",
                                         "border-top-style",
                                         "border-top-width",
                                         "border-width",
                                         "box-sizing",
                                         "caption-side",
                                         "clear",
                                         "color",
                                         "direction",
                                         "display",
                                         "empty-cells",
                                         "float",
                                         "font",
                                         "font-family",
                                         "font-size",
                                         "font-style",
                                         "font-variant",
                                         "font-weight",
                                         "height",
                                         "hyphens",
                                         "letter-spacing",
                                         "line-height",
                                         "list-style",
                                         "list-style-type",
                                         "margin",
                                         "margin-bottom",
                                         "margin-left",
                                         "margin-right",
                                         "margin-top",
                                         "max-height",
                                         "max-width",
                                         "min-height",
                                         "min-width",
                                         "opacity",
                                         "overflow",
                                         "overflow-wrap",
                                         "padding",
                                         "padding-bottom",
                                         "padding-left",
                                         "padding-right",
                                         "padding-top",
                                         "table-layout",
                                         "text-align",
                                         "text-decoration",
                                         "text-decoration-color",
                                         "text-decoration-line",
                                         "text-decoration-style",
                                         "text-indent",
                                         "text-overflow",
                                         "text-transform",
                                         "vertical-align",
                                         "visibility",
                                         "white-space",
                                         "width",
                                         "word-break",
                                         "word-spacing",
                                         "word-wrap",
                                         "writing-mode"};
static const char *const functions[] = {"calc", "clamp",           "hsl", "hsla", "linear-gradient", "max",
                                        "min",  "radial-gradient", "rgb", "rgba"};

static int by_name(const void *a, const void *b)
{
    const struct span *s = a;
    const char *name = *(const char *const *)b;
    size_t n = strlen(name);
    int c = strncmp(s->p, name, s->n < n ? s->n : n);
    return c ? c : (s->n > n) - (s->n < n);
}

static bool listed(struct span name, const char *const *list, size_t count)
{
    return name.n && bsearch(&name, list, count, sizeof *list, by_name) != NULL;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || (unsigned char)c >= 0x80;
}

/* Comments become blanks; everything in lower case but for strings. */
static bool tidy(struct span style, struct buf *out)
{
    char quote = 0;
    for (size_t i = 0; i < style.n; i++) {
        char c = style.p[i];
        if (!quote && c == '/' && i + 1 < style.n && style.p[i + 1] == '*') {
            size_t end = span_search(span_drop(style, i + 2), SPAN("*/"));
            i = end + i + 2 >= style.n ? style.n : i + 2 + end + 1;
            c = ' ';
        } else if (!quote && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = 0;
        }
        if (c == '\n' || c == '\r' || c == '\t' || c == '\f')
            c = ' ';
        if (!buf_add_char(out, quote ? c : ascii_lower(c)))
            return false;
    }
    return true;
}

/* The end of the declaration at s: the first ";" outside of strings and brackets. */
static size_t declaration_end(struct span s)
{
    char quote = 0;
    unsigned depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && depth) {
            depth--;
        } else if (c == ';' && !depth) {
            return i;
        }
    }
    return s.n;
}

/* The length of a quoted string of plain characters at the front, 0 when it is not one. */
static size_t string_len(struct span s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == s.p[0])
            return i + 1;
        if (!is_word(s.p[i]) && s.p[i] != ' ' && s.p[i] != ',' && s.p[i] != '.')
            return 0;
    }
    return 0;
}

/* The length of "url(...)" at the front, its bracket closed or not. */
static size_t url_len(struct span s)
{
    size_t i = 4;
    char quote = 0;
    for (; i < s.n; i++) {
        if (quote)
            quote = s.p[i] == quote ? 0 : quote;
        else if (s.p[i] == '"' || s.p[i] == '\'')
            quote = s.p[i];
        else if (s.p[i] == ')')
            return i + 1;
    }
    return s.n;
}

/* Whether the word that begins at i of v is one that no value may hold. */
static bool forbidden(struct span word)
{
    return span_eq(word, SPAN("fixed")) || span_eq(word, SPAN("expression")) ||
           span_eq(word, SPAN("javascript"));
}

/* One blank between words, none at the start of a value (which began at start). */
static bool put_blank(struct buf *out, size_t start)
{
    return out->n == start || out->p[out->n - 1] == ' ' || buf_add_char(out, ' ');
}

/* Copy a value token by token; false: it holds something that is not of the list, or out is full (*full). */
static bool put_value(struct span v, bool background, struct buf *out, unsigned *blocked, bool *full)
{
    unsigned depth = 0;
    size_t start = out->n;
    for (size_t i = 0; i < v.n;) {
        struct span rest = span_drop(v, i);
        size_t n = 1;
        char c = rest.p[0];
        if (span_starts(rest, SPAN("url("))) {
            ++*blocked;
            if (!background)
                return false;
            i += url_len(rest);
            if (!put_blank(out, start)) { /* so that no new word is made of its neighbours */
                *full = true;
                return false;
            }
            continue;
        }
        if (is_word(c)) {
            while (n < rest.n && is_word(rest.p[n]))
                n++;
            struct span word = span_first(rest, n);
            bool call = n < rest.n && rest.p[n] == '(';
            if (forbidden(word) || (call && !listed(word, functions, sizeof functions / sizeof *functions)))
                return false;
        } else if (c == '"' || c == '\'') {
            n = string_len(rest);
        } else if (c == '!') {
            n = span_starts(rest, SPAN("!important")) ? 10 : 0;
        } else if (c == '(') {
            depth++;
        } else if (c == ')') {
            if (!depth--)
                return false;
        } else if (!memchr(" #%,./+*", c, 8)) {
            n = 0;
        }
        if (!n)
            return false;
        if (c == ' ' ? !put_blank(out, start) : !buf_add(out, rest.p, n)) {
            *full = true;
            return false;
        }
        i += n;
    }
    return depth == 0;
}

static bool negative_margin(struct span name, struct span v)
{
    return (span_starts(name, SPAN("margin")) || span_eq(name, SPAN("text-indent"))) &&
           (span_find(v, '-') < v.n || span_find(v, '(') < v.n);
}

bool html_css(struct span style, struct buf *out, unsigned *blocked)
{
    struct buf t;
    buf_init(&t, style.n + 16);
    bool ok = tidy(style, &t), first = true;
    struct span rest = buf_span(&t);
    while (ok && rest.n) {
        size_t end = declaration_end(rest);
        struct span v = span_first(rest, end);
        rest = span_drop(rest, end + 1);
        struct span name = span_trim(span_cut(&v, ':'));
        v = span_trim(v);
        if (span_search(v, SPAN("url(")) < v.n &&
            !listed(name, properties, sizeof properties / sizeof *properties))
            ++*blocked;
        if (!v.n || !listed(name, properties, sizeof properties / sizeof *properties) ||
            negative_margin(name, v))
            continue;
        size_t mark = out->n;
        bool full = false;
        ok = (first || buf_add_char(out, ';')) && buf_add_span(out, name) && buf_add_char(out, ':');
        size_t value_at = out->n;
        if (ok && (!put_value(v, span_eq(name, SPAN("background")), out, blocked, &full) ||
                   span_trim(span_of(out->p + value_at, out->n - value_at)).n == 0)) {
            ok = !full;
            out->n = mark;
        } else {
            while (out->n > value_at && out->p[out->n - 1] == ' ')
                out->n--;
            first = false;
        }
    }
    buf_free(&t);
    return ok;
}
