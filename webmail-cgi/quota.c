/* How full the mailbox is, out of IMAP's quota roots (RFC 9208): the account's own, and the units' above it,
 * which matter only when they are nearly full themselves. A page without an answer to this is still a page.
 */
#include "webmail-cgi/web.h"
#include <stdio.h>

static unsigned percent(const struct fill *f)
{
    if (!f->limit)
        return 0;
    return f->use >= f->limit ? 100 : (unsigned)((double)f->use * 100 / (double)f->limit);
}

/* The fuller of the two. */
static void take(struct fill *to, const struct fill *f)
{
    if (f->limit && (!to->limit || percent(f) > percent(to)))
        *to = *f;
}

/* ("STORAGE" use limit "MESSAGE" use limit); storage in units of 1024 octets. */
static void take_root(struct web *w, const struct imap_line *line)
{
    struct fill *to = span_eq(imap_text(imap_nth(line->first, 1)), SPAN("account")) ? &w->mailbox : &w->unit;
    const struct imap_node *list = imap_nth(line->first, 2);
    const struct imap_node *n = list && list->kind == IMAP_LIST ? list->child : NULL;
    for (; imap_nth(n, 2); n = imap_nth(n, 3)) {
        struct fill f = {imap_number(imap_nth(n, 1)), imap_number(imap_nth(n, 2)), imap_is(n, "MESSAGE")};
        if (!f.messages && !imap_is(n, "STORAGE"))
            continue;
        f.use *= f.messages ? 1 : 1024;
        f.limit *= f.messages ? 1 : 1024;
        take(to, &f);
    }
}

enum err_code web_quota(struct web *w)
{
    struct imap_answer answer;
    if (!imap_has(w->imap, "QUOTA"))
        return ERR_OK;
    imap_begin(w->imap);
    imap_word(w->imap, "GETQUOTAROOT INBOX");
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    for (const struct imap_line *l = answer.lines; code == ERR_OK && l; l = l->next)
        if (imap_is(l->first, "QUOTA"))
            take_root(w, l);
    return code == ERR_RETRY ? code : ERR_OK;
}

/* "1,2 GB" and "5 GB"; "980" and "1000 messages". */
static void figures(const struct web *w, const struct fill *f, char use[SIZE_TEXT], char limit[SIZE_TEXT])
{
    if (!f->messages) {
        size_text(w->page.lang, f->use, use);
        size_text(w->page.lang, f->limit, limit);
        return;
    }
    struct buf b;
    snprintf(use, SIZE_TEXT, "%llu", (unsigned long long)f->use);
    snprintf(limit, SIZE_TEXT, "%llu", (unsigned long long)f->limit);
    buf_init(&b, SIZE_TEXT - 1);
    if (words_fill(&b, text(w->page.lang, T_COUNT_MESSAGES), span_str(limit), SPAN_NONE))
        snprintf(limit, SIZE_TEXT, "%.*s", (int)b.n, b.p);
    buf_free(&b);
}

static unsigned near_percent(const struct web *w)
{
    return w->conf->quota_warning ? (unsigned)w->conf->quota_warning : 90;
}

void web_put_quota(struct web *w, const char *class)
{
    char use[SIZE_TEXT], limit[SIZE_TEXT];
    const int near = (int)near_percent(w);
    if (!w->mailbox.limit)
        return;
    figures(w, &w->mailbox, use, limit);
    PUT(&w->page, "<div class=\"quota %s\"><span>", class);
    page_words(&w->page, T_QUOTA_USE, span_str(use), span_str(limit));
    PUT(&w->page,
        "</span><meter min=\"0\" max=\"100\" low=\"%d\" high=\"%d\" optimum=\"0\" value=\"%d\" "
        "aria-label=\"%t\">"
        "%d %%</meter></div>\n",
        near, near, (int)percent(&w->mailbox), T_QUOTA, (int)percent(&w->mailbox));
}

void web_quota_notice(struct web *w)
{
    char use[SIZE_TEXT], limit[SIZE_TEXT];
    const struct fill *m = &w->mailbox, *u = &w->unit;
    if (percent(m) >= near_percent(w)) {
        figures(w, m, use, limit);
        web_notice(w, "bad", percent(m) == 100 ? T_QUOTA_FULL : T_QUOTA_NEAR, span_str(use), span_str(limit));
    } else if (percent(u) >= near_percent(w)) {
        figures(w, u, use, limit);
        web_notice(w, "bad", percent(u) == 100 ? T_QUOTA_UNIT_FULL : T_QUOTA_UNIT_NEAR, span_str(use),
                   span_str(limit));
    }
}
