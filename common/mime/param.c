/* Parameters of Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2231), as broken as they come:
 * unquoted blanks, missing quotes, comments, pieces out of order or with gaps.
 * The hard problem is thousands of continuations: the pieces are sorted once, so joining is linear. */
#include "common/mime/charset.h"
#include "common/mime/header_int.h"
#include "common/mime/words.h"
#include <stdlib.h>

struct piece {
    struct span name, value;
    uint32_t section; /* UINT32_MAX: none */
    bool extended;
    size_t order;
};

struct span arena_lower(struct arena *a, struct span s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (!p)
        return SPAN_NONE;
    for (size_t i = 0; i < s.n; i++)
        p[i] = ascii_lower(s.p[i]);
    return (struct span){p, s.n};
}

/* Past a comment that begins at s.p[i], nested ones included (RFC 5322 3.2.2). */
static size_t skip_comment(struct span s, size_t i)
{
    size_t depth = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')' && --depth == 0)
            return i + 1;
    }
    return s.n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

static size_t skip_blanks(struct span s, size_t i)
{
    while (i < s.n && (is_blank(s.p[i]) || s.p[i] == '('))
        i = s.p[i] == '(' ? skip_comment(s, i) : i + 1;
    return i;
}

static struct span quoted(struct arena *a, struct span s, size_t *i)
{
    char *to = arena_alloc(a, s.n - *i + 1);
    size_t n = 0, at = *i + 1;
    for (; at < s.n && s.p[at] != '"'; at++) {
        if (s.p[at] == '\\' && at + 1 < s.n)
            at++;
        if (to && s.p[at] != '\r' && s.p[at] != '\n')
            to[n++] = s.p[at] ? s.p[at] : ' ';
    }
    *i = at < s.n ? at + 1 : s.n;
    return to ? (struct span){to, n} : SPAN_NONE;
}

/* An unquoted value: up to ";", folding taken out. A comment ends it, except in file names, which have
 * "(1)" in them more often than comments. */
static struct span bare(struct arena *a, struct span s, size_t *i, bool file_name)
{
    size_t from = *i, at = from;
    while (at < s.n && s.p[at] != ';' &&
           !(s.p[at] == '(' && !file_name && at > from && is_blank(s.p[at - 1])))
        at++;
    *i = at;
    return header_unfold(a, span_trim(span_of(s.p + from, at - from)));
}

/* "name*1*" into its parts. */
static void piece_name(struct arena *a, struct piece *p, struct span raw)
{
    struct span base = span_first(raw, span_find(raw, '*'));
    struct span rest = span_drop(raw, base.n);
    p->name = arena_lower(a, span_first(base, 200));
    p->section = UINT32_MAX;
    if (rest.n == 0)
        return;
    rest = span_drop(rest, 1);
    if (rest.n == 0 || rest.p[rest.n - 1] == '*') {
        p->extended = true;
        rest.n -= rest.n ? 1 : 0;
    }
    uint32_t v;
    if (rest.n && span_u32(rest, &v) && v < UINT32_MAX - 1)
        p->section = v;
    else if (rest.n)
        p->section = UINT32_MAX - 1; /* no number at all: sorts behind, and is not joined */
}

static size_t skip_to_semicolon(struct span s, size_t i)
{
    i = skip_blanks(s, i);
    while (i < s.n && s.p[i] != ';')
        i++;
    return i;
}

/* One "name=value" at s.p[*i]; false when there is none before the next ";". */
static bool piece_read(struct arena *a, struct span s, size_t *i, struct piece *out)
{
    size_t at = skip_blanks(s, *i), from = at;
    while (at < s.n && s.p[at] != '=' && s.p[at] != ';' && !is_blank(s.p[at]) && s.p[at] != '(')
        at++;
    struct span name = span_of(s.p + from, at - from);
    at = skip_blanks(s, at);
    *i = at;
    if (name.n == 0 || at >= s.n || s.p[at] != '=')
        return false;
    at = skip_blanks(s, at + 1);
    piece_name(a, out, name);
    bool file = span_eq(out->name, SPAN("name")) || span_eq(out->name, SPAN("filename"));
    bool in_quotes = at < s.n && s.p[at] == '"';
    out->value = in_quotes ? quoted(a, s, &at) : bare(a, s, &at, file);
    *i = at;
    return out->name.n > 0;
}

static int piece_order(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    int c = n ? memcmp(a->name.p, b->name.p, n) : 0;
    if (c || a->name.n != b->name.n)
        return c ? c : a->name.n < b->name.n ? -1 : 1;
    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* As it stands in an extended value: letters, digits and a few marks, else percent-encoded. */
static bool put_percent(struct buf *out, struct span s)
{
    bool ok = true;
    for (size_t i = 0; i < s.n && ok; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-._~!#$&+^`{}|", c));
        ok = plain ? buf_add_char(out, (char)c) : buf_addf(out, "%%%02X", c);
    }
    return ok;
}

/* Join the pieces p[0..n-1], sections in a row. */
static struct mime_param *join(struct arena *a, const struct piece *p, size_t n)
{
    struct mime_param *m = arena_alloc(a, sizeof *m);
    if (!m)
        return NULL;
    *m = (struct mime_param){.name = p[0].name, .value = p[0].value, .extended = p[0].extended};
    for (size_t i = 1; i < n; i++)
        m->extended = m->extended || p[i].extended;
    if (n == 1)
        return m;
    struct buf b;
    buf_init(&b, 1 << 20);
    bool ok = !m->extended || p[0].extended || buf_add_str(&b, "''");
    for (size_t i = 0; i < n && ok; i++)
        ok = m->extended && !p[i].extended ? put_percent(&b, p[i].value) : buf_add_span(&b, p[i].value);
    m->value = arena_dup(a, buf_span(&b));
    buf_free(&b);
    return m;
}

/* How many of the n sorted pieces belong to the parameter at the front: a numbered run without a gap, or
 * a single one. */
static size_t run_length(const struct piece *p, size_t n)
{
    size_t k = 1;
    if (p[0].section >= UINT32_MAX - 1)
        return 1;
    while (k < n && span_eq(p[k].name, p[0].name) && p[k].section == p[k - 1].section + 1)
        k++;
    return k;
}

/* What stands before the first ";", comments and blanks around it taken out; *end: where it ends. */
static struct span main_value(struct arena *a, struct span value, size_t *end)
{
    size_t from = skip_blanks(value, 0), to = from;
    while (to < value.n && value.p[to] != ';' && value.p[to] != '(')
        to++;
    size_t after = to < value.n && value.p[to] == '(' ? skip_blanks(value, to) : to;
    *end = after;
    if (after >= value.n || value.p[after] == ';')
        return header_unfold(a, span_of(value.p + from, to - from));
    struct buf b; /* "text (comment) / plain" */
    buf_init(&b, 400);
    size_t at = from;
    while (at < value.n && value.p[at] != ';' && b.n < 300) {
        if (value.p[at] == '(')
            at = skip_comment(value, at);
        else if (!is_blank(value.p[at++]) && !buf_add_char(&b, value.p[at - 1]))
            break;
    }
    struct span got = arena_dup(a, buf_span(&b));
    buf_free(&b);
    *end = at;
    return got;
}

/* The pieces behind the main value, sorted; to be freed. */
static struct piece *pieces_read(struct arena *a, struct span value, size_t i, size_t *out_n)
{
    struct piece *p = NULL;
    size_t cap = 0, n = 0;
    while ((i = skip_to_semicolon(value, i)) < value.n && n < PARAM_LIMIT) {
        i++;
        if (n == cap)
            p = xrealloc(p, (cap = cap ? cap * 2 : 8) * sizeof *p);
        p[n] = (struct piece){.order = n};
        if (piece_read(a, value, &i, &p[n]))
            n++;
    }
    if (n > 1)
        qsort(p, n, sizeof *p, piece_order);
    *out_n = n;
    return p;
}

struct mime_param *params_read(struct arena *a, struct span value, struct span *out_main)
{
    struct mime_param *first = NULL, **tail = &first;
    size_t i, n;
    if (value.n == 0)
        value = SPAN("");
    *out_main = main_value(a, value, &i);
    struct piece *p = pieces_read(a, value, i, &n);
    for (size_t k = 0; k < n;) {
        size_t run = run_length(p + k, n - k);
        bool stray = p[k].section != UINT32_MAX && k > 0 && span_eq(p[k - 1].name, p[k].name);
        struct mime_param *m = stray ? NULL : join(a, p + k, run); /* behind a gap, or given twice */
        if (m) {
            *tail = m;
            tail = &m->next;
        }
        k += run;
    }
    free(p);
    return first;
}

struct span params_raw(const struct mime_param *m, struct span name)
{
    for (; m; m = m->next)
        if (!m->extended && span_eq(m->name, name))
            return m->value;
    return SPAN_NONE;
}

static struct span extended_text(struct arena *a, struct span v)
{
    struct span rest = v;
    struct span charset = span_cut(&rest, '\'');
    if (!rest.p || span_find(rest, '\'') == rest.n)
        return header_text(a, v); /* not of RFC 2231 at all */
    span_cut(&rest, '\'');
    char *to = arena_alloc(a, rest.n + 1);
    size_t n = 0;
    for (size_t i = 0; to && i < rest.n; i++) {
        unsigned hex = 0;
        bool escape = rest.p[i] == '%' && rest.n - i > 2;
        for (size_t k = 1; escape && k <= 2; k++) {
            char d = ascii_lower(rest.p[i + k]);
            escape = (d >= '0' && d <= '9') || (d >= 'a' && d <= 'f');
            hex = hex << 4 | (unsigned)(d <= '9' ? d - '0' : d - 'a' + 10);
        }
        to[n++] = escape ? (char)hex : rest.p[i];
        i += escape ? 2 : 0;
    }
    struct buf b;
    buf_init(&b, n * 6 + 16);
    enum err_code rc = charset_to_utf8(charset, span_of(to, to ? n : 0), &b);
    for (size_t i = 0; i < b.n; i++)
        if ((unsigned char)b.p[i] < ' ' || b.p[i] == 0x7f)
            b.p[i] = ' ';
    struct span got = rc == ERR_LIMIT ? SPAN_NONE : arena_dup(a, buf_span(&b));
    buf_free(&b);
    return got;
}

struct span params_text(struct arena *a, const struct mime_param *list, struct span name)
{
    const struct mime_param *plain = NULL;
    for (const struct mime_param *m = list; m; m = m->next) {
        if (!span_eq(m->name, name))
            continue;
        if (m->extended)
            return extended_text(a, m->value);
        plain = plain ? plain : m;
    }
    return plain ? header_text(a, plain->value) : SPAN_NONE;
}

struct span header_param(struct arena *a, struct span value, struct span name)
{
    struct span unused, low = arena_lower(a, name);
    struct mime_param *list = params_read(a, value, &unused);
    return params_text(a, list, low);
}
