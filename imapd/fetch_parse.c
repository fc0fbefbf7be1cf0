/* The arguments of FETCH (RFC 3501 9 fetch, RFC 7162, RFC 8474, RFC 8970). A table of items; sections have
 * their own grammar. The one hard point is the label: the answer repeats the section as it was asked, but in
 * our own spelling, for a field name may have come as a literal. */
#include "imapd/fetch.h"

static const struct {
    const char *name;
    enum fetch_kind kind;
} items_table[] = {{"FLAGS", FI_FLAGS},
                   {"UID", FI_UID},
                   {"INTERNALDATE", FI_INTERNALDATE},
                   {"RFC822.SIZE", FI_SIZE},
                   {"MODSEQ", FI_MODSEQ},
                   {"EMAILID", FI_EMAILID},
                   {"THREADID", FI_THREADID},
                   {"SAVEDATE", FI_SAVEDATE},
                   {"ENVELOPE", FI_ENVELOPE},
                   {"BODY", FI_BODY},
                   {"BODYSTRUCTURE", FI_BODYSTRUCTURE},
                   {"PREVIEW", FI_PREVIEW}};

static const struct {
    const char *name;
    enum fetch_what what;
    bool peek;
} rfc822_table[] = {
    {"RFC822", SEC_ALL, false}, {"RFC822.HEADER", SEC_HEADER, true}, {"RFC822.TEXT", SEC_TEXT, false}};

static struct fetch_item *add(struct fetch_wants *w, enum fetch_kind kind)
{
    if (w->item_count == FETCH_ITEMS)
        return NULL;
    struct fetch_item *it = &w->items[w->item_count++];
    *it = (struct fetch_item){.kind = kind};
    w->has_flags = w->has_flags || kind == FI_FLAGS;
    w->has_uid = w->has_uid || kind == FI_UID;
    w->has_modseq = w->has_modseq || kind == FI_MODSEQ;
    w->needs_meta = w->needs_meta || (kind >= FI_ENVELOPE && kind != FI_SECTION);
    return it;
}

static struct span word(struct cursor *c)
{
    size_t n = 0;
    while (n < c->s.n && ((c->s.p[n] >= '0' && c->s.p[n] <= '9') || c->s.p[n] == '.' ||
                          (ascii_lower(c->s.p[n]) >= 'a' && ascii_lower(c->s.p[n]) <= 'z')))
        n++;
    struct span w = span_first(c->s, n);
    c->s = span_drop(c->s, n);
    return w;
}

/* -- sections -- */

/* "1.2" off the front of s, with the point behind it when more follows. */
static bool part_number(struct span *s, struct span *out)
{
    size_t n = 0, end = 0;
    bool digits = false;
    while (n < s->n) {
        char ch = s->p[n];
        if (ch >= '0' && ch <= '9') {
            if (!digits && ch == '0')
                return false;
            digits = true;
            end = ++n;
        } else if (ch == '.' && digits) {
            digits = false;
            n++;
        } else {
            break;
        }
    }
    *out = span_first(*s, end);
    *s = span_drop(*s, n);
    if (!end)
        return n == 0;
    return n == end ? s->n == 0 : s->n > 0; /* "1." needs a word, "1X" is none */
}

static bool section_word(struct span w, struct fetch_item *it)
{
    static const struct {
        const char *name;
        enum fetch_what what;
    } words[] = {{"HEADER", SEC_HEADER},
                 {"HEADER.FIELDS", SEC_FIELDS},
                 {"HEADER.FIELDS.NOT", SEC_FIELDS_NOT},
                 {"TEXT", SEC_TEXT},
                 {"MIME", SEC_MIME}};
    if (!w.n)
        return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (span_caseeq(w, span_str(words[i].name))) {
            it->what = words[i].what;
            return it->what != SEC_MIME || it->part.n;
        }
    return false;
}

static bool field_names(struct cursor *c, struct fetch_item *it)
{
    struct span *names = arena_array(c->a, FETCH_FIELDS, sizeof *names);
    if (!names || !cur_sp(c) || !cur_char(c, '('))
        return false;
    do {
        if (it->field_count == FETCH_FIELDS || !cur_astring(c, &names[it->field_count]))
            return false;
        it->field_count++;
    } while (cur_sp(c));
    it->fields = names;
    return cur_char(c, ')');
}

static bool add_astring(struct buf *b, struct span s)
{
    bool plain = s.n > 0;
    for (size_t i = 0; i < s.n; i++)
        plain = plain && is_astring_char(s.p[i]);
    if (plain)
        return buf_add_span(b, s);
    return buf_addf(b, "{%zu}\r\n", s.n) && buf_add_span(b, s);
}

static bool make_label(struct cursor *c, struct fetch_item *it)
{
    static const char *const words[] = {"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"};
    struct buf b;
    buf_init(&b, 256 << 10);
    bool ok = buf_add_str(&b, "BODY[") && buf_add_span(&b, it->part) &&
              (!it->part.n || it->what == SEC_ALL || buf_add_char(&b, '.')) &&
              buf_add_str(&b, words[it->what]);
    for (size_t i = 0; i < it->field_count && ok; i++)
        ok = buf_add_str(&b, i ? " " : " (") && add_astring(&b, it->fields[i]);
    if (it->field_count)
        ok = ok && buf_add_char(&b, ')');
    ok = ok && buf_add_char(&b, ']');
    if (it->partial)
        ok = ok && buf_addf(&b, "<%llu>", (unsigned long long)it->first);
    it->label = ok ? arena_dup(c->a, buf_span(&b)) : SPAN_NONE;
    buf_free(&b);
    return it->label.p;
}

static bool partial(struct cursor *c, struct fetch_item *it)
{
    if (!cur_char(c, '<'))
        return true;
    it->partial = true;
    return cur_u64(c, &it->first) && cur_char(c, '.') && cur_u64(c, &it->want) && it->want &&
           cur_char(c, '>');
}

static bool section(struct cursor *c, struct fetch_wants *w, bool peek)
{
    struct fetch_item *it = add(w, FI_SECTION);
    if (!it)
        return false;
    struct span text = word(c);
    if (!part_number(&text, &it->part) || !section_word(text, it))
        return false;
    if ((it->what == SEC_FIELDS || it->what == SEC_FIELDS_NOT) && !field_names(c, it))
        return false;
    it->peek = peek;
    w->has_sections = true;
    w->sets_seen = w->sets_seen || !peek;
    w->needs_meta = w->needs_meta || it->part.n || it->what != SEC_ALL;
    return cur_char(c, ']') && partial(c, it) && make_label(c, it);
}

/* -- items -- */

static bool rfc822(struct fetch_wants *w, struct span name)
{
    for (size_t i = 0; i < sizeof rfc822_table / sizeof *rfc822_table; i++) {
        if (!span_caseeq(name, span_str(rfc822_table[i].name)))
            continue;
        struct fetch_item *it = add(w, FI_SECTION);
        if (!it)
            return false;
        it->what = rfc822_table[i].what;
        it->peek = rfc822_table[i].peek;
        it->label = span_str(rfc822_table[i].name);
        w->has_sections = true;
        w->sets_seen = w->sets_seen || !it->peek;
        w->needs_meta = w->needs_meta || it->what != SEC_ALL;
        return true;
    }
    return false;
}

/* "PREVIEW (LAZY)": ours is always at hand (RFC 8970 3.2). */
static bool preview_modifier(struct cursor *c)
{
    struct cursor look = *c;
    if (!cur_sp(&look) || !cur_char(&look, '(') || !cur_word(&look, "LAZY"))
        return true;
    *c = look;
    return cur_char(c, ')');
}

static bool one_item(struct cursor *c, struct fetch_wants *w)
{
    struct span name = word(c);
    if (cur_char(c, '[')) {
        if (span_caseeq(name, SPAN("BODY")))
            return section(c, w, false);
        return span_caseeq(name, SPAN("BODY.PEEK")) && section(c, w, true);
    }
    for (size_t i = 0; i < sizeof items_table / sizeof *items_table; i++)
        if (span_caseeq(name, span_str(items_table[i].name)))
            return add(w, items_table[i].kind) && (items_table[i].kind != FI_PREVIEW || preview_modifier(c));
    return rfc822(w, name);
}

static bool macro(struct cursor *c, struct fetch_wants *w)
{
    static const struct {
        const char *name;
        unsigned count;
    } macros[] = {{"FAST", 3}, {"ALL", 4}, {"FULL", 5}};
    static const enum fetch_kind kinds[] = {FI_FLAGS, FI_INTERNALDATE, FI_SIZE, FI_ENVELOPE, FI_BODY};
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) {
        if (!cur_word(c, macros[i].name))
            continue;
        for (unsigned k = 0; k < macros[i].count; k++)
            if (!add(w, kinds[k]))
                return false;
        return true;
    }
    return false;
}

static bool items(struct cursor *c, struct fetch_wants *w)
{
    if (!cur_char(c, '('))
        return macro(c, w) || one_item(c, w);
    do { /* "(FULL)" is not of the grammar, and is sent */
        if (!macro(c, w) && !one_item(c, w))
            return false;
    } while (cur_sp(c));
    return cur_char(c, ')');
}

static bool modifiers(struct imap *s, struct cursor *c, struct fetch_wants *w)
{
    if (!cur_sp(c) || c->s.n == 0)
        return cur_end(c);
    w->changed_since_given = true;
    s->cmd.condstore = true;
    if (!cur_char(c, '(') || !cur_word(c, "CHANGEDSINCE") || !cur_sp(c) || !cur_u64(c, &w->changed_since) ||
        !cur_char(c, ')'))
        return false;
    return (w->has_modseq || add(w, FI_MODSEQ)) && cur_end(c);
}

bool fetch_parse(struct imap *s, struct cursor *c, struct fetch_wants *w)
{
    if (!cur_sp(c) || !seqset_parse(c, &w->set) || !cur_sp(c))
        return false;
    if (!items(c, w) || !modifiers(s, c, w))
        return false;
    s->cmd.condstore = s->cmd.condstore || w->has_modseq;
    return true;
}
