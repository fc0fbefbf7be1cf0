/* The frame around every page: head, bar, folders; notices, error pages, cookies. The handlers fill it. */
#include "webmail-cgi/web.h"
#include <stdio.h>
#include <stdlib.h>

static void head(struct web *w, struct span title)
{
    struct page *p = &w->page;
    PUT(p,
        "<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
        "<title>%h – %s</title><link rel=\"stylesheet\" href=\"/static/app.css?v=" PACKAGE_VERSION "\">"
        "<link rel=\"icon\" href=\"data:,\"><script src=\"/static/app.js?v=" PACKAGE_VERSION
        "\" defer></script></head>\n",
        lang_code(p->lang), title, w->conf->web_title);
    PUT(p,
        "<body data-sending=\"%t\" data-saved=\"%t\" data-new=\"%t\"><a class=\"skip\" "
        "href=\"#main\">%t</a>\n",
        T_UPLOADING, T_AUTOSAVED, T_NEW_MAIL, T_SKIP);
}

/* The same page in the other language: the query again, its lang replaced. */
static void language_link(struct web *w)
{
    struct page *p = &w->page;
    enum lang other = p->lang == LANG_EN ? LANG_VI : LANG_EN;
    struct span path = w->req.post || w->lost ? SPAN("/") : w->req.path;
    PUT(p, "<a class=\"lang\" lang=\"%s\" hreflang=\"%s\" href=\"%h?lang=%s", lang_code(other),
        lang_code(other), path, lang_code(other));
    for (size_t i = 0; !w->req.post && i < w->req.query_count && i < 20; i++)
        if (!span_eq(w->req.query[i].name, SPAN("lang")) && !span_eq(w->req.query[i].name, SPAN("done")))
            PUT(p, "&amp;%u=%u", w->req.query[i].name, w->req.query[i].value);
    PUT(p, "\">%t</a>", T_OTHER_LANGUAGE);
}

static void bar(struct web *w)
{
    struct page *p = &w->page;
    PUT(p, "<header class=\"bar\"><a class=\"brand\" href=\"/\">%s</a><div class=\"who\">",
        w->conf->web_title);
    if (w->logged_in)
        PUT(p, "<span class=\"me\" title=\"%h\">%h</span>", w->session.address,
            w->session.name.n ? w->session.name : w->session.address);
    language_link(w);
    if (w->logged_in) {
        PUT(p, "<form method=\"post\" action=\"/logout\">");
        web_hidden_csrf(w);
        PUT(p, "<button class=\"plain\">%t</button></form>", T_LOG_OUT);
    }
    PUT(p, "</div></header>\n");
}

static void nav(struct web *w, struct span active)
{
    struct page *p = &w->page;
    PUT(p, "<nav class=\"side\" aria-label=\"%t\"><a class=\"button main\" href=\"/compose\">%t</a><ul>",
        T_FOLDERS, T_COMPOSE);
    for (const struct folder *f = w->folders; f; f = f->next) {
        if (f->no_select)
            continue;
        PUT(p, "<li><a href=\"/list?f=%u\"", f->name);
        if (span_eq(f->name, active))
            PUT(p, " aria-current=\"page\"");
        PUT(p, "%s<span>%h</span>", "", web_folder_title(w, f->name));
        if (f->unseen && f->use != T_DRAFTS)
            PUT(p, " <b class=\"count\" title=\"%t\">%U</b>", T_UNREAD, (uint64_t)f->unseen);
        PUT(p, "</a></li>");
    }
    PUT(p, "</ul><p class=\"more\"><a href=\"/people\">%t</a><a href=\"/folders\">%t</a></p>", T_PEOPLE,
        T_MANAGE_FOLDERS);
    web_put_quota(w, "wide");
    PUT(p, "</nav>\n");
}

void web_begin(struct web *w, struct span title, struct span active_folder)
{
    head(w, title);
    bar(w);
    if (w->logged_in && w->folders) {
        PUT(&w->page, "<div class=\"frame\">");
        nav(w, active_folder);
    } else {
        PUT(&w->page, "<div class=\"frame lone\">");
    }
    PUT(&w->page, "<main id=\"main\" tabindex=\"-1\">\n");
    web_done_notice(w);
}

void web_end(struct web *w)
{
    PUT(&w->page, "</main></div></body></html>\n");
}

void web_hidden(struct web *w, const char *name, struct span value)
{
    PUT(&w->page, "<input type=\"hidden\" name=\"%s\" value=\"%h\">", name, value);
}

void web_hidden_num(struct web *w, const char *name, uint32_t value)
{
    PUT(&w->page, "<input type=\"hidden\" name=\"%s\" value=\"%U\">", name, (uint64_t)value);
}

void web_hidden_csrf(struct web *w)
{
    web_hidden(w, "csrf", span_str(w->csrf));
}

void web_notice(struct web *w, const char *kind, enum text_id id, struct span a0, struct span a1)
{
    PUT(&w->page, "<p class=\"notice %s\" role=\"%s\">", kind, strcmp(kind, "bad") == 0 ? "alert" : "status");
    page_words(&w->page, id, a0, a1);
    PUT(&w->page, "</p>\n");
}

void web_done_notice(struct web *w)
{
    static const struct {
        const char *name, *kind;
        enum text_id id;
    } rows[] = {{"deleted", "ok", T_DONE_DELETED},     {"purged", "ok", T_DONE_PURGED},
                {"moved", "ok", T_DONE_MOVED},         {"marked", "ok", T_DONE_MARKED},
                {"sent", "ok", T_DONE_SENT},           {"saved", "ok", T_DONE_SAVED},
                {"nocopy", "bad", T_DONE_SENT_NOCOPY}, {"folder", "ok", T_DONE_FOLDER},
                {"none", "bad", T_NONE_SELECTED},      {"discarded", "ok", T_DONE_DISCARDED},
                {"name", "bad", T_ERR_FOLDER_NAME}};
    struct span done = request_query(&w->req, "done");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (span_eq(done, span_str(rows[i].name)))
            web_notice(w, rows[i].kind, rows[i].id, SPAN_NONE, SPAN_NONE);
}

struct span web_url(struct web *w, const char *fmt, ...)
{
    struct buf b;
    va_list ap;
    bool ok = true;
    buf_init(&b, 65536);
    va_start(ap, fmt);
    for (; ok && *fmt; fmt++) {
        if (*fmt != '%') {
            ok = buf_add_char(&b, *fmt);
        } else if (*++fmt == 'u') {
            ok = url_encode(&b, va_arg(ap, struct span));
        } else if (*fmt == 'd') {
            ok = buf_addf(&b, "%u", va_arg(ap, uint32_t));
        }
    }
    va_end(ap);
    struct span s = ok ? arena_dup(w->a, buf_span(&b)) : SPAN("/");
    buf_free(&b);
    return s.p ? s : SPAN("/");
}

void web_redirect(struct web *w, struct span url)
{
    page_redirect(&w->page, url);
}

void web_cookie(struct web *w, const char *name, struct span value, int64_t max_age_s)
{
    struct buf b;
    buf_init(&b, 4096);
    if (buf_addf(&b, "%s=%.*s; Path=/; Secure; HttpOnly; SameSite=Strict", name, SPAN_ARG(value)) &&
        (max_age_s < 0 || buf_addf(&b, "; Max-Age=%lld", (long long)max_age_s)))
        page_head(&w->page, "Set-Cookie", buf_span(&b));
    else
        w->page.full = true;
    buf_wipe(&b);
}

struct span web_folder_title(struct web *w, struct span name)
{
    const struct folder *f = web_folder(w, name);
    if (f && f->use >= 0)
        return span_str(text(w->page.lang, (enum text_id)f->use));
    return name;
}

void web_error_page(struct web *w, enum err_code code)
{
    static const struct {
        int status;
        enum text_id title, words;
    } rows[] = {[ERR_SYNTAX] = {400, T_ERR_TITLE, T_ERR_BAD_REQUEST},
                [ERR_STATE] = {409, T_ERR_TITLE, T_ERR_REFUSED_ACT},
                [ERR_LIMIT] = {400, T_ERR_TITLE, T_ERR_REFUSED_ACT},
                [ERR_DENIED] = {403, T_ERR_TITLE, T_ERR_FORBIDDEN},
                [ERR_MISSING] = {404, T_ERR_TITLE, T_ERR_NOT_FOUND},
                [ERR_RETRY] = {503, T_ERR_BUSY_TITLE, T_ERR_BUSY},
                [ERR_BUG] = {500, T_ERR_TITLE, T_ERR_BUSY}};
    struct page *p = &w->page;
    page_reset(p);
    p->status = rows[code].status;
    if (code == ERR_RETRY)
        page_head(p, "Retry-After", SPAN("10"));
    if (code == ERR_RETRY && !w->req.post)
        page_head(p, "Refresh", SPAN("10"));
    w->req.query_count = code == ERR_RETRY ? w->req.query_count : 0;
    web_begin(w, span_str(text(p->lang, rows[code].title)), SPAN_NONE);
    PUT(p, "<h1>%t</h1>", rows[code].title);
    web_notice(w, "bad", rows[code].words, span_str(w->why.client), SPAN_NONE);
    PUT(p, "<p><a class=\"button\" href=\"/\">%t</a></p>", code == ERR_RETRY ? T_RETRY : T_HOME);
    web_end(w);
}
