/* The arguments of SEARCH (RFC 3501 6.4.4, ESEARCH RFC 4731, WITHIN RFC 5032, SEARCHRES RFC 5182, CONDSTORE
 * RFC 7162): a table of keys becomes a tree. The hard problem is bounding it: depth and number of keys are
 * limited. Texts are converted from the command's charset and folded here, once. */
#include "common/mime/charset.h"
#include "common/mime/date.h"
#include "imapd/search.h"

struct parse {
    struct imap *s;
    struct cursor *c;
    struct search_program *p;
    struct span charset;
    unsigned depth;
};

enum arg { A_NONE, A_TEXT, A_DATE, A_NUMBER, A_KEYWORD, A_HEADER, A_SET, A_ID, A_MODSEQ };

static const struct row {
    const char *name;
    enum search_kind kind;
    enum arg arg;
    bool on;
    uint32_t flag;
} rows[] = {{"ALL", SK_ALL, A_NONE, true, 0},
            {"ANSWERED", SK_FLAG, A_NONE, true, STORE_ANSWERED},
            {"UNANSWERED", SK_FLAG, A_NONE, false, STORE_ANSWERED},
            {"DELETED", SK_FLAG, A_NONE, true, STORE_DELETED},
            {"UNDELETED", SK_FLAG, A_NONE, false, STORE_DELETED},
            {"DRAFT", SK_FLAG, A_NONE, true, STORE_DRAFT},
            {"UNDRAFT", SK_FLAG, A_NONE, false, STORE_DRAFT},
            {"FLAGGED", SK_FLAG, A_NONE, true, STORE_FLAGGED},
            {"UNFLAGGED", SK_FLAG, A_NONE, false, STORE_FLAGGED},
            {"SEEN", SK_FLAG, A_NONE, true, STORE_SEEN},
            {"UNSEEN", SK_FLAG, A_NONE, false, STORE_SEEN},
            {"RECENT", SK_RECENT, A_NONE, true, 0},
            {"OLD", SK_RECENT, A_NONE, false, 0},
            {"NEW", SK_NEW, A_NONE, true, 0},
            {"KEYWORD", SK_KEYWORD, A_KEYWORD, true, 0},
            {"UNKEYWORD", SK_KEYWORD, A_KEYWORD, false, 0},
            {"BEFORE", SK_BEFORE, A_DATE, true, 0},
            {"ON", SK_ON, A_DATE, true, 0},
            {"SINCE", SK_SINCE, A_DATE, true, 0},
            {"SAVEDBEFORE", SK_SAVEDBEFORE, A_DATE, true, 0},
            {"SAVEDON", SK_SAVEDON, A_DATE, true, 0},
            {"SAVEDSINCE", SK_SAVEDSINCE, A_DATE, true, 0},
            {"SAVEDATESUPPORTED", SK_ALL, A_NONE, true, 0},
            {"SENTBEFORE", SK_SENTBEFORE, A_DATE, true, 0},
            {"SENTON", SK_SENTON, A_DATE, true, 0},
            {"SENTSINCE", SK_SENTSINCE, A_DATE, true, 0},
            {"LARGER", SK_LARGER, A_NUMBER, true, 0},
            {"SMALLER", SK_SMALLER, A_NUMBER, true, 0},
            {"OLDER", SK_OLDER, A_NUMBER, true, 0},
            {"YOUNGER", SK_YOUNGER, A_NUMBER, true, 0},
            {"SUBJECT", SK_SUBJECT, A_TEXT, true, 0},
            {"FROM", SK_FROM, A_TEXT, true, 0},
            {"TO", SK_TO, A_TEXT, true, 0},
            {"CC", SK_CC, A_TEXT, true, 0},
            {"BCC", SK_BCC, A_TEXT, true, 0},
            {"TEXT", SK_TEXT, A_TEXT, true, 0},
            {"BODY", SK_BODY, A_TEXT, true, 0},
            {"HEADER", SK_HEADER, A_HEADER, true, 0},
            {"UID", SK_UID, A_SET, true, 0},
            {"EMAILID", SK_EMAILID, A_ID, true, 0},
            {"THREADID", SK_THREADID, A_ID, true, 0},
            {"MODSEQ", SK_MODSEQ, A_MODSEQ, true, 0}};

static bool key(struct parse *p, struct search_key **out);

static struct search_key *node(struct parse *p, enum search_kind kind)
{
    struct search_key *k = p->p->key_count++ < SEARCH_KEYS ? arena_alloc(p->c->a, sizeof *k) : NULL;
    if (k)
        k->kind = kind;
    return k;
}

static bool text(struct parse *p, struct search_key *k)
{
    struct span raw;
    struct buf utf8, folded;
    if (!cur_sp(p->c) || !cur_astring(p->c, &raw))
        return false;
    buf_init(&utf8, 1 << 20);
    buf_init(&folded, 1 << 20);
    bool ok = charset_to_utf8(p->charset, raw, &utf8) != ERR_LIMIT && text_fold(buf_span(&utf8), &folded);
    k->text = ok ? arena_dup(p->c->a, buf_span(&folded)) : SPAN_NONE;
    if (k->text.n > p->p->longest)
        p->p->longest = k->text.n;
    buf_free(&utf8);
    buf_free(&folded);
    return k->text.p;
}

static bool date(struct parse *p, struct search_key *k)
{
    struct span d;
    return cur_sp(p->c) && cur_astring(p->c, &d) && date_imap_day(d, &k->number);
}

static bool number(struct parse *p, struct search_key *k)
{
    uint64_t n;
    if (!cur_sp(p->c) || !cur_u64(p->c, &n) || n > INT64_MAX)
        return false;
    k->number = (int64_t)n;
    return true;
}

/* MODSEQ 5, or MODSEQ "/flags/\\Seen" all 5: modseqs are kept by message, so the entry says nothing more. */
static bool modseq(struct parse *p, struct search_key *k)
{
    struct span entry, type;
    p->s->cmd.condstore = p->p->uses_modseq = true;
    struct cursor look = *p->c;
    if (cur_sp(&look) && cur_string(&look, &entry)) {
        if (!cur_sp(&look) || !cur_atom(&look, &type))
            return false;
        *p->c = look;
    }
    return number(p, k);
}

static bool argument(struct parse *p, const struct row *row, struct search_key *k)
{
    switch (row->arg) {
    case A_NONE:
        return true;
    case A_TEXT:
        return text(p, k);
    case A_DATE:
        return date(p, k);
    case A_NUMBER:
        return number(p, k);
    case A_KEYWORD:
    case A_ID:
        return cur_sp(p->c) && cur_astring(p->c, &k->text);
    case A_HEADER:
        return cur_sp(p->c) && cur_astring(p->c, &k->field) && text(p, k);
    case A_SET:
        return cur_sp(p->c) && seqset_parse(p->c, &k->set);
    case A_MODSEQ:
        return modseq(p, k);
    }
    return false;
}

/* Keys behind one another until end (or the end of the command). */
static bool list(struct parse *p, struct search_key **out)
{
    struct search_key *all = node(p, SK_AND), **tail;
    if (!all || p->depth++ == SEARCH_DEPTH)
        return false;
    tail = &all->child;
    do {
        if (!key(p, tail))
            return false;
        tail = &(*tail)->next;
    } while (cur_sp(p->c) && p->c->s.n && !cur_peek(p->c, ')'));
    p->depth--;
    *out = all;
    return true;
}

static bool operators(struct parse *p, struct search_key **out, unsigned operands, enum search_kind kind)
{
    struct search_key *k = node(p, kind), **tail;
    if (!k || p->depth++ == SEARCH_DEPTH)
        return false;
    tail = &k->child;
    for (unsigned i = 0; i < operands; i++) {
        if (!cur_sp(p->c) || !key(p, tail))
            return false;
        tail = &(*tail)->next;
    }
    p->depth--;
    *out = k;
    return true;
}

static bool key(struct parse *p, struct search_key **out)
{
    struct cursor *c = p->c;
    if (cur_char(c, '(')) { /* blanks inside are not of the grammar, and are sent */
        while (cur_char(c, ' '))
            ;
        return list(p, out) && cur_char(c, ')');
    }
    if (c->s.n && strchr("0123456789*$", c->s.p[0]) && c->s.p[0]) {
        *out = node(p, SK_SEQ);
        return *out && seqset_parse(c, &(*out)->set);
    }
    if (cur_word(c, "NOT"))
        return operators(p, out, 1, SK_NOT);
    if (cur_word(c, "OR"))
        return operators(p, out, 2, SK_OR);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!cur_word(c, rows[i].name))
            continue;
        *out = node(p, rows[i].kind);
        if (!*out)
            return false;
        (*out)->on = rows[i].on;
        (*out)->number = rows[i].flag;
        return argument(p, &rows[i], *out);
    }
    return false;
}

static bool returns(struct parse *p)
{
    static const struct {
        const char *name;
        unsigned bit;
    } words[] = {{"MIN", RETURN_MIN},
                 {"MAX", RETURN_MAX},
                 {"ALL", RETURN_ALL},
                 {"COUNT", RETURN_COUNT},
                 {"SAVE", RETURN_SAVE}};
    struct cursor look = *p->c;
    if (!cur_word(&look, "RETURN"))
        return true;
    *p->c = look;
    p->p->extended = true;
    if (!cur_sp(p->c) || !cur_char(p->c, '('))
        return false;
    while (!cur_char(p->c, ')')) {
        unsigned bit = 0;
        for (size_t i = 0; i < 5 && !bit; i++)
            if (cur_word(p->c, words[i].name))
                bit = words[i].bit;
        if (!bit || (!cur_peek(p->c, ')') && !cur_sp(p->c)))
            return false;
        p->p->returns |= bit;
    }
    if (!p->p->returns)
        p->p->returns = RETURN_ALL;
    return cur_sp(p->c);
}

static bool charset(struct parse *p)
{
    if (!cur_word(p->c, "CHARSET"))
        return true;
    if (!cur_sp(p->c) || !cur_astring(p->c, &p->charset) || !cur_sp(p->c))
        return false;
    p->p->bad_charset = !charset_known(p->charset);
    return true;
}

bool search_parse(struct imap *s, struct cursor *c, struct search_program *out)
{
    struct parse p = {.s = s, .c = c, .p = out, .charset = SPAN("UTF-8")};
    *out = (struct search_program){0};
    if (!cur_sp(c) || !returns(&p) || !charset(&p))
        return false;
    if (out->bad_charset)
        return true; /* what its texts say cannot be known */
    return list(&p, &out->root) && cur_end(c);
}

bool search_fix(struct imap *s, struct search_key *k)
{
    if (k->kind == SK_SEQ || k->kind == SK_UID) {
        if (k->set.saved) {
            k->kind = SK_UID;
            return imap_set_fix(s, &k->set, true);
        }
        seqset_fix(&k->set,
                   view_max(&s->view, k->kind == SK_UID)); /* a number beyond the last matches nothing */
        return true;
    }
    for (struct search_key *child = k->child; child; child = child->next)
        if (!search_fix(s, child))
            return false;
    return true;
}
