/* The writer: tokens to a fragment of allowed elements, closed in order. Its hard problem is to be safe
 * without trusting itself to build a browser's tree: nothing that is written can load, run or be read as raw
 * text, however a browser rearranges it, since every element and value is of the lists below. A stack of open
 * elements (bounded) closes what a browser would close, so that the fragment means the same to both. */
#include "webmail-cgi/html/html_int.h"
#include <stdlib.h>

enum { /* what an element is to the stack */
       E_VOID = 1,
       E_BLOCK = 2,  /* closes an open p */
       E_SCOPE = 4,  /* end tags and closings do not reach through it */
       E_CELL = 8,   /* td, th: closed by the next cell */
       E_ROW = 16,   /* tr */
       E_GROUP = 32, /* thead, tbody, tfoot, caption, colgroup */
       E_ITEM = 64,  /* li */
       E_TERM = 128, /* dt, dd */
       E_LIST = 256, /* ul, ol, dl: items are looked for up to here */
       E_LINK = 512, /* a: does not nest */
       E_TABLE = 1024,
};
struct element {
    char name[12];
    unsigned what;
};
static const struct element elements[] = {{"a", E_LINK},
                                          {"abbr", 0},
                                          {"acronym", 0},
                                          {"address", E_BLOCK},
                                          {"article", E_BLOCK},
                                          {"aside", E_BLOCK},
                                          {"b", 0},
                                          {"bdi", 0},
                                          {"bdo", 0},
                                          {"big", 0},
                                          {"blockquote", E_BLOCK},
                                          {"br", E_VOID},
                                          {"caption", E_GROUP | E_SCOPE},
                                          {"center", E_BLOCK},
                                          {"cite", 0},
                                          {"code", 0},
                                          {"col", E_VOID},
                                          {"colgroup", E_GROUP},
                                          {"dd", E_BLOCK | E_TERM},
                                          {"del", 0},
                                          {"dfn", 0},
                                          {"div", E_BLOCK},
                                          {"dl", E_BLOCK | E_LIST},
                                          {"dt", E_BLOCK | E_TERM},
                                          {"em", 0},
                                          {"figcaption", E_BLOCK},
                                          {"figure", E_BLOCK},
                                          {"font", 0},
                                          {"footer", E_BLOCK},
                                          {"h1", E_BLOCK},
                                          {"h2", E_BLOCK},
                                          {"h3", E_BLOCK},
                                          {"h4", E_BLOCK},
                                          {"h5", E_BLOCK},
                                          {"h6", E_BLOCK},
                                          {"header", E_BLOCK},
                                          {"hr", E_BLOCK | E_VOID},
                                          {"i", 0},
                                          {"img", E_VOID},
                                          {"ins", 0},
                                          {"kbd", 0},
                                          {"li", E_BLOCK | E_ITEM},
                                          {"main", E_BLOCK},
                                          {"mark", 0},
                                          {"nav", E_BLOCK},
                                          {"ol", E_BLOCK | E_LIST},
                                          {"p", E_BLOCK},
                                          {"pre", E_BLOCK},
                                          {"q", 0},
                                          {"s", 0},
                                          {"samp", 0},
                                          {"section", E_BLOCK},
                                          {"small", 0},
                                          {"span", 0},
                                          {"strike", 0},
                                          {"strong", 0},
                                          {"sub", 0},
                                          {"sup", 0},
                                          {"table", E_BLOCK | E_SCOPE | E_TABLE},
                                          {"tbody", E_GROUP},
                                          {"td", E_SCOPE | E_CELL},
                                          {"tfoot", E_GROUP},
                                          {"th", E_SCOPE | E_CELL},
                                          {"thead", E_GROUP},
                                          {"time", 0},
                                          {"tr", E_ROW},
                                          {"tt", 0},
                                          {"u", 0},
                                          {"ul", E_BLOCK | E_LIST},
                                          {"var", 0},
                                          {"wbr", E_VOID}};

enum value { V_TEXT, V_LENGTH, V_NUMBER, V_WORD, V_COLOUR, V_STYLE, V_LINK, V_IMAGE, V_LOAD };
struct attribute {
    char name[12];
    char on[8]; /* "" everywhere */
    enum value value;
};
static const struct attribute attributes[] = {{"align", "", V_WORD},
                                              {"alt", "img", V_TEXT},
                                              {"aria-hidden", "", V_WORD},
                                              {"aria-label", "", V_TEXT},
                                              {"background", "", V_LOAD},
                                              {"bgcolor", "", V_COLOUR},
                                              {"border", "", V_LENGTH},
                                              {"cellpadding", "table", V_LENGTH},
                                              {"cellspacing", "table", V_LENGTH},
                                              {"color", "font", V_COLOUR},
                                              {"colspan", "", V_NUMBER},
                                              {"dir", "", V_WORD},
                                              {"face", "font", V_TEXT},
                                              {"height", "", V_LENGTH},
                                              {"href", "a", V_LINK},
                                              {"lang", "", V_WORD},
                                              {"nowrap", "", V_WORD},
                                              {"reversed", "ol", V_WORD},
                                              {"role", "", V_WORD},
                                              {"rowspan", "", V_NUMBER},
                                              {"scope", "", V_WORD},
                                              {"size", "", V_LENGTH},
                                              {"src", "img", V_IMAGE},
                                              {"start", "ol", V_LENGTH},
                                              {"style", "", V_STYLE},
                                              {"summary", "table", V_TEXT},
                                              {"title", "", V_TEXT},
                                              {"type", "", V_WORD},
                                              {"valign", "", V_WORD},
                                              {"value", "li", V_LENGTH},
                                              {"width", "", V_LENGTH}};
enum { ATTR_COUNT = sizeof attributes / sizeof *attributes };

struct writer {
    const struct html_opts *opts;
    struct html_result *result;
    struct buf *out, tmp, value;
    const struct element *stack[HTML_DEPTH_LIMIT];
    size_t depth;
    bool full;
};

static int element_cmp(const void *key, const void *row)
{
    return strcmp(key, ((const struct element *)row)->name);
}

static const struct element *element_named(const char *name)
{
    return bsearch(name, elements, sizeof elements / sizeof *elements, sizeof *elements, element_cmp);
}

static int attribute_cmp(const void *key, const void *row)
{
    return strcmp(key, ((const struct attribute *)row)->name);
}

static const struct attribute *attribute_named(struct span name, const char *on)
{
    char low[12];
    if (name.n >= sizeof low)
        return NULL;
    for (size_t i = 0; i < name.n; i++)
        low[i] = ascii_lower(name.p[i]);
    low[name.n] = 0;
    const struct attribute *a = bsearch(low, attributes, ATTR_COUNT, sizeof *attributes, attribute_cmp);
    return a && (!a->on[0] || strcmp(a->on, on) == 0) ? a : NULL;
}

static void lit(struct writer *w, const char *s)
{
    w->full = w->full || !buf_add_str(w->out, s);
}

static void quoted(struct writer *w, struct span s)
{
    w->full = w->full || !html_escape(s, w->out);
}

/* ------------------------------------------------------------------------------------------- values */

static bool all_of(struct span s, const char *more, size_t limit)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool an = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!an && (!c || !strchr(more, c)))
            return false;
    }
    return s.n <= limit;
}

static bool is_length(struct span s)
{
    if (s.n && s.p[s.n - 1] == '%')
        s.n--;
    else if (span_ends(s, SPAN("px")))
        s.n -= 2;
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '.' &&
            !(i == 0 && (s.p[i] == '+' || s.p[i] == '-')))
            return false;
    return s.n > 0 && s.n < 9;
}

/* Blanks and controls that a browser leaves out of an address before it looks at the scheme. */
static void url_tidy(struct buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        if ((unsigned char)b->p[i] > 0x20 && b->p[i] != '\\')
            b->p[n++] = b->p[i];
    b->n = n;
}

static bool is_link(struct span s)
{
    return span_casestarts(s, SPAN("http://")) || span_casestarts(s, SPAN("https://")) ||
           span_casestarts(s, SPAN("mailto:")) || span_casestarts(s, SPAN("tel:"));
}

/* data: pictures of the four kinds that hold no markup. */
static bool is_data_image(struct span s)
{
    static const char *const kinds[] = {"data:image/png;base64,", "data:image/jpeg;base64,",
                                        "data:image/gif;base64,", "data:image/webp;base64,"};
    for (size_t i = 0; i < 4; i++)
        if (span_casestarts(s, span_str(kinds[i])))
            return all_of(span_drop(s, strlen(kinds[i])), "+/=", SIZE_MAX);
    return false;
}

/* The picture's address in w->value, or false when it is not to be shown. */
static bool image_value(struct writer *w)
{
    url_tidy(&w->value);
    struct span s = buf_span(&w->value);
    if (is_data_image(s))
        return true;
    if (!span_casestarts(s, SPAN("cid:"))) {
        w->result->blocked += s.n > 0;
        return false;
    }
    if (!w->opts->image)
        return false;
    buf_reset(&w->tmp);
    if (!w->opts->image(w->opts->arg, span_drop(s, 4), &w->tmp) || !is_data_image(buf_span(&w->tmp)))
        return false;
    buf_reset(&w->value);
    w->full = w->full || !buf_add_span(&w->value, buf_span(&w->tmp));
    return true;
}

static bool style_value(struct writer *w)
{
    buf_reset(&w->tmp);
    w->full = w->full || !html_css(buf_span(&w->value), &w->tmp, &w->result->blocked);
    buf_reset(&w->value);
    w->full = w->full || !buf_add_span(&w->value, buf_span(&w->tmp));
    return w->value.n > 0;
}

/* Judge w->value, decoded, and bring it into the form in which it is written. */
static bool good_value(struct writer *w, enum value kind)
{
    struct span s = buf_span(&w->value);
    switch (kind) {
    case V_TEXT:
        return s.n <= 2000;
    case V_LENGTH:
        return is_length(s);
    case V_NUMBER:
        return is_length(s) && all_of(s, "", 4);
    case V_WORD:
        return all_of(s, "-", 32);
    case V_COLOUR:
        return s.n && all_of(s, "#", 32);
    case V_STYLE:
        return style_value(w);
    case V_LINK:
        url_tidy(&w->value);
        return is_link(buf_span(&w->value));
    case V_IMAGE:
        return image_value(w);
    case V_LOAD:
        w->result->blocked += s.n > 0;
        return false;
    }
    return false;
}

static void put_attributes(struct writer *w, const struct html_token *t, const char *name)
{
    bool seen[ATTR_COUNT] = {false}, link = false;
    for (size_t i = 0; i < t->attr_count; i++) {
        const struct attribute *a = attribute_named(t->attrs[i].name, name);
        if (!a || seen[a - attributes])
            continue;
        seen[a - attributes] = true;
        buf_reset(&w->value);
        w->full = w->full || !html_decode(t->attrs[i].value, true, &w->value);
        if (!good_value(w, a->value))
            continue;
        lit(w, " ");
        lit(w, a->name);
        lit(w, "=\"");
        quoted(w, buf_span(&w->value));
        lit(w, "\"");
        link = link || a->value == V_LINK;
    }
    if (link)
        lit(w, " target=\"_blank\" rel=\"noopener noreferrer nofollow\"");
}

/* -------------------------------------------------------------------------------------------- stack */

static void pop_to(struct writer *w, size_t depth)
{
    while (w->depth > depth) {
        lit(w, "</");
        lit(w, w->stack[--w->depth]->name);
        lit(w, ">");
    }
}

/* Close the nearest open element that is one of what, unless one of stop stands before it. */
static void close_nearest(struct writer *w, unsigned what, unsigned stop)
{
    for (size_t i = w->depth; i-- > 0;) {
        if (w->stack[i]->what & what) {
            pop_to(w, i);
            return;
        }
        if (w->stack[i]->what & stop)
            return;
    }
}

/* Close all that stands inside the nearest one of what. */
static void close_inside(struct writer *w, unsigned what)
{
    for (size_t i = w->depth; i-- > 0;)
        if (w->stack[i]->what & what) {
            pop_to(w, i + 1);
            return;
        }
}

static void close_p(struct writer *w)
{
    for (size_t i = w->depth; i-- > 0 && !(w->stack[i]->what & E_SCOPE);)
        if (strcmp(w->stack[i]->name, "p") == 0) {
            pop_to(w, i);
            return;
        }
}

/* What a browser closes before it opens e. */
static void close_implied(struct writer *w, const struct element *e)
{
    if (e->what & E_ITEM)
        close_nearest(w, E_ITEM, E_LIST | E_SCOPE);
    if (e->what & E_TERM)
        close_nearest(w, E_TERM, E_LIST | E_SCOPE);
    if (e->what & E_LINK)
        close_nearest(w, E_LINK, E_SCOPE);
    if (e->what & E_CELL)
        close_inside(w, E_TABLE | E_GROUP | E_ROW);
    if (e->what & E_ROW)
        close_inside(w, E_TABLE | E_GROUP);
    if (e->what & E_GROUP)
        close_inside(w, E_TABLE);
    if (e->what & E_BLOCK)
        close_p(w);
}

static bool in_table(const struct writer *w)
{
    for (size_t i = 0; i < w->depth; i++)
        if (w->stack[i]->what & E_TABLE)
            return true;
    return false;
}

static void on_start(struct writer *w, const struct html_token *t)
{
    const char *name = strcmp(t->name, "body") == 0 ? "div" : strcmp(t->name, "image") == 0 ? "img" : t->name;
    const struct element *e = element_named(name);
    if (!e) {
        for (size_t i = 0; i < t->attr_count; i++) { /* a remote load that is gone is worth telling */
            struct span n = t->attrs[i].name, v = t->attrs[i].value;
            if ((span_caseeq(n, SPAN("src")) || span_caseeq(n, SPAN("poster"))) &&
                span_casestarts(v, SPAN("http")))
                w->result->blocked++;
        }
        return;
    }
    if ((e->what & (E_CELL | E_ROW | E_GROUP)) && !in_table(w))
        return;
    close_implied(w, e);
    if (!(e->what & E_VOID) && w->depth == HTML_DEPTH_LIMIT)
        return;
    lit(w, "<");
    lit(w, e->name);
    put_attributes(w, t, e->name);
    lit(w, ">");
    if (!(e->what & E_VOID))
        w->stack[w->depth++] = e;
}

static void on_end(struct writer *w, const struct html_token *t)
{
    const struct element *e = element_named(t->name);
    if (!e)
        return;
    if (e->what & E_VOID) {
        if (strcmp(e->name, "br") == 0)
            lit(w, "<br>");
        return;
    }
    bool tabular = (e->what & (E_CELL | E_ROW | E_GROUP | E_TABLE)) != 0;
    for (size_t i = w->depth; i-- > 0;) {
        if (w->stack[i] == e) {
            pop_to(w, i);
            return;
        }
        if (w->stack[i]->what & (tabular ? E_TABLE : E_SCOPE))
            return;
    }
}

static void on_text(struct writer *w, const struct html_token *t)
{
    buf_reset(&w->value);
    if (t->kind == HTML_RAW_TEXT) { /* literal, but made valid: through the quoting and back */
        buf_reset(&w->tmp);
        w->full =
            w->full || !html_escape(t->text, &w->tmp) || !html_decode(buf_span(&w->tmp), false, &w->value);
    } else {
        w->full = w->full || !html_decode(t->text, false, &w->value);
    }
    quoted(w, buf_span(&w->value));
}

enum err_code html_serialise(struct span utf8, const struct html_opts *opts, struct buf *out,
                             struct html_result *result)
{
    static const struct html_opts none = {NULL, NULL};
    struct html_tokens in;
    struct html_token *t = xmalloc(sizeof *t);
    struct writer w = {.opts = opts ? opts : &none, .result = result, .out = out};
    *result = (struct html_result){0};
    buf_init(&w.tmp, out->limit);
    buf_init(&w.value, out->limit);
    html_tokens_init(&in, utf8);
    for (html_next(&in, t); t->kind != HTML_END_OF_FILE && !w.full; html_next(&in, t)) {
        if (t->kind == HTML_START)
            on_start(&w, t);
        else if (t->kind == HTML_END)
            on_end(&w, t);
        else
            on_text(&w, t);
    }
    pop_to(&w, 0);
    buf_free(&w.tmp);
    buf_free(&w.value);
    free(t);
    return w.full ? ERR_LIMIT : ERR_OK;
}
