/* Judging a message by a search program with what is known of it so far: yes, no, or unknown until more is
 * read. The hard problem is to read no more than needed: with three values a row alone often decides, also
 * under NOT and OR. Names and addresses come from the ENVELOPE of the record, so that SEARCH FROM reads no
 * message; texts are search_text.c's. */
#include "common/mime/date.h"
#include "common/mime/header.h"
#include "common/mime/words.h"
#include "imapd/search.h"

enum { DAY = 86400, EPOCH_2020 = 1577836800, ENVELOPE_TEXT = 4 << 20 };

static enum tri tri(bool b)
{
    return b ? TRI_YES : TRI_NO;
}

static int64_t day_of(int64_t seconds, int zone_min)
{
    int64_t t = seconds + (int64_t)zone_min * 60;
    return t >= 0 ? t / DAY : -((-t + DAY - 1) / DAY);
}

static bool has_keyword(const struct view *v, const struct view_row *r, struct span name)
{
    for (size_t i = 0; i < v->keyword_count; i++)
        if (r->keywords >> i & 1 && span_caseeq(name, span_str(v->keywords[i])))
            return true;
    return false;
}

static bool is_id(struct span text, uint64_t content)
{
    uint64_t n;
    return text.n > 1 && text.p[0] == 'E' && span_u64(span_drop(text, 1), &n) && n == content;
}

/* Keys that a row decides. */
static bool by_row(const struct search_key *k, const struct search_doc *d)
{
    const struct view *v = &d->s->view;
    const struct view_row *r = &v->rows[d->index];
    int64_t day = day_of(r->internal_s, r->zone_min);
    int64_t saved = day_of((int64_t)EPOCH_2020 + r->saved_s_low, 0);
    switch (k->kind) {
    case SK_ALL:
        return true;
    case SK_SEQ:
        return seqset_has(&k->set, (uint32_t)d->index + 1);
    case SK_UID:
        return seqset_has(&k->set, r->uid);
    case SK_FLAG:
        return ((r->flags & (uint32_t)k->number) != 0) == k->on;
    case SK_KEYWORD:
        return has_keyword(v, r, k->text) == k->on;
    case SK_RECENT:
        return view_is_recent(v, r) == k->on;
    case SK_NEW:
        return view_is_recent(v, r) && !(r->flags & STORE_SEEN);
    case SK_BEFORE:
        return day < k->number;
    case SK_ON:
        return day == k->number;
    case SK_SINCE:
        return day >= k->number;
    case SK_SAVEDBEFORE:
        return saved < k->number;
    case SK_SAVEDON:
        return saved == k->number;
    case SK_SAVEDSINCE:
        return saved >= k->number;
    case SK_LARGER:
        return r->size > k->number;
    case SK_SMALLER:
        return r->size < k->number;
    case SK_OLDER:
        return r->internal_s <= d->now_s - k->number;
    case SK_YOUNGER:
        return r->internal_s >= d->now_s - k->number;
    case SK_MODSEQ:
        return r->modseq >= (uint64_t)k->number;
    case SK_EMAILID:
        return is_id(k->text, r->content);
    default:
        return false;
    }
}

/* -- the envelope -- */

/* "((name adl mailbox host) ...)" or NIL, as text "name <mailbox@host>, ...". */
static bool put_addresses(struct cursor *c, struct buf *out)
{
    struct span name, adl, mailbox, host;
    if (cur_word(c, "NIL"))
        return true;
    if (!cur_char(c, '('))
        return false;
    while (!cur_char(c, ')')) {
        if (!cur_char(c, '(') || !cur_nstring(c, &name) || !cur_sp(c) || !cur_nstring(c, &adl) ||
            !cur_sp(c) || !cur_nstring(c, &mailbox) || !cur_sp(c) || !cur_nstring(c, &host) ||
            !cur_char(c, ')'))
            return false;
        bool ok = (!name.n || (words_decode(name, SPAN(""), out) && buf_add_char(out, ' '))) &&
                  buf_addf(out, host.p ? "<%.*s@%.*s>, " : "%.*s: ", SPAN_ARG(mailbox), SPAN_ARG(host));
        if (!ok)
            return false;
    }
    return true;
}

/* Field number of the envelope (2: from ... 7: bcc) as text. */
static struct span envelope_addresses(const struct search_doc *d, unsigned number)
{
    struct cursor c = {.s = d->meta->envelope, .a = d->arena};
    struct span skip;
    struct buf text;
    bool ok = cur_char(&c, '(') && cur_nstring(&c, &skip) && cur_sp(&c) && cur_nstring(&c, &skip);
    buf_init(&text, ENVELOPE_TEXT);
    for (unsigned i = 2; i <= number && ok; i++) {
        buf_reset(&text);
        ok = cur_sp(&c) && put_addresses(&c, &text);
    }
    struct span out = ok && text.n ? arena_dup(d->arena, buf_span(&text)) : SPAN("");
    buf_free(&text);
    return out.p ? out : SPAN("");
}

static bool sent_day(const struct search_doc *d, int64_t *out)
{
    struct cursor c = {.s = d->meta->envelope, .a = d->arena};
    struct span date;
    int64_t seconds;
    int zone_min;
    if (!cur_char(&c, '(') || !cur_nstring(&c, &date) || !date_parse(date, &seconds, &zone_min))
        return false;
    *out = day_of(seconds, zone_min);
    return true;
}

static bool by_meta(const struct search_key *k, const struct search_doc *d)
{
    int64_t day;
    switch (k->kind) {
    case SK_SENTBEFORE:
        return sent_day(d, &day) && day < k->number;
    case SK_SENTON:
        return sent_day(d, &day) && day == k->number;
    case SK_SENTSINCE:
        return sent_day(d, &day) && day >= k->number;
    case SK_SUBJECT:
        return text_has(d->arena, d->meta->subject, k->text);
    case SK_FROM:
        return text_has(d->arena, envelope_addresses(d, 2), k->text);
    case SK_TO:
        return text_has(d->arena, envelope_addresses(d, 5), k->text);
    case SK_CC:
        return text_has(d->arena, envelope_addresses(d, 6), k->text);
    case SK_BCC:
        return text_has(d->arena, envelope_addresses(d, 7), k->text);
    default:
        return false;
    }
}

/* -- bytes -- */

static bool by_header(const struct search_key *k, const struct search_doc *d)
{
    struct span block = d->header;
    struct header_field f;
    while (header_next(&block, &f))
        if (span_caseeq(f.name, k->field) &&
            (!k->text.n || text_has(d->arena, header_text(d->arena, f.value), k->text)))
            return true;
    return false;
}

/* -- the tree -- */

static enum tri leaf(const struct search_key *k, const struct search_doc *d)
{
    if (k->kind < SK_SENTBEFORE)
        return tri(by_row(k, d));
    if (k->kind < SK_HEADER)
        return d->meta ? tri(by_meta(k, d)) : TRI_UNKNOWN;
    if (k->kind == SK_HEADER)
        return d->has_header ? tri(by_header(k, d)) : TRI_UNKNOWN;
    if (k->found || !k->text.n)
        return TRI_YES;
    return d->has_body ? TRI_NO : TRI_UNKNOWN;
}

enum tri search_eval(const struct search_key *k, const struct search_doc *d)
{
    enum tri stop = k->kind == SK_OR ? TRI_YES : TRI_NO, all = k->kind == SK_OR ? TRI_NO : TRI_YES;
    if (k->kind > SK_NOT)
        return leaf(k, d);
    if (k->kind == SK_NOT) {
        enum tri t = search_eval(k->child, d);
        return t == TRI_UNKNOWN ? t : t == TRI_YES ? TRI_NO : TRI_YES;
    }
    for (const struct search_key *c = k->child; c; c = c->next) {
        enum tri t = search_eval(c, d);
        if (t == stop)
            return stop;
        if (t == TRI_UNKNOWN)
            all = TRI_UNKNOWN;
    }
    return all;
}
