/* The tokenizer: bytes to start tags, end tags and text, following the states of the WHATWG standard
 * (HTML 13.2.5) so that we see the tags that a browser would see. Its hard problem is that a reader that is
 * smarter or duller than a browser opens a hole in a filter; here it only costs text, because the output is
 * written anew from the tokens. Character references are left to entity.c, meaning to serial.c. */
#include "webmail-cgi/html/html_int.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void html_tokens_init(struct html_tokens *t, struct span in)
{
    *t = (struct html_tokens){.in = in};
}

static void set_name(char out[16], struct span name)
{
    out[0] = 0;
    if (name.n >= 16)
        return;
    for (size_t i = 0; i < name.n; i++)
        out[i] = ascii_lower(name.p[i]);
    out[name.n] = 0;
}

/* The offset behind a comment whose "<!--" ends at i (13.2.5.43 to .51). */
static size_t after_comment(struct span in, size_t i)
{
    if (i < in.n && in.p[i] == '>')
        return i + 1;
    if (i + 1 < in.n && in.p[i] == '-' && in.p[i + 1] == '>')
        return i + 2;
    for (; i < in.n; i++) {
        if (in.p[i] != '-' || i + 2 >= in.n || in.p[i + 1] != '-')
            continue;
        if (in.p[i + 2] == '>')
            return i + 3;
        if (in.p[i + 2] == '!' && i + 3 < in.n && in.p[i + 3] == '>')
            return i + 4;
    }
    return in.n;
}

static size_t after_bogus(struct span in, size_t i)
{
    while (i < in.n && in.p[i] != '>')
        i++;
    return i < in.n ? i + 1 : i;
}

static size_t skip_space(struct span in, size_t i)
{
    while (i < in.n && is_space(in.p[i]))
        i++;
    return i;
}

static struct span attr_value(struct span in, size_t *at)
{
    size_t i = *at;
    if (i < in.n && (in.p[i] == '"' || in.p[i] == '\'')) {
        char quote = in.p[i++];
        size_t from = i;
        while (i < in.n && in.p[i] != quote)
            i++;
        *at = i < in.n ? i + 1 : in.n + 1; /* past the end: end of file inside a tag */
        return span_of(in.p + from, i - from);
    }
    size_t from = i;
    while (i < in.n && !is_space(in.p[i]) && in.p[i] != '>')
        i++;
    *at = i;
    return span_of(in.p + from, i - from);
}

/* Attributes from i on to behind ">". Answers 0 when the file ends inside the tag: there is then no tag. */
static size_t read_attrs(struct span in, size_t i, struct html_token *out)
{
    for (;;) {
        while (i < in.n && (is_space(in.p[i]) || in.p[i] == '/'))
            i++;
        if (i >= in.n)
            return 0;
        if (in.p[i] == '>')
            return i + 1;
        size_t from = i++;
        while (i < in.n && !is_space(in.p[i]) && in.p[i] != '/' && in.p[i] != '>' && in.p[i] != '=')
            i++;
        struct html_attr a = {span_of(in.p + from, i - from), SPAN_NONE};
        i = skip_space(in, i);
        if (i < in.n && in.p[i] == '=') {
            i = skip_space(in, i + 1);
            a.value = attr_value(in, &i);
        }
        if (out->attr_count < HTML_ATTR_LIMIT)
            out->attrs[out->attr_count++] = a;
    }
}

/* A tag whose name starts at i. False: the file ended inside it. */
static bool read_tag(struct html_tokens *t, size_t i, enum html_kind kind, struct html_token *out)
{
    struct span in = t->in;
    size_t from = i;
    while (i < in.n && !is_space(in.p[i]) && in.p[i] != '/' && in.p[i] != '>')
        i++;
    out->kind = kind;
    set_name(out->name, span_of(in.p + from, i - from));
    size_t end = read_attrs(in, i, out);
    t->at = end ? end : in.n;
    return end != 0;
}

/* Elements whose content is not markup (13.2.5.3, .5; scripting is off). */
static bool is_raw(const char *name)
{
    static const char *const raw[] = {"script",  "style",    "xmp",   "iframe",
                                      "noembed", "noframes", "title", "textarea"};
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++)
        if (strcmp(name, raw[i]) == 0)
            return true;
    return false;
}

/* Where the end tag of the raw text element stands, or the end of the file. */
static size_t raw_end(struct span in, size_t i, const char *name)
{
    size_t n = strlen(name);
    for (;;) {
        const char *lt = i < in.n ? memchr(in.p + i, '<', in.n - i) : NULL;
        if (!lt)
            return in.n;
        i = (size_t)(lt - in.p);
        if (in.n - i >= n + 3 && in.p[i + 1] == '/' &&
            span_caseeq(span_of(in.p + i + 2, n), span_of(name, n))) {
            char c = in.p[i + 2 + n];
            if (is_space(c) || c == '/' || c == '>')
                return i;
        }
        i++;
    }
}

static void take_raw(struct html_tokens *t, struct html_token *out)
{
    size_t end = raw_end(t->in, t->at, t->raw);
    out->text = span_of(t->in.p + t->at, end - t->at);
    bool rcdata = strcmp(t->raw, "textarea") == 0;
    bool shown = rcdata || strcmp(t->raw, "xmp") == 0;
    out->kind = rcdata ? HTML_TEXT : HTML_RAW_TEXT;
    if (!shown)
        out->text.n = 0;
    t->at = end;
    t->raw[0] = 0;
}

/* What stands at "<". True: a token was made; false: go on at t->at, or, when nothing was taken, "<" is text.
 */
static bool take_markup(struct html_tokens *t, struct html_token *out)
{
    struct span in = t->in;
    size_t i = t->at;
    char c = i + 1 < in.n ? in.p[i + 1] : 0;
    if (is_alpha(c)) {
        if (!read_tag(t, i + 1, HTML_START, out))
            return false;
        if (is_raw(out->name))
            memcpy(t->raw, out->name, sizeof t->raw);
        t->plaintext = strcmp(out->name, "plaintext") == 0;
        return true;
    }
    if (c == '/' && i + 2 < in.n) {
        if (is_alpha(in.p[i + 2]))
            return read_tag(t, i + 2, HTML_END, out);
        t->at = in.p[i + 2] == '>' ? i + 3 : after_bogus(in, i + 2);
        return false;
    }
    if (c == '!') {
        bool comment = in.n - i >= 4 && in.p[i + 2] == '-' && in.p[i + 3] == '-';
        t->at = comment ? after_comment(in, i + 4) : after_bogus(in, i + 2);
    } else if (c == '?') {
        t->at = after_bogus(in, i + 2);
    }
    return false;
}

void html_next(struct html_tokens *t, struct html_token *out)
{
    out->attr_count = 0;
    out->name[0] = 0;
    if (t->raw[0]) {
        take_raw(t, out);
        return;
    }
    struct span in = t->in;
    size_t from = t->at;
    while (!t->plaintext && t->at < in.n) {
        const char *lt = memchr(in.p + t->at, '<', in.n - t->at);
        size_t at = lt ? (size_t)(lt - in.p) : in.n;
        if (at > from || !lt) { /* the text before it first */
            t->at = at;
            break;
        }
        if (take_markup(t, out))
            return;
        if (t->at == at) { /* a "<" that is text */
            const char *more = memchr(in.p + at + 1, '<', in.n - at - 1);
            t->at = more ? (size_t)(more - in.p) : in.n;
            break;
        }
        from = t->at;
    }
    if (t->plaintext)
        t->at = in.n;
    out->text = span_first(span_drop(in, from), t->at - from);
    out->kind = !out->text.n ? HTML_END_OF_FILE : t->plaintext ? HTML_RAW_TEXT : HTML_TEXT;
}
