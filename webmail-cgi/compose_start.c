/* How a message begins: empty, as an answer with its quote, as a forward with its files, or as a draft again.
 */
#include "webmail-cgi/compose.h"
#include "common/mime/header.h"
#include "webmail-cgi/html/html.h"
#include <stdio.h>

enum { QUOTE_LIMIT = 256 * 1024 };

static struct span take(struct web *w, struct buf *b)
{
    struct span s = arena_dup(w->a, buf_span(b));
    buf_free(b);
    return s.p ? s : SPAN("");
}

/* Whether an address is the reader's own. */
static bool own(const struct web *w, struct span address)
{
    return span_caseeq(address, w->session.address);
}

static bool add_people(struct web *w, struct buf *b, const struct person *v, bool skip_own)
{
    bool ok = true;
    for (; v && ok; v = v->next) {
        if (skip_own && own(w, v->address))
            continue;
        ok = (!b->n || buf_add_str(b, ", "));
        bool named = v->name.n && !span_eq(v->name, v->address);
        if (named) {
            ok = ok && buf_add_char(b, '"');
            for (size_t i = 0; ok && i < v->name.n; i++)
                if (v->name.p[i] != '"' && v->name.p[i] != '\\')
                    ok = buf_add_char(b, v->name.p[i]);
            ok = ok && buf_add_str(b, "\" <");
        }
        ok = ok && buf_add_span(b, v->address) && (!named || buf_add_char(b, '>'));
    }
    return ok;
}

static struct span people_text(struct web *w, const struct person *a, const struct person *b, bool skip_own)
{
    struct buf t;
    buf_init(&t, 1 << 20);
    if (!add_people(w, &t, a, skip_own) || !add_people(w, &t, b, skip_own))
        buf_reset(&t);
    return take(w, &t);
}

static struct span prefixed(struct web *w, const char *prefix, struct span subject)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    if (span_casestarts(subject, span_str(prefix)))
        return subject;
    if (!buf_addf(&b, "%s %.*s", prefix, SPAN_ARG(subject)))
        buf_reset(&b);
    return take(w, &b);
}

/* The message's first text as plain text. */
static enum err_code message_text(struct web *w, const struct message *m, struct buf *out)
{
    const struct part *p = part_first_text(m->root);
    struct buf utf8;
    bool cut = false;
    if (!p)
        return ERR_OK;
    buf_init(&utf8, 8 * (size_t)QUOTE_LIMIT);
    enum err_code code = web_part(w, m->uid, p, QUOTE_LIMIT, true, &utf8, &cut);
    if (code == ERR_OK && part_is(p, "text", "html"))
        code = html_plain(buf_span(&utf8), out);
    else if (code == ERR_OK && !buf_add_span(out, buf_span(&utf8)))
        code = ERR_LIMIT;
    buf_free(&utf8);
    return code;
}

static bool put_quoted(struct buf *b, struct span s)
{
    bool ok = true;
    while (ok && s.n) {
        struct span line = span_cut(&s, '\n');
        if (span_ends(line, SPAN("\r")))
            line.n--;
        if (span_eq(line, SPAN("-- "))) /* the signature is not quoted */
            break;
        ok = buf_add_str(b, span_starts(line, SPAN(">")) ? ">"
                            : line.n                     ? "> "
                                                         : ">") &&
             buf_add_span(b, line) && buf_add_char(b, '\n');
    }
    return ok;
}

static enum err_code quote(struct web *w, const struct message *m, struct span *out)
{
    struct buf text_of, b;
    char when[40];
    const struct person *f = m->env->from;
    buf_init(&text_of, 32 * (size_t)QUOTE_LIMIT);
    buf_init(&b, 64 * (size_t)QUOTE_LIMIT);
    enum err_code code = message_text(w, m, &text_of);
    mail_date(m->env->dated ? m->env->date_s : m->received_s, w->now_s, false, when, sizeof when);
    if (code == ERR_OK && (!buf_add_str(&b, "\n\n") ||
                           !words_fill(&b, text(w->page.lang, T_REPLY_HEAD), span_str(when),
                                       !f          ? SPAN("?")
                                       : f->name.n ? f->name
                                                   : f->address) ||
                           !buf_add_char(&b, '\n') || !put_quoted(&b, buf_span(&text_of))))
        code = ERR_LIMIT;
    buf_free(&text_of);
    *out = take(w, &b);
    return code;
}

static enum err_code forward_text(struct web *w, const struct message *m, struct span *out)
{
    struct buf b;
    char when[40];
    enum lang l = w->page.lang;
    struct span from = people_text(w, m->env->from, NULL, false),
                to = people_text(w, m->env->to, NULL, false);
    buf_init(&b, 64 * (size_t)QUOTE_LIMIT);
    mail_date(m->env->dated ? m->env->date_s : m->received_s, w->now_s, false, when, sizeof when);
    bool ok = buf_addf(&b, "\n\n%s\n%s: %.*s\n%s: %s\n%s: %.*s\n%s: %.*s\n\n", text(l, T_FORWARD_HEAD),
                       text(l, T_FROM), SPAN_ARG(from), text(l, T_DATE), when, text(l, T_SUBJECT),
                       SPAN_ARG(m->env->subject), text(l, T_TO), SPAN_ARG(to));
    enum err_code code = ok ? message_text(w, m, &b) : ERR_LIMIT;
    *out = take(w, &b);
    return code;
}

/* References of the message and its own id behind them, the newest 30 (RFC 5322 3.6.4). */
static enum err_code references(struct web *w, const struct message *m, struct span *out)
{
    struct span head, ids = SPAN("");
    struct header_field f;
    enum err_code code = web_section(w, m->uid, SPAN("HEADER.FIELDS (References)"), 0, 65536, &head);
    if (code != ERR_OK)
        return code;
    if (header_find(head, SPAN("References"), &f))
        ids = header_unfold(w->a, f.value);
    else
        ids = m->env->in_reply_to;
    size_t count = 0;
    for (size_t i = ids.n; i-- > 0;)
        if (ids.p[i] == '<' && ++count == 30) {
            ids = span_drop(ids, i);
            break;
        }
    struct buf b;
    buf_init(&b, 1 << 18);
    if (!buf_add_span(&b, ids) || (b.n && !buf_add_char(&b, ' ')) || !buf_add_span(&b, m->env->message_id))
        buf_reset(&b);
    *out = take(w, &b);
    return ERR_OK;
}

static enum err_code start_answer(struct web *w, struct compose *c, const struct message *m, bool all)
{
    const struct person *to = m->env->reply_to ? m->env->reply_to : m->env->from;
    bool mine = to && own(w, to->address);
    c->to =
        mine ? people_text(w, m->env->to, NULL, false) : people_text(w, to, all ? m->env->to : NULL, true);
    if (all)
        c->cc = people_text(w, m->env->cc, NULL, true);
    if (!c->to.n)
        c->to = people_text(w, to, NULL, false);
    c->subject = prefixed(w, "Re:", m->env->subject);
    c->in_reply_to = m->env->message_id;
    enum err_code code = references(w, m, &c->references);
    return code == ERR_OK ? quote(w, m, &c->body) : code;
}

static void set_source(struct compose *c, struct span folder, const struct box *box, uint32_t uid, bool draft)
{
    c->source_folder = folder;
    c->source_validity = box->uidvalidity;
    c->source_uid = uid;
    c->source_is_draft = draft;
    c->keep_all = true;
}

static enum err_code start_draft(struct web *w, struct compose *c, const struct message *m)
{
    struct span head;
    struct header_field f;
    struct buf b;
    enum err_code code = web_section(w, m->uid, SPAN("HEADER.FIELDS (References)"), 0, 65536, &head);
    if (code != ERR_OK)
        return code;
    if (header_find(head, SPAN("References"), &f))
        c->references = header_unfold(w->a, f.value);
    c->to = people_text(w, m->env->to, NULL, false);
    c->cc = people_text(w, m->env->cc, NULL, false);
    c->bcc = people_text(w, m->env->bcc, NULL, false);
    c->subject = m->env->subject;
    c->in_reply_to = m->env->in_reply_to;
    buf_init(&b, 32 * (size_t)QUOTE_LIMIT);
    code = message_text(w, m, &b);
    while (code == ERR_OK && b.n && (b.p[b.n - 1] == '\n' || b.p[b.n - 1] == '\r'))
        b.n--;
    c->body = take(w, &b);
    return code;
}

static enum err_code start_from(struct web *w, struct compose *c, struct span re)
{
    struct span folder = request_query(&w->req, "f");
    uint32_t uid = request_query_num(&w->req, "u");
    struct box box;
    struct message m;
    enum err_code code = web_select(w, folder, request_query_num(&w->req, "v"), &box);
    if (code == ERR_OK)
        code = web_message(w, uid, &m);
    if (code != ERR_OK)
        return code;
    if (span_eq(re, SPAN("draft"))) {
        set_source(c, folder, &box, uid, true);
        return start_draft(w, c, &m);
    }
    c->answered_folder = folder;
    c->answered_validity = box.uidvalidity;
    c->answered_uid = uid;
    c->is_forward = span_eq(re, SPAN("fwd"));
    if (!c->is_forward)
        return start_answer(w, c, &m, span_eq(re, SPAN("all")));
    set_source(c, folder, &box, uid, false);
    c->subject = prefixed(w, "Fwd:", m.env->subject);
    return forward_text(w, &m, &c->body);
}

enum err_code compose_start(struct web *w, struct compose *c)
{
    struct span re = request_query(&w->req, "re");
    *c = (struct compose){.error = -1};
    c->to = request_query(&w->req, "to");
    c->cc = c->bcc = c->in_reply_to = c->references = c->source_folder = c->answered_folder = SPAN("");
    c->subject = request_query(&w->req, "subject");
    c->body = request_query(&w->req, "body");
    enum err_code code = re.n ? start_from(w, c, re) : ERR_OK;
    if (request_query(&w->req, "af").n) { /* a saved draft comes back with what it answers */
        c->answered_folder = request_query(&w->req, "af");
        c->answered_validity = request_query_num(&w->req, "av");
        c->answered_uid = request_query_num(&w->req, "au");
        c->is_forward = span_eq(request_query(&w->req, "ak"), SPAN("fwd"));
    }
    return code;
}

void compose_read(struct web *w, struct compose *c)
{
    const struct request *r = &w->req;
    *c = (struct compose){.error = -1,
                          .to = request_form(r, "to"),
                          .cc = request_form(r, "cc"),
                          .bcc = request_form(r, "bcc"),
                          .subject = request_form(r, "subject"),
                          .body = request_form(r, "body"),
                          .in_reply_to = request_form(r, "irt"),
                          .references = request_form(r, "refs"),
                          .source_folder = request_form(r, "sf"),
                          .source_validity = request_form_num(r, "sv"),
                          .source_uid = request_form_num(r, "su"),
                          .source_is_draft = request_form_num(r, "sd") == 1,
                          .answered_folder = request_form(r, "af"),
                          .answered_validity = request_form_num(r, "av"),
                          .answered_uid = request_form_num(r, "au"),
                          .is_forward = span_eq(request_form(r, "ak"), SPAN("fwd"))};
    for (size_t i = 0; i < r->form_count && c->keep_count < WEB_FILES_LIMIT; i++)
        if (span_eq(r->form[i].name, SPAN("keep")))
            c->keep[c->keep_count++] = r->form[i].value;
}
